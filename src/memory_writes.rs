//! Whether a tensor's bytes are still there when its graph has been computed. A pinned tensor's should be; but the allocator
//! plans by what was pinned when it reserved its memory, and a graph that was allocated before somebody wanted its values has
//! them overwritten. What does not remain is not read.

use crate::abi::{FLAG_OUTPUT, TensorRef};
use crate::capture::EMPTY_OPS;
use crate::graph::GraphRef;
use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::Range;

/// What the nodes of an allocated graph write, in the order in which they are computed.
pub struct MemoryWrites<'a> {
    graph: GraphRef<'a>,
    /// Buffer and addresses of each node that does work.
    writes: Vec<(usize, usize, Range<usize>)>,
    numbers: HashMap<usize, usize>,
}

impl<'a> MemoryWrites<'a> {
    /// Looks at a graph.
    pub fn of(graph: GraphRef<'a>) -> MemoryWrites<'a> {
        let nodes = (0..graph.n_nodes).map(|i| graph.node(i));
        let works = |node: TensorRef<'_>| {
            // SAFETY: a tensor of the live graph; the name is a constant of the host.
            let op = unsafe { CStr::from_ptr((graph.host().ggml_op_desc)(node.ptr())) };
            !EMPTY_OPS.iter().any(|empty| op.to_bytes() == empty.as_bytes())
        };
        let numbers = nodes.clone().enumerate().map(|(i, node)| (node.ptr() as usize, i)).collect();
        let mut remains = MemoryWrites { graph, writes: vec![], numbers };
        remains.writes = (nodes.enumerate().filter(|(_, node)| works(*node)))
            .map(|(i, node)| {
                let (buffer, addresses) = remains.place(node);
                (i, buffer, addresses)
            })
            .collect();
        remains
    }

    /// Whether the bytes of a tensor of the graph remain: a node that was flagged as an output, so that it has them at all
    /// wherever nodes are computed in one go, or a leaf; and no node behind it writes there.
    pub fn has(&self, tensor: TensorRef<'a>) -> bool {
        // SAFETY: a view keeps its source alive.
        let of = |t| unsafe { TensorRef::new(t, self.graph.layout()) };
        let root = if tensor.view_src().is_null() { tensor } else { of(tensor.view_src()) };
        // Operator 0 is NONE in every release.
        if root.op() != 0 && root.flags() & FLAG_OUTPUT == 0 {
            return false;
        }
        let (buffer, addresses) = self.place(tensor);
        let number = |t: TensorRef<'_>| self.numbers.get(&(t.ptr() as usize)).copied();
        // A look at a node was written when that was, a node that writes into another when it is computed itself.
        let own = number(tensor).filter(|own| self.writes.binary_search_by_key(own, |w| w.0).is_ok());
        let from = own.or_else(|| number(root)).map_or(0, |written| written + 1);
        let behind = self.writes.partition_point(|w| w.0 < from);
        let meets = |other: &Range<usize>| other.start < addresses.end && addresses.start < other.end;
        !self.writes[behind..].iter().any(|(_, b, other)| *b == buffer && meets(other))
    }

    fn place(&self, tensor: TensorRef<'_>) -> (usize, Range<usize>) {
        let mut buffer = tensor.buffer();
        if buffer.is_null() && !tensor.view_src().is_null() {
            // SAFETY: a view keeps its source alive.
            buffer = unsafe { TensorRef::new(tensor.view_src(), self.graph.layout()) }.buffer();
        }
        // SAFETY: a tensor of the live graph.
        let bytes = unsafe { (self.graph.host().ggml_nbytes)(tensor.ptr()) };
        let begin = tensor.data() as usize;
        (buffer as usize, begin..begin.saturating_add(bytes))
    }
}
