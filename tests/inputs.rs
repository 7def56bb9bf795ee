//! Which tensors say what a graph computes, in graphs of the vendored ggml that are built here: as models build them, and as
//! other programs do whose tensors look alike. Inputs have no names.

#[path = "support/graphs.rs"]
mod graphs;

use std::ffi::{CStr, c_int, c_void};

use ggscope::graph::GraphRef;
use ggscope::inputs::{Inputs, inputs};
use graphs::{F32, Ggml, I32, Node, call, context, ggml};

const WEIGHTS: c_int = 1;
const N_TOKENS: i64 = 6;
const N_EMBD: i64 = 64;

/// A graph that is being built. It lives as long as the process.
struct Builder {
    model: *mut c_void,
    graph: *mut c_void,
}

impl Builder {
    fn new() -> Builder {
        Builder { model: context(None), graph: context(None) }
    }

    fn tensor(context: *mut c_void, dtype: c_int, ne: [i64; 2]) -> Node {
        // SAFETY: the context is alive and has room.
        unsafe { (ggml().host.ggml_new_tensor_3d)(context, dtype, ne[0], ne[1], 1) }
    }

    fn weight(&self, name: &CStr, ne: [i64; 2]) -> Node {
        let tensor = Builder::tensor(self.model, F32, ne);
        // SAFETY: the tensor was just made.
        unsafe { (ggml().host.ggml_set_name)(tensor, name.as_ptr()) }
    }

    fn list(&self, n: i64) -> Node {
        let tensor = Builder::tensor(self.graph, I32, [n, 1]);
        // SAFETY: the tensor was just made.
        unsafe { (ggml().host.ggml_set_input)(tensor) };
        tensor
    }

    fn numbers(&self, ne: [i64; 2]) -> Node {
        let tensor = Builder::tensor(self.graph, F32, ne);
        // SAFETY: the tensor was just made.
        unsafe { (ggml().host.ggml_set_input)(tensor) };
        tensor
    }

    fn rows(&self, of: Node, ids: Node) -> Node {
        call!(ggml_get_rows(self.graph => *mut c_void, of => Node, ids => Node) -> Node)
    }

    fn add(&self, a: Node, b: Node) -> Node {
        call!(ggml_add(self.graph => *mut c_void, a => Node, b => Node) -> Node)
    }

    fn product(&self, weight: Node, x: Node) -> Node {
        call!(ggml_mul_mat(self.graph => *mut c_void, weight => Node, x => Node) -> Node)
    }

    /// Rotates what was computed for tokens, as one head.
    fn rotated(&self, x: Node, positions: Node, n: i64) -> Node {
        let heads =
            call!(ggml_reshape_3d(self.graph => *mut c_void, x => Node, N_EMBD => i64, 1 => i64, n => i64) -> Node);
        call!(ggml_rope(self.graph => *mut c_void, heads => Node, positions => Node, 64 => c_int, 0 => c_int) -> Node)
    }

    fn square(&self) -> Node {
        self.weight(c"blk.0.attn_q.weight", [N_EMBD, N_EMBD])
    }

    /// The inputs of the graph that ends with these nodes.
    fn inputs(&self, ends: &[Node]) -> Inputs {
        let Ggml { host, layout, .. } = ggml();
        // SAFETY: no preconditions.
        let buft = unsafe { (host.ggml_backend_cpu_buffer_type)() };
        let buffer = call!(ggml_backend_alloc_ctx_tensors_from_buft(
            self.model => *mut c_void, buft => *mut c_void) -> *mut c_void);
        if !buffer.is_null() {
            call!(ggml_backend_buffer_set_usage(buffer => *mut c_void, WEIGHTS => c_int));
        }
        // SAFETY: ggml's documented use, on tensors of live contexts.
        unsafe {
            let graph = (host.ggml_new_graph)(self.graph);
            ends.iter().for_each(|&end| (host.ggml_build_forward_expand)(graph, end));
            inputs(GraphRef::new(host, layout, graph))
        }
    }
}

fn found(n_tokens: i64, tokens: Option<Node>, positions: Option<Node>, outputs: Option<Node>) -> Inputs {
    let address = |node: Option<Node>| node.map_or(0, |node| node as usize);
    Inputs {
        n_tokens,
        tokens: address(tokens),
        positions: address(positions),
        outputs: address(outputs),
        embeddings: 0,
        cells: None,
    }
}

#[test]
fn a_decoder_has_tokens_positions_and_outputs() {
    let b = Builder::new();
    let (ids, positions, outputs) = (b.list(N_TOKENS), b.list(N_TOKENS), b.list(2));
    let stream = b.rows(b.weight(c"token_embd.weight", [N_EMBD, 100]), ids);
    let q = b.rotated(b.product(b.square(), stream), positions, N_TOKENS);
    let block = b.product(b.square(), stream);
    let end = b.add(b.rows(block, outputs), b.rows(stream, outputs));
    let logits = b.product(b.weight(c"output.weight", [N_EMBD, 100]), end);
    assert_eq!(b.inputs(&[q, logits]), found(N_TOKENS, Some(ids), Some(positions), Some(outputs)));
}

