//! Which part of a layer a tensor belongs to, by the name of its part in llama.cpp.

use crate::inspect::{Component, Role};

/// A place in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// Norm of the attention's or the mixer's input.
    AttentionNorm,
    /// Divided among query heads by rows (the last dimension).
    QueryRows,
    /// Divided among query heads by columns (the first dimension).
    QueryColumns,
    /// Divided among key and value heads.
    KeyValueRows,
    /// Queries, then keys, then values, by rows.
    QueryKeyValueRows,
    /// What all heads share.
    Attention,
    /// Norm of the attention's output, before it is added to the residual stream; or of the feed-forward's input.
    PostAttentionNorm,
    /// Norm of the residual stream behind the attention.
    AttentionOutputNorm,
    CrossAttentionNorm,
    CrossAttention,
    StateSpace,
    FeedForwardNorm,
    FeedForward,
    Router,
    /// Divided among experts by the last dimension.
    Experts,
    /// All of one expert.
    Expert(u32),
    SharedExpert,
    /// Norm of the feed-forward's output, before it is added to the residual stream.
    PostFeedForwardNorm,
    /// Norm of the residual stream at the layer's end.
    LayerOutputNorm,
    Convolution,
    /// Of the layer, of none of its parts.
    Layer,
}

impl Place {
    /// The place of a tensor that belongs to a layer.
    pub fn of(role: &Role) -> Place {
        let part = role.part.as_str();
        match role.component {
            Component::Attention => attention(part),
            Component::Norm => norm(part),
            Component::StateSpace => Place::StateSpace,
            Component::FeedForward => Place::FeedForward,
            Component::Router => Place::Router,
            Component::Experts => match role.expert {
                Some(expert) => Place::Expert(expert),
                None if part.ends_with("exps") => Place::Experts,
                None => Place::Router,
            },
            Component::SharedExperts => Place::SharedExpert,
            Component::Rope => Place::Attention,
            Component::Convolution => Place::Convolution,
            Component::Embedding
            | Component::Residual
            | Component::Output
            | Component::NextToken
            | Component::Projector
            | Component::Other => Place::Layer,
        }
    }
}

fn attention(part: &str) -> Place {
    match part {
        _ if part.starts_with("cross_attn") => Place::CrossAttention,
        "attn_q" | "attn_q_b" | "attn_kv_b" | "attn_k_b" | "attn_v_b" | "attn_sinks" | "attn_gate" => Place::QueryRows,
        "attn_output" | "attn_o" | "attn_out" => Place::QueryColumns,
        "attn_k" | "attn_v" | "attn_kv_a_mqa" => Place::KeyValueRows,
        "attn_qkv" => Place::QueryKeyValueRows,
        _ => Place::Attention,
    }
}

fn norm(part: &str) -> Place {
    match part {
        "attn_norm" | "attn_norm_2" | "ln1" => Place::AttentionNorm,
        "post_attention_norm" | "attn_post_norm" => Place::PostAttentionNorm,
        "attn_output_norm" => Place::AttentionOutputNorm,
        "cross_attn_norm" | "cross_attn_norm_kv" => Place::CrossAttentionNorm,
        "ffn_norm" | "ffn_norm_exps" | "pre_ffw_norm_2" | "ln2" => Place::FeedForwardNorm,
        "post_ffw_norm" | "post_ffw_norm_1" | "post_ffw_norm_2" | "ffn_post_norm" => Place::PostFeedForwardNorm,
        "layer_output_norm" => Place::LayerOutputNorm,
        _ if part.starts_with("attn_") || part.starts_with("indexer") => Place::Attention,
        _ if part.starts_with("ssm_") || part.starts_with("time_mix") => Place::StateSpace,
        _ if part.starts_with("ffn_routed") => Place::Router,
        _ if part.starts_with("ffn_") => Place::FeedForward,
        _ => Place::Layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_a_layer_have_their_places() {
        let of = |name: &str| Place::of(&Role::of(name));
        for (name, place) in [
            ("blk.0.attn_q.weight", Place::QueryRows),
            ("blk.0.attn_q_norm.weight", Place::Attention),
            ("blk.0.attn_output.weight", Place::QueryColumns),
            ("blk.0.attn_k.bias", Place::KeyValueRows),
            ("blk.0.attn_norm.weight", Place::AttentionNorm),
            ("blk.0.post_attention_norm.weight", Place::PostAttentionNorm),
            ("blk.0.ffn_down_exps.weight", Place::Experts),
            ("blk.0.ffn_gate.3.weight", Place::Expert(3)),
            ("blk.0.ffn_gate_inp.weight", Place::Router),
            ("blk.0.ffn_up_shexp.weight", Place::SharedExpert),
            ("blk.0.ssm_dt_norm.weight", Place::StateSpace),
            ("blk.0.ffn_sub_norm.weight", Place::FeedForward),
            ("blk.0.layer_output_norm.bias", Place::LayerOutputNorm),
            ("dec.blk.0.cross_attn_q.weight", Place::CrossAttention),
            ("blk.61.nextn.eh_proj.weight", Place::Layer),
        ] {
            assert_eq!(of(name), place, "{name}");
        }
    }
}
