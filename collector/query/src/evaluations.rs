//! Evaluations in summary: when, of which tokens, and what the time went to. The bars of a timeline.

use super::dump::{Filter, Phase, text};
use super::range::Numbers;
use super::requests::{OfToken, of_tokens};
use super::table::{Header, Layout, Table};
use ggscope_format::columns::Row;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// Tokens in one page; a page ends early rather than hold more, but has one evaluation at least.
const MAX_TOKENS: usize = 1 << 16;

/// Which evaluations are wanted, and which part of them.
#[derive(Clone, Debug, Default)]
pub struct EvaluationFilter {
    /// The context that computed them.
    pub context: Option<u32>,
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
    /// Ordinal in the order of arrival, from 0.
    pub seq: u64,
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
    /// Bytes that its operators read from files.
    pub disk_bytes: u64,
    /// Bytes that its operators read from buffers.
    pub buffer_bytes: u64,
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
    /// The bytes of that text in hexadecimal, where they are no UTF-8: a character can be in parts in several tokens, whose
    /// bytes together are its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<String>,
    /// Part of the prompt or of the answer.
    pub phase: Phase,
    /// Its position in its sequence; null if it is unknown.
    pub pos: Option<i32>,
    /// The ids of its sequences; null if they are unknown.
    pub seq_ids: Option<Vec<i32>>,
    /// Whether the program asked for its output; null if that is unknown.
    pub output: Option<bool>,
    /// Its request, one of `/sessions/{id}/requests`; null if it is unknown.
    pub request: Option<u32>,
}

/// The first `most` tokens of an evaluation.
pub fn tokens_of(row: &Row, texts: &HashMap<i32, Vec<u8>>, most: usize) -> Vec<Token> {
    let e = &row.evaluation;
    let all = of_tokens(row).into_iter().enumerate().take(most);
    let token = |(i, of): (usize, OfToken)| Token {
        number: row.first_token.saturating_add(i as u64),
        id: e.tokens.get(i).copied(),
        text: text(row, i, texts),
        text_bytes: e.tokens.get(i).and_then(|id| texts.get(id)).and_then(|bytes| bytes_of_a_part(bytes)),
        phase: Phase::of(row.phases[i]),
        pos: e.positions.get(i).copied(),
        seq_ids: of.seq_ids,
        output: of.output,
        request: of.request,
    };
    all.map(token).collect()
}

