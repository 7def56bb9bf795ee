//! Which tensors' values are wanted, how they are kept alive, and how they are read after the evaluation.
//!
//! A wanted node is pinned: flagged as an output of the graph before the allocator sees it, so that its memory is not
//! used again. Nothing is cut and nothing is computed differently.

use crate::abi::{Layout, TensorRef};
use crate::attention;
use crate::choices::Choices;
use crate::graph::GraphRef;
use crate::host::{CGraph, Host, Tensor};
use ggscope_format::capture::{self as description, Capture, Set};
use ggscope_format::structure::Chosen;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::c_void;
use std::sync::Arc;

/// Operators that do no work: the backends skip them.
pub const EMPTY_OPS: [&str; 5] = ["NONE", "VIEW", "RESHAPE", "PERMUTE", "TRANSPOSE"];

/// A description of what is wanted, ready to be asked about tensors.
#[derive(Debug, Default)]
pub struct CompiledCapture {
    /// Number among those of its session: graphs are described anew for another one.
    pub number: u32,
    /// The description.
    pub capture: Capture,
    globs: GlobSet,
    /// Of the sets of names: `experts`.
    sets: Vec<Set>,
    /// Of the sets that are found by what feeds what: `layers` or `logits`.
    of_structure: bool,
    /// The set `attention`.
    pub attention: bool,
    /// The set `values`.
    pub values: bool,
    /// What was found in the graphs so far.
    pub choices: Choices,
}

impl CompiledCapture {
    /// Compiles the globs; the second part names what is none.
    pub fn new(capture: Capture, number: u32) -> (CompiledCapture, Vec<String>) {
        let mut set = GlobSetBuilder::new();
        let mut bad = vec![];
        for pattern in capture.globs() {
            match GlobBuilder::new(pattern).literal_separator(false).build() {
                Ok(glob) => drop(set.add(glob)),
                Err(e) => bad.push(e.to_string()),
            }
        }
        let sets = capture.sets().filter(|&set| set == Set::Experts).collect();
        let of_structure = capture.sets().any(Set::is_of_structure);
        let (attention, values) = (capture.has(Set::Attention), capture.has(Set::Values));
        let globs = set.build().unwrap_or_default();
        let choices = Choices::default();
        (CompiledCapture { number, globs, sets, of_structure, attention, values, capture, choices }, bad)
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.capture.is_empty()
    }

    /// Whether anything of caches is wanted.
    pub fn of_caches(&self) -> bool {
        self.attention || self.values
    }

    /// Whether the node's values are to be recorded: its name is wanted, and it is not only another view of a node that
    /// is recorded already.
    pub fn takes(&self, layout: &Layout, node: TensorRef<'_>) -> bool {
        if (self.globs.is_empty() && self.sets.is_empty()) || !self.matches(node.name()) {
            return false;
        }
        let root = node.view_src();
        if root.is_null() {
            return true;
        }
        // SAFETY: a view keeps its source alive.
        let root = unsafe { TensorRef::new(root, layout) };
        // Operator 0 is NONE in every release: a leaf, which is never recorded itself.
        root.op() == 0 || !self.matches(root.name())
    }

    /// What the sets take of a graph that are found by what feeds what.
    pub fn chosen(&self, graph: GraphRef<'_>) -> Arc<Chosen> {
        if self.of_structure || self.values { self.choices.of(graph) } else { Arc::default() }
    }

    /// Whether the tensor of this name is wanted.
    pub fn matches(&self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| {
            (self.sets.iter().any(|set| set.takes(name)) || self.globs.is_match(name))
                && self.takes_layer(description::layer(name))
        })
    }

    /// Whether something of this layer, or of none, is wanted.
    pub fn takes_layer(&self, layer: Option<u32>) -> bool {
        layer.is_none_or(|layer| self.capture.layers.has(layer.into()))
    }
}

/// `GGML_OP_MUL_MAT_ID`'s name: the operator whose source 2 says which experts were chosen.
pub const MUL_MAT_ID: &str = "MUL_MAT_ID";

/// Pins the wanted nodes of a graph and the expert ids of its `MUL_MAT_ID`s.
///
/// # Safety
/// The graph is a live graph of the host that `layout` was proven on, and its allocation is still to come.
pub unsafe fn pin(host: &Host, layout: &Layout, graph: *mut CGraph, wanted: &CompiledCapture) {
    // SAFETY: the graph is live, and the index below its number of nodes.
    unsafe {
        let graph = GraphRef::new(host, layout, graph);
        let chosen = if wanted.of_structure { wanted.chosen(graph) } else { Arc::default() };
        for i in 0..graph.n_nodes {
            let node = graph.node(i);
            if chosen.takes(&wanted.capture, i as u32) || wanted.takes(layout, node) {
                pin_one(host, layout, node);
            }
            if is_expert_product(host, node) && !node.src(2).is_null() {
                pin_one(host, layout, TensorRef::new(node.src(2), layout));
            }
        }
        if wanted.of_caches() {
            attention::pin(graph, wanted);
        }
    }
}

