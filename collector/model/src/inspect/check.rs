//! Whether metadata and tensors of a model agree: what llama.cpp would refuse although the file as such is in order.

use super::architecture::{Architecture, ModelKind};
use super::facts::Tensor;
use super::hparams::{HParams, at};
use super::keys::MAX_LAYERS;
use super::role::Stack;
use crate::gguf::{Finding, Gguf, Scalar, Severity, Value};

/// Keys of every architecture that llama.cpp takes as u32 and as nothing else (`llama_model_base::load_hparams`).
const COUNTS: [&str; 7] = [
    "block_count",
    "context_length",
    "embedding_length",
    "embedding_length_out",
    "expert_count",
    "expert_group_count",
    "expert_group_used_count",
];

/// What does not agree.
pub fn check(model: &Gguf, architecture: &Architecture, hp: &HParams, tensors: &[Tensor]) -> Vec<Finding> {
    let header = model.first().header();
    let mut findings = vec![];
    let mut add = |severity, key: &str, what: String| {
        let at = header.pair(key).map_or(0, |pair| pair.value_at);
        findings.push(Finding { severity, file: None, at, what });
    };
    let name = &architecture.name;
    if name.is_empty() {
        let key = "general.architecture";
        let what = match header.pair(key).filter(|pair| pair.value.text().is_none()) {
            Some(pair) => format!("{key} is of type {}, not string", pair.type_name()),
            None => format!("there is no {key}"),
        };
        add(Severity::Refused, key, what);
        return findings;
    }
    if !architecture.known {
        let what =
            format!("the architecture {name} is none that the vendored llama.cpp knows; what follows is a guess");
        add(Severity::Refused, "general.architecture", what);
    }
    let key = |suffix: &str| format!("{name}.{suffix}");
    if hp.too_many_layers {
        let what = format!("more layers than llama.cpp takes ({MAX_LAYERS})");
        add(Severity::Refused, &key("block_count"), what);
    }
    if matches!(architecture.kind, ModelKind::Adapter | ModelKind::Projector | ModelKind::VocabularyOnly) {
        return findings;
    }
    for suffix in COUNTS {
        let wrong = header.pair(&key(suffix)).filter(|pair| pair.kind != Scalar::U32 as u32);
        if let Some(pair) = wrong {
            add(Severity::Refused, &pair.key, format!("{} is of type {}, not u32", pair.key, pair.type_name()));
        }
    }
    for wanted in ["block_count", "embedding_length", "context_length"] {
        if header.get(&key(wanted)).is_none() {
            add(Severity::Refused, "", format!("there is no {}", key(wanted)));
        }
    }
    if header.get(&key("block_count")).and_then(Value::integer) == Some(0) {
        add(Severity::Refused, &key("block_count"), "a model without layers".into());
    }
    if let Some(layer) = (0..hp.n_layer()).find(|&i| at(&hp.n_expert_used, i) > hp.n_expert) {
        let (used, all) = (at(&hp.n_expert_used, layer), hp.n_expert);
        add(Severity::Refused, &key("expert_used_count"), format!("a token uses {used} experts of {all}"));
    }
    if let Some(layer) = (0..hp.n_layer()).find(|&i| {
        let (heads, kv) = (at(&hp.n_head, i), at(&hp.n_head_kv, i));
        kv > 0 && !heads.is_multiple_of(kv)
    }) {
        let (heads, kv) = (at(&hp.n_head, layer), at(&hp.n_head_kv, layer));
        let what = format!("{heads} query heads cannot share {kv} key heads evenly (layer {layer})");
        add(Severity::Refused, &key("attention.head_count_kv"), what);
    }
    layers_with_tensors(architecture, hp, tensors, &mut add);
    let embedding = tensors.iter().find(|t| t.name == "token_embd.weight");
    if let Some(rows) = embedding.map(|t| t.ne[1]).filter(|&rows| u64::try_from(rows) != Ok(architecture.vocabulary)) {
        let tokens = architecture.vocabulary;
        add(Severity::Refused, "tokenizer.ggml.tokens", format!("{tokens} tokens, but token_embd has {rows} rows"));
    }
    findings
}

/// Layers without any tensor, and tensors of layers that there are not.
fn layers_with_tensors(
    architecture: &Architecture,
    hp: &HParams,
    tensors: &[Tensor],
    add: &mut impl FnMut(Severity, &str, String),
) {
    let layers = hp.n_layer_all / hp.n_loops - u32::from(hp.router_layer.is_some());
    // Looped stacks count their layers in another way.
    if architecture.name == "hrm_text" {
        return;
    }
    let mut there = vec![false; layers as usize];
    let mut beyond = None;
    for t in tensors.iter().filter(|t| matches!(t.role.stack, Stack::Model | Stack::Encoder)) {
        let Some(layer) = t.role.layer else { continue };
        match there.get_mut(layer as usize) {
            Some(there) => *there = true,
            None => beyond = beyond.max(Some(layer)),
        }
    }
    let key = format!("{}.block_count", architecture.name);
    if let Some(missing) = there.iter().position(|there| !there) {
        add(Severity::Refused, &key, format!("layer {missing} of {layers} has no tensors"));
    }
    if let Some(layer) = beyond.filter(|_| there.iter().all(|there| *there)) {
        add(Severity::Notice, &key, format!("there are tensors of layer {layer}, but only {layers} layers"));
    }
}
