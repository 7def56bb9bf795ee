//! Which layer each tensor of a graph belongs to, and what part of the model it is. llama.cpp says so in most names
//! (`Qcur-7`, `blk.7.attn_q.weight`, `cache_k_l7 (view)`); a node without a name of its own belongs to the
//! computation that it is part of.

use ggscope_format::TensorId;
use ggscope_format::record::{Graph, Tensor, TensorFlags};
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

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It names a layer.
    Layer(u32),
    /// It is a name, but of no layer.
    Other,
    /// ggml made it up, or it is empty.
    Nothing,
}

/// The name of the tensor that the scheduler copied to a device: `Qcur-0 (view)` for `CUDA0#Qcur-0 (view)#0`.
fn copied_name(name: &str) -> Option<&str> {
    let (device_and_name, copy) = name.rsplit_once('#')?;
    copy.parse::<u32>().ok()?;
    Some(device_and_name.split_once('#')?.1)
}

/// The node that a leaf is a device's copy of. Of several with its name the last: they belong to one layer.
pub fn copied_node(graph: &Graph, leaf: TensorId) -> Option<TensorId> {
    let copy = graph.tensor(leaf).filter(|_| leaf.0 >= graph.n_nodes)?;
    let name = copied_name(&copy.name)?;
    let original = |t: &Tensor| t.name == name && t.ne == copy.ne && t.dtype == copy.dtype;
    graph.nodes().filter(|(_, t)| original(t)).last().map(|(id, _)| id)
}

/// The name of the tensor at the bottom of views and copies: `cache_k_l0` for `cache_k_l0 (view) (permuted)` and for
/// `CUDA0#cache_k_l0 (view)#0`, the scheduler's copy.
pub fn base_name(name: &str) -> &str {
    let base = copied_name(name).unwrap_or(name);
    base.split_once(" (").map_or(base, |(base, _)| base)
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Layer and kind (`k`, `v`, `r`, `s`, …) of a cache by its name (`cache_k_l7`).
pub fn cache(base: &str) -> Option<(&str, u32)> {
    let (kind, layer) = base.strip_prefix("cache_")?.rsplit_once("_l")?;
    Some((kind.rsplit('_').next().unwrap_or(kind), number(layer)?))
}

/// What a tensor's name says.
pub fn named(name: &str) -> Named {
    let base = base_name(name);
    let made_up = |prefix: &str| base.strip_prefix(prefix).and_then(number).is_some();
    if base.is_empty() || made_up("leaf_") || made_up("node_") {
        return Named::Nothing;
    }
    let block = base.find("blk.").filter(|&at| at == 0 || base.as_bytes()[at - 1] == b'.');
    let of_block = block.and_then(|at| base[at + 4..].split('.').next()).and_then(number);
    let of_cache = || cache(base).map(|(_, layer)| layer);
    let of_state = || base.strip_prefix("dsv4_").and_then(|s| number(s.rsplit_once("_l")?.1));
    let of_suffix = || number(base.rsplit_once('-')?.1);
    of_block.or_else(of_cache).or_else(of_state).or_else(of_suffix).map_or(Named::Other, Named::Layer)
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
    layers: Layers,
}

impl Builder<'_> {
    fn new(graph: &Graph) -> Builder<'_> {
        let names: Vec<Named> = graph.tensors.iter().map(|t| named(&t.name)).collect();
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
        let of = names.iter().map(by_name).collect();
        let types = vec![None; names.len()];
        Builder { graph, node, names, consumers, layers: Layers { of, types } }
    }

    fn is_unnamed(&self, i: usize) -> bool {
        self.names[i] == Named::Nothing
    }

    fn build(mut self) -> Layers {
        let n_nodes = self.graph.n_nodes as usize;
        let from_layers = self.reached_from(|b, i| i < n_nodes && matches!(b.names[i], Named::Layer(_)));
        for i in (0..n_nodes).rev().filter(|&i| self.is_unnamed(i)).collect::<Vec<_>>() {
            self.ask_consumers(i, &from_layers);
        }
        for i in (0..n_nodes).filter(|&i| self.is_unnamed(i)).collect::<Vec<_>>() {
            self.ask_sources(i);
        }
        let from_tokens = self.reached_from(|b, i| {
            let base = base_name(&b.graph.tensors[i].name);
            base.starts_with("token_embd") || base.starts_with("inp_tokens") || base.starts_with("inp_embd")
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
    use crate::trace::testing::{Builder, Shape, llama};
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
    fn names_say_their_layer_through_views_and_copies() {
        let layer = |name| match named(name) {
            Named::Layer(layer) => Some(layer),
            _ => None,
        };
        for name in [
            "Qcur-7",
            "Qcur-7 (reshaped)",
            "blk.7.attn_q.weight",
            "cache_k_l7",
            "cache_v_l7 (view) (permuted)",
            "cache_k_l7 (copy of Kcur-7)",
            "cache_r_l7",
            "CUDA0#Qcur-7 (view)#0",
            "dec.blk.7.cross_attn_q.weight",
            "ffn_sqr(relu)-7",
        ] {
            assert_eq!(layer(name), Some(7), "{name}");
        }
        for name in ["leaf_7", "node_7", "node_7 (view)", "", " (view)", "#", "##", "a#b#c"] {
            assert_eq!(layer(name), None, "{name}");
        }
        for name in ["result_norm", "token_embd.weight", "inp_pos", "x-", "blk.x.y", "cache_k_l", "-99999999999"] {
            assert_eq!(named(name), Named::Other, "{name}");
        }
        assert_eq!(named("node_7 (view)"), Named::Nothing);
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
