//! Architectures of header-only models, as the models' makers and llama.cpp describe them.

use super::*;
use crate::testing::{self, Fixture};

fn of(fixture: &Fixture) -> Architecture {
    Architecture::of(&fixture.model()).0
}

fn kinds(a: &Architecture) -> Vec<AttentionKind> {
    let mut kinds: Vec<_> = a.attention_layers().map(|l| l.kind).collect();
    kinds.dedup();
    kinds
}

fn windows(a: &Architecture) -> Vec<Option<u32>> {
    a.attention_layers().map(|l| l.window).collect()
}

#[test]
fn a_llama_of_28_layers_and_32_heads_is_one() {
    let a = of(&testing::llama(testing::TUTORIAL, true));
    assert_eq!((a.layers.len(), a.hidden, a.kind, a.known), (28, 3072, ModelKind::Decoder, true));
    assert_eq!((kinds(&a), a.tied_embeddings, a.causal), (vec![AttentionKind::Mha], true, true));
    let layer = &a.layers[27];
    let attention = layer.attention.as_ref().unwrap();
    assert_eq!((attention.heads, attention.kv_heads, attention.head_k, attention.window), (32, 32, 96, None));
    assert_eq!(layer.feed_forward, Some(FeedForward { size: 8192, gated: true, experts: None }));
    assert_eq!((a.vocabulary, a.norms), (128_256, vec!["rms".to_owned()]));
    assert_eq!(a.layer_norms, ["attn_norm", "ffn_norm"]);
    let rope = a.rope.unwrap();
    assert_eq!((rope.dimensions, rope.style.as_str(), rope.base), (96, "norm", 500_000.0));
}

#[test]
fn query_heads_share_key_heads_under_gqa_and_mqa() {
    let a = of(&testing::llama(testing::LLAMA_8B, false));
    assert_eq!((kinds(&a), a.tied_embeddings), (vec![AttentionKind::Gqa], false));
    let one = testing::Shape { kv_heads: 1, ..testing::LLAMA_8B };
    assert_eq!(kinds(&of(&testing::llama(one, false))), [AttentionKind::Mqa]);
}

#[test]
fn five_layers_of_six_of_gemma_3_have_a_window() {
    let a = of(&testing::gemma3());
    let expected: Vec<_> = (0..26).map(|i| (i % 6 != 5).then_some(512)).collect();
    assert_eq!(windows(&a), expected);
    assert_eq!((a.window_kind, kinds(&a)), (Some(WindowKind::Standard), vec![AttentionKind::Mqa]));
    assert_eq!(a.rope.unwrap().base_window, Some(10_000.0));
    assert_eq!(a.layer_norms.len(), 6);
}

#[test]
fn the_last_layers_of_gemma_3n_use_the_caches_of_earlier_ones() {
    let a = of(&testing::gemma3n());
    let caches: Vec<Cache> = a.attention_layers().map(|l| l.cache).collect();
    assert!(caches[..20].iter().all(|c| *c == Cache::Own));
    assert_eq!((caches[20], caches[24]), (Cache::Layer(18), Cache::Layer(19)));
}

#[test]
fn every_other_layer_of_gpt_oss_has_a_window_and_all_have_sinks() {
    let a = of(&testing::gpt_oss());
    let expected: Vec<_> = (0..24).map(|i| (i % 2 == 0).then_some(128)).collect();
    assert_eq!(windows(&a), expected);
    assert!(a.attention_layers().all(|l| l.sinks));
    let experts = a.layers[3].feed_forward.as_ref().unwrap().experts.as_ref().unwrap();
    assert_eq!((experts.count, experts.used, experts.size, experts.shared_size), (32, 4, 2880, 0));
}

#[test]
fn latent_attention_shared_experts_and_a_leading_dense_layer_are_seen() {
    let a = of(&testing::deepseek2());
    assert_eq!((kinds(&a), a.latent), (vec![AttentionKind::Mla], Some((0, 512))));
    let attention = a.layers[0].attention.as_ref().unwrap();
    assert_eq!((attention.heads, attention.head_k, attention.head_v), (16, 192, 128));
    assert_eq!(a.layers[0].feed_forward, Some(FeedForward { size: 10_944, gated: true, experts: None }));
    let experts = Experts { count: 64, used: 6, size: 1408, shared_size: 2816 };
    assert_eq!(a.layers[1].feed_forward, Some(FeedForward { size: 0, gated: true, experts: Some(experts) }));
}

