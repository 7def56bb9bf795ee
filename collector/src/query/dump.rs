//! Every execution of an operator: when, for how long, and what it read from where. Nothing of this is stored; it is
//! derived from the graph and the evaluation, for those that the filter lets through.

use super::range::Numbers;
use super::values::{CapturedValue, assemble};
use super::view::{ExpertSlice, GraphView, GraphViews, Place};
use crate::analysis::timing::{Execution, Plans, Span};
use crate::trace::{Remark, Select, Trace};
use ggscope_format::columns::Row;
use ggscope_format::record::{Evaluation, Experts, MAX_DIMS, RunEnd, Tensor, Value};
use ggscope_format::{GraphId, TensorId};
use globset::GlobMatcher;
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a token is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    /// Whether captured values are wanted.
    pub values: bool,
}

/// One execution of an operator.
#[derive(Clone, Debug, Serialize)]
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
    /// Phase of that token.
    pub phase: Phase,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WholeRun {
    /// Number within the evaluation.
    pub number: usize,
    /// When it began.
    pub t_ns: u64,
    /// How long it took in nanoseconds; of a device that works asynchronously until the host saw it done, if it did.
    pub dur_ns: u64,
}

/// What an operator wrote.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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
    text: Option<String>,
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

    fn choose(&self, row: &Row, texts: &HashMap<i32, Vec<u8>>) -> Option<Chosen> {
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
                text: None,
            });
        };
        let id = row.evaluation.tokens.get(first).copied();
        let text = id.and_then(|id| texts.get(&id));
        Some(Chosen {
            phase: phase_of(row.generated[first]),
            token: Some(row.first_token.saturating_add(first as u64)),
            id,
            pos: row.evaluation.positions.get(first).copied(),
            text: text.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
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

/// Calls `f` for each execution (and, with values, each captured view) that `filter` lets through, in the order of the file, until it breaks.
pub fn dump(trace: &Trace, filter: &Filter, mut f: impl FnMut(Operator<'_>) -> ControlFlow<()>) {
    let texts = trace.texts();
    let ends = run_ends(trace);
    let with_values = filter.values && trace.has_values();
    let (mut views, mut plans) = (GraphViews::default(), Plans::default());
    let mut prepared: HashMap<GraphId, Prepared> = HashMap::new();
    trace.for_each_evaluation(&filter.select(), true, |row| {
        let Some(chosen) = filter.choose(&row, &texts) else { return ControlFlow::Continue(()) };
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
        let values = if with_values { trace.values(row.evaluation.eval) } else { vec![] };
        // A view is not executed, but what it shows may have been captured.
        let mut shown: Vec<TensorId> = plan.executed_nodes().chain(values.iter().map(|v| v.tensor)).collect();
        shown.retain(|id| nodes.get(id.index()).is_some_and(|&taken| taken));
        shown.sort_unstable();
        shown.dedup();
        if shown.is_empty() {
            return ControlFlow::Continue(());
        }
        let spans = plan.spans(&row.evaluation);
        for id in shown {
            let span = spans[id.index()].unwrap_or(Span { start: 0, duration: None });
            let run = plan.run(id).and_then(|r| row.evaluation.runs.get(r));
            let device = run.and_then(|r| view.stored.graph.devices.get(usize::from(r.device)));
            let fused_into = if let Execution::Fused(with) = plan.node(id) { Some(with.0) } else { None };
            let mut operator = operator(view, &row, &chosen, id, &values);
            operator.t_ns = row.evaluation.start.0.saturating_add(span.start);
            operator.dur_ns = span.duration;
            operator.fused_into = fused_into;
            if span.duration.is_none() && fused_into.is_none() {
                operator.run = plan.run(id).and_then(|number| whole_run(&row, number, &ends));
            }
            operator.device = device.map(String::as_str);
            f(operator)?;
        }
        ControlFlow::Continue(())
    });
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

/// All of an execution but its time.
fn operator<'a>(view: &'a GraphView, row: &Row, chosen: &Chosen, id: TensorId, values: &[Value]) -> Operator<'a> {
    let graph = &view.stored.graph;
    let tensor = &graph.tensors[id.index()];
    let op = graph.op(tensor);
    let router = view.router(tensor, &row.evaluation.experts);
    let experts = router.map(|router| chosen_experts(router, &chosen.tokens, &row.evaluation));
    let source = |(i, from): (usize, &Option<TensorId>)| {
        let from = (*from)?;
        let source = graph.tensor(from)?;
        let dim = match (op, i) {
            ("MUL_MAT_ID", 0) => Some(2),
            ("ADD_ID", 1) => Some(1),
            _ => None,
        };
        let slices = dim.zip(experts.as_deref()).map(|(dim, ids)| view.expert_slices(from, dim, ids));
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
        token_text: chosen.text.clone(),
        n_tokens: row.evaluation.n_tokens,
        phase: chosen.phase,
        node: id.0,
        op,
        name: &tensor.name,
        layer: view.layers.layer(id),
        node_type: view.layers.node_type(id).name(),
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

/// The experts of some tokens, each once, in the order of their choice. The last layer routes only the tokens that have
/// output rows, in the order of these rows.
fn chosen_experts(router: &Experts, tokens: &[usize], evaluation: &Evaluation) -> Vec<i32> {
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
