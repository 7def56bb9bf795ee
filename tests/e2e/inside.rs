//! Attention where a run does more than append to one cache: what heads weigh and add, memory that the program edits,
//! windows and caps, numbers that are none. Each is exact or refused with a reason.

use std::path::{Path, PathBuf};

use half::f16;
use serde_json::Value;

use crate::attention::{CAPTURE, assert_as_computed, generate, numbers, walked};
use crate::ggscope::{command, dump, ggscope, info, number, record, run};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

const VALUES: [&str; 4] = ["--capture", "attention,values,layers,kqv_out-*,attn_out-*", "--ring-size", "64M"];

fn attention(trace: &Path, token: u64, layer: u64, options: &[&str]) -> Value {
    let (token, layer) = (token.to_string(), layer.to_string());
    let args = ["attention", trace.to_str().unwrap(), "--json", "--token", &token, "--layer", &layer];
    serde_json::from_str(&run(ggscope(&[&args, options].concat())).ok().stdout).unwrap()
}

/// Calls `f` with each row of a captured `[n, n_tokens]` tensor of each layer: token, layer and the row.
fn for_each_row(trace: &Path, name: &str, mut f: impl FnMut(u64, u64, &[f64])) {
    // Some graphs give what the output matrix makes of it the same name.
    let is_wanted = |row: &Value| !name.starts_with("kqv_out") || row["op"] != "MUL_MAT";
    let rows: Vec<Value> = dump(trace, &["--values", "--name", name]).into_iter().filter(is_wanted).collect();
    let mut first = 0;
    for evaluation in rows.chunk_by(|a, b| a["eval"] == b["eval"]) {
        let n_tokens = number(&evaluation[0], "n_tokens");
        for row in evaluation {
            let (data, ne) = (numbers(&row["value"]["data"]), numbers(&row["value"]["ne"]));
            assert_eq!(ne[1] as u64, n_tokens);
            for (i, values) in data.chunks_exact(ne[0] as usize).enumerate() {
                f(first + i as u64, number(row, "layer"), values);
            }
        }
        first += n_tokens;
    }
}

/// The largest difference, as a part of the largest number.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

fn weighted(found: &Value) -> Vec<Vec<f64>> {
    assert_eq!(found["no_values"], Value::Null);
    found["heads"].as_array().unwrap().iter().map(|head| numbers(&head["weighted"])).collect()
}

/// Σ weights · V of every token, layer and head beside `kqv_out-*` of the same run. Returns how many rows were compared.
pub(crate) fn assert_weighs_as_computed(trace: &Path, tolerance: f64) -> u64 {
    let mut compared = 0;
    for_each_row(trace, "kqv_out-*", |token, layer, real| {
        let worst = apart(&weighted(&attention(trace, token, layer, &[])).concat(), real);
        assert!(worst < tolerance, "token {token}, layer {layer}: off by {worst}");
        compared += 1;
    });
    assert!(compared > 0);
    compared
}

#[test]
fn what_heads_weigh_is_what_llama_cpp_computed_in_every_layer_and_head_and_for_every_token() {
    let dir = tempfile::tempdir().unwrap();
    for flash in ["on", "off"] {
        let trace = dir.path().join(format!("{flash}.ggtrace"));
        run(record(&trace, &VALUES, &generate(&vendored::demo_model(), 3, flash, &[]))).ok();
        assert_eq!(info(&trace)["dropped"]["records"], 0);
        let compared = assert_weighs_as_computed(&trace, 2e-3);
        let tokens = number(&info(&trace)["tokens"], "prompt") + number(&info(&trace)["tokens"], "generate");
        assert_eq!(compared, tokens * 30);
    }
}

