//! Evaluations in summary: when, of which tokens, and what the time went to. The bars of a timeline.

use super::dump::{Phase, text};
use super::range::Numbers;
use super::view::GraphViews;
use crate::analysis::timing::{Plan, Plans};
use crate::trace::{Select, Trace};
use ggscope_format::columns::Row;
use ggscope_format::record::Graph;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use utoipa::ToSchema;

/// Tokens in one page; a page ends early rather than hold more, but has one evaluation at least.
const MAX_TOKENS: usize = 1 << 16;

/// Which evaluations are wanted, and which part of them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Numbers of tokens within the session, of which an evaluation has one at least.
    pub tokens: Option<Numbers>,
    /// Numbers of evaluations.
    pub evals: Option<Numbers>,
    /// Nanoseconds of `CLOCK_MONOTONIC`, of which an evaluation's time has one at least.
    pub time: Option<Numbers>,
    /// Evaluations before the page.
    pub offset: usize,
    /// Evaluations in the page, at most.
    pub limit: usize,
}

/// An evaluation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EvaluationSummary {
    /// Number within the session.
    pub eval: u64,
    /// Its graph.
    pub graph: u32,
    /// The scheduler that computed it.
    pub context: u32,
    /// Kernel's id of the thread that asked for it.
    pub thread: u32,
    /// `ggml_status`: 0 success, 1 aborted by the program, negative failed.
    pub status: i32,
    /// Begin, nanoseconds of `CLOCK_MONOTONIC`.
    pub t_ns: u64,
    /// Nanoseconds from begin to end.
    pub dur_ns: u64,
    /// Page faults of the process while it ran that needed no read.
    pub minor_faults: u32,
    /// Page faults of the process while it ran that read from disk.
    pub major_faults: u32,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Executed operators.
    pub operators: u64,
    /// Time by kind of operator, longest first.
    pub ops: Vec<OpTime>,
}

/// A token that went in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Token {
    /// Number within the session.
    pub number: u64,
    /// Id in the vocabulary; null if it was not recorded.
    pub id: Option<i32>,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Part of the prompt or of the answer.
    pub phase: Phase,
}

/// One kind of operator in one evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpTime {
    /// Its name in ggml.
    pub op: String,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
}

/// The evaluations of a page, and how many there are in all. Those of the page are the only ones whose times are read.
pub fn evaluations(trace: &Trace, wanted: &Wanted) -> (Vec<EvaluationSummary>, u64) {
    let select = Select { evals: wanted.evals.map(|n| n.range()), tokens: wanted.tokens.map(|n| n.range()) };
    let (mut total, mut tokens) = (0_usize, 0);
    let mut page: Vec<u64> = vec![];
    trace.for_each_evaluation(&select, false, |row| {
        if in_time(wanted, &row) {
            let next = total == wanted.offset.saturating_add(page.len());
            tokens += if next { row.generated.len() } else { 0 };
            if next && page.len() < wanted.limit && (page.is_empty() || tokens <= MAX_TOKENS) {
                page.push(row.evaluation.eval.0);
            }
            total += 1;
        }
        ControlFlow::Continue(())
    });
    let Some((&first, &last)) = page.iter().min().zip(page.iter().max()) else { return (vec![], total as u64) };
    let select = Select { evals: Some(first..last.saturating_add(1)), ..select };
    let texts = trace.texts();
    let (mut views, mut plans) = (GraphViews::default(), Plans::default());
    let mut summaries = vec![];
    trace.for_each_evaluation(&select, true, |row| {
        if page.contains(&row.evaluation.eval.0) && in_time(wanted, &row) {
            let mut summary = summary(&row, &texts);
            match views.of(trace, row.evaluation.graph) {
                Ok(view) => {
                    let plan = plans.of(&view.stored.graph, &row.evaluation);
                    summary.operators = plan.executed();
                    summary.ops = ops(&view.stored.graph, &plan, &row.evaluation.durations);
                }
                Err(error) => trace.warn(format!("evaluations are without operators: {error}")),
            }
            summaries.push(summary);
        }
        ControlFlow::Continue(())
    });
    (summaries, total as u64)
}

fn in_time(wanted: &Wanted, row: &Row) -> bool {
    let (start, end) = (row.evaluation.start.0, row.evaluation.end.0);
    wanted.time.is_none_or(|n| start <= n.last && n.first <= end)
}

