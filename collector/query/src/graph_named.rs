//! A computation graph as graph analytics see it: tensors are nodes, and each leads to what is computed from it.

use super::architecture::EdgeWeight;
use super::cost::NodeCosts;
use super::graph::GraphPart;
use super::graph_report::{Named, ReportNode};
use std::collections::HashMap;

/// The graph for analyses. Edges weigh the bytes of the tensor that they lead from, or the nanoseconds that `costs` has
/// for the operator that they lead to, and 1. The way through it leads from the token ids, or from the first leaf that is
/// no weight, to the last node.
pub fn named(part: &GraphPart<'_>, weight: EdgeWeight, costs: &NodeCosts) -> Named {
    let place: HashMap<u32, usize> = part.tensors.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
    let time: HashMap<u32, u64> = costs.node.iter().copied().zip(costs.ns.iter().copied()).collect();
    let edge = |e: &super::graph::GraphEdge| {
        let (from, to) = (*place.get(&e.from)?, *place.get(&e.to)?);
        let value = match weight {
            EdgeWeight::None | EdgeWeight::Parameters => 0,
            EdgeWeight::Bytes => part.tensors[from].bytes,
            EdgeWeight::Time => time.get(&e.to).copied().unwrap_or(0),
        };
        Some((from as u32, to as u32, 1.0 + value as f64))
    };
    let node = |t: &super::graph::GraphTensor<'_>| ReportNode {
        id: t.id.to_string(),
        label: t.name.to_owned(),
        kind: if t.leaf { "leaf".to_owned() } else { t.op.to_owned() },
        layer: t.layer,
    };
    let is_input = |t: &&super::graph::GraphTensor<'_>| t.leaf && t.name == "inp_tokens";
    let first = part.tensors.iter().find(is_input).or_else(|| part.tensors.iter().find(|t| t.leaf && t.op == "NONE"));
    let last = part.tensors.iter().rev().find(|t| !t.leaf);
    let ends = first.zip(last).map(|(from, to)| (place[&from.id] as u32, place[&to.id] as u32));
    Named {
        nodes: part.tensors.iter().map(node).collect(),
        edges: part.edges.iter().filter_map(edge).collect(),
        weight: weight.name(),
        lengths: weight == EdgeWeight::Time,
        ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphQuery;
    use crate::graph_report::report;
    use ggscope_format::GraphId;
    use ggscope_trace::Trace;
    use ggscope_trace::testing::{Shape, write};

    #[test]
    fn the_way_through_a_run_leads_from_the_tokens_to_the_logits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let query = GraphQuery::open(&trace, GraphId(0)).unwrap();
        let part = query.whole();
        let cpu = ggscope_compute::Compute::open(ggscope_compute::Device::Cpu, &[], None).unwrap();
        let found = report(named(&part, EdgeWeight::None, &NodeCosts::default()), 3, &cpu).unwrap();
        let way = found.way.unwrap();
        let label = |node: &u32| found.nodes[*node as usize].label.as_str();
        assert_eq!(label(&way.nodes[0]), "inp_tokens");
        assert!(label(way.nodes.last().unwrap()).starts_with("result_output"), "{way:?}");
        assert_eq!(found.strong_components, part.tensors.len());
        assert!((found.pagerank.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
