//! The architecture of a model: its layers and their mixers, heads, windows, feed-forward networks and experts, with the
//! defaults that llama.cpp fills in. What the tensors show (sizes, gates, experts) is taken from them, the rest from
//! the metadata.

use super::families::{self, RopeStyle};
use super::hparams::{HParams, Swa, at};
use super::keys::Keys;
use super::layer_tensors::LayerTensors;
use super::role::Stack;
use crate::gguf::{Gguf, Value};
use serde::Serialize;
use utoipa::ToSchema;

/// What sort of model a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Predicts the next token from those before it.
    Decoder,
    /// Reads a text at once and gives vectors or scores.
    Encoder,
    /// An encoder whose result a decoder attends to.
    EncoderDecoder,
    /// Decoder without attention: a state of fixed size.
    Recurrent,
    /// Decoder with both attention and states.
    Hybrid,
    /// Fills in all tokens of an answer at once.
    Diffusion,
    /// A tower for images or sound and its projector.
    Projector,
    /// A low-rank adapter for another model.
    Adapter,
    /// A tokenizer and no tensors.
    VocabularyOnly,
    /// Tensors of no architecture.
    Unknown,
}

/// How queries share keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// Multi-head attention: each query head has a key head of its own.
    Mha,
    /// Grouped-query attention: some query heads share one.
    Gqa,
    /// Multi-query attention: all share one.
    Mqa,
    /// Multi-head latent attention: keys and values are decompressed from one small vector.
    Mla,
}

impl AttentionKind {
    /// Its usual abbreviation.
    pub fn name(self) -> &'static str {
        match self {
            AttentionKind::Mha => "MHA",
            AttentionKind::Gqa => "GQA",
            AttentionKind::Mqa => "MQA",
            AttentionKind::Mla => "MLA",
        }
    }
}

/// How a window slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// The last tokens.
    Standard,
    /// Tokens since the last multiple of the window.
    Chunked,
    /// Half a window on each side.
    Symmetric,
}

/// Whose keys and values a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Its own.
    Own,
    /// Those of an earlier layer.
    Layer(u32),
    /// None are kept.
    None,
}

/// The attention of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = architecture::Attention)]
pub struct Attention {
    /// How queries share keys and values.
    pub kind: AttentionKind,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; those after decompression where they are compressed.
    pub kv_heads: u32,
    /// Values of a key head (and of a query head).
    pub head_k: u32,
    /// Values of a value head.
    pub head_v: u32,
    /// Tokens that it sees, if not all.
    pub window: Option<u32>,
    /// Whose keys and values it uses.
    pub cache: Cache,
    /// It has a learned sink for each head.
    pub sinks: bool,
}

/// What keeps a state of fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// Mamba's selective state space.
    Mamba,
    /// Mamba 2's, with heads.
    Mamba2,
    /// Gated delta net.
    DeltaNet,
    /// Kimi's delta attention.
    Kda,
    /// Lightning attention.
    Lightning,
    /// RWKV's time mix.
    Rwkv,
    /// A short convolution.
    ShortConv,
}

/// The experts of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Experts {
    /// How many there are.
    pub count: u32,
    /// How many a token uses.
    pub used: u32,
    /// Inner size of one.
    pub size: u64,
    /// Inner size of the shared experts together; 0 if there are none.
    pub shared_size: u64,
}

/// The feed-forward network of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FeedForward {
    /// Inner size of the dense network; 0 if there are only experts.
    pub size: u64,
    /// It has a gate beside the way up.
    pub gated: bool,
    /// Its experts.
    pub experts: Option<Experts>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = architecture::Layer)]
