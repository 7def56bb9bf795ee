//! Synthetic traces for tests and benches: the decode graph that llama.cpp builds for a Llama model (SmolLM2-135M if
//! nothing else is said), node for node, and evaluations of it with plausible times. No use outside of tests.

use super::{Model, ModelId, Recording, StoredGraph, TraceWriter};
use ggscope_format::capture::Capture;
use ggscope_format::record::{
    Buffer, BufferUsage, Evaluation, Graph, MAX_DIMS, MappedFile, Run, SequencesFrom, Tensor, TensorFlags, TensorType,
};
use ggscope_format::session::{Hello, Level};
use ggscope_format::{BufferId, Bytes, EvalId, GraphId, Nanos, TensorId};
use std::path::Path;

const F32: u16 = 0;
const F16: u16 = 1;
const Q4_1: u16 = 2;
const I32: u16 = 3;
const I64: u16 = 4;

const WEIGHTS: u16 = 0;
const KV_CACHE: u16 = 1;
const COMPUTE: u16 = 2;

/// Sizes of a Llama model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Layers.
    pub n_layer: u32,
    /// Tokens in the batch.
    pub n_tokens: i64,
    /// Tokens with an output row.
    pub n_outputs: i64,
    /// Rows of the cache that attention looks at.
    pub n_kv: i64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { n_layer: 30, n_tokens: 1, n_outputs: 1, n_kv: 256 }
    }
}

/// A node before the order of execution is known.
struct Draft {
    tensor: Tensor,
    is_leaf: bool,
}

/// Builds a graph: tensors refer to drafts; [`Builder::finish`] puts nodes before leaves.
pub struct Builder {
    drafts: Vec<Draft>,
    ops: Vec<String>,
    file_at: u64,
    cache_at: u64,
    compute_at: u64,
}

fn types() -> Vec<TensorType> {
    let of = |name: &str, block_size, type_size| TensorType { name: name.into(), block_size, type_size };
    vec![of("f32", 1, 4), of("f16", 1, 2), of("q4_1", 32, 20), of("i32", 1, 4), of("i64", 1, 8)]
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            drafts: vec![],
            ops: vec!["NONE".into()],
            file_at: 1_753_088,
            cache_at: 0x7f00_0000_0000,
            compute_at: 0x7e00_0000_0000,
        }
    }
}

impl Builder {
    fn op(&mut self, name: &str) -> u16 {
        let at = self.ops.iter().position(|op| op == name).unwrap_or_else(|| {
            self.ops.push(name.into());
            self.ops.len() - 1
        });
        at as u16
    }

    fn tensor(&mut self, name: &str, op: &str, dtype: u16, ne: &[i64]) -> Tensor {
        let ne: [i64; MAX_DIMS] = std::array::from_fn(|d| ne.get(d).copied().unwrap_or(1));
        let of = &types()[usize::from(dtype)];
        let (block, size) = (i64::from(of.block_size), u64::from(of.type_size));
        let mut nb = [size; MAX_DIMS];
        nb[1] = size * (ne[0] / block) as u64;
        nb[2] = nb[1] * ne[1] as u64;
        nb[3] = nb[2] * ne[2] as u64;
        Tensor {
            name: name.into(),
            op: self.op(op),
            dtype,
            flags: TensorFlags(TensorFlags::CONTIGUOUS),
            ne,
            nb,
            bytes: Bytes(nb[3] * ne[3] as u64),
            src: vec![],
            view: None,
            addr: 0,
            buffer: Some(COMPUTE),
            mapped: None,
            op_params: vec![],
        }
    }

    fn push(&mut self, tensor: Tensor, is_leaf: bool) -> usize {
        self.drafts.push(Draft { tensor, is_leaf });
        self.drafts.len() - 1
    }

    /// A weight that is mapped from the file.
    pub fn weight(&mut self, name: &str, quantised: bool, ne: &[i64]) -> usize {
        let mut t = self.tensor(name, "NONE", if quantised { Q4_1 } else { F32 }, ne);
        t.mapped = Some((0, self.file_at));
        t.addr = 0x7d00_0000_0000 + self.file_at;
        t.buffer = Some(WEIGHTS);
        self.file_at += t.bytes.0.next_multiple_of(32);
        self.push(t, true)
    }

