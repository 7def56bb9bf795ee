//! Which duration belongs to which node. A backend that is clocked calls the clock once after every node that it
//! computes, in order, except that the CPU backend computes an RMS_NORM and the MUL right after it in one go and calls
//! once for both. Older CPU backends call it once for every node, whether it does work or not. The number of calls tells
//! which of these happened; when it fits none, nothing is attributed.

use ggscope_format::record::{Evaluation, Graph, Run, Tensor, TensorFlags};
use ggscope_format::{GraphId, TensorId};
use std::collections::HashMap;
use std::sync::Arc;

/// What an evaluation says of one computed node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// It was not executed: the program stopped before it, or no backend was given it.
    No,
    /// It was executed, and nobody knows how long it took.
    Untimed,
    /// It was executed together with a later node, which has the time of both.
    Fused(TensorId),
    /// It has the duration with this number in [`Evaluation::durations`].
    Timed(u32),
}

/// A node's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Begin, nanoseconds after the evaluation's; of an untimed node, when its run began.
    pub start: u64,
    /// Nanoseconds, if they are known and its own.
    pub duration: Option<u64>,
}

/// How the durations of all evaluations of one graph that were cut into the same runs belong to its nodes.
#[derive(Debug)]
pub struct Plan {
    /// One entry a node; nodes that are not computed are [`Execution::No`].
    nodes: Vec<Execution>,
    /// Which run each node is in, if any.
    run_of: Vec<Option<u32>>,
    /// For each duration the node it belongs to, if any.
    slots: Vec<Option<TensorId>>,
    executed: u64,
    timed: u64,
}

fn is_computed(tensor: &Tensor) -> bool {
    tensor.flags.has(TensorFlags::COMPUTED)
}

/// How often each tensor is a source.
fn uses(graph: &Graph) -> Vec<u32> {
    let mut uses = vec![0; graph.tensors.len()];
    for source in graph.tensors.iter().flat_map(|t| t.src.iter().flatten()) {
        uses[source.index()] += 1;
    }
    uses
}

/// Whether the CPU backend computes node `first` and the one after it in one go: `ggml_can_fuse` with RMS_NORM and
/// MUL, and the conditions of `ggml_cpu_try_fuse_ops`.
fn is_fusable(graph: &Graph, uses: &[u32], first: usize) -> bool {
    let (norm, mul) = (&graph.tensors[first], &graph.tensors[first + 1]);
    let id = Some(TensorId(first as u32));
    let source = |t: &Tensor, i: usize| t.src.get(i).copied().flatten();
    let is_f32 = |t: &Tensor| graph.types.get(usize::from(t.dtype)).is_some_and(|d| d.name == "f32");
    if graph.op(norm) != "RMS_NORM" || graph.op(mul) != "MUL" || !is_computed(norm) || !is_computed(mul) {
        return false;
    }
    let alone = uses[first] == 1
        && norm.view.is_none()
        && !norm.flags.has(TensorFlags::OUTPUT)
        && !norm.flags.has(TensorFlags::PINNED);
    let weight = match (source(mul, 0), source(mul, 1)) {
        (a, b) if a == id => b,
        (a, b) if b == id => a,
        _ => return false,
    };
    let (Some(input), Some(weight)) = (source(norm, 0), weight) else { return false };
    let (input, weight) = (&graph.tensors[input.index()], &graph.tensors[weight.index()]);
    alone
        && norm.ne == mul.ne
        && is_f32(input)
        && is_f32(mul)
        && is_f32(weight)
        && weight.ne[0] == norm.ne[0]
        && weight.nb[0] == 4
}

