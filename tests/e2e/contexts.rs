//! Several contexts in one process: llama-bench makes one for each test, and a program may run two models in turns. Every
//! number is of one context, and the same as in a recording with that context alone.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

const CAPTURE: [&str; 4] = ["--capture", "layers,logits,attention", "--ring-size", "64M"];

/// What `ggscope COMMAND TRACE OPTIONS --json` prints.
fn json(command: &str, trace: &Path, options: &[&str]) -> Value {
    let mut asked = ggscope(&[command, "--json"]);
    asked.arg(trace).args(options);
    serde_json::from_str(&run(asked).ok().stdout).expect("it prints JSON")
}

/// What it prints without `--json`, and what it says on stderr.
fn said(command: &str, trace: &Path, options: &[&str]) -> (String, String) {
    let mut asked = ggscope(&[command]);
    asked.arg(trace).args(options);
    let finished = run(asked).ok();
    (finished.stdout, finished.stderr)
}

/// What it says when it refuses.
fn refused(command: &str, trace: &Path, options: &[&str]) -> String {
    let mut asked = ggscope(&[command]);
    asked.arg(trace).args(options);
    let finished = run(asked);
    assert!(!finished.status.success(), "{}", finished.stdout);
    finished.stderr
}

/// The parts of an answer that say nothing of numbers of tokens, which are others beside another context.
fn without_numbers(value: &Value) -> Value {
    const NUMBERS: [&str; 14] = [
        "context",
        "other_contexts",
        "token",
        "tokens",
        "eval",
        "first_token",
        "last_token",
        "node",
        "took",
        "computed",
        "reference",
        "worst",
        "contexts",
        "cell",
    ];
    match value {
        Value::Object(all) => {
            let kept = all.iter().filter(|(name, _)| !NUMBERS.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), without_numbers(value))).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(without_numbers).collect()),
        other => other.clone(),
    }
}

/// Two models of one shape, of two architectures, so that what mixes them fails nowhere by itself.
struct Models {
    dir: tempfile::TempDir,
}

impl Models {
    fn new() -> Models {
        let dir = tempfile::tempdir().unwrap();
        tiny_model::write_dense_gguf(&dir.path().join("llama.gguf"), TensorType::F16);
        tiny_model::write_gemma2_gguf(&dir.path().join("gemma2.gguf"));
        Models { dir }
    }

    fn path(&self, context: usize) -> PathBuf {
        self.dir.path().join(["llama.gguf", "gemma2.gguf"][context])
    }

    fn record(&self, which: &str) -> PathBuf {
        let trace = self.dir.path().join(format!("{which}.ggtrace"));
        let mut host = command(hosts::two_models());
        host.arg(self.path(0)).arg(self.path(1)).args(["12", which]);
        run(record(&trace, &CAPTURE, &host)).ok();
        assert_eq!(info(&trace)["dropped"]["records"], 0);
        trace
    }
}

