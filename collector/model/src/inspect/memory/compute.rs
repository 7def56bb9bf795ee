//! An estimate of the buffer that llama.cpp computes in. The exact size comes out of ggml's graph allocator, which places
//! every intermediate tensor; this takes the widest place of the graph and what must live there at once.

use super::super::architecture::{Architecture, FeedForward, Layer, ModelKind, StateKind};
use super::super::families;
use super::super::hparams::HParams;
use super::cache::{Context, window_cells};

/// Bytes of a compute buffer on one device, with flash attention on and logits of one token of each sequence, as
/// llama-server and llama-cli have it.
///
/// Of `u` tokens computed at once, with hidden size `d`, feed-forward size `f`, heads `w` and key heads `k` wide together,
/// `n` experts of a token, inner size `i` of a state, `c` cells of a sequence and of its window, these live at once, in
/// 32-bit floats for each of the `u` tokens; the largest decides:
///
/// ```text
/// 5·d + 3·f                        gated feed-forward: residual, its norm and sum; gate, way up, product
/// d + 2·f                          without a gate
/// max(5·d + 3·n·f, 2·n·(d + f))    experts, before and after their way down
/// 3·d + 3·w + 2·k                  attention
/// 7.5·i, or 15·d                   Mamba's state, or RWKV's
/// c / 2 for each sort of cache     the attention mask, in 16-bit floats, beside all of them
/// ```
///
/// Found in the sizes that llama.cpp prints (`compute buffer size`), which the tests load models of many architectures
/// for: most are within 2 %, all within a quarter.
pub fn compute_buffer(architecture: &Architecture, hp: &HParams, context: &Context) -> u64 {
    let tokens = u64::from(context.ubatch).min(context.cells().0).max(1);
    let d = u64::from(architecture.hidden);
    let widest = architecture.main_layers().map(|layer| of_layer(architecture, hp, d, layer)).max().unwrap_or(0);
    // AltUp carries four streams, each of them thrice.
    let streams = if architecture.name == "gemma3n" { d.saturating_mul(12) } else { 0 };
    let logits = architecture.vocabulary.saturating_mul(u64::from(context.sequences.max(1)));
    let floats = tokens.saturating_mul(widest.saturating_add(streams)).max(logits);
    floats.saturating_mul(4).saturating_add(masks(architecture, hp, context, tokens))
}

fn of_layer(architecture: &Architecture, hp: &HParams, d: u64, layer: &Layer) -> u64 {
    let feed_forward = layer.feed_forward.as_ref().map_or(0, |ff| of_feed_forward(d, ff));
    let attention = layer.attention.as_ref().map_or(0, |a| {
        let (wide, keys) = (u64::from(a.heads) * u64::from(a.head_k), u64::from(a.kv_heads) * u64::from(a.head_k));
        3 * d + wide.saturating_mul(3).saturating_add(keys.saturating_mul(2))
    });
    let state = match layer.state {
        None | Some(StateKind::ShortConv) => 0,
        Some(StateKind::Rwkv) => 15 * d,
        Some(_) if hp.ssm.inner > 0 => u64::from(hp.ssm.inner) * 15 / 2,
        Some(_) => attention_like(architecture, d),
    };
    feed_forward.max(attention).max(state)
}

/// States whose size is not given by an inner size are as wide as attention would be.
fn attention_like(architecture: &Architecture, d: u64) -> u64 {
    let widest = architecture.attention_layers().map(|a| u64::from(a.heads) * u64::from(a.head_k)).max();
    d.saturating_mul(3).saturating_add(widest.unwrap_or(d).saturating_mul(5))
}

fn of_feed_forward(d: u64, ff: &FeedForward) -> u64 {
    let gated = |f: u64| d.saturating_mul(5).saturating_add(f.saturating_mul(3));
    let dense = match (ff.size, ff.gated) {
        (0, _) => 0,
        (f, true) => gated(f),
        (f, false) => d.saturating_add(f.saturating_mul(2)),
    };
    let experts = ff.experts.as_ref().map_or(0, |e| {
        let n = u64::from(e.used);
        let after = d.saturating_add(e.size).saturating_mul(n).saturating_mul(2);
        gated(e.size.saturating_mul(n)).max(after).max(gated(e.shared_size))
    });
    dense.max(experts)
}

/// Bytes of what says who sees whom.
fn masks(architecture: &Architecture, hp: &HParams, context: &Context, tokens: u64) -> u64 {
    let (cells, _) = context.cells();
    let windows: Vec<bool> = architecture.attention_layers().map(|a| a.window.is_some()).collect();
    if windows.is_empty() {
        return 0;
    }
    if families::has_no_cache(&architecture.name) {
        return tokens.saturating_mul(tokens).saturating_mul(2);
    }
    if architecture.kind == ModelKind::EncoderDecoder {
        // Positions relative to each other rule flash attention out: all scores of all heads are there, thrice.
        let heads = architecture.attention_layers().map(|a| u64::from(a.heads)).max().unwrap_or(0);
        return tokens.saturating_mul(cells).saturating_mul(heads).saturating_mul(12);
    }
    let of = |wanted: bool, cells: u64| if windows.contains(&wanted) { cells.saturating_mul(tokens) } else { 0 };
    of(false, cells).saturating_add(of(true, window_cells(hp, context))).saturating_mul(2)
}
