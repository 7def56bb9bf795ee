//! Dequantised values, distributions and errors against an independent implementation: the `gguf` Python package, which
//! is written in numpy.

use ggscope_model::ggml::GgmlType;
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::{QUANTILES, Tensor, block, errors, report};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const DEMO_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");

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

/// Name, number of elements and CRC-32 of the floats of every tensor.
fn checksums(path: &Path) -> String {
    let model = Gguf::open(path).unwrap();
    let mut said = String::new();
    for (file, info) in model.tensors() {
        let tensor = Tensor::new(file, info).unwrap();
        let mut floats = vec![0.0; tensor.elements() as usize];
        tensor.ty.dequantize(file.weights(info).unwrap(), &mut floats).unwrap();
        let bytes: Vec<u8> = floats.iter().flat_map(|v| v.to_le_bytes()).collect();
        said += &format!("{} {} {}\n", info.name, floats.len(), crc32fast::hash(&bytes));
    }
    said
}

/// The demo model in other types, by llama.cpp's own tool.
fn quantize(to: &Path, ftype: &str) {
    let tool = format!("{ROOT}/vendor/build/bin/llama-quantize");
    let out = Command::new(&tool).args(["--allow-requantize", DEMO_MODEL]).arg(to).args([ftype, "2"]).output();
    let out = out.unwrap_or_else(|e| panic!("{tool}: {e}: run `make vendor`"));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn every_tensor_of_the_demo_model_becomes_the_same_floats() {
    assert_eq!(checksums(Path::new(DEMO_MODEL)), text(&["model", DEMO_MODEL]));
    let model = Gguf::open(Path::new(DEMO_MODEL)).unwrap();
    // And what is said of a block is of these floats.
    let block = block(&Tensor::find(&model, "blk.5.attn_q.weight").unwrap(), 17).unwrap();
    let scale = &block.sub_blocks[0];
    let recombined: Vec<f32> = scale.quants.iter().map(|&q| scale.scale * f32::from(q) + scale.min.unwrap()).collect();
    assert_eq!(block.values.unwrap(), recombined);
}

#[test]
fn a_distribution_is_numpys() {
    let model = Gguf::open(Path::new(DEMO_MODEL)).unwrap();
    for name in ["blk.5.ffn_down.weight", "blk.0.attn_norm.weight"] {
        let found = report(&Tensor::find(&model, name).unwrap()).unwrap().values;
        let quantiles = QUANTILES.map(|p| p.to_string());
        let args: Vec<&str> =
            ["distribution", DEMO_MODEL, name].into_iter().chain(quantiles.iter().map(|p| &**p)).collect();
        let said = text(&args);
        let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<f64>>();
        let [moments, quantiles, histogram] = said.lines().map(numbers).collect::<Vec<_>>().try_into().unwrap();
        let ours = [found.mean, found.rms, found.std].map(Option::unwrap);
        assert!(ours.iter().zip(&moments).all(|(a, b)| (a - b).abs() < 1e-9), "{ours:?} {moments:?}");
        let ours: Vec<f32> = found.quantiles.iter().map(|q| q.value).collect();
        assert_eq!(ours, quantiles.iter().map(|q| *q as f32).collect::<Vec<f32>>(), "{name}");
        let ours: Vec<f64> = found.histogram.unwrap().counts.iter().map(|&n| n as f64).collect();
        assert_eq!(ours, histogram, "{name}");
    }
}

#[test]
fn errors_of_a_k_quantised_model_are_those_that_numpy_finds() {
    let dir = tempfile::tempdir().unwrap();
    let (path, reference) = (dir.path().join("q4_k_m.gguf"), dir.path().join("f16.gguf"));
    quantize(&path, "Q4_K_M");
    quantize(&reference, "F16");
    assert_eq!(checksums(&path), text(&["model", path.to_str().unwrap()]));
    let found = errors(&Gguf::open(&path).unwrap(), &Gguf::open(&reference).unwrap());
    assert_eq!((found.tensors.len(), found.unmatched.len()), (272, 0));
    let types: BTreeSet<&str> = found.tensors.iter().map(|t| t.type_name).collect();
    assert_eq!(types, ["f32", "q4_K", "q5_0", "q6_K", "q8_0"].into());
    let said = text(&["errors", path.to_str().unwrap(), reference.to_str().unwrap()]);
    let mut compared = 0;
    for line in said.lines() {
        let (name, numbers) = line.split_once(' ').unwrap();
        let [rmse, relative, sqnr, cosine, bias]: [f64; 5] =
            numbers.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<f64>>().try_into().unwrap();
        let error = &found.tensors.iter().find(|t| t.name == name).unwrap().error;
        assert!(near(error.rmse, rmse) && near(error.relative.unwrap(), relative), "{line}: {error:?}");
        assert!(near(error.cosine.unwrap(), cosine) && (error.bias - bias).abs() < 1e-12, "{line}: {error:?}");
        assert!(error.sqnr_db.map_or(rmse == 0.0, |db| near(db, sqnr)), "{line}: {error:?}");
        compared += 1;
    }
    assert_eq!(compared, 272);
    assert!(found.tensors.is_sorted_by(|a, b| a.error.relative >= b.error.relative));
}
