//! The architecture of a model as a graph, from its file alone: what contains what, where data goes, what is shared, with
//! the exact parameters and bytes of every part. No tensor is counted twice and none is left out.
//!
//! Two constructions, [`Schema`]: our own, and the one of a well-known tutorial, for comparison with it.

mod flow;
mod layer;
mod place;
mod shares;
mod standard;
#[cfg(test)]
mod tests;
mod tutorial;

use crate::gguf::Gguf;
use crate::inspect::{Architecture, Stack};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// How a graph is made of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schema {
    /// Norms and feed-forward of every layer, key and value heads, experts and router, residual connections.
    #[default]
    Standard,
    /// Layers and query heads; one norm and one feed-forward for all layers; no edge from the embedding to a layer.
    Tutorial,
}

impl FromStr for Schema {
    type Err = String;

    fn from_str(name: &str) -> Result<Schema, String> {
        match name {
            "standard" => Ok(Schema::Standard),
            "tutorial" => Ok(Schema::Tutorial),
            _ => Err("there are standard and tutorial".into()),
        }
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Token ids, or the pictures and sounds that a tower takes.
    Input,
    /// Rows that are looked up for tokens and positions.
    Embedding,
    /// A layer with all that is in it; as a place in the flow, the residual stream behind it.
    Layer,
    /// A normalisation.
    Norm,
    /// A query head.
    Head,
    /// A key and value head.
    KvHead,
    /// What the heads of a layer have in common, and their way back into the residual stream.
    Attention,
    /// Attention to the output of an encoder.
    CrossAttention,
    /// A mixer with a state of fixed size: state space, delta net, RWKV's time mix, short convolution.
    StateSpace,
    /// A dense feed-forward network.
    FeedForward,
    /// What chooses experts.
    Router,
    /// An expert.
    Expert,
    /// Experts that every token uses.
    SharedExpert,
    /// Factors of the rotary position embedding.
    Rope,
    /// From the last hidden state to logits, scores or a vector.
    Output,
    /// From a tower into a language model.
    Projector,
    /// Convolutions of towers and vocoders.
    Convolution,
    /// Tensors that nothing is known of.
    Other,
}

impl NodeKind {
    /// Its name in JSON and in other formats.
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::Input => "input",
            NodeKind::Embedding => "embedding",
            NodeKind::Layer => "layer",
            NodeKind::Norm => "norm",
            NodeKind::Head => "head",
            NodeKind::KvHead => "kv_head",
            NodeKind::Attention => "attention",
            NodeKind::CrossAttention => "cross_attention",
            NodeKind::StateSpace => "state_space",
            NodeKind::FeedForward => "feed_forward",
            NodeKind::Router => "router",
            NodeKind::Expert => "expert",
            NodeKind::SharedExpert => "shared_expert",
            NodeKind::Rope => "rope",
            NodeKind::Output => "output",
            NodeKind::Projector => "projector",
            NodeKind::Convolution => "convolution",
            NodeKind::Other => "other",
        }
    }
}

/// What an edge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// The second is a part of the first.
    Contains,
    /// What the first computes is an input of the second.
    FeedsInto,
    /// The first needs the second, which serves others too.
    Uses,
}

impl EdgeKind {
    /// All of them.
    pub const ALL: [EdgeKind; 3] = [EdgeKind::Contains, EdgeKind::FeedsInto, EdgeKind::Uses];

    /// Its name in JSON and in other formats.
    pub fn name(self) -> &'static str {
        match self {
            EdgeKind::Contains => "contains",
            EdgeKind::FeedsInto => "feeds_into",
            EdgeKind::Uses => "uses",
        }
    }
}