fn summary(row: &Row, texts: &HashMap<i32, Vec<u8>>) -> EvaluationSummary {
    let e = &row.evaluation;
    let token = |(i, &generated): (usize, &bool)| Token {
        number: row.first_token.saturating_add(i as u64),
        id: e.tokens.get(i).copied(),
        text: text(row, i, texts),
        phase: if generated { Phase::Generate } else { Phase::Prompt },
    };
    EvaluationSummary {
        eval: e.eval.0,
        graph: e.graph.0,
        context: e.context,
        thread: e.thread,
        status: e.status,
        t_ns: e.start.0,
        dur_ns: e.end.0.saturating_sub(e.start.0),
        minor_faults: e.minor_faults,
        major_faults: e.major_faults,
        tokens: row.generated.iter().enumerate().map(token).collect(),
        operators: 0,
        ops: vec![],
    }
}

fn ops(graph: &Graph, plan: &Plan, durations: &[u64]) -> Vec<OpTime> {
    let mut by_op: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let op = |id: ggscope_format::TensorId| graph.op(&graph.tensors[id.index()]);
    for id in plan.executed_nodes() {
        by_op.entry(op(id)).or_default().0 += 1;
    }
    for (id, &ns) in plan.slots().iter().zip(durations).filter_map(|(slot, ns)| Some(((*slot)?, ns))) {
        let sum = &mut by_op.entry(op(id)).or_default().1;
        *sum = sum.saturating_add(ns);
    }
    let mut ops: Vec<_> = by_op.into_iter().map(|(op, (count, ns))| OpTime { op: op.to_owned(), count, ns }).collect();
    ops.sort_by_key(|o| std::cmp::Reverse(o.ns));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::dump::{Filter, dump};
    use crate::trace::testing::{Shape, write};

    fn trace() -> (tempfile::TempDir, Trace) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        (dir, trace)
    }

    fn numbers(text: &str) -> Option<Numbers> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_page_has_its_evaluations_and_knows_how_many_there_are() {
        let (_dir, trace) = trace();
        let of = |offset, limit| {
            let (page, total) = evaluations(&trace, &Wanted { offset, limit, ..Wanted::default() });
            (page.iter().map(|e| e.eval).collect::<Vec<_>>(), total)
        };
        assert_eq!(of(0, 3), (vec![0, 1, 2], 10));
        assert_eq!(of(8, 5), (vec![8, 9], 10));
        assert_eq!(of(10, 5), (vec![], 10));
        assert_eq!(of(0, 0), (vec![], 10));
    }

    #[test]
    fn tokens_and_times_choose_evaluations() {
        let (_dir, trace) = trace();
        let of = |wanted: Wanted| evaluations(&trace, &Wanted { limit: 100, ..wanted });
        let (seventh, total) = of(Wanted { tokens: numbers("7"), ..Wanted::default() });
        assert_eq!((seventh[0].eval, seventh[0].tokens[0].number, total), (3, 7, 1));
        let Token { id, text, phase, .. } = &seventh[0].tokens[0];
        assert_eq!((text.clone(), *phase), (Some(format!(" t{}", id.unwrap())), Phase::Generate));
        let begin = seventh[0].t_ns;
        let (at, _) = of(Wanted { time: numbers(&format!("{begin}..{}", begin + 1)), ..Wanted::default() });
        assert_eq!(at.iter().map(|e| e.eval).collect::<Vec<_>>(), [3]);
        assert_eq!(of(Wanted { evals: numbers("2..3"), ..Wanted::default() }).1, 2);
        let (prompt, _) = of(Wanted { evals: numbers("0"), ..Wanted::default() });
        assert_eq!(prompt[0].tokens.iter().map(|t| t.phase).collect::<Vec<_>>(), [Phase::Prompt; 5]);
    }

    #[test]
    fn times_by_operator_are_the_sums_of_what_dump_says() {
        let (_dir, trace) = trace();
        let (page, _) = evaluations(&trace, &Wanted { evals: numbers("4"), limit: 1, ..Wanted::default() });
        let mut expected: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        dump(&trace, &Filter { evals: numbers("4"), ..Filter::default() }, |o| {
            let sum = expected.entry(o.op.to_owned()).or_default();
            *sum = (sum.0 + 1, sum.1 + o.dur_ns.unwrap_or(0));
            ControlFlow::Continue(())
        });
        let found: BTreeMap<_, _> = page[0].ops.iter().map(|o| (o.op.clone(), (o.count, o.ns))).collect();
        assert_eq!(found, expected);
        assert_eq!(page[0].operators, expected.values().map(|e| e.0).sum::<u64>());
        assert!(page[0].ops.is_sorted_by(|a, b| a.ns >= b.ns));
    }
}
