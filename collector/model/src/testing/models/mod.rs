//! Header-only models of many architectures, with the tensors that llama.cpp wants of each. Sizes are those of real models
//! where a test names one.

mod encoders;
mod states;

pub use encoders::*;
pub use states::*;

use super::{Dtype, Fixture, Put};

/// Sizes of a plain transformer.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Layers.
    pub layers: u64,
    /// Hidden size.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Values of a head.
    pub head: u64,
    /// Feed-forward size.
    pub ff: u64,
    /// Tokens.
    pub vocabulary: u64,
}

/// 28 layers of 32 heads each with keys of its own: the shape of the well-known tutorial.
pub const TUTORIAL: Shape =
    Shape { layers: 28, hidden: 3072, heads: 32, kv_heads: 32, head: 96, ff: 8192, vocabulary: 128_256 };

/// Llama 3.1 8B.
pub const LLAMA_8B: Shape =
    Shape { layers: 32, hidden: 4096, heads: 32, kv_heads: 8, head: 128, ff: 14_336, vocabulary: 128_256 };

/// Adds the keys that every transformer has.
pub(super) fn keys(f: &mut Fixture, s: Shape) {
    f.general("general.name", "ggscope test fixture")
        .set("block_count", s.layers as u32)
        .set("context_length", 131_072_u32)
        .set("embedding_length", s.hidden as u32)
        .set("feed_forward_length", s.ff as u32)
        .set("attention.head_count", s.heads as u32)
        .set("attention.head_count_kv", s.kv_heads as u32)
        .set("attention.key_length", s.head as u32)
        .set("attention.value_length", s.head as u32)
        .set("attention.layer_norm_rms_epsilon", 1e-5_f32)
        .set("rope.freq_base", 500_000_f32)
        .set("rope.dimension_count", s.head as u32)
        .set("vocab_size", s.vocabulary as u32);
}

pub(super) fn ends(f: &mut Fixture, s: Shape, tied: bool) {
    f.tensor("token_embd.weight", Dtype::Q4_0, &[s.hidden, s.vocabulary]);
    f.tensor("output_norm.weight", Dtype::F32, &[s.hidden]);
    if !tied {
        f.tensor("output.weight", Dtype::Q6K, &[s.hidden, s.vocabulary]);
    }
}

pub(super) fn attention(f: &mut Fixture, s: Shape, layer: u64) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    f.tensor(&name("attn_norm"), Dtype::F32, &[s.hidden]);
    f.tensor(&name("attn_q"), Dtype::Q4_0, &[s.hidden, s.heads * s.head]);
    f.tensor(&name("attn_k"), Dtype::Q4_0, &[s.hidden, s.kv_heads * s.head]);
    f.tensor(&name("attn_v"), Dtype::Q4_0, &[s.hidden, s.kv_heads * s.head]);
    f.tensor(&name("attn_output"), Dtype::Q4_0, &[s.heads * s.head, s.hidden]);
}

pub(super) fn feed_forward(f: &mut Fixture, s: Shape, layer: u64) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    f.tensor(&name("ffn_norm"), Dtype::F32, &[s.hidden]);
    f.tensor(&name("ffn_gate"), Dtype::Q4_0, &[s.hidden, s.ff]);
    f.tensor(&name("ffn_up"), Dtype::Q4_0, &[s.hidden, s.ff]);
    f.tensor(&name("ffn_down"), Dtype::Q4_0, &[s.ff, s.hidden]);
}

pub(super) fn experts(f: &mut Fixture, hidden: u64, layer: u64, count: u64, size: u64) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    f.tensor(&name("ffn_gate_inp"), Dtype::F32, &[hidden, count]);
    f.tensor(&name("ffn_gate_exps"), Dtype::Q4_0, &[hidden, size, count]);
    f.tensor(&name("ffn_up_exps"), Dtype::Q4_0, &[hidden, size, count]);
    f.tensor(&name("ffn_down_exps"), Dtype::Q4_0, &[size, hidden, count]);
}

/// A plain transformer of the `llama` architecture.
pub fn llama(s: Shape, tied: bool) -> Fixture {
    let mut f = Fixture::new("llama");
    keys(&mut f, s);
    ends(&mut f, s, tied);
    for layer in 0..s.layers {
        attention(&mut f, s, layer);
        feed_forward(&mut f, s, layer);
    }
    f
}

/// Gemma 3 1B: five layers of six see 512 tokens, one key head, norms on both sides, tied embeddings.
pub fn gemma3() -> Fixture {
    let s = Shape { layers: 26, hidden: 1152, heads: 4, kv_heads: 1, head: 256, ff: 6912, vocabulary: 262_144 };
    let mut f = Fixture::new("gemma3");
    keys(&mut f, s);
    f.set("attention.sliding_window", 512_u32);
    ends(&mut f, s, true);
    for layer in 0..s.layers {
        attention(&mut f, s, layer);
        feed_forward(&mut f, s, layer);
        around(&mut f, s, layer);
    }
    f
}

