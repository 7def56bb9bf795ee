//! A model without attention: a state-space model is traced like any other, and has no attention to show.

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::{hosts, tiny_mamba};

#[test]
fn a_state_space_model_is_traced_like_any_other_and_says_that_it_has_no_attention() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("mamba.gguf"), dir.path().join("run.ggtrace"));
    tiny_mamba::write_mamba_gguf(&model);
    let host = || {
        let mut host = command(hosts::generate());
        host.arg(&model).args(["5", "--threads", "1"]);
        host
    };
    let traced = run(record(&trace, &["--capture", "attention"], &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
    let info = info(&trace);
    assert_eq!((number(&info["tokens"], "generate"), number(&info["dropped"], "records")), (4, 0));
    let states = dump(&trace, &["--op", "SSM_SCAN"]);
    assert!(states.iter().any(|row| text(row, "phase") == "GENERATE" && row["dur_ns"].is_u64()));
    let asked = run(ggscope(&["attention", trace.to_str().unwrap()]));
    assert!(!asked.status.success() && asked.stdout.is_empty());
    assert!(asked.stderr.contains("no attention"), "{}", asked.stderr);
    let experts = run(ggscope(&["experts", trace.to_str().unwrap()]));
    assert!(!experts.status.success() && experts.stderr.contains("has no experts"), "{}", experts.stderr);
}
