//! Batches of several sequences: each token has the sequences, the position and the phase that the program gave it,
//! whichever way the program passes its batches.

use crate::ggscope::{command, dump, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::server::Server;
use crate::support::{hosts, tiny_mamba, tiny_model, vendored};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A token as the program feeds it, or as the trace has it: sequences, position, id, phase.
type Token = (Vec<i64>, i64, i64, char);

fn host(model: &Path, options: &[&str]) -> Command {
    let mut host = command(hosts::sequences());
    host.arg(model).args(options);
    host
}

/// What the program says it feeds.
fn fed(stdout: &str) -> Vec<Token> {
    let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("no number: {text}"));
    let token = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, sequences, position, id, _, phase] = fields[..] else { panic!("not a token: {line}") };
        let mut sequences: Vec<i64> = sequences.split(',').map(number).collect();
        sequences.sort_unstable();
        (sequences, number(position), number(id), phase.chars().next().expect("a phase"))
    };
    stdout.lines().map(token).collect()
}

/// What the trace has.
fn traced(trace: &Path) -> Vec<Token> {
    let counts = &info(trace)["tokens"];
    let all = number(counts, "prompt") + number(counts, "generate");
    assert!(counts["unknown"].is_null(), "{counts}");
    let token = |n: u64| {
        let row = dump(trace, &["--token", &n.to_string(), "--limit", "1"]).pop().expect("an operator");
        let ids = row["seq_ids"].as_array().unwrap_or_else(|| panic!("no sequences: {row}"));
        let mut sequences: Vec<i64> = ids.iter().map(|id| id.as_i64().expect("a number")).collect();
        sequences.sort_unstable();
        let field = |key: &str| row[key].as_i64().unwrap_or_else(|| panic!("no {key}: {row}"));
        (sequences, field("pos"), field("token_id"), text(&row, "phase").chars().next().expect("a phase"))
    };
    (0..all).map(token).collect()
}

fn requests(trace: &Path) -> Vec<Value> {
    info(trace)["requests"].as_array().expect("requests").clone()
}

fn sorted(mut tokens: Vec<Token>) -> Vec<Token> {
    tokens.sort();
    tokens
}

const SCENARIOS: [&str; 7] = ["slots", "shared", "fork", "reuse", "single", "verify", "long"];

#[test]
fn every_token_has_the_sequences_that_the_program_gave_it() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    for scenario in SCENARIOS {
        for (api, unified, n_ubatch) in
            [("old", "0", "256"), ("old", "1", "16"), ("ext", "0", "16"), ("ext", "1", "256")]
        {
            if scenario == "shared" && unified == "0" {
                // llama.cpp refuses tokens of several sequences where each has a cache of its own.
                continue;
            }
            let options = [api, unified, n_ubatch, scenario];
            let recorded = run(record(&trace, &["--force"], &host(&model, &options))).ok();
            let (fed, traced) = (fed(&recorded.stdout), traced(&trace));
            assert_eq!(sorted(traced), sorted(fed), "{options:?}");
        }
    }
}

#[test]
fn where_calls_are_hidden_the_cells_show_which_tokens_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    for (unified, n_ubatch, scenario) in [
        ("0", "256", "slots"),
        ("1", "16", "slots"),
        ("1", "256", "shared"),
        ("1", "256", "fork"),
        ("0", "256", "reuse"),
        ("0", "256", "single"),
        ("0", "256", "verify"),
        ("1", "16", "long"),
    ] {
        let options = ["hidden", unified, n_ubatch, scenario];
        let recorded = run(record(&trace, &["--force"], &host(&model, &options))).ok();
        // The numbers are ggscope's own: the program's first sequence is 0, a token of several is in the first of them.
        let fed = fed(&recorded.stdout);
        let first = fed.iter().map(|token| token.0[0]).min().unwrap_or(0);
        let wanted: Vec<Token> = fed.into_iter().map(|(s, p, id, phase)| (vec![s[0] - first], p, id, phase)).collect();
        assert_eq!(sorted(traced(&trace)), sorted(wanted), "{options:?}");
        assert!(requests(&trace).iter().all(|r| r["sequence_from"] == "inferred"));
    }
}