    /// A half of the cache.
    pub fn cache(&mut self, name: &str, ne: &[i64]) -> usize {
        let mut t = self.tensor(name, "NONE", F16, ne);
        t.addr = self.cache_at;
        t.buffer = Some(KV_CACHE);
        self.cache_at += t.bytes.0;
        self.push(t, true)
    }

    /// An input of the graph, `i32` if `dtype` is `None`.
    pub fn input(&mut self, name: &str, dtype: Option<u16>, ne: &[i64]) -> usize {
        let mut t = self.tensor(name, "NONE", dtype.unwrap_or(I32), ne);
        t.flags.0 |= TensorFlags::INPUT;
        self.place(&mut t);
        self.push(t, true)
    }

    fn place(&mut self, t: &mut Tensor) {
        t.addr = self.compute_at;
        self.compute_at = 0x7e00_0000_0000 + (self.compute_at + t.bytes.0.next_multiple_of(64)) % (1 << 20);
    }

    /// A computed node.
    pub fn node(&mut self, name: &str, op: &str, ne: &[i64], src: &[usize]) -> usize {
        let mut t = self.tensor(name, op, F32, ne);
        t.flags.0 |= TensorFlags::COMPUTED;
        t.src = src.iter().map(|&s| Some(TensorId(s as u32))).collect();
        self.place(&mut t);
        self.push(t, false)
    }

    /// A node that looks at another.
    pub fn look(&mut self, name: &str, op: &str, ne: &[i64], of: usize) -> usize {
        let (root, offset) = self.drafts[of].tensor.view.unwrap_or((TensorId(of as u32), 0));
        let (dtype, addr) = (self.drafts[of].tensor.dtype, self.drafts[of].tensor.addr);
        let buffer = self.drafts[of].tensor.buffer;
        let mut t = self.tensor(name, op, dtype, ne);
        (t.view, t.addr, t.buffer) = (Some((root, offset)), addr, buffer);
        t.src = vec![Some(TensorId(of as u32))];
        self.push(t, false)
    }

    /// Takes the mark off a node, that it is computed.
    pub fn skip(&mut self, node: usize) {
        self.drafts[node].tensor.flags.0 &= !TensorFlags::COMPUTED;
    }

    /// The graph.
    pub fn finish(self, graph: u32, path: &str) -> StoredGraph {
        let n_nodes = self.drafts.iter().filter(|d| !d.is_leaf).count() as u32;
        let (mut node, mut leaf) = (0, n_nodes);
        let place_of: Vec<TensorId> = (self.drafts.iter())
            .map(|d| {
                let next = if d.is_leaf { &mut leaf } else { &mut node };
                *next += 1;
                TensorId(*next - 1)
            })
            .collect();
        let mut tensors: Vec<(TensorId, Tensor)> = (self.drafts.into_iter().zip(&place_of))
            .map(|(d, &id)| {
                let mut t = d.tensor;
                t.src.iter_mut().flatten().for_each(|s| *s = place_of[s.index()]);
                if let Some((root, _)) = &mut t.view {
                    *root = place_of[root.index()];
                }
                (id, t)
            })
            .collect();
        tensors.sort_by_key(|t| t.0);
        let buffer = |id, name: &str, base, size, usage| Buffer {
            id: BufferId(id),
            name: name.into(),
            base,
            size: Bytes(size),
            usage,
            host: true,
        };
        let graph = Graph {
            graph: GraphId(graph),
            context: 0,
            n_nodes,
            tensors: tensors.into_iter().map(|t| t.1).collect(),
            ops: self.ops,
            types: types(),
            buffers: vec![
                buffer(0, "CPU_Mapped", 0x7d00_0000_0000, 98 << 20, BufferUsage::Weights),
                buffer(1, "CPU", 0x7f00_0000_0000, 180 << 20, BufferUsage::Any),
                buffer(2, "CPU", 0x7e00_0000_0000, 100 << 20, BufferUsage::Compute),
            ],
            files: vec![MappedFile { path: path.into(), ..MappedFile::default() }],
            devices: vec!["CPU".into()],
        };
        StoredGraph { graph, model: Some(ModelId(0)), origins: vec![] }
    }
}

