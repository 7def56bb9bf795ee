//! A program whose tensors have no names that llama.cpp gives: it is traced, and every view says what is not there.

use crate::ggscope::{command, dump, ggscope, info, number, record, run};
use crate::support::hosts;

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
