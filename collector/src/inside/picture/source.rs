//! Where the rows of a picture come from.

use super::{Refused, RowOf};
use crate::inside::{InsideError, attention};
use crate::trace::Trace;
use std::ops::Range;

/// Calls `f` for every one of these tokens in one layer or in all, and returns what could not be computed.
pub fn rows(
    trace: &Trace,
    tokens: Range<u64>,
    layer: Option<u32>,
    mut f: impl FnMut(&RowOf<'_>) -> Result<(), InsideError>,
) -> Result<Vec<Refused>, InsideError> {
    let n_layer = trace.model().map_or(0, |model| model.n_layer);
    let layers = layer.map_or(0..n_layer, |layer| layer..layer.saturating_add(1));
    let mut refused = vec![];
    let mut none = None;
    let mut n_rows = 0;
    for token in tokens {
        for layer in layers.clone() {
            match attention(trace, Some(token), layer, None) {
                Ok(found) => {
                    n_rows += 1;
                    let keys: Vec<_> = found.keys.iter().map(|key| (key.cell, key.token)).collect();
                    let weights: Vec<f32> = found.heads.iter().flat_map(|head| head.weights.iter().copied()).collect();
                    let sinks: Vec<f32> = found.heads.iter().filter_map(|head| head.sink).collect();
                    f(&RowOf {
                        token,
                        eval: found.eval,
                        layer,
                        n_head: found.n_head,
                        n_head_kv: found.n_head_kv,
                        keys: &keys,
                        weights: &weights,
                        sinks: &sinks,
                    })?;
                }
                Err(InsideError::Unknown(eval, layer, why)) => {
                    refused.push(Refused { token, layer, why: InsideError::Unknown(eval, layer, why).to_string() });
                }
                Err(error @ InsideError::Missing(..)) => none = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
    match none {
        Some(error) if n_rows == 0 && refused.is_empty() => Err(error),
        _ => Ok(refused),
    }
}