impl Plan {
    /// Works out the plan for evaluations like `e` of `graph`. Runs that reach outside the graph count as far as they
    /// are inside.
    pub fn new(graph: &Graph, e: &Evaluation) -> Plan {
        let n_nodes = (graph.n_nodes as usize).min(graph.tensors.len());
        let uses = uses(graph);
        let mut plan = Plan {
            nodes: vec![Execution::No; n_nodes],
            run_of: vec![None; n_nodes],
            slots: vec![None; e.runs.iter().map(|r| r.n_calls as usize).sum::<usize>().min(e.durations.len())],
            executed: 0,
            timed: 0,
        };
        let mut slot = 0_u64;
        for (r, run) in e.runs.iter().enumerate() {
            let first = (run.first.index()).min(n_nodes);
            let end = first.saturating_add(run.n_nodes as usize).min(n_nodes);
            for node in first..end {
                plan.run_of[node] = Some(r as u32);
            }
            plan.attribute(graph, &uses, run, first..end, e.status == 1, slot);
            slot += u64::from(run.n_calls);
        }
        if e.runs.is_empty() && e.status == 0 {
            for (node, tensor) in graph.tensors[..n_nodes].iter().enumerate().filter(|(_, t)| is_computed(t)) {
                debug_assert!(is_computed(tensor));
                plan.nodes[node] = Execution::Untimed;
            }
        }
        for (node, execution) in plan.nodes.iter().enumerate() {
            plan.executed += u64::from(*execution != Execution::No);
            if let Execution::Timed(slot) = *execution {
                plan.timed += 1;
                if let Some(owner) = plan.slots.get_mut(slot as usize) {
                    *owner = Some(TensorId(node as u32));
                }
            }
        }
        plan
    }

    fn attribute(
        &mut self,
        graph: &Graph,
        uses: &[u32],
        run: &Run,
        nodes: std::ops::Range<usize>,
        aborted: bool,
        slot: u64,
    ) {
        let computed: Vec<usize> = nodes.clone().filter(|&i| is_computed(&graph.tensors[i])).collect();
        let fusable: Vec<bool> = computed.iter().map(|&i| i + 1 < nodes.end && is_fusable(graph, uses, i)).collect();
        let pairs = fusable.iter().filter(|&&f| f).count();
        let calls = run.n_calls as usize;
        let number = |k: usize| Execution::Timed((slot + k as u64) as u32);
        let is_certain = |calls: usize| {
            let first = computed.get(..calls).filter(|_| calls < computed.len());
            first.is_some_and(|first| first.iter().copied().eq(nodes.clone().take(calls)))
                && !fusable[..calls].contains(&true)
        };
        if run.clocked && calls == computed.len() {
            for (k, &node) in computed.iter().enumerate() {
                self.nodes[node] = number(k);
            }
        } else if run.clocked && calls == nodes.len() {
            for &node in &computed {
                self.nodes[node] = number(node - nodes.start);
            }
        } else if run.clocked && !aborted && calls + pairs == computed.len() {
            let mut k = 0;
            for (&node, &with_next) in computed.iter().zip(&fusable) {
                if with_next {
                    self.nodes[node] = Execution::Fused(TensorId(node as u32 + 1));
                } else {
                    self.nodes[node] = number(k);
                    k += 1;
                }
            }
        } else if run.clocked && aborted && is_certain(calls) {
            // No node could have been skipped or fused before the program stopped: the calls are the first nodes.
            for (k, &node) in computed[..calls].iter().enumerate() {
                self.nodes[node] = number(k);
            }
        } else {
            for &node in &computed {
                self.nodes[node] = Execution::Untimed;
            }
        }
    }

    /// What happened to a node.
    pub fn node(&self, id: TensorId) -> Execution {
        self.nodes.get(id.index()).copied().unwrap_or(Execution::No)
    }

    /// Which run computed a node: index into [`Evaluation::runs`].
    pub fn run(&self, id: TensorId) -> Option<usize> {
        self.run_of.get(id.index()).copied().flatten().map(|r| r as usize)
    }

    /// The node that each duration belongs to.
    pub fn slots(&self) -> &[Option<TensorId>] {
        &self.slots
    }

    /// The nodes that were executed, in order.
    pub fn executed_nodes(&self) -> impl Iterator<Item = TensorId> {
        let executed = |(i, e): (usize, &Execution)| (*e != Execution::No).then_some(TensorId(i as u32));
        self.nodes.iter().enumerate().filter_map(executed)
    }

    /// How many nodes were executed.
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// How many nodes have a time of their own.
    pub fn timed(&self) -> u64 {
        self.timed
    }

