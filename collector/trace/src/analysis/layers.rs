//! Which layer each tensor of a graph belongs to, and what part of the model it is. llama.cpp says so in most names
//! (`Qcur-7`, `blk.7.attn_q.weight`, `cache_k_l7 (view)`). A node whose name has no layer belongs to the layer of its weight,
//! of the place of the residual stream that it is, or of the computation that it is part of.

use ggscope_format::TensorId;
use ggscope_format::names::copied_name;
pub use ggscope_format::names::{Named, base_name, cache, named};
use ggscope_format::record::{Graph, Tensor, TensorFlags};
use ggscope_format::structure::{Plain, Stream};
use serde::{Deserialize, Serialize};

/// What part of the model a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    /// Of one layer.
    Layer,
    /// Masks, positions, and what else serves all layers.
    Infrastructure,
    /// From token ids to the first layer.
    Embedding,
    /// From the last layer to the logits.
    Output,
}

impl NodeType {
    /// The name in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            NodeType::Layer => "layer",
            NodeType::Infrastructure => "infrastructure",
            NodeType::Embedding => "embedding",
            NodeType::Output => "output",
        }
    }
}

/// The node that a leaf is a device's copy of. Of several with its name the last: they belong to one layer.
pub fn copied_node(graph: &Graph, leaf: TensorId) -> Option<TensorId> {
    let copy = graph.tensor(leaf).filter(|_| leaf.0 >= graph.n_nodes)?;
    let name = copied_name(&copy.name)?;
    let original = |t: &Tensor| t.name == name && t.ne == copy.ne && t.dtype == copy.dtype;
    graph.nodes().filter(|(_, t)| original(t)).last().map(|(id, _)| id)
}

/// Layer and part of every tensor of one graph.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    of: Vec<Option<u32>>,
    types: Vec<Option<NodeType>>,
}

fn sources(tensor: &Tensor) -> impl Iterator<Item = usize> {
    tensor.src.iter().flatten().copied().chain(tensor.view.map(|(v, _)| v)).map(TensorId::index)
}

/// An operator that only looks at its source's bytes in another way.
fn is_look(graph: &Graph, tensor: &Tensor) -> bool {
    matches!(graph.op(tensor), "VIEW" | "RESHAPE" | "PERMUTE" | "TRANSPOSE")
}

impl Layers {
    /// Works out the layers of `graph`, which has to be valid.
    pub fn of(graph: &Graph) -> Layers {
        Builder::new(graph).build()
    }

    /// The layer of a tensor.
    pub fn layer(&self, id: TensorId) -> Option<u32> {
        self.of.get(id.index()).copied().flatten()
    }

    /// What part of the model a tensor is.
    pub fn node_type(&self, id: TensorId) -> NodeType {
        self.types.get(id.index()).copied().flatten().unwrap_or(NodeType::Infrastructure)
    }
}

struct Builder<'a> {
    graph: &'a Graph,
    /// The node that each tensor is: of a device's copy of a node, that node.
    node: Vec<usize>,
    names: Vec<Named>,
    /// Tensors that have it as source or are views of it.
    consumers: Vec<Vec<u32>>,
    /// Nodes that take rows of a table of the model by ids that are fed.
    embeddings: Vec<bool>,
    layers: Layers,
}