#[test]
fn mixers_with_a_state_are_named() {
    let mamba = of(&testing::mamba());
    assert_eq!((mamba.kind, mamba.attention_layers().count()), (ModelKind::Recurrent, 0));
    assert!(mamba.layers.iter().all(|l| l.state == Some(StateKind::Mamba) && l.feed_forward.is_none()));
    let rwkv = of(&testing::rwkv6());
    assert!(rwkv.layers.iter().all(|l| l.state == Some(StateKind::Rwkv)));
    assert_eq!(rwkv.layers[0].feed_forward.as_ref().unwrap().size, 7168);
    let jamba = of(&testing::jamba());
    assert_eq!((jamba.kind, jamba.attention_layers().count()), (ModelKind::Hybrid, 2));
    assert!(jamba.layers[4].attention.is_some() && jamba.layers[4].state.is_none());
    assert_eq!(jamba.rope, None);
}

#[test]
fn encoders_keep_nothing_and_hide_nothing() {
    let a = of(&testing::bert());
    assert_eq!((a.kind, a.causal, a.pooling.as_deref()), (ModelKind::Encoder, false, Some("mean")));
    assert!(a.attention_layers().all(|l| l.cache == Cache::None));
    assert!(!a.tied_embeddings, "a model without logits has no output to tie");
    assert!(!a.layers[0].feed_forward.as_ref().unwrap().gated);
}

#[test]
fn a_decoder_of_t5_attends_to_its_encoder() {
    let a = of(&testing::t5());
    assert_eq!((a.kind, a.layers.len()), (ModelKind::EncoderDecoder, 12));
    let (encoder, decoder) = a.layers.split_at(6);
    assert!(encoder.iter().all(|l| l.stack == Stack::Encoder && l.cross_attention.is_none()));
    assert!(decoder.iter().all(|l| l.stack == Stack::Decoder && l.cross_attention.is_some()));
}

#[test]
fn a_vocabulary_alone_is_said_to_be_one() {
    let a = of(&testing::vocabulary_only());
    assert_eq!((a.kind, a.vocabulary, a.layers.len()), (ModelKind::VocabularyOnly, 1000, 0));
}

#[test]
fn numbers_that_cannot_be_cost_nothing() {
    let mut fixture = Fixture::new("qwen3next");
    for key in ["block_count", "attention.head_count", "embedding_length", "ssm.inner_size", "full_attention_interval"]
    {
        fixture.set(key, u32::MAX);
    }
    let (a, hp) = Architecture::of(&fixture.model());
    assert_eq!((a.layers.len(), hp.too_many_layers), (512, true));
    fixture.set("nextn_predict_layers", u32::MAX);
    assert_eq!(of(&fixture).main_layers().count(), 0);
}

#[test]
fn only_architectures_that_read_which_layers_have_an_indexer_go_by_it() {
    let indexers = |arch: &str| {
        let mut f = Fixture::new(arch);
        f.set("block_count", 3_u32).set("leading_dense_block_count", 1_u32);
        // What llama.cpp writes for all that have no such list.
        f.set("attention.indexer.key_length", 128_u32).set("attention.indexer.types", 0_u32);
        Architecture::of(&f.model()).1.indexer_full
    };
    assert_eq!(indexers("deepseek32"), [true; 3]);
    assert_eq!(indexers("qwen4exp"), [true; 3]);
    assert_eq!(indexers("minimax-m3"), [false, true, true]);
    assert_eq!(indexers("glm-dsa"), [false; 3]);
}

#[test]
fn what_llama_cpp_writes_for_nothing_is_said_to_be_nothing() {
    let mut f = testing::llama(testing::TUTORIAL, true);
    f.set("pooling_type", u32::MAX).set("rope.scaling.type", "linear");
    let a = of(&f);
    assert_eq!((a.pooling, a.rope.map(|rope| rope.scaling).as_deref()), (None, Some("none")));
}
