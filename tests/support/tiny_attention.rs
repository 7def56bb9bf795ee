//! Writes tiny models whose attention has what the `llama` architecture lacks: norms of queries and keys under windows
//! (`gemma3`), a bias by distance (`mpt`), sinks (`gpt-oss`). llama.cpp really loads and runs them: random weights, real text.

use std::path::Path;

use super::gguf_writer::{GgufWriter, TensorType, Value, Weights};
use super::tiny_model::{
    N_EMBD, N_EMBD_KV, N_FF, N_HEAD, N_HEAD_KV, N_LAYER, N_NOT_TEXT, WINDOW, ones, output_rows, put_sizes,
    put_vocabulary, text_pieces,
};

/// Length of a head of [`write_gemma3_gguf`]'s model: not its part of the embedding, and a whole block of quantised types.
const GEMMA3_HEAD: u64 = 32;
const N_EXPERT: u64 = 4;

/// A model with a vocabulary, embeddings and a last norm, and the weights that its layers are made of.
struct Model {
    gguf: GgufWriter,
    weights: Weights,
}

impl Model {
    fn new(arch: &str, seed: u64) -> Model {
        let pieces = text_pieces();
        let n_vocab = (N_NOT_TEXT + pieces.len()) as u64;
        let mut gguf = GgufWriter::default();
        put_sizes(&mut gguf, arch);
        put_vocabulary(&mut gguf, &pieces);
        let mut weights = Weights::new(seed);
        let embeddings = weights.uniform((N_EMBD * n_vocab) as usize, 1.0);
        gguf.tensor("token_embd.weight", TensorType::F16, &[N_EMBD, n_vocab], &embeddings);
        let rows = output_rows(&mut weights, n_vocab);
        gguf.tensor("output.weight", TensorType::F16, &[N_EMBD, n_vocab], &rows);
        gguf.tensor("output_norm.weight", TensorType::F32, &[N_EMBD], &ones());
        Model { gguf, weights }
    }

    fn matrix(&mut self, name: &str, ne: &[u64]) {
        let values = self.weights.matrix(ne[0], ne[1..].iter().product());
        self.gguf.tensor(name, TensorType::F16, ne, &values);
    }

    /// Numbers around `middle`.
    fn vector(&mut self, name: &str, ne: &[u64], middle: f32, spread: f32) {
        let values = self.weights.uniform(ne.iter().product::<u64>() as usize, spread);
        let values: Vec<f32> = values.into_iter().map(|x| middle + x).collect();
        self.gguf.tensor(name, TensorType::F32, ne, &values);
    }
}

/// Writes a model of the `gemma3` architecture: queries and keys are normed, and layers look back [`WINDOW`] tokens but for
/// layer 1, which sees all.
pub fn write_gemma3_gguf(path: &Path) {
    let mut model = Model::new("gemma3", 0x6767_7363_6f70_6524);
    model
        .gguf
        .set("gemma3.attention.key_length", Value::U32(GEMMA3_HEAD as u32))
        .set("gemma3.attention.value_length", Value::U32(GEMMA3_HEAD as u32))
        .set("gemma3.attention.sliding_window", Value::U32(WINDOW))
        .set("gemma3.attention.sliding_window_pattern", Value::U32(2))
        .set("gemma3.rope.freq_base_swa", Value::F32(1_000.0));
    for layer in 0..N_LAYER {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        model.matrix(&name("attn_q"), &[N_EMBD, GEMMA3_HEAD * N_HEAD]);
        model.matrix(&name("attn_k"), &[N_EMBD, GEMMA3_HEAD * N_HEAD_KV]);
        model.matrix(&name("attn_v"), &[N_EMBD, GEMMA3_HEAD * N_HEAD_KV]);
        model.matrix(&name("attn_output"), &[GEMMA3_HEAD * N_HEAD, N_EMBD]);
        model.matrix(&name("ffn_gate"), &[N_EMBD, N_FF]);
        model.matrix(&name("ffn_up"), &[N_EMBD, N_FF]);
        model.matrix(&name("ffn_down"), &[N_FF, N_EMBD]);
        for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
            model.vector(&name(norm), &[N_EMBD], 1.0, 0.3);
        }
        for norm in ["attn_q_norm", "attn_k_norm"] {
            model.vector(&name(norm), &[GEMMA3_HEAD], 1.0, 0.5);
        }
    }
    model.gguf.write(path);
}

/// Writes a model of the `mpt` architecture: no positions but a bias that grows with the distance (ALiBi), one matrix for
/// queries, keys and values.
pub fn write_mpt_gguf(path: &Path) {
    let mut model = Model::new("mpt", 0x6767_7363_6f70_6525);
    model
        .gguf
        .set("mpt.attention.layer_norm_epsilon", Value::F32(1e-5))
        .set("mpt.attention.max_alibi_bias", Value::F32(8.0));
    for layer in 0..N_LAYER {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        model.matrix(&name("attn_qkv"), &[N_EMBD, N_EMBD + 2 * N_EMBD_KV]);
        model.matrix(&name("attn_output"), &[N_EMBD, N_EMBD]);
        model.matrix(&name("ffn_up"), &[N_EMBD, N_FF]);
        model.matrix(&name("ffn_down"), &[N_FF, N_EMBD]);
        for norm in ["attn_norm", "ffn_norm"] {
            model.vector(&name(norm), &[N_EMBD], 1.0, 0.3);
        }
    }
    model.gguf.write(path);
}

/// Writes a model of the `gpt-oss` architecture: every head has a sink that takes a share, every other layer a window, and
/// feed-forward networks are experts.
pub fn write_gpt_oss_gguf(path: &Path) {
    let mut model = Model::new("gpt-oss", 0x6767_7363_6f70_6526);
    model
        .gguf
        .set("gpt-oss.attention.sliding_window", Value::U32(WINDOW))
        .set("gpt-oss.expert_count", Value::U32(N_EXPERT as u32))
        .set("gpt-oss.expert_used_count", Value::U32(2))
        .set("gpt-oss.expert_feed_forward_length", Value::U32(N_FF as u32));
    for layer in 0..N_LAYER {
        let name = |part: &str| format!("blk.{layer}.{part}");
        model.matrix(&name("attn_q.weight"), &[N_EMBD, N_EMBD]);
        model.matrix(&name("attn_k.weight"), &[N_EMBD, N_EMBD_KV]);
        model.matrix(&name("attn_v.weight"), &[N_EMBD, N_EMBD_KV]);
        model.matrix(&name("attn_output.weight"), &[N_EMBD, N_EMBD]);
        model.vector(&name("attn_output.bias"), &[N_EMBD], 0.0, 0.1);
        model.vector(&name("attn_sinks.weight"), &[N_HEAD], 0.5, 1.5);
        for norm in ["attn_norm.weight", "post_attention_norm.weight"] {
            model.vector(&name(norm), &[N_EMBD], 1.0, 0.3);
        }
        model.vector(&name("ffn_gate_inp.weight"), &[N_EMBD, N_EXPERT], 0.0, 0.2);
        model.vector(&name("ffn_gate_inp.bias"), &[N_EXPERT], 0.0, 0.1);
        for (part, n_in, n_out) in [("gate", N_EMBD, N_FF), ("up", N_EMBD, N_FF), ("down", N_FF, N_EMBD)] {
            model.matrix(&name(&format!("ffn_{part}_exps.weight")), &[n_in, n_out, N_EXPERT]);
            model.vector(&name(&format!("ffn_{part}_exps.bias")), &[n_out, N_EXPERT], 0.0, 0.1);
        }
    }
    model.gguf.write(path);
}
