//! Header-only models of many architectures, with the tensors that llama.cpp wants of each. Sizes are those of real models
//! where a test names one.

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
fn keys(f: &mut Fixture, s: Shape) {
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

fn ends(f: &mut Fixture, s: Shape, tied: bool) {
    f.tensor("token_embd.weight", Dtype::Q4_0, &[s.hidden, s.vocabulary]);
    f.tensor("output_norm.weight", Dtype::F32, &[s.hidden]);
    if !tied {
        f.tensor("output.weight", Dtype::Q6K, &[s.hidden, s.vocabulary]);
    }
}

fn attention(f: &mut Fixture, s: Shape, layer: u64) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    f.tensor(&name("attn_norm"), Dtype::F32, &[s.hidden]);
    f.tensor(&name("attn_q"), Dtype::Q4_0, &[s.hidden, s.heads * s.head]);
    f.tensor(&name("attn_k"), Dtype::Q4_0, &[s.hidden, s.kv_heads * s.head]);
    f.tensor(&name("attn_v"), Dtype::Q4_0, &[s.hidden, s.kv_heads * s.head]);
    f.tensor(&name("attn_output"), Dtype::Q4_0, &[s.heads * s.head, s.hidden]);
}

fn feed_forward(f: &mut Fixture, s: Shape, layer: u64) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    f.tensor(&name("ffn_norm"), Dtype::F32, &[s.hidden]);
    f.tensor(&name("ffn_gate"), Dtype::Q4_0, &[s.hidden, s.ff]);
    f.tensor(&name("ffn_up"), Dtype::Q4_0, &[s.hidden, s.ff]);
    f.tensor(&name("ffn_down"), Dtype::Q4_0, &[s.ff, s.hidden]);
}

fn experts(f: &mut Fixture, hidden: u64, layer: u64, count: u64, size: u64) {
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
        for part in ["post_attention_norm", "post_ffw_norm"] {
            f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::F32, &[s.hidden]);
        }
        for part in ["attn_q_norm", "attn_k_norm"] {
            f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::F32, &[s.head]);
        }
    }
    f
}

/// Gemma 3n E2B's way of sharing caches: 30 layers of which the last 10 use those of earlier ones.
pub fn gemma3n() -> Fixture {
    let s = Shape { layers: 30, hidden: 2048, heads: 8, kv_heads: 2, head: 256, ff: 8192, vocabulary: 262_144 };
    let mut f = Fixture::new("gemma3n");
    keys(&mut f, s);
    let pattern: Vec<bool> = (0..s.layers).map(|i| i % 5 != 4).collect();
    f.set("attention.sliding_window", 512_u32).set("attention.sliding_window_pattern", pattern);
    ends(&mut f, s, true);
    f.tensor("per_layer_token_embd.weight", Dtype::Q8_0, &[256 * s.layers, s.vocabulary]);
    f.tensor("per_layer_model_proj.weight", Dtype::F16, &[s.hidden, 256 * s.layers]);
    f.tensor("altup_proj.weight", Dtype::F16, &[s.hidden, s.hidden, 3]);
    for layer in 0..s.layers {
        attention(&mut f, s, layer);
        feed_forward(&mut f, s, layer);
        f.tensor(&format!("blk.{layer}.inp_gate.weight"), Dtype::F16, &[s.hidden, 256]);
        f.tensor(&format!("blk.{layer}.laurel_l.weight"), Dtype::F16, &[s.hidden, 64]);
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
        f.tensor(&format!("blk.{layer}.ffn_norm.weight"), Dtype::F32, &[s.hidden]);
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
        f.tensor(&format!("blk.{layer}.attn_q.bias"), Dtype::F32, &[s.heads * s.head]);
        f.tensor(&format!("blk.{layer}.attn_sinks.weight"), Dtype::F32, &[s.heads]);
        f.tensor(&format!("blk.{layer}.post_attention_norm.weight"), Dtype::F32, &[s.hidden]);
        experts(&mut f, s.hidden, layer, 32, 2880);
    }
    f
}

