//! What is added to the residual stream from outside: LoRA adapters, on the output matrix too, and control vectors. The parts
//! of a layer, the logit lens and what heads add are right with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::{GgufWriter, TensorType, Value as Meta, Weights};
use crate::support::{hosts, tiny_model};

const N_EMBD: usize = 64;
const RANK: usize = 4;
const ALPHA: f32 = 16.0;

fn generate(model: &Path, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg("3").args(["--threads", "2"]).args(options);
    host
}

/// Writes an adapter on some matrices; the numbers of each pair are those of `Weights` with the seeds 1, 2, ….
fn write_lora(path: &Path, matrices: &[(&str, usize, usize)]) {
    let mut gguf = GgufWriter::default();
    gguf.set("general.type", Meta::Text("adapter".into()))
        .set("general.architecture", Meta::Text("llama".into()))
        .set("adapter.type", Meta::Text("lora".into()))
        .set("adapter.lora.alpha", Meta::F32(ALPHA));
    for (i, &(name, n_in, n_out)) in matrices.iter().enumerate() {
        let (a, b) = pair(i, n_in, n_out);
        gguf.tensor(&format!("{name}.lora_a"), TensorType::F32, &[n_in as u64, RANK as u64], &a);
        gguf.tensor(&format!("{name}.lora_b"), TensorType::F32, &[RANK as u64, n_out as u64], &b);
    }
    gguf.write(path);
}

fn pair(i: usize, n_in: usize, n_out: usize) -> (Vec<f32>, Vec<f32>) {
    let mut weights = Weights::new(i as u64 + 1);
    (weights.uniform(n_in * RANK, 0.2), weights.uniform(n_out * RANK, 0.2))
}

struct Stage {
    _dir: tempfile::TempDir,
    model: PathBuf,
    lora: PathBuf,
    trace: PathBuf,
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let [model, lora, trace] = ["m.gguf", "lora.gguf", "run.ggtrace"].map(|name| dir.path().join(name));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    Stage { _dir: dir, model, lora, trace }
}

fn json(args: &[&str], trace: &Path, more: &[&str]) -> Value {
    let mut command = ggscope(args);
    command.arg(trace).args(more);
    serde_json::from_str(&run(command).ok().stdout).expect("JSON")
}

/// Rows of a matrix of 32-bit floats that a recorded run read from a model's file, and its numbers.
fn matrix_of(trace: &Path, model: &Path, name: &str) -> (usize, Vec<f32>) {
    let rows = dump(trace, &[]);
    let found = rows.iter().flat_map(|row| row["src"].as_array().unwrap()).find(|source| text(source, "name") == name);
    let found = found.unwrap_or_else(|| panic!("{name} was not read"));
    let (offset, bytes) = (number(found, "offset") as usize, number(found, "bytes") as usize);
    let file = std::fs::read(model).unwrap();
    let numbers = file[offset..][..bytes].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    (found["ne"][1].as_u64().unwrap() as usize, numbers.collect())
}

fn parts(layer: &Value) -> Vec<&str> {
    layer["added"].as_array().unwrap().iter().map(|part| text(part, "part")).collect()
}

fn norm_of(layer: &Value, part: &str) -> f64 {
    let found = layer["added"].as_array().unwrap().iter().find(|p| p["part"] == part);
    found.and_then(|p| p["norm"].as_f64()).unwrap_or_else(|| panic!("no {part}: {layer}"))
}

#[test]
fn an_adapter_on_the_output_projection_is_a_part_of_its_own_and_counts_in_what_heads_add() {
    let Stage { _dir, model, lora, trace } = stage();
    write_lora(&lora, &[("blk.1.attn_output.weight", N_EMBD, N_EMBD), ("blk.1.ffn_up.weight", N_EMBD, 128)]);
    let capture = ["--capture", "attention,values,layers"];
    let lora = lora.to_str().unwrap();
    run(record(&trace, &capture, &generate(&model, &["--lora", lora]))).ok();
    let layers = json(&["layers", "--json"], &trace, &[]);
    let layers = layers["layers"].as_array().unwrap();
    assert_eq!(layers.len() as u64, tiny_model::N_LAYER + 1, "the stream is found");
    assert_eq!(parts(&layers[1]), ["attention", "feed_forward"]);
    assert_eq!(parts(&layers[2]), ["attention", "adapter", "feed_forward"]);
    assert!(norm_of(&layers[2], "adapter") > 0.0);

    let token = (number(&info(&trace)["tokens"], "prompt") + 1).to_string();
    let attention = |more: &[&str]| json(&["attention", "--json", "--layer", "1", "--token", &token], &trace, more);
    let found = attention(&["--model", model.to_str().unwrap()]);
    let heads = found["heads"].as_array().unwrap();
    let floats = |v: &Value| v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<f64>>();
    let (_, w) = matrix_of(&trace, &model, "blk.1.attn_output.weight");
    let (a, b) = pair(0, N_EMBD, N_EMBD);
    let dot = |row: &[f32], x: &[f64]| row.iter().zip(x).map(|(a, x)| f64::from(*a) * x).sum::<f64>();
    for head in heads {
        let x = floats(&head["weighted"]);
        let first = number(head, "head") as usize * x.len();
        let low: Vec<f64> = a.chunks(N_EMBD).map(|row| dot(&row[first..], &x)).collect();
        let scale = f64::from(ALPHA) / RANK as f64;
        let rows = w.chunks(N_EMBD).zip(b.chunks(RANK));
        let sum: f64 = rows.map(|(w, b)| (dot(&w[first..], &x) + scale * dot(b, &low)).powi(2)).sum();
        let found = head["contribution"].as_f64().unwrap();
        assert!((found / sum.sqrt() - 1.0).abs() < 1e-3, "{found} is not {}", sum.sqrt());
    }
}

