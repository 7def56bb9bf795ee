//! What `ggscope inspect` says of memory and parameters, against llama.cpp's own word: it loads the same files, header-only
//! models of many architectures among them, and its log and functions are compared with ours.

#[path = "support/mod.rs"]
mod support;

use ggscope_model::ggml::GgmlType;
use ggscope_model::inspect::memory::{Caches, Context};
use ggscope_model::inspect::{Architecture, InspectOptions, Inspection};
use ggscope_model::testing::{self, Fixture, Shape};
use std::path::Path;
use std::process::Command;
use support::{hosts, vendored};

/// What llama.cpp said of a model and a context.
struct Said {
    parameters: u64,
    bytes: u64,
    log: String,
}

impl Said {
    /// Sizes in MiB that the log has after `name`, in its order.
    fn sizes(&self, name: &str) -> Vec<String> {
        let size = |line: &str| {
            let number = line.split_once(name)?.1.trim_start().strip_prefix('=')?;
            Some(number.trim_start().split(' ').next()?.to_owned())
        };
        self.log.lines().filter_map(size).collect()
    }

    fn sum(&self, name: &str) -> f64 {
        self.sizes(name).iter().map(|size| size.parse::<f64>().expect("a size")).sum()
    }
}

fn load(model: &Path, context: &Context, mmap: bool) -> Said {
    let number = |n: u32| n.to_string();
    let output = Command::new(hosts::load_only())
        .arg(model)
        .args([
            number(context.tokens),
            number(context.sequences),
            number(context.unified.into()),
            number(context.ubatch),
        ])
        .args([number(context.type_k.id()), number(context.type_v.id()), number(mmap.into())])
        .env_remove("LD_PRELOAD")
        .output()
        .expect("load_only runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let tail: Vec<&str> = log.lines().rev().take(10).collect();
    assert!(output.status.success(), "{} was not loaded: {:#?}", model.display(), tail);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |name: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(name)).expect("load_only prints it");
        line.trim().parse().expect("a number")
    };
    Said { parameters: number("parameters"), bytes: number("bytes"), log }
}

fn mib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1024.0 / 1024.0)
}

/// What is read from a file, also of one that llama.cpp would refuse.
fn read(path: &Path, context: Context) -> Inspection {
    let wanted = InspectOptions { context, context_of_model: None, vram: None, all: false };
    Inspection::of_path(path, &wanted).expect("it is inspected")
}

fn inspect(path: &Path, context: Context) -> Inspection {
    let inspection = read(path, context);
    assert!(inspection.valid, "{:?}", inspection.findings);
    inspection
}

/// Holds parameters, weights and caches of a file against llama.cpp's, for one context.
fn agrees(path: &Path, context: Context) -> (Inspection, Said) {
    let ours = inspect(path, context);
    let said = load(path, &context, true);
    let name = path.display();
    assert_eq!((ours.parameters.total, ours.memory.weights.bytes), (said.parameters, said.bytes), "{name}");
    let caches = ours.memory.caches.as_ref().expect("the cache types fit");
    let part = |what: &[&str]| -> Vec<String> {
        let parts = caches.parts.iter().filter(|p| what.contains(&p.what.as_str()));
        parts.map(|p| mib(p.k_bytes + p.v_bytes)).collect()
    };
    assert_eq!(part(&["attention", "window", "indexer"]), said.sizes("KV buffer size"), "{name} {context:?}");
    assert_eq!(part(&["state"]), said.sizes("RS buffer size"), "{name} {context:?}");
    (ours, said)
}

/// The estimate of the compute buffer is within a quarter of the truth.
fn computes(ours: &Inspection, said: &Said, context: &Context) {
    let estimate = ours.memory.compute_bytes.expect("it is loaded") as f64 / 1024.0 / 1024.0;
    let real = said.sum("compute buffer size");
    let name = &ours.architecture.name;
    println!("{name} {} × {}: {estimate:.2} MiB estimated, {real:.2} MiB", context.tokens, context.sequences);
    assert!((estimate / real - 1.0).abs() < 0.25, "{name} {context:?}: {estimate:.2} MiB, {real:.2} MiB in truth");
}

