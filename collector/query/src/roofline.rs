//! What a recorded run reached, beside what its machine can do: bytes and operations a second of every kind of operator.
//! Operations are counted from the shapes in the graph, bytes are those that the operators read.

use super::cost::node_costs;
use super::filter::{Filter, Phase};
use super::table::Table;
use super::weights::Whose;
use ggscope_format::record::{Graph, Tensor};
use ggscope_model::inspect::{Bound, Machine};
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// What one kind of operator reached in one phase.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Reached {
    /// The context that executed them.
    pub context: u32,
    /// Its name in ggml.
    pub op: String,
    /// Prompt or answer.
    pub phase: Phase,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
    /// Bytes that they read.
    pub bytes: u64,
    /// Operations of matrix products and attention; 0 for other operators, whose arithmetic is small.
    pub flops: f64,
    /// Share of the machine's limit that was reached, from 0 to 1: the least time over the time that it took.
    pub share: Option<f64>,
    /// What limits it.
    pub bound: Option<Bound>,
}

/// What operators of each context reached, those that took longest first. Without a machine there are no shares.
pub fn reached(trace: &Trace, table: &Table, whose: Whose, machine: Option<&Machine>) -> Vec<Reached> {
    let mut list = vec![];
    let contexts: BTreeSet<u32> = whose.contexts(trace).into_iter().map(|c| c.0).collect();
    for phase in [Phase::Prompt, Phase::Generate, Phase::Unknown] {
        let filter = Filter { phase: Some(phase), ..Filter::default() };
        let mut sums: BTreeMap<(u32, String), Reached> = BTreeMap::new();
        for graph in trace.graphs().collect::<Vec<_>>() {
            let Ok(stored) = trace.graph(graph) else { continue };
            let context = stored.graph.context;
            if !contexts.contains(&context) {
                continue;
            }
            let costs = node_costs(trace, table, graph, &filter);
            for i in 0..costs.node.len() {
                let Some(tensor) = stored.graph.tensors.get(costs.node[i] as usize) else { continue };
                let op = stored.graph.op(tensor);
                let none = || Reached {
                    context,
                    op: op.to_owned(),
                    phase,
                    count: 0,
                    ns: 0,
                    bytes: 0,
                    flops: 0.0,
                    share: None,
                    bound: None,
                };
                let sum = sums.entry((context, op.to_owned())).or_insert_with(none);
                sum.count = sum.count.saturating_add(costs.count[i]);
                sum.ns = sum.ns.saturating_add(costs.ns[i]);
                sum.bytes = sum.bytes.saturating_add(costs.bytes[i]);
                sum.flops += flops(&stored.graph, tensor) * costs.count[i] as f64;
            }
        }
        list.extend(sums.into_values().filter(|r| r.ns > 0));
    }
    if let Some(machine) = machine {
        for r in &mut list {
            let (seconds, bound) = machine.least_seconds(r.flops, r.bytes as f64);
            r.share = Some(seconds * 1e9 / r.ns as f64);
            r.bound = Some(bound);
        }
    }
    list.sort_by(|a, b| (b.ns, &a.op, a.context).cmp(&(a.ns, &b.op, b.context)));
    list
}

/// Operations of one execution, as the shapes say: products and sums of matrix products and of attention.
fn flops(graph: &Graph, tensor: &Tensor) -> f64 {
    let source = |i: usize| (*tensor.src.get(i)?).and_then(|src| graph.tensors.get(src.index())).map(|t| t.ne);
    let size = |n: i64| n.max(0) as f64;
    match graph.op(tensor) {
        "MUL_MAT" | "MUL_MAT_ID" | "OUT_PROD" => {
            let inner = source(0).map_or(0.0, |ne| size(ne[0]));
            2.0 * inner * tensor.ne.iter().map(|&n| size(n)).product::<f64>()
        }
        "FLASH_ATTN_EXT" => match (source(0), source(1), source(2)) {
            (Some(q), Some(k), Some(v)) => {
                2.0 * size(q[1]) * size(q[2]) * size(q[3]) * size(k[1]) * (size(k[0]) + size(v[0]))
            }
            _ => 0.0,
        },
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_trace::testing::{Shape, write};
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn contexts_are_apart() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2)]);
        let trace = &recorded.trace;
        let table = Table::new(trace, DEFAULT_MEMORY);
        let of = |context| reached(trace, &table, Whose { context, ..Whose::default() }, None);
        let (all, first, second) = (of(None), of(Some(0)), of(Some(1)));
        assert!(!second.is_empty() && second.iter().all(|r| r.context == 1) && first.iter().all(|r| r.context == 0));
        assert_eq!(all.len(), first.len() + second.len());
        assert!(first.iter().chain(&second).all(|own| all.contains(own)));
    }

    #[test]
    fn every_operator_with_a_time_has_a_share_of_what_limits_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let table = Table::new(&trace, DEFAULT_MEMORY);
        let machine = Machine { bytes_per_second: 10e9, flops_per_second: 100e9 };
        let list = reached(&trace, &table, Whose::default(), Some(&machine));
        let ns: u64 = trace.operators().iter().map(|o| o.ns).sum();
        assert_eq!(list.iter().map(|r| r.ns).sum::<u64>(), ns);
        assert!(list.is_sorted_by(|a, b| a.ns >= b.ns));
        for r in &list {
            let least = (r.bytes as f64 / 10e9).max(r.flops / 100e9);
            assert!((r.share.unwrap() - least * 1e9 / r.ns as f64).abs() < 1e-9, "{r:?}");
        }
        let products = list.iter().filter(|r| r.op == "MUL_MAT").map(|r| r.flops);
        assert!(products.clone().count() == 2 && products.sum::<f64>() > 0.0);
        assert_eq!(reached(&trace, &table, Whose::default(), None)[0].share, None);
    }
}
