//! What the time of a session went to: the sums by operator and layer that monitoring asks for.

use super::dump::{Filter, find};
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Executions of one kind of operator in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Name of the operator in ggml.
    pub op: String,
    /// The layer; `None` for what belongs to none.
    pub layer: Option<u32>,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
}

/// The costs of all executions, by operator and layer.
pub fn costs(trace: &Trace) -> Vec<Cost> {
    let mut sums: BTreeMap<(String, Option<u32>), (u64, u64)> = BTreeMap::new();
    find(trace, &Filter::default(), true, |found| {
        let graph = &found.view.stored.graph;
        // Sums of this evaluation first: they borrow their names.
        let mut of_this: BTreeMap<(&str, Option<u32>), (u64, u64)> = BTreeMap::new();
        for (id, span) in found.timed_nodes() {
            let op = graph.op(&graph.tensors[id.index()]);
            let (count, ns) = of_this.entry((op, found.view.layers.layer(id))).or_default();
            (*count, *ns) = (*count + 1, ns.saturating_add(span.duration.unwrap_or(0)));
        }
        for ((op, layer), (count, ns)) in of_this {
            let sum = sums.entry((op.to_owned(), layer)).or_default();
            *sum = (sum.0.saturating_add(count), sum.1.saturating_add(ns));
        }
        ControlFlow::Continue(())
    });
    sums.into_iter().map(|((op, layer), (count, ns))| Cost { op, layer, count, ns }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::{Shape, write};

    #[test]
    fn the_sums_are_those_of_the_summary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let costs = costs(&trace);
        for total in trace.operators() {
            let of_op = costs.iter().filter(|c| c.op == total.op);
            let sum = of_op.fold((0, 0), |sum, c| (sum.0 + c.count, sum.1 + c.ns));
            assert_eq!(sum, (total.count, total.ns), "{}", total.op);
        }
        let attention = costs.iter().filter(|c| c.op == "FLASH_ATTN_EXT").map(|c| (c.layer, c.count));
        assert_eq!(attention.collect::<Vec<_>>(), [(Some(0), 10), (Some(1), 10)]);
    }
}