pub struct Layer {
    /// Its number, within its stack.
    pub index: u32,
    /// The stack.
    pub stack: Stack,
    /// It only predicts tokens after the next one (MTP).
    pub next_token: bool,
    /// Its attention.
    pub attention: Option<Attention>,
    /// Attention to the encoder's result.
    pub cross_attention: Option<Attention>,
    /// Its mixer with a state.
    pub state: Option<StateKind>,
    /// Its feed-forward network.
    pub feed_forward: Option<FeedForward>,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Rope {
    /// Values of a head that are rotated.
    pub dimensions: u32,
    /// Which values are rotated together: `norm` (neighbours), `neox` (halves), `multi` (sections).
    pub style: String,
    /// Base frequency.
    pub base: f64,
    /// Base frequency in layers with a window, where it is another.
    pub base_window: Option<f64>,
    /// How longer contexts are reached: `none`, `linear`, `yarn`, `longrope`.
    pub scaling: String,
    /// By how much.
    pub factor: Option<f64>,
    /// Context before that, in tokens.
    pub original_context: Option<u32>,
    /// Sizes of sections for time, height and width.
    pub sections: Vec<u32>,
}

/// The architecture of a model.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Architecture {
    /// `general.architecture`.
    pub name: String,
    /// Whether the vendored llama.cpp knows it.
    pub known: bool,
    /// What sort of model it is.
    pub kind: ModelKind,
    /// Hidden size.
    pub hidden: u32,
    /// Tokens of the vocabulary.
    pub vocabulary: u64,
    /// Context that it was trained on, in tokens.
    pub context: u32,
    /// Layers that a token passes through, each as often as it runs.
    pub layers: Vec<Layer>,
    /// Times that the layers in the file run.
    pub loops: u32,
    /// Sizes of the latent vectors of queries and of keys and values, where attention is compressed.
    pub latent: Option<(u32, u32)>,
    /// How windows slide.
    pub window_kind: Option<WindowKind>,
    /// Positions.
    pub rope: Option<Rope>,
    /// `rms`, `layer`, `group`, as the file gives their epsilons.
    pub norms: Vec<String>,
    /// Names of the norms in a layer, such as `attn_norm`.
    pub layer_norms: Vec<String>,
    /// The output uses the embedding's matrix.
    pub tied_embeddings: bool,
    /// Later tokens are hidden from earlier ones.
    pub causal: bool,
    /// How one vector is made of all: `none`, `mean`, `cls`, `last`, `rank`.
    pub pooling: Option<String>,
}

impl Architecture {
    /// The architecture of a model, with the hyperparameters behind it.
    pub fn of(model: &Gguf) -> (Architecture, HParams) {
        let keys = Keys::new(model.first(), model.architecture());
        let tensors = LayerTensors::of(model);
        let hp = HParams::read(&keys, &|name| tensors.has(name));
        let name = keys.arch();
        let multi = hp.rope_sections.iter().filter(|&&n| n > 0).count() > 1;
        let style = families::rope_style(name, multi);
        let architecture = Architecture {
            known: families::is_known(name),
            kind: kind(model, &keys, &hp, &tensors),
            hidden: hp.n_embd,
            vocabulary: vocabulary(model, &keys, &tensors),
            context: hp.n_ctx_train,
            layers: layers(name, &hp, &tensors),
            loops: hp.n_loops,
            latent: (hp.n_lora_kv > 0).then_some((hp.n_lora_q, hp.n_lora_kv)),
            window_kind: window_kind(hp.swa),
            rope: (style != RopeStyle::None && hp.n_rot > 0).then(|| rope(&keys, &hp, style)),
            norms: norms(&keys),
            layer_norms: tensors.norms(),
            tied_embeddings: is_tied(name, &tensors),
            causal: hp.causal,
            pooling: hp.pooling.and_then(pooling),
            name: name.to_owned(),
        };
        (architecture, hp)
    }

    /// Layers that a token of the main model passes through: no next-token blocks.
    pub fn main_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| !layer.next_token)
    }

    /// Layers with attention, of those.
    pub fn attention_layers(&self) -> impl Iterator<Item = &Attention> {
        self.main_layers().filter_map(|layer| layer.attention.as_ref())
    }
}

fn kind(model: &Gguf, keys: &Keys, hp: &HParams, tensors: &LayerTensors) -> ModelKind {
    let name = keys.arch();
    let general = model.first().header().get("general.type").and_then(Value::text);
    if general == Some("adapter") {
        return ModelKind::Adapter;
    }
    if name == "clip" || matches!(general, Some("mmproj" | "clip-vision")) {
        return ModelKind::Projector;
    }
    if tensors.is_empty() {
        let tokens = model.first().header().get("tokenizer.ggml.tokens").is_some();
        return if tokens { ModelKind::VocabularyOnly } else { ModelKind::Unknown };
    }
    match name {
        "" => ModelKind::Unknown,
        "t5" => ModelKind::EncoderDecoder,
        _ if families::is_diffusion(name) => ModelKind::Diffusion,
        _ if families::has_no_logits(name) || families::has_no_cache(name) => ModelKind::Encoder,
        _ if families::is_recurrent(name) => ModelKind::Recurrent,
        _ if hp.is_recr.iter().any(|&recr| recr) => ModelKind::Hybrid,
        _ => ModelKind::Decoder,
    }
}

