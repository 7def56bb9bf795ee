//! Values of tensors, compared with those that llama.cpp's own eval callback gets in an untraced run; and the program's
//! own callbacks, which must not notice us.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::ggscope::{command, dump, info, record, run, text};
use crate::support::eval_dump::{DumpedTensor, read_eval_dump};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

fn generate(model: &Path, n: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "1"]).args(options);
    host
}

/// The bits of a captured F32 tensor. JSON numbers are shortest decimals that read back as the same number.
fn captured_bits(row: &Value) -> Vec<u32> {
    let data = row["value"]["data"].as_array().unwrap_or_else(|| panic!("no values in {row}"));
    data.iter().map(|x| (x.as_f64().expect("a number") as f32).to_bits()).collect()
}

fn dumped_bits(tensor: &DumpedTensor) -> Vec<u32> {
    assert_eq!(tensor.ggml_type, 0, "{} is not F32", tensor.name);
    tensor.bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Without views and reshapes, which the eval callback is asked about too although nothing is computed: their names say
/// so, or (`Qcur-0` before RoPE) the computed tensor that has their name and shape comes right behind them.
fn without_looks(mut tensors: Vec<DumpedTensor>) -> Vec<DumpedTensor> {
    let next: Vec<_> = tensors.iter().skip(1).map(|t| Some((t.name.clone(), t.ne))).chain([None]).collect();
    let mut next = next.into_iter();
    tensors.retain(|t| next.next().flatten().is_none_or(|n| n != (t.name.clone(), t.ne)) && !t.name.contains(" ("));
    tensors
}

/// For all values of a test: a prompt's come at once, and on a busy machine the collector may be late for them.
const ROOM: [&str; 2] = ["--ring-size", "64M"];

/// Records `generate` with `--capture GLOB` and compares the values of all evaluations with those that the eval
/// callback of an untraced run got. Returns how many tensors were compared.
fn assert_captured_as_called_back(model: &Path, n: u32, glob: &str, options: &[&str]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let (trace, seen) = (dir.path().join("run.ggtrace"), dir.path().join("seen"));
    let untraced =
        run(generate(model, n, &[options, &["--eval-callback", glob, seen.to_str().unwrap()]].concat())).ok();
    let traced = run(record(&trace, &["--capture", glob, ROOM[0], ROOM[1]], &generate(model, n, options))).ok();
    assert_eq!(traced.stdout, untraced.stdout, "the same tokens, with and without");
    let info = info(&trace);
    assert_eq!(info["level"], "tensors");
    assert_eq!(info["dropped"]["records"], 0, "{info}");

    let expected = without_looks(read_eval_dump(&seen));
    let rows = dump(&trace, &["--values", "--name", glob]);
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(text(row, "name"), expected.name);
        let ne: Vec<i64> = row["value"]["ne"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
        assert_eq!(ne, expected.ne, "{}", expected.name);
        let differs = captured_bits(row).iter().zip(dumped_bits(expected)).position(|(got, want)| *got != want);
        assert_eq!(differs, None, "first other element of {} in evaluation {}", expected.name, row["eval"]);
        assert_eq!(captured_bits(row).len(), dumped_bits(expected).len());
    }
    expected.len()
}

#[test]
fn captured_hidden_states_are_bit_for_bit_what_an_eval_callback_sees() {
    let compared = assert_captured_as_called_back(&vendored::demo_model(), 4, "l_out-*", &[]);
    assert_eq!(compared, 4 * 30, "every layer of the prompt's evaluation and of three tokens'");
}

#[test]
fn captured_queries_are_bit_for_bit_what_an_eval_callback_sees_although_they_are_named_twice() {
    let compared = assert_captured_as_called_back(&vendored::demo_model(), 2, "Qcur-*", &[]);
    assert!(compared >= 2 * 2 * 30, "before and after RoPE: {compared}");
}

#[test]
fn captured_values_survive_flash_attention_being_off() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let compared = assert_captured_as_called_back(&model, 4, "kq_soft_max-*", &["--flash-attn", "off"]);
    assert_eq!(compared, 4 * tiny_model::N_LAYER as usize);
}

#[test]
fn without_the_option_no_value_is_in_the_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &[], &generate(&model, 3, &[]))).ok();
    assert_eq!(info(&trace)["size"]["value_bytes"], 0);
    assert!(dump(&trace, &["--values"]).iter().all(|row| row["value"].is_null()));
}

#[test]
fn the_programs_own_eval_callback_sees_the_same_with_and_without_us() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let seen = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let host = |file: &str| generate(&model, 4, &["--eval-callback", "*", &seen(file)]);
    let untraced = run(host("untraced")).ok();
    for (n, options) in [&[][..], &["--capture", "l_out-*"]].into_iter().enumerate() {
        let file = format!("traced-{n}");
        let trace = dir.path().join(format!("{n}.ggtrace"));
        let traced = run(record(&trace, options, &host(&file))).ok();
        assert_eq!(traced.stdout, untraced.stdout);
        let rows = dump(&trace, &[]);
        // The callback is also asked about the few nodes that are not computed, and finds there what lies about.
        let computed: HashSet<&str> = rows.iter().map(|row| text(row, "name")).collect();
        let computed = |file: &str| -> Vec<DumpedTensor> {
            let all = read_eval_dump(Path::new(&seen(file)));
            all.into_iter().filter(|tensor| computed.contains(tensor.name.as_str())).collect()
        };
        let (with, without) = (computed(&file), computed("untraced"));
        assert!(without.len() > 200);
        assert_eq!(with.len(), without.len(), "with {options:?}");
        for (with, without) in with.iter().zip(&without) {
            assert!(with == without, "{} differs with {options:?}", without.name);
        }
        assert!(rows.iter().any(|row| row["dur_ns"].is_u64()), "a graph that is cut everywhere is timed all the same");
    }
}

#[test]
fn the_programs_own_abort_callback_is_called_as_often_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let host = || generate(&model, 6, &["--abort-after", "0"]);
    let (untraced, traced) = (run(host()).ok(), run(record(&trace, &[], &host())).ok());
    assert!(untraced.stderr.contains("abort calls: "), "{}", untraced.stderr);
    assert_eq!(traced.own_stderr(), untraced.stderr);
    assert_eq!(traced.stdout, untraced.stdout);
    let rows = dump(&trace, &[]);
    assert!(
        rows.iter().all(|row| row["dur_ns"].is_u64() || row["fused_into"].is_u64()),
        "and every time is attributed"
    );
}

#[test]
fn a_program_that_aborts_is_aborted_at_the_same_operator() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let host = || generate(&model, 6, &["--abort-after", "130"]);
    let (untraced, traced) = (run(host()), run(record(&trace, &[], &host())));
    assert_eq!(untraced.status.code(), Some(3), "{}", untraced.stderr);
    assert!(untraced.stderr.contains("aborted\nabort calls: 130"), "{}", untraced.stderr);
    assert_eq!(traced.status, untraced.status);
    assert_eq!((traced.stdout.as_str(), traced.own_stderr()), (untraced.stdout.as_str(), untraced.stderr));
    assert_eq!(info(&trace)["complete"], true);
}
