//! Writes a tiny state-space model of the `mamba` architecture that llama.cpp really loads and runs: no attention, no
//! cache of keys, a state instead. Random weights, real text.

use std::path::Path;

use super::gguf_writer::{GgufWriter, TensorType, Value, Weights};
use super::tiny_model::{N_NOT_TEXT, put_vocabulary, text_pieces};

const N_LAYER: u64 = 2;
const N_EMBD: u64 = 64;
/// llama.cpp wants twice the embedding.
const D_INNER: u64 = 2 * N_EMBD;
const D_CONV: u64 = 4;
const D_STATE: u64 = 16;
const DT_RANK: u64 = 4;

/// Writes the model.
pub fn write_mamba_gguf(path: &Path) {
    let pieces = text_pieces();
    let n_vocab = (N_NOT_TEXT + pieces.len()) as u64;
    let mut gguf = GgufWriter::default();
    gguf.set("general.architecture", Value::Text("mamba".into()))
        .set("general.name", Value::Text("ggscope state-space fixture".into()))
        .set("mamba.context_length", Value::U32(2048))
        .set("mamba.block_count", Value::U32(N_LAYER as u32))
        .set("mamba.embedding_length", Value::U32(N_EMBD as u32))
        .set("mamba.feed_forward_length", Value::U32(0))
        .set("mamba.attention.head_count", Value::U32(0))
        .set("mamba.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
        .set("mamba.ssm.conv_kernel", Value::U32(D_CONV as u32))
        .set("mamba.ssm.inner_size", Value::U32(D_INNER as u32))
        .set("mamba.ssm.state_size", Value::U32(D_STATE as u32))
        .set("mamba.ssm.time_step_rank", Value::U32(DT_RANK as u32));
    put_vocabulary(&mut gguf, &pieces);
    let mut weights = Weights::new(0x6767_7363_6f70_6522);
    let f32 = TensorType::F32;
    gguf.tensor("token_embd.weight", f32, &[N_EMBD, n_vocab], &weights.uniform((N_EMBD * n_vocab) as usize, 1.0));
    gguf.tensor("output_norm.weight", f32, &[N_EMBD], &[1.0; N_EMBD as usize]);
    for layer in 0..N_LAYER {
        let name = |part: &str| format!("blk.{layer}.{part}");
        gguf.tensor(&name("attn_norm.weight"), f32, &[N_EMBD], &[1.0; N_EMBD as usize]);
        let mut matrix = |part: &str, n_in: u64, n_rows: u64| {
            gguf.tensor(&name(part), f32, &[n_in, n_rows], &weights.matrix(n_in, n_rows));
        };
        matrix("ssm_in.weight", N_EMBD, 2 * D_INNER);
        matrix("ssm_conv1d.weight", D_CONV, D_INNER);
        matrix("ssm_x.weight", D_INNER, DT_RANK + 2 * D_STATE);
        matrix("ssm_dt.weight", DT_RANK, D_INNER);
        matrix("ssm_out.weight", D_INNER, N_EMBD);
        gguf.tensor(&name("ssm_conv1d.bias"), f32, &[D_INNER], &[0.0; D_INNER as usize]);
        gguf.tensor(&name("ssm_dt.bias"), f32, &[D_INNER], &[0.0; D_INNER as usize]);
        // A state fades: its rates are below zero.
        let rates: Vec<f32> = (0..D_INNER).flat_map(|_| (1..=D_STATE).map(|s| -(s as f32))).collect();
        gguf.tensor(&name("ssm_a"), f32, &[D_STATE, D_INNER], &rates);
        gguf.tensor(&name("ssm_d"), f32, &[D_INNER], &[1.0; D_INNER as usize]);
    }
    gguf.write(path);
}
