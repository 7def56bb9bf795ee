//! The architecture of a model as an answer: its graph, with what a run did with each part where there is one, and the
//! graph that analytics look at.

use super::graph_report::{Named, ReportNode};
use super::weights::WeightCost;
use ggscope_model::arch::{ArchGraph, ArchNode, EdgeKind, NodeKind, Schema};
use serde::Serialize;
use std::collections::HashMap;
use std::str::FromStr;
use utoipa::ToSchema;

/// What a run did with a node's own weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Measured {
    /// How often operators read one of its tensors.
    pub accesses: u64,
    /// Bytes that were read of them.
    pub read_bytes: u64,
    /// Time of the operators that read them, nanoseconds; null if none has a time of its own.
    pub ns: Option<u64>,
    /// The last token whose evaluation read one.
    pub last_token: Option<u64>,
    /// Whether the tensors are this node's alone. Heads share theirs: then all numbers are of all that share them
    /// together, as nobody can measure one alone.
    pub alone: bool,
}

/// A node with what was measured.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MeasuredNode<'a> {
    /// The node.
    #[serde(flatten)]
    pub node: &'a ArchNode,
    /// What a run did with it; absent without a run, or where the run did nothing with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// An edge, by the places of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NumberedEdge {
    /// Place of a node among the nodes.
    pub from: usize,
    /// Place of a node among the nodes.
    pub to: usize,
    /// What it says.
    pub kind: EdgeKind,
    /// Whether it passes something by: the residual stream, which is added again behind it.
    pub residual: bool,
}

/// The architecture of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ArchitectureGraph<'a> {
    /// How the graph was made.
    pub schema: Schema,
    /// The nodes.
    pub nodes: Vec<MeasuredNode<'a>>,
    /// The edges.
    pub edges: Vec<NumberedEdge>,
}

/// The graph with what a run did with its parts.
pub fn architecture<'a>(graph: &'a ArchGraph, run: Option<&[WeightCost]>) -> ArchitectureGraph<'a> {
    let measured = run.map(|run| measured(graph, run));
    let node = |(i, node)| MeasuredNode { node, measured: measured.as_ref().and_then(|all| all[i]) };
    let edge = |(from, to, link): (usize, usize, ggscope_model::arch::ArchLink)| NumberedEdge {
        from,
        to,
        kind: link.kind,
        residual: link.residual,
    };
    ArchitectureGraph {
        schema: graph.schema(),
        nodes: graph.nodes().enumerate().map(node).collect(),
        edges: graph.links().map(edge).collect(),
    }
}

/// What a run did with each node, in the order of nodes.
pub fn measured(graph: &ArchGraph, run: &[WeightCost]) -> Vec<Option<Measured>> {
    let of: HashMap<&str, &WeightCost> = run.iter().map(|w| (w.name.as_str(), w)).collect();
    graph.nodes().map(|node| measured_node(node, &of)).collect()
}

fn measured_node(node: &ArchNode, of: &HashMap<&str, &WeightCost>) -> Option<Measured> {
    let mut sum: Option<Measured> = None;
    for share in &node.tensors {
        let Some(weight) = of.get(share.tensor.as_str()) else { continue };
        let sum = sum.get_or_insert(Measured { alone: true, ..Measured::default() });
        let expert = node.index.filter(|_| node.kind == NodeKind::Expert).and_then(|i| {
            weight.experts.iter().find(|e| u32::try_from(e.id) == Ok(i)).map(|e| (e.accesses, e.read_bytes))
        });
        let is_expert_of_many = node.kind == NodeKind::Expert && !weight.experts.is_empty();
        let (accesses, read_bytes) =
            if is_expert_of_many { expert.unwrap_or((0, 0)) } else { (weight.accesses, weight.read_bytes) };
        sum.accesses = sum.accesses.saturating_add(accesses);
        sum.read_bytes = sum.read_bytes.saturating_add(read_bytes);
        sum.last_token = sum.last_token.max(weight.last_token);
        if let Some(ns) = weight.ns {
            sum.ns = Some(sum.ns.unwrap_or(0).saturating_add(ns));
        }
        sum.alone &= share.whole;
    }
    sum
}

/// What edges weigh in analyses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeWeight {
    /// All the same.
    #[default]
    None,
    /// Parameters of the node that they lead to, and 1.
    Parameters,
    /// Bytes in the file of the node that they lead to, and 1; bytes that a run read of it if there is one.
    Bytes,
    /// Nanoseconds that a run spent on the node that they lead to, and 1.
    Time,
}

impl FromStr for EdgeWeight {
    type Err = String;

    fn from_str(name: &str) -> Result<EdgeWeight, String> {
        match name {
            "none" => Ok(EdgeWeight::None),
            "parameters" => Ok(EdgeWeight::Parameters),
            "bytes" => Ok(EdgeWeight::Bytes),
            "time" => Ok(EdgeWeight::Time),
            _ => Err("there are none, parameters, bytes and time".into()),
        }
    }
}

impl EdgeWeight {
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            EdgeWeight::None => None,
            EdgeWeight::Parameters => Some("parameters"),
            EdgeWeight::Bytes => Some("bytes"),
            EdgeWeight::Time => Some("time"),
        }
    }
}

/// The graph for analyses: edges of some kinds, weighed.
pub fn named(graph: &ArchGraph, kinds: &[EdgeKind], weight: EdgeWeight, run: Option<&[WeightCost]>) -> Named {
    let measured = run.map(|run| measured(graph, run));
    let value = |(i, node): (usize, &ArchNode)| {
        let measured = measured.as_ref().and_then(|all| all[i]);
        let value = match weight {
            EdgeWeight::None => 0,
            EdgeWeight::Parameters => node.parameters,
            EdgeWeight::Bytes if run.is_some() => measured.map_or(0, |m| m.read_bytes),
            EdgeWeight::Bytes => node.bytes,
            EdgeWeight::Time => measured.and_then(|m| m.ns).unwrap_or(0),
        };
        1.0 + value as f64
    };
    let values: Vec<f64> = graph.nodes().enumerate().map(value).collect();
    let nodes = graph.nodes().map(|node| ReportNode {
        id: node.id.clone(),
        label: node.full_label(),
        kind: node.kind.name().to_owned(),
        layer: node.layer,
    });
    let edges = graph.links().filter(|(.., link)| kinds.contains(&link.kind));
    let ends = graph.number("input").zip(graph.number("output")).map(|(from, to)| (from as u32, to as u32));
    Named {
        nodes: nodes.collect(),
        edges: edges.map(|(from, to, _)| (from as u32, to as u32, values[to])).collect(),
        weight: weight.name(),
        lengths: weight == EdgeWeight::Time,
        ends,
    }
}