fn vocabulary(model: &Gguf, keys: &Keys, tensors: &LayerTensors) -> u64 {
    let listed = match model.first().header().get("tokenizer.ggml.tokens") {
        Some(&Value::Strings { count, .. }) => Some(count),
        _ => None,
    };
    let rows = tensors.shape("token_embd.weight").map(|ne| ne[1].unsigned_abs());
    listed.or(keys.count("vocab_size").map(u64::from)).or(rows).unwrap_or(0)
}

fn layers(name: &str, hp: &HParams, tensors: &LayerTensors) -> Vec<Layer> {
    if name == "t5" {
        let stack = |stack, count| (0..count).map(move |i| (stack, i));
        let layers = stack(Stack::Encoder, hp.n_layer()).chain(stack(Stack::Decoder, hp.n_layer_dec.unwrap_or(0)));
        return layers.map(|(stack, i)| layer(name, hp, tensors, stack, i)).collect();
    }
    let stack = if name == "t5encoder" { Stack::Encoder } else { Stack::Model };
    // The layer that chooses adapters has no tensors of its own kind; its cache is counted, it is no layer of the model.
    let count = if hp.router_layer.is_some() { hp.n_layer() } else { hp.n_layer_all };
    (0..count).map(|i| layer(name, hp, tensors, stack, i)).collect()
}

fn layer(name: &str, hp: &HParams, tensors: &LayerTensors, stack: Stack, index: u32) -> Layer {
    let stored = if hp.n_loops > 1 { index % (hp.n_layer_all / hp.n_loops).max(1) } else { index };
    let has = |part: &str| tensors.part(stack, stored, part).is_some();
    let recurrent = hp.is_recr.get(index as usize).copied().unwrap_or(false);
    let attends = at(&hp.n_head, index) > 0
        && match name {
            "falcon-h1" => true,
            "nemotron_h" | "nemotron_h_moe" => !recurrent && at(&hp.n_ff, index) == 0 && at(&hp.n_head_kv, index) > 0,
            _ => !recurrent && at(&hp.n_head_kv, index) > 0,
        };
    Layer {
        index,
        stack,
        next_token: index >= hp.n_layer() && stack == Stack::Model,
        attention: attends.then(|| attention(name, hp, index, has("attn_sinks"))),
        cross_attention: has("cross_attn_q").then(|| attention(name, hp, index, false)),
        state: if recurrent { state_kind(name) } else { None },
        feed_forward: feed_forward(hp, tensors, stack, index, stored),
    }
}

fn attention(name: &str, hp: &HParams, index: u32, sinks: bool) -> Attention {
    let (heads, kv_heads) = (at(&hp.n_head, index), at(&hp.n_head_kv, index));
    let windowed = hp.is_swa.get(index as usize).copied().unwrap_or(false);
    let (head_k, head_v) = hp.mla.unwrap_or(hp.heads(index));
    let kind = match (hp.n_lora_kv > 0 || hp.mla.is_some(), kv_heads) {
        (true, _) => AttentionKind::Mla,
        (_, n) if n == heads => AttentionKind::Mha,
        (_, 1) => AttentionKind::Mqa,
        _ => AttentionKind::Gqa,
    };
    let cache = match hp.n_layer_kv_from_start {
        _ if families::has_no_cache(name) => Cache::None,
        Some(n) if index >= n => Cache::Layer(n.saturating_sub(if windowed { 2 } else { 1 })),
        _ => Cache::Own,
    };
    let kv_heads = if hp.mla.is_some() { heads } else { kv_heads };
    Attention { kind, heads, kv_heads, head_k, head_v, window: windowed.then_some(hp.n_swa), cache, sinks }
}

fn state_kind(name: &str) -> Option<StateKind> {
    Some(match name {
        "mamba" | "jamba" => StateKind::Mamba,
        "mamba2" | "granitehybrid" | "falcon-h1" | "plamo2" | "nemotron_h" | "nemotron_h_moe" => StateKind::Mamba2,
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" | "clef" => StateKind::DeltaNet,
        "kimi-linear" | "kimi-k3" | "glm5-next" | "bailingmoe3" => StateKind::Kda,
        "minimax-01" => StateKind::Lightning,
        "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => StateKind::Rwkv,
        "lfm2" | "lfm2moe" => StateKind::ShortConv,
        _ => return None,
    })
}

