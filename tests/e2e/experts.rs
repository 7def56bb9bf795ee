//! Experts of a real run, beside what its routers computed: the captured `ffn_moe_topk-*` and `ffn_moe_weights*` of the
//! same evaluations, and what follows from them counted once more here, in the plainest way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model};

const N_EXPERT: usize = 8;
const N_USED: usize = 2;
const CAPTURE: [&str; 4] = ["--capture", "experts", "--ring-size", "64M"];

fn generate(model: &Path, n: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "1"]).args(options);
    host
}

fn floats(list: &Value) -> Vec<f32> {
    numbers(list).into_iter().map(|n| n as f32).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|n| n.as_f64().expect("a number")).collect()
}

/// `ggscope experts TRACE --json OPTIONS`.
fn experts(trace: &Path, options: &[&str]) -> Value {
    let args = [&["experts", trace.to_str().unwrap(), "--json"], options].concat();
    serde_json::from_str(&run(ggscope(&args)).ok().stdout).unwrap()
}

/// What a router computed for a token: evaluation, experts, weights.
#[derive(Debug, PartialEq)]
struct Routed {
    eval: u64,
    experts: Vec<usize>,
    /// As the router computed them: the decimals of two JSON documents may differ where the numbers do not.
    weights: Vec<f32>,
}

/// By layer and token what the captured tensors say. The last layer computes only the rows that are put out, of a prompt
/// its last token.
fn captured(trace: &Path) -> BTreeMap<(u64, u64), Routed> {
    let rows = |name: &str| dump(trace, &["--values", "--name", name]);
    let weights: BTreeMap<(u64, u64), Vec<f32>> = rows("ffn_moe_weights_norm-*")
        .iter()
        .map(|row| ((number(row, "eval"), number(row, "layer")), floats(&row["value"]["data"])))
        .collect();
    let (mut found, mut first, mut last_eval) = (BTreeMap::new(), 0, None);
    for row in rows("ffn_moe_topk-*") {
        let (eval, layer, n_tokens) = (number(&row, "eval"), number(&row, "layer"), number(&row, "n_tokens"));
        if let Some((_, before)) = last_eval.filter(|&(e, _)| e != eval) {
            first += before;
        }
        last_eval = Some((eval, n_tokens));
        let ids = numbers(&row["value"]["data"]);
        let routed = (ids.len() / N_USED) as u64;
        assert!(routed == n_tokens || routed == 1);
        for (i, (ids, w)) in ids.chunks(N_USED).zip(weights[&(eval, layer)].chunks(N_USED)).enumerate() {
            let token = first + n_tokens - routed + i as u64;
            let experts = ids.iter().map(|&id| id as usize).collect();
            found.insert((layer, token), Routed { eval, experts, weights: w.to_vec() });
        }
    }
    found
}

