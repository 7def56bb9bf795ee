//! A graph as an answer: its tensors with layers, places and meanings, and its edges; whole, or one layer with what
//! touches it. Formats for other programs are in [`ggscope_export::graph`].

use super::table::Table;
use ggscope_format::record::{MAX_DIMS, TensorFlags};
use ggscope_format::{GraphId, TensorId};
use ggscope_trace::analysis::layers::NodeType;
use ggscope_trace::analysis::leaves::{meaning, uses};
use ggscope_trace::view::{GraphView, Place};
use ggscope_trace::{Trace, TraceError};
use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// What a tensor is to the layer that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// It belongs to the layer.
    Layer,
    /// It belongs to no layer and serves all: positions, masks, shared leaves.
    Infrastructure,
    /// A tensor of the layer is computed from it.
    Input,
    /// It is computed from a tensor of the layer.
    Output,
}

impl Category {
    /// The name in JSON and in other formats.
    pub fn name(self) -> &'static str {
        match self {
            Category::Layer => "layer",
            Category::Infrastructure => "infrastructure",
            Category::Input => "input",
            Category::Output => "output",
        }
    }
}

/// A node or a leaf.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphTensor<'a> {
    /// Number within the graph: nodes first, in the order of execution, then leaves.
    pub id: u32,
    /// Whether it is a leaf: nothing computes it.
    pub leaf: bool,
    /// Name.
    pub name: &'a str,
    /// Name of the operator in ggml; `NONE` for a leaf.
    pub op: &'a str,
    /// Type.
    #[serde(rename = "type")]
    pub dtype: &'a str,
    /// Elements in each dimension.
    pub ne: [i64; MAX_DIMS],
    /// Size in bytes.
    pub bytes: u64,
    /// The layer that it belongs to.
    pub layer: Option<u32>,
    /// What part of the model it is: `layer`, `infrastructure`, `embedding` or `output`.
    pub node_type: &'static str,
    /// What it is to the layer that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// What a leaf is for, told from its use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// Whether its operator does work; views and nodes that the program skipped do not.
    pub computed: bool,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place<'a>,
}

/// A tensor is computed from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GraphEdge {
    /// The source.
    pub from: u32,
    /// The node that is computed from it.
    pub to: u32,
    /// As which of the node's sources, from 0.
    pub src: usize,
    /// Whether the two belong to different layers.
    pub cross_layer: bool,
}

/// A graph, or the part of it that belongs to a layer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphPart<'a> {
    /// Number within the session.
    pub graph: u32,
    /// The context that computes it.
    pub context: u32,
    /// Number of the model that it is of, as in `model` and `more_models` of the session, whose vocabulary its tokens are of; null
    /// if it is not known.
    pub model: Option<u32>,
    /// The layer that was asked for.
    pub layer: Option<u32>,
    /// Layers of the whole graph, ascending.
    pub layers: Vec<u32>,
    /// Nodes and leaves, by number.
    pub tensors: Vec<GraphTensor<'a>>,
    /// Edges among them, by node and source.
    pub edges: Vec<GraphEdge>,
}

/// One line about a graph.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphSummary {
    /// Number within the session.
    pub graph: u32,
    /// The context that computes it.
    pub context: u32,
    /// Number of the model that it is of, as in `model` and `more_models` of the session, whose vocabulary its tokens are of; null
    /// if it is not known.
    pub model: Option<u32>,
    /// Nodes.
    pub n_nodes: usize,
    /// Nodes whose operator does work.
    pub n_computed: usize,
    /// Leaves.
    pub n_leaves: usize,
    /// Layers, ascending.
    pub layers: Vec<u32>,
    /// How often it was evaluated.
    pub evaluations: u64,
    /// Ordinal of its last evaluation in the order of arrival, from 0; null if there is none.
    pub last_seq: Option<u64>,
}

/// How often a graph was evaluated, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvaluationCount {
    /// Evaluations.
    pub evaluations: u64,
    /// Ordinal of the last; `None` if there are none.
    pub last_seq: Option<u64>,
}

/// How often each graph was evaluated, and when last.
pub fn evaluated(table: &Table) -> BTreeMap<GraphId, EvaluationCount> {
    evaluated_by(table, None)
}

fn evaluated_by(table: &Table, context: Option<u32>) -> BTreeMap<GraphId, EvaluationCount> {
    let mut of: BTreeMap<GraphId, EvaluationCount> = BTreeMap::new();
    let of_context = table.headers(0).filter(|(_, header)| context.is_none_or(|context| header.context == context));
    for (seq, header) in of_context {
        let found = of.entry(header.graph).or_default();
        (found.evaluations, found.last_seq) = (found.evaluations + 1, Some(seq as u64));
    }
    of
}

/// The graph with the most evaluations, of those of one context if it is given; the lowest of them if there are several. `None`
/// if nothing was evaluated.
pub fn most_evaluated(table: &Table, context: Option<u32>) -> Option<GraphId> {
    evaluated_by(table, context).into_iter().max_by_key(|&(id, of)| (of.evaluations, Reverse(id))).map(|(id, _)| id)
}

