//! Hidden states, computed here from the dumped values by the formulas of docs/layers.md, beside what `ggscope layers` says;
//! the logit lens beside llama.cpp's own logits and answers; and a model beside itself in another quantisation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_attention, tiny_model, vendored};

const CAPTURE: [&str; 4] = ["--capture", "layers,logits,ffn_swiglu-*,ffn_gate-*", "--ring-size", "64M"];
const LAYERS: usize = 30;

fn generate(model: &Path, n: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "2"]).args(options);
    host
}

/// Records a model with its stream captured.
fn recorded(dir: &Path, name: &str, model: &Path, n: u32, options: &[&str]) -> PathBuf {
    let trace = dir.join(name);
    run(record(&trace, &CAPTURE, &generate(model, n, options))).ok();
    assert_eq!(info(&trace)["dropped"]["records"], 0);
    trace
}

/// `ggscope layers TRACE --json OPTIONS`.
fn layers(trace: &Path, options: &[&str]) -> Value {
    let mut command = ggscope(&["layers", "--json"]);
    command.arg(trace).args(options);
    serde_json::from_str(&run(command).ok().stdout).expect("layers prints JSON")
}

fn refused(trace: &Path, options: &[&str]) -> String {
    let mut command = ggscope(&["layers"]);
    command.arg(trace).args(options);
    let finished = run(command);
    assert!(!finished.status.success());
    finished.stderr
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("no list: {value}"))
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Rows of a tensor of an evaluation, as `dump --values` has them.
fn rows_of(row: &Value) -> Vec<Vec<f64>> {
    let n = list(&row["value"]["ne"])[0].as_u64().unwrap() as usize;
    list(&row["value"]["data"]).chunks(n).map(|row| row.iter().map(float).collect()).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn assert_near(found: &Value, expected: f64, what: &str) {
    let found = float(found);
    assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1e-3), "{what}: {found} is not {expected}");
}

#[test]
fn norms_shares_and_cosines_are_those_of_the_dumped_values_for_every_token_and_layer() {
    let dir = tempfile::tempdir().unwrap();
    let trace = recorded(dir.path(), "run.ggtrace", &vendored::demo_model(), 4, &[]);
    let n_prompt = number(&info(&trace)["tokens"], "prompt") as usize;
    let mut tensors: BTreeMap<(u64, String), Vec<Vec<f64>>> = BTreeMap::new();
    let mut first_of: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    let mut first = 0;
    for row in dump(&trace, &["--values", "--name", "{l_out-*,ffn_inp-*,embd}"]) {
        let eval = number(&row, "eval");
        let n = number(&row, "n_tokens") as usize;
        first_of.entry(eval).or_insert_with(|| {
            first += n;
            (first - n, n)
        });
        tensors.insert((eval, text(&row, "name").to_owned()), rows_of(&row));
    }
    let matrix = |measure: &str| layers(&trace, &["--measure", measure]);
    let (norms, attention, feed_forward, cosines) =
        (matrix("norm"), matrix("attention"), matrix("feed_forward"), matrix("cosine"));
    assert_eq!(list(&norms["layers"]).len(), LAYERS + 1, "the embeddings and each layer");
    let at = |matrix: &Value, token: usize, place: usize| {
        assert_eq!(number(&matrix["rows"][token], "token"), token as u64);
        matrix["rows"][token]["values"][place].clone()
    };
    let mut compared = 0;
    for (&eval, &(first, n)) in &first_of {
        for layer in 0..LAYERS {
            let of = |name: String| &tensors[&(eval, name)];
            let before = if layer == 0 { of("embd".into()) } else { of(format!("l_out-{}", layer - 1)) };
            let (middle, after) = (of(format!("ffn_inp-{layer}")), of(format!("l_out-{layer}")));
            // In the last layer only the last token of the prompt goes on.
            let tokens: Vec<usize> = if after.len() < n { vec![n - 1] } else { (0..n).collect() };
            assert_eq!(after.len(), tokens.len());
            for (row, &token) in tokens.iter().enumerate() {
                let middle_row = &middle[row];
                let before = &before[if before.len() == n { token } else { row }];
                let minus = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
                let what = format!("layer {layer}, token {}", first + token);
                assert_near(&at(&norms, first + token, layer + 1), norm(&after[row]), &what);
                let by_attention = norm(&minus(middle_row, before)) / norm(before);
                assert_near(&at(&attention, first + token, layer + 1), by_attention, &what);
                let by_feed_forward = norm(&minus(&after[row], middle_row)) / norm(middle_row);
                assert_near(&at(&feed_forward, first + token, layer + 1), by_feed_forward, &what);
                let dot: f64 = before.iter().zip(&after[row]).map(|(a, b)| a * b).sum();
                assert_near(&at(&cosines, first + token, layer + 1), dot / norm(before) / norm(&after[row]), &what);
                compared += 1;
            }
            for token in (0..n).filter(|token| !tokens.contains(token)) {
                assert!(at(&norms, first + token, layer + 1).is_null(), "llama.cpp did not compute it");
            }
        }
    }
    let tokens = n_prompt + number(&info(&trace)["tokens"], "generate") as usize;
    assert_eq!(
        compared,
        tokens * LAYERS - (n_prompt - 1),
        "all but the prompt's tokens without output in the last layer"
    );
}