    /// The times of all nodes in `e`, one entry a node: `None` for those that were not executed.
    pub fn spans(&self, e: &Evaluation) -> Vec<Option<Span>> {
        // Begin of every duration: the ones before it in its run have passed.
        let mut starts = Vec::with_capacity(e.durations.len());
        let mut durations = e.durations.iter();
        for run in &e.runs {
            let mut at = run.start;
            for &duration in durations.by_ref().take(run.n_calls as usize) {
                starts.push(at);
                at = at.saturating_add(duration);
            }
        }
        let timed = |slot: u32| {
            let slot = slot as usize;
            Some(Span { start: *starts.get(slot)?, duration: Some(*e.durations.get(slot)?) })
        };
        let spans = self.nodes.iter().enumerate().map(|(i, execution)| {
            let run_start = || self.run_of[i].and_then(|r| e.runs.get(r as usize)).map_or(0, |r| r.start);
            let untimed = || Span { start: run_start(), duration: None };
            match *execution {
                Execution::No => None,
                Execution::Untimed => Some(untimed()),
                Execution::Timed(slot) => Some(timed(slot).unwrap_or_else(untimed)),
                Execution::Fused(with) => {
                    let span = match self.node(with) {
                        Execution::Timed(slot) => timed(slot),
                        _ => None,
                    };
                    Some(Span { duration: None, ..span.unwrap_or_else(untimed) })
                }
            }
        });
        spans.collect()
    }
}

/// What evaluations with the same plan have in common.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    graph: GraphId,
    status: i32,
    with_durations: bool,
    runs: Vec<(TensorId, u32, u32, bool)>,
}

/// Plans that were needed before.
#[derive(Default)]
pub struct Plans(HashMap<Key, Arc<Plan>>);

/// More layouts than this do not occur in one program; a hostile file has them.
const MAX_PLANS: usize = 256;

impl Plans {
    /// The plan for `e` of `graph`.
    pub fn of(&mut self, graph: &Graph, e: &Evaluation) -> Arc<Plan> {
        let runs = e.runs.iter().map(|r| (r.first, r.n_nodes, r.n_calls, r.clocked)).collect();
        let key = Key { graph: e.graph, status: e.status, with_durations: !e.durations.is_empty(), runs };
        if let Some(plan) = self.0.get(&key) {
            return plan.clone();
        }
        if self.0.len() >= MAX_PLANS {
            self.0.clear();
        }
        let plan = Arc::new(Plan::new(graph, e));
        self.0.insert(key, plan.clone());
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, Shape, evaluation, llama};

    const SMALL: Shape = Shape { n_layer: 1, n_tokens: 1, n_outputs: 1, n_kv: 32 };

    fn node(graph: &Graph, name: &str) -> TensorId {
        let found = graph.nodes().find(|(_, t)| t.name == name && is_computed(t));
        found.map(|(id, _)| id).unwrap()
    }

    #[test]
    fn the_demo_model_calls_the_clock_515_times_for_576_operators() {
        let stored = llama(0, Shape::default());
        let e = evaluation(&stored, 0, 0, &mut Random(1));
        assert_eq!(e.durations.len(), 515);
        let plan = Plan::new(&stored.graph, &e);
        assert_eq!((plan.executed(), plan.timed()), (576, 515));
        let spans = plan.spans(&e);
        let sum: u64 = spans.iter().flatten().filter_map(|s| s.duration).sum();
        assert_eq!(sum, e.durations.iter().sum::<u64>(), "every nanosecond belongs to one operator");
    }

    #[test]
    fn a_fused_pairs_time_belongs_to_the_mul() {
        let stored = llama(0, SMALL);
        let e = evaluation(&stored, 0, 0, &mut Random(1));
        let plan = Plan::new(&stored.graph, &e);
        let (norm, mul) = (node(&stored.graph, "norm-0"), node(&stored.graph, "attn_norm-0"));
        assert_eq!(plan.node(norm), Execution::Fused(mul));
        assert_eq!(plan.node(mul), Execution::Timed(1));
        let spans = plan.spans(&e);
        let start = e.runs[0].start + e.durations[0];
        assert_eq!(spans[norm.index()], Some(Span { start, duration: None }));
        assert_eq!(spans[mul.index()], Some(Span { start, duration: Some(e.durations[1]) }));
    }

    #[test]
    fn one_call_for_each_operator_is_one_time_for_each() {
        let stored = llama(0, SMALL);
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.durations = (0..25).collect();
        e.runs[0].n_calls = 25;
        let plan = Plan::new(&stored.graph, &e);
        assert_eq!((plan.executed(), plan.timed()), (25, 25));
    }

