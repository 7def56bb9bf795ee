//! The promises of `ggscope quant`: what it prints is what is in the file, its JSON is complete, and what it cannot answer
//! is one clear line.

use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
const TENSOR: &str = "blk.5.attn_q.weight";

fn ggscope(args: &[&str]) -> Output {
    assert!(Path::new(MODEL).exists(), "{MODEL} is missing: run `make vendor`");
    Command::new(env!("CARGO_BIN_EXE_ggscope")).arg("quant").args(args).output().unwrap()
}

fn text(args: &[&str]) -> String {
    let out = ggscope(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn json(args: &[&str]) -> Json {
    serde_json::from_str(&text(&[args, &["--json"]].concat())).unwrap()
}

fn error(args: &[&str]) -> String {
    let out = ggscope(args);
    assert!(!out.status.success() && out.stdout.is_empty(), "{args:?}");
    String::from_utf8(out.stderr).unwrap()
}

/// The demo model with the first tensor of type Q4_1 said to be of another, or with the file cut.
fn damaged(dir: &Path, damage: impl Fn(&mut Vec<u8>)) -> PathBuf {
    let path = dir.join("damaged.gguf");
    let mut bytes = std::fs::read(MODEL).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn without_a_tensor_it_says_types_and_bits_by_part_layer_and_tensor() {
    let text = text(&[MODEL]);
    let has = |line: &str| assert!(text.lines().any(|l| l.split_whitespace().eq(line.split_whitespace())), "{text}");
    has("weights  134.5 M in 272 tensors, 92 MiB, 5.74 bits each");
    has("feed-forward  79.6 M  47 MiB  5.00  q4_1  ██████████");
    has("0-29  3.5 M  2.1 MiB  5.01  q4_1 99.8%, f32 0.2%  each");
    has("blk.*.attn_q.weight  [576×576]  q4_1  5.00  202 KiB  0-29");
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");

    let mix = json(&[MODEL]);
    assert_eq!(mix["tensors"].as_array().unwrap().len(), 272);
    let elements = |list: &Json| list.as_array().unwrap().iter().map(|p| p["elements"].as_u64().unwrap()).sum::<u64>();
    for list in ["parts", "layers", "tensors"] {
        assert_eq!(elements(&mix[list]), 134_515_008, "{list}");
    }
    let q = mix["tensors"].as_array().unwrap().iter().find(|t| t["name"] == TENSOR).unwrap();
    assert_eq!((&q["type"], &q["bits_per_weight"]), (&Json::from("q4_1"), &Json::from(5.0)));
    assert_eq!((&q["role"]["component"], &q["role"]["layer"]), (&Json::from("attention"), &Json::from(5)));
}

#[test]
fn of_a_tensor_it_says_how_values_scales_and_quants_are_distributed() {
    let text = text(&[MODEL, TENSOR]);
    assert!(text.contains("type  q4_1, 5 bits a weight") && text.contains("x = d·q + dmin"), "{text}");
    assert!(text.contains("quant: 16 of 16 levels, 3.85 of 4.00 bits of entropy"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80 || l.contains("file")), "{text}");
    let report = json(&[MODEL, TENSOR]);
    let counts = report["blocks"]["quants"]["counts"].as_array().unwrap();
    assert_eq!(counts.iter().map(|c| c["count"].as_u64().unwrap()).sum::<u64>(), 331_776);
    assert_eq!(report["blocks"]["count"], 10_368);
    assert_eq!(report["values"]["histogram"]["counts"].as_array().unwrap().len(), 64);
    assert!(report.get("error").is_none() && report.get("every_type").is_none());
}

#[test]
fn a_block_is_the_bytes_of_the_file() {
    let block = json(&[MODEL, TENSOR, "--block", "10367"]);
    let offset = block["offset"].as_u64().unwrap() as usize;
    let file = std::fs::read(MODEL).unwrap();
    let bytes = &file[offset..offset + 20];
    assert_eq!(block["bytes"], bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    assert_eq!(block["at"], serde_json::json!([544, 575, 0, 0]));
    // Low halves of the bytes are the first sixteen quants.
    let quants = block["sub_blocks"][0]["quants"].as_array().unwrap();
    assert!(quants.iter().zip(&bytes[4..]).all(|(q, byte)| *q == u64::from(byte & 0xf)), "{quants:?}");
    let text = text(&[MODEL, TENSOR, "--block", "10367"]);
    assert!(text.contains("block  10,367 of 10,368 in blk.5.attn_q.weight"), "{text}");
    assert!(text.contains("elements from [544, 575]") && text.contains("\n    q   "), "{text}");
}

#[test]
fn with_a_reference_it_says_how_far_each_tensor_is_off() {
    // Against itself nothing is off; a tensor in other types is, and more so with fewer bits.
    let text = text(&[MODEL, "--reference", MODEL]);
    assert!(text.contains("272 of them are equal, element by element"), "{text}");
    assert!(text.contains("together  relative error 0, - dB, cosine 1.000000, largest 0"), "{text}");
    let report = json(&[MODEL, "--reference", MODEL]);
    assert_eq!((&report["total"]["equal"], &report["total"]["rmse"]), (&134_515_008.into(), &0.0.into()));
    let of_tensor = json(&[MODEL, TENSOR, "--reference", MODEL, "--every-type"]);
    assert_eq!((&of_tensor["error"]["equal"], &of_tensor["error"]["type"]), (&331_776.into(), &"q4_1".into()));
    let relative = |name: &str| {
        let types = of_tensor["every_type"].as_array().unwrap();
        types.iter().find(|t| t["type"] == name).unwrap_or_else(|| panic!("{name}"))["relative"].as_f64()
    };
    assert!(relative("q8_0") < relative("q5_0") && relative("q5_0") < relative("q4_0"));
    assert_eq!((relative("f32"), relative("q4_K")), (Some(0.0), None));
}

#[test]
fn what_it_cannot_answer_is_one_clear_line() {
    let nearest = error(&[MODEL, "blk.5.attn_q"]);
    assert!(nearest.contains("has no tensor blk.5.attn_q; did you mean blk.5.attn_q.weight,"), "{nearest}");
    let block = error(&[MODEL, TENSOR, "--block", "10368"]);
    assert!(block.contains("has no block 10368: it has 10368, counted from 0"), "{block}");
    let plain = error(&[MODEL, "output_norm.weight", "--block", "0"]);
    assert!(plain.contains("output_norm.weight is f32, which has no blocks"), "{plain}");
    let missing = error(&["/nowhere/model.gguf"]);
    assert!(missing.contains("cannot open the model /nowhere/model.gguf"), "{missing}");
    let reference = error(&[MODEL, "--reference", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert!(reference.contains("Cargo.toml: at byte 0: not a GGUF file"), "{reference}");
    for said in [nearest, block, plain, missing, reference] {
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_cut_file_is_told_and_what_is_there_can_still_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    // Inside the last tensor.
    let path = damaged(dir.path(), |bytes| bytes.truncate(bytes.len() - 1_000));
    let path = path.to_str().unwrap();
    assert!(text(&[path, "token_embd.weight"]).contains("28,311,552 elements"));
    let report = json(&[path, "--reference", MODEL]);
    assert_eq!(report["tensors"].as_array().unwrap().len(), 271);
    let unmatched = report["unmatched"].as_array().unwrap();
    assert_eq!(unmatched.len(), 1, "{unmatched:?}");
    let name = unmatched[0]["name"].as_str().unwrap();
    let said = error(&[path, name]);
    assert!(said.contains(name) && said.contains("was it copied or downloaded completely?"), "{said}");
    // Where the table points past the end, it is no model.
    let path = damaged(dir.path(), |bytes| bytes.truncate(bytes.len() - 1_000_000));
    let said = error(&[path.to_str().unwrap()]);
    assert!(said.contains("damaged.gguf: at byte") && said.contains("but the file has 97362432 bytes"), "{said}");
}

#[test]
fn a_tensor_of_unknown_type_is_shown_by_its_number_and_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = damaged(dir.path(), |bytes| {
        let at = bytes.windows(TENSOR.len()).position(|w| w == TENSOR.as_bytes()).unwrap();
        // After the name: dimensions u32, two lengths u64, type u32.
        let at = at + TENSOR.len() + 4 + 16;
        bytes[at..at + 4].copy_from_slice(&77_u32.to_le_bytes());
    });
    let path = path.to_str().unwrap();
    assert!(text(&[path]).contains("type 77"), "{}", text(&[path]));
    let said = error(&[path, TENSOR]);
    assert!(said.contains("its type 77 is none that ggml knows"), "{said}");
}
