//! Header-only models with biases, without gates: BERT, GPT-2, T5.

use crate::testing::{Dtype, Fixture};

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
        .set("pooling_type", 1_u32)
        .set("vocab_size", vocabulary as u32)
        .general("tokenizer.ggml.token_type_count", 2_u32);
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
        .set("attention.layer_norm_epsilon", 1e-5_f32)
        .set("vocab_size", vocabulary as u32);
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
        .set("attention.relative_buckets_count", 32_u32)
        .set("vocab_size", vocabulary as u32);
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
            if layer == 0 {
                f.tensor(&name("attn_rel_b"), Dtype::F32, &[heads, 32]);
            }
            f.tensor(&name("ffn_norm"), Dtype::F32, &[hidden]);
            f.tensor(&name("ffn_up"), Dtype::F16, &[hidden, ff]);
            f.tensor(&name("ffn_down"), Dtype::F16, &[ff, hidden]);
        }
    }
    f
}
