//! Programs that decode on many threads: evaluations come in the order in which they were computed, none is lost, and
//! the answer is the same as untraced.

use crate::ggscope::{Finished, command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const N_PREDICT: u64 = 25;

fn pool(model: &Path, threads: u32, contexts: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::pool());
    host.arg(model).args([N_PREDICT.to_string(), threads.to_string(), contexts.to_string()]).args(options);
    host
}

/// The first operator of each evaluation, in the order of the file, by context.
fn evaluations(trace: &Path) -> BTreeMap<u64, Vec<Value>> {
    let mut by_context: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for row in dump(trace, &["--op", "GET_ROWS"]) {
        let own = by_context.entry(number(&row, "context")).or_default();
        if own.last().is_none_or(|last| last["seq"] != row["seq"]) {
            own.push(row);
        }
    }
    by_context
}

fn check(trace: &Path, traced: &Finished, contexts: u32) {
    let info = info(trace);
    assert_eq!(number(&info["dropped"], "records"), 0, "{}", traced.stderr);
    let by_context = evaluations(trace);
    assert_eq!(by_context.len(), contexts as usize);
    for (context, rows) in by_context {
        assert_eq!(rows.len() as u64, N_PREDICT, "all evaluations of context {context}");
        let positions: Vec<u64> = rows.iter().map(|row| number(row, "pos")).collect();
        assert_eq!(positions[0], 0);
        assert!(positions[1..].is_sorted_by(|a, b| a + 1 == *b), "context {context}: {positions:?}");
        let phases: Vec<&str> = rows.iter().map(|row| text(row, "phase")).collect();
        assert_eq!(phases[0], "PROMPT");
        assert!(phases[1..].iter().all(|&phase| phase == "GENERATE"), "context {context}: {phases:?}");
    }
}

#[test]
fn tokens_of_a_pool_of_threads_come_in_the_order_in_which_they_were_computed() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    for (threads, contexts, options) in
        [(1, 1, &[][..]), (2, 1, &[]), (4, 2, &[]), (16, 1, &[]), (64, 2, &[]), (1, 8, &[]), (1, 2, &["new"])]
    {
        let host = || pool(&model, threads, contexts, options);
        let traced = run(record(&trace, &["--force"], &host())).ok();
        assert_eq!(traced.stdout, run(host()).ok().stdout, "{threads} threads, {contexts} contexts: another answer");
        check(&trace, &traced, contexts);
    }
}

#[test]
fn captures_of_a_pool_of_threads_are_whole_and_attention_is_computed_for_every_token() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    for (threads, contexts) in [(4, 1), (16, 1), (2, 8)] {
        let traced =
            run(record(&trace, &["--force", "--capture", "attention"], &pool(&model, threads, contexts, &[]))).ok();
        check(&trace, &traced, contexts);
        let all = ["attention", trace.to_str().unwrap(), "--tokens", "0..", "--layer", "0", "--json"];
        let asked = run(ggscope(&all)).ok();
        assert_eq!(asked.stderr, "", "{threads} threads, {contexts} contexts: a refusal, or a token that is missing");
    }
}
