//! What a model needs for a context, and what of it fits into a memory: layers to offload, the longest context.

use super::super::architecture::Architecture;
use super::super::facts::Tensor;
use super::super::hparams::HParams;
use super::super::role::{Component, Stack};
use super::cache::{CACHE_TYPES, CacheTypeError, Caches, Context};
use super::compute::compute_buffer;
use super::quantise::{AsType, as_types};
use super::weights::Weights;
use crate::ggml::GgmlType;
use serde::Serialize;
use utoipa::ToSchema;

/// A cache type and what a context takes in it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CacheBytes {
    /// Type of keys and of values.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Bytes for each of `MemoryFacts::contexts`; `None` if heads do not fit its blocks.
    pub bytes: Option<Vec<u64>>,
}

/// Memory that a model needs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Memory {
    /// Its weights as they are.
    pub weights: Weights,
    /// Its weights in every type, the smallest first.
    pub as_types: Vec<AsType>,
    /// Contexts of `cache_types`, in tokens.
    pub contexts: Vec<u32>,
    /// Caches against context for every cache type, for one sequence.
    pub cache_types: Vec<CacheBytes>,
    /// Tokens of the context that was asked for, all sequences together.
    pub context: u32,
    /// Sequences that were asked for.
    pub sequences: u32,
    /// Types of keys and values that were asked for.
    pub cache_type: (String, String),
    /// Caches of that context.
    pub caches: Option<Caches>,
    /// Why there are none.
    pub cache_error: Option<String>,
    /// Compute buffer, estimated; `None` if nothing is computed with the file.
    pub compute_bytes: Option<u64>,
    /// Weights, caches and compute buffer together.
    pub total_bytes: Option<u64>,
    /// What fits into the memory that was given.
    pub offload: Option<Offload>,
}

/// What of a model fits into the memory of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Offload {
    /// Bytes of the device.
    pub vram_bytes: u64,
    /// `--n-gpu-layers`: the layers at the end and the output, which counts as one.
    pub layers: u32,
    /// Of so many.
    pub of: u32,
    /// Bytes of the device that these take, the compute buffer included.
    pub bytes: u64,
    /// The longest context with all layers on the device, in tokens; `None` if they do not fit at all.
    pub longest_context: Option<u64>,
}

impl Memory {
    /// What `model` needs for `context`, and what fits into `vram` bytes.
    pub fn of(
        architecture: &Architecture,
        hp: &HParams,
        tensors: &[Tensor],
        context: &Context,
        vram: Option<u64>,
    ) -> Memory {
        let arch = architecture.name.as_str();
        let weights = Weights::of(tensors, hp.n_layer_all);
        let contexts = contexts(architecture.context, context.tokens);
        let in_type = |name: &&str| {
            let kind = GgmlType::from_name(name)?;
            let bytes = |&tokens: &u32| {
                let asked = Context { type_k: kind, type_v: kind, sequences: 1, tokens, ..*context };
                Caches::of(arch, hp, &asked).ok().map(|c| c.bytes)
            };
            Some(CacheBytes { type_name: kind.name().to_owned(), bytes: contexts.iter().map(bytes).collect() })
        };
        let caches = Caches::of(arch, hp, context);
        let compute_bytes = compute_buffer(architecture, hp, context);
        let cache_bytes = caches.as_ref().map_or(0, |c| c.bytes);
        Memory {
            as_types: as_types(tensors, arch),
            cache_types: CACHE_TYPES.iter().filter_map(in_type).collect(),
            context: context.tokens,
            sequences: context.sequences,
            cache_type: (context.type_k.name().to_owned(), context.type_v.name().to_owned()),
            cache_error: caches.as_ref().err().map(CacheTypeError::to_string),
            total_bytes: Some(weights.bytes.saturating_add(cache_bytes).saturating_add(compute_bytes)),
            offload: vram.map(|vram| Parts::of(architecture, hp, tensors).offload(context, vram)),
            caches: caches.ok(),
            compute_bytes: Some(compute_bytes),
            contexts,
            weights,
        }
    }

