//! What a tensor is for, told by its name alone: the part of the model, the layer, the expert. The names are those of
//! llama.cpp (`LLM_TENSOR_NAMES` in src/llama-arch.cpp; for vision and audio towers tools/mtmd/clip-impl.h), which a test
//! reads from the vendored source.

use serde::Serialize;
use utoipa::ToSchema;

/// The part of a model that a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Rows that are looked up: tokens, positions, token types, per-layer embeddings.
    Embedding,
    /// Projections to queries, keys and values and back, sinks, indexers of sparse attention.
    Attention,
    /// The dense feed-forward network (RWKV's channel mix too).
    FeedForward,
    /// Experts of which a token uses some.
    Experts,
    /// Experts that every token uses.
    SharedExperts,
    /// What chooses the experts.
    Router,
    /// Normalisations, wherever they stand.
    Norm,
    /// Mixers with a state of fixed size: state space, delta net, RWKV's time mix, short convolution.
    StateSpace,
    /// Convolutions of vocoders and towers.
    Convolution,
    /// What mixes or scales the residual stream: hyper-connections, AltUp, Laurel, per-layer inputs.
    Residual,
    /// Factors of the rotary position embedding.
    Rope,
    /// From the last hidden state to logits, scores or a pooled vector.
    Output,
    /// Blocks that predict tokens after the next one (MTP).
    NextToken,
    /// From a vision or audio tower into the hidden size of a language model.
    Projector,
    /// None of the above.
    Other,
}

impl Component {
    /// In the order in which a token meets them.
    pub const ALL: [Component; 15] = [
        Component::Embedding,
        Component::Norm,
        Component::Attention,
        Component::StateSpace,
        Component::Convolution,
        Component::FeedForward,
        Component::Router,
        Component::Experts,
        Component::SharedExperts,
        Component::Residual,
        Component::Rope,
        Component::Output,
        Component::NextToken,
        Component::Projector,
        Component::Other,
    ];

    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Component::Embedding => "embedding",
            Component::Attention => "attention",
            Component::FeedForward => "feed-forward",
            Component::Experts => "experts",
            Component::SharedExperts => "shared experts",
            Component::Router => "router",
            Component::Norm => "norms",
            Component::StateSpace => "state space",
            Component::Convolution => "convolution",
            Component::Residual => "residual",
            Component::Rope => "rope factors",
            Component::Output => "output",
            Component::NextToken => "next-token blocks",
            Component::Projector => "projector",
            Component::Other => "other",
        }
    }
}

/// The stack of layers that a tensor belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stack {
    /// The language model (`blk.N`, and what has no layer).
    #[default]
    Model,
    /// The encoder of an encoder-decoder model (`enc.blk.N`).
    Encoder,
    /// Its decoder (`dec.blk.N`).
    Decoder,
    /// A vision tower (`v.`).
    Vision,
    /// An audio tower (`a.`).
    Audio,
    /// Between a tower and the language model (`mm.`, `resampler.`, `adapter.`).
    Projector,
}

impl Stack {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Stack::Model => "model",
            Stack::Encoder => "encoder",
            Stack::Decoder => "decoder",
            Stack::Vision => "vision",
            Stack::Audio => "audio",
            Stack::Projector => "projector",
        }
    }
}

/// What a tensor of a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[schema(as = role::Kind)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What is multiplied with (`.weight`, or a name without an end of its own).
    Weight,
    /// What is added (`.bias`).
    Bias,
    /// A factor for a quantised weight (`.scale`, `.input_scale`).
    Scale,
}

/// What a tensor is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Role {
    /// The part of the model.
    pub component: Component,
    /// The stack that `layer` counts in.
    pub stack: Stack,
    /// Number of the layer, if it belongs to one.
    pub layer: Option<u32>,
    /// llama.cpp's name of the part without layer and ending, such as `attn_q`.
    pub part: String,
    /// Weight or bias.
    pub kind: Kind,
    /// Number of the expert, where each has a tensor of its own.
    pub expert: Option<u32>,
}

