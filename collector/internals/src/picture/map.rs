//! All layers × heads at one token, in a few numbers each: how spread a head's attention is, and where it goes.

use super::follow::not_here;
use super::names::{Named, named};
use super::{Followers, Refused, of_head};
use crate::attention::{AttentionError, TokenRow};
use ggscope_query::contexts::of_token;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use utoipa::ToSchema;

/// The key that a head looked at most.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HeaviestKey {
    /// Row of the K cache.
    pub cell: u64,
    /// Number of its token within the session, if it is known.
    pub token: Option<u64>,
    /// Text of the token, if it is known.
    pub text: Option<String>,
    /// Its weight.
    pub weight: f32,
}

/// One head at one token. Of a head whose weights are NaN, all numbers are null.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HeadSummary {
    /// The head.
    pub head: usize,
    /// Entropy of its weights in bits: 0 if it looks at one key alone, `log2(keys)` if at all alike. What a sink takes is
    /// left out: the weights are those of the keys alone.
    pub entropy: Option<f32>,
    /// Weight on the earliest token that it sees.
    pub first: Option<f32>,
    /// Weight on the token before; null where that is not among the keys.
    pub previous: Option<f32>,
    /// Weight on the token itself; null where that is not among the keys.
    #[serde(rename = "self")]
    pub itself: Option<f32>,
    /// The key that it looked at most.
    pub heaviest: Option<HeaviestKey>,
    /// Share of the head's sink, where the model has sinks.
    pub sink: Option<f32>,
}

/// One layer at one token.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerSummary {
    /// The layer.
    pub layer: u32,
    /// Keys that the token sees.
    pub keys: usize,
    /// Heads of the keys.
    pub n_head_kv: usize,
    /// The heads.
    pub heads: Vec<HeadSummary>,
}

/// All layers and heads at one token.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AttentionMap {
    /// The context that computed the token.
    pub context: u32,
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Layers with attention, from the first to the last.
    pub layers: Vec<LayerSummary>,
    /// Layers whose attention could not be computed.
    pub refused: Vec<Refused>,
}

/// Entropy in bits of weights that sum up to `1 - sink`, as parts of what they sum up to.
fn entropy(weights: &[f32]) -> f32 {
    let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let part = |&w: &f32| f64::from(w) / sum;
    let bits = weights.iter().map(part).filter(|&p| p > 0.0).fold(0.0, |bits, p| bits - p * p.log2());
    bits as f32
}

fn head(row: &TokenRow<'_>, head: usize) -> HeadSummary {
    let sink = row.sinks.get(head).copied().filter(|s| !s.is_nan());
    let weights = of_head(row, head);
    if weights.is_empty() || weights.iter().any(|w| w.is_nan()) || weights.iter().all(|&w| w == 0.0) {
        return HeadSummary { head, entropy: None, first: None, previous: None, itself: None, heaviest: None, sink };
    }
    let of = |token: Option<u64>| Some(weights[row.keys.iter().position(|key| token.is_some() && key.token == token)?]);
    let tokens = || row.keys.iter().filter_map(|key| key.token);
    // Not the number before: that may be of another sequence of the same batch.
    let (first, previous) = (tokens().min(), tokens().filter(|&token| token < row.token).max());
    let most = (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
    HeadSummary {
        head,
        entropy: Some(entropy(weights)),
        first: of(first),
        previous: of(previous),
        itself: of(Some(row.token)),
        heaviest: most.map(|i| {
            let key = row.keys[i];
            HeaviestKey { cell: key.cell, token: key.token, text: None, weight: weights[i] }
        }),
        sink,
    }
}

fn layer(row: &TokenRow<'_>) -> LayerSummary {
    let heads = (0..row.n_head).map(|h| head(row, h)).collect();
    LayerSummary { layer: row.layer, keys: row.keys.len(), n_head_kv: row.n_head_kv, heads }
}

/// All layers and heads at a token.
///
/// # Errors
/// When the trace has no such captures, or no such token.
pub fn map(trace: &Trace, followers: &mut Followers, token: u64) -> Result<AttentionMap, AttentionError> {
    let mut layers: BTreeMap<u32, LayerSummary> = BTreeMap::new();
    let context = of_token(trace, token).unwrap_or(0);
    let refused = followers.rows(trace, (context, &(token..token.saturating_add(1))), None, |row| {
        layers.insert(row.layer, layer(row));
        Ok(())
    })?;
    if layers.is_empty() && refused.is_empty() {
        return Err(AttentionError::Missing("tokens", not_here(trace, token)));
    }
    let mut layers: Vec<LayerSummary> = layers.into_values().collect();
    let mut heaviest: Vec<&mut HeaviestKey> =
        layers.iter_mut().flat_map(|l| l.heads.iter_mut().filter_map(|h| h.heaviest.as_mut())).collect();
    let tokens: BTreeSet<u64> = heaviest.iter().filter_map(|key| key.token).chain([token]).collect();
    let names: HashMap<u64, Named> = named(trace, &tokens);
    let text = |token: Option<u64>| names.get(&token?)?.text.clone();
    heaviest.iter_mut().for_each(|key| key.text = text(key.token));
    Ok(AttentionMap { context, token, text: text(Some(token)), layers, refused })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{keys, row};
    use super::*;

    const KEYS: [(u64, Option<u64>); 4] = [(7, Some(12)), (0, Some(9)), (3, None), (1, Some(11))];

    #[test]
    fn a_head_is_summed_up_by_where_it_looks() {
        let weights = [0.25, 0.5, 0.125, 0.125, 1.0, 0.0, 0.0, 0.0];
        let found = layer(&row(12, &keys(&KEYS), 2, &weights));
        let [a, b] = &found.heads[..] else { panic!("{found:?}") };
        assert_eq!((a.first, a.previous, a.itself), (Some(0.5), Some(0.125), Some(0.25)));
        assert!((a.entropy.unwrap() - 1.75).abs() < 1e-6);
        let most = a.heaviest.as_ref().unwrap();
        assert_eq!((most.cell, most.token, most.weight), (0, Some(9), 0.5));
        assert_eq!((b.entropy, b.itself, b.first), (Some(0.0), Some(1.0), Some(0.0)));
        assert_eq!(found.keys, 4);
    }

    #[test]
    fn nan_and_nothing_have_no_numbers() {
        let found = layer(&row(12, &keys(&KEYS), 2, &[0.5, f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert!(found.heads.iter().all(|h| h.entropy.is_none() && h.heaviest.is_none() && h.first.is_none()));
    }

    #[test]
    fn what_a_sink_takes_does_not_change_how_the_rest_is_spread() {
        let sinks = [0.5];
        let found = layer(&TokenRow { sinks: &sinks, ..row(12, &keys(&KEYS), 1, &[0.125; 4]) });
        assert!((found.heads[0].entropy.unwrap() - 2.0).abs() < 1e-6);
        assert_eq!(found.heads[0].sink, Some(0.5));
        let alone = layer(&row(5, &keys(&KEYS), 1, &[0.25; 4]));
        assert_eq!((alone.heads[0].itself, alone.heads[0].previous), (None, None), "it is not among the keys");
        let beside = layer(&row(14, &keys(&KEYS), 1, &[0.5, 0.25, 0.125, 0.125]));
        assert_eq!(beside.heads[0].previous, Some(0.5), "token 13 is of another sequence");
    }
}