#[test]
fn the_lens_ends_with_the_logits_and_the_answers_of_llama_cpp() {
    let dir = tempfile::tempdir().unwrap();
    let model = vendored::demo_model();
    let trace = recorded(dir.path(), "run.ggtrace", &model, 6, &[]);
    let model = model.to_str().unwrap();
    let all = layers(&trace, &["--lens", "--model", model, "--tokens", "0.."]);
    let n_prompt = number(&info(&trace)["tokens"], "prompt");
    let mut answers = 0;
    for lens in list(&all) {
        let token = number(lens, "token");
        let complete = token + 1 >= n_prompt;
        assert_eq!(lens["complete"], complete, "token {token}");
        assert_eq!(list(&lens["rows"]).len(), if complete { LAYERS + 1 } else { LAYERS });
        if !complete {
            assert_eq!(lens["incomplete"], "not_computed");
            assert!(lens["check"].is_null());
            continue;
        }
        let check = &lens["check"];
        assert_eq!(check["same_top"], true, "token {token}: {check}");
        assert!(float(&check["largest_difference"]) < 1e-2, "token {token}: {check}");
        let rows = list(&lens["rows"]);
        let end = &rows[LAYERS];
        assert_eq!((end["layer"].as_u64(), number(&end["answer"], "rank")), (Some(29), 0));
        assert_eq!(end["top"][0]["id"], lens["answer"]["id"]);
        let on_top = |row: &Value| row["top"][0]["id"] == lens["answer"]["id"];
        let settled = number(lens, "settled") as usize;
        assert!(rows[settled..].iter().all(on_top) && (settled == 0 || !on_top(&rows[settled - 1])));
        assert_eq!(rows.iter().position(on_top), Some(number(lens, "first_on_top") as usize));
        if !lens["next"].is_null() {
            assert_eq!(lens["next"]["id"], lens["answer"]["id"], "the program takes the likeliest token");
            answers += 1;
        }
    }
    assert_eq!(answers, number(&info(&trace)["tokens"], "generate"), "each generated token was an answer");
    let one = layers(&trace, &["--lens", "--model", model, "--device", "cpu"]);
    assert_eq!(one[0]["computed"], "cpu (asked for)");
    assert_eq!(list(&one).len(), 1);
    assert_eq!(one[0]["rows"], all[list(&all).len() - 1]["rows"], "a token alone is as among others");
    assert_eq!(number(&one[0], "token"), number(&all[list(&all).len() - 1], "token"), "of the last token");
}