/// Bytes that are no UTF-8, in hexadecimal.
fn bytes_of_a_part(bytes: &[u8]) -> Option<String> {
    let is_part = std::str::from_utf8(bytes).is_err();
    is_part.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

/// The evaluations of a page, and how many there are in all. Only those of the page are read from the file.
pub fn evaluations(trace: &Trace, table: &Table, wanted: &EvaluationFilter) -> (Vec<EvaluationSummary>, u64) {
    let EvaluationFilter { context, tokens, evals, .. } = *wanted;
    let filter = Filter { context, tokens, evals, ..Filter::default() };
    let (mut total, mut n_tokens) = (0_usize, 0);
    let mut page: Vec<usize> = vec![];
    for (seq, header) in table.headers(0).filter(|(_, h)| in_time(wanted, h) && h.choose(&filter).is_some()) {
        let next = total == wanted.offset.saturating_add(page.len());
        n_tokens += if next { header.n_tokens as usize } else { 0 };
        if next && page.len() < wanted.limit && (page.is_empty() || n_tokens <= MAX_TOKENS) {
            page.push(seq);
        }
        total += 1;
    }
    let mut summaries = vec![];
    table.for_each_row(trace, page.into_iter(), |seq, row| {
        if let Some(header) = table.header(seq) {
            let ops = table.plan(header).map_or(vec![], |plan| ops(trace, table, seq, table.layout(plan.layout)));
            summaries.push(EvaluationSummary {
                ops,
                ..summary(seq, header, row, &trace.texts_of(row.evaluation.graph, &row.evaluation.tokens))
            });
        }
    });
    (summaries, total as u64)
}

fn in_time(wanted: &EvaluationFilter, header: &Header) -> bool {
    wanted.time.is_none_or(|n| header.start <= n.last && n.first <= header.end())
}

fn summary(seq: usize, header: &Header, row: &Row, texts: &HashMap<i32, Vec<u8>>) -> EvaluationSummary {
    EvaluationSummary {
        seq: seq as u64,
        eval: header.eval,
        graph: header.graph.0,
        context: header.context,
        thread: header.thread,
        status: header.status,
        t_ns: header.start,
        dur_ns: header.dur,
        minor_faults: header.minor_faults,
        major_faults: header.major_faults,
        disk_bytes: header.disk_bytes,
        buffer_bytes: header.buffer_bytes,
        tokens: tokens_of(row, texts, usize::MAX),
        operators: u64::from(header.operators),
        ops: vec![],
    }
}

fn ops(trace: &Trace, table: &Table, seq: usize, layout: &Layout) -> Vec<OpTime> {
    let mut by_op: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let times = table.durations(trace, seq).unwrap_or_default();
    for (&op, &column) in layout.op.iter().zip(&layout.column) {
        let (count, ns) = by_op.entry(op).or_default();
        let time = times.get(column as usize).copied().unwrap_or(0);
        (*count, *ns) = (*count + 1, ns.saturating_add(time));
    }
    let of_op = |(op, (count, ns))| OpTime { op: table.text(op).to_owned(), count, ns };
    let mut ops: Vec<OpTime> = by_op.into_iter().map(of_op).collect();
    ops.sort_by(|a, b| (b.ns, &a.op).cmp(&(a.ns, &b.op)));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::dump;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_trace::testing::{Shape, write};
    use std::ops::ControlFlow;

    fn trace() -> (tempfile::TempDir, Trace) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        (dir, trace)
    }

    fn evaluations(trace: &Trace, wanted: &EvaluationFilter) -> (Vec<EvaluationSummary>, u64) {
        super::evaluations(trace, &Table::new(trace, DEFAULT_MEMORY), wanted)
    }

    fn numbers(text: &str) -> Option<Numbers> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_page_has_its_evaluations_and_knows_how_many_there_are() {
        let (_dir, trace) = trace();
        let of = |offset, limit| {
            let (page, total) = evaluations(&trace, &EvaluationFilter { offset, limit, ..EvaluationFilter::default() });
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
        let of = |wanted: EvaluationFilter| evaluations(&trace, &EvaluationFilter { limit: 100, ..wanted });
        let (seventh, total) = of(EvaluationFilter { tokens: numbers("7"), ..EvaluationFilter::default() });
        assert_eq!((seventh[0].eval, seventh[0].tokens[0].number, total), (3, 7, 1));
        let Token { id, text, phase, .. } = &seventh[0].tokens[0];
        assert_eq!((text.clone(), *phase), (Some(format!(" t{}", id.unwrap())), Phase::Generate));
        let begin = seventh[0].t_ns;
        let (at, _) =
            of(EvaluationFilter { time: numbers(&format!("{begin}..{}", begin + 1)), ..EvaluationFilter::default() });
        assert_eq!(at.iter().map(|e| e.eval).collect::<Vec<_>>(), [3]);
        assert_eq!(of(EvaluationFilter { evals: numbers("2..3"), ..EvaluationFilter::default() }).1, 2);
        let (prompt, _) = of(EvaluationFilter { evals: numbers("0"), ..EvaluationFilter::default() });
        assert_eq!(prompt[0].tokens.iter().map(|t| t.phase).collect::<Vec<_>>(), [Phase::Prompt; 5]);
    }

    #[test]
    fn a_part_of_a_character_has_its_bytes() {
        assert_eq!(bytes_of_a_part("é".as_bytes()), None);
        assert_eq!(bytes_of_a_part(&"é".as_bytes()[..1]), Some("c3".into()));
    }

    #[test]
    fn times_by_operator_are_the_sums_of_what_dump_says() {
        let (_dir, trace) = trace();
        let (page, _) =
            evaluations(&trace, &EvaluationFilter { evals: numbers("4"), limit: 1, ..EvaluationFilter::default() });
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
