//! What heads of the demo model do over real texts: that those are found which the literature says a trained model has.

use std::path::Path;

use serde_json::Value;

use crate::ggscope::{command, ggscope, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

/// Forty words in no order, twice.
fn repeated_words() -> String {
    const WORDS: [&str; 16] = [
        "apple", "river", "stone", "cloud", "seven", "window", "garden", "purple", "engine", "market", "silver",
        "dragon", "paper", "ocean", "finger", "winter",
    ];
    let mut state = 7_u32;
    let mut word = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        WORDS[(state >> 16) as usize % WORDS.len()]
    };
    let half: Vec<&str> = (0..40).map(|_| word()).collect();
    [half.clone(), half].concat().join(" ")
}

fn recorded(trace: &Path, prompt: &str, n: u32) {
    let mut host = command(hosts::generate());
    host.arg(vendored::demo_model()).arg(n.to_string()).args(["--threads", "1", "--flash-attn", "on"]);
    host.args(["--seed-prompt", prompt]);
    run(record(trace, &["--capture", "attention"], &host)).ok();
}

fn heads(trace: &Path, options: &[&str]) -> String {
    run(ggscope(&[&["heads", trace.to_str().unwrap()], options].concat())).ok().stdout
}

fn json(trace: &Path, options: &[&str]) -> Value {
    serde_json::from_str(&heads(trace, &[options, &["--json"]].concat())).unwrap()
}

fn all(found: &Value) -> &Vec<Value> {
    found["heads"].as_array().unwrap()
}

fn measure(head: &Value, name: &str) -> f64 {
    head[name].as_f64().unwrap_or_else(|| panic!("{name} of {head}"))
}

#[test]
fn on_a_repeated_text_there_are_induction_heads_previous_token_heads_and_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    recorded(&trace, &repeated_words(), 2);
    let found = json(&trace, &["--pairs"]);
    assert_eq!(all(&found).len(), 30 * 9);
    assert_eq!(found["refused"], serde_json::json!([]));
    let took = |i: usize, what: &str| found["took"][i][what].as_str().unwrap().to_owned();
    assert_eq!([took(0, "measure"), took(1, "measure")], ["attention", "divergence"]);
    assert!(took(0, "on").ends_with(" multiplications: too few to pay for the trip to a GPU)"), "{}", found["took"]);
    let chance = measure(&found["uniform"][17], "induction");
    let best = |name: &str| all(&found).iter().map(|h| measure(h, name)).fold(0.0, f64::max);
    assert!(chance < 0.15 && best("induction") > 0.5, "{chance} by chance, {} at best", best("induction"));
    assert!(best("previous") > 0.7 && best("first") > 0.5 && best("entropy_normalized") > 0.9);
    for kind in ["induction", "previous-token", "sink", "global"] {
        assert!(all(&found).iter().any(|h| h["kind"]["name"] == kind), "no {kind} head");
    }
    // Induction heads come after a previous-token head, which they need (Olsson et al., 2022).
    let layers = |kind: &str| {
        let of_kind = all(&found).iter().filter(|h| h["kind"]["name"] == kind);
        of_kind.map(|h| number(h, "layer")).collect::<Vec<_>>()
    };
    assert!(layers("previous-token").iter().min() < layers("induction").iter().min());

    let pairs = found["divergence"]["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 270 * 269 / 2);
    assert!(pairs.iter().all(|js| (0.0..=0.693_148).contains(&js.as_f64().unwrap())));
    let clusters = found["clusters"]["clusters"].as_array().unwrap();
    assert_eq!(clusters.iter().map(|c| number(c, "heads")).sum::<u64>(), 270);
    assert!((all(&found).iter().map(|h| measure(h, "pagerank")).sum::<f64>() - 1.0).abs() < 1e-6);
    // A head's divergence is that in the list of pairs.
    let twin = &found["twins"][0];
    let layer = number(twin, "layer");
    let (a, b) = (layer * 9 + twin["heads"][0].as_u64().unwrap(), layer * 9 + twin["heads"][1].as_u64().unwrap());
    let pair = &pairs[(a * (540 - a - 1) / 2 + b - a - 1) as usize];
    assert!((pair.as_f64().unwrap() - measure(twin, "divergence")).abs() < 1e-6);

    let csv = heads(&trace, &["--csv"]);
    assert_eq!(csv.lines().count(), 271);
    let map = heads(&trace, &[]);
    assert!(map.contains("induction") && map.lines().all(|line| line.chars().count() <= 120), "{map}");
    let nowhere = run(ggscope(&["heads", trace.to_str().unwrap(), "--device", "cuda:99"]));
    assert!(!nowhere.status.success() && nowhere.stderr.contains("cuda:99 was asked for, but "), "{}", nowhere.stderr);
}