    /// The weights of a file that llama.cpp makes no context for.
    pub fn of_weights(hp: &HParams, tensors: &[Tensor], context: &Context) -> Memory {
        Memory {
            weights: Weights::of(tensors, hp.n_layer_all),
            as_types: vec![],
            contexts: vec![],
            cache_types: vec![],
            context: context.tokens,
            sequences: context.sequences,
            cache_type: (context.type_k.name().to_owned(), context.type_v.name().to_owned()),
            caches: None,
            cache_error: None,
            compute_bytes: None,
            total_bytes: None,
            offload: None,
        }
    }
}

/// Contexts to show: powers of two up to the one that the model was trained on, and the one that was asked for.
fn contexts(trained: u32, asked: u32) -> Vec<u32> {
    let most = trained.clamp(4096, 1 << 20);
    let mut contexts: Vec<u32> = (9..=20).map(|power| 1 << power).filter(|&n| n <= most).collect();
    contexts.extend([asked, trained.min(1 << 20)].iter().filter(|&&n| n > 0));
    contexts.sort_unstable();
    contexts.dedup();
    contexts
}

/// Bytes of a model by where llama.cpp would put them.
struct Parts<'a> {
    architecture: &'a Architecture,
    hp: &'a HParams,
    /// Weights of each layer.
    layers: Vec<u64>,
    /// Weights of the output: those of the embedding once more where they are tied.
    output: u64,
}

impl<'a> Parts<'a> {
    fn of(architecture: &'a Architecture, hp: &'a HParams, tensors: &[Tensor]) -> Parts<'a> {
        let mut parts = Parts { architecture, hp, layers: vec![0; hp.n_layer_all as usize], output: 0 };
        for t in tensors {
            let layer = t.role.layer.filter(|_| matches!(t.role.stack, Stack::Model | Stack::Encoder));
            match layer.and_then(|layer| parts.layers.get_mut(layer as usize)) {
                Some(bytes) => *bytes = bytes.saturating_add(t.size()),
                // The embedding stays with the processor (`LLM_TENSOR_LAYER_INPUT`).
                None if t.role.component != Component::Embedding
                    || (architecture.tied_embeddings && t.name == "token_embd.weight") =>
                {
                    parts.output = parts.output.saturating_add(t.size());
                }
                None => {}
            }
        }
        parts
    }

    /// Bytes on the device with `n` layers there: the output first, then layers from the end (`n_gpu_layers`).
    fn bytes(&self, n: u32, caches: &Caches, compute: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let first = self.layers.len() as u32 - (n - 1);
        let layers = (first..self.layers.len() as u32)
            .map(|layer| self.layers[layer as usize].saturating_add(caches.of_layer(layer)));
        layers.fold(self.output.saturating_add(compute), u64::saturating_add)
    }

    fn offload(&self, context: &Context, vram: u64) -> Offload {
        let all = self.layers.len() as u32 + 1;
        let with = |context: &Context| {
            let none = Caches { bytes: 0, parts: vec![], inexact: None };
            let caches = Caches::of(&self.architecture.name, self.hp, context).unwrap_or(none);
            (caches, compute_buffer(self.architecture, self.hp, context))
        };
        let (caches, compute) = with(context);
        let fits = (0..=all).rev().find(|&n| self.bytes(n, &caches, compute) <= vram).unwrap_or(0);
        let whole = |tokens: u32| {
            let (caches, compute) = with(&Context { tokens, ..*context });
            self.bytes(all, &caches, compute) <= vram
        };
        // More tokens never need less, so the boundary can be halved in on.
        let (mut low, mut high) = (0_u32, 1 << 23);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if whole(middle.saturating_mul(256)) { low = middle } else { high = middle }
        }
        Offload {
            vram_bytes: vram,
            layers: fits,
            of: all,
            bytes: self.bytes(fits, &caches, compute),
            longest_context: (low > 0).then(|| u64::from(low) * 256),
        }
    }
}
