//! Attention as pictures are drawn from it: rows of tokens and keys for heatmaps ([`matrix`]), and a few numbers a head
//! for maps of all layers and heads ([`map`]), and links between tokens in all layers ([`links`]). Not for reading a single number to its last digit: that is
//! [`super::attention`].

mod follow;
mod links;
mod map;
mod matrix;
mod names;
#[cfg(test)]
mod testing;

pub use follow::Followers;
pub use links::{AttentionLinks, LinkToken, Links, links};
pub use map::{AttentionMap, HeadSummary, HeaviestKey, LayerSummary, map};
pub use matrix::{AttentionMatrix, HeadMatrix, KeySpan, MAX_WEIGHTS, MatrixKey, MatrixRow, Rounded, matrix};

use crate::attention::TokenRow;
use serde::Serialize;
use utoipa::ToSchema;

/// Rows that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refused {
    /// The layer.
    pub layer: u32,
    /// For how many tokens.
    pub tokens: u64,
    /// Why, and what to do.
    pub why: String,
}

/// The weights of a head in a row.
fn of_head<'a>(row: &TokenRow<'a>, head: usize) -> &'a [f32] {
    let n = row.keys.len();
    row.weights.get(head * n..(head + 1) * n).unwrap_or_default()
}