/// DeepSeek V2 Lite: latent attention, one leading dense layer, 64 experts of which 6 are used, 2 shared.
pub fn deepseek2() -> Fixture {
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
    f.metadata
        .iter_mut()
        .filter(|(key, _)| key.ends_with("attention.value_length"))
        .for_each(|(_, v)| *v = Put::U32(512));
    f.metadata.iter_mut().filter(|(key, _)| key.ends_with("rope.dimension_count")).for_each(|(_, v)| *v = Put::U32(64));
    ends(&mut f, s, false);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        f.tensor(&name("attn_norm"), Dtype::F32, &[hidden]);
        f.tensor(&name("attn_q"), Dtype::Q4_0, &[hidden, heads * 192]);
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

fn mamba_layer(f: &mut Fixture, layer: u64, hidden: u64, inner: u64) {
    let name = |part: &str| format!("blk.{layer}.{part}");
    f.tensor(&name("attn_norm.weight"), Dtype::F32, &[hidden]);
    f.tensor(&name("ssm_in.weight"), Dtype::F16, &[hidden, 2 * inner]);
    f.tensor(&name("ssm_conv1d.weight"), Dtype::F32, &[4, inner]);
    f.tensor(&name("ssm_conv1d.bias"), Dtype::F32, &[inner]);
    f.tensor(&name("ssm_x.weight"), Dtype::F16, &[inner, hidden / 16 + 32]);
    f.tensor(&name("ssm_dt.weight"), Dtype::F16, &[hidden / 16, inner]);
    f.tensor(&name("ssm_dt.bias"), Dtype::F32, &[inner]);
    f.tensor(&name("ssm_a"), Dtype::F32, &[16, inner]);
    f.tensor(&name("ssm_d"), Dtype::F32, &[inner]);
    f.tensor(&name("ssm_out.weight"), Dtype::F16, &[inner, hidden]);
}

fn mamba_keys(f: &mut Fixture, hidden: u64, inner: u64) {
    f.set("ssm.conv_kernel", 4_u32)
        .set("ssm.inner_size", inner as u32)
        .set("ssm.state_size", 16_u32)
        .set("ssm.time_step_rank", (hidden / 16) as u32);
}

/// Mamba 130M: a state and no attention.
pub fn mamba() -> Fixture {
    let (layers, hidden, inner, vocabulary) = (24_u64, 768_u64, 1536_u64, 50_280_u64);
    let mut f = Fixture::new("mamba");
    f.set("block_count", layers as u32)
        .set("context_length", 1_048_576_u32)
        .set("embedding_length", hidden as u32)
        .set("feed_forward_length", 0_u32)
        .set("attention.head_count", 0_u32)
        .set("attention.layer_norm_rms_epsilon", 1e-5_f32)
        .set("vocab_size", vocabulary as u32);
    mamba_keys(&mut f, hidden, inner);
    f.tensor("token_embd.weight", Dtype::F16, &[hidden, vocabulary]);
    f.tensor("output_norm.weight", Dtype::F32, &[hidden]);
    for layer in 0..layers {
        mamba_layer(&mut f, layer, hidden, inner);
    }
    f
}

/// Jamba's mixture: one layer in eight attends, the others keep a state; every other one has experts.
pub fn jamba() -> Fixture {
    let (layers, hidden, inner, vocabulary) = (16_u64, 2048_u64, 4096_u64, 65_536_u64);
    let s = Shape { layers, hidden, heads: 16, kv_heads: 8, head: 128, ff: 7168, vocabulary };
    let mut f = Fixture::new("jamba");
    keys(&mut f, s);
    let kv: Vec<u32> = (0..layers).map(|i| if i % 8 == 4 { 8 } else { 0 }).collect();
    f.metadata.retain(|(key, _)| !key.ends_with("head_count_kv"));
    f.set("attention.head_count_kv", kv).set("expert_count", 16_u32).set("expert_used_count", 2_u32);
    mamba_keys(&mut f, hidden, inner);
    ends(&mut f, s, false);
    for layer in 0..layers {
        if layer % 8 == 4 {
            attention(&mut f, s, layer);
        } else {
            mamba_layer(&mut f, layer, hidden, inner);
        }
        if layer % 2 == 1 {
            f.tensor(&format!("blk.{layer}.ffn_norm.weight"), Dtype::F32, &[hidden]);
            experts(&mut f, hidden, layer, 16, s.ff);
        } else {
            feed_forward(&mut f, s, layer);
        }
    }
    f
}

/// RWKV 6 1.6B.
pub fn rwkv6() -> Fixture {
    let (layers, hidden, ff, vocabulary) = (24_u64, 2048_u64, 7168_u64, 65_536_u64);
    let mut f = Fixture::new("rwkv6");
    f.set("block_count", layers as u32)
        .set("context_length", 1_048_576_u32)
        .set("embedding_length", hidden as u32)
        .set("feed_forward_length", ff as u32)
        .set("attention.head_count", 0_u32)
        .set("attention.layer_norm_epsilon", 1e-5_f32)
        .set("wkv.head_size", 64_u32)
        .set("time_mix_extra_dim", 32_u32)
        .set("time_decay_extra_dim", 64_u32)
        .set("vocab_size", vocabulary as u32);
    f.tensor("token_embd.weight", Dtype::F16, &[hidden, vocabulary]);
    f.tensor("token_embd_norm.weight", Dtype::F32, &[hidden]);
    f.tensor("output_norm.weight", Dtype::F32, &[hidden]);
    f.tensor("output.weight", Dtype::F16, &[hidden, vocabulary]);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        for part in ["attn_norm", "attn_norm_2", "time_mix_ln"] {
            f.tensor(&name(part), Dtype::F32, &[hidden]);
        }
        for part in ["key", "value", "receptance", "gate", "output"] {
            f.tensor(&name(&format!("time_mix_{part}")), Dtype::F16, &[hidden, hidden]);
        }
        f.tensor(&name("channel_mix_key"), Dtype::F16, &[hidden, ff]);
        f.tensor(&name("channel_mix_receptance"), Dtype::F16, &[hidden, hidden]);
        f.tensor(&name("channel_mix_value"), Dtype::F16, &[ff, hidden]);
    }
    f
}

