//! Memory that a context keeps between evaluations: keys and values, those of layers with a window, indexers, states.
//! Which layers have which is `llama_model::create_memory`; sizes are `llama_kv_cache`, `llama_kv_cache_iswa` and
//! `llama_memory_recurrent`, with flash attention on and `--swa-full` off, which are the defaults.

use super::super::families;
use super::super::hparams::{HParams, Swa, at};
use super::weights::TENSOR_ALIGNMENT;
use crate::ggml::GgmlType;
use serde::Serialize;
use utoipa::ToSchema;

/// Types that keys and values can be kept in (`kv_cache_types` in common/arg.cpp).
pub const CACHE_TYPES: [&str; 9] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"];

/// Contexts and windows are padded to this many cells.
const CELLS: u64 = 256;

/// What a context is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Context {
    /// Tokens of all sequences together (`--ctx-size`).
    pub tokens: u32,
    /// Sequences (`--parallel`).
    pub sequences: u32,
    /// They share one pool of cells (`--kv-unified`).
    pub unified: bool,
    /// Tokens that are computed at once (`--ubatch-size`).
    pub ubatch: u32,
    /// Type of keys (`--cache-type-k`).
    #[serde(skip)]
    pub type_k: GgmlType,
    /// Type of values (`--cache-type-v`).
    #[serde(skip)]
    pub type_v: GgmlType,
}

impl Context {
    /// A context of llama.cpp's defaults: one sequence, 512 tokens at once, F16.
    pub fn new(tokens: u32) -> Context {
        let half = GgmlType::F16;
        Context { tokens, sequences: 1, unified: false, ubatch: 512, type_k: half, type_v: half }
    }

    /// Cells of one sequence, and streams of them (`n_ctx_seq` and `n_stream`).
    pub fn cells(&self) -> (u64, u64) {
        let all = u64::from(self.tokens).next_multiple_of(CELLS);
        let sequences = u64::from(self.sequences.max(1));
        match self.unified {
            true => (all, 1),
            false => ((all / sequences).next_multiple_of(CELLS), sequences),
        }
    }
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CachePart {
    /// `attention`, `window`, `indexer` or `state`.
    pub what: String,
    /// Layers that have it.
    pub layers: u32,
    /// Cells of a layer: tokens, or sequences of a state.
    pub cells: u64,
    /// Bytes of keys, or of rolling states.
    pub k_bytes: u64,
    /// Bytes of values, or of recurrent states.
    pub v_bytes: u64,
    /// Bytes of each layer, keys and values.
    #[serde(skip)]
    pub(crate) by_layer: Vec<u64>,
}

/// Everything that a context keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Caches {
    /// Bytes of all.
    pub bytes: u64,
    /// The caches.
    pub parts: Vec<CachePart>,
    /// Why the sum is not exact, if it is not.
    pub inexact: Option<String>,
}

/// Why keys and values cannot be kept in a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head of {head} values is no whole number of {kind} blocks of {block}")]
pub struct CacheTypeError {
    kind: String,
    head: u32,
    block: u64,
}

impl Caches {
    /// The caches of a context of a model.
    ///
    /// # Errors
    /// When heads do not fit the blocks of a type, which llama.cpp refuses.
    pub fn of(arch: &str, hp: &HParams, context: &Context) -> Result<Caches, CacheTypeError> {
        for layer in 0..hp.n_layer() {
            let (k, v) = hp.heads(layer);
            for (kind, head) in [(context.type_k, k), (context.type_v, v)] {
                let block = kind.block_size();
                if !u64::from(head).is_multiple_of(block) && at(&hp.n_head_kv, layer) > 0 {
                    return Err(CacheTypeError { kind: kind.name().to_owned(), head, block });
                }
            }
        }
        let mut parts = vec![];
        let mut inexact = None;
        if !families::has_no_cache(arch) {
            if !families::is_recurrent(arch) {
                parts.extend(attention(arch, hp, context));
            }
            parts.extend(indexers(arch, hp, context));
            parts.extend(states(arch, hp, context));
            inexact = why_inexact(arch);
        }
        parts.retain(|part| part.layers > 0);
        let bytes = parts.iter().fold(0, |sum: u64, p| sum.saturating_add(p.k_bytes).saturating_add(p.v_bytes));
        Ok(Caches { bytes, parts, inexact })
    }

    /// Bytes that belong to one layer.
    pub fn of_layer(&self, layer: u32) -> u64 {
        self.parts.iter().filter_map(|part| part.by_layer.get(layer as usize)).fold(0, |a, &b| a.saturating_add(b))
    }
}

fn why_inexact(arch: &str) -> Option<String> {
    match arch {
        "deepseek4" => Some("DeepSeek 4 compresses its caches, which is not counted here".into()),
        "qwen4exp" => Some("the history of its n-gram embeddings is not counted here".into()),
        "gemma4-assistant" => Some("an assistant uses the caches of its model".into()),
        _ => None,
    }
}

