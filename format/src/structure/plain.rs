//! A graph as its structure is found in it: the shim makes it of the host's graph, the collector of the record of it.

use crate::TensorId;
use crate::names::{base_name, copied_name, weight_layer};
use crate::record;
use std::collections::HashMap;

/// One tensor.
#[derive(Clone, Debug, Default)]
pub struct PlainTensor {
    /// Its name; may be empty.
    pub name: String,
    /// Name of its operator, as [`Plain::op_id`] has it.
    pub op: u16,
    /// Its sources, by number.
    pub src: Vec<Option<u32>>,
    /// The tensor that it is a view of.
    pub view: Option<u32>,
    /// Whether the program fills it before the graph runs.
    pub input: bool,
    /// Elements in each dimension.
    pub ne: [i64; 4],
    /// The first parameters of its operator.
    pub params: [i32; 2],
}

/// A graph: its nodes in the order of execution, then its leaves.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    n_nodes: u32,
    tensors: Vec<PlainTensor>,
    ops: Vec<String>,
    /// The nodes that have a tensor as a source.
    consumers: Vec<Vec<u32>>,
    /// The layer of each weight, by its name in the file; none for other tensors.
    layers: Vec<Option<u32>>,
    /// The leaf that says which tokens have output rows.
    outputs: Option<u32>,
}

impl Plain {
    /// The number of an operator's name, to describe a tensor with it.
    pub fn op_id(&mut self, op: &str) -> u16 {
        let known = self.ops.iter().position(|known| known == op);
        let id = known.unwrap_or_else(|| {
            self.ops.push(op.to_owned());
            self.ops.len() - 1
        });
        u16::try_from(id).unwrap_or(u16::MAX)
    }

    /// Sets the tensors: `n_nodes` nodes in the order of execution, then leaves. Sources that are not there, and sources of
    /// nodes that come later, are dropped; a device's copy of a node counts as that node.
    pub fn set(&mut self, n_nodes: usize, tensors: Vec<PlainTensor>) {
        self.n_nodes = n_nodes.min(tensors.len()) as u32;
        self.tensors = tensors;
        let original = self.copied_nodes();
        let n = self.tensors.len() as u32;
        self.consumers = vec![vec![]; n as usize];
        for (i, tensor) in self.tensors.iter_mut().enumerate() {
            let i = i as u32;
            let resolved = |id: u32| original.get(&id).copied().unwrap_or(id);
            let is_before = |id: &u32| *id < n && (*id >= self.n_nodes || *id < i || i >= self.n_nodes);
            for source in &mut tensor.src {
                *source = source.map(resolved).filter(is_before);
            }
            tensor.view = tensor.view.map(resolved).filter(is_before);
            if i < self.n_nodes {
                for source in tensor.src.iter().flatten() {
                    if self.consumers[*source as usize].last() != Some(&i) {
                        self.consumers[*source as usize].push(i);
                    }
                }
            }
        }
        let layers = self.tensors.iter().enumerate();
        let of_leaf = |(i, tensor): (usize, &PlainTensor)| {
            if i < self.n_nodes as usize { None } else { weight_layer(&tensor.name) }
        };
        self.layers = layers.map(of_leaf).collect();
        self.outputs = self.find_outputs();
    }

    /// The input by which rows of computed tensors are chosen: of several the one that is called so, or else the last. A model
    /// that keeps states chooses rows in every layer, by other ids.
    fn find_outputs(&self) -> Option<u32> {
        let chosen_by = |id: u32| {
            let rows = self.src(id, 0).filter(|&rows| self.op(id) == "GET_ROWS" && self.is_node(rows))?;
            let ids = self.weight_beneath(self.src(id, 1).filter(|_| rows < id)?);
            self.tensor(ids).filter(|t| t.input).map(|_| ids)
        };
        let is_named = |ids: &u32| matches!(base_name(self.name(*ids)), "out_ids" | "inp_out_ids");
        self.nodes().filter_map(chosen_by).max_by_key(is_named)
    }

    /// The nodes that leaves are a device's copies of. Of several with the name the last: they belong to one layer.
    fn copied_nodes(&self) -> HashMap<u32, u32> {
        let leaves = (self.n_nodes..self.tensors.len() as u32).filter_map(|i| {
            let copy = &self.tensors[i as usize];
            Some((i, copied_name(&copy.name).filter(|name| !name.is_empty())?, copy.ne))
        });
        let leaves: Vec<_> = leaves.collect();
        if leaves.is_empty() {
            return HashMap::new();
        }
        let nodes: HashMap<(&str, [i64; 4]), u32> =
            (0..self.n_nodes).map(|i| ((&*self.tensors[i as usize].name, self.tensors[i as usize].ne), i)).collect();
        leaves.into_iter().filter_map(|(i, name, ne)| Some((i, *nodes.get(&(name, ne))?))).collect()
    }

    /// Number of nodes.
    pub fn n_nodes(&self) -> u32 {
        self.n_nodes
    }

