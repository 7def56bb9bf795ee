//! The promises of the charts: every sum and distribution is that of the executions that `dump` gives.

use super::*;
use crate::access::access;
use crate::analytics_times::{histogram, layer_tokens};
use crate::cost::node_costs;
use crate::dump::{Operator, dump};
use crate::leaves::leaves;
use crate::memory::{ReadFilter, memory};
use crate::places::places;
use crate::spans::spans;
use crate::table::DEFAULT_MEMORY;
use crate::timeline::timeline;
use ggscope_format::chunk::{Chunk, FILE_HEADER_BYTES};
use ggscope_format::record::{Evaluation, Experts};
use ggscope_format::{EvalId, GraphId, TensorId};
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Builder, Random, Shape, evaluation, llama, recording};
use std::ops::ControlFlow;

/// Prompts and answers of two models' graphs, and an evaluation without tokens.
fn trace() -> (tempfile::TempDir, Trace, Table) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    let mut random = Random(88_172_645_463_325_252);
    let shape = |n_tokens, n_kv| Shape { n_layer: 2, n_tokens, n_outputs: 1, n_kv };
    let graphs = [llama(0, shape(5, 32)), llama(1, shape(1, 32)), llama(2, shape(1, 64))];
    graphs.iter().for_each(|g| writer.graph(g.clone()).unwrap());
    for (eval, (graph, position)) in [(0, 0), (1, 5), (1, 6), (2, 7), (0, 0), (1, 5), (2, 6)].into_iter().enumerate() {
        writer.evaluation(evaluation(&graphs[graph], eval as u64, position, &mut random)).unwrap();
    }
    let without = evaluation(&graphs[1], 7, 0, &mut random);
    writer.evaluation(Evaluation { n_tokens: 0, tokens: vec![], positions: vec![], outputs: None, ..without }).unwrap();
    writer.finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    let table = Table::new(&trace, DEFAULT_MEMORY);
    (dir, trace, table)
}