fn contexts() -> Vec<Context> {
    let q8_0 = GgmlType::from_name("q8_0").unwrap();
    let plain = Context::new(1024);
    vec![
        plain,
        Context { tokens: 3000, ..plain },
        Context { tokens: 4096, sequences: 3, ..plain },
        Context { tokens: 4096, sequences: 3, unified: true, ubatch: 128, ..plain },
        Context { tokens: 2048, type_k: q8_0, type_v: q8_0, ..plain },
    ]
}

fn everywhere(fixture: &Fixture) {
    in_contexts(fixture, &contexts());
}

fn in_contexts(fixture: &Fixture, contexts: &[Context]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    // llama.cpp makes up as many tokens as the architecture says.
    fixture.loadable().write(&path);
    for &context in contexts {
        let fits = {
            let model = ggscope_model::gguf::Gguf::open(&path).unwrap();
            let (architecture, hp) = Architecture::of(&model);
            Caches::of(&architecture.name, &hp, &context).is_ok()
        };
        if fits {
            let (ours, said) = agrees(&path, context);
            computes(&ours, &said, &context);
        }
    }
}

/// A model of a few layers and tokens that llama.cpp loads at once.
fn small(fixture: Fixture) -> Fixture {
    fixture.reduced(7, 8)
}

#[test]
fn the_demo_models_weights_caches_and_computing_are_those_of_llama_cpp() {
    let path = vendored::demo_model();
    for context in contexts() {
        let (ours, said) = agrees(&path, context);
        assert_eq!(vec![mib(ours.memory.weights.mapped_bytes)], said.sizes("CPU_Mapped model buffer size"));
        computes(&ours, &said, &context);
    }
    let read = load(&path, &Context::new(512), false);
    let ours = inspect(&path, Context::new(512));
    assert_eq!(vec![mib(ours.memory.weights.loaded_bytes)], read.sizes("CPU model buffer size"));
}

#[test]
fn llama() {
    everywhere(&small(testing::llama(Shape { vocabulary: 1000, ff: 2048, ..testing::LLAMA_8B }, false)));
    everywhere(&small(testing::llama(Shape { vocabulary: 1000, ff: 2048, kv_heads: 32, ..testing::LLAMA_8B }, true)));
}

#[test]
fn gemma3_with_its_windows() {
    everywhere(&small(testing::gemma3()));
}

#[test]
fn gemma3n_with_caches_that_layers_share() {
    everywhere(&testing::gemma3n());
}

#[test]
fn gpt_oss_with_windows_and_experts() {
    everywhere(&small(testing::gpt_oss()));
}

#[test]
fn qwen3moe_with_experts() {
    everywhere(&small(testing::qwen3moe()));
}

#[test]
fn deepseek2_with_latent_attention() {
    everywhere(&small(testing::deepseek2_with(Some(1536))));
}

#[test]
fn mamba_with_a_state() {
    everywhere(&small(testing::mamba()));
}

#[test]
fn jamba_with_both() {
    everywhere(&small(testing::jamba()));
}

#[test]
fn rwkv6_with_a_state() {
    everywhere(&small(testing::rwkv6()));
}

#[test]
fn bert_without_a_cache() {
    everywhere(&small(testing::bert()));
}

#[test]
fn gpt2_with_biases() {
    everywhere(&small(testing::gpt2()));
}

#[test]
fn t5_with_two_stacks() {
    // llama.cpp does not get through several sequences with caches of their own.
    let contexts: Vec<Context> = contexts().into_iter().filter(|c| c.sequences == 1 || c.unified).collect();
    in_contexts(&testing::t5(), &contexts);
}