#[test]
fn a_model_with_an_output_matrix_of_its_own_is_checked_too() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let trace = recorded(dir.path(), "run.ggtrace", &model, 4, &[]);
    let lens = layers(&trace, &["--lens", "--model", model.to_str().unwrap()]);
    assert_eq!(lens[0]["check"]["same_top"], true, "{lens}");
    assert!(float(&lens[0]["check"]["largest_difference"]) < 1e-2, "{lens}");
    let error = refused(&trace, &["--lens", "--model", vendored::demo_model().to_str().unwrap()]);
    assert!(error.contains("is not the model that ran") || error.contains("has no tensor"), "{error}");
    let error = refused(&trace, &["--lens"]);
    assert!(error.contains("--model") && error.contains("tiny.gguf"), "{error}");
}

#[test]
fn streams_and_logits_of_other_architectures_are_found_too() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.gguf");
    type Writer = fn(&Path);
    let architectures: [(&str, Writer); 4] = [
        ("gemma2", tiny_model::write_gemma2_gguf),
        ("gemma3", tiny_attention::write_gemma3_gguf),
        ("mpt", tiny_attention::write_mpt_gguf),
        ("gpt-oss", tiny_attention::write_gpt_oss_gguf),
    ];
    for (name, write) in architectures {
        write(&model);
        let trace = recorded(dir.path(), &format!("{name}.ggtrace"), &model, 4, &[]);
        let found = layers(&trace, &[]);
        let all = list(&found["layers"]);
        assert_eq!(all.len() as u64, tiny_model::N_LAYER + 1, "{name}: the embeddings, and each layer");
        for layer in &all[1..] {
            let parts: Vec<&str> = list(&layer["added"]).iter().map(|part| text(part, "part")).collect();
            assert_eq!(parts, ["attention", "feed_forward"], "{name}: {layer}");
        }
        let lens = layers(&trace, &["--lens", "--model", model.to_str().unwrap()]);
        assert_eq!(lens[0]["check"]["same_top"], true, "{name}: {lens}");
        assert!(float(&lens[0]["check"]["largest_difference"]) < 1e-2, "{name}: {lens}");
    }
}

#[test]
fn a_quantised_model_is_told_from_its_reference_layer_by_layer() {
    let dir = tempfile::tempdir().unwrap();
    let (model, other) = (vendored::demo_model(), dir.path().join("q4_0.gguf"));
    let mut quantize = command(vendored::built("llama-quantize"));
    quantize.arg("--allow-requantize").arg(&model).arg(&other).arg("Q4_0");
    run(quantize).ok();
    let reference = recorded(dir.path(), "reference.ggtrace", &model, 6, &[]);
    let quantised = recorded(dir.path(), "quantised.ggtrace", &other, 6, &[]);
    let path = reference.to_str().unwrap();
    let found = layers(&quantised, &["--against", path]);
    let prompt = number(&info(&reference)["tokens"], "prompt");
    assert!(number(&found, "tokens") >= prompt, "the prompt is the same");
    let of_layers = list(&found["layers"]);
    assert_eq!(of_layers.len(), LAYERS + 1);
    let median = |layer: usize| float(&of_layers[layer]["error"]["median"]);
    assert!((1..=LAYERS).all(|l| median(l) > 1e-3 && median(l) < 1.0), "{found}");
    assert!(median(15) > median(0), "the error grows on its way");
    let itself = layers(&reference, &["--against", path]);
    assert!(list(&itself["layers"]).iter().all(|l| float(&l["error"]["max"]) == 0.0));
    assert!(itself["diverges"].is_null());
    let elsewhere = recorded(dir.path(), "elsewhere.ggtrace", &model, 2, &["--seed-prompt", "Something else"]);
    let error = refused(&elsewhere, &["--against", path]);
    assert!(error.contains("the texts differ: token 0"), "{error}");
    let tiny = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&tiny, TensorType::F16);
    let bare = dir.path().join("bare.ggtrace");
    run(record(&bare, &[CAPTURE[0], CAPTURE[1], "--no-tokens"], &generate(&tiny, 2, &[]))).ok();
    assert!(refused(&bare, &["--against", path]).contains("--no-tokens"));
}

