//! Attention, computed again from captured queries and keys, beside the one that llama.cpp computed in the same run.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

pub(crate) const CAPTURE: [&str; 4] = ["--capture", "attention,kq_soft_max-*", "--ring-size", "64M"];

pub(crate) fn generate(model: &Path, n: u32, flash: &str, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "1", "--flash-attn", flash]).args(options);
    host
}

pub(crate) fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|n| n.as_f64().expect("a number")).collect()
}

/// What `ggscope attention` says of a token in a layer.
pub(crate) fn attention(trace: &Path, token: u64, layer: u64) -> Value {
    let (token, layer) = (token.to_string(), layer.to_string());
    let args = ["attention", trace.to_str().unwrap(), "--json", "--token", &token, "--layer", &layer];
    serde_json::from_str(&run(ggscope(&args)).ok().stdout).unwrap()
}

/// The weights of every token in every layer, from one pass over the trace.
pub(crate) fn walked(trace: &Path) -> HashMap<(u64, u64), Value> {
    let (rows, said) = walked_saying(trace);
    assert_eq!(said, "", "nothing is refused");
    rows
}

/// The same, and what is said beside it.
fn walked_saying(trace: &Path) -> (HashMap<(u64, u64), Value>, String) {
    let finished = run(ggscope(&["attention", trace.to_str().unwrap(), "--tokens", "0..1000000"])).ok();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let rows = finished.stdout.lines().map(row).map(|row| ((number(&row, "token"), number(&row, "layer")), row));
    (rows.collect(), finished.stderr)
}

/// Compares every layer, head and token with `kq_soft_max-*`. Returns how many rows of attention were compared.
pub(crate) fn assert_as_computed(trace: &Path, n_layer: u64) -> usize {
    assert_eq!(info(trace)["dropped"]["records"], 0);
    let rows = dump(trace, &["--values", "--name", "kq_soft_max-*"]);
    let walked = walked(trace);
    let mut compared = 0;
    let mut first = 0;
    for evaluation in rows.chunk_by(|a, b| a["eval"] == b["eval"]) {
        assert_eq!(evaluation.len() as u64, n_layer);
        let n_tokens = number(&evaluation[0], "n_tokens");
        for (row, i) in evaluation.iter().flat_map(|row| (0..n_tokens).map(move |i| (row, i as usize))) {
            let layer = number(row, "layer");
            let found = &walked[&(first + i as u64, layer)];
            let (data, ne) = (numbers(&row["value"]["data"]), numbers(&row["value"]["ne"]));
            let (n_kv, per_head) = (ne[0] as usize, ne[1] as usize);
            let cells: Vec<usize> = numbers(&found["cells"]).iter().map(|&cell| cell as usize).collect();
            let heads = found["weights"].as_array().unwrap();
            assert_eq!(heads.len(), ne[2] as usize, "all heads");
            for (h, head) in heads.iter().enumerate() {
                let mut computed = vec![0.0; n_kv];
                // Streams of a cache lie one after the other, each longer than these runs.
                cells.iter().zip(numbers(head)).for_each(|(&cell, w)| computed[cell % n_kv] = w);
                let (stream, i) = (i / per_head, i % per_head);
                let real = &data[((stream * heads.len() + h) * per_head + i) * n_kv..][..n_kv];
                let worst = computed.iter().zip(real).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-3, "layer {layer}, head {h}, token {i}: off by {worst}");
                compared += 1;
            }
        }
        first += n_tokens;
    }
    assert_eq!(walked.len() as u64, first * n_layer, "no row too many");
    compared
}

/// What shows all stages of a token is what the pass over the trace gives, within 1e-6.
fn assert_one_is_as_all(trace: &Path, tokens: impl Iterator<Item = u64>, layers: &[u64]) {
    let walked = walked(trace);
    for (token, &layer) in tokens.flat_map(|token| layers.iter().map(move |layer| (token, layer))) {
        let (one, all) = (attention(trace, token, layer), &walked[&(token, layer)]);
        let keys = one["keys"].as_array().unwrap();
        let of = |name: &str| keys.iter().map(|key| key[name].clone()).collect::<Vec<_>>();
        assert_eq!(
            (Value::Array(of("cell")), Value::Array(of("token"))),
            (all["cells"].clone(), all["tokens"].clone())
        );
        for (head, row) in one["heads"].as_array().unwrap().iter().zip(all["weights"].as_array().unwrap()) {
            let pairs = numbers(&head["weights"]).into_iter().zip(numbers(row));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-6, "token {token}, layer {layer}: off by {worst}");
        }
    }
}

#[test]
fn attention_is_what_llama_cpp_computed_in_every_layer_and_head_and_for_every_token() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let host = || generate(&vendored::demo_model(), 4, "off", &[]);
    let traced = run(record(&trace, &CAPTURE, &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
    let tokens = number(&info(&trace)["tokens"], "prompt") + number(&info(&trace)["tokens"], "generate");
    assert_eq!(assert_as_computed(&trace, 30) as u64, tokens * 30 * 9);
    assert_one_is_as_all(&trace, 0..tokens, &[0, 17, 29]);
}

#[test]
fn a_cache_that_is_cleared_and_written_again_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &CAPTURE, &generate(&model, 3, "off", &["--repeat", "2"]))).ok();
    assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
}

