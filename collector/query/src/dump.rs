//! Every execution of an operator: when, for how long, and what it read from where. Nothing of this is stored; it is
//! derived from the graph and the evaluation, for those that the filter lets through.

pub use super::filter::{Chosen, Filter, Memory, Phase};
use super::find::{Found, find};
use super::memory::{is_written, read_bytes};
use super::values::{Captured, CapturedValue, TensorStatistics};
use ggscope_format::TensorId;
use ggscope_format::columns::Row;
use ggscope_format::record::{Evaluation, Experts, MAX_DIMS, RunEnd};
use ggscope_trace::analysis::timing::{Execution, Span};
use ggscope_trace::view::{ExpertSlice, GraphView, Place};
use ggscope_trace::{Remark, Trace};
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use utoipa::ToSchema;

/// One execution of an operator.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Operator<'a> {
    /// Ordinal of the evaluation in the order of arrival, from 0.
    pub seq: u64,
    /// Number of the evaluation.
    pub eval: u64,
    /// Number of its graph within the session.
    pub graph: u32,
    /// Number within the session of the evaluation's first token that the filter lets through; null without tokens.
    pub token: Option<u64>,
    /// Its id, if ids were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<i32>,
    /// Its position in its sequence, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<i32>,
    /// Ids of its sequences, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_ids: Option<Vec<i32>>,
    /// Its request, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u32>,
    /// Text of that token, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_text: Option<String>,
    /// How many tokens the evaluation has.
    pub n_tokens: u32,
    /// Phase of that token; null without tokens.
    #[schema(value_type = Phase)]
    pub phase: Option<Phase>,
    /// Number of the node within its graph.
    pub node: u32,
    /// The operator's name in ggml.
    pub op: &'a str,
    /// The node's name.
    pub name: &'a str,
    /// The layer that it belongs to.
    pub layer: Option<u32>,
    /// What part of the model it is.
    pub node_type: &'static str,
    /// Number of the scheduler (for llama.cpp: the context) that computed it, in the order of creation.
    pub context: u32,
    /// Kernel's id of the thread that asked for the evaluation.
    pub thread: u32,
    /// The device that computed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    /// When it began, nanoseconds of `CLOCK_MONOTONIC`; if it is unattributed, when its run began.
    pub t_ns: u64,
    /// How long it took in nanoseconds; null if that is not known.
    pub dur_ns: Option<u64>,
    /// The node that has this one's time, because both were computed in one go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused_into: Option<u32>,
    /// The run that computed it, if it has no time of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<WholeRun>,
    /// What it wrote.
    pub dst: Destination<'a>,
    /// Bytes that it read of all its sources.
    pub read_bytes: u64,
    /// Its sources.
    pub src: Vec<Source<'a>>,
    /// Experts that the evaluation's tokens that the filter lets through were routed to, each once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<Vec<i32>>,
    /// What it computed, if that was captured and is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<CapturedValue>,
    /// Statistics of what it computed, if those were captured and are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<TensorStatistics>,
}

/// The part of a graph that a device computed in one go, timed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WholeRun {
    /// Number within the evaluation.
    pub number: usize,
    /// When it began.
    pub t_ns: u64,
    /// How long it took in nanoseconds; of a device that works asynchronously until the host saw it done, if it did.
    pub dur_ns: u64,
}

/// What an operator wrote.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Destination<'a> {
    /// Type.
    #[serde(rename = "type")]
    pub dtype: &'a str,
    /// Elements in each dimension.
    pub ne: [i64; MAX_DIMS],
    /// Size in bytes.
    pub bytes: u64,
    /// The buffer.
    pub buffer: Option<&'a str>,
    /// Address in the traced process.
    pub addr: u64,
}

