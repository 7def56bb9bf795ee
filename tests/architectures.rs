//! Architectures that the demo model is not. Real llama.cpp computes them: a few by headers of real models whose weights are
//! zeros, and every one of its own test generator with random weights (`every`).

#[path = "architectures/every.rs"]
mod every;
#[path = "e2e/ggscope.rs"]
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
mod ggscope;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use ggscope_model::testing::{self, Fixture};

use crate::ggscope::{command, dump, info, record, run, text};
use crate::support::hosts;

/// Names of what was captured of a model whose weights are zeros, and what was said.
fn of_architecture(fixture: &Fixture, names: &str) -> (BTreeSet<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let (trace, model) = (dir.path().join("run.ggtrace"), dir.path().join("zeros.gguf"));
    fixture.reduced(7, 8).loadable().write(&model);
    let mut host = command(hosts::feed());
    host.arg(&model).arg("3");
    let finished = run(record(&trace, &["--capture", names, "--capture-layers", "0-6"], &host)).ok();
    assert_eq!(info(&trace)["dropped"]["records"], 0);
    let rows = dump(&trace, &["--values"]);
    let captured = rows.iter().filter(|row| row["value"].is_object());
    (captured.map(|row| text(row, "name").to_owned()).collect(), finished.stderr)
}

#[test]
fn gemma_has_norms_behind_its_sub_blocks() {
    let (names, said) = of_architecture(&testing::gemma3(), "attention,values,layers");
    for name in
        ["attn_norm-6", "attn_post_norm-0", "sa_out-3", "ffn_norm-1", "ffn_post_norm-5", "l_out-6", "inp_scaled"]
    {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert!(!said.contains("nothing"), "{said}");
}

#[test]
fn an_encoder_without_a_cache_has_keys_and_values_all_the_same() {
    let (names, said) = of_architecture(&testing::bert(), "attention,values,layers");
    for name in ["ffn_inp-3", "kqv_out-6"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert!(!said.contains("nothing"), "{said}");
}

#[test]
fn a_model_that_only_keeps_a_state_has_no_attention_and_says_so() {
    let (names, said) = of_architecture(&testing::mamba(), "attention,layers");
    for name in ["attn_norm-0", "l_out-6", "result_norm"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert!(said.contains("nothing of the set `attention`"), "{said}");
}
