//! Attention as pictures are drawn from it: rows of tokens and keys for heatmaps ([`matrix`]), and a few numbers a head
//! for maps of all layers and heads ([`map`]). Not for reading a single number to its last digit: that is
//! [`super::attention`].

mod map;
mod matrix;
mod names;
mod source;
#[cfg(test)]
mod testing;

pub use map::{AttentionMap, HeadSummary, HeaviestKey, LayerSummary, map};
pub use matrix::{AttentionMatrix, HeadMatrix, KeySpan, MAX_WEIGHTS, MatrixKey, MatrixRow, Rounded, matrix};

use serde::Serialize;
use utoipa::ToSchema;

/// A row that could not be computed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Refused {
    /// The token.
    pub token: u64,
    /// The layer.
    pub layer: u32,
    /// Why, and what to do.
    pub why: String,
}

/// The attention of one token in one layer, whoever computed it.
#[derive(Clone, Copy, Debug)]
struct RowOf<'a> {
    token: u64,
    eval: u64,
    layer: u32,
    n_head: usize,
    n_head_kv: usize,
    /// What the token sees: row of the cache, and number of the token if it is known.
    keys: &'a [(u64, Option<u64>)],
    /// `[n_keys, n_head]`: the keys of a head lie side by side.
    weights: &'a [f32],
    /// Share of each head's sink; empty without sinks.
    sinks: &'a [f32],
}

impl<'a> RowOf<'a> {
    fn head(&self, head: usize) -> &'a [f32] {
        self.weights.get(head * self.keys.len()..(head + 1) * self.keys.len()).unwrap_or_default()
    }
}