#[test]
fn each_model_s_context_has_what_it_has_in_a_recording_of_its_own() {
    let models = Models::new();
    let both = models.record("both");
    let all = info(&both);
    let contexts = all["contexts"].as_array().unwrap();
    let names: Vec<&str> = contexts.iter().map(|c| text(c, "model_name")).collect();
    assert_eq!(contexts.len(), 2, "{contexts:?}");
    assert_eq!(all["more_models"].as_array().unwrap().len(), 1, "{}", all["more_models"]);
    assert_ne!(contexts[0]["model"], contexts[1]["model"], "{names:?}");
    for (context, beside_it) in contexts.iter().enumerate() {
        let alone = models.record(&context.to_string());
        let number = context.to_string();
        let here = ["--context", &number];
        let own = info(&alone)["contexts"][0].clone();
        assert_eq!(own["tokens"], beside_it["tokens"]);
        for (command, options) in [
            ("layers", &[][..]),
            ("heads", &["--pairs"][..]),
            ("heads", &["--flow"][..]),
            ("attention", &["--layer", "1"]),
        ] {
            let beside = json(command, &both, &[&here, options].concat());
            let expected = json(command, &alone, options);
            assert_eq!(beside["context"], context, "{command}");
            assert_eq!(without_numbers(&beside), without_numbers(&expected), "{command} {options:?} of {context}");
            if command != "layers" {
                continue;
            }
            assert_eq!(beside["tokens"], expected["tokens"]);
            assert_eq!(beside["other_contexts"], serde_json::json!([1 - context]));
        }
        let model = models.path(context);
        let lens = ["--lens", "--model", model.to_str().unwrap()];
        let beside = json("layers", &both, &[&here, &lens[..]].concat());
        assert_eq!(beside[0]["context"], context);
        assert_eq!(beside[0]["check"]["same_top"], true, "its own output matrix");
        assert_eq!(without_numbers(&beside), without_numbers(&json("layers", &alone, &lens)));
        // Paired in their order, wherever the other's tokens stand between.
        for command in ["layers", "attention"] {
            let against = ["--against", alone.to_str().unwrap(), "--against-context", "0"];
            let found = json(command, &both, &[&here, &against[..]].concat());
            assert_eq!((&found["context"], &found["reference_context"]), (&context.into(), &0.into()));
            assert_eq!(found["tokens"], own["tokens"], "{command}");
            let off = |of: &Value| of.as_f64().unwrap().abs() < 1e-9;
            match command {
                "layers" => assert!(
                    found["layers"].as_array().unwrap().iter().all(|layer| off(&layer["error"]["max"])),
                    "{found}"
                ),
                _ => assert!(found["heads"].as_array().unwrap().iter().all(|h| off(&h["mean"])), "{found}"),
            }
        }
    }
}

#[test]
fn a_question_without_a_context_is_about_that_of_the_token_else_of_the_first_model_and_says_so() {
    let models = Models::new();
    let both = models.record("both");
    let contexts = info(&both)["contexts"].clone();
    let last = |context: usize| number(&contexts[context], "last_token");
    for context in 0..2 {
        let token = last(context).to_string();
        for command in ["layers", "attention"] {
            assert_eq!(json(command, &both, &["--token", &token])["context"], context, "{command}");
        }
        assert_eq!(json("heads", &both, &["--flow", &token])["context"], context);
        let other = (1 - context).to_string();
        let error = refused("attention", &both, &["--token", &token, "--context", &other]);
        assert!(error.contains(&format!("token {token} is of context {context}, not of context {other}")), "{error}");
    }
    // The second model computed the last token of all.
    assert!(last(1) > last(0));
    for command in ["layers", "heads", "attention"] {
        assert_eq!(json(command, &both, &[])["context"], 0, "{command}");
        let error = refused(command, &both, &["--context", "7"]);
        assert!(error.contains("there is no context 7: the recording has 0, 1"), "{command}: {error}");
    }
    let (_, stderr) = said("heads", &both, &[]);
    assert!(stderr.contains("this is of context 0, ") && stderr.contains("--context chooses another: 1"), "{stderr}");
    assert_eq!(said("heads", &both, &["--context", "1"]).1, "");
    assert!(said("attention", &both, &[]).0.contains(" of context 0 in layer "));
    assert!(said("heads", &both, &["--flow"]).0.contains(" of context 0 through "));
    let (table, _) = said("layers", &both, &[]);
    let heading = |context: usize| table.contains(&format!("\ncontext {context}, "));
    assert!(heading(0) && heading(1), "{table}");
    // The lens of tokens of both: those of the other model have none, and it is said why.
    let model = models.path(0);
    let range = format!("0..{}", last(1));
    let options = ["--tokens", &range, "--lens", "--model", model.to_str().unwrap()];
    let lenses = json("layers", &both, &options);
    assert!(lenses.as_array().unwrap().iter().all(|lens| lens["context"] == 0));
    assert_eq!(lenses.as_array().unwrap().len() as u64, number(&contexts[0], "tokens"));
    let (_, stderr) = said("layers", &both, &options);
    assert!(stderr.contains(&format!("{} tokens of context 1 have no lens", contexts[1]["tokens"])), "{stderr}");
    // Operators of one context alone.
    let rows = dump(&both, &["--context", "1", "--name", "l_out-0"]);
    assert!(!rows.is_empty() && rows.iter().all(|row| row["context"] == 1));
}