/// A graph that can be asked for its parts.
pub struct GraphQuery {
    view: GraphView,
    /// One vertex a tensor, with the tensor's number as index; the weight of an edge is the number of the source.
    edges: DiGraph<(), usize>,
}

impl GraphQuery {
    /// Reads a graph of a trace.
    ///
    /// # Errors
    /// When the trace does not have it, or it is damaged.
    pub fn open(trace: &Trace, id: GraphId) -> Result<GraphQuery, TraceError> {
        Ok(GraphQuery::new(GraphView::new(trace.graph(id)?)))
    }

    /// Its number within the session.
    pub fn id(&self) -> GraphId {
        self.view.stored.graph.graph
    }

    /// The context that computes it.
    pub fn context(&self) -> u32 {
        self.view.stored.graph.context
    }

    fn new(view: GraphView) -> GraphQuery {
        let graph = Arc::clone(&view.stored);
        let tensors = &graph.graph.tensors;
        let mut edges = DiGraph::with_capacity(tensors.len(), tensors.len() * 2);
        tensors.iter().for_each(|_| {
            edges.add_node(());
        });
        for (to, tensor) in tensors.iter().enumerate() {
            for (src, from) in tensor.src.iter().enumerate() {
                if let Some(from) = from {
                    edges.add_edge(NodeIndex::new(from.index()), NodeIndex::new(to), src);
                }
            }
        }
        GraphQuery { view, edges }
    }

    /// How many tensors the graph has.
    pub fn n_tensors(&self) -> usize {
        self.view.stored.graph.tensors.len()
    }

    /// Layers of the graph, ascending.
    pub fn layers(&self) -> Vec<u32> {
        let layers: BTreeSet<u32> = self.ids().filter_map(|id| self.view.layers.layer(id)).collect();
        layers.into_iter().collect()
    }

    fn ids(&self) -> impl Iterator<Item = TensorId> {
        (0..self.n_tensors() as u32).map(TensorId)
    }

    /// One line about the graph, which was evaluated as `evaluated` says.
    pub fn summary(&self, evaluated: EvaluationCount) -> GraphSummary {
        let graph = &self.view.stored.graph;
        GraphSummary {
            graph: graph.graph.0,
            context: graph.context,
            model: self.view.stored.model.map(|model| model.0),
            n_nodes: graph.n_nodes as usize,
            n_computed: graph.nodes().filter(|(_, t)| t.flags.has(TensorFlags::COMPUTED)).count(),
            n_leaves: graph.leaves().count(),
            layers: self.layers(),
            evaluations: evaluated.evaluations,
            last_seq: evaluated.last_seq,
        }
    }