#[test]
fn layers_say_what_stands_out_and_what_would_say_more() {
    let dir = tempfile::tempdir().unwrap();
    let trace = recorded(dir.path(), "run.ggtrace", &vendored::demo_model(), 3, &[]);
    let all = layers(&trace, &[]);
    let last = &all["layers"][LAYERS];
    let generated = number(&info(&trace)["tokens"], "generate");
    assert_eq!(number(last, "tokens"), generated + 1, "only tokens with an output row");
    assert_eq!(list(&all["similarity"]).len(), LAYERS + 1);
    assert!(list(&all["missing"]).is_empty(), "{}", all["missing"]);
    let fifth = &all["layers"][6];
    let normed: Vec<&str> = list(&fifth["normed"]).iter().map(|n| text(n, "tensor")).collect();
    assert_eq!(normed, ["attn_norm", "ffn_norm"]);
    assert_eq!(number(&fifth["units"], "units"), 1536);
    assert!(fifth["units"]["always_closed"].is_u64());
    let few = dir.path().join("few.ggtrace");
    run(record(&few, &["--capture", "l_out-*"], &generate(&vendored::demo_model(), 2, &[]))).ok();
    let missing = layers(&few, &[])["missing"].clone();
    assert!(list(&missing).iter().any(|m| m == "ffn_inp-*"), "{missing}");
    let text = run(ggscope(&["layers", few.to_str().unwrap()])).ok().stdout;
    assert!(text.contains("more with --capture") && text.lines().all(|line| line.chars().count() <= 120), "{text}");
}

#[test]
fn statistics_say_norms_and_shares_but_no_angles() {
    let dir = tempfile::tempdir().unwrap();
    let model = vendored::demo_model();
    let values = recorded(dir.path(), "values.ggtrace", &model, 3, &[]);
    let statistics = dir.path().join("statistics.ggtrace");
    run(record(&statistics, &["--capture", "layers", "--capture-stats"], &generate(&model, 3, &[]))).ok();
    let (all, few) = (layers(&values, &[]), layers(&statistics, &[]));
    for (all, few) in list(&all["layers"]).iter().zip(list(&few["layers"])) {
        assert_eq!(all["tokens"], few["tokens"]);
        assert_near(&few["norm"]["median"], float(&all["norm"]["median"]), "norm");
        assert_near(&few["largest"]["largest"], float(&all["largest"]["largest"]), "largest");
        for (all, few) in list(&all["added"]).iter().zip(list(&few["added"])) {
            assert_eq!(all["part"], few["part"]);
            let (all, few) = (float(&all["share"]), float(&few["share"]));
            assert!((all - few).abs() < 1e-3 * all.max(1e-2), "{all} is not {few}");
        }
        assert!(few["cosine"].is_null());
    }
    assert_eq!(list(&few["layers"]).len(), LAYERS + 1);
    assert!(refused(&statistics, &["--lens", "--model", model.to_str().unwrap()]).contains("--capture-stats"));
    assert!(refused(&statistics, &["--measure", "cosine"]).contains("--capture-stats"));
}

#[test]
fn what_cannot_be_shown_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &[], &generate(&model, 3, &[]))).ok();
    assert!(refused(&trace, &[]).contains("--capture"));
    let captured = recorded(dir.path(), "captured.ggtrace", &model, 3, &[]);
    assert!(refused(&captured, &["--token", "999"]).contains("there is no token 999"));
    assert!(refused(&captured, &["--layer", "99"]).contains("there is no layer 99"));
    assert!(refused(&captured, &["--against", trace.to_str().unwrap()]).contains("--capture"));
}