#[test]
fn what_heads_add_is_their_part_of_what_attention_adds() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &VALUES, &generate(&model, 3, "on", &[]))).ok();
    let bytes = std::fs::read(&model).unwrap();
    let products = dump(&trace, &["--name", "attn_out-*"]);
    let mut compared = 0;
    for_each_row(&trace, "attn_out-*", |token, layer, real| {
        let found = attention(&trace, token, layer, &["--model", model.to_str().unwrap(), "--vectors"]);
        let product = products.iter().find(|product| number(product, "layer") == layer).unwrap();
        let (matrix, n_in) = (&product["src"][0], real.len());
        assert_eq!(matrix["name"], format!("blk.{layer}.attn_output.weight"));
        let halves = bytes[number(matrix, "offset") as usize..].as_chunks().0.iter();
        let matrix: Vec<f32> = halves.take(n_in * n_in).map(|&b| f16::from_le_bytes(b).to_f32()).collect();
        let heads = weighted(&found);
        let mut sum = vec![0.0; real.len()];
        for (h, (values, head)) in heads.iter().zip(found["heads"].as_array().unwrap()).enumerate() {
            let part = |row: &[f32]| row[h * values.len()..].iter().zip(values).map(|(a, b)| f64::from(*a) * b).sum();
            let added: Vec<f64> = matrix.chunks_exact(n_in).map(part).collect();
            let norm = added.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((head["contribution"].as_f64().unwrap() - norm).abs() < 1e-5 * norm);
            sum.iter_mut().zip(&added).for_each(|(sum, x)| *sum += x);
            assert_eq!(numbers(&head["query"]).len(), values.len());
        }
        let worst = apart(&sum, real);
        assert!(worst < 2e-3, "token {token}, layer {layer}: off by {worst}");
        let keys = found["keys"].as_array().unwrap().len();
        for vectors in ["keys", "values"].map(|what| found["vectors"][what].as_array().unwrap()) {
            assert_eq!((vectors.len(), vectors[1].as_array().unwrap().len()), (2, keys));
        }
        compared += 1;
    });
    assert!(compared > 0);
    let without = dir.path().join("without.ggtrace");
    run(record(&without, &CAPTURE, &generate(&model, 3, "on", &[]))).ok();
    let says = run(ggscope(&["attention", without.to_str().unwrap(), "--model", model.to_str().unwrap()]));
    assert!(!says.status.success() && says.stderr.contains("--capture attention,values"), "{}", says.stderr);
}

/// A run whose memory is edited after three tokens, recorded.
fn edited(dir: &Path, capture: &[&str], flash: &str, edit: &str, options: &[&str]) -> PathBuf {
    let (model, trace) = (dir.join("tiny.gguf"), dir.join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let host = || generate(&model, 6, flash, &[&["--edit", edit, "3"], options].concat());
    let traced = run(record(&trace, &[capture, &["--force"]].concat(), &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
    trace
}

#[test]
fn a_context_shift_and_tokens_that_are_taken_back_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    for edit in ["shift", "remove"] {
        let trace = edited(dir.path(), &CAPTURE, "off", edit, &[]);
        assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
        let rows = walked(&trace);
        let last = rows.keys().map(|&(token, _)| token).max().unwrap();
        let seen = numbers(&rows[&(last, 0)]["tokens"]);
        let gone = if edit == "shift" { [1.0, 2.0] } else { [last as f64 - 4.0, last as f64 - 3.0] };
        assert!(gone.iter().all(|token| !seen.contains(token)), "{edit}: {seen:?}");
        assert_eq!(seen.len() as u64, last + 1 - 2, "{edit}: {seen:?}");
    }
}

#[test]
fn a_sequence_that_is_copied_is_followed_within_one_buffer_and_into_another() {
    let dir = tempfile::tempdir().unwrap();
    for options in [&["--unified"][..], &[]] {
        let trace = edited(dir.path(), &CAPTURE, "off", "copy", options);
        assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
    }
}

#[test]
fn sequences_that_are_evaluated_together_see_their_own_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    for options in [&["--parallel", "--unified"][..], &["--parallel"]] {
        let host = || generate(&model, 5, "off", options);
        let traced = run(record(&trace, &[&CAPTURE[..], &["--force"]].concat(), &host())).ok();
        assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
        assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
        let rows = walked(&trace);
        let last = rows.keys().map(|&(token, _)| token).max().unwrap();
        let seen = [last - 1, last].map(|token| numbers(&rows[&(token, 1)]["tokens"]));
        assert!(seen[0].iter().all(|token| !seen[1].contains(token)), "{options:?}: {seen:?}");
        // The second began with one token less; together they have seen everything.
        assert_eq!((seen[0].len(), seen[0].len() + seen[1].len()), (seen[1].len() + 1, last as usize + 1));
        let flash = dir.path().join("flash.ggtrace");
        run(record(&flash, &[&VALUES[..], &["--force"]].concat(), &generate(&model, 5, "on", options))).ok();
        assert_weighs_as_computed(&flash, 2e-3);
    }
}

#[test]
fn a_sequence_that_is_saved_and_restored_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    for options in [&["--unified"][..], &[]] {
        let trace = edited(dir.path(), &CAPTURE, "off", "restore", options);
        assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
    }
}

#[test]
fn what_heads_weigh_is_as_computed_after_all_of_this_whether_or_not_the_cache_of_values_is_transposed() {
    let dir = tempfile::tempdir().unwrap();
    for flash in ["off", "on"] {
        // A cleared cache, first.
        let again = dir.path().join("again.ggtrace");
        let model = dir.path().join("tiny.gguf");
        tiny_model::write_dense_gguf(&model, TensorType::F16);
        run(record(&again, &[&VALUES[..], &["--force"]].concat(), &generate(&model, 3, flash, &["--repeat", "2"])))
            .ok();
        assert_weighs_as_computed(&again, 2e-3);
        for (edit, options) in [
            ("shift", &[][..]),
            ("remove", &[]),
            ("copy", &["--unified"]),
            ("copy", &[]),
            ("restore", &["--unified"]),
            ("restore", &[]),
        ] {
            let trace = edited(dir.path(), &VALUES, flash, edit, options);
            let tokens = number(&info(&trace)["tokens"], "prompt") + number(&info(&trace)["tokens"], "generate");
            let compared = assert_weighs_as_computed(&trace, 2e-3);
            assert_eq!(compared, tokens * tiny_model::N_LAYER, "flash attention {flash}, {edit} {options:?}");
        }
    }
}