impl Role {
    /// What the tensor with this name is for.
    pub fn of(name: &str) -> Role {
        let (name, kind) = split_kind(name);
        let (stack, name) = split_stack(name);
        let (layer, part) = split_layer(name);
        let (part, expert) = split_expert(part);
        let component = match stack {
            Stack::Projector => Component::Projector,
            _ if expert.is_some() => Component::Experts,
            Stack::Model | Stack::Encoder | Stack::Decoder => of_part(part),
            Stack::Vision | Stack::Audio => of_tower(part),
        };
        Role { component, stack, layer, part: part.to_owned(), kind, expert }
    }
}

fn split_kind(name: &str) -> (&str, Kind) {
    let endings =
        [(".weight", Kind::Weight), (".bias", Kind::Bias), (".input_scale", Kind::Scale), (".scale", Kind::Scale)];
    endings.iter().find_map(|&(end, kind)| Some((name.strip_suffix(end)?, kind))).unwrap_or((name, Kind::Weight))
}

fn split_stack(name: &str) -> (Stack, &str) {
    let stacks = [
        ("enc.", Stack::Encoder),
        ("dec.", Stack::Decoder),
        ("v.", Stack::Vision),
        ("a.", Stack::Audio),
        ("mm.", Stack::Projector),
        ("resampler.", Stack::Projector),
        ("adapter.", Stack::Projector),
    ];
    stacks.iter().find_map(|&(start, s)| Some((s, name.strip_prefix(start)?))).unwrap_or((Stack::Model, name))
}

/// `blk.7.attn_q` is `attn_q` of layer 7; WavTokenizer's stacks are `posnet` and `convnext`.
fn split_layer(name: &str) -> (Option<u32>, &str) {
    let numbered = |start: &str| {
        let (number, part) = name.strip_prefix(start)?.split_once('.')?;
        Some((number.parse().ok()?, part))
    };
    match numbered("blk.") {
        Some((layer, part)) => (Some(layer), part),
        None => (numbered("posnet.").or_else(|| numbered("convnext.")).map(|(layer, _): (u32, _)| layer), name),
    }
}

/// `ffn_up.3` is `ffn_up` of expert 3: how the first mixtures of experts were written.
fn split_expert(part: &str) -> (&str, Option<u32>) {
    let split = part.rsplit_once('.').filter(|(part, _)| matches!(*part, "ffn_gate" | "ffn_down" | "ffn_up"));
    match split.and_then(|(part, number)| Some((part, number.parse().ok()?))) {
        Some((part, expert)) => (part, Some(expert)),
        None => (part, None),
    }
}

fn of_part(part: &str) -> Component {
    use Component::*;
    let is = |names: &[&str]| names.contains(&part);
    let starts = |starts: &[&str]| starts.iter().any(|s| part.starts_with(s));
    let ends = |ends: &[&str]| ends.iter().any(|e| part.ends_with(e));
    if starts(&["nextn."]) {
        return NextToken;
    }
    if starts(&["decision.", "cls"]) {
        return Output;
    }
    if part.contains("norm") || is(&["time_mix_ln"]) {
        return Norm;
    }
    if starts(&["rope_"]) || is(&["attn_rot_embd"]) {
        return Rope;
    }
    if starts(&["ffn_gate_inp", "exp_probs_b", "ffn_gate_tid2eid"]) {
        return Router;
    }
    if ends(&["_shexp"]) {
        return SharedExperts;
    }
    if ends(&["exps"]) || starts(&["ffn_latent_", "ffn_routed_"]) {
        return Experts;
    }
    if ends(&["_res_score"]) || starts(&["hc_", "output_hc_", "altup_", "laurel_", "ple_", "hrm."]) {
        return Residual;
    }
    if is(&["inp_gate", "proj", "layer_output_scale"]) {
        return Residual;
    }
    if starts(&["posnet.", "convnext.", "conv1d"]) && !part.contains("attn_") {
        return Convolution;
    }
    if starts(&["attn_", "cross_attn_", "indexer", "vis_attn_", "posnet."]) {
        return Attention;
    }
    if starts(&["ssm_", "time_mix_", "shortconv."]) {
        return StateSpace;
    }
    if starts(&["ffn_", "ffn.", "channel_mix_", "vis_"]) {
        return FeedForward;
    }
    if starts(&["token_", "position_", "per_layer_", "masked_embd_"]) {
        return Embedding;
    }
    if starts(&["output", "dense_", "markov_", "selector_"]) || is(&["fc", "d2t", "conf_proj"]) {
        return Output;
    }
    Other
}

