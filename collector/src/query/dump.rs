//! Every execution of an operator: when, for how long, and what it read from where. Nothing of this is stored; it is
//! derived from the graph and the evaluation, for those that the filter lets through.

use super::range::Numbers;
use super::values::{CapturedValue, assemble};
use super::view::{ExpertSlice, GraphView, GraphViews, Place};
use crate::analysis::timing::{Execution, Plan, Plans, Span};
use crate::trace::{Remark, Select, Trace};
use ggscope_format::columns::Row;
use ggscope_format::record::{Evaluation, Experts, MAX_DIMS, RunEnd, Tensor, Value};
use ggscope_format::{GraphId, TensorId};
use globset::GlobMatcher;
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a token is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// The prompt.
    Prompt,
    /// The answer.
    Generate,
}

impl Phase {
    /// The name in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prompt => "PROMPT",
            Phase::Generate => "GENERATE",
        }
    }
}

/// Where an operator's source may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In a mapped file.
    Disk,
    /// In a buffer.
    Buffer,
}

/// Which executions are wanted; `None` lets all through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Numbers of tokens within the session.
    pub tokens: Option<Numbers>,
    /// Numbers of evaluations.
    pub evals: Option<Numbers>,
    /// Layers.
    pub layers: Option<Numbers>,
    /// Kinds of operators.
    pub op: Option<GlobMatcher>,
    /// Names of nodes.
    pub name: Option<GlobMatcher>,
    /// Phase of a token of the evaluation.
    pub phase: Option<Phase>,
    /// Memory that one of the sources lies in.
    pub source: Option<Memory>,
    /// Nanoseconds that it took; lets through no execution without a time of its own.
    pub durations: Option<Numbers>,
    /// Whether captured values are wanted.
    pub values: bool,
}

/// One execution of an operator.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Operator<'a> {
    /// Number of the evaluation.
    pub eval: u64,
    /// Number within the session of the evaluation's first token that the filter lets through; null without tokens.
    pub token: Option<u64>,
    /// Its id, if ids were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<i32>,
    /// Its position in its sequence, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos: Option<i32>,
    /// Text of that token, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_text: Option<String>,
    /// How many tokens the evaluation has.
    pub n_tokens: u32,
    /// Phase of that token; null without tokens.
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
    /// What it read.
    pub src: Vec<Source<'a>>,
    /// Experts that the evaluation's tokens that the filter lets through were routed to, each once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<Vec<i32>>,
    /// What it computed, if that was captured and is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<CapturedValue>,
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

/// What an operator read.
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
    /// The layer that the tensor belongs to.
    pub layer: Option<u32>,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place<'a>,
    /// The parts that were read, of a tensor that holds experts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertSlice>,
}

/// The parts of an evaluation that the filter lets through.
struct Chosen {
    /// Indices of its tokens.
    tokens: Vec<usize>,
    phase: Phase,
    token: Option<u64>,
    id: Option<i32>,
    pos: Option<i32>,
}

impl Filter {
    fn select(&self) -> Select {
        Select { evals: self.evals.map(|n| n.range()), tokens: self.tokens.map(|n| n.range()) }
    }

    fn takes_node(&self, view: &GraphView, id: TensorId, tensor: &Tensor) -> bool {
        let graph = &view.stored.graph;
        let memory = |s: TensorId| if view.is_on_disk(s) { Memory::Disk } else { Memory::Buffer };
        let layer = view.layers.layer(id);
        self.layers.is_none_or(|n| layer.is_some_and(|layer| n.contains(u64::from(layer))))
            && self.op.as_ref().is_none_or(|glob| glob.is_match(graph.op(tensor)))
            && self.name.as_ref().is_none_or(|glob| glob.is_match(&tensor.name))
            && self.source.is_none_or(|wanted| tensor.src.iter().flatten().any(|&s| memory(s) == wanted))
    }

    fn takes_span(&self, span: Option<Span>) -> bool {
        let duration = span.and_then(|s| s.duration);
        self.durations.is_none_or(|n| duration.is_some_and(|ns| n.contains(ns)))
    }