/// Whether the node multiplies with chosen experts.
///
/// # Safety
/// The node is live.
pub unsafe fn is_expert_product(host: &Host, node: TensorRef<'_>) -> bool {
    // A product with expert ids has exactly three sources; asking for the name costs more.
    let three = !node.src(1).is_null() && !node.src(2).is_null();
    // SAFETY: the node is live; the name is a constant of the host.
    three && unsafe { std::ffi::CStr::from_ptr((host.ggml_op_desc)(node.ptr())) }.to_bytes() == MUL_MAT_ID.as_bytes()
}

/// Flags a tensor, and the tensor that it is a view of, as outputs of the graph.
///
/// # Safety
/// The tensor is live, and `layout` was proven on `host`.
unsafe fn pin_one(host: &Host, layout: &Layout, tensor: TensorRef<'_>) {
    tensor.set_output(host);
    let root = tensor.view_src();
    if !root.is_null() {
        // SAFETY: a view keeps its source alive.
        let root = unsafe { TensorRef::new(root, layout) };
        if root.buffer().is_null() && root.data().is_null() {
            root.set_output(host);
        }
    }
}

/// Bytes of a tensor where they lie, if the CPU can read its buffer.
///
/// # Safety
/// The tensor is live and allocated, has `len` bytes from `offset` on, and they do not change while the result is used.
pub unsafe fn in_place<'a>(
    host: &Host,
    layout: &Layout,
    tensor: *mut Tensor,
    offset: usize,
    len: usize,
) -> Option<&'a [u8]> {
    // SAFETY: promised by the caller.
    unsafe {
        let tensor = TensorRef::new(tensor, layout);
        let there = !tensor.data().is_null() && !tensor.buffer().is_null();
        (there && (host.ggml_backend_buffer_is_host)(tensor.buffer()))
            .then(|| std::slice::from_raw_parts(tensor.data().cast::<u8>().add(offset), len))
    }
}

/// Copies `out.len()` bytes of a tensor from `offset` on, from wherever its buffer is.
///
/// # Safety
/// The tensor is live and allocated, its computation has ended, and it has that many bytes.
pub unsafe fn read(host: &Host, layout: &Layout, tensor: *mut Tensor, offset: usize, out: &mut [u8]) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        if let Some(bytes) = in_place(host, layout, tensor, offset, out.len()) {
            out.copy_from_slice(bytes);
            return true;
        }
        let tensor = TensorRef::new(tensor, layout);
        let there = !tensor.data().is_null() && !tensor.buffer().is_null();
        if there {
            (host.ggml_backend_tensor_get)(tensor.ptr(), out.as_mut_ptr().cast::<c_void>(), offset, out.len());
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::capture::Ranges;

    fn wanted(names: &[&str]) -> (CompiledCapture, Vec<String>) {
        CompiledCapture::new(Capture::named(names.iter().copied()), 0)
    }

    #[test]
    fn globs_choose_names() {
        let (wanted, bad) = wanted(&["l_out-*", "Qcur-[0-3]"]);
        assert!(bad.is_empty());
        let chosen = ["l_out-0", "l_out-29", "Qcur-2"].iter().all(|n| wanted.matches(n.as_bytes()));
        let others = ["l_out", "Qcur-4", "Kcur-0", ""].iter().any(|n| wanted.matches(n.as_bytes()));
        assert!(chosen && !others);
    }

    #[test]
    fn the_name_of_a_set_is_no_glob() {
        let (with, bad) = wanted(&["attention", "l_out-*"]);
        assert!(bad.is_empty() && with.attention && !with.values && with.matches(b"l_out-3"));
        assert!(!with.matches(b"attention") && !wanted(&["l_out-*"]).0.attention);
        let (layers, _) = wanted(&["layers", "values"]);
        assert!(layers.values && layers.of_structure && !layers.matches(b"ffn_inp-2") && !layers.matches(b"layers"));
        assert!(!with.of_structure && wanted(&["logits"]).0.of_structure);
    }

    #[test]
    fn layers_limit_what_has_one() {
        let layers = Ranges::parse("1,3-4").unwrap();
        let (wanted, _) =
            CompiledCapture::new(Capture { layers, ..Capture::named(["experts", "Qcur-*", "result_norm"]) }, 0);
        assert!(wanted.matches(b"ffn_moe_topk-1") && wanted.matches(b"Qcur-3") && wanted.matches(b"result_norm"));
        assert!(!wanted.matches(b"ffn_moe_topk-0") && !wanted.matches(b"Qcur-2"));
    }

    #[test]
    fn what_is_not_a_glob_is_named_and_the_rest_works() {
        let (wanted, bad) = wanted(&["a[", "b*"]);
        assert_eq!(bad.len(), 1);
        assert!(wanted.matches(b"bee") && !wanted.matches(b"a["));
    }
}