#[test]
fn with_flash_attention_there_is_attention_although_nothing_computed_it_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    run(record(&trace, &CAPTURE, &generate(&vendored::demo_model(), 4, "on", &[]))).ok();
    let last = number(&info(&trace)["tokens"], "prompt") + number(&info(&trace)["tokens"], "generate") - 1;
    for layer in 0..30 {
        let found = attention(&trace, last, layer);
        assert_eq!(text(&found, "op"), "FLASH_ATTN_EXT");
        let keys = found["keys"].as_array().unwrap();
        let tokens: Vec<u64> = keys.iter().map(|key| number(key, "token")).collect();
        assert_eq!(tokens, (0..=last).collect::<Vec<_>>(), "it sees all that came before, and itself");
        assert!(keys.iter().all(|key| key["text"].is_string()));
        for head in found["heads"].as_array().unwrap() {
            assert!((numbers(&head["weights"]).iter().sum::<f64>() - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn a_range_of_tokens_has_both_of_its_ends_wherever_one_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let options = ["--capture", "attention,l_out-*", "--capture-tokens", "0..3,8-9"];
    run(record(&trace, &options, &generate(&model, 3, "on", &["--ubatch", "2"]))).ok();
    let tokens = |args: &[&str]| -> Vec<u64> {
        let lines = run(ggscope(&[&["attention", trace.to_str().unwrap()], args].concat())).ok().stdout;
        let of = |line: &str| number(&serde_json::from_str(line).unwrap(), "token");
        lines.lines().map(of).collect::<BTreeSet<_>>().into_iter().collect()
    };
    assert_eq!(tokens(&["--tokens", "0..99"]), [0, 1, 2, 3, 8, 9], "what was captured");
    assert_eq!(tokens(&["--tokens", "1..3"]), [1, 2, 3]);
    assert_eq!(tokens(&["--tokens", "8"]), [8]);
    assert_eq!(tokens(&["--tokens", "3.."]), [3, 8, 9]);
    let csv = run(ggscope(&["layers", trace.to_str().unwrap(), "--tokens", "1..3", "--measure", "norm", "--csv"]))
        .ok()
        .stdout;
    assert!(csv.contains("\n1,") && csv.contains("\n3,") && !csv.contains("\n4,"), "{csv}");
}

#[test]
fn heads_and_evaluations_that_were_captured_are_what_they_are_where_all_were() {
    let dir = tempfile::tempdir().unwrap();
    let (all, some) = (dir.path().join("all.ggtrace"), dir.path().join("some.ggtrace"));
    let host = || generate(&vendored::demo_model(), 6, "on", &[]);
    run(record(&all, &["--capture", "attention"], &host())).ok();
    let limits =
        ["--capture-heads", "1,4-5", "--capture-layers", "3,17", "--capture-every", "2", "--capture-as", "f16"];
    run(record(&some, &[&["--capture", "attention"], &limits[..]].concat(), &host())).ok();
    let (all, (some, said)) = (walked(&all), walked_saying(&some));
    let left_out = format!("{} rows (a token in a layer) were not captured", all.len() - some.len());
    assert!(said.contains(&left_out) && said.contains("layers 3,17, heads 1,4-5, every 2, as f16"), "{said}");
    let n_prompt = 5;
    let mut tokens: Vec<u64> = some.keys().map(|&(token, _)| token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert!(tokens.starts_with(&[0, 1, 2, 3, 4]) && tokens.len() < all.len() / 30, "{tokens:?}");
    assert!(tokens[n_prompt..].windows(2).all(|two| two[1] - two[0] == 2), "{tokens:?}");
    for (place, row) in &some {
        assert!([3, 17].contains(&place.1), "{place:?}");
        let heads = row["weights"].as_array().unwrap().iter().zip(all[place]["weights"].as_array().unwrap());
        for (head, (found, real)) in heads.enumerate() {
            if ![1, 4, 5].contains(&head) {
                assert!(found.as_array().unwrap().iter().all(Value::is_null), "head {head} was not captured");
                continue;
            }
            // Queries were rounded to f16, which is what they are multiplied in anyway.
            let worst = numbers(found).iter().zip(numbers(real)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-5, "{place:?}, head {head}: off by {worst}");
        }
    }
}

#[test]
fn what_cannot_be_shown_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let says = |trace: &Path, options: &[&str]| {
        let finished = run(ggscope(&[&["attention", trace.to_str().unwrap()], options].concat()));
        assert!(!finished.status.success());
        finished.stderr
    };
    run(record(&trace, &[], &generate(&model, 3, "on", &[]))).ok();
    assert!(says(&trace, &[]).contains("--capture attention"));
    let captured = dir.path().join("captured.ggtrace");
    run(record(&captured, &CAPTURE, &generate(&model, 3, "on", &[]))).ok();
    assert!(says(&captured, &["--layer", "3"]).contains("no attention in layer 3"));
    assert!(says(&captured, &["--tokens", "4..2"]).contains("give 2..4"));
    assert!(says(&captured, &["--head", "4"]).contains("no head 4"));
    assert!(says(&captured, &["--token", "999"]).contains("no token 999"));
    let small = dir.path().join("small.ggtrace");
    run(record(
        &small,
        &["--capture", "attention", "--ring-size", "256K"],
        &generate(&vendored::demo_model(), 2, "on", &[]),
    ))
    .ok();
    assert!(number(&info(&small)["dropped"], "records") > 0);
    assert!(says(&small, &["--token", "0", "--layer", "29"]).contains("--ring-size"));
}