fn recorded(dir: &Path, n: u32, options: &[&str]) -> std::path::PathBuf {
    let (model, trace) = (dir.join("moe.gguf"), dir.join("run.ggtrace"));
    tiny_model::write_moe_gguf(&model, N_EXPERT as u32, N_USED as u32);
    let host = || generate(&model, n, options);
    let traced = run(record(&trace, &CAPTURE, &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
    assert_eq!(info(&trace)["dropped"]["records"], 0);
    trace
}

#[test]
fn every_choice_and_weight_is_what_the_router_computed() {
    let dir = tempfile::tempdir().unwrap();
    // The second round begins with a context that was cleared.
    let trace = recorded(dir.path(), 12, &["--repeat", "2"]);
    let expected = captured(&trace);
    let found = experts(&trace, &["--choices"]);
    let choices = found["choices"].as_array().unwrap();
    assert_eq!((choices.len(), &found["left_out"]), (expected.len(), &Value::from(0)));
    let told: BTreeMap<(u64, u64), Routed> = choices
        .iter()
        .map(|c| {
            let experts = numbers(&c["experts"]).into_iter().map(|id| id as usize).collect();
            let routed = Routed { eval: number(c, "eval"), experts, weights: floats(&c["weights"]) };
            ((number(c, "layer"), number(c, "token")), routed)
        })
        .collect();
    for (of, routed) in &expected {
        assert_eq!(told.get(of), Some(routed), "ids in the router's order, weights to the bit: layer and token {of:?}");
        assert!((routed.weights.iter().sum::<f32>() - 1.0).abs() < 1e-3, "what outputs are multiplied with");
    }

    // The same as a table.
    let csv = run(ggscope(&["experts", trace.to_str().unwrap(), "--choices", "--csv"])).ok().stdout;
    assert_eq!(csv.lines().count(), 1 + expected.len() * N_USED);
    let in_layers = expected.keys().map(|(layer, _)| *layer).collect::<BTreeSet<_>>().len() as u64;
    assert_eq!(in_layers, tiny_model::N_LAYER);
}

#[test]
fn the_sums_are_those_that_the_captured_routers_give() {
    let dir = tempfile::tempdir().unwrap();
    let trace = recorded(dir.path(), 30, &[]);
    let routed = captured(&trace);
    let report = experts(&trace, &["--cache", "1,3,8"]);
    assert_eq!(text(&report["weights"], "tensor"), "ffn_moe_weights_norm");
    assert_eq!(report["weights"]["final"], true);
    let n_prompt = number(&info(&trace)["tokens"], "prompt");
    let (mut reads, mut used) = (vec![], 0);
    for layer in report["layers"].as_array().unwrap() {
        let n = number(layer, "layer");
        let of: Vec<(u64, &Routed)> = routed.iter().filter(|r| r.0.0 == n).map(|(k, r)| (k.1, r)).collect();
        let load = |wanted: &dyn Fn(u64) -> bool| -> Vec<u64> {
            let has = |e: usize| of.iter().filter(|(t, r)| wanted(*t) && r.experts.contains(&e)).count() as u64;
            (0..N_EXPERT).map(has).collect()
        };
        let all = load(&|_| true);
        assert_eq!(layer["all"]["load"], Value::from(all.clone()));
        assert_eq!(layer["prompt"]["load"], Value::from(load(&|t| t < n_prompt)));
        assert_eq!(layer["generate"]["load"], Value::from(load(&|t| t >= n_prompt)));
        let shares = all.iter().filter(|&&l| l > 0).map(|&l| l as f64 / (of.len() * N_USED) as f64);
        let entropy: f64 = shares.map(|p| -p * p.log2()).sum();
        let told = |key: &str| layer["all"][key].as_f64().unwrap();
        assert!((told("entropy") - entropy).abs() < 1e-9 && (told("balance") - entropy / 3.0).abs() < 1e-9);
        for (e, weight) in layer["all"]["weight"].as_array().unwrap().iter().enumerate() {
            let of_expert: Vec<f64> = of
                .iter()
                .flat_map(|(_, r)| r.experts.iter().zip(&r.weights))
                .filter(|w| *w.0 == e)
                .map(|w| f64::from(*w.1))
                .collect();
            match weight.as_f64() {
                Some(mean) => {
                    let expected = of_expert.iter().sum::<f64>() / of_expert.len() as f64;
                    assert!((mean - expected).abs() < 1e-6, "{mean}, {expected}");
                }
                None => assert!(of_expert.is_empty()),
            }
        }
        for pair in layer["together"].as_array().unwrap() {
            let (a, b) = (number(pair, "a") as usize, number(pair, "b") as usize);
            let both = of.iter().filter(|(_, r)| r.experts.contains(&a) && r.experts.contains(&b)).count();
            assert_eq!(number(pair, "count"), both as u64);
        }
        // One sequence: the token before is the one before.
        let next = of.windows(2).filter(|w| w[0].0 + 1 == w[1].0);
        let stay = next.clone().map(|w| w[1].1.experts.iter().filter(|e| w[0].1.experts.contains(e)).count());
        let kept = stay.sum::<usize>() as f64 / (next.clone().count() * N_USED) as f64;
        assert_eq!(number(&layer["from_token"], "tokens"), next.count() as u64);
        assert!((layer["from_token"]["kept"].as_f64().unwrap() - kept).abs() < 1e-9);
        used += all.iter().filter(|&&l| l > 0).count() as u64 * number(layer, "expert_bytes");
        let evals: BTreeSet<u64> = of.iter().map(|(_, r)| r.eval).collect();
        for eval in evals {
            let of_eval = of.iter().filter(|(_, r)| r.eval == eval).flat_map(|(_, r)| r.experts.clone());
            reads.extend(of_eval.collect::<BTreeSet<usize>>().into_iter().map(|e| (eval, n, e)));
        }
    }
    assert_eq!(number(&report["bytes"], "used"), used);
    let file = std::fs::metadata(dir.path().join("moe.gguf")).unwrap().len();
    assert_eq!(number(&report["bytes"], "file"), file);
    assert_eq!(number(&report["bytes"], "needed"), file - number(&report["bytes"], "all") + used);
    reads.sort_unstable();
    let caches = &report["caches"];
    assert_eq!(number(caches, "accesses"), reads.len() as u64);
    for (size, per_layer) in caches["sizes"].as_array().unwrap().iter().zip([1, 3, 8]) {
        assert_eq!(number(size, "per_layer"), per_layer);
        let in_layer = |n| reads.iter().filter(|r| r.1 == n).map(|r| r.2).collect::<Vec<usize>>();
        let hits: u64 = (0..tiny_model::N_LAYER).map(|n| lru(&in_layer(n), per_layer as usize)).sum();
        assert_eq!(number(size, "layer_lru"), hits);
        assert!(number(size, "layer_best") >= hits && number(size, "best") >= number(size, "lru"));
    }
}

/// Hits of a cache that throws out what was used longest ago.
fn lru(reads: &[usize], size: usize) -> u64 {
    let (mut cache, mut hits): (Vec<usize>, _) = (vec![], 0);
    for &read in reads {
        match cache.iter().position(|&e| e == read) {
            Some(at) => {
                cache.remove(at);
                hits += 1;
            }
            None if cache.len() == size => {
                cache.remove(0);
            }
            None => {}
        }
        cache.push(read);
    }
    hits
}

#[test]
fn ids_are_there_at_every_level_and_weights_only_where_they_were_captured() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("moe.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_moe_gguf(&model, 32, 4);
    for level in ["graph", "ops"] {
        run(record(&trace, &["--force", "--level", level], &generate(&model, 6, &[]))).ok();
        let report = experts(&trace, &[]);
        assert_eq!((&report["weights"], number(&report["layers"][0], "experts")), (&Value::Null, 32), "{level}");
        assert!(report["layers"][2]["generate"]["load"].as_array().unwrap().iter().any(|l| l.as_u64() > Some(0)));
    }
    let text = run(ggscope(&["experts", trace.to_str().unwrap()])).ok().stdout;
    assert!(
        text.contains("3 layers with 32 experts, 4 of them a token") && text.contains("--capture experts"),
        "{text}"
    );
}

#[test]
fn a_dense_model_has_no_experts_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("tiny.gguf"), dir.path().join("run.ggtrace"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    run(record(&trace, &[], &generate(&model, 3, &[]))).ok();
    for options in [&[][..], &["--json"], &["--csv"], &["--choices"], &["--choices", "--csv"]] {
        let asked = run(ggscope(&[&["experts", trace.to_str().unwrap()], options].concat()));
        assert!(!asked.status.success(), "{options:?}");
        assert!(asked.stderr.contains("the model has no experts"), "{options:?}: {}", asked.stderr);
    }
}
