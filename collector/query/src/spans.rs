//! When each operator of one evaluation ran: the bars of one token.

use super::table::{NONE, Table};
use ggscope_trace::Trace;
use ggscope_trace::analysis::timing::Span;
use serde::Serialize;
use utoipa::ToSchema;

/// The executed operators of an evaluation, one entry each in the order of execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Spans {
    /// Number of the evaluation.
    pub eval: u64,
    /// Its ordinal in the order of arrival, from 0.
    pub seq: u64,
    /// Its graph.
    pub graph: u32,
    /// The context that computed it.
    pub context: u32,
    /// Begin, nanoseconds of `CLOCK_MONOTONIC`.
    pub t_ns: u64,
    /// Nanoseconds from begin to end.
    pub dur_ns: u64,
    /// Number of the node within the graph.
    pub node: Vec<u32>,
    /// Begin, nanoseconds after `t_ns`; of an operator without a time of its own, when its run began.
    pub start: Vec<u64>,
    /// How long it took in nanoseconds; null if that is not known.
    pub dur: Vec<Option<u64>>,
    /// The node that has its time, because both were computed in one go.
    pub fused_into: Vec<Option<u32>>,
}

/// The operators of the evaluation with the number `eval`. `None` if there is no such evaluation.
pub fn spans(trace: &Trace, table: &Table, eval: u64) -> Option<Spans> {
    let seq = table.find(eval)?;
    let header = table.header(seq)?;
    let mut found = Spans {
        eval,
        seq: seq as u64,
        graph: header.graph.0,
        context: header.context,
        t_ns: header.start,
        dur_ns: header.dur,
        node: vec![],
        start: vec![],
        dur: vec![],
        fused_into: vec![],
    };
    let Some(plan) = table.plan(header) else { return Some(found) };
    let layout = table.layout(plan.layout);
    table.for_each_row(trace, [seq].into_iter(), |_, row| {
        let spans = table.spans(trace, seq, &row.evaluation);
        found.node = layout.nodes.clone();
        (found.start, found.dur) = spans.into_iter().map(|Span { start, duration }| (start, duration)).unzip();
        let node = |&place: &u32| (place != NONE).then(|| layout.nodes[place as usize]);
        found.fused_into = layout.fused.iter().map(node).collect();
    });
    Some(found)
}
