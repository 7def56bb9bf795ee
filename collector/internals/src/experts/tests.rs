//! The promises of `ggscope experts`, with answers worked out by hand: a model of two layers of four experts, two of
//! them a token.

use super::*;
use ggscope_format::capture::Capture;
use ggscope_format::record::{Evaluation, Experts, Value};
use ggscope_format::{Bytes, EvalId, TensorId};
use ggscope_query::range::Numbers;
use ggscope_trace::testing::{Builder, Random, evaluation, llama, model, recording};
use ggscope_trace::{Recording, StoredGraph, TraceWriter};
use std::path::{Path, PathBuf};

/// Bytes of one expert in one tensor: 32 rows of 64 weights in q4_1. Two tensors hold experts.
const EXPERT: u64 = 2 * 32 * 40;

fn graph(number: u32, n_tokens: i64) -> StoredGraph {
    let mut b = Builder::default();
    let tokens = b.input("inp_tokens", None, &[n_tokens]);
    for layer in 0..2 {
        let up = b.weight(&format!("blk.{layer}.ffn_up_exps.weight"), true, &[64, 32, 4]);
        let down = b.weight(&format!("blk.{layer}.ffn_down_exps.weight"), true, &[64, 32, 4]);
        let probs = b.node(&format!("ffn_moe_probs-{layer}"), "SOFT_MAX", &[4, n_tokens], &[tokens]);
        let sorted = b.node(&format!("ffn_moe_argsort-{layer}"), "ARGSORT", &[4, n_tokens], &[probs]);
        let topk = b.look(&format!("ffn_moe_topk-{layer}"), "VIEW", &[2, n_tokens], sorted);
        b.node(&format!("ffn_moe_weights-{layer}"), "GET_ROWS", &[1, 2, n_tokens], &[probs, topk]);
        b.node(&format!("ffn_moe_up-{layer}"), "MUL_MAT_ID", &[32, 2, n_tokens], &[up, probs, topk]);
        b.node(&format!("ffn_moe_down-{layer}"), "MUL_MAT_ID", &[32, 2, n_tokens], &[down, probs, topk]);
    }
    b.finish(number, "/models/moe.gguf")
}

fn at(stored: &StoredGraph, name: &str) -> TensorId {
    TensorId(stored.graph.tensors.iter().position(|t| t.name == name).unwrap() as u32)
}

fn chosen(stored: &StoredGraph, eval: u64, position: i32, ids: [&[i32]; 2], n_used: u32) -> Evaluation {
    let of = |layer: usize| Experts {
        tensor: at(stored, &format!("ffn_moe_topk-{layer}")),
        n_used,
        ids: ids[layer].to_vec(),
    };
    Evaluation { experts: vec![of(0), of(1)], ..evaluation(stored, eval, position, &mut Random(1 + eval)) }
}

/// A warm-up with every expert; a prompt of three tokens, of which the last layer routes only the last; two tokens of
/// the answer. The weights of the last token's first layer were captured.
fn run(dir: &Path) -> PathBuf {
    let path = dir.join("moe.ggtrace");
    let (prompt, token) = (graph(0, 3), graph(1, 1));
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(prompt.clone()).unwrap();
    writer.graph(token.clone()).unwrap();
    writer.model(model()).unwrap();
    writer.evaluation(chosen(&token, 0, 0, [&[0, 1, 2, 3], &[3, 2, 1, 0]], 4)).unwrap();
    writer.evaluation(chosen(&prompt, 1, 0, [&[0, 1, 1, 0, 0, 2], &[3, 1]], 2)).unwrap();
    writer.evaluation(chosen(&token, 2, 3, [&[0, 3], &[3, 1]], 2)).unwrap();
    writer.evaluation(chosen(&token, 3, 4, [&[0, 1], &[1, 2]], 2)).unwrap();
    let bytes = [0.75_f32, 0.25].iter().flat_map(|w| w.to_le_bytes()).collect();
    let tensor = at(&token, "ffn_moe_weights-0");
    let (eval, graph, total) = (EvalId(3), token.graph.graph, Bytes(8));
    writer.value(Value { eval, graph, tensor, total, bytes, ..Value::default() }).unwrap();
    writer.finish().unwrap();
    path
}

