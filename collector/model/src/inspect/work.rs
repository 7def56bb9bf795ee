//! Floating-point operations and bytes that tokens cost, by part of the model, against the length of the sequence; and the
//! most tokens a second that a machine of given bandwidth and arithmetic can reach.
//!
//! Counted is what has to be done, once: a product of a matrix with a vector is 2 operations for each weight ("Scaling Laws
//! for Neural Language Models", Kaplan et al. 2020, section 2.1), attention is 2·heads·(key size + value size) for each
//! token that is seen, and a state is decayed, added to and read in 6 operations for each of its values (the recurrence of
//! "Mamba", Gu and Dao 2023, section 3.2). Softmax, activations and rotations are left out: under 1 % of a model's
//! work. Bytes are weights, rows of the embedding, keys, values and states; activations are left out, as they stay in the
//! processor's caches.

use super::architecture::{Architecture, Cache, ModelKind};
use super::facts::Tensor;
use super::hparams::{HParams, Swa};
use super::memory::Context;
use super::parameters::{active, chosen, expert_count, is_next_token};
use super::role::{Component, Kind, Stack};
use serde::Serialize;
use utoipa::ToSchema;

/// Work of one part of the model.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PartWork {
    /// A component, `cache` (attention to the tokens before) or `state`.
    pub what: String,
    /// Operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

/// Work of some tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Work {
    /// Tokens of the prompt, or the length of the sequence that one more token is generated for.
    pub tokens: u32,
    /// Operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
    /// Operations for each byte.
    pub intensity: f64,
    /// By part, in the order in which a token meets them.
    pub parts: Vec<PartWork>,
}

/// What tokens cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Costs {
    /// One generated token, for sequences of several lengths.
    pub generate: Vec<Work>,
    /// A whole prompt, for several lengths, computed so many tokens at once as the context says.
    pub prompt: Vec<Work>,
}

/// What a machine can do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Machine {
    /// Bytes a second that it reads from memory.
    pub bytes_per_second: f64,
    /// Operations a second.
    pub flops_per_second: f64,
}

/// What limits tokens a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Bytes a second.
    Memory,
    /// Operations a second.
    Arithmetic,
}

/// The most that a machine can reach (the roofline of Williams, Waterman and Patterson 2009).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Limit {
    /// Tokens of the prompt, or the length of the sequence.
    pub tokens: u32,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// What limits them.
    pub bound: Bound,
}

impl Machine {
    /// Seconds that work takes at least, and what limits it.
    pub fn least_seconds(&self, flops: f64, bytes: f64) -> (f64, Bound) {
        let (memory, arithmetic) = (bytes / self.bytes_per_second, flops / self.flops_per_second);
        if memory >= arithmetic { (memory, Bound::Memory) } else { (arithmetic, Bound::Arithmetic) }
    }

    /// The most tokens a second when each piece of `work` is `tokens` of them.
    pub fn limit(&self, work: &Work, tokens: f64) -> Limit {
        let (seconds, bound) = self.least_seconds(work.flops, work.bytes);
        Limit { tokens: work.tokens, tokens_per_second: tokens / seconds, bound }
    }
}

impl Costs {
    /// What tokens of a model cost in a context; sequences of the `lengths`.
    pub fn of(
        architecture: &Architecture,
        hp: &HParams,
        tensors: &[Tensor],
        context: &Context,
        lengths: &[u32],
    ) -> Costs {
        let model = Model { architecture, hp, tensors, context };
        let lengths = || lengths.iter().copied().filter(|&n| n > 0);
        match architecture.kind {
            ModelKind::Adapter | ModelKind::VocabularyOnly | ModelKind::Unknown | ModelKind::Projector => {
                Costs::default()
            }
            ModelKind::Encoder | ModelKind::Diffusion => {
                Costs { generate: vec![], prompt: lengths().map(|n| model.prompt(n)).collect() }
            }
            _ => Costs {
                generate: lengths().map(|n| model.generate(n)).collect(),
                prompt: lengths().map(|n| model.prompt(n)).collect(),
            },
        }
    }
}

