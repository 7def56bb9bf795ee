//! Rows for tests.

use crate::attention::{KeyRef, TokenRow};
use ggscope_format::EvalId;

/// Keys by their cells and tokens.
pub fn keys(of: &[(u64, Option<u64>)]) -> Vec<KeyRef> {
    of.iter().map(|&(cell, token)| KeyRef { cell, token }).collect()
}

/// A row of as many heads of queries as of keys.
pub fn row<'a>(token: u64, keys: &'a [KeyRef], n_head: usize, weights: &'a [f32]) -> TokenRow<'a> {
    TokenRow { token, eval: EvalId(token), context: 0, layer: 0, n_head, n_head_kv: n_head, keys, weights, sinks: &[] }
}
