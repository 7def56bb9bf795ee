//! Dequantised values against an independent implementation: the `gguf` Python package, which is written in numpy.

use ggscope_model::ggml::GgmlType;
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::{Tensor, block};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn python(args: &[&str]) -> Vec<u8> {
    let python = format!("{ROOT}/vendor/python/bin/python");
    assert!(Path::new(&python).exists(), "{python} is missing: run `vendor/setup --tests`");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dequantize.py");
    let out = Command::new(python).arg(script).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn text(args: &[&str]) -> String {
    String::from_utf8(python(args)).unwrap()
}

/// Any bytes, the same at every run.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn any_blocks_of_every_type_that_numpy_knows_become_the_same_floats() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blocks");
    let types = text(&["types"]);
    let types: Vec<&str> = types.split_whitespace().collect();
    assert!(types.len() >= 23, "{types:?}");
    for name in types {
        let ty = GgmlType::from_name(name).unwrap_or_else(|| panic!("{name} is no type of ours"));
        let blocks = 512;
        let bytes = noise(blocks * ty.type_size() as usize);
        std::fs::write(&path, &bytes).unwrap();
        let expected = python(&["rows", name, path.to_str().unwrap()]);
        let mut found = vec![0.0; blocks * ty.block_size() as usize];
        ty.dequantize(&bytes, &mut found).unwrap();
        assert_eq!(expected.len(), 4 * found.len(), "{name}");
        for (i, (found, expected)) in found.iter().zip(expected.as_chunks().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            let same = *found == expected || found.is_nan() && expected.is_nan();
            assert!(same, "{name}, element {i}: {found} is not {expected}");
        }
    }
}

#[test]
fn every_tensor_of_the_demo_model_becomes_the_same_floats() {
    let path = PathBuf::from(format!("{ROOT}/vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf"));
    let model = Gguf::open(&path).unwrap();
    let expected = text(&["model", path.to_str().unwrap()]);
    let mut found = String::new();
    for (file, info) in model.tensors() {
        let tensor = Tensor::new(file, info).unwrap();
        let mut floats = vec![0.0; tensor.elements() as usize];
        tensor.ty.dequantize(file.weights(info).unwrap(), &mut floats).unwrap();
        let bytes: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
        found += &format!("{} {} {}\n", info.name, floats.len(), crc32fast::hash(&bytes));
    }
    assert_eq!(found, expected);
    // And what is said of a block is of these floats.
    let tensor = Tensor::find(&model, "blk.5.attn_q.weight").unwrap();
    let block = block(&tensor, 17).unwrap();
    let scale = &block.sub_blocks[0];
    let recombined: Vec<f32> = scale.quants.iter().map(|&q| scale.scale * f32::from(q) + scale.min.unwrap()).collect();
    assert_eq!(block.values.unwrap(), recombined);
}