/// A source of an operator.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Source<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Type.
    #[serde(rename = "type")]
    pub dtype: &'a str,
    /// Elements in each dimension.
    pub ne: [i64; MAX_DIMS],
    /// Size in bytes.
    pub bytes: u64,
    /// Bytes that the operator read of it, as the shapes say: all, the rows that were picked, the experts that were
    /// chosen; 0 if it only wrote there.
    pub read_bytes: u64,
    /// The layer that the tensor belongs to.
    pub layer: Option<u32>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place<'a>,
    /// The parts that were read, of a tensor that holds experts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertSlice>,
}

/// Calls `f` for each execution (and, with values, each captured view) that `filter` lets through, in the order of the
/// file, until it breaks.
pub fn dump(trace: &Trace, filter: &Filter, mut f: impl FnMut(Operator<'_>) -> ControlFlow<()>) {
    let (texts, ends) = (trace.texts(), run_ends(trace));
    find(trace, filter, |found| {
        let Found { seq, view, row, plan, chosen, .. } = found;
        let captured = if filter.values { Captured::of(trace, row.evaluation.eval) } else { Captured::default() };
        // A view is not executed, but what it shows may have been captured.
        let more = captured.tensors().filter(|&id| found.takes(id));
        let mut shown: Vec<TensorId> = found.nodes().chain(more).collect();
        shown.sort_unstable();
        shown.dedup();
        let evaluated = DumpedEvaluation {
            seq,
            view,
            row,
            chosen,
            texts: texts.of(trace.vocabulary_of(view.stored.graph.graph)),
            ends: &ends,
        };
        for (id, Span { start, duration }) in found.times_of(shown) {
            let fused_into = if let Execution::Fused(with) = plan.node(id) { Some(with.0) } else { None };
            f(evaluated.operator(Executed { id, start, duration, fused_into, run: plan.run(id) }, &captured))?;
        }
        ControlFlow::Continue(())
    });
}

/// An evaluation with all that its operators are derived from.
pub(super) struct DumpedEvaluation<'a> {
    pub seq: u64,
    pub view: &'a GraphView,
    pub row: &'a Row,
    pub chosen: &'a Chosen,
    pub texts: &'a HashMap<i32, Vec<u8>>,
    pub ends: &'a HashMap<(u64, u32), u64>,
}

/// A node and its time.
pub(super) struct Executed {
    pub id: TensorId,
    /// Begin, nanoseconds after the evaluation's.
    pub start: u64,
    pub duration: Option<u64>,
    pub fused_into: Option<u32>,
    pub run: Option<usize>,
}