/// Whether the layer attends and keeps keys: the filters of `create_memory`.
fn keeps_keys(arch: &str, hp: &HParams, layer: u32) -> bool {
    let recurrent = hp.is_recr.get(layer as usize).copied().unwrap_or(false);
    let main = layer < hp.n_layer();
    hp.has_kv(layer)
        && match arch {
            "falcon-h1" => true,
            "nemotron_h" | "nemotron_h_moe" => !recurrent && at(&hp.n_ff, layer) == 0,
            "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" | "minimax-01" | "glm5-next" => main && !recurrent,
            "hy_v4" => true,
            _ if families::is_hybrid(arch) => !recurrent,
            // A model that is nothing but next-token blocks keeps those; a router's cache is always kept.
            _ => main || hp.n_layer() == 0 || hp.router_layer.is_some(),
        }
}

/// Sizes of one layer's keys and values of a token, in values.
struct Row {
    layer: u32,
    k: u64,
    v: u64,
}

fn part(what: &str, rows: &[Row], cells: u64, streams: u64, (type_k, type_v): (GgmlType, GgmlType)) -> CachePart {
    let mut part = CachePart { what: what.to_owned(), layers: 0, cells, k_bytes: 0, v_bytes: 0, by_layer: vec![] };
    let all = cells.saturating_mul(streams);
    for row in rows {
        // llama.cpp has checked heads against blocks; a row that does not fit is one that it refuses.
        let bytes = |kind: GgmlType, values: u64| {
            let tensor = kind.row_size(values).unwrap_or(0).saturating_mul(all);
            tensor.checked_next_multiple_of(TENSOR_ALIGNMENT).unwrap_or(tensor)
        };
        let (k, v) = (bytes(type_k, row.k), bytes(type_v, row.v));
        part.layers += 1;
        part.k_bytes = part.k_bytes.saturating_add(k);
        part.v_bytes = part.v_bytes.saturating_add(v);
        let index = row.layer as usize;
        part.by_layer.resize(part.by_layer.len().max(index + 1), 0);
        part.by_layer[index] = k.saturating_add(v);
    }
    part
}

fn attention(arch: &str, hp: &HParams, context: &Context) -> Vec<CachePart> {
    let row = |layer| Row {
        layer,
        k: hp.n_embd_k_gqa(layer),
        // Of compressed keys the values are a part: they are kept once.
        v: if hp.mla.is_some() { 0 } else { hp.n_embd_v_gqa(layer) },
    };
    let layers = || (0..hp.n_layer_all).filter(|&layer| keeps_keys(arch, hp, layer));
    let (cells, streams) = context.cells();
    let types = (context.type_k, context.type_v);
    if hp.swa == Swa::None {
        return vec![part("attention", &layers().map(row).collect::<Vec<_>>(), cells, streams, types)];
    }
    let has_window = |layer: &u32| hp.is_swa.get(*layer as usize).copied().unwrap_or(false);
    let (windowed, full): (Vec<u32>, Vec<u32>) = layers().partition(has_window);
    let rows = |layers: Vec<u32>| layers.into_iter().map(row).collect::<Vec<_>>();
    vec![
        part("attention", &rows(full), cells, streams, types),
        part("window", &rows(windowed), window_cells(hp, context), streams, types),
    ]
}

/// Cells of a layer with a window: the window and the tokens that are computed at once.
pub(super) fn window_cells(hp: &HParams, context: &Context) -> u64 {
    let sequences = if context.unified { u64::from(context.sequences.max(1)) } else { 1 };
    let wanted = u64::from(hp.n_swa) * sequences + u64::from(context.ubatch);
    context.cells().0.min(wanted).next_multiple_of(CELLS)
}

/// Keys of the indexers of sparse attention.
fn indexers(arch: &str, hp: &HParams, context: &Context) -> Vec<CachePart> {
    if hp.indexer_head == 0 || arch == "deepseek4" || (arch == "hy_v4" && hp.indexer_top_k == 0) {
        return vec![];
    }
    // Rows that pool keys hold the pooled key beside the key, GLM's a gate too.
    let pooled = match arch {
        "glm5-next" => 3,
        "qwen4exp" => 2,
        _ => 1,
    };
    let k_only = hp.mla.is_some() || arch == "qwen4exp";
    let has_one = |layer: &u32| {
        let main = *layer < hp.n_layer() && hp.indexer_full.get(*layer as usize) == Some(&true);
        main && hp.is_recr.get(*layer as usize) != Some(&true) && hp.is_swa.get(*layer as usize) != Some(&true)
    };
    let rows: Vec<Row> = (0..hp.n_layer_all)
        .filter(has_one)
        .map(|layer| Row {
            layer,
            k: u64::from(hp.indexer_head) * pooled,
            v: if k_only { 0 } else { u64::from(hp.heads(layer).1) },
        })
        .collect();
    let (cells, streams) = context.cells();
    vec![part("indexer", &rows, cells, streams, (context.type_k, context.type_v))]
}

fn states(arch: &str, hp: &HParams, context: &Context) -> Vec<CachePart> {
    let keeps_state = |layer: &u32| {
        let recurrent = hp.is_recr.get(*layer as usize).copied().unwrap_or(false);
        recurrent && (!matches!(arch, "nemotron_h" | "nemotron_h_moe") || at(&hp.n_ff, *layer) == 0)
    };
    let row = |layer| Row { layer, k: hp.n_embd_r(), v: hp.n_embd_s() };
    let rows: Vec<Row> = (0..hp.n_layer()).filter(keeps_state).map(row).collect();
    vec![part("state", &rows, u64::from(context.sequences.max(1)), 1, (GgmlType::F32, GgmlType::F32))]
}
