//! Graphs of a small decoder, built as llama.cpp builds them: the model's tensors stay, the graph is built in memory that is
//! used again, so that its tensors have the same addresses each time.

use std::ffi::{CString, c_int, c_void};

use ggscope::graph::GraphRef;
use ggscope::host::CGraph;

use crate::graphs::{F32, I32, Node, call, context, ggml};

const N_EMBD: i64 = 64;
const N_VOCAB: i64 = 100;

/// A decoder. What is not as usual is said by its fields.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub layers: usize,
    pub n_tokens: i64,
    /// Whether states are called as llama.cpp calls them.
    pub names: bool,
    /// Whether only some tokens have an output.
    pub outputs: bool,
    /// Whether the stream is the second summand.
    pub swapped: bool,
    /// The function of the feed-forward network: a number of `ggml_unary_op`.
    pub function: c_int,
    /// Where the views of queries and keys begin, in bytes.
    pub offset: usize,
    /// Which layer's weights the first layer has.
    pub first: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            layers: 2,
            n_tokens: 5,
            names: true,
            outputs: true,
            swapped: false,
            function: 10,
            offset: 0,
            first: 0,
        }
    }
}

/// The tensors of a model.
pub struct Model {
    embedding: Node,
    /// Norm, queries, keys, values, output; norm, up, down.
    layers: Vec<[Node; 8]>,
    norm: Node,
    head: Node,
}

/// A graph and what was built in it.
pub struct Built {
    pub graph: *mut CGraph,
    pub ids: Node,
    pub logits: Node,
}

fn tensor(context: *mut c_void, dtype: c_int, ne: [i64; 2], name: &str) -> Node {
    // SAFETY: the context is alive and has room.
    let tensor = unsafe { (ggml().host.ggml_new_tensor_3d)(context, dtype, ne[0], ne[1], 1) };
    rename(tensor, name);
    tensor
}

/// Gives a tensor another name.
pub fn rename(tensor: Node, name: &str) {
    let name = CString::new(name).unwrap();
    // SAFETY: the tensor is alive.
    unsafe { (ggml().host.ggml_set_name)(tensor, name.as_ptr()) };
}

impl Model {
    /// Lives as long as the process.
    pub fn new(n_layers: usize) -> Model {
        let model = context(None);
        let names = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_up", "ffn_down"];
        let of_layer = |layer: usize| {
            names.map(|name| {
                let rows = if name.ends_with("norm") { 1 } else { N_EMBD };
                tensor(model, F32, [N_EMBD, rows], &format!("blk.{layer}.{name}.weight"))
            })
        };
        Model {
            embedding: tensor(model, F32, [N_EMBD, N_VOCAB], "token_embd.weight"),
            layers: (0..n_layers).map(of_layer).collect(),
            norm: tensor(model, F32, [N_EMBD, 1], "output_norm.weight"),
            head: tensor(model, F32, [N_EMBD, N_VOCAB], "output.weight"),
        }
    }

    /// A tensor of a layer.
    pub fn weight(&self, layer: usize, i: usize) -> Node {
        self.layers[layer][i]
    }
}

impl Decoder {
    /// Builds its graph in `memory`, in place of the one that was there.
    pub fn build(&self, model: &Model, memory: &mut [u64]) -> Built {
        let g = context(Some(memory));
        let input = |n: i64, name: &str| {
            let input = tensor(g, I32, [n, 1], name);
            // SAFETY: the tensor was just made.
            unsafe { (ggml().host.ggml_set_input)(input) };
            input
        };
        let product = |a: Node, b: Node| call!(ggml_mul_mat(g => *mut c_void, a => Node, b => Node) -> Node);
        let rows = |of: Node, ids: Node| call!(ggml_get_rows(g => *mut c_void, of => Node, ids => Node) -> Node);
        let normed = |x: Node, weight: Node| {
            let x = call!(ggml_rms_norm(g => *mut c_void, x => Node, 1e-5 => f32) -> Node);
            call!(ggml_mul(g => *mut c_void, x => Node, weight => Node) -> Node)
        };
        let add = |stream: Node, part: Node| {
            let (a, b) = if self.swapped { (part, stream) } else { (stream, part) };
            call!(ggml_add(g => *mut c_void, a => Node, b => Node) -> Node)
        };
        let ids = input(self.n_tokens, "inp_tokens");
        let outputs = self.outputs.then(|| input(1, "inp_out_ids"));
        let mut stream = rows(model.embedding, ids);
        for layer in 0..self.layers {
            let [norm, q, k, v, o, ffn_norm, up, down] = model.layers[if layer == 0 { self.first } else { layer }];
            let x = normed(stream, norm);
            let row = size_of::<f32>() * N_EMBD as usize;
            let half = |of: Node| {
                call!(ggml_view_2d(g => *mut c_void, of => Node, N_EMBD / 2 => i64, self.n_tokens => i64, row => usize,
                    self.offset => usize) -> Node)
            };
            let weights = product(half(product(k, x)), half(product(q, x)));
            let weights = call!(ggml_soft_max(g => *mut c_void, weights => Node) -> Node);
            let v = call!(ggml_transpose(g => *mut c_void, product(v, x) => Node) -> Node);
            let v = call!(ggml_cont(g => *mut c_void, v => Node) -> Node);
            let mut part = product(o, product(v, weights));
            if let Some(outputs) = outputs.filter(|_| layer + 1 == self.layers) {
                (part, stream) = (rows(part, outputs), rows(stream, outputs));
            }
            stream = add(stream, part);
            let hidden = product(up, normed(stream, ffn_norm));
            let hidden = call!(ggml_unary(g => *mut c_void, hidden => Node, self.function => c_int) -> Node);
            stream = add(stream, product(down, hidden));
            if self.names {
                rename(stream, &format!("l_out-{layer}"));
            }
        }
        let logits = product(model.head, normed(stream, model.norm));
        let graph = call!(ggml_new_graph_custom(g => *mut c_void, 4096 => usize, false => bool) -> *mut CGraph);
        // SAFETY: ggml's documented use, on tensors of a live context.
        unsafe { (ggml().host.ggml_build_forward_expand)(graph, logits) };
        Built { graph, ids, logits }
    }
}

impl Built {
    /// To be read.
    pub fn read(&self) -> GraphRef<'static> {
        // SAFETY: the graph is alive until another one is built in its memory.
        unsafe { GraphRef::new(ggml().host, &ggml().layout, self.graph) }
    }
}

/// Memory for a graph.
pub fn memory() -> Vec<u64> {
    vec![0; 1 << 17]
}