    /// A tensor, if it is there.
    pub fn tensor(&self, id: u32) -> Option<&PlainTensor> {
        self.tensors.get(id as usize)
    }

    /// Number of tensors.
    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn nodes(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        0..self.n_nodes
    }

    /// Name of the operator; `NONE` for leaves.
    pub fn op(&self, id: u32) -> &str {
        self.tensor(id).and_then(|t| self.ops.get(usize::from(t.op))).map_or("?", |op| op)
    }

    pub(super) fn name(&self, id: u32) -> &str {
        self.tensor(id).map_or("", |t| &t.name)
    }

    pub(super) fn src(&self, id: u32, i: usize) -> Option<u32> {
        self.tensor(id)?.src.get(i).copied().flatten()
    }

    pub(super) fn sources(&self, id: u32) -> impl Iterator<Item = u32> {
        let tensor = self.tensor(id);
        tensor.into_iter().flat_map(|t| t.src.iter().flatten().copied().chain(t.view))
    }

    pub(super) fn consumers(&self, id: u32) -> &[u32] {
        self.consumers.get(id as usize).map_or(&[], |c| c)
    }

    pub(super) fn is_node(&self, id: u32) -> bool {
        id < self.n_nodes
    }

    /// Whether it is part of the model: there before the graph ran, and no input.
    pub(super) fn is_constant(&self, id: u32) -> bool {
        !self.is_node(id) && self.tensor(id).is_some_and(|t| !t.input) && self.op(id) == "NONE"
    }

    /// A parameter of the operator as a 32-bit float.
    pub(super) fn param(&self, id: u32, i: usize) -> f32 {
        self.tensor(id).map_or(0.0, |t| f32::from_bits(t.params[i] as u32))
    }

    /// The layer of a weight, by its name in the file.
    pub(super) fn weight_layer(&self, id: u32) -> Option<u32> {
        self.layers.get(id as usize).copied().flatten()
    }

    /// Whether the operator's result is its source's bytes, or a copy of them.
    pub(super) fn is_look(&self, id: u32) -> bool {
        matches!(self.op(id), "VIEW" | "RESHAPE" | "PERMUTE" | "TRANSPOSE" | "CONT" | "CPY" | "DUP")
    }

    pub(super) fn is_norm(&self, id: u32) -> bool {
        matches!(self.op(id), "RMS_NORM" | "NORM" | "L2_NORM" | "GROUP_NORM")
    }

    /// What a tensor is a look at or a choice of rows of, and whether rows were chosen.
    pub(super) fn beneath(&self, mut id: u32) -> (u32, bool) {
        let mut selected = false;
        while let Some(source) = self.src(id, 0).filter(|&s| self.is_node(s) && s < id) {
            match self.op(id) {
                _ if self.is_look(id) => {}
                "GET_ROWS" if self.chooses_rows(id) => selected = true,
                _ => break,
            }
            id = source;
        }
        (id, selected)
    }

    /// Whether a node takes only the tokens that have an output row.
    pub(super) fn chooses_rows(&self, id: u32) -> bool {
        let is_computed = self.src(id, 0).is_some_and(|rows| self.is_node(rows));
        let ids = self.src(id, 1).filter(|_| is_computed && self.op(id) == "GET_ROWS");
        ids.is_some_and(|ids| Some(self.weight_beneath(ids)) == self.outputs)
    }

    /// What a node takes in besides a constant, and that constant.
    pub(super) fn through_constant(&self, id: u32) -> Option<(u32, u32)> {
        let (a, b) = (self.src(id, 0)?, self.src(id, 1)?);
        let is_constant = |id| self.is_constant(self.weight_beneath(id));
        match (self.op(id), is_constant(a), is_constant(b)) {
            ("ADD" | "MUL", false, true) => Some((a, self.weight_beneath(b))),
            ("ADD" | "MUL", true, false) => Some((b, self.weight_beneath(a))),
            _ => None,
        }
    }

    /// The leaf that a tensor is a look at, or itself.
    pub(super) fn weight_beneath(&self, mut id: u32) -> u32 {
        while self.is_node(id) && (self.is_look(id) || matches!(self.op(id), "CAST" | "REPEAT")) {
            let Some(source) = self.src(id, 0) else { break };
            id = source;
        }
        id
    }
}

impl From<&record::Graph> for Plain {
    fn from(graph: &record::Graph) -> Plain {
        let mut plain = Plain { ops: graph.ops.clone(), ..Plain::default() };
        let number = |id: TensorId| id.0;
        let tensors = graph.tensors.iter().map(|t| PlainTensor {
            name: t.name.clone(),
            op: t.op,
            src: t.src.iter().map(|s| s.map(number)).collect(),
            view: t.view.map(|(root, _)| root.0),
            input: t.flags.has(record::TensorFlags::INPUT),
            ne: t.ne,
            params: [0, 1].map(|i| t.op_params.get(i).copied().unwrap_or_default()),
        });
        plain.set(graph.n_nodes as usize, tensors.collect());
        plain
    }
}