fn feed_forward(hp: &HParams, tensors: &LayerTensors, stack: Stack, index: u32, stored: u32) -> Option<FeedForward> {
    let part = |name: &str| tensors.part(stack, stored, name).map(|ne| ne.map(i64::unsigned_abs));
    if tensors.is_empty() {
        let size = u64::from(at(&hp.n_ff, index));
        return (size > 0).then_some(FeedForward { size, gated: true, experts: None });
    }
    let down = part("ffn_down").or(part("channel_mix_value"));
    // One matrix for the gate and the way up is twice as high as the way down is wide.
    let fused = |up: &str, down: [u64; 4]| part(up).is_some_and(|up| down[0] > 0 && up[1] == down[0].saturating_mul(2));
    let experts = match (part("ffn_down_exps"), tensors.numbered_experts(stack, stored)) {
        (Some(ne), _) => Some((ne[2] as u32, ne[0])),
        (None, count) if count > 0 => Some((count, part("ffn_down.0").map_or(0, |ne| ne[0]))),
        _ => None,
    };
    let gated = ["ffn_gate", "ffn_gate_exps", "ffn_gate_up_exps", "ffn_gate.0"].iter().any(|gate| part(gate).is_some())
        || down.is_some_and(|down| fused("ffn_up", down));
    let experts = experts.map(|(count, size)| Experts {
        count,
        used: at(&hp.n_expert_used, index).min(count),
        size,
        shared_size: part("ffn_down_shexp").map_or(0, |ne| ne[0]),
    });
    (down.is_some() || experts.is_some()).then(|| FeedForward { size: down.map_or(0, |ne| ne[0]), gated, experts })
}

fn window_kind(swa: Swa) -> Option<WindowKind> {
    match swa {
        Swa::None => None,
        Swa::Standard => Some(WindowKind::Standard),
        Swa::Chunked => Some(WindowKind::Chunked),
        Swa::Symmetric => Some(WindowKind::Symmetric),
    }
}

fn rope(keys: &Keys, hp: &HParams, style: RopeStyle) -> Rope {
    let style = match style {
        RopeStyle::None => "none",
        RopeStyle::Norm => "norm",
        RopeStyle::Neox => "neox",
        RopeStyle::Multi => "multi",
    };
    let factor = keys.float("rope.scaling.factor").or_else(|| keys.float("rope.scale_linear")).filter(|&f| f != 0.0);
    let scaling = match keys.text("rope.scaling.type").unwrap_or("linear") {
        // llama.cpp's default too, and without a factor nothing is scaled.
        "linear" if factor.is_none_or(|f| f == 1.0) => "none",
        named => named,
    };
    let windowed = hp.is_swa.contains(&true) && hp.rope_base_swa != hp.rope_base;
    Rope {
        dimensions: hp.n_rot,
        style: style.to_owned(),
        base: hp.rope_base,
        base_window: windowed.then_some(hp.rope_base_swa),
        scaling: scaling.to_owned(),
        factor,
        original_context: keys.count("rope.scaling.original_context_length"),
        sections: hp.rope_sections.clone(),
    }
}

fn norms(keys: &Keys) -> Vec<String> {
    let epsilons = [
        ("rms", "attention.layer_norm_rms_epsilon"),
        ("layer", "attention.layer_norm_epsilon"),
        ("group", "attention.group_norm_epsilon"),
    ];
    let given = epsilons.iter().filter(|(_, key)| keys.get(key).is_some());
    given.map(|(name, _)| (*name).to_owned()).collect()
}

/// Where a model that gives logits has no output matrix, llama.cpp takes the embedding's.
fn is_tied(name: &str, tensors: &LayerTensors) -> bool {
    !families::has_no_logits(name) && tensors.has("token_embd.weight") && !tensors.has("output.weight")
}

/// `llama_pooling_type`; of -1 llama.cpp chooses.
fn pooling(id: u32) -> Option<String> {
    if id == u32::MAX {
        return None;
    }
    Some(match id {
        0 => "none".into(),
        1 => "mean".into(),
        2 => "cls".into(),
        3 => "last".into(),
        4 => "rank".into(),
        other => format!("unknown ({other})"),
    })
}