impl fmt::Display for EdgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor, or the part of it that belongs to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TensorShare {
    /// Name of the tensor.
    pub tensor: String,
    /// Parameters of the part.
    pub parameters: u64,
    /// Bytes of the part; of a block of quants that several share, each has its part.
    pub bytes: u64,
    /// Whether it is all of the tensor.
    pub whole: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchNode {
    /// Its id: `layer_5_head_3`.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its name for people.
    pub label: String,
    /// The stack of layers that it belongs to.
    pub stack: Stack,
    /// The layer that it belongs to.
    pub layer: Option<u32>,
    /// Which head or expert of the layer it is.
    pub index: Option<u32>,
    /// Parameters of it and of all that it contains.
    pub parameters: u64,
    /// Bytes in the file of it and of all that it contains.
    pub bytes: u64,
    /// The tensors, or parts of them, that are its own.
    pub tensors: Vec<TensorShare>,
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchLink {
    /// What it says.
    pub kind: EdgeKind,
    /// Whether it passes something by: the residual stream, which is added again behind it.
    pub residual: bool,
}

/// An edge between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArchEdge<'a> {
    /// Id of a node.
    pub from: &'a str,
    /// Id of a node.
    pub to: &'a str,
    /// What it says.
    pub kind: EdgeKind,
    /// Whether it passes something by: the residual stream, which is added again behind it.
    pub residual: bool,
}

/// Why a model has no architecture graph.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArchError {
    /// A vocabulary or an adapter.
    #[error("{path} has no tensors of a model: only its metadata can be shown, with `ggscope inspect`")]
    Empty {
        /// The file.
        path: String,
    },
    /// Counts in the metadata that the tensors cannot fill.
    #[error("{path} says that it has {what}, and {most} are the most that a graph has room for")]
    TooLarge {
        /// The file.
        path: String,
        /// What is too many.
        what: String,
        /// How many there may be.
        most: u64,
    },
}

/// The architecture of a model.
#[derive(Clone, Debug)]
pub struct ArchGraph {
    schema: Schema,
    graph: DiGraph<ArchNode, ArchLink>,
    by_id: HashMap<String, NodeIndex>,
}

impl ArchGraph {
    /// Nodes that a graph may have.
    pub const MAX_NODES: u64 = 200_000;

    /// The graph of a model.
    ///
    /// # Errors
    /// When the file has no tensors, or says sizes that are none.
    pub fn of(gguf: &Gguf, architecture: &Architecture, schema: Schema) -> Result<ArchGraph, ArchError> {
        match schema {
            Schema::Standard => standard::graph(gguf, architecture),
            Schema::Tutorial => tutorial::graph(gguf, architecture),
        }
    }

    fn new(schema: Schema) -> ArchGraph {
        ArchGraph { schema, graph: DiGraph::new(), by_id: HashMap::new() }
    }

    /// How it was made.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// The nodes, in the order of the flow; a node's place is its number in analyses.
    pub fn nodes(&self) -> impl Iterator<Item = &ArchNode> {
        self.graph.node_weights()
    }

