//! Attention of a whole recording, row by row.

use super::attention::{InsideError, attention};
use crate::trace::{Select, Trace};
use ggscope_format::EvalId;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range, RangeInclusive};

/// What to compute.
#[derive(Clone, Debug)]
pub struct Span {
    /// Tokens of the session.
    pub tokens: Range<u64>,
    /// Layers; all if `None`.
    pub layers: Option<RangeInclusive<u32>>,
}

/// A key that a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Row of the K cache.
    pub cell: u64,
    /// Number of its token within the session, if it is known.
    pub token: Option<u64>,
}

/// What all heads of a layer made of a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenRow<'a> {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its evaluation.
    pub eval: EvalId,
    /// The layer.
    pub layer: u32,
    /// Heads.
    pub n_head: usize,
    /// Heads of the keys.
    pub n_head_kv: usize,
    /// What the mask lets the token see, in the order of the cache.
    pub keys: &'a [KeyRef],
    /// `[n_keys, n_head]`: the keys of a head lie side by side.
    pub weights: &'a [f32],
    /// Share of each head's sink; empty without sinks.
    pub sinks: &'a [f32],
}

/// What was computed.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Tokens.
    pub tokens: u64,
    /// Rows.
    pub rows: u64,
    /// Layer, why, how often.
    pub refused: Vec<(u32, String, u64)>,
}

/// Calls `f` for every token of the span and every layer, evaluation by evaluation.
///
/// # Errors
/// When the trace has no such captures.
pub fn for_each_row(
    trace: &Trace,
    span: &Span,
    mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
) -> Result<Walked, InsideError> {
    let mut walked = Walked::default();
    let mut refused: BTreeMap<(u32, String), u64> = BTreeMap::new();
    let mut evals = vec![];
    trace.for_each_evaluation(&Select { tokens: Some(span.tokens.clone()), ..Select::default() }, false, |row| {
        evals.push(row);
        ControlFlow::Continue(())
    });
    for row in evals {
        for token in row.first_token..row.first_token + u64::from(row.evaluation.n_tokens) {
            if !span.tokens.contains(&token) {
                continue;
            }
            walked.tokens += 1;
            for layer in span.layers.clone().unwrap_or(0..=29) {
                match attention(trace, Some(token), layer, None) {
                    Ok(a) => {
                        walked.rows += 1;
                        let keys: Vec<KeyRef> =
                            a.keys.iter().map(|k| KeyRef { cell: k.cell, token: k.token }).collect();
                        let weights: Vec<f32> = a.heads.iter().flat_map(|h| h.weights.iter().copied()).collect();
                        let sinks: Vec<f32> = a.heads.iter().filter_map(|h| h.sink).collect();
                        let row = TokenRow {
                            token,
                            eval: EvalId(a.eval),
                            layer,
                            n_head: a.n_head,
                            n_head_kv: a.n_head_kv,
                            keys: &keys,
                            weights: &weights,
                            sinks: &sinks,
                        };
                        if f(&row).is_break() {
                            return Ok(walked);
                        }
                    }
                    Err(InsideError::Unknown(_, layer, why)) => *refused.entry((layer, why)).or_default() += 1,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    walked.refused = refused.into_iter().map(|((layer, why), n)| (layer, why, n)).collect();
    Ok(walked)
}
