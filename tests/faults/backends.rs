//! Programs whose backends come, go and compute in ways that llama.cpp's own programs do not: what is known of one backend
//! or of one process is never another's.

use serde_json::Value;

use crate::stage::{Stage, dump, info, run};
use crate::support::hosts;

/// Nodes of the graph that the hosts compute.
const N_NODES: u64 = 3;

fn numbers(rows: &[Value], key: &str) -> Vec<u64> {
    rows.iter().filter_map(|row| row[key].as_u64()).collect()
}

#[test]
fn a_backend_at_the_address_of_one_that_is_being_freed_has_a_clock_and_a_callback_of_its_own() {
    let stage = Stage::new();
    let done = run(stage.record(&["-o", "run.ggtrace"], &stage.command(hosts::reused_address())));
    assert_eq!((done.code(), done.stdout.as_str()), (Some(0), "3\n"), "{}", done.stderr);
    let trace = stage.path("run.ggtrace");
    assert_eq!(info(&trace)["evaluations"], 3);
    let rows = dump(&trace);
    assert_eq!(rows.len() as u64, 3 * N_NODES);
    assert_eq!(numbers(&rows, "dur_ns").len(), rows.len(), "each operator has its time: {rows:#?}");
}

#[test]
fn the_end_of_a_run_is_what_the_process_saw_that_asked_for_it() {
    let stage = Stage::new();
    let run_of = |who: &str| {
        let mut host = stage.command(hosts::fork_with_runs());
        host.arg(who);
        let done = run(stage.record(&["--force", "-o", "run.ggtrace"], &host));
        assert_eq!(done.code(), Some(0), "{}", done.stderr);
        let rows = dump(&stage.path("run.ggtrace"));
        rows[0]["run"]["dur_ns"].as_u64().unwrap_or_else(|| panic!("no run: {rows:#?}"))
    };
    let (early, late) = (run_of("early"), run_of("late"));
    assert!(early >= 400_000_000, "the parent saw it after 500 ms, not after {early} ns");
    assert!(late < 400_000_000, "the parent saw it at once, not after {late} ns");
}

#[test]
fn a_child_never_waits_for_what_its_parent_was_about_to_do() {
    let stage = Stage::new();
    let mut host = stage.command(hosts::fork_with_runs());
    host.arg("often");
    let done = run(stage.record(&["-o", "run.ggtrace"], &host));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
}