/// Sums by part.
#[derive(Default)]
struct Parts(Vec<PartWork>);

impl Parts {
    fn add(&mut self, what: &str, flops: f64, bytes: f64) {
        match self.0.iter_mut().find(|part| part.what == what) {
            Some(part) => {
                part.flops += flops;
                part.bytes += bytes;
            }
            None => self.0.push(PartWork { what: what.to_owned(), flops, bytes }),
        }
    }

    fn work(mut self, tokens: u32) -> Work {
        let order = |what: &str| Component::ALL.iter().position(|c| c.name() == what).unwrap_or(usize::MAX);
        self.0.retain(|part| part.flops > 0.0 || part.bytes > 0.0);
        self.0.sort_by_key(|part| order(&part.what));
        let sum = |of: fn(&PartWork) -> f64| self.0.iter().map(of).sum::<f64>();
        let (flops, bytes) = (sum(|part| part.flops), sum(|part| part.bytes));
        Work { tokens, flops, bytes, intensity: if bytes > 0.0 { flops / bytes } else { 0.0 }, parts: self.0 }
    }
}

struct Model<'a> {
    architecture: &'a Architecture,
    hp: &'a HParams,
    tensors: &'a [Tensor],
    context: &'a Context,
}

impl Model<'_> {
    /// One token after a sequence of `n - 1`.
    fn generate(&self, n: u32) -> Work {
        let mut parts = Parts::default();
        for t in self.tensors.iter().filter(|t| t.role.stack != Stack::Encoder) {
            self.weight(&mut parts, t, 1.0, 1.0, 1.0);
        }
        let seen = |window: Option<u32>| f64::from(window.map_or(n, |w| w.min(n)));
        for (index, layer) in self.layers(Stack::Encoder) {
            self.attend(&mut parts, index, layer, seen, seen, 1.0);
        }
        self.states(&mut parts, 1.0, 1.0);
        parts.work(n)
    }

    /// A prompt of `n` tokens, so many at once as a micro-batch has.
    fn prompt(&self, n: u32) -> Work {
        let mut parts = Parts::default();
        let tokens = f64::from(n);
        let batch = self.context.ubatch.clamp(1, n);
        let batches = f64::from(n.div_ceil(batch));
        for t in self.tensors.iter().filter(|t| t.role.stack != Stack::Decoder) {
            self.weight(&mut parts, t, tokens, batches, f64::from(batch));
        }
        // Pairs of tokens of which one sees the other.
        let pairs = |window: Option<u32>| {
            let w = f64::from(window.map_or(n, |w| w.min(n)));
            match (self.architecture.causal && self.architecture.kind != ModelKind::EncoderDecoder, self.hp.swa) {
                (false, _) => tokens * w,
                (true, Swa::Chunked) => tokens / w.max(1.0) * (w * (w + 1.0) / 2.0),
                (true, _) => w * (w + 1.0) / 2.0 + (tokens - w) * w,
            }
        };
        // Each batch reads the keys that it sees once.
        let rows = |window: Option<u32>| {
            let seen = |i: u32| {
                f64::from(window.map_or(u32::MAX, |w| w.saturating_add(batch)).min(i.saturating_mul(batch).min(n)))
            };
            match n.div_ceil(batch) {
                few @ 0..=4096 => (1..=few).map(seen).sum(),
                many => f64::from(many) * seen(many / 2),
            }
        };
        for (index, layer) in self.layers(Stack::Decoder) {
            self.attend(&mut parts, index, layer, pairs, rows, tokens);
        }
        self.states(&mut parts, tokens, batches);
        parts.work(n)
    }

    fn layers(&self, but: Stack) -> impl Iterator<Item = (u32, &super::architecture::Attention)> {
        let layers = self.architecture.main_layers().filter(move |layer| layer.stack != but);
        layers.filter_map(|layer| Some((layer.index, layer.attention.as_ref()?)))
    }

    /// A tensor that `tokens` are multiplied with, in `batches` of which each reads it once.
    fn weight(&self, parts: &mut Parts, t: &Tensor, tokens: f64, batches: f64, batch: f64) {
        let component = t.role.component;
        let loops = if t.role.layer.is_some() { f64::from(self.hp.n_loops) } else { 1.0 };
        if is_next_token(t, self.hp) || component == Component::Rope {
            return;
        }
        let size = t.size() as f64;
        if component == Component::Embedding && t.ne[1] > 1 && t.role.stack == Stack::Model {
            let rows = t.ne[1] as f64;
            parts.add(component.name(), 0.0, tokens * size / rows);
            if self.architecture.tied_embeddings && t.name == "token_embd.weight" {
                output(parts, t);
            }
            return;
        }
        if component == Component::Output {
            return output(parts, t);
        }
        let used = match component {
            Component::Experts => chosen(t, self.hp, t.elements),
            _ => active(t, self.architecture, self.hp),
        };
        let each = match (component, t.role.kind) {
            (Component::Norm, _) => 4.0,
            (_, Kind::Bias | Kind::Scale) => 1.0,
            _ => 2.0,
        };
        let read = if component == Component::Experts { self.experts_read(t, size, batch) } else { size };
        parts.add(component.name(), each * used as f64 * tokens * loops, read * batches * loops);
    }

    /// Bytes of experts that a batch reads, if tokens choose evenly: of `E` experts, `E·(1 − (1 − used/E)^batch)`.
    fn experts_read(&self, t: &Tensor, size: f64, batch: f64) -> f64 {
        let count = if t.role.expert.is_some() { f64::from(self.hp.n_expert) } else { expert_count(t) as f64 };
        let share = chosen(t, self.hp, t.elements) as f64 / t.elements.max(1) as f64;
        if count <= 1.0 { size } else { size * (1.0 - (1.0 - share).powf(batch)) }
    }

    /// Attention of one layer to the tokens before; `pairs` and `rows` say how many are seen and read with a window.
    fn attend(
        &self,
        parts: &mut Parts,
        index: u32,
        attention: &super::architecture::Attention,
        pairs: impl Fn(Option<u32>) -> f64,
        rows: impl Fn(Option<u32>) -> f64,
        tokens: f64,
    ) {
        // Where keys are compressed llama.cpp attends to the compressed ones.
        let (head_k, head_v) = match self.hp.mla {
            Some(_) => (self.hp.heads(index).0, self.hp.n_lora_kv),
            None => (attention.head_k, attention.head_v),
        };
        let sizes = f64::from(head_k) + f64::from(head_v);
        let flops = 2.0 * f64::from(attention.heads) * sizes * pairs(attention.window);
        let bytes = |kind: crate::ggml::GgmlType, values: u64| kind.row_size(values).unwrap_or(0) as f64;
        let values = if self.hp.mla.is_some() { 0 } else { self.hp.n_embd_v_gqa(index) };
        let row = bytes(self.context.type_k, self.hp.n_embd_k_gqa(index)) + bytes(self.context.type_v, values);
        let (read, written) = match attention.cache {
            Cache::Own => (rows(attention.window), tokens),
            Cache::Layer(_) => (rows(attention.window), 0.0),
            // Without a cache keys are activations.
            Cache::None => (0.0, 0.0),
        };
        parts.add("cache", flops, row * (read + written));
    }

    fn states(&self, parts: &mut Parts, tokens: f64, batches: f64) {
        let layers = self.architecture.main_layers().filter(|layer| layer.state.is_some()).count() as f64;
        let (rolling, state) = (self.hp.n_embd_r() as f64, self.hp.n_embd_s() as f64);
        parts.add("state", layers * 6.0 * state * tokens, layers * 2.0 * 4.0 * (rolling + state) * batches);
    }
}

/// Logits are computed for the last token of a prompt only.
fn output(parts: &mut Parts, t: &Tensor) {
    parts.add(Component::Output.name(), 2.0 * t.elements as f64, t.size() as f64);
}