fn report(filter: &Filter) -> ExpertReport {
    let dir = tempfile::tempdir().unwrap();
    experts(&Trace::open(&run(dir.path())).unwrap(), filter, Some(&[])).unwrap()
}

#[test]
fn the_load_is_what_the_tokens_chose() {
    let all = report(&Filter::default());
    assert_eq!((all.evaluations, all.without_choice), (3, 1), "a warm-up chooses nothing");
    assert_eq!((all.prompt_tokens, all.generated_tokens), (3, 2));
    assert_eq!(all.last_token, Some(5), "after the warm-up and the prompt");
    let [first, last] = &all.layers[..] else { panic!("{:?}", all.layers) };
    assert_eq!((first.layer, first.experts, first.per_token, first.expert_bytes), (0, 4, 2, EXPERT));
    assert_eq!(first.prompt.load, [3, 2, 1, 0]);
    assert_eq!(first.generate.load, [2, 1, 0, 1]);
    assert_eq!((&first.all.load[..], first.all.tokens), (&[5, 3, 1, 1][..], 5));
    assert_eq!((first.all.hot.clone(), first.all.cold.clone()), (vec![0], vec![2, 3]), "the mean is 2.5");
    // The last layer routed the last token of the prompt and the two of the answer.
    assert_eq!((&last.all.load[..], last.prompt.tokens, last.generate.tokens), (&[0, 3, 1, 2][..], 1, 2));
    assert_eq!((last.all.unused.clone(), last.all.used), (vec![0], 3));
    // Shares ½, 3/10, 1/10, 1/10.
    assert!((first.all.entropy - (0.5 + 0.3 * (10_f64 / 3.0).log2() + 0.2 * 10_f64.log2())).abs() < 1e-12);
}

#[test]
fn statistics_of_weights_are_no_weights_and_are_told_apart_from_none() {
    let only_statistics = |statistics: bool| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("moe.ggtrace");
        let capture = Capture { statistics, ..Capture::named(["experts"]) };
        let mut writer = TraceWriter::create(&path, false, &Recording { capture, ..recording() }).unwrap();
        let token = graph(0, 1);
        writer.graph(token.clone()).unwrap();
        writer.evaluation(chosen(&token, 0, 0, [&[0, 3], &[3, 1]], 2)).unwrap();
        writer.finish().unwrap();
        let found = experts(&Trace::open(&path).unwrap(), &Filter::default(), None).unwrap();
        assert_eq!(found.weights, None);
        found.only_statistics
    };
    assert!(only_statistics(true) && !only_statistics(false));
    assert!(!report(&Filter::default()).only_statistics);
}

#[test]
fn the_bytes_are_those_of_the_experts_that_were_read() {
    let bytes = report(&Filter::default()).bytes;
    assert_eq!((bytes.all, bytes.used), (8 * EXPERT, (4 + 3) * EXPERT));
    // Prompt: 0, 1, 2 and 1, 3. Answer: 0, 1, 3 and 1, 2, 3.
    assert_eq!((bytes.prompt, bytes.generate), ((3 + 2) * EXPERT, (3 + 3) * EXPERT));
    // Each expert once an evaluation: 3 + 2 for the prompt, 2 + 2 for each token.
    assert_eq!((bytes.read, bytes.file), (13 * EXPERT, Some(98_000_000)));
    assert_eq!(bytes.needed, Some(98_000_000 - EXPERT), "all but the one that no token went to");
}