#[test]
fn leaves_of_two_models_are_never_one_and_weights_of_one_model_are() {
    let models = Models::new();
    let both = models.record("both");
    let all = json("leaves", &both, &[]);
    let caches = |context: u64| -> Vec<&Value> {
        let all = all.as_array().unwrap().iter();
        all.filter(|leaf| text(leaf, "name").starts_with("cache_") && leaf["context"] == context).collect()
    };
    assert!(!caches(0).is_empty() && !caches(1).is_empty(), "{all}");
    assert!(all.as_array().unwrap().iter().all(|leaf| leaf["context"].is_u64()), "no model has two: {all}");
    // One alone has what it has in a recording of its own, with the same numbers of accesses.
    let found = |leaves: &Value| -> Vec<String> {
        let row = |leaf: &Value| format!("{} {} {} {}", leaf["name"], leaf["ne"], leaf["used_by"], leaf["accesses"]);
        let mut rows: Vec<String> = leaves.as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    };
    for context in 0..2 {
        let number = context.to_string();
        let alone = models.record(&number);
        let beside = json("leaves", &both, &["--context", &number]);
        assert_eq!(found(&beside), found(&json("leaves", &alone, &[])), "context {context}");
        let (table, _) = said("leaves", &both, &["--context", &number]);
        assert!(table.starts_with("leaf  ") && !table.lines().next().unwrap().contains("context"), "{table}");
    }
    let (table, _) = said("leaves", &both, &[]);
    assert!(table.starts_with("context 0, ") && table.contains("\ncontext 1, "), "{table}");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("cache_k_l0 ")).collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert!(rows.iter().all(|row| !row.contains(" to ")), "{table}");
    let error = refused("leaves", &both, &["--context", "7"]);
    assert!(error.contains("there is no context 7: the recording has 0, 1"), "{error}");
}

