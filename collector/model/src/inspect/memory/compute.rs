//! An estimate of the buffer that llama.cpp computes in. The exact size comes out of ggml's graph allocator, which places
//! every intermediate tensor; this sums what must live at once in the widest place of the graph.

use super::super::architecture::Architecture;
use super::cache::Context;

/// Bytes of a compute buffer on one device, flash attention on, to within a quarter for the models that the tests load.
///
/// Of `u` tokens computed at once, hidden size `d`, widest feed-forward `f` (of the experts in use together), vocabulary
/// `V`, `c` cells of a sequence and `s` sequences:
///
/// ```text
/// 4·u·(5·d + 3·f)   residual, normed input, its sum; gate, way up, their product        f32
/// 2·u·c             attention mask                                                     f16
/// 4·s·V             logits of one token of each sequence                               f32
/// ```
///
/// Found on llama.cpp's own numbers (`CPU compute buffer size`): for the demo model it is exact to 0.1 %.
pub fn compute_buffer(architecture: &Architecture, context: &Context) -> u64 {
    let (cells, streams) = context.cells();
    let tokens = u64::from(context.ubatch).min(u64::from(context.tokens).max(1));
    let widest = |layer: &super::super::architecture::Layer| {
        let ff = layer.feed_forward.as_ref()?;
        let experts = ff.experts.as_ref().map_or(0, |e| e.size.saturating_mul(u64::from(e.used)).max(e.shared_size));
        Some(ff.size.max(experts))
    };
    let ff = architecture.main_layers().filter_map(widest).max().unwrap_or(0);
    let activations = u64::from(architecture.hidden).saturating_mul(5).saturating_add(ff.saturating_mul(3));
    // With streams of their own each sequence has its share of the tokens; a mask is that much smaller.
    let attends = architecture.attention_layers().next().is_some();
    let mask =
        if attends { cells.saturating_mul(tokens.div_ceil(streams)).saturating_mul(streams.min(tokens)) } else { 0 };
    let logits = architecture.vocabulary.saturating_mul(u64::from(context.sequences.max(1)));
    let floats = tokens.saturating_mul(activations).saturating_add(logits);
    floats.saturating_mul(4).saturating_add(mask.saturating_mul(2))
}