#[test]
fn sizes_in_other_types_are_those_of_llama_quantize() {
    let path = vendored::demo_model();
    let ours = inspect(&path, Context::new(512));
    // What llama-quantize calls them; the size of a type is in no other way known to it.
    let names =
        ["Q2_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K", "IQ4_NL"];
    let names = names.into_iter().chain(["IQ4_XS", "IQ3_S", "IQ1_S", "TQ1_0", "TQ2_0", "F16", "BF16", "F32"]);
    for name in names {
        let output = Command::new(vendored::built("llama-quantize"))
            .args(["--dry-run", "--pure", "--allow-requantize"])
            .arg(&path)
            .args(["/nowhere.gguf", name])
            .output()
            .expect("llama-quantize runs");
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log);
        let size = log.lines().find_map(|line| line.split_once("quant size")?.1.split_once('=')).map(|(_, size)| size);
        let size = size.and_then(|size| size.trim_start().split(' ').next()).unwrap_or_else(|| panic!("{name}: {log}"));
        let of = |t: &&ggscope_model::inspect::memory::AsType| {
            t.type_name.eq_ignore_ascii_case(name.trim_end_matches("_S")) || t.type_name.eq_ignore_ascii_case(name)
        };
        let as_type = ours.memory.as_types.iter().find(of).unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(mib(as_type.bytes), size, "{name}");
    }
}

/// Metadata and tensor table as the `gguf` Python package reads them.
const READ_WITH_PYTHON: &str = r#"
import json, sys
import gguf
reader = gguf.GGUFReader(sys.argv[1])
fields = {}
for name, field in reader.fields.items():
    if name.startswith("GGUF."):
        continue
    value = field.contents()
    if isinstance(value, list):
        value = {"count": len(value), "first": value[:8]}
    fields[name] = value
tensors = [
    [t.name, t.tensor_type.name, [int(n) for n in t.shape], int(t.data_offset), int(t.n_bytes), int(t.n_elements)]
    for t in reader.tensors
]
json.dump({"fields": fields, "tensors": tensors}, sys.stdout)
"#;

fn as_python_reads(path: &Path) -> serde_json::Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/python/bin/python");
    assert!(python.exists(), "{} is missing: run `vendor/setup --tests`", python.display());
    let output = Command::new(python).args(["-c", READ_WITH_PYTHON]).arg(path).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[test]
fn metadata_and_tensors_are_what_the_gguf_package_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = vec![vendored::demo_model()];
    for (name, fixture) in [("gemma3n", testing::gemma3n()), ("jamba", testing::jamba()), ("rwkv6", testing::rwkv6())] {
        let path = dir.path().join(format!("{name}.gguf"));
        small(fixture).loadable().write(&path);
        paths.push(path);
    }
    for path in paths {
        let theirs = as_python_reads(&path);
        // The vocabularies of small fixtures are shorter than llama.cpp wants; the package reads them all the same.
        let ours = read(&path, Context::new(512));
        let fields = theirs["fields"].as_object().unwrap();
        assert_eq!(ours.metadata.len(), fields.len(), "{}", path.display());
        for pair in &ours.metadata {
            let field = &fields[&pair.key];
            match pair.count {
                Some(count) => {
                    assert_eq!(field["count"], count, "{}", pair.key);
                    assert_eq!(field["first"], pair.value, "{}", pair.key);
                }
                None => assert_eq!(*field, pair.value, "{}", pair.key),
            }
        }
        let tensors = theirs["tensors"].as_array().unwrap();
        assert_eq!(ours.tensors.len(), tensors.len());
        for (t, theirs) in ours.tensors.iter().zip(tensors) {
            let mut shape = t.shape.clone();
            shape.truncate(theirs[2].as_array().unwrap().len());
            let same = serde_json::json!([t.name, theirs[1], shape, t.offset, t.bytes, t.elements]);
            assert_eq!(*theirs, same);
            assert!(theirs[1].as_str().unwrap().eq_ignore_ascii_case(&t.type_name), "{} {}", theirs[1], t.type_name);
        }
    }
}