fn each(trace: &Trace, filter: &Filter, mut f: impl FnMut(&Operator<'_>)) {
    dump(trace, filter, |o| {
        f(&o);
        ControlFlow::Continue(())
    });
}

fn filters() -> Vec<Filter> {
    let numbers = |text: &str| Some(text.parse().unwrap());
    vec![
        Filter::default(),
        Filter { tokens: numbers("3..7"), ..Filter::default() },
        Filter { evals: numbers("2..5"), ..Filter::default() },
        Filter { phase: Some(Phase::Generate), ..Filter::default() },
        Filter { tokens: numbers("900.."), ..Filter::default() },
    ]
}

#[test]
fn costs_by_operator_and_phase_are_the_sums_of_what_dump_gives() {
    let (_dir, trace, table) = trace();
    for filter in filters() {
        let mut expected: BTreeMap<(String, Option<Phase>), (u64, u64)> = BTreeMap::new();
        each(&trace, &filter, |o| {
            let sum = expected.entry((o.op.to_owned(), o.phase)).or_default();
            *sum = (sum.0 + 1, sum.1 + o.dur_ns.unwrap_or(0));
        });
        let found = ops(&trace, &table, &filter);
        assert!(found.is_sorted_by(|a, b| a.ns >= b.ns));
        let by_op: BTreeMap<_, _> = found.iter().map(|c| ((c.op.clone(), c.phase), (c.count, c.ns))).collect();
        assert_eq!(by_op, expected, "{filter:?}");
        let wanted = ReadFilter { tokens: filter.tokens, evals: filter.evals, ..ReadFilter::default() };
        if filter.phase.is_none() {
            let read: u64 = memory(&trace, &table, &wanted).iter().map(|r| r.read_bytes).sum();
            assert_eq!(found.iter().map(|c| c.bytes).sum::<u64>(), read, "{filter:?}");
        }
    }
}

#[test]
fn costs_of_layers_and_nodes_are_the_sums_of_what_dump_gives() {
    let (_dir, trace, table) = trace();
    for filter in filters() {
        let mut of_layer: BTreeMap<(bool, Option<u32>), (u64, u64)> = BTreeMap::new();
        let mut of_node: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        each(&trace, &filter, |o| {
            let sum = of_layer.entry((o.layer.is_none(), o.layer)).or_default();
            *sum = (sum.0 + 1, sum.1 + o.dur_ns.unwrap_or(0));
            if table.header(o.eval as usize).unwrap().graph == GraphId(1) {
                let sum = of_node.entry(o.node).or_default();
                *sum = (sum.0 + 1, sum.1 + o.dur_ns.unwrap_or(0));
            }
        });
        let found = layers(&trace, &table, &filter);
        let sums: Vec<_> = found.iter().map(|l| ((l.layer.is_none(), l.layer), (l.operators, l.ns))).collect();
        assert_eq!(sums, of_layer.into_iter().collect::<Vec<_>>(), "{filter:?}");
        let costs = node_costs(&trace, &table, GraphId(1), &filter);
        let sums: Vec<_> = costs.count.iter().copied().zip(costs.ns.iter().copied()).collect();
        let sums: BTreeMap<_, _> = costs.node.iter().copied().zip(sums).collect();
        assert_eq!(sums, of_node, "{filter:?}");
    }
    let found = layers(&trace, &table, &Filter::default());
    let all = ops(&trace, &table, &Filter::default());
    assert_eq!(found.iter().map(|l| l.read_bytes).sum::<u64>(), all.iter().map(|c| c.bytes).sum::<u64>());
    let weights = trace.graph(GraphId(0)).unwrap();
    let of_layer = weights.graph.leaves().filter(|(_, t)| t.name.starts_with("blk.1."));
    assert_eq!(found[1].weight_bytes, of_layer.map(|(_, t)| t.bytes.0).sum::<u64>());
    let hot = &found[1].hottest;
    assert_eq!(hot.len(), 5);
    let regions = memory(&trace, &table, &ReadFilter::default());
    for tensor in hot.iter().filter(|t| t.name.starts_with("blk.")) {
        let region = regions.iter().find(|r| r.name == tensor.name).unwrap();
        assert_eq!((tensor.accesses, tensor.bytes), (region.accesses, region.read_bytes), "{}", tensor.name);
    }
}

#[test]
fn the_time_of_an_operator_is_divided_among_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut b = Builder::default();
    let large = b.weight("blk.0.large.weight", false, &[96, 4]);
    let small = b.weight("blk.0.small.weight", false, &[96, 1]);
    let sum = b.node("sum-0", "ADD", &[96, 4], &[large, small]);
    // Reads the sum before it, which is no leaf, and as much of the weight.
    b.node("again-0", "ADD", &[96, 4], &[sum, large]);
    let stored = b.finish(0, "m.gguf");
    let evaluated = evaluation(&stored, 0, 0, &mut Random(1));
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored).unwrap();
    writer.evaluation(evaluated).unwrap();
    writer.finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    let table = Table::new(&trace, DEFAULT_MEMORY);
    let mut took = vec![];
    each(&trace, &Filter::default(), |o| took.push(o.dur_ns.unwrap()));
    let found = &layers(&trace, &table, &Filter::default())[0];
    let ns = |name: &str| found.hottest.iter().find(|t| t.name.contains(name)).unwrap().ns;
    assert_eq!(ns("small"), took[0] / 5);
    let difference = ns("large").abs_diff(took[0] * 4 / 5 + took[1] / 2);
    assert!(difference <= 1, "{} of {took:?}", ns("large"));
    assert!(found.hottest.iter().map(|t| t.ns).sum::<u64>() <= found.ns);
}

#[test]
fn a_map_of_layers_and_tokens_divides_evaluations_among_their_tokens() {
    let (_dir, trace, table) = trace();
    for (filter, bins) in filters().into_iter().flat_map(|f| [1, 2, 7, 500].map(|bins| (f.clone(), bins))) {
        let found = layer_tokens(&trace, &table, &filter, bins);
        let mut expected: BTreeMap<(bool, Option<u32>), Vec<f64>> = BTreeMap::new();
        let mut evals: Vec<std::collections::BTreeSet<u64>> = vec![Default::default(); found.bins.len()];
        each(&trace, &filter, |o| {
            let header = table.header(o.eval as usize).unwrap();
            let of_layer = expected.entry((o.layer.is_none(), o.layer)).or_insert_with(|| vec![0.0; found.bins.len()]);
            for token in (header.first_token..).take(header.n_tokens as usize) {
                let bin = found.bins.iter().position(|b| (b.first_token..=b.last_token).contains(&token));
                if let Some(bin) = bin {
                    of_layer[bin] += o.dur_ns.unwrap_or(0) as f64 / f64::from(header.n_tokens);
                    evals[bin].insert(o.eval);
                }
            }
        });
        assert!(found.bins.len() <= bins && found.bins.iter().all(|b| b.first_token <= b.last_token));
        assert!(found.bins.windows(2).all(|w| w[0].last_token + 1 == w[1].first_token));
        assert_eq!(
            found.bins.iter().map(|b| b.evaluations).collect::<Vec<_>>(),
            evals.iter().map(|e| e.len() as u64).collect::<Vec<_>>()
        );
        if found.bins.is_empty() {
            assert_eq!((found.layers.len(), found.ns.len()), (0, 0));
            continue;
        }
        let layers: Vec<_> = expected.keys().map(|k| k.1).collect();
        assert_eq!(found.layers, layers);
        for (found, expected) in found.ns.iter().flatten().zip(expected.values().flatten()) {
            // Each evaluation's part is a whole number of nanoseconds.
            assert!((*found as f64 - expected).abs() < 20.0, "{found} {expected}");
        }
    }
}