#[test]
fn windows_and_caps_are_those_of_the_graph() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_gemma2_gguf(&model);
    run(record(&trace, &CAPTURE, &generate(&model, 8, "off", &[]))).ok();
    assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
    let rows = walked(&trace);
    let last = rows.keys().map(|&(token, _)| token).max().unwrap();
    let n_keys = |layer: u64| numbers(&rows[&(last, layer)]["cells"]).len() as u64;
    let window = u64::from(tiny_model::WINDOW);
    assert!(last + 1 > window);
    assert_eq!([0, 1, 2].map(n_keys), [window, last + 1, window]);
    let flash = dir.path().join("flash.ggtrace");
    run(record(&flash, &CAPTURE, &generate(&model, 8, "on", &[]))).ok();
    for (place, row) in walked(&flash) {
        let pairs = row["weights"].as_array().unwrap().iter().zip(rows[&place]["weights"].as_array().unwrap());
        // The same run but for rounding.
        let worst = pairs.map(|(a, b)| apart(&numbers(a), &numbers(b))).fold(0.0, f64::max);
        assert!(worst < 1e-2, "{place:?}: off by {worst}");
    }
}

#[test]
fn an_encoder_that_keeps_no_cache_looks_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_bert_gguf(&model);
    let mut host = command(hosts::feed());
    host.arg(&model).arg("2");
    run(record(&trace, &VALUES, &host)).ok();
    assert_eq!(info(&trace)["dropped"]["records"], 0);
    let rows = walked(&trace);
    // Six tokens at once, then two alone.
    for (&(token, layer), row) in &rows {
        let seen: Vec<f64> = if token < 6 { (0..6).map(f64::from).collect() } else { vec![token as f64] };
        assert_eq!(numbers(&row["tokens"]), seen, "layer {layer}");
    }
    let all = 8 * tiny_model::N_LAYER;
    assert_eq!((assert_weighs_as_computed(&trace, 2e-3), rows.len() as u64), (all, all));
}

#[test]
fn a_number_that_is_none_shows_where_it_is_and_where_it_gets_to() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &CAPTURE, &generate(&model, 2, "on", &[]))).ok();
    // One weight of the first query's head of layer 1.
    let place = number(&dump(&trace, &["--name", "Qcur-1"])[0]["src"][0], "offset") as usize;
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[place..place + 2].copy_from_slice(&f16::NAN.to_le_bytes());
    std::fs::write(&model, bytes).unwrap();
    run(record(&trace, &[&VALUES[..], &["--force"]].concat(), &generate(&model, 2, "on", &[]))).ok();
    let is_nan = |list: &Value| list.as_array().unwrap().iter().all(Value::is_null);
    let of_layer = |layer: u64| -> Vec<bool> {
        let found = attention(&trace, 3, layer, &[]);
        found["heads"].as_array().unwrap().iter().map(|h| is_nan(&h["weights"]) && is_nan(&h["weighted"])).collect()
    };
    assert_eq!([0, 1, 2].map(of_layer), [vec![false; 4], vec![true, false, false, false], vec![true; 4]]);
    assert!(walked(&trace).contains_key(&(3, 2)));
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&run(ggscope(&[args, &[trace.to_str().unwrap(), "--json"]].concat())).ok().stdout).unwrap()
    };
    // Heads: rows with NaN are counted, and measures are of the others.
    let heads = json(&["heads"]);
    let counts = |layer: u64| -> Vec<u64> {
        let all = heads["heads"].as_array().unwrap().iter();
        all.filter(|h| h["layer"] == layer).map(|h| number(h, "not_finite")).collect()
    };
    let rows = counts(2)[0];
    assert!(rows > 0);
    assert_eq!([counts(0), counts(1), counts(2)], [vec![0; 4], vec![rows, 0, 0, 0], vec![rows; 4]]);
    // Layers: counted too, and left out of everything else.
    let layers = json(&["layers"]);
    let nan: Vec<bool> = layers["layers"].as_array().unwrap().iter().map(|l| number(l, "nan") > 0).collect();
    assert!(!nan[0] && nan[nan.len() - 1], "{nan:?}");
    assert!(run(ggscope(&["layers", trace.to_str().unwrap()])).ok().stdout.contains("NaN"));
}