    #[test]
    fn one_call_for_each_node_is_the_time_of_that_node() {
        let stored = llama(0, SMALL);
        let n_nodes = stored.graph.n_nodes;
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.durations = (0..n_nodes.into()).collect();
        e.runs[0].n_calls = n_nodes;
        let plan = Plan::new(&stored.graph, &e);
        assert!(n_nodes > 25, "some nodes do no work");
        assert_eq!((plan.executed(), plan.timed()), (25, 25));
        for (id, span) in plan.spans(&e).iter().enumerate().filter_map(|(id, span)| Some((id, (*span)?))) {
            assert_eq!(span.duration, Some(id as u64), "the i-th call belongs to the i-th node");
            assert_eq!(span.start, e.runs[0].start + (0..id as u64).sum::<u64>());
        }
        // What comes before a second run is counted by calls, not by operators.
        let half = n_nodes / 2;
        let second =
            Run { first: TensorId(half), n_nodes: n_nodes - half, n_calls: n_nodes - half, ..e.runs[0].clone() };
        e.runs[0] = Run { n_nodes: half, n_calls: half, ..e.runs[0].clone() };
        e.runs.push(second);
        let plan = Plan::new(&stored.graph, &e);
        let timed = |id: TensorId| plan.node(id) == Execution::Timed(id.0);
        assert!(plan.executed_nodes().all(timed) && plan.timed() == 25);
    }

    #[test]
    fn any_other_number_of_calls_is_nobodys_time() {
        let stored = llama(0, SMALL);
        let n_nodes = stored.graph.n_nodes as usize;
        for calls in (0..40).filter(|&n| n != 25 && n != 22 && n != n_nodes) {
            let mut e = evaluation(&stored, 0, 0, &mut Random(1));
            e.durations = vec![5; calls];
            e.runs[0].n_calls = calls as u32;
            let plan = Plan::new(&stored.graph, &e);
            assert_eq!((plan.executed(), plan.timed()), (25, 0), "{calls} calls");
            assert!(plan.spans(&e).iter().flatten().all(|s| s.duration.is_none()));
        }
    }

    #[test]
    fn a_pinned_or_reused_norm_is_not_fused() {
        let stored = llama(0, SMALL);
        let e = evaluation(&stored, 0, 0, &mut Random(1));
        let norm = node(&stored.graph, "norm-0");
        let mut pinned = stored.graph.clone();
        pinned.tensors[norm.index()].flags.0 |= TensorFlags::PINNED;
        let mut reused = stored.graph.clone();
        let other = node(&reused, "l_out-0");
        reused.tensors[other.index()].src.push(Some(norm));
        let mut wide = stored.graph.clone();
        wide.tensors[norm.index()].ne[1] = 2;
        for graph in [pinned, reused, wide] {
            assert_eq!(Plan::new(&graph, &e).timed(), 0, "22 calls fit no longer");
            let mut e = e.clone();
            e.durations.push(1);
            e.runs[0].n_calls += 1;
            assert_eq!(Plan::new(&graph, &e).timed(), 23);
        }
    }

    #[test]
    fn an_aborted_evaluation_has_times_up_to_where_it_is_certain() {
        let stored = llama(0, SMALL);
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.status = 1;
        let cut = |calls: usize| {
            let mut e = e.clone();
            e.durations.truncate(calls);
            e.runs[0].n_calls = calls as u32;
            let plan = Plan::new(&stored.graph, &e);
            (plan.executed(), plan.timed())
        };
        assert_eq!(cut(1), (1, 1), "only the embedding ran");
        assert_eq!(cut(2), (25, 0), "the second call may be of RMS_NORM or of the pair");
    }

    #[test]
    fn runs_on_other_devices_and_levels_without_times_are_executed_and_untimed() {
        let stored = llama(0, SMALL);
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.runs[0].clocked = false;
        (e.runs[0].n_calls, e.durations) = (0, vec![]);
        let untimed = |e: &Evaluation| {
            let plan = Plan::new(&stored.graph, e);
            (plan.executed(), plan.timed())
        };
        assert_eq!(untimed(&e), (25, 0));
        e.runs.clear();
        assert_eq!(untimed(&e), (25, 0));
        e.status = -1;
        assert_eq!(untimed(&e), (0, 0));
    }

    #[test]
    fn numbers_from_a_hostile_file_do_no_harm() {
        let stored = llama(0, SMALL);
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.runs[0].first = TensorId(u32::MAX);
        e.runs[0].n_nodes = u32::MAX;
        e.runs[0].n_calls = u32::MAX;
        e.runs.push(e.runs[0].clone());
        let plan = Plan::new(&stored.graph, &e);
        assert_eq!(plan.timed(), 0);
        plan.spans(&e);
    }
}