#[test]
fn a_model_without_positions_has_the_sequences_and_phases_of_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("mamba.gguf"), dir.path().join("run.ggtrace"));
    tiny_mamba::write_mamba_gguf(&model);
    run(record(&trace, &["--force"], &host(&model, &["hidden", "0", "256", "slots"]))).ok();
    let unknown = &info(&trace)["tokens"];
    assert_eq!((number(unknown, "unknown"), number(unknown, "prompt")), (15, 0), "nothing shows its sequences");
    assert!(dump(&trace, &[]).iter().all(|row| row["phase"].is_null() && row["seq_ids"].is_null()));
    for (api, scenario) in [("old", "slots"), ("ext", "slots"), ("ext", "single"), ("old", "fork")] {
        let recorded = run(record(&trace, &["--force"], &host(&model, &[api, "0", "256", scenario]))).ok();
        assert_eq!(sorted(traced(&trace)), sorted(fed(&recorded.stdout)), "{api} {scenario}");
    }
}

#[test]
fn requests_say_what_they_computed_reused_and_drafted() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    let of = |scenario: &str| {
        run(record(&trace, &["--force"], &host(&model, &["ext", "0", "256", scenario]))).ok();
        let counts = |r: &Value| {
            ["sequence", "prompt_tokens", "reused_tokens", "generated_tokens", "drafted_tokens", "accepted_tokens"]
                .map(|key| number(r, key))
        };
        let requests = requests(&trace);
        let parents: Vec<Option<u64>> = requests.iter().map(|r| r["parent"].as_u64()).collect();
        (requests.iter().map(counts).collect::<Vec<_>>(), parents)
    };
    assert_eq!(of("slots"), (vec![[0, 4, 0, 3, 0, 0], [1, 5, 0, 3, 0, 0]], vec![None, None]));
    assert_eq!(of("reuse"), (vec![[1, 6, 0, 3, 0, 0], [1, 3, 4, 2, 0, 0]], vec![None, Some(0)]));
    let (forked, parents) = of("fork");
    assert_eq!(forked, [[0, 5, 0, 3, 0, 0], [1, 0, 5, 3, 0, 0], [2, 0, 5, 3, 0, 0]]);
    assert_eq!(parents, [None, Some(0), Some(0)]);
    let (verified, _) = of("verify");
    assert_eq!(verified, [[0, 4, 0, 4, 9, 3]], "of nine drafts none, one and two were accepted");
    let (verified, _) = of("verified");
    assert_eq!(verified, [[0, 4, 0, 3, 9, 3]], "what is removed says so, where no token of the answer comes after");
}

#[test]
fn what_a_draft_model_proposes_is_no_answer_from_its_first_round_on() {
    let dir = tempfile::tempdir().unwrap();
    let [model, draft] = ["target.gguf", "draft.gguf"].map(|name| dir.path().join(name));
    tiny_model::write_dense_gguf(&model, TensorType::F32);
    tiny_model::write_dense_gguf(&draft, TensorType::F16);
    for slots in ["1", "2"] {
        let trace = dir.path().join(format!("{slots}.ggtrace"));
        let server = Server::start(&dir.path().join("log"), |port| {
            let mut server = command(vendored::built("llama-server"));
            server.arg("-m").arg(&model).arg("-md").arg(&draft).args(["--spec-type", "draft-simple", "-np", slots]);
            server.args(["--host", "127.0.0.1", "--port", &port.to_string(), "-c", "512", "-t", "1", "-tb", "1"]);
            record(&trace, &[], &server)
        });
        for prompt in ["Once upon a time", "The capital of France is"] {
            server.complete(prompt, 12);
        }
        assert!(server.stop(libc::SIGTERM).success());
        let all = info(&trace);
        let contexts = all["contexts"].as_array().unwrap();
        let [target, draft] = &contexts[..] else { panic!("{contexts:?}") };
        assert_eq!((&draft["drafts_for"], target.get("drafts_for")), (&target["context"], None), "{contexts:?}");
        assert_eq!(number(draft, "generated_tokens"), 0, "{contexts:?}");
        assert!(number(draft, "prompt_tokens") > 24, "{contexts:?}");
        // The last token of an answer is sampled and not computed.
        let accepted: u64 =
            requests(&trace).iter().filter(|r| r["context"] == 0).map(|r| number(r, "accepted_tokens")).sum();
        assert_eq!(number(target, "generated_tokens") + accepted, 22, "{all}");
        assert_eq!(all["tokens"]["generate"], target["generated_tokens"]);
        let number = draft["context"].to_string();
        assert!(dump(&trace, &["--context", &number, "--phase", "generate"]).is_empty());
    }
}