#[test]
fn a_graph_a_comparison_and_an_export_are_of_the_context_that_is_named() {
    let models = Models::new();
    let both = models.record("both");
    for context in 0..2 {
        let number = context.to_string();
        let mut asked = ggscope(&["graph", "--context", &number]);
        asked.arg(&both);
        let found = run(asked).ok();
        let graph: Value = serde_json::from_str(&found.stdout).unwrap();
        assert_eq!((&graph["context"], found.stderr.as_str()), (&context.into(), ""));
        let (_, stderr) = said("graph", &both, &["--graph", &graph["graph"].to_string()]);
        let whose = format!("this is graph {} of context {context}, ", graph["graph"]);
        assert!(stderr.contains(&whose) && !stderr.contains("--context"), "{stderr}");
    }
    let (_, stderr) = said("graph", &both, &[]);
    assert!(stderr.contains("this is graph ") && stderr.contains("; --context chooses another: "), "{stderr}");
    assert!(refused("graph", &both, &["--context", "7"]).contains("there is no context 7: the recording has 0, 1"));
    let alone = models.record("0");
    assert_eq!(said("graph", &alone, &[]).1, "");
    // Beside a recording of its own, a context has computed the same.
    for (context, alone) in [(0, alone), (1, models.record("1"))] {
        let number = context.to_string();
        let [other, here] = [alone.to_str().unwrap(), "--context"];
        let found = json("diff", &both, &[other, here, &number, "--against-context", "0"]);
        assert_eq!((&found["a"]["context"], &found["b"]["context"]), (&context.into(), &0.into()));
        assert_eq!(found["a"]["tokens"], found["b"]["tokens"]);
        for row in found["rows"].as_array().unwrap() {
            assert_eq!((&row["a"]["count"], &row["a"]["bytes"]), (&row["b"]["count"], &row["b"]["bytes"]), "{row}");
        }
        let (table, stderr) = said("diff", &both, &[other, here, &number, "--against-context", "0"]);
        assert!(
            table.contains(&format!("a  both.ggtrace, context {number}: ")) && stderr.is_empty(),
            "{table}{stderr}"
        );
        // A file for each.
        let rows = |trace: &Path, options: &[&str]| -> Vec<Value> {
            let mut asked = ggscope(&["export", "--format", "json"]);
            asked.arg(trace).args(options);
            serde_json::from_str(&run(asked).ok().stdout).unwrap()
        };
        let beside = rows(&both, &[here, &number]);
        assert!(beside.iter().all(|row| row["context"] == context));
        assert_eq!(beside.len(), rows(&alone, &[]).len());
        let own = info_of(&both, &number);
        assert_eq!(own["tokens"], info(&alone)["tokens"]);
        assert_eq!((own["operators"].clone(), own["graphs"].clone()), {
            let alone = info(&alone);
            (alone["operators"].clone(), alone["graphs"].clone())
        });
    }
    let (_, stderr) = said("diff", &both, &[both.to_str().unwrap()]);
    assert!(stderr.contains("this is of context 0, ") && stderr.contains("--context chooses another: 1"), "{stderr}");
    for command in [&["diff"][..], &["export", "--format", "csv"], &["info"]] {
        let mut asked = ggscope(command);
        asked.arg(&both).args(["--context", "7"]).args((command[0] == "diff").then_some(&both));
        let refused = run(asked);
        assert!(!refused.status.success(), "{command:?}");
        let why = "there is no context 7: the recording has 0, 1";
        assert!(refused.stderr.contains(why), "{command:?}: {}", refused.stderr);
    }
    // Two contexts have no speed in common.
    let all = info(&both);
    assert_eq!(all["tokens_per_second"], serde_json::json!({ "prompt": null, "generate": null }));
    assert!(all["contexts"].as_array().unwrap().iter().all(|c| c["tokens_per_second"]["generate"].is_f64()), "{all}");
}

/// What `ggscope info --json` says of one context.
fn info_of(trace: &Path, context: &str) -> Value {
    json("info", trace, &["--context", context])
}

#[test]
fn every_token_of_llama_bench_s_tests_has_its_states_and_its_lens() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let bench = |name: &str, n: &str| {
        let trace = dir.path().join(name);
        let mut host = command(vendored::built("llama-bench"));
        host.arg("-m").arg(&model).args(["-p", "16", "-n", n, "-r", "1", "-t", "2"]);
        run(record(&trace, &CAPTURE, &host)).ok();
        trace
    };
    let (two, one) = (bench("two.ggtrace", "8"), bench("one.ggtrace", "0"));
    let contexts = info(&two)["contexts"].clone();
    assert_eq!(contexts.as_array().unwrap().len(), 2, "{contexts}");
    let all = number(&contexts[0], "tokens") + number(&contexts[1], "tokens");
    let (table, _) = said("layers", &two, &[]);
    assert!(table.starts_with(&format!("{all} tokens of 2 contexts")), "{table}");
    let model = model.to_str().unwrap();
    for token in [0, all / 2, all - 1] {
        let token = token.to_string();
        let found = json("layers", &two, &["--token", &token]);
        assert_eq!(found["with_states"], 1, "token {token}");
        let lens = json("layers", &two, &["--token", &token, "--lens", "--model", model]);
        assert_eq!(lens[0]["context"], found["context"]);
        json("attention", &two, &["--token", &token]);
    }
    let last = json("layers", &two, &["--lens", "--model", model]);
    assert_eq!((number(&last[0], "token"), &last[0]["check"]["same_top"]), (all - 1, &true.into()));
    // Both tests have the model's weights, and each its own cache.
    let leaves = json("leaves", &two, &[]);
    for leaf in leaves.as_array().unwrap() {
        let is_shared = leaf["contexts"] == serde_json::json!([0, 1]) && leaf["context"].is_null();
        assert_eq!(is_shared, text(leaf, "meaning").starts_with("weight"), "{leaf}");
    }
    // The first test, beside a recording of it alone.
    for (command, options) in [("layers", &[][..]), ("heads", &[][..]), ("attention", &["--layer", "2"])] {
        let beside = json(command, &two, &[&["--context", "0"], options].concat());
        assert_eq!(without_numbers(&beside), without_numbers(&json(command, &one, options)), "{command}");
    }
}