#[test]
fn a_distribution_has_the_quantiles_of_the_times_that_dump_gives() {
    let (_dir, trace, table) = trace();
    let glob = |text: &str| Some(globset::Glob::new(text).unwrap().compile_matcher());
    let mut all = filters();
    all.push(Filter { op: glob("MUL_MAT"), ..Filter::default() });
    all.push(Filter { durations: Some("90000..200000".parse().unwrap()), ..Filter::default() });
    for filter in all {
        let mut times = vec![];
        each(&trace, &filter, |o| times.extend(o.dur_ns));
        times.sort_unstable();
        let found = histogram(&trace, &table, &filter, 30);
        assert_eq!(found.count, times.len() as u64);
        let at = |percent: usize| (!times.is_empty()).then(|| times[(times.len() * percent).div_ceil(100) - 1]);
        assert_eq!((found.p50, found.p90, found.p99, found.max), (at(50), at(90), at(99), at(100)), "{filter:?}");
        assert_eq!(found.min, times.first().copied());
        let mean = times.iter().sum::<u64>() as f64 / times.len() as f64;
        assert_eq!(found.mean, (!times.is_empty()).then_some(mean));
        assert!(found.bins.len() <= 30 && found.bins.windows(2).all(|w| w[0].to + 1 == w[1].from));
        for bin in &found.bins {
            let within = times.iter().filter(|t| (bin.from..=bin.to).contains(t)).count();
            assert_eq!(bin.count, within as u64, "{bin:?}");
        }
        assert_eq!(found.bins.iter().map(|b| b.count).sum::<u64>(), found.count);
    }
}

#[test]
fn the_way_through_a_file_is_that_of_the_sources_on_disk() {
    let (_dir, trace, table) = trace();
    let found = access(&trace, &table, 1).unwrap();
    assert_eq!(found.place.as_deref(), Some("/models/Smol LM2 ü.gguf"));
    let mut expected = vec![];
    each(&trace, &Filter { evals: Some("1".parse().unwrap()), ..Filter::default() }, |o| {
        for source in o.src.iter().filter(|s| s.place.memory == "DISK") {
            expected.push((o.t_ns, o.node, source.name.to_owned(), source.place.offset.unwrap(), source.bytes));
        }
    });
    assert_eq!(found.reads.len(), expected.len());
    for (read, (t_ns, node, name, offset, bytes)) in found.reads.iter().zip(&expected).skip(1) {
        assert_eq!((read.t_ns, read.node, &read.name), (*t_ns, *node, name));
        assert_eq!((read.offset, read.bytes), (*offset, *bytes));
    }
    // Of the embeddings the token's own row.
    let row = 576 / 32 * 20;
    assert_eq!((found.reads[0].name.as_str(), found.reads[0].bytes), ("token_embd.weight", row));
    assert_eq!((found.reads[0].offset - expected[0].3) % row, 0);
    assert!((0.0..=1.0).contains(&found.sequential) && found.span_bytes > 0);
    assert!(access(&trace, &table, 99).is_none());
}

#[test]
fn places_are_the_sums_of_their_regions() {
    let (_dir, trace, table) = trace();
    let (found, regions) = (places(&trace, &table, None), memory(&trace, &table, &ReadFilter::default()));
    assert_eq!((found[0].memory, found[0].start), ("DISK", 0));
    for place in &found {
        let own: Vec<_> = regions.iter().filter(|r| (r.memory, &r.place) == (place.memory, &place.place)).collect();
        assert_eq!(place.regions, own.len() as u64);
        assert_eq!(place.accesses, own.iter().map(|r| r.accesses).sum::<u64>());
        assert_eq!(place.read_bytes, own.iter().map(|r| r.read_bytes).sum::<u64>());
        assert!(own.iter().all(|r| place.start <= r.start && r.start + r.bytes <= place.end));
    }
    assert_eq!(found.iter().map(|p| p.regions).sum::<u64>(), regions.len() as u64);
}

