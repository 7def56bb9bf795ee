//! Rows for tests.

use super::RowOf;

/// A row of as many heads of queries as of keys.
pub fn row<'a>(token: u64, keys: &'a [(u64, Option<u64>)], n_head: usize, weights: &'a [f32]) -> RowOf<'a> {
    RowOf { token, eval: token, layer: 0, n_head, n_head_kv: n_head, keys, weights, sinks: &[] }
}
