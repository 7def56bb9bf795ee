//! The promises of a comparison: nothing of either trace is left out, and what has the same name is one row.

use super::*;
use crate::cost::costs;
use crate::memory::{ReadFilter, memory};
use crate::table::{DEFAULT_MEMORY, Table};
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording, write};
use ggscope_trace::testing_contexts::contexts;
use std::path::Path;

const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

fn answer(dir: &Path, name: &str, shape: Shape, prompt: i64, generated: u64) -> Trace {
    let path = dir.join(name);
    write(&path, shape, prompt, generated).finish().unwrap();
    Trace::open(&path).unwrap()
}

#[test]
fn every_execution_of_both_traces_is_in_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let a = answer(dir.path(), "a.ggtrace", SMALL, 5, 9);
    let b = answer(dir.path(), "b.ggtrace", Shape { n_layer: 3, ..SMALL }, 4, 6);
    for by in [By::Op, By::Layer, By::Tensor] {
        let compared = compare(&a, &b, (None, None), by, None).unwrap();
        for (trace, side, of) in
            [(&a, &compared.a, (|row| row.a) as fn(&Difference) -> Option<Spent>), (&b, &compared.b, |row| row.b)]
        {
            let sum = |f: fn(&Spent) -> u64| compared.rows.iter().filter_map(of).map(|s| f(&s)).sum::<u64>();
            let table = Table::new(trace, DEFAULT_MEMORY);
            let all = costs(trace, &table);
            assert_eq!(sum(|s| s.count), all.iter().map(|c| c.count).sum::<u64>(), "{by:?}");
            assert_eq!(sum(|s| s.ns.unwrap_or(0)), all.iter().map(|c| c.ns).sum::<u64>(), "{by:?}");
            assert_eq!(sum(|s| s.ns.unwrap_or(0)), side.operator_ns, "{by:?}");
            let read: u64 = memory(trace, &table, &ReadFilter::default()).iter().map(|r| r.read_bytes).sum();
            assert_eq!(sum(|s| s.bytes), read, "{by:?}");
        }
        assert_eq!((compared.a.tokens, compared.b.tokens), (14, 10));
        assert_eq!((compared.a.evaluations, compared.b.evaluations), (10, 7));
        assert_eq!(compared.a.ns, a.totals().compute_ns);
    }
}

#[test]
fn phases_are_divided_as_the_summary_divides_them() {
    let dir = tempfile::tempdir().unwrap();
    let a = answer(dir.path(), "a.ggtrace", SMALL, 5, 9);
    let prompt = compare(&a, &a, (None, None), By::Op, Some(Phase::Prompt)).unwrap();
    let generate = compare(&a, &a, (None, None), By::Op, Some(Phase::Generate)).unwrap();
    assert_eq!((prompt.a.tokens, generate.a.tokens), (5, 9));
    assert_eq!((prompt.a.ns, generate.a.ns), (a.totals().prompt_ns, a.totals().generate_ns));
    assert_eq!(part(1_000, (1, 4)), 250, "a quarter of a mixed evaluation's tokens");
    assert_eq!(part(u64::MAX, (u64::MAX, u64::MAX)), u64::MAX);
    assert_eq!(part(7, (0, 0)), 7, "without tokens nothing is divided");
}

#[test]
fn a_trace_does_not_differ_from_itself() {
    let dir = tempfile::tempdir().unwrap();
    let a = answer(dir.path(), "a.ggtrace", SMALL, 5, 9);
    let compared = compare(&a, &a, (None, None), By::Tensor, None).unwrap();
    for row in &compared.rows {
        let timed = row.a.unwrap().ns.is_some();
        assert_eq!((row.a, row.difference_ns_per_token), (row.b, timed.then_some(0.0)), "{}", row.key);
        assert!(row.ratio.is_none_or(|r| r == 1.0));
    }
    assert!(compared.unmatched_a.is_empty() && compared.unmatched_b.is_empty());
    let mut keys: Vec<&String> = compared.rows.iter().map(|row| &row.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), compared.rows.len(), "no two rows have the same key");
}