/// The graph that llama.cpp b11434 builds for SmolLM2-135M, node for node.
pub fn llama(graph: u32, shape: Shape) -> StoredGraph {
    let Shape { n_layer, n_tokens: n, n_outputs, n_kv } = shape;
    let mut b = Builder::default();
    let token_embd = b.weight("token_embd.weight", true, &[576, 49152]);
    let tokens = b.input("inp_tokens", None, &[n]);
    let embd = b.node("embd", "GET_ROWS", &[576, n], &[token_embd, tokens]);
    let mixed_tokens = b.input("inp_mixed_tokens", None, &[1]);
    let node_1 = b.node("node_1", "GET_ROWS", &[576, 1], &[token_embd, mixed_tokens]);
    let mixed_embd = b.input("inp_mixed_embd", Some(F32), &[576, n]);
    let node_2 = b.node("node_2", "DUP", &[576, n], &[mixed_embd]);
    let slots = b.input("inp_mixed_slots", Some(I64), &[1]);
    let set = b.node(" (view)", "SET_ROWS", &[576, n], &[node_1, slots, node_2]);
    for skipped in [node_1, node_2, set] {
        b.skip(skipped);
    }
    let positions = b.input("inp_pos", None, &[n]);
    let k_idxs = b.input("attn_inp_k_idxs", Some(I64), &[n]);
    let v_idxs = b.input("attn_inp_v_idxs", Some(I64), &[n]);
    let mask = b.input("attn_inp_kq_mask", Some(F16), &[n_kv, n]);
    let out_ids = b.input("out_ids", None, &[n_outputs]);
    let mut residual = embd;
    for l in 0..n_layer {
        let of = |name: &str| format!("{name}-{l}");
        let w = |b: &mut Builder, name: &str, ne: &[i64]| b.weight(&format!("blk.{l}.{name}.weight"), ne.len() > 1, ne);
        let norm_weight = w(&mut b, "attn_norm", &[576]);
        let norm = b.node(&of("norm"), "RMS_NORM", &[576, n], &[residual]);
        let attn_norm = b.node(&of("attn_norm"), "MUL", &[576, n], &[norm, norm_weight]);
        let (q_w, v_w, k_w) =
            (w(&mut b, "attn_q", &[576, 576]), w(&mut b, "attn_v", &[576, 192]), w(&mut b, "attn_k", &[576, 192]));
        let q = b.node(&of("Qcur"), "MUL_MAT", &[576, n], &[q_w, attn_norm]);
        let q = b.look(&of("Qcur"), "RESHAPE", &[64, 9, n], q);
        let q = b.node(&of("Qcur"), "ROPE", &[64, 9, n], &[q, positions]);
        let v = b.node(&of("Vcur"), "MUL_MAT", &[192, n], &[v_w, attn_norm]);
        let v = b.look(&of("Vcur"), "RESHAPE", &[64, 3, n], v);
        let k = b.node(&of("Kcur"), "MUL_MAT", &[192, n], &[k_w, attn_norm]);
        let k = b.look(&of("Kcur"), "RESHAPE", &[64, 3, n], k);
        let k = b.node(&of("Kcur"), "ROPE", &[64, 3, n], &[k, positions]);
        let (k_cache, v_cache) =
            (b.cache(&format!("cache_k_l{l}"), &[192, 8192]), b.cache(&format!("cache_v_l{l}"), &[192, 8192]));
        for (name, cur, idxs, cache) in [("k", k, k_idxs, k_cache), ("v", v, v_idxs, v_cache)] {
            let row = b.look(&format!("{}cur-{l} (view)", name.to_uppercase()), "VIEW", &[192, n], cur);
            let set = b.look(&format!("cache_{name}_l{l} (view)"), "SET_ROWS", &[192, 8192], cache);
            b.drafts[set].tensor.src = [row, idxs, cache].map(|s| Some(TensorId(s as u32))).to_vec();
            b.drafts[set].tensor.flags.0 |= TensorFlags::COMPUTED;
        }
        let q = b.look(&of("Qcur").replace(&of(""), &format!("-{l} (view)")), "VIEW", &[64, 9, n], q);
        let q = b.look(&format!("Qcur-{l} (view) (permuted)"), "PERMUTE", &[64, n, 9], q);
        let mut half = |name: &str, cache| {
            let view = b.look(&format!("cache_{name}_l{l} (view)"), "VIEW", &[64, 3, n_kv], cache);
            b.look(&format!("cache_{name}_l{l} (view) (permuted)"), "PERMUTE", &[64, n_kv, 3], view)
        };
        let (k, v) = (half("k", k_cache), half("v", v_cache));
        let node_number = b.drafts.iter().filter(|d| !d.is_leaf).count();
        let attn = b.node(&format!("node_{node_number}"), "FLASH_ATTN_EXT", &[64, 9, n], &[q, k, v, mask]);
        let kqv_out = b.look(&of("kqv_out"), "RESHAPE", &[576, n], attn);
        let o_w = w(&mut b, "attn_output", &[576, 576]);
        let mut attn_out = b.node(&of("attn_out"), "MUL_MAT", &[576, n], &[o_w, kqv_out]);
        let mut rows = n;
        if l + 1 == n_layer {
            rows = n_outputs;
            let [a, r] = [attn_out, residual].map(|of| {
                let node_number = b.drafts.iter().filter(|d| !d.is_leaf).count();
                b.node(&format!("node_{node_number}"), "GET_ROWS", &[576, rows], &[of, out_ids])
            });
            (attn_out, residual) = (a, r);
        }
        let ffn_inp = b.node(&of("ffn_inp"), "ADD", &[576, rows], &[attn_out, residual]);
        let norm_weight = w(&mut b, "ffn_norm", &[576]);
        let norm = b.node(&of("norm"), "RMS_NORM", &[576, rows], &[ffn_inp]);
        let ffn_norm = b.node(&of("ffn_norm"), "MUL", &[576, rows], &[norm, norm_weight]);
        let (gate_w, up_w) = (w(&mut b, "ffn_gate", &[576, 1536]), w(&mut b, "ffn_up", &[576, 1536]));
        let gate = b.node(&of("ffn_gate"), "MUL_MAT", &[1536, rows], &[gate_w, ffn_norm]);
        let up = b.node(&of("ffn_up"), "MUL_MAT", &[1536, rows], &[up_w, ffn_norm]);
        let swiglu = b.node(&of("ffn_swiglu"), "SWIGLU", &[1536, rows], &[gate, up]);
        let down_w = w(&mut b, "ffn_down", &[1536, 576]);
        let out = b.node(&of("ffn_out"), "MUL_MAT", &[576, rows], &[down_w, swiglu]);
        residual = b.node(&of("l_out"), "ADD", &[576, rows], &[out, ffn_inp]);
    }
    let output_norm = b.weight("output_norm.weight", false, &[576]);
    let norm = b.node("norm", "RMS_NORM", &[576, n_outputs], &[residual]);
    let result_norm = b.node("result_norm", "MUL", &[576, n_outputs], &[norm, output_norm]);
    b.node("result_output", "MUL_MAT", &[49152, n_outputs], &[token_embd, result_norm]);
    b.finish(graph, "/models/Smol LM2 ü.gguf")
}