    fn choose(&self, row: &Row) -> Option<Chosen> {
        let phase_of = |generated: bool| if generated { Phase::Generate } else { Phase::Prompt };
        let takes = |&i: &usize| {
            let number = row.first_token.saturating_add(i as u64);
            self.tokens.is_none_or(|n| n.contains(number))
                && self.phase.is_none_or(|phase| phase == phase_of(row.generated[i]))
        };
        let tokens: Vec<usize> = (0..row.generated.len()).filter(takes).collect();
        let Some(&first) = tokens.first() else {
            // Without tokens it is no part of an answer, but it was computed.
            let unasked = self.tokens.is_none() && self.phase.is_none_or(|phase| phase == Phase::Prompt);
            return (row.generated.is_empty() && unasked).then_some(Chosen {
                tokens,
                phase: Phase::Prompt,
                token: None,
                id: None,
                pos: None,
            });
        };
        Some(Chosen {
            phase: phase_of(row.generated[first]),
            token: Some(row.first_token.saturating_add(first as u64)),
            id: row.evaluation.tokens.get(first).copied(),
            pos: row.evaluation.positions.get(first).copied(),
            tokens,
        })
    }
}

/// What is worked out once for all evaluations of a graph.
struct Prepared {
    view: Arc<GraphView>,
    /// The computed nodes that the filter lets through.
    nodes: Vec<bool>,
}

/// An evaluation that a filter lets through, before anything is derived for its nodes.
pub(super) struct Found<'a> {
    /// The evaluation.
    pub row: &'a Row,
    /// Its graph.
    pub view: &'a GraphView,
    /// Which time belongs to which of its nodes.
    pub plan: &'a Plan,
    /// How many executed nodes the filter lets through whatever their time.
    pub count: u64,
    filter: &'a Filter,
    nodes: &'a [bool],
    chosen: &'a Chosen,
}

impl Found<'_> {
    /// Phase of the first token that the filter lets through.
    pub fn phase(&self) -> Phase {
        self.chosen.phase
    }

    /// Number of that token within the session.
    pub fn token(&self) -> Option<u64> {
        self.chosen.token
    }

    /// Whether the filter lets a node through, executed or not.
    fn takes(&self, id: TensorId) -> bool {
        self.nodes.get(id.index()).is_some_and(|&taken| taken)
    }

    /// The executed nodes that the filter lets through whatever their time, in order.
    pub fn nodes(&self) -> impl Iterator<Item = TensorId> {
        self.plan.executed_nodes().filter(|&id| self.takes(id))
    }

    /// The same with the time of each, as far as the filter lets that time through. The evaluation has to have been
    /// read with its durations.
    pub fn timed_nodes(&self) -> impl Iterator<Item = (TensorId, Span)> {
        let spans = self.plan.spans(&self.row.evaluation);
        let of = move |id: TensorId| spans[id.index()];
        self.nodes().filter_map(move |id| {
            let span = of(id);
            self.filter.takes_span(span).then_some((id, span.unwrap_or(Span { start: 0, duration: None })))
        })
    }
}