#[test]
fn tensors_of_different_graphs_are_matched_by_name_and_the_rest_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let a = answer(dir.path(), "a.ggtrace", SMALL, 5, 9);
    let b = answer(dir.path(), "b.ggtrace", Shape { n_layer: 3, ..SMALL }, 5, 9);
    let compared = compare(&a, &b, (None, None), By::Tensor, None).unwrap();
    let row = |key: &str| compared.rows.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("no {key}"));
    // `node_24` in one graph is something else in the other.
    let attention = row("FLASH_ATTN_EXT of layer 1");
    assert_eq!((attention.a.unwrap().count, attention.b.unwrap().count), (10, 10));
    assert_eq!((attention.layer, &attention.name), (Some(1), &None));
    let (product, rope) = (row("Qcur-0 (MUL_MAT)"), row("Qcur-0 (ROPE)"));
    assert!(product.a.is_some() && rope.b.is_some() && product.name.as_deref() == Some("Qcur-0"));
    assert!(compared.unmatched_b.contains(&"l_out-2 (ADD)".into()));
    let alone = row("l_out-2 (ADD)");
    assert_eq!((alone.a, alone.ratio), (None, None));
    assert_eq!(alone.difference_ns_per_token, alone.b.unwrap().ns_per_token);
    let sizes: Vec<f64> = compared.rows.iter().map(|row| row.difference_ns_per_token.map_or(-1.0, f64::abs)).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "the greatest difference comes first");
}

#[test]
fn without_tokens_there_is_no_time_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let a = answer(dir.path(), "a.ggtrace", SMALL, 5, 2);
    let path = dir.path().join("b.ggtrace");
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    let stored = llama(0, SMALL);
    let mut e = evaluation(&stored, 0, 0, &mut Random(1));
    (e.n_tokens, e.tokens, e.positions, e.outputs) = (0, vec![], vec![], None);
    (e.sequences, e.requested) = (vec![], None);
    writer.graph(stored).unwrap();
    writer.evaluation(e).unwrap();
    writer.finish().unwrap();
    let compared = compare(&a, &Trace::open(&path).unwrap(), (None, None), By::Layer, None).unwrap();
    assert_eq!((compared.b.tokens, compared.b.ns_per_token), (0, None));
    assert!(compared.b.operator_ns > 0);
    for row in &compared.rows {
        assert_eq!((row.difference_ns_per_token, row.ratio), (None, None));
        assert!(row.b.unwrap().ns > Some(0) && row.b.unwrap().ns_per_token.is_none());
    }
}

#[test]
fn times_that_nobody_took_are_not_zero() {
    let dir = tempfile::tempdir().unwrap();
    let timed = answer(dir.path(), "a.ggtrace", SMALL, 5, 9);
    let path = dir.path().join("b.ggtrace");
    let stored = llama(0, SMALL);
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored.clone()).unwrap();
    let mut e = evaluation(&stored, 0, 0, &mut Random(1));
    e.durations.clear();
    (e.runs[0].clocked, e.runs[0].n_calls) = (false, 0);
    writer.evaluation(e).unwrap();
    writer.finish().unwrap();
    let compared = compare(&timed, &Trace::open(&path).unwrap(), (None, None), By::Op, None).unwrap();
    let row = |op: &str| compared.rows.iter().find(|row| row.op.as_deref() == Some(op)).unwrap();
    let mul_mat = row("MUL_MAT");
    assert!(mul_mat.a.unwrap().ns > Some(0) && mul_mat.b.unwrap().count > 0);
    assert_eq!((mul_mat.b.unwrap().ns, mul_mat.difference_ns_per_token, mul_mat.ratio), (None, None, None));
    assert_eq!(row("RMS_NORM").a.unwrap().ns, None, "MUL has the time of both");
}

#[test]
fn one_context_is_compared_with_one() {
    let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (1, 1, 2)]);
    let trace = &recorded.trace;
    let sum = |side: &Side| (side.context, side.other_contexts.clone(), side.tokens, side.evaluations);
    let of = |named| compare(trace, trace, named, By::Op, None);
    let usual = of((None, None)).unwrap();
    assert_eq!((sum(&usual.a), sum(&usual.b)), ((Some(0), vec![1], 4, 2), (Some(0), vec![1], 4, 2)));
    let draft = of((Some(1), None)).unwrap();
    assert_eq!((sum(&draft.a), sum(&draft.b)), ((Some(1), vec![0], 4, 2), (Some(1), vec![0], 4, 2)));
    let both = of((Some(0), Some(1))).unwrap();
    let counts = |of: fn(&Difference) -> Option<Spent>| both.rows.iter().filter_map(of).map(|s| s.count).sum::<u64>();
    let (here, there) = (counts(|row| row.a), counts(|row| row.b));
    let all = costs(trace, &Table::new(trace, DEFAULT_MEMORY)).iter().map(|c| c.count).sum::<u64>();
    assert!(here > there, "a model of two layers and one of one");
    assert_eq!(here + there, all, "nothing is in both");
    assert_eq!(of((Some(0), Some(7))).unwrap_err(), (1, "there is no context 7: the recording has 0, 1".to_owned()));
}