/// Text of an evaluation's token, if it is known.
pub fn text(row: &Row, token: usize, texts: &HashMap<i32, Vec<u8>>) -> Option<String> {
    let bytes = row.evaluation.tokens.get(token).and_then(|id| texts.get(id))?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// When the host saw asynchronous runs end, by evaluation and number of the run. Said twice, the later counts.
pub(super) fn run_ends(trace: &Trace) -> HashMap<(u64, u32), u64> {
    let mut ends: HashMap<(u64, u32), u64> = HashMap::new();
    for remark in trace.notes() {
        if let Remark::RunEnd(RunEnd { eval, run, end }) = remark {
            let seen = ends.entry((eval.0, run)).or_default();
            *seen = end.0.max(*seen);
        }
    }
    ends
}

pub(super) fn whole_run(row: &Row, number: usize, ends: &HashMap<(u64, u32), u64>) -> Option<WholeRun> {
    let run = row.evaluation.runs.get(number)?;
    let t_ns = row.evaluation.start.0.saturating_add(run.start);
    let seen_done = ends.get(&(row.evaluation.eval.0, number as u32)).map(|end| end.saturating_sub(t_ns));
    Some(WholeRun { number, t_ns, dur_ns: seen_done.unwrap_or(0).max(run.duration) })
}

impl<'a> DumpedEvaluation<'a> {
    /// An execution of one of its nodes.
    pub fn operator(&self, executed: Executed, captured: &Captured) -> Operator<'a> {
        let &DumpedEvaluation { view, row, chosen, .. } = self;
        let Executed { id, start, duration, fused_into, run } = executed;
        let graph = &view.stored.graph;
        let tensor = &graph.tensors[id.index()];
        let op = graph.op(tensor);
        let router = view.router(tensor, &row.evaluation.experts);
        let experts = router.map(|router| chosen_experts(router, &chosen.tokens, &row.evaluation));
        let source = |(i, from): (usize, &Option<TensorId>)| {
            let from = (*from)?;
            let source = graph.tensor(from)?;
            let slices = expert_dim(op, i).zip(experts.as_deref()).map(|(dim, ids)| view.expert_slices(from, dim, ids));
            Some(Source {
                name: &source.name,
                dtype: view.dtype(source),
                ne: source.ne,
                bytes: source.bytes.0,
                read_bytes: match &slices {
                    _ if is_written(graph, tensor, i, from) => 0,
                    Some(slices) => slices.iter().fold(0, |sum, slice| sum.saturating_add(slice.bytes)),
                    None => read_bytes(graph, tensor, i, source),
                },
                layer: view.layers.layer(from),
                place: view.place(from),
                experts: slices.unwrap_or_default(),
            })
        };
        let of_run = run.and_then(|run| row.evaluation.runs.get(run));
        let device = of_run.and_then(|run| graph.devices.get(usize::from(run.device)));
        let src: Vec<Source<'a>> = tensor.src.iter().enumerate().filter_map(source).collect();
        let in_whole = run.filter(|_| duration.is_none() && fused_into.is_none());
        Operator {
            seq: self.seq,
            eval: row.evaluation.eval.0,
            graph: row.evaluation.graph.0,
            token: chosen.token,
            token_id: chosen.id,
            pos: chosen.pos,
            seq_ids: chosen.seq_ids.clone(),
            request: chosen.request,
            token_text: chosen.tokens.first().and_then(|&i| text(row, i, self.texts)),
            n_tokens: row.evaluation.n_tokens,
            phase: (row.evaluation.n_tokens > 0).then_some(chosen.phase),
            node: id.0,
            op,
            name: &tensor.name,
            layer: view.layers.layer(id),
            node_type: view.layers.node_type(id).name(),
            context: row.evaluation.context,
            thread: row.evaluation.thread,
            device: device.map(String::as_str),
            t_ns: row.evaluation.start.0.saturating_add(start),
            dur_ns: duration,
            fused_into,
            run: in_whole.and_then(|number| whole_run(row, number, self.ends)),
            dst: Destination {
                dtype: view.dtype(tensor),
                ne: tensor.ne,
                bytes: tensor.bytes.0,
                buffer: view.buffer(tensor),
                addr: tensor.addr,
            },
            read_bytes: src.iter().fold(0, |sum, source| sum.saturating_add(source.read_bytes)),
            src,
            value: captured.value(view, id),
            statistics: captured.statistics(id),
            experts,
        }
    }
}

/// The dimension of an operator's source along which experts lie, if only those that were chosen are read.
pub fn expert_dim(op: &str, source: usize) -> Option<usize> {
    match (op, source) {
        ("MUL_MAT_ID", 0) => Some(2),
        ("ADD_ID", 1) => Some(1),
        _ => None,
    }
}

/// The experts of some tokens, each once, in the order of their choice. The last layer routes only the tokens that have
/// output rows, in the order of these rows.
pub(super) fn chosen_experts(router: &Experts, tokens: &[usize], evaluation: &Evaluation) -> Vec<i32> {
    let n_used = router.n_used.max(1) as usize;
    let all = router.ids.len() / n_used == evaluation.n_tokens as usize;
    let outputs = evaluation.outputs.as_deref().unwrap_or_default();
    let row_of =
        |&t: &usize| if all { Some(t) } else { outputs.iter().position(|&o| usize::try_from(o).is_ok_and(|o| o == t)) };
    let mut ids = vec![];
    let mut seen = std::collections::HashSet::new();
    for of_token in tokens.iter().filter_map(row_of).filter_map(|row| router.ids.chunks(n_used).nth(row)) {
        ids.extend(of_token.iter().filter(|&&id| seen.insert(id)));
    }
    ids
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