#[test]
fn texts_are_of_the_vocabulary_of_a_token_s_own_model_mapped_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&tiny, TensorType::F16);
    let recorded = |name: &str, models: [&Path; 2], options: &[&str]| {
        let trace = dir.path().join(name);
        let mut host = command(hosts::two_models());
        host.args(models).args(["3", "both"]).args(options);
        run(record(&trace, &["--capture", "attention", "--ring-size", "64M"], &host)).ok();
        trace
    };
    let said_by = |trace: &Path, context: u32| -> String {
        let rows = dump(trace, &["--op", "GET_ROWS", "--context", &context.to_string()]);
        let mut tokens: Vec<(u64, String)> = rows
            .iter()
            .filter_map(|row| Some((row["token"].as_u64()?, row["token_text"].as_str()?.to_owned())))
            .collect();
        tokens.dedup();
        tokens.into_iter().map(|token| token.1).collect()
    };
    let demo = vendored::demo_model();
    for options in [&[][..], &["nommap"]] {
        let two = recorded("two.ggtrace", [&demo, &tiny], options);
        let model = |context: u64| {
            let all = info(&two);
            let model = all["contexts"].as_array().unwrap().iter().find(|c| number(c, "context") == context).unwrap();
            model["model_name"].clone()
        };
        assert_ne!(model(0), model(1), "{options:?}");
        let keys = |context: &str| -> String {
            let found = json("attention", &two, &["--context", context]);
            found["keys"].as_array().unwrap().iter().map(|key| text(key, "text")).collect()
        };
        assert!(keys("0").contains("The capital of France is"), "{options:?}: {}", keys("0"));
        assert!(keys("1").contains("Once upon a time"), "{options:?}: {}", keys("1"));
        assert!(!said_by(&two, 0).is_empty());
        std::fs::remove_file(&two).unwrap();
    }
    // Twice the same file, whose weights are nowhere mapped.
    let same = recorded("same.ggtrace", [&tiny, &tiny], &["nommap"]);
    for (context, prompt) in [("0", "The capital of France is"), ("1", "Once upon a time")] {
        let found = json("attention", &same, &["--context", context]);
        let keys: String = found["keys"].as_array().unwrap().iter().map(|key| text(key, "text")).collect();
        assert!(keys.contains(prompt), "{keys}");
    }
    // Two files with the same tensors: nothing says which is which, and both have the same vocabulary.
    let copy = dir.path().join("copy.gguf");
    std::fs::copy(&tiny, &copy).unwrap();
    let alike = recorded("alike.ggtrace", [&tiny, &copy], &["nommap"]);
    for (context, prompt) in [("0", "The capital of France is"), ("1", "Once upon a time")] {
        let found = json("attention", &alike, &["--context", context]);
        let keys: String = found["keys"].as_array().unwrap().iter().map(|key| text(key, "text")).collect();
        assert!(keys.contains(prompt), "{keys}");
        assert!(!said_by(&alike, context.parse().unwrap()).is_empty());
    }
}
