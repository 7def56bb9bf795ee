//! Programs whose tensors have no names that llama.cpp gives: they are traced, what can be found by what feeds what is
//! found, and every view says what is not there.

use crate::ggscope::{command, dump, ggscope, info, number, record, run};
use crate::support::{hosts, vendored};
use serde_json::Value;
use std::path::Path;

/// Token id, position and phase of each token of a program that feeds a model six tokens and then four.
fn fed(trace: &Path, host: &Path) -> Vec<(Value, Value, Value)> {
    let mut program = command(host);
    program.arg(vendored::demo_model()).arg("4");
    run(record(trace, &["--force"], &program)).ok();
    assert_eq!(number(&info(trace)["dropped"], "records"), 0);
    let token =
        |n: u32| dump(trace, &["--token", &n.to_string(), "--limit", "1"]).pop().expect("an operator of the token");
    (0..10).map(token).map(|row| (row["token_id"].clone(), row["pos"].clone(), row["phase"].clone())).collect()
}

#[test]
fn tokens_and_positions_are_found_by_what_reads_them_where_inputs_have_no_names() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let expected = fed(&trace, &hosts::feed());
    let ids = expected.iter().map(|(id, ..)| id.as_i64().unwrap());
    assert!(ids.eq(1..=10), "{expected:?}");
    assert!(expected.iter().enumerate().all(|(i, (_, pos, _))| *pos == i), "{expected:?}");
    assert_eq!(fed(&trace, &hosts::feed_unnamed()), expected);
    // Only tokens with an output go through the last layer's network and the output matrix.
    let rows = dump(&trace, &["--token", "5", "--op", "MUL_MAT"]);
    let last = rows.last().expect("the output matrix");
    assert_eq!(last["dst"]["ne"][1], 1, "{last}");
}

#[test]
fn a_program_whose_tensors_have_no_names_is_traced_and_what_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let host = || {
        let mut host = command(hosts::unnamed());
        host.arg("5");
        host
    };
    let sets = "attention,values,layers,logits,experts,l_out-*";
    let traced = run(record(&trace, &["--capture", sets], &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout);
    for name in ["attention", "values", "layers", "logits", "experts"] {
        assert!(traced.stderr.contains(&format!("nothing of the set `{name}`")), "{name}: {}", traced.stderr);
    }
    assert!(traced.stderr.contains("nothing was captured of `l_out-*`"), "{}", traced.stderr);
    assert_eq!(number(&info(&trace)["dropped"], "records"), 0);
    let rows = dump(&trace, &[]);
    assert!(rows.iter().any(|row| row["op"] == "MUL_MAT"), "what it computed is there");
    for (view, says) in [
        ("attention", "there are no tokens"),
        ("heads", "there are no tokens"),
        ("layers", "no residual stream"),
        ("experts", "no experts"),
    ] {
        let asked = run(ggscope(&[view, trace.to_str().unwrap()]));
        assert!(!asked.status.success() && asked.stdout.is_empty(), "{view}: {}", asked.stdout);
        assert!(asked.stderr.contains(says) && !asked.stderr.contains("panicked"), "{view}: {}", asked.stderr);
    }
}

#[test]
fn a_model_that_a_command_line_names_and_no_graph_reads_is_not_the_programs_model() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let mut host = command(hosts::unnamed());
    host.arg("5").arg(vendored::demo_model());
    run(record(&trace, &[], &host)).ok();
    assert_eq!(info(&trace)["model"], Value::Null);
}