/// Numbers that look random and are the same every time.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n.max(1)
    }
}

/// An evaluation of the whole graph in one run on the CPU, with fused pairs, and with noise of `noise` in each time.
pub fn evaluation(stored: &StoredGraph, eval: u64, position: i32, random: &mut Random) -> Evaluation {
    let graph = &stored.graph;
    let n_tokens = graph.tensors.iter().find(|t| t.name == "inp_tokens").map_or(1, |t| t.ne[0]) as u32;
    let computed = graph.nodes().filter(|(_, t)| t.flags.has(TensorFlags::COMPUTED)).map(|(_, t)| t);
    let clocked: Vec<&Tensor> = computed.filter(|t| graph.op(t) != "RMS_NORM").collect();
    let time_of = |t: &Tensor, random: &mut Random| {
        let work = t.src.first().copied().flatten().map_or(0, |s| graph.tensors[s.index()].bytes.0) / 16;
        700 + work + random.below(400) + if random.below(40) == 0 { random.below(9_000) } else { 0 }
    };
    let durations: Vec<u64> = clocked.iter().map(|t| time_of(t, random)).collect();
    let length = durations.iter().sum::<u64>() + 30_000;
    let start = 1_000_000_000 + eval * 9_000_000 + random.below(50_000);
    Evaluation {
        eval: EvalId(eval),
        graph: graph.graph,
        context: 0,
        thread: 4711,
        status: 0,
        start: Nanos(start),
        end: Nanos(start + length),
        minor_faults: random.below(3) as u32,
        major_faults: 0,
        n_tokens,
        tokens: (0..n_tokens).map(|_| random.below(49_152) as i32).collect(),
        positions: (position..).take(n_tokens as usize).collect(),
        sequences: vec![0; n_tokens as usize],
        n_sequences: vec![],
        call: eval + 1,
        sequences_from: SequencesFrom::Batch,
        outputs: Some(vec![n_tokens as i32 - 1]),
        requested: Some(vec![n_tokens as i32 - 1]),
        runs: vec![Run {
            first: TensorId(0),
            n_nodes: graph.n_nodes,
            device: 0,
            clocked: true,
            start: 11_000,
            duration: length - 12_000,
            n_calls: durations.len() as u32,
        }],
        durations,
        experts: vec![],
    }
}

