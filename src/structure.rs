//! The host's graph as its structure is found in it, by the same rule as in the record of it: see
//! [`ggscope_format::structure`].

use crate::abi::{FLAG_INPUT, TensorRef};
use crate::graph::GraphRef;
use crate::host::Tensor;
use ggscope_format::structure::{Plain, PlainTensor};
use std::collections::HashMap;
use std::ffi::CStr;

/// All tensors of a graph: its nodes in the order of execution, then what they lead to. With the number of each.
pub struct Tensors {
    /// By number.
    pub list: Vec<*mut Tensor>,
    /// Numbers.
    pub ids: HashMap<usize, u32>,
}

impl Tensors {
    /// Of a graph.
    pub fn of(graph: GraphRef<'_>) -> Tensors {
        let mut tensors = Tensors { list: vec![], ids: HashMap::new() };
        for i in 0..graph.n_nodes {
            tensors.add(graph.node(i).ptr());
        }
        let mut done = 0;
        while done < tensors.list.len() {
            // SAFETY: nodes, and what they lead to, belong to the graph.
            let tensor = unsafe { TensorRef::new(tensors.list[done], graph.layout()) };
            for other in tensor.sources().chain([tensor.view_src()]).filter(|t| !t.is_null()) {
                tensors.add(other);
            }
            done += 1;
        }
        tensors
    }

    fn add(&mut self, tensor: *mut Tensor) {
        let n = self.list.len() as u32;
        if *self.ids.entry(tensor as usize).or_insert(n) == n {
            self.list.push(tensor);
        }
    }

    /// The number of a tensor.
    pub fn id(&self, tensor: *mut Tensor) -> Option<u32> {
        self.ids.get(&(tensor as usize)).copied()
    }
}

/// The graph in plain form. A device's copy of a node counts as the node. Operators are without their parameters: those say
/// by how much something is scaled, not what feeds what.
pub fn plain(graph: GraphRef<'_>, tensors: &Tensors) -> Plain {
    let mut plain = Plain::default();
    let mut ops: HashMap<usize, u16> = HashMap::new();
    let described = tensors.list.iter().map(|&tensor| {
        // SAFETY: a tensor of the live graph.
        let tensor = unsafe { TensorRef::new(tensor, graph.layout()) };
        // SAFETY: as above; the name is a constant of the host.
        let op = unsafe { (graph.host().ggml_op_desc)(tensor.ptr()) };
        let op = *ops.entry(op as usize).or_insert_with(|| {
            // SAFETY: as above.
            plain.op_id(&unsafe { CStr::from_ptr(op) }.to_string_lossy())
        });
        PlainTensor {
            name: String::from_utf8_lossy(tensor.name()).into_owned(),
            op,
            src: tensor.sources().map(|source| tensors.id(source)).collect(),
            view: tensors.id(tensor.view_src()),
            input: tensor.flags() & FLAG_INPUT != 0,
            ne: tensor.ne(),
            params: [0; 2],
        }
    });
    let described = described.collect();
    plain.set(graph.n_nodes as usize, described);
    plain
}