/// Gemma's norms after attention and feed-forward, and of queries and keys.
fn around(f: &mut Fixture, s: Shape, layer: u64) {
    for (part, size) in [
        ("post_attention_norm", s.hidden),
        ("post_ffw_norm", s.hidden),
        ("attn_q_norm", s.head),
        ("attn_k_norm", s.head),
    ] {
        f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::F32, &[size]);
    }
}

/// Gemma 3n E2B's way of sharing caches: 30 layers of which the last 10 use those of earlier ones.
pub fn gemma3n() -> Fixture {
    let s = Shape { layers: 30, hidden: 2048, heads: 8, kv_heads: 2, head: 256, ff: 8192, vocabulary: 8192 };
    let altup = 4;
    let mut f = Fixture::new("gemma3n");
    keys(&mut f, s);
    let pattern: Vec<bool> = (0..s.layers).map(|i| i % 5 != 4).collect();
    f.set("attention.sliding_window", 512_u32).set("attention.sliding_window_pattern", pattern);
    ends(&mut f, s, true);
    f.tensor("per_layer_token_embd.weight", Dtype::Q8_0, &[256 * s.layers, s.vocabulary]);
    f.tensor("per_layer_model_proj.weight", Dtype::F16, &[s.hidden, 256 * s.layers]);
    f.tensor("per_layer_proj_norm.weight", Dtype::F32, &[256]);
    f.tensor("altup_proj.weight", Dtype::F16, &[s.hidden, s.hidden, altup - 1]);
    f.tensor("altup_unembd_proj.weight", Dtype::F16, &[s.hidden, s.hidden, altup - 1]);
    for layer in 0..s.layers {
        attention(&mut f, s, layer);
        feed_forward(&mut f, s, layer);
        around(&mut f, s, layer);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        f.tensor(&name("inp_gate"), Dtype::F16, &[s.hidden, 256]);
        f.tensor(&name("proj"), Dtype::F16, &[256, s.hidden]);
        f.tensor(&name("laurel_l"), Dtype::F16, &[s.hidden, 64]);
        f.tensor(&name("laurel_r"), Dtype::F16, &[64, s.hidden]);
        f.tensor(&name("altup_correct_coef"), Dtype::F32, &[altup, altup]);
        f.tensor(&name("altup_predict_coef"), Dtype::F32, &[altup, altup * altup]);
        f.tensor(&name("altup_router"), Dtype::F32, &[s.hidden, altup]);
        for part in ["post_norm", "laurel_post_norm", "altup_correct_scale", "altup_router_norm"] {
            f.tensor(&name(part), Dtype::F32, &[s.hidden]);
        }
    }
    f
}

/// Qwen3 30B-A3B: 128 experts of which a token uses 8, no dense feed-forward.
pub fn qwen3moe() -> Fixture {
    let s = Shape { layers: 48, hidden: 2048, heads: 32, kv_heads: 4, head: 128, ff: 6144, vocabulary: 151_936 };
    let mut f = Fixture::new("qwen3moe");
    keys(&mut f, s);
    f.set("expert_count", 128_u32).set("expert_used_count", 8_u32).set("expert_feed_forward_length", 768_u32);
    ends(&mut f, s, false);
    for layer in 0..s.layers {
        attention(&mut f, s, layer);
        for (part, size) in [("ffn_norm", s.hidden), ("attn_q_norm", s.head), ("attn_k_norm", s.head)] {
            f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::F32, &[size]);
        }
        experts(&mut f, s.hidden, layer, 128, 768);
    }
    f
}