#[test]
fn an_adapter_is_one_part_in_every_evaluation_whichever_others_are_used_beside_it() {
    let Stage { _dir, model, lora, trace } = stage();
    let (o, down) = ("blk.0.attn_output.weight", "blk.0.ffn_down.weight");
    write_lora(&lora, &[(o, N_EMBD, N_EMBD)]);
    let second = lora.with_file_name("second.gguf");
    write_lora(&second, &[("blk.0.attn_q.weight", N_EMBD, N_EMBD), (o, N_EMBD, N_EMBD), (down, 128, N_EMBD)]);
    let host = |options: &[&str]| generate(&model, &[options, &["--lora", second.to_str().unwrap()]].concat());
    let both = host(&["--repeat", "2", "--lora", lora.to_str().unwrap()]);
    run(record(&trace, &["--capture", "layers"], &both)).ok();
    let table = json(&["layers", "--json"], &trace, &[]);
    let layer = &table["layers"][1];
    let tokens = number(layer, "tokens");
    let all = layer["added"].as_array().unwrap();
    let found: Vec<_> = all.iter().map(|a| (text(a, "part"), text(a, "matrix"), number(a, "tokens"))).collect();
    let of_block = [("attention", o, tokens), ("feed_forward", down, tokens)];
    let of_adapters = [("adapter", down, tokens), ("adapter", o, tokens / 2), ("adapter", o, tokens)];
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(of_block.iter().chain(&of_adapters).all(|part| found.contains(part)), "{found:?}");
    assert!(all.iter().all(|a| (a["part"] == "adapter") == a["adapter"].is_object()), "{layer}");
    let on = |matrix: &str, of: u64| {
        let is_it = |a: &&Value| a["part"] == "adapter" && a["matrix"] == matrix && number(a, "tokens") == of;
        all.iter().find(is_it).unwrap()
    };
    assert_eq!(on(o, tokens)["adapter"]["tensor"], format!("{o}.lora_a"));
    let buffer = |part: &Value| part["adapter"]["buffer"].as_u64().unwrap();
    assert_eq!(buffer(on(o, tokens)), buffer(on(down, tokens)), "of one adapter");
    assert_ne!(buffer(on(o, tokens)), buffer(on(o, tokens / 2)));

    // In the second half the second adapter is alone: there it is the same part, and nothing is left of the first.
    let range = format!("{}..{}", tokens / 2, tokens - 1);
    let alone = json(&["layers", "--json"], &trace, &["--tokens", &range]);
    let alone = alone["layers"][1]["added"].as_array().unwrap();
    let adapters: Vec<&Value> = alone.iter().map(|a| &a["adapter"]).filter(|a| a.is_object()).collect();
    assert_eq!(adapters, [&on(o, tokens)["adapter"], &on(down, tokens)["adapter"]]);
    let mut table = ggscope(&["layers"]);
    table.arg(&trace);
    let said = run(table).ok().stdout;
    let line = format!("layer 0: adapter on {o} (buffer {}) adds", buffer(on(o, tokens / 2)));
    assert!(said.contains(&line) && said.contains(&format!("for {} of {tokens} tokens", tokens / 2)), "{said}");
}

#[test]
fn the_lens_ends_where_llama_cpp_ends_with_an_adapter_on_the_output_matrix() {
    let Stage { _dir, model, lora, trace } = stage();
    run(record(&trace, &["--capture", "layers,logits"], &generate(&model, &[]))).ok();
    let mut first = ggscope(&["layers", "--lens", "--json", "--model"]);
    first.arg(&model).arg(&trace);
    let plain: Value = serde_json::from_str(&run(first).ok().stdout).unwrap();
    let (n_vocab, _) = matrix_of(&trace, &model, "output.weight");
    write_lora(&lora, &[("output.weight", N_EMBD, n_vocab)]);
    let adapted = trace.with_file_name("adapted.ggtrace");
    let lora = lora.to_str().unwrap();
    run(record(&adapted, &["--capture", "layers,logits"], &generate(&model, &["--lora", lora]))).ok();
    let layers = json(&["layers", "--json"], &adapted, &[]);
    assert_eq!(layers["layers"].as_array().unwrap().len() as u64, tiny_model::N_LAYER + 1);
    let lens = json(&["layers", "--lens", "--json", "--model", model.to_str().unwrap()], &adapted, &[]);
    let of = |lens: &Value| lens.as_array().and_then(|all| all.first()).unwrap_or(lens).clone();
    for lens in [of(&plain), of(&lens)] {
        assert_eq!(lens["check"]["same_top"], true, "{}", lens["check"]);
        assert!(lens["check"]["relative_error"].as_f64().unwrap() < 0.02, "{}", lens["check"]);
    }
}

#[test]
fn a_control_vector_is_a_part_of_its_own_and_not_of_the_feed_forward_network() {
    let Stage { _dir, model, trace, .. } = stage();
    run(record(&trace, &["--capture", "layers"], &generate(&model, &["--control", "0.5"]))).ok();
    let layers = json(&["layers", "--json"], &trace, &[]);
    let layers = layers["layers"].as_array().unwrap();
    assert_eq!(parts(&layers[1]), ["attention", "feed_forward"]);
    assert_eq!(parts(&layers[2]), ["attention", "feed_forward", "control_vector"]);
    let expected = 0.5 * (N_EMBD as f64).sqrt();
    assert!((norm_of(&layers[2], "control_vector") / expected - 1.0).abs() < 1e-3, "{}", layers[2]["added"]);
    let mut table = ggscope(&["layers"]);
    table.arg(&trace);
    assert!(run(table).ok().stdout.contains("layer 1: control vector adds"));
}