/// BERT base: an encoder without a cache; biases, layer norms, no gate, mean pooling.
pub fn bert() -> Fixture {
    let (layers, hidden, ff, vocabulary) = (12_u64, 768_u64, 3072_u64, 30_522_u64);
    let mut f = Fixture::new("bert");
    f.set("block_count", layers as u32)
        .set("context_length", 512_u32)
        .set("embedding_length", hidden as u32)
        .set("feed_forward_length", ff as u32)
        .set("attention.head_count", 12_u32)
        .set("attention.layer_norm_epsilon", 1e-12_f32)
        .set("attention.causal", false)
        .set("pooling_type", 1_u32);
    f.tensor("token_embd.weight", Dtype::F16, &[hidden, vocabulary]);
    f.tensor("position_embd.weight", Dtype::F32, &[hidden, 512]);
    f.tensor("token_types.weight", Dtype::F32, &[hidden, 2]);
    f.tensor("token_embd_norm.weight", Dtype::F32, &[hidden]);
    f.tensor("token_embd_norm.bias", Dtype::F32, &[hidden]);
    for layer in 0..layers {
        biased_layer(
            &mut f,
            layer,
            hidden,
            ff,
            &["attn_q", "attn_k", "attn_v"],
            &["attn_output_norm", "layer_output_norm"],
        );
    }
    f
}

