//! Header-only models whose layers keep a state of fixed size.

use super::{Shape, attention, ends, experts, feed_forward, keys};
use crate::testing::{Dtype, Fixture};

fn mamba_layer(f: &mut Fixture, layer: u64, hidden: u64, inner: u64, with_norms: bool) {
    let name = |part: &str| format!("blk.{layer}.{part}");
    f.tensor(&name("attn_norm.weight"), Dtype::F32, &[hidden]);
    f.tensor(&name("ssm_in.weight"), Dtype::F16, &[hidden, 2 * inner]);
    f.tensor(&name("ssm_conv1d.weight"), Dtype::F32, &[4, inner]);
    f.tensor(&name("ssm_conv1d.bias"), Dtype::F32, &[inner]);
    f.tensor(&name("ssm_x.weight"), Dtype::F16, &[inner, hidden / 16 + 32]);
    f.tensor(&name("ssm_dt.weight"), Dtype::F16, &[hidden / 16, inner]);
    f.tensor(&name("ssm_dt.bias"), Dtype::F32, &[inner]);
    if with_norms {
        f.tensor(&name("ssm_dt_norm.weight"), Dtype::F32, &[hidden / 16]);
        f.tensor(&name("ssm_b_norm.weight"), Dtype::F32, &[16]);
        f.tensor(&name("ssm_c_norm.weight"), Dtype::F32, &[16]);
    }
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
        mamba_layer(&mut f, layer, hidden, inner, false);
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
            mamba_layer(&mut f, layer, hidden, inner, true);
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
    for norm in ["token_embd_norm", "output_norm"] {
        f.tensor(&format!("{norm}.weight"), Dtype::F32, &[hidden]);
        f.tensor(&format!("{norm}.bias"), Dtype::F32, &[hidden]);
    }
    f.tensor("output.weight", Dtype::F16, &[hidden, vocabulary]);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        for part in ["attn_norm", "attn_norm_2", "time_mix_ln"] {
            f.tensor(&name(part), Dtype::F32, &[hidden]);
            f.tensor(&format!("blk.{layer}.{part}.bias"), Dtype::F32, &[hidden]);
        }
        f.tensor(&name("time_mix_w1"), Dtype::F32, &[hidden, 32 * 5]);
        f.tensor(&name("time_mix_w2"), Dtype::F32, &[32, hidden, 5]);
        for part in ["time_mix_lerp_x", "channel_mix_lerp_k", "channel_mix_lerp_r"] {
            f.tensor(&name(part), Dtype::F32, &[hidden, 1, 1]);
        }
        f.tensor(&name("time_mix_lerp_fused"), Dtype::F32, &[hidden, 1, 1, 5]);
        f.tensor(&name("time_mix_first"), Dtype::F32, &[64, hidden / 64]);
        f.tensor(&name("time_mix_decay"), Dtype::F32, &[hidden]);
        f.tensor(&name("time_mix_decay_w1"), Dtype::F32, &[hidden, 64]);
        f.tensor(&name("time_mix_decay_w2"), Dtype::F32, &[64, hidden]);
        for part in ["key", "value", "receptance", "gate", "output"] {
            f.tensor(&name(&format!("time_mix_{part}")), Dtype::F16, &[hidden, hidden]);
        }
        f.tensor(&name("channel_mix_key"), Dtype::F16, &[hidden, ff]);
        f.tensor(&name("channel_mix_receptance"), Dtype::F16, &[hidden, hidden]);
        f.tensor(&name("channel_mix_value"), Dtype::F16, &[ff, hidden]);
    }
    f
}