#[test]
fn experts_that_go_together_are_counted() {
    let all = report(&Filter::default());
    let [first, last] = &all.layers[..] else { panic!("{:?}", all.layers) };
    // Tokens of the first layer: 01, 10, 02, 03, 01.
    let pairs: Vec<_> = first.together.iter().map(|p| (p.a, p.b, p.count)).collect();
    assert_eq!(pairs, [(0, 1, 3), (0, 2, 1), (0, 3, 1)]);
    assert!((first.together[0].lift - 1.0).abs() < 1e-12, "0 is in every token");
    assert_eq!(first.from_layer, None);
    // From the first layer to the last: 02 → 31, 03 → 31, 01 → 12.
    let moved = last.from_layer.as_ref().unwrap();
    assert_eq!(moved.layer, 0);
    let top: Vec<_> = moved.top.iter().take(2).map(|p| (p.a, p.b, p.count)).collect();
    assert_eq!(top, [(0, 1, 3), (0, 3, 2)]);
    // Token to token: 01 → 10 (both kept), 10 → 02 (one), 02 → 03 (one), 03 → 01 (one); the warm-up does not count.
    assert_eq!((first.from_token.tokens, first.from_token.kept), (4, Some(5.0 / 8.0)));
    // The last layer: 31 → 31, 31 → 12.
    assert_eq!((last.from_token.tokens, last.from_token.kept), (2, Some(0.75)));
}

#[test]
fn whole_matrices_of_pairs_agree_with_the_loads() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Trace::open(&run(dir.path())).unwrap();
    let of = |layer| pairs(&trace, &Filter::default(), layer).unwrap();
    let first = of(0).unwrap();
    assert_eq!(first.together, [[5, 3, 1, 1], [3, 3, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], "its diagonal is the load");
    assert_eq!((first.before, first.from_layer.len()), (None, 0));
    // 01 → 10, 10 → 02, 02 → 03, 03 → 01.
    assert_eq!(first.from_token, [[4, 2, 1, 1], [2, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]]);
    let last = of(1).unwrap();
    assert_eq!(
        (last.before, last.from_layer),
        (Some(0), vec![vec![0, 3, 1, 2], vec![0, 1, 1, 0], vec![0, 1, 0, 1], vec![0, 1, 0, 1]])
    );
    assert_eq!(of(2), None);
}

#[test]
fn caches_of_the_sizes_that_are_asked_for_are_tried() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Trace::open(&run(dir.path())).unwrap();
    let caches = experts(&trace, &Filter::default(), Some(&[3, 1, 99])).unwrap().caches.unwrap();
    assert_eq!(caches.sizes.iter().map(|s| s.per_layer).collect::<Vec<_>>(), [1, 3, 4], "a layer has four");
    let none = experts(&trace, &Filter::default(), Some(&[0])).unwrap().caches.unwrap();
    assert_eq!((none.sizes[0].lru, none.sizes[0].best, none.sizes[0].layer_best), (0, 0, 0));
}

#[test]
fn caches_hit_what_they_would_hit() {
    let caches = report(&Filter::default()).caches.unwrap();
    // Layer 0: 012 | 03 | 01, layer 1: 13 | 13 | 12, in turn.
    assert_eq!((caches.accesses, caches.distinct, caches.left_out), (13, 7, 0));
    let sizes: Vec<_> = caches.sizes.iter().map(|s| (s.per_layer, s.experts, s.bytes)).collect();
    assert_eq!(sizes, [(1, 2, 2 * EXPERT), (2, 4, 4 * EXPERT), (3, 6, 6 * EXPERT), (4, 8, 8 * EXPERT)]);
    let of =
        |i: usize| [caches.sizes[i].lru, caches.sizes[i].best, caches.sizes[i].layer_lru, caches.sizes[i].layer_best];
    // All in it: only first reads are missed.
    assert_eq!(of(3), [6, 6, 6, 6]);
    // Two a layer. Layer 0 under LRU: 0 1 2 0 3 0 1, of which the last 0 alone hits; best: 0 twice, and 1 or not.
    // Layer 1: 1 3 1 3 1 2: three hits under both.
    assert_eq!((of(1)[2], of(1)[3]), (1 + 3, 2 + 3));
    assert!(caches.sizes.iter().all(|s| s.lru <= s.best && s.layer_lru <= s.layer_best));
}

#[test]
fn weights_are_those_that_were_captured() {
    let all = report(&Filter::default());
    assert_eq!(all.weights, Some(WeightSource { tensor: "ffn_moe_weights".into(), is_final: true }));
    assert_eq!(all.layers[0].generate.weight, Some(vec![Some(0.75), Some(0.25), None, None]));
    assert_eq!((all.layers[0].prompt.weight.clone(), all.layers[0].heaviest), (None, Some(0.75)));
    assert_eq!((all.layers[1].all.weight.clone(), all.layers[1].heaviest), (None, None));
}