/// Calls `f` for each evaluation with tokens that `filter` lets through, in the order of the file, until it breaks.
/// Durations are only read if they are wanted.
pub(super) fn find(trace: &Trace, filter: &Filter, durations: bool, mut f: impl FnMut(Found<'_>) -> ControlFlow<()>) {
    let (mut views, mut plans) = (GraphViews::default(), Plans::default());
    let mut prepared: HashMap<GraphId, Prepared> = HashMap::new();
    // By plan, which is kept so that its address stays its own: counting nodes anew for every token would cost most.
    let mut counts: HashMap<*const Plan, (Arc<Plan>, u64)> = HashMap::new();
    trace.for_each_evaluation(&filter.select(), durations, |row| {
        let Some(chosen) = filter.choose(&row) else { return ControlFlow::Continue(()) };
        let id = row.evaluation.graph;
        if !prepared.contains_key(&id) {
            let view = match views.of(trace, id) {
                Ok(view) => view,
                Err(error) => {
                    trace.warn(format!("evaluations are left out: {error}"));
                    return ControlFlow::Continue(());
                }
            };
            if prepared.len() >= 64 {
                prepared.clear();
            }
            let nodes = view.stored.graph.nodes().map(|(id, t)| filter.takes_node(&view, id, t)).collect();
            prepared.insert(id, Prepared { view, nodes });
        }
        let Prepared { view, nodes } = &prepared[&id];
        let plan = plans.of(&view.stored.graph, &row.evaluation);
        if counts.len() >= 256 {
            counts.clear();
        }
        let count = counts.entry(Arc::as_ptr(&plan)).or_insert_with(|| {
            let taken = plan.executed_nodes().filter(|id| nodes[id.index()]);
            (Arc::clone(&plan), taken.count() as u64)
        });
        let count = count.1;
        f(Found { row: &row, view, plan: &plan, count, filter, nodes, chosen: &chosen })
    });
}

/// Calls `f` for each execution (and, with values, each captured view) that `filter` lets through, in the order of the
/// file, until it breaks.
pub fn dump(trace: &Trace, filter: &Filter, f: impl FnMut(Operator<'_>) -> ControlFlow<()>) {
    dump_some(trace, filter, |_, _| true, f);
}

/// The same for those among them, by evaluation and node, that are `wanted`.
pub(super) fn dump_some(
    trace: &Trace,
    filter: &Filter,
    wanted: impl Fn(u64, TensorId) -> bool,
    mut f: impl FnMut(Operator<'_>) -> ControlFlow<()>,
) {
    let texts = trace.texts();
    let ends = run_ends(trace);
    let with_values = filter.values && trace.has_values();
    find(trace, filter, true, |found| {
        let Found { row, view, plan, chosen, .. } = found;
        let eval = row.evaluation.eval;
        let values = if with_values { trace.values(eval) } else { vec![] };
        // A view is not executed, but what it shows may have been captured.
        let captured = values.iter().map(|v| v.tensor).filter(|&id| found.takes(id));
        let mut shown: Vec<TensorId> = found.nodes().chain(captured).filter(|&id| wanted(eval.0, id)).collect();
        shown.sort_unstable();
        shown.dedup();
        if shown.is_empty() {
            return ControlFlow::Continue(());
        }
        let spans = plan.spans(&row.evaluation);
        for id in shown.into_iter().filter(|id| filter.takes_span(spans[id.index()])) {
            let span = spans[id.index()].unwrap_or(Span { start: 0, duration: None });
            let run = plan.run(id).and_then(|r| row.evaluation.runs.get(r));
            let device = run.and_then(|r| view.stored.graph.devices.get(usize::from(r.device)));
            let fused_into = if let Execution::Fused(with) = plan.node(id) { Some(with.0) } else { None };
            let mut operator = operator(view, row, chosen, id, &values);
            operator.token_text = chosen.tokens.first().and_then(|&i| text(row, i, &texts));
            operator.t_ns = row.evaluation.start.0.saturating_add(span.start);
            operator.dur_ns = span.duration;
            operator.fused_into = fused_into;
            if span.duration.is_none() && fused_into.is_none() {
                operator.run = plan.run(id).and_then(|number| whole_run(row, number, &ends));
            }
            operator.device = device.map(String::as_str);
            f(operator)?;
        }
        ControlFlow::Continue(())
    });
}

/// Text of an evaluation's token, if it is known.
pub(super) fn text(row: &Row, token: usize, texts: &HashMap<i32, Vec<u8>>) -> Option<String> {
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

/// All of an execution but its time and its token's text.
fn operator<'a>(view: &'a GraphView, row: &Row, chosen: &Chosen, id: TensorId, values: &[Value]) -> Operator<'a> {
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
            layer: view.layers.layer(from),
            place: view.place(from),
            experts: slices.unwrap_or_default(),
        })
    };
    Operator {
        eval: row.evaluation.eval.0,
        token: chosen.token,
        token_id: chosen.id,
        pos: chosen.pos,
        token_text: None,
        n_tokens: row.evaluation.n_tokens,
        phase: (row.evaluation.n_tokens > 0).then_some(chosen.phase),
        node: id.0,
        op,
        name: &tensor.name,
        layer: view.layers.layer(id),
        node_type: view.layers.node_type(id).name(),
        context: row.evaluation.context,
        thread: row.evaluation.thread,
        device: None,
        t_ns: 0,
        dur_ns: None,
        fused_into: None,
        run: None,
        dst: Destination {
            dtype: view.dtype(tensor),
            ne: tensor.ne,
            bytes: tensor.bytes.0,
            buffer: view.buffer(tensor),
            addr: tensor.addr,
        },
        src: tensor.src.iter().enumerate().filter_map(source).collect(),
        value: assemble(view, id, values),
        experts,
    }
}

/// The dimension of an operator's source along which experts lie, if only those that were chosen are read.
pub(super) fn expert_dim(op: &str, source: usize) -> Option<usize> {
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