#[test]
fn a_trace_that_is_damaged_anywhere_is_answered_as_far_as_it_goes() {
    let (dir, ..) = trace();
    let path = dir.path().join("a.ggtrace");
    let sound = std::fs::read(&path).unwrap();
    let filter = Filter::default();
    let mut at = FILE_HEADER_BYTES;
    while let Ok((chunk, len)) = Chunk::parse(&sound[at..]) {
        let kind = chunk.kind;
        let mut damaged = sound.clone();
        damaged[at + len - 9] ^= 0xff;
        std::fs::write(&path, &damaged).unwrap();
        at += len;
        let Ok(trace) = Trace::open(&path) else { continue };
        let table = Table::new(&trace, DEFAULT_MEMORY);
        let mut rows = 0;
        each(&trace, &filter, |_| rows += 1);
        assert_eq!(layers(&trace, &table, &filter).iter().map(|l| l.operators).sum::<u64>(), rows, "{kind:?}");
        assert_eq!(ops(&trace, &table, &filter).iter().map(|c| c.count).sum::<u64>(), rows, "{kind:?}");
        assert!(histogram(&trace, &table, &filter, 9).count <= rows);
        assert_eq!(timeline(&table, 0, None).len(), 32 + 80 * table.len());
        assert!(layer_tokens(&trace, &table, &filter, 9).bins.len() <= 9);
        let read: u64 = table.headers(0).map(|(_, h)| h.disk_bytes + h.buffer_bytes).sum();
        assert_eq!(memory(&trace, &table, &ReadFilter::default()).iter().map(|r| r.read_bytes).sum::<u64>(), read);
        assert_eq!(leaves(&trace, &table, None).is_empty(), rows == 0, "{kind:?}");
        for eval in 0..8 {
            assert_eq!(access(&trace, &table, eval).is_some(), table.find(eval).is_some());
            assert_eq!(spans(&trace, &table, eval).is_some(), table.find(eval).is_some());
        }
        assert!(!trace.warnings().is_empty(), "{kind:?}");
    }
}

#[test]
fn chosen_experts_count_where_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut b = Builder::default();
    let weight = b.weight("blk.0.ffn_up_exps.weight", true, &[64, 32, 4]);
    let tokens = b.input("inp_tokens", None, &[2]);
    let logits = b.node("ffn_moe_logits-0", "SQR", &[4, 2], &[tokens]);
    let topk = b.node("ffn_moe_topk-0", "TOP_K", &[2, 2], &[logits]);
    b.node("ffn_moe_up-0", "MUL_MAT_ID", &[32, 2, 2], &[weight, logits, topk]);
    let stored = b.finish(0, "/models/moe.gguf");
    let topk = stored.graph.tensors.iter().position(|t| t.name == "ffn_moe_topk-0").unwrap();
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored.clone()).unwrap();
    for (eval, ids) in [(0, vec![3, 1, 1, 0]), (1, vec![2, 2, 2, 2])] {
        let experts = vec![Experts { tensor: TensorId(topk as u32), n_used: 2, ids }];
        let e = evaluation(&stored, eval, 2 * eval as i32, &mut Random(1));
        writer.evaluation(Evaluation { eval: EvalId(eval), experts, ..e }).unwrap();
    }
    writer.finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    let table = Table::new(&trace, DEFAULT_MEMORY);
    let expert = 32 * 40;
    let disk: Vec<u64> = table.headers(0).map(|(_, h)| h.disk_bytes).collect();
    assert_eq!(disk, [3 * expert, expert]);
    let hot = &layers(&trace, &table, &Filter::default())[0].hottest;
    let experts = hot.iter().find(|t| t.name == "blk.0.ffn_up_exps.weight").unwrap();
    assert_eq!((experts.accesses, experts.bytes), (4, 4 * expert));
    let costs = node_costs(&trace, &table, GraphId(0), &Filter::default());
    let regions = memory(&trace, &table, &ReadFilter::default());
    assert_eq!(costs.bytes.iter().sum::<u64>(), regions.iter().map(|r| r.read_bytes).sum::<u64>());
    let found = access(&trace, &table, 0).unwrap();
    let offsets: Vec<u64> = found.reads.iter().map(|r| r.offset - found.reads[2].offset).collect();
    assert_eq!(offsets, [3 * expert, expert, 0]);
    assert_eq!((found.sequential, found.span_bytes), (0.0, 4 * expert));
}
