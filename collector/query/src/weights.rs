//! What a run did with each weight of the model: how often operators read it, how many bytes, and how long they took.

use super::cost::node_costs;
use super::dump::Filter;
use super::graph::evaluated;
use super::memory::{Wanted, memory, reads};
use super::table::Table;
use ggscope_format::TensorId;
use ggscope_format::record::Graph;
use ggscope_trace::{Trace, TraceError};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A weight in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct WeightCost {
    /// Name of the tensor.
    pub name: String,
    /// How often an executed operator read it, or one of its experts.
    pub accesses: u64,
    /// Bytes that were read in all.
    pub read_bytes: u64,
    /// Time of the operators that read it, nanoseconds; null if none of them has a time of its own. An operator that reads
    /// two weights counts for both.
    pub ns: Option<u64>,
    /// The last token whose evaluation read it.
    pub last_token: Option<u64>,
    /// Each expert that was read, of a tensor that holds several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertCost>,
}

/// An expert's part of a tensor in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExpertCost {
    /// Number of the expert.
    pub id: i32,
    /// How often it was read.
    pub accesses: u64,
    /// Bytes that were read in all.
    pub read_bytes: u64,
}

/// The weights that were read, by name.
///
/// # Errors
/// When a graph of the trace is damaged.
pub fn weights(trace: &Trace, table: &Table) -> Result<Vec<WeightCost>, TraceError> {
    let mut of: BTreeMap<String, WeightCost> = BTreeMap::new();
    for &id in evaluated(table).keys() {
        let view = table.view(trace, id)?;
        let graph = &view.stored.graph;
        let costs = node_costs(trace, table, id, &Filter::default());
        for (&node, &ns) in costs.node.iter().zip(&costs.ns) {
            let mut roots: Vec<TensorId> = reads(graph, TensorId(node)).map(|read| root(graph, read.from)).collect();
            roots.dedup();
            for weight in roots.into_iter().filter(|&id| id.0 >= graph.n_nodes && view.stored.origin(id).is_some()) {
                let cost = of.entry(graph.tensors[weight.index()].name.clone()).or_default();
                if ns > 0 {
                    cost.ns = Some(cost.ns.unwrap_or(0).saturating_add(ns));
                }
            }
        }
    }
    for region in memory(trace, table, &Wanted::default()) {
        let Some(cost) = of.get_mut(&region.name) else { continue };
        cost.accesses = cost.accesses.saturating_add(region.accesses);
        cost.read_bytes = cost.read_bytes.saturating_add(region.read_bytes);
        cost.last_token = cost.last_token.max(region.last_token);
        if let Some(id) = region.expert {
            cost.experts.push(ExpertCost { id, accesses: region.accesses, read_bytes: region.read_bytes });
        }
    }
    Ok(of.into_iter().map(|(name, cost)| WeightCost { name, ..cost }).collect())
}

fn root(graph: &Graph, id: TensorId) -> TensorId {
    graph.tensor(id).and_then(|t| t.view).map_or(id, |(root, _)| root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::dump;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_trace::testing::{Shape, write};
    use std::ops::ControlFlow;

    #[test]
    fn every_weight_has_the_time_of_the_operators_that_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let found = weights(&trace, &Table::new(&trace, DEFAULT_MEMORY)).unwrap();
        let q = found.iter().find(|w| w.name == "blk.1.attn_q.weight").unwrap();
        // One prompt and nine tokens.
        assert_eq!(q.accesses, 10);
        let mut ns = 0;
        dump(&trace, &Filter::default(), |operator| {
            if operator.src.iter().any(|source| source.name == "blk.1.attn_q.weight") {
                ns += operator.dur_ns.unwrap_or(0);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(q.ns, Some(ns));
        assert!(found.iter().all(|w| w.name.ends_with(".weight")), "{found:?}");
    }
}