impl Builder<'_> {
    fn new(graph: &Graph) -> Builder<'_> {
        let plain = Plain::from(graph);
        let embeddings: Vec<bool> = graph.nodes().map(|(id, _)| plain.is_embedding(id.0)).collect();
        let mut names: Vec<Named> = graph.tensors.iter().map(|t| named(&t.name)).collect();
        // Where a layer calls what it takes by a name of its own, embeddings are still no part of it.
        names.iter_mut().zip(&embeddings).filter(|(_, is)| **is).for_each(|(name, _)| *name = Named::Other);
        let mut node: Vec<usize> = (0..names.len()).collect();
        for (id, _) in graph.leaves() {
            if let Some(original) = copied_node(graph, id) {
                node[id.index()] = original.index();
            }
        }
        let mut consumers = vec![vec![]; names.len()];
        for (id, tensor) in graph.nodes() {
            for source in sources(tensor).map(|s| node[s]) {
                if consumers[source].last() != Some(&id.0) {
                    consumers[source].push(id.0);
                }
            }
        }
        let by_name = |name: &Named| if let Named::Layer(layer) = name { Some(*layer) } else { None };
        let mut of: Vec<Option<u32>> = names.iter().map(by_name).collect();
        for point in Stream::of(&plain).points {
            let of = &mut of[point.tensor as usize];
            *of = of.or(point.layer);
        }
        for (id, _) in graph.nodes() {
            let of = &mut of[id.index()];
            *of = of.or_else(|| plain.layer_of_weights(id.0));
        }
        let types = vec![None; names.len()];
        Builder { graph, node, names, consumers, embeddings, layers: Layers { of, types } }
    }

    fn is_unnamed(&self, i: usize) -> bool {
        self.names[i] == Named::Nothing
    }

    fn build(mut self) -> Layers {
        let n_nodes = self.graph.n_nodes as usize;
        let from_layers = self.reached_from(|b, i| i < n_nodes && matches!(b.names[i], Named::Layer(_)));
        for i in (0..n_nodes).rev() {
            if self.is_unnamed(i) && self.layers.of[i].is_none() {
                self.ask_consumers(i, &from_layers);
            } else if self.layers.of[i].is_none() && from_layers[i] {
                self.layers.of[i] = self.layer_of_all_consumers(i);
            }
        }
        for i in 0..n_nodes {
            if self.is_unnamed(i) && self.layers.of[i].is_none() {
                self.ask_sources(i);
            }
        }
        let from_tokens = self.reached_from(|b, i| {
            let is_fed = || base_name(&b.graph.tensors[i].name).starts_with("inp_embd");
            b.embeddings.get(i).copied().unwrap_or_else(is_fed)
        });
        let to_layers = self.reaching_layers();
        for i in 0..self.names.len() {
            let part = match (self.layers.of[i], self.layers.types[i]) {
                (Some(_), _) => NodeType::Layer,
                (None, Some(known)) => known,
                (None, None) if i >= n_nodes => NodeType::Infrastructure,
                (None, None) if from_layers[i] => NodeType::Output,
                (None, None) if from_tokens[i] && to_layers[i] => NodeType::Embedding,
                (None, None) => NodeType::Infrastructure,
            };
            self.layers.types[i] = Some(part);
        }
        for i in n_nodes..self.names.len() {
            let node = self.node[i];
            (self.layers.of[i], self.layers.types[i]) = (self.layers.of[node], self.layers.types[node]);
        }
        self.layers
    }

    /// The layer of what uses a node, if that is one layer: a norm of a layer has a name without its number in some models.
    fn layer_of_all_consumers(&self, i: usize) -> Option<u32> {
        let mut layers = self.consumers[i].iter().map(|&c| self.layers.of[c as usize]);
        let first = layers.next()??;
        layers.all(|layer| layer == Some(first)).then_some(first)
    }

    /// An unnamed node belongs to the lowest layer that uses it; if only outputs use it, it is output.
    fn ask_consumers(&mut self, i: usize, from_layers: &[bool]) {
        let consumers = &self.consumers[i];
        let lowest = consumers.iter().filter_map(|&c| self.layers.of[c as usize]).min();
        let is_output = |c: usize| {
            let named_output = self.names[c] == Named::Other && from_layers[c];
            named_output || self.layers.types[c] == Some(NodeType::Output)
        };
        if lowest.is_some() {
            self.layers.of[i] = lowest;
        } else if !consumers.is_empty() && consumers.iter().all(|&c| is_output(c as usize)) {
            self.layers.types[i] = Some(NodeType::Output);
        }
    }

    /// An unnamed node that tells nothing by its use belongs to the highest layer that it is made of. A look at an
    /// unnamed node belongs where that node belongs.
    fn ask_sources(&mut self, i: usize) {
        let tensor = &self.graph.tensors[i];
        let looked_at = tensor.src.first().copied().flatten().map(TensorId::index);
        if let Some(source) = looked_at.filter(|&s| is_look(self.graph, tensor) && s < i && self.is_unnamed(s)) {
            self.layers.of[i] = self.layers.of[source];
            self.layers.types[i] = self.layers.types[source];
        } else if self.layers.of[i].is_none() && self.layers.types[i].is_none() {
            self.layers.of[i] = sources(tensor).filter_map(|s| self.layers.of[self.node[s]]).max();
        }
    }

    /// What depends on a tensor that `is_start`, or is one.
    fn reached_from(&self, is_start: impl Fn(&Self, usize) -> bool) -> Vec<bool> {
        let mut reached: Vec<bool> = (0..self.names.len()).map(|i| is_start(self, i)).collect();
        for (id, tensor) in self.graph.nodes() {
            let i = id.index();
            reached[i] = reached[i] || sources(tensor).any(|s| reached[self.node[s]]);
        }
        reached
    }

    /// What a computed node of a layer depends on.
    fn reaching_layers(&self) -> Vec<bool> {
        let mut reaching = vec![false; self.names.len()];
        for (id, tensor) in self.graph.nodes().collect::<Vec<_>>().into_iter().rev() {
            let of_layer = self.layers.layer(id).is_some() && tensor.flags.has(TensorFlags::COMPUTED);
            if of_layer || reaching[id.index()] {
                sources(tensor).for_each(|s| reaching[self.node[s]] = true);
            }
        }
        reaching
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, Shape, llama};
    use std::collections::BTreeMap;

    #[test]
    fn the_demo_models_decode_graph_is_sorted_into_its_layers() {
        let graph = llama(0, Shape::default()).graph;
        assert_eq!(graph.n_nodes, 939);
        let layers = Layers::of(&graph);
        let mut of_layer: BTreeMap<u32, usize> = BTreeMap::new();
        let mut of_type: BTreeMap<&str, usize> = BTreeMap::new();
        for (id, _) in graph.nodes().filter(|(_, t)| t.flags.has(TensorFlags::COMPUTED)) {
            *of_type.entry(layers.node_type(id).name()).or_default() += 1;
            if let Some(layer) = layers.layer(id) {
                *of_layer.entry(layer).or_default() += 1;
            }
        }
        let expected: BTreeMap<u32, usize> = (0..30).map(|l| (l, if l == 29 { 21 } else { 19 })).collect();
        assert_eq!(of_layer, expected);
        assert_eq!(of_type, BTreeMap::from([("embedding", 1), ("layer", 572), ("output", 3)]));
    }

    #[test]
    fn an_unnamed_attention_belongs_to_the_layer_that_uses_it() {
        let graph = llama(0, Shape::default()).graph;
        let layers = Layers::of(&graph);
        let attention: Vec<_> = graph.nodes().filter(|(_, t)| graph.op(t) == "FLASH_ATTN_EXT").collect();
        assert_eq!(attention[7].1.name, "node_241");
        assert_eq!(layers.layer(attention[7].0), Some(7));
    }

    #[test]
    fn a_devices_copy_of_a_node_belongs_where_the_node_belongs() {
        let mut b = Builder::default();
        let table = b.weight("token_embd.weight", true, &[64, 64]);
        let ids = b.input("inp_tokens", None, &[1]);
        let norm = b.weight("blk.0.attn_norm.weight", true, &[64]);
        b.node("embd", "GET_ROWS", &[64], &[table, ids]);
        let copy = b.input("CUDA0#embd#0", Some(0), &[64]);
        let layer = b.node("attn_norm-0", "MUL", &[64], &[copy, norm]);
        b.node("node_2", "SQR", &[64], &[layer]);
        let on_cpu = b.input("CPU#node_2#0", Some(0), &[64]);
        b.node("l_out-0", "ADD", &[64], &[layer, on_cpu]);
        let graph = b.finish(0, "m.gguf").graph;
        let layers = Layers::of(&graph);
        let id = |name: &str| TensorId(graph.tensors.iter().position(|t| t.name == name).unwrap() as u32);
        assert_eq!(copied_node(&graph, id("CUDA0#embd#0")), Some(id("embd")));
        assert_eq!(copied_node(&graph, id("inp_tokens")), None);
        for name in ["embd", "CUDA0#embd#0"] {
            assert_eq!((layers.layer(id(name)), layers.node_type(id(name))), (None, NodeType::Embedding), "{name}");
        }
        for name in ["node_2", "CPU#node_2#0"] {
            assert_eq!((layers.layer(id(name)), layers.node_type(id(name))), (Some(0), NodeType::Layer), "{name}");
        }
    }

    #[test]
    fn a_norm_whose_name_has_no_number_is_of_the_layer_of_its_weight_and_positions_are_embeddings() {
        let mut b = Builder::default();
        let ids = b.input("inp_tokens", None, &[4]);
        let positions = b.input("inp_pos", None, &[4]);
        let table = b.weight("token_embd.weight", true, &[64, 64]);
        let of_positions = b.weight("position_embd.weight", true, &[64, 64]);
        let tokens = b.node("attn_norm_in-0", "GET_ROWS", &[64, 4], &[table, ids]);
        let places = b.node("pos_embd", "GET_ROWS", &[64, 4], &[of_positions, positions]);
        let x = b.node("inpL", "ADD", &[64, 4], &[tokens, places]);
        let w = b.weight("blk.0.ffn_down.weight", true, &[64, 64]);
        let inner = b.node("ffn_norm-0", "RMS_NORM", &[64, 4], &[x]);
        let ffn = b.node("ffn_out-0", "MUL_MAT", &[64, 4], &[w, inner]);
        let norm = b.node("norm", "RMS_NORM", &[64, 4], &[ffn]);
        let of_norm = b.weight("blk.0.post_ffw_norm.weight", false, &[64]);
        let normed = b.node("ffn_post_norm", "MUL", &[64, 4], &[norm, of_norm]);
        let end = b.node("block_end", "ADD", &[64, 4], &[normed, x]);
        let last = b.node("norm", "RMS_NORM", &[64, 4], &[end]);
        let output = b.weight("output.weight", true, &[64, 64]);
        b.node("result_output", "MUL_MAT", &[64, 4], &[output, last]);
        let graph = b.finish(0, "m.gguf").graph;
        let layers = Layers::of(&graph);
        let found: Vec<_> = graph.nodes().map(|(id, _)| (layers.layer(id), layers.node_type(id).name())).collect();
        let (embedding, layer, output) = ((None, "embedding"), (Some(0), "layer"), (None, "output"));
        let expected = [vec![embedding; 3], vec![layer; 5], vec![output; 2]].concat();
        assert_eq!(found, expected, "{:?}", graph.nodes().map(|(_, t)| &t.name).collect::<Vec<_>>());
    }

    #[test]
    fn an_unnamed_node_before_the_logits_is_output_and_a_dead_end_stays_with_its_sources() {
        let mut b = Builder::default();
        let weight = b.weight("blk.3.w.weight", true, &[64, 64]);
        let input = b.input("inp_pos", None, &[64]);
        let layer = b.node("l_out-3", "MUL_MAT", &[64], &[weight, input]);
        let before = b.node("node_1", "GET_ROWS", &[64], &[layer, input]);
        let look = b.look(" (view)", "RESHAPE", &[64], before);
        b.node("result_norm", "RMS_NORM", &[64], &[look]);
        b.node("node_4", "SQR", &[64], &[layer]);
        b.node("attn_inp_kq_mask (copy)", "CPY", &[64], &[input]);
        let graph = b.finish(0, "m.gguf").graph;
        let layers = Layers::of(&graph);
        let found: Vec<_> = graph.nodes().map(|(id, _)| (layers.layer(id), layers.node_type(id).name())).collect();
        let (layer, output) = ((Some(3), "layer"), (None, "output"));
        assert_eq!(found, [layer, output, output, output, layer, (None, "infrastructure")]);
    }
}