/// Parts of a tower: those of a language model, and a few with names of their own.
fn of_tower(part: &str) -> Component {
    use Component::*;
    let last = part.rsplit('.').next().unwrap_or(part);
    let embeds = ["embd", "embed", "img_break", "boi", "eoi", "newline", "seperator"];
    let is_norm = part.contains("norm") || part.contains("_ln") || part.starts_with("ln") || last.starts_with("bn");
    match part {
        _ if is_norm => Norm,
        _ if part.contains("attn") || part.contains("linear_pos") || part.contains("pos_bias") => Attention,
        _ if part.starts_with("proj_") || part.starts_with("deepstack.") || part.contains("merger") => Projector,
        _ if part.contains("conv") => Convolution,
        _ if embeds.iter().any(|e| part.contains(e)) => Embedding,
        _ if part.starts_with("ls") || part.contains("scale") || part.contains("gamma") => Residual,
        _ if part.contains("ffn") || part.contains("mlp") => {
            of_part(if part.starts_with("ffn") { part } else { "ffn_" })
        }
        _ => of_part(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::vendored;

    #[test]
    fn every_tensor_name_that_llama_cpp_knows_has_a_component() {
        let names = vendored::tensor_names();
        assert!(names.len() > 250, "only {} names were found", names.len());
        let others: Vec<&String> = names
            .iter()
            .filter(|name| {
                let role = Role::of(&format!("{}.weight", name.replace("%d", "7")));
                role.component == Component::Other || (name.contains("%d") && role.layer != Some(7))
            })
            .collect();
        assert!(others.is_empty(), "{others:?}");
    }

    #[test]
    fn a_name_says_layer_part_and_kind() {
        let role = Role::of("blk.27.attn_q.bias");
        assert_eq!((role.component, role.layer, role.part.as_str()), (Component::Attention, Some(27), "attn_q"));
        assert_eq!((role.kind, role.stack), (Kind::Bias, Stack::Model));
        let role = Role::of("dec.blk.3.cross_attn_o.weight");
        assert_eq!((role.component, role.stack, role.layer), (Component::Attention, Stack::Decoder, Some(3)));
        let role = Role::of("blk.2.ffn_down.7.weight");
        assert_eq!((role.component, role.expert, role.part.as_str()), (Component::Experts, Some(7), "ffn_down"));
        let role = Role::of("v.blk.11.ln1.weight");
        assert_eq!((role.component, role.stack, role.layer), (Component::Norm, Stack::Vision, Some(11)));
        assert_eq!(Role::of("mm.0.weight").component, Component::Projector);
        assert_eq!(Role::of("blk.0.ssm_a").kind, Kind::Weight);
    }

    #[test]
    fn parts_that_look_alike_are_told_apart() {
        let component = |name| Role::of(name).component;
        assert_eq!(component("blk.1.ffn_gate_inp.weight"), Component::Router);
        assert_eq!(component("blk.1.ffn_gate_exps.weight"), Component::Experts);
        assert_eq!(component("blk.1.ffn_gate_shexp.weight"), Component::SharedExperts);
        assert_eq!(component("blk.1.ffn_gate.weight"), Component::FeedForward);
        assert_eq!(component("blk.1.attn_q_norm.weight"), Component::Norm);
        assert_eq!(component("blk.61.nextn.shared_head_norm.weight"), Component::NextToken);
        assert_eq!(component("output_norm.weight"), Component::Norm);
        assert_eq!(component("output.weight"), Component::Output);
        assert_eq!(component("token_embd.weight"), Component::Embedding);
        assert_eq!(component("nothing.weight"), Component::Other);
    }

    #[test]
    fn a_layer_number_that_is_none_is_not_believed() {
        for name in ["blk.99999999999.attn_q.weight", "blk.-1.attn_q.weight", "blk.x.attn_q.weight", "blk.", "blk.1"] {
            assert_eq!(Role::of(name).layer, None, "{name}");
        }
    }
}