    /// The whole graph.
    pub fn whole(&self) -> GraphPart<'_> {
        self.part(None, &self.ids().map(|id| (id, None)).collect())
    }

    /// What belongs to a layer, the shared leaves and infrastructure that it uses, the tensors of others that it is
    /// computed from or that are computed from it, and all edges among these. `None` if the graph has no such layer.
    pub fn layer(&self, layer: u32) -> Option<GraphPart<'_>> {
        let of = |id: TensorId| self.view.layers.layer(id);
        let own: Vec<TensorId> = self.ids().filter(|&id| of(id) == Some(layer)).collect();
        if own.is_empty() {
            return None;
        }
        let neighbours = |direction| {
            let around = own.iter().flat_map(move |id| {
                self.edges.neighbors_directed(NodeIndex::new(id.index()), direction).map(NodeIndex::index)
            });
            around.map(|i| TensorId(i as u32)).filter(|&id| of(id) != Some(layer)).collect::<Vec<_>>()
        };
        // What a tensor is first stays: a source that is computed from the layer too is an input.
        let mut chosen: BTreeMap<TensorId, Option<Category>> =
            own.iter().map(|&id| (id, Some(Category::Layer))).collect();
        for (direction, category) in [(Incoming, Category::Input), (Outgoing, Category::Output)] {
            for id in neighbours(direction) {
                let shared = self.view.layers.node_type(id) == NodeType::Infrastructure;
                chosen.entry(id).or_insert(Some(if shared { Category::Infrastructure } else { category }));
            }
        }
        Some(self.part(Some(layer), &chosen))
    }

    fn part(&self, layer: Option<u32>, chosen: &BTreeMap<TensorId, Option<Category>>) -> GraphPart<'_> {
        let graph = &self.view.stored.graph;
        let uses = uses(graph);
        let uses_of = |id: &TensorId| uses.get(id).map_or(&[][..], Vec::as_slice);
        let tensor = |(&id, &category): (&TensorId, &Option<Category>)| {
            let tensor = graph.tensor(id)?;
            let leaf = id.0 >= graph.n_nodes;
            Some(GraphTensor {
                id: id.0,
                leaf,
                name: &tensor.name,
                op: graph.op(tensor),
                dtype: self.view.dtype(tensor),
                ne: tensor.ne,
                bytes: tensor.bytes.0,
                layer: self.view.layers.layer(id),
                node_type: self.view.layers.node_type(id).name(),
                category,
                meaning: leaf.then(|| meaning(&self.view.stored, id, uses_of(&id))),
                computed: tensor.flags.has(TensorFlags::COMPUTED),
                place: self.view.place(id),
            })
        };
        let edges = chosen.keys().flat_map(|&to| self.edges_to(to)).filter(|e| chosen.contains_key(&TensorId(e.from)));
        GraphPart {
            graph: graph.graph.0,
            context: graph.context,
            model: self.view.stored.model.map(|model| model.0),
            layer,
            layers: self.layers(),
            tensors: chosen.iter().filter_map(tensor).collect(),
            edges: edges.collect(),
        }
    }

    fn edges_to(&self, to: TensorId) -> Vec<GraphEdge> {
        let of = |id: TensorId| self.view.layers.layer(id);
        let edge = |e: petgraph::graph::EdgeReference<'_, usize>| {
            let from = TensorId(e.source().index() as u32);
            let cross_layer = matches!((of(from), of(to)), (Some(a), Some(b)) if a != b);
            GraphEdge { from: from.0, to: to.0, src: *e.weight(), cross_layer }
        };
        let mut edges: Vec<_> = self.edges.edges_directed(NodeIndex::new(to.index()), Incoming).map(edge).collect();
        edges.sort_by_key(|e| e.src);
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing::{Shape, llama};

    fn query() -> GraphQuery {
        GraphQuery::new(GraphView::new(Arc::new(llama(3, Shape { n_layer: 4, ..Shape::default() }))))
    }

    fn names<'a>(part: &'a GraphPart<'_>, category: Category) -> Vec<&'a str> {
        part.tensors.iter().filter(|t| t.category == Some(category)).map(|t| t.name).collect()
    }

    #[test]
    fn a_layer_is_shown_with_what_it_shares_takes_and_gives() {
        let query = query();
        let part = query.layer(2).unwrap();
        let own = names(&part, Category::Layer);
        assert!(own.contains(&"blk.2.attn_q.weight") && own.contains(&"cache_k_l2") && own.contains(&"l_out-2"));
        let all = query.whole();
        assert_eq!(own.len(), all.tensors.iter().filter(|t| t.layer == Some(2)).count());
        let mut shared = names(&part, Category::Infrastructure);
        shared.sort_unstable();
        assert_eq!(shared, ["attn_inp_k_idxs", "attn_inp_kq_mask", "attn_inp_v_idxs", "inp_pos"]);
        assert_eq!(names(&part, Category::Input), ["l_out-1"]);
        assert_eq!(names(&part, Category::Output), ["norm-3", "node_121"]);
    }

    #[test]
    fn all_edges_among_the_shown_tensors_are_there_and_no_others() {
        let query = query();
        let (all, part) = (query.whole(), query.layer(2).unwrap());
        let shown: BTreeSet<u32> = part.tensors.iter().map(|t| t.id).collect();
        let expected: Vec<_> =
            all.edges.iter().filter(|e| shown.contains(&e.from) && shown.contains(&e.to)).copied().collect();
        assert_eq!(part.edges, expected);
        let name = |id: u32| part.tensors.iter().find(|t| t.id == id).unwrap().name;
        let crossing: Vec<_> =
            part.edges.iter().filter(|e| e.cross_layer).map(|e| (name(e.from), name(e.to))).collect();
        assert_eq!(
            crossing,
            [("l_out-1", "norm-2"), ("l_out-1", "ffn_inp-2"), ("l_out-2", "norm-3"), ("l_out-2", "node_121")]
        );
    }

    #[test]
    fn every_source_is_an_edge_and_every_leaf_has_a_meaning() {
        let query = query();
        let all = query.whole();
        let stored = llama(3, Shape { n_layer: 4, ..Shape::default() });
        assert_eq!(all.edges.len(), stored.graph.tensors.iter().flat_map(|t| t.src.iter().flatten()).count());
        assert_eq!((all.graph, all.layers.as_slice()), (3, &[0, 1, 2, 3][..]));
        let k_idxs = all.tensors.iter().find(|t| t.name == "attn_inp_k_idxs").unwrap();
        assert_eq!(k_idxs.meaning.as_deref(), Some("KV write positions (K)"));
        assert!(all.tensors.iter().all(|t| t.leaf == t.meaning.is_some() && t.category.is_none()));
    }

    #[test]
    fn the_first_layers_input_is_the_embedding_and_the_last_ones_output_the_norm() {
        let query = query();
        assert_eq!(names(&query.layer(0).unwrap(), Category::Input), ["embd"]);
        assert_eq!(names(&query.layer(3).unwrap(), Category::Output), ["norm"]);
        assert!(query.layer(4).is_none());
    }
}