#[test]
fn layers_heads_tokens_and_phases_can_be_picked() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    recorded(&trace, "The keys to the cabinet are in the kitchen, and the cabinet is", 6);
    let one = json(&trace, &["--layer", "3..4", "--head", "2"]);
    let places: Vec<(u64, u64)> = all(&one).iter().map(|h| (number(h, "layer"), number(h, "head"))).collect();
    assert_eq!(places, [(3, 2), (4, 2)]);
    let rows = |options: &[&str]| number(&all(&json(&trace, options))[0], "rows");
    let (prompt, answer) = (rows(&["--phase", "prompt"]), rows(&["--phase", "generate"]));
    // The last token is sampled and not computed.
    assert_eq!((answer, prompt + answer), (5, rows(&[])));
    assert_eq!(rows(&["--tokens", "5..8"]), 4);
    let says = |options: &[&str]| {
        let finished = run(ggscope(&[&["heads", trace.to_str().unwrap()], options].concat()));
        assert!(!finished.status.success());
        finished.stderr
    };
    assert!(says(&["--head", "9"]).contains("no head 9"));
    assert!(says(&["--tokens", "500..600"]).contains("there is no token 500: the last one is "));
    assert!(
        says(&["--layer", "99"])
            .contains("none of these layers has a row of attention: those that have rows are among 0 to 29")
    );
    assert!(says(&["--pairs"]).contains("--json or --csv"));
}

#[test]
fn where_a_token_comes_from_adds_up_and_what_cannot_be_shown_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    recorded(&trace, "The keys to the cabinet", 4);
    let found = json(&trace, &["--flow"]);
    let sources = found["sources"].as_array().unwrap();
    let token = number(&found, "token");
    assert_eq!(sources.len() as u64, token + 1, "all that came before it, and itself");
    assert!((sources.iter().map(|s| measure(s, "rollout")).sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(found["flow_refused"].is_null(), "{found}");
    assert!(sources.iter().all(|s| (0.0..=1.0).contains(&measure(s, "flow"))));
    // What rolls out to a token has flowed there.
    assert!(sources.iter().all(|s| measure(s, "rollout") <= measure(s, "flow") + 1e-4));
    assert_eq!((text(&sources[0], "phase"), text(sources.last().unwrap(), "phase")), ("PROMPT", "GENERATE"));
    let first = json(&trace, &["--flow", "0"]);
    assert_eq!((first["sources"].as_array().unwrap().len(), measure(&first["sources"][0], "rollout")), (1, 1.0));

    let (model, plain) = (dir.path().join("tiny.gguf"), dir.path().join("plain.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let mut host = command(hosts::generate());
    host.arg(&model).arg("3").args(["--threads", "1"]);
    run(record(&plain, &[], &host)).ok();
    for options in [&[][..], &["--flow"]] {
        let finished = run(ggscope(&[&["heads", plain.to_str().unwrap()], options].concat()));
        assert!(!finished.status.success() && finished.stderr.contains("--capture attention"), "{}", finished.stderr);
    }
}