/// gpt-oss 20B: every other layer sees 128 tokens, sinks, biases, 32 experts of which a token uses 4.
pub fn gpt_oss() -> Fixture {
    let s = Shape { layers: 24, hidden: 2880, heads: 64, kv_heads: 8, head: 64, ff: 2880, vocabulary: 201_088 };
    let mut f = Fixture::new("gpt-oss");
    keys(&mut f, s);
    f.set("expert_count", 32_u32).set("expert_used_count", 4_u32).set("expert_feed_forward_length", 2880_u32);
    f.set("attention.sliding_window", 128_u32);
    f.tensor("token_embd.weight", Dtype::Q8_0, &[s.hidden, s.vocabulary]);
    f.tensor("output_norm.weight", Dtype::F32, &[s.hidden]);
    f.tensor("output.weight", Dtype::Q8_0, &[s.hidden, s.vocabulary]);
    for layer in 0..s.layers {
        attention(&mut f, s, layer);
        for (part, ne) in [
            ("attn_q", &[s.heads * s.head][..]),
            ("attn_k", &[s.kv_heads * s.head]),
            ("attn_v", &[s.kv_heads * s.head]),
            ("attn_output", &[s.hidden]),
            ("ffn_gate_inp", &[32]),
            ("ffn_gate_exps", &[s.ff, 32]),
            ("ffn_up_exps", &[s.ff, 32]),
            ("ffn_down_exps", &[s.hidden, 32]),
        ] {
            f.tensor(&format!("blk.{layer}.{part}.bias"), Dtype::F32, ne);
        }
        f.tensor(&format!("blk.{layer}.attn_sinks.weight"), Dtype::F32, &[s.heads]);
        f.tensor(&format!("blk.{layer}.post_attention_norm.weight"), Dtype::F32, &[s.hidden]);
        experts(&mut f, s.hidden, layer, 32, 2880);
    }
    f
}

/// DeepSeek V2 Lite: latent attention, one leading dense layer, 64 experts of which 6 are used, 2 shared.
pub fn deepseek2() -> Fixture {
    deepseek2_with(None)
}

/// The same with queries compressed to so many values, as larger models have it.
pub fn deepseek2_with(q_rank: Option<u64>) -> Fixture {
    let (layers, hidden, heads, experts_size, vocabulary) = (27_u64, 2048_u64, 16_u64, 1408_u64, 102_400_u64);
    let s = Shape { layers, hidden, heads, kv_heads: 1, head: 576, ff: 10_944, vocabulary };
    let mut f = Fixture::new("deepseek2");
    keys(&mut f, s);
    // Compressed keys are the latent vector and the rotated part; llama.cpp attends to them as one shared head.
    f.set("attention.kv_lora_rank", 512_u32)
        .set("attention.key_length_mla", 192_u32)
        .set("attention.value_length_mla", 128_u32)
        .set("leading_dense_block_count", 1_u32)
        .set("expert_count", 64_u32)
        .set("expert_used_count", 6_u32)
        .set("expert_shared_count", 2_u32)
        .set("expert_feed_forward_length", 1408_u32);
    if let Some(rank) = q_rank {
        f.set("attention.q_lora_rank", rank as u32);
    }
    f.metadata
        .iter_mut()
        .filter(|(key, _)| key.ends_with("attention.value_length"))
        .for_each(|(_, v)| *v = Put::U32(512));
    f.metadata.iter_mut().filter(|(key, _)| key.ends_with("rope.dimension_count")).for_each(|(_, v)| *v = Put::U32(64));
    ends(&mut f, s, false);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        f.tensor(&name("attn_norm"), Dtype::F32, &[hidden]);
        match q_rank {
            None => {
                f.tensor(&name("attn_q"), Dtype::Q4_0, &[hidden, heads * 192]);
            }
            Some(rank) => {
                f.tensor(&name("attn_q_a"), Dtype::Q4_0, &[hidden, rank]);
                f.tensor(&name("attn_q_a_norm"), Dtype::F32, &[rank]);
                f.tensor(&name("attn_q_b"), Dtype::Q4_0, &[rank, heads * 192]);
            }
        }
        f.tensor(&name("attn_kv_a_mqa"), Dtype::Q4_0, &[hidden, 576]);
        f.tensor(&name("attn_kv_a_norm"), Dtype::F32, &[512]);
        f.tensor(&name("attn_k_b"), Dtype::Q4_0, &[128, 512, heads]);
        f.tensor(&name("attn_v_b"), Dtype::Q4_0, &[512, 128, heads]);
        f.tensor(&name("attn_output"), Dtype::Q4_0, &[heads * 128, hidden]);
        if layer < 1 {
            feed_forward(&mut f, s, layer);
            continue;
        }
        f.tensor(&name("ffn_norm"), Dtype::F32, &[hidden]);
        experts(&mut f, hidden, layer, 64, experts_size);
        f.tensor(&name("ffn_gate_shexp"), Dtype::Q4_0, &[hidden, 2 * experts_size]);
        f.tensor(&name("ffn_up_shexp"), Dtype::Q4_0, &[hidden, 2 * experts_size]);
        f.tensor(&name("ffn_down_shexp"), Dtype::Q4_0, &[2 * experts_size, hidden]);
    }
    f
}

/// A tokenizer and nothing else.
pub fn vocabulary_only() -> Fixture {
    let mut f = Fixture::new("llama");
    let tokens: Vec<String> = (0..1000).map(|i| format!("token{i}")).collect();
    f.general("tokenizer.ggml.model", "llama").general("tokenizer.ggml.tokens", tokens);
    f
}
