//! The trace table: executions of operators, a page at a time, in any order. Executions are counted from kinds of
//! evaluations; only those of the page are derived in full.

use super::dump::{DumpedEvaluation, Executed, Filter, Operator};
use super::table::{self, NONE, Place, Selection, Table, find};
use super::values::Captured;
use ggscope_trace::Trace;
use ggscope_trace::analysis::timing::Span;
use std::str::FromStr;

/// What the table can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Order of the file.
    File,
    /// Time that it took; those without a time come last.
    Duration,
    /// Kind of operator.
    Op,
    /// Name of the node.
    Name,
    /// Layer; those without come last.
    Layer,
    /// Number of the token; those without come last.
    Token,
    /// PROMPT before GENERATE.
    Phase,
}

/// An order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By which column; the order of the file decides between equals.
    pub by: Column,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl FromStr for Sort {
    type Err = String;

    /// Reads `duration`, or `-duration` for the longest first.
    fn from_str(text: &str) -> Result<Sort, String> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let by = match name {
            "file" if !descending => Column::File,
            "duration" => Column::Duration,
            "op" => Column::Op,
            "name" => Column::Name,
            "layer" => Column::Layer,
            "token" => Column::Token,
            "phase" => Column::Phase,
            _ => {
                return Err(
                    "not one of file, duration, op, name, layer, token, phase, with - in front to reverse".into()
                );
            }
        };
        Ok(Sort { by, descending })
    }
}

/// Which part of the table is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Executions before it.
    pub offset: usize,
    /// Executions in it, at most.
    pub limit: usize,
    /// Order of the table.
    pub sort: Sort,
}

/// Calls `f` with the executions of a page and their places in it, evaluation by evaluation, and returns how many
/// executions the filter lets through in all. Unlike `dump`, it has no rows for captured tensors that nothing computed.
pub fn operators(
    trace: &Trace,
    table: &Table,
    filter: &Filter,
    page: &Page,
    mut f: impl FnMut(usize, Operator<'_>),
) -> u64 {
    let (found, total) = find(&Selection::new(trace, table, filter), page);
    let mut found: Vec<(Place, usize)> = found.into_iter().zip(0..).collect();
    found.sort_unstable();
    let ends = table.ends(trace);
    let mut rest = &found[..];
    let seqs: Vec<usize> = found.chunk_by(|a, b| a.0.0 == b.0.0).map(|of_one| of_one[0].0.0 as usize).collect();
    table.for_each_row(trace, seqs.into_iter(), |seq, row| {
        let begin = rest.partition_point(|(place, _)| (place.0 as usize) < seq);
        let n = rest[begin..].partition_point(|(place, _)| place.0 as usize == seq);
        let wanted = &rest[begin..begin + n];
        rest = &rest[begin + n..];
        let chosen = filter.choose(row);
        let plan = table.header(seq).and_then(|header| table.plan(header));
        let view = table.view(trace, row.evaluation.graph);
        let (Some(chosen), Some(plan), Ok(view)) = (chosen, plan, view) else { return };
        let layout = table.layout(plan.layout);
        let spans = table.spans(trace, seq, &row.evaluation);
        let captured = if filter.values { Captured::of(trace, row.evaluation.eval) } else { Captured::default() };
        let id = chosen.tokens.first().and_then(|&token| row.evaluation.tokens.get(token));
        let texts = trace.texts_of(row.evaluation.graph, id.map(std::slice::from_ref).unwrap_or_default());
        let evaluated =
            DumpedEvaluation { seq: seq as u64, view: &view, row, chosen: &chosen, texts: &texts, ends: &ends };
        for &((_, place), number) in wanted {
            let Span { start, duration } = spans[place as usize];
            let (fused, run) = (layout.fused[place as usize], layout.run[place as usize]);
            let executed = Executed {
                id: table::node(layout, place),
                start,
                duration,
                fused_into: (fused != NONE).then(|| layout.nodes[fused as usize]),
                run: (run != NONE).then_some(run as usize),
            };
            f(number, evaluated.operator(executed, &captured));
        }
    });
    total
}

#[cfg(test)]
#[path = "operators_tests.rs"]
mod tests;