#[test]
fn several_positions_for_each_token_are_no_more_tokens() {
    let b = Builder::new();
    let (ids, positions) = (b.list(N_TOKENS), b.list(4 * N_TOKENS));
    let stream = b.rows(b.weight(c"token_embd.weight", [N_EMBD, 100]), ids);
    let q = b.product(b.square(), stream);
    let heads =
        call!(ggml_reshape_3d(b.graph => *mut c_void, q => Node, N_EMBD => i64, 1 => i64, N_TOKENS => i64) -> Node);
    let mut sections: [c_int; 4] = [8, 12, 12, 0];
    let q = call!(ggml_rope_multi(b.graph => *mut c_void, heads => Node, positions => Node, std::ptr::null_mut() => Node,
        64 => c_int, sections.as_mut_ptr() => *mut c_int, 8 => c_int, 0 => c_int, 1e4 => f32, 1.0 => f32, 0.0 => f32,
        1.0 => f32, 32.0 => f32, 1.0 => f32) -> Node);
    assert_eq!(b.inputs(&[q]), found(N_TOKENS, Some(ids), Some(positions), None));
}

#[test]
fn positions_that_choose_rows_are_no_tokens() {
    // As BERT has it: the position embedding comes first, and here has more rows.
    let b = Builder::new();
    let (ids, positions) = (b.list(N_TOKENS), b.list(N_TOKENS));
    let of_positions = b.rows(b.weight(c"position_embd.weight", [N_EMBD, 512]), positions);
    let stream = b.add(of_positions, b.rows(b.weight(c"token_embd.weight", [N_EMBD, 100]), ids));
    let end = b.product(b.square(), stream);
    assert_eq!(b.inputs(&[end]), found(N_TOKENS, Some(ids), Some(positions), None));
    // Without names the embedding is what is the output matrix, too.
    let b = Builder::new();
    let (ids, positions) = (b.list(N_TOKENS), b.list(N_TOKENS));
    let embedding = b.weight(c"a", [N_EMBD, 100]);
    let stream = b.add(b.rows(b.weight(c"b", [N_EMBD, 512]), positions), b.rows(embedding, ids));
    let logits = b.product(embedding, b.product(b.square(), stream));
    assert_eq!(b.inputs(&[logits]), found(N_TOKENS, Some(ids), Some(positions), None));
}

#[test]
fn embeddings_that_the_program_passes_take_the_place_of_tokens() {
    let b = Builder::new();
    let (embeddings, positions) = (b.numbers([N_EMBD, N_TOKENS]), b.list(N_TOKENS));
    let stream = b.add(embeddings, b.rows(b.weight(c"position_embd.weight", [N_EMBD, 512]), positions));
    let end = b.product(b.square(), stream);
    let expected = Inputs { embeddings: embeddings as usize, ..found(N_TOKENS, None, Some(positions), None) };
    assert_eq!(b.inputs(&[end]), expected);
}

#[test]
fn patches_of_an_image_are_no_tokens() {
    let b = Builder::new();
    let patches = b.product(b.weight(c"v.patch_embd.weight", [48, N_EMBD]), b.numbers([48, N_TOKENS]));
    let positions = b.list(N_TOKENS);
    let stream = b.add(patches, b.rows(b.weight(c"v.position_embd.weight", [N_EMBD, 512]), positions));
    assert_eq!(b.inputs(&[b.product(b.square(), stream)]), Inputs::default());
}

#[test]
fn moving_the_rows_of_a_cache_computes_no_tokens() {
    let b = Builder::new();
    let cache = Builder::tensor(b.graph, F32, [N_EMBD, N_TOKENS]);
    assert_eq!(b.inputs(&[b.rotated(cache, b.list(N_TOKENS), N_TOKENS)]), Inputs::default());
}

#[test]
fn states_that_are_chosen_for_sequences_are_no_outputs_and_pooling_is_none_either() {
    let b = Builder::new();
    let (ids, outputs, states, first) = (b.list(N_TOKENS), b.list(N_TOKENS), b.list(2), b.list(1));
    let stream = b.rows(b.weight(c"token_embd.weight", [N_EMBD, 100]), ids);
    let state = b.rows(Builder::tensor(b.graph, F32, [N_EMBD, N_TOKENS]), states);
    let block = b.product(b.square(), stream);
    let end = b.add(b.rows(block, outputs), b.rows(stream, outputs));
    let pooled = b.rows(end, first);
    assert_eq!(b.inputs(&[state, pooled]), found(N_TOKENS, Some(ids), None, Some(outputs)));
}