    /// The edges.
    pub fn edges(&self) -> impl Iterator<Item = ArchEdge<'_>> {
        self.graph.edge_references().map(|e| self.edge(e.source(), e.target(), *e.weight()))
    }

    fn edge(&self, from: NodeIndex, to: NodeIndex, ArchLink { kind, residual }: ArchLink) -> ArchEdge<'_> {
        ArchEdge { from: &self.graph[from].id, to: &self.graph[to].id, kind, residual }
    }

    /// Numbers of the nodes at both ends, for analyses.
    pub fn links(&self) -> impl Iterator<Item = (usize, usize, ArchLink)> {
        self.graph.edge_references().map(|e| (e.source().index(), e.target().index(), *e.weight()))
    }

    /// Number of the node with this id.
    pub fn number(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).map(|node| node.index())
    }

    /// Layers of a stack, ascending.
    pub fn layers(&self, stack: Stack) -> Vec<u32> {
        let of = |n: &&ArchNode| n.kind == NodeKind::Layer && n.stack == stack;
        self.nodes().filter(of).filter_map(|n| n.layer).collect()
    }

    /// A layer by itself: it, all that it contains, what it uses, and all edges among these. `None` if there is no such
    /// layer.
    pub fn layer(&self, stack: Stack, layer: u32) -> Option<ArchGraph> {
        let root = self.by_id.get(&layer_id(stack, layer))?;
        let targets = |node: NodeIndex, kind: EdgeKind| {
            self.graph.edges(node).filter(move |e| e.weight().kind == kind).map(|e| e.target())
        };
        let mut chosen: Vec<NodeIndex> = std::iter::once(*root).chain(targets(*root, EdgeKind::Contains)).collect();
        let used: Vec<NodeIndex> = chosen.iter().flat_map(|&node| targets(node, EdgeKind::Uses)).collect();
        chosen.extend(used);
        chosen.sort_unstable();
        chosen.dedup();
        let mut part = ArchGraph::new(self.schema);
        let places: HashMap<NodeIndex, NodeIndex> =
            chosen.iter().map(|&node| (node, part.push(self.graph[node].clone()))).collect();
        for edge in self.graph.edge_references() {
            if let (Some(&from), Some(&to)) = (places.get(&edge.source()), places.get(&edge.target())) {
                part.graph.add_edge(from, to, *edge.weight());
            }
        }
        Some(part)
    }

    fn push(&mut self, node: ArchNode) -> NodeIndex {
        let id = node.id.clone();
        let at = self.graph.add_node(node);
        self.by_id.insert(id, at);
        at
    }

    fn link(&mut self, from: NodeIndex, to: NodeIndex, kind: EdgeKind) {
        self.graph.add_edge(from, to, ArchLink { kind, residual: false });
    }

    fn link_residual(&mut self, from: NodeIndex, to: NodeIndex) {
        self.graph.add_edge(from, to, ArchLink { kind: EdgeKind::FeedsInto, residual: true });
    }

    /// Adds to each node what it contains.
    fn sum_up(&mut self) {
        let contained: Vec<(NodeIndex, NodeIndex)> = self
            .graph
            .edge_references()
            .filter(|e| e.weight().kind == EdgeKind::Contains)
            .map(|e| (e.source(), e.target()))
            .collect();
        for (outer, inner) in contained {
            let (parameters, bytes) = (self.graph[inner].parameters, self.graph[inner].bytes);
            let outer = &mut self.graph[outer];
            outer.parameters = outer.parameters.saturating_add(parameters);
            outer.bytes = outer.bytes.saturating_add(bytes);
        }
    }
}

impl ArchNode {
    /// Its name where its layer is not shown beside it: `layer 5, head 3`.
    pub fn full_label(&self) -> String {
        match self.layer.filter(|_| self.kind != NodeKind::Layer) {
            None => self.label.clone(),
            Some(layer) => format!("{}layer {layer}, {}", stack_words(self.stack), self.label),
        }
    }

    fn new(id: String, kind: NodeKind, label: String) -> ArchNode {
        let (stack, layer, index) = (Stack::Model, None, None);
        ArchNode { id, kind, label, stack, layer, index, parameters: 0, bytes: 0, tensors: vec![] }
    }

    fn in_layer(self, stack: Stack, layer: u32) -> ArchNode {
        ArchNode { stack, layer: Some(layer), ..self }
    }

    fn take(&mut self, share: TensorShare) {
        self.parameters = self.parameters.saturating_add(share.parameters);
        self.bytes = self.bytes.saturating_add(share.bytes);
        self.tensors.push(share);
    }
}

/// What says which stack a layer belongs to; nothing of the model itself.
fn stack_words(stack: Stack) -> String {
    if stack == Stack::Model { String::new() } else { format!("{} ", stack.name()) }
}

/// Id of a layer's node.
pub fn layer_id(stack: Stack, layer: u32) -> String {
    format!("{}layer_{layer}", stack_words(stack).replace(' ', "_"))
}