#[test]
fn a_filter_lets_through_its_tokens_layers_and_phase() {
    let numbers = |text: &str| Some(text.parse::<Numbers>().unwrap());
    // Token 0 is the warm-up's, 1 to 3 are the prompt.
    let dir = tempfile::tempdir().unwrap();
    let trace = Trace::open(&run(dir.path())).unwrap();
    let one = choices(&trace, &Filter { tokens: numbers("3..4"), ..Filter::default() }).unwrap();
    let told: Vec<_> = one.choices.iter().map(|c| (c.token, c.pos, c.phase, c.layer, c.experts.clone())).collect();
    let (p, g) = (Phase::Prompt, Phase::Generate);
    assert_eq!(
        told,
        [
            (3, Some(2), p, 0, vec![0, 2]),
            (3, Some(2), p, 1, vec![3, 1]),
            (4, Some(3), g, 0, vec![0, 3]),
            (4, Some(3), g, 1, vec![3, 1]),
        ]
    );
    let generate = report(&Filter { phase: Some(g), ..Filter::default() });
    assert_eq!((generate.prompt_tokens, generate.generated_tokens, generate.layers[0].prompt.tokens), (0, 2, 0));
    let last = report(&Filter { layers: numbers("1"), ..Filter::default() });
    assert_eq!((last.layers.len(), last.layers[0].layer), (1, 1));
    let none = report(&Filter { tokens: numbers("99"), ..Filter::default() });
    assert_eq!((none.layers.len(), none.caches.map(|c| c.accesses)), (0, Some(0)));
}

#[test]
fn a_trace_without_ids_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let asked = |name: &str, stored: StoredGraph, e: Option<Evaluation>| {
        let path = dir.path().join(name);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored).unwrap();
        e.into_iter().for_each(|e| writer.evaluation(e).unwrap());
        writer.finish().unwrap();
        experts(&Trace::open(&path).unwrap(), &Filter::default(), None).unwrap_err()
    };
    let (dense, moe) = (llama(0, ggscope_trace::testing::Shape::default()), graph(0, 1));
    let of = |stored: &StoredGraph| Some(evaluation(stored, 0, 0, &mut Random(1)));
    assert_eq!(asked("dense", dense.clone(), of(&dense)), NoExperts::Dense);
    assert_eq!(asked("moe", moe.clone(), of(&moe)), NoExperts::NotRecorded);
    assert_eq!(asked("empty", moe, None), NoExperts::Nothing);
    assert!(NoExperts::NotRecorded.to_string().contains("--level tensors"));
}

#[test]
fn ids_that_no_expert_has_are_left_out_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let token = graph(0, 1);
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(token.clone()).unwrap();
    for (eval, ids) in [[0, 4], [-1, 0], [i32::MAX, i32::MIN], [1, 2]].iter().enumerate() {
        writer.evaluation(chosen(&token, eval as u64, eval as i32, [&ids[..], &[0, 1]], 2)).unwrap();
    }
    writer.finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    let all = experts(&trace, &Filter::default(), None).unwrap();
    assert_eq!((&all.layers[0].all.load[..], all.layers[1].all.tokens), (&[0, 1, 1, 0][..], 4));
    assert!(trace.warnings().iter().any(|w| w.contains("layer 0 chose experts that it does not have")));
}

#[test]
fn single_choices_are_told_in_the_order_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let trace = Trace::open(&run(dir.path())).unwrap();
    let mut told = vec![];
    let filter = Filter { phase: Some(Phase::Generate), ..Filter::default() };
    for_each_choice(&trace, &filter, |c| {
        told.push((c.token, c.layer, c.experts.clone(), c.weights.clone()));
        ControlFlow::Continue(())
    })
    .unwrap();
    let of = |token, layer, experts: &[i32], weights| (token, layer, experts.to_vec(), weights);
    let weights = Some(vec![0.75, 0.25]);
    assert_eq!(
        told,
        [of(4, 0, &[0, 3], None), of(4, 1, &[3, 1], None), of(5, 0, &[0, 1], weights), of(5, 1, &[1, 2], None)]
    );
}
