//! A trace as a timeline: evaluation after evaluation, with when each operator ran in it, what devices computed as a
//! whole, and what was read.

use super::dump::{Filter, Phase, run_ends, text, whole_run};
use super::find::{Found, find};
use super::reads::{GraphReads, Reads};
use ggscope_format::columns::Row;
use ggscope_format::record::Evaluation;
use ggscope_format::{GraphId, TensorId};
use ggscope_trace::Trace;
use ggscope_trace::analysis::timing::Execution;
use ggscope_trace::view::GraphView;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Graphs whose reads are kept.
const KEPT: usize = 64;

/// An evaluation, and what of it the filter lets through.
pub struct FilteredEvaluation<'a> {
    /// The evaluation.
    pub row: &'a Row,
    /// Its graph.
    pub view: &'a GraphView,
    /// Phase of its first token; `None` without tokens.
    pub phase: Option<Phase>,
    /// Text of its first token, if it is known.
    pub text: Option<String>,
    /// The operators that have a time of their own, in order.
    pub operators: Vec<Timed>,
    /// What was computed as a whole, in order.
    pub runs: Vec<DeviceRun<'a>>,
    /// What the operators read.
    pub reads: Reads,
}

/// An operator's time.
#[derive(Debug)]
pub struct Timed {
    /// The node.
    pub node: TensorId,
    /// Begin, nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Nanoseconds.
    pub dur_ns: u64,
    /// Nodes that were computed in one go with it.
    pub fused: Vec<TensorId>,
}

/// A part of the graph that a device computed without telling the times of its operators.
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceRun<'a> {
    /// Number within the evaluation.
    pub number: usize,
    /// Name of the device.
    pub device: &'a str,
    /// Begin, nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Nanoseconds, until the host saw it done.
    pub dur_ns: u64,
    /// Operators in it that the filter lets through.
    pub operators: u64,
}

impl FilteredEvaluation<'_> {
    /// The evaluation as it was recorded.
    pub fn evaluation(&self) -> &Evaluation {
        &self.row.evaluation
    }
}

/// Calls `f` for each evaluation with tokens that `filter` lets through, in the order of the file, until it breaks.
pub fn walk(trace: &Trace, filter: &Filter, mut f: impl FnMut(FilteredEvaluation<'_>) -> ControlFlow<()>) {
    let (texts, ends) = (trace.texts(), run_ends(trace));
    let mut graphs: HashMap<GraphId, GraphReads> = HashMap::new();
    find(trace, filter, |found| {
        let (row, view) = (found.row, found.view);
        let e = &row.evaluation;
        if graphs.len() >= KEPT && !graphs.contains_key(&e.graph) {
            graphs.clear();
        }
        let of_nodes = graphs.entry(e.graph).or_insert_with(|| GraphReads::new(view));
        let mut reads = Reads::default();
        found.nodes().for_each(|id| reads.add(of_nodes.of(view, id, e)));
        let (operators, untimed) = times(&found);
        let run = |(&number, &operators): (&usize, &u64)| {
            let run = whole_run(row, number, &ends)?;
            let device = view.stored.graph.devices.get(usize::from(e.runs.get(number)?.device));
            let device = device.map_or("a device", String::as_str);
            Some(DeviceRun { number, device, start_ns: run.t_ns, dur_ns: run.dur_ns, operators })
        };
        let mut runs: Vec<DeviceRun<'_>> = untimed.iter().filter_map(run).collect();
        runs.sort_by_key(|run| run.number);
        let (phase, text) = (
            (e.n_tokens > 0).then(|| found.phase()),
            text(row, 0, texts.of(trace.vocabulary_of(view.stored.graph.graph))),
        );
        f(FilteredEvaluation { row, view, phase, text, operators, runs, reads })
    });
}

/// The operators with a time, and how many have none by their run.
fn times(found: &Found<'_>) -> (Vec<Timed>, HashMap<usize, u64>) {
    let begin = found.row.evaluation.start.0;
    let mut operators: Vec<Timed> = vec![];
    let mut fused: HashMap<TensorId, Vec<TensorId>> = HashMap::new();
    let mut untimed: HashMap<usize, u64> = HashMap::new();
    for (node, span) in found.times_of(found.nodes()) {
        match (span.duration, found.plan.node(node)) {
            (Some(dur_ns), _) => {
                let fused = fused.remove(&node).unwrap_or_default();
                operators.push(Timed { node, start_ns: begin.saturating_add(span.start), dur_ns, fused });
            }
            (None, Execution::Fused(with)) => fused.entry(with).or_default().push(node),
            (None, _) => *untimed.entry(found.plan.run(node).unwrap_or(usize::MAX)).or_default() += 1,
        }
    }
    (operators, untimed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::dump;
    use ggscope_trace::TraceWriter;
    use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording, write};

    const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

    #[test]
    fn every_operator_of_dump_is_on_the_timeline_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, SMALL, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let mut walked = vec![];
        let mut phases = vec![];
        walk(&trace, &Filter::default(), |evaluated| {
            let eval = evaluated.evaluation().eval.0;
            for o in &evaluated.operators {
                walked.extend(o.fused.iter().map(|f| (eval, f.0, o.start_ns, None)));
                walked.push((eval, o.node.0, o.start_ns, Some(o.dur_ns)));
            }
            assert!(evaluated.runs.is_empty() && evaluated.reads.disk > 0);
            phases.push(evaluated.phase);
            ControlFlow::Continue(())
        });
        let mut dumped = vec![];
        dump(&trace, &Filter::default(), |o| {
            dumped.push((o.eval, o.node, o.t_ns, o.dur_ns));
            ControlFlow::Continue(())
        });
        assert_eq!(walked, dumped);
        assert_eq!(phases[..2], [Some(Phase::Prompt), Some(Phase::Generate)]);
    }

    #[test]
    fn what_a_device_computes_as_a_whole_is_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut stored = llama(0, SMALL);
        stored.graph.devices = vec!["CUDA0".into()];
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.durations.clear();
        (e.runs[0].clocked, e.runs[0].n_calls, e.runs[0].duration) = (false, 0, 7_000);
        let start_ns = e.start.0 + e.runs[0].start;
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored).unwrap();
        writer.evaluation(e).unwrap();
        writer.finish().unwrap();
        walk(&Trace::open(&path).unwrap(), &Filter::default(), |evaluated| {
            let run = DeviceRun { number: 0, device: "CUDA0", start_ns, dur_ns: 7_000, operators: 44 };
            assert_eq!((&evaluated.runs, evaluated.operators.len()), (&vec![run], 0));
            ControlFlow::Continue(())
        });
    }
}