/// A layer whose every matrix has a bias, and whose feed-forward network has no gate.
fn biased_layer(f: &mut Fixture, layer: u64, hidden: u64, ff: u64, inputs: &[&str], norms: &[&str]) {
    let mut pair = |part: &str, ne: &[u64]| {
        f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::F16, ne);
        f.tensor(&format!("blk.{layer}.{part}.bias"), Dtype::F32, &ne[1..]);
    };
    for part in inputs {
        let rows = if *part == "attn_qkv" { 3 * hidden } else { hidden };
        pair(part, &[hidden, rows]);
    }
    pair("attn_output", &[hidden, hidden]);
    pair("ffn_up", &[hidden, ff]);
    pair("ffn_down", &[ff, hidden]);
    for norm in norms {
        f.tensor(&format!("blk.{layer}.{norm}.weight"), Dtype::F32, &[hidden]);
        f.tensor(&format!("blk.{layer}.{norm}.bias"), Dtype::F32, &[hidden]);
    }
}

/// GPT-2: learned positions, biases, no gate, one matrix for queries, keys and values.
pub fn gpt2() -> Fixture {
    let (layers, hidden, ff, vocabulary) = (12_u64, 768_u64, 3072_u64, 50_257_u64);
    let mut f = Fixture::new("gpt2");
    f.set("block_count", layers as u32)
        .set("context_length", 1024_u32)
        .set("embedding_length", hidden as u32)
        .set("feed_forward_length", ff as u32)
        .set("attention.head_count", 12_u32)
        .set("attention.layer_norm_epsilon", 1e-5_f32);
    f.tensor("token_embd.weight", Dtype::F16, &[hidden, vocabulary]);
    f.tensor("position_embd.weight", Dtype::F32, &[hidden, 1024]);
    f.tensor("output_norm.weight", Dtype::F32, &[hidden]);
    f.tensor("output_norm.bias", Dtype::F32, &[hidden]);
    for layer in 0..layers {
        biased_layer(&mut f, layer, hidden, ff, &["attn_qkv"], &["attn_norm", "ffn_norm"]);
    }
    f
}

/// T5 small: an encoder and a decoder that attends to it.
pub fn t5() -> Fixture {
    let (layers, hidden, heads, head, ff, vocabulary) = (6_u64, 512_u64, 8_u64, 64_u64, 2048_u64, 32_128_u64);
    let mut f = Fixture::new("t5");
    f.set("block_count", layers as u32)
        .set("decoder_block_count", layers as u32)
        .set("context_length", 512_u32)
        .set("embedding_length", hidden as u32)
        .set("feed_forward_length", ff as u32)
        .set("attention.head_count", heads as u32)
        .set("attention.key_length", head as u32)
        .set("attention.value_length", head as u32)
        .set("attention.layer_norm_rms_epsilon", 1e-6_f32)
        .set("attention.relative_buckets_count", 32_u32);
    f.tensor("token_embd.weight", Dtype::F16, &[hidden, vocabulary]);
    for (stack, attentions) in [("enc", &["attn"][..]), ("dec", &["attn", "cross_attn"][..])] {
        f.tensor(&format!("{stack}.output_norm.weight"), Dtype::F32, &[hidden]);
        for layer in 0..layers {
            let name = |part: &str| format!("{stack}.blk.{layer}.{part}.weight");
            for attention in attentions {
                f.tensor(&name(&format!("{attention}_norm")), Dtype::F32, &[hidden]);
                for part in ["q", "k", "v"] {
                    f.tensor(&name(&format!("{attention}_{part}")), Dtype::F16, &[hidden, heads * head]);
                }
                f.tensor(&name(&format!("{attention}_o")), Dtype::F16, &[heads * head, hidden]);
            }
            f.tensor(&name("ffn_norm"), Dtype::F32, &[hidden]);
            f.tensor(&name("ffn_up"), Dtype::F16, &[hidden, ff]);
            f.tensor(&name("ffn_down"), Dtype::F16, &[ff, hidden]);
        }
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
