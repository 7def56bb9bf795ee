//! What the fuzzer does with every input, and the tests with every file of its corpus: read it as a GGUF file and derive all
//! that `ggscope inspect` shows, the mix of types and the architecture graphs.

use crate::arch::{ArchGraph, Schema};
use crate::ggml::GgmlType;
use crate::gguf::{Gguf, Severity};
use crate::inspect::memory::Context;
use crate::inspect::{Architecture, InspectOptions, Inspection};
use crate::quant::mix;
use std::path::Path;

/// Reads `bytes` strictly and as far as they go, and derives everything.
///
/// # Panics
/// When the two readings contradict each other, or something else is wrong with the reader.
pub fn exercise(bytes: &[u8]) {
    let path = Path::new("input.gguf");
    let strict = Gguf::of_bytes(path, bytes.to_vec());
    let (model, findings) = Gguf::examine_bytes(path, bytes.to_vec());
    assert!(strict.is_ok() || findings.iter().any(|f| f.severity > Severity::Notice), "an error that is no finding");
    if let Ok(strict) = &strict {
        assert_eq!(strict.tensors().count(), model.tensors().count());
        if let Some(vocabulary) = strict.vocab() {
            let ids = [0, 1, vocabulary.len() as i32 - 1, i32::MAX];
            ids.iter().for_each(|&id| drop(vocabulary.text(id)));
        }
    }
    let kind = GgmlType::from_name("q8_0").expect("ggml has Q8_0");
    let context =
        Context { tokens: 4096, sequences: 3, unified: false, ubatch: 512, type_k: kind, type_v: GgmlType::F16 };
    for (context_of_model, vram, all) in [(None, Some(8 << 30), true), (Some(4096), None, false)] {
        let inspection =
            Inspection::of(&model, findings.clone(), &InspectOptions { context, context_of_model, vram, all });
        assert!(!inspection.valid || strict.is_ok(), "a file in order that cannot be read");
        assert!(
            inspection.parameters.total >= inspection.parameters.by_layer.iter().map(|l| l.total).max().unwrap_or(0)
        );
        serde_json::to_vec(&inspection).expect("an inspection is JSON");
    }
    let mix = mix(&model);
    assert_eq!(mix.total.tensors, model.tensors().count() as u64);
    let (architecture, _) = Architecture::of(&model);
    for schema in [Schema::Standard, Schema::Tutorial] {
        if let Ok(graph) = ArchGraph::of(&model, &architecture, schema) {
            let own =
                graph.nodes().flat_map(|node| &node.tensors).fold(0_u64, |sum, t| sum.saturating_add(t.parameters));
            let all = model.tensors().fold(0_u64, |sum, (_, t)| sum.saturating_add(t.elements()));
            assert_eq!(own, all, "parameters that no node has, or two");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Fixture, Put};

    fn corpus() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/inspect")
    }

    /// Models that are in order and files that are not, all small.
    fn cases() -> Vec<(&'static str, Vec<u8>)> {
        let two = |f: Fixture| f.first_layers(2).header();
        let damaged = |change: fn(&mut Vec<u8>)| {
            let mut bytes = testing::gpt2().first_layers(1).header();
            change(&mut bytes);
            bytes
        };
        let nested = |depth: usize| {
            let mut value = Put::Array(4, vec![Put::U32(7)]);
            for _ in 0..depth {
                value = Put::Array(9, vec![value]);
            }
            let mut f = Fixture::new("llama");
            f.general("nested", value);
            f.header()
        };
        let hostile = |key: &str, value: Put| {
            let mut f = testing::jamba().first_layers(2);
            f.set(key, value);
            f.header()
        };
        vec![
            ("llama", two(testing::llama(testing::LLAMA_8B, false))),
            ("gemma3", two(testing::gemma3())),
            ("gemma3n", two(testing::gemma3n())),
            ("gpt-oss", two(testing::gpt_oss())),
            ("qwen3moe", two(testing::qwen3moe())),
            ("deepseek2", two(testing::deepseek2())),
            ("mamba", two(testing::mamba())),
            ("jamba", testing::jamba().first_layers(5).header()),
            ("rwkv6", two(testing::rwkv6())),
            ("bert", two(testing::bert())),
            ("gpt2", two(testing::gpt2())),
            ("t5", two(testing::t5())),
            ("vocabulary", testing::vocabulary_only().header()),
            ("nested-3", nested(3)),
            ("nested-70", nested(70)),
            ("layers", hostile("block_count", Put::U32(u32::MAX))),
            ("heads", hostile("attention.head_count", Put::Array(4, vec![Put::U32(0), Put::U32(u32::MAX)]))),
            ("state", hostile("ssm.inner_size", Put::U32(u32::MAX))),
            ("big-endian", damaged(|b| b[4..8].reverse())),
            ("tensors", damaged(|b| b[8..16].copy_from_slice(&(1_u64 << 60).to_le_bytes()))),
            ("pairs", damaged(|b| b[16..24].copy_from_slice(&u64::MAX.to_le_bytes()))),
            ("key", damaged(|b| b[24..32].copy_from_slice(&(1_u64 << 40).to_le_bytes()))),
            ("cut", damaged(|b| b.truncate(b.len() / 2))),
            ("empty", vec![]),
        ]
    }

    #[test]
    fn every_file_of_the_corpus_is_read_without_a_panic() {
        let files: Vec<_> = std::fs::read_dir(corpus()).expect("the corpus is committed").flatten().collect();
        assert!(files.len() >= cases().len(), "{} files", files.len());
        for file in files {
            exercise(&std::fs::read(file.path()).unwrap());
        }
    }

    #[test]
    fn every_case_is_read_without_a_panic_however_it_is_cut() {
        for (_, bytes) in cases() {
            exercise(&bytes);
            for len in (0..bytes.len()).step_by(bytes.len() / 23 + 1) {
                exercise(&bytes[..len]);
            }
        }
    }

    /// `cargo test -p ggscope-model -- --ignored` after a change of the fixtures.
    #[test]
    #[ignore = "writes the corpus"]
    fn write_the_corpus() {
        std::fs::create_dir_all(corpus()).unwrap();
        for (name, bytes) in cases() {
            std::fs::write(corpus().join(format!("{name}.gguf")), bytes).unwrap();
        }
    }
}