/// Who is recorded in synthetic traces.
pub fn recording() -> Recording {
    Recording {
        hello: Hello {
            version: ggscope_format::FORMAT_VERSION,
            pid: 4242,
            exe: "/usr/bin/llama-server".into(),
            argv: vec!["llama-server".into(), "-m".into(), "/models/Smol LM2 ü.gguf".into()],
            cwd: "/root".into(),
            realtime_ns: 1_700_000_000_000_000_000,
            monotonic_ns: 900_000_000,
            clock: "tsc".into(),
            ggml: "/usr/lib/libggml-base.so".into(),
            refusal: None,
        },
        level: Level::Ops,
        capture: Capture::default(),
        tokens: true,
        ggscope: env!("CARGO_PKG_VERSION").into(),
    }
}

/// The model of synthetic traces.
pub fn model() -> Model {
    Model {
        id: ModelId(0),
        n_tokens: 49_152,
        path: "/models/Smol LM2 ü.gguf".into(),
        name: "SmolLM2 135M Instruct".into(),
        arch: "llama".into(),
        n_layer: 30,
        file_bytes: 98_000_000,
    }
}

/// Texts of an evaluation's tokens in synthetic traces.
pub fn texts(evaluation: &Evaluation) -> Vec<(ModelId, i32, Vec<u8>)> {
    evaluation.tokens.iter().map(|&id| (ModelId(0), id, format!(" t{id}").into_bytes())).collect()
}

/// Writes a trace of a prompt of `prompt` tokens and `generated` tokens of an answer, and returns its writer, open.
///
/// # Panics
/// When the file cannot be written.
pub fn write(path: &Path, shape: Shape, prompt: i64, generated: u64) -> TraceWriter {
    let mut writer = TraceWriter::create(path, false, &recording()).expect("a new file");
    let mut random = Random(88_172_645_463_325_252);
    let prompt_graph = llama(0, Shape { n_tokens: prompt, ..shape });
    let decode_graph = llama(1, Shape { n_tokens: 1, ..shape });
    writer.graph(prompt_graph.clone()).expect("a valid graph");
    writer.model(model()).expect("a model");
    writer.evaluation(evaluation(&prompt_graph, 0, 0, &mut random)).expect("a valid evaluation");
    writer.graph(decode_graph.clone()).expect("a valid graph");
    for i in 0..generated {
        let e = evaluation(&decode_graph, 1 + i, prompt as i32 + i as i32, &mut random);
        writer.texts(texts(&e)).expect("texts");
        writer.evaluation(e).expect("a valid evaluation");
    }
    writer
}
