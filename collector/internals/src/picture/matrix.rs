//! Tokens × keys: the weights that a run of tokens gave to what they saw, of one head or of all heads of a layer.

use super::names::{Named, named};
use super::{Followers, Refused, of_head};
use crate::attention::{AttentionError, KeyRef, TokenRow};
use ggscope_trace::Trace;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use utoipa::ToSchema;

/// Weights in one answer, at most.
pub const MAX_WEIGHTS: usize = 6 << 20;

/// A weight, rounded to four digits after the point: what a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, ToSchema)]
#[schema(value_type = Option<f32>)]
pub struct Rounded(pub f32);

impl Serialize for Rounded {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Most weights of long contexts are next to nothing: `0` is half of `0.0`, and a third of `null`.
        match (f64::from(self.0) * 1e4).round() {
            n if n.is_nan() => to.serialize_none(),
            0.0 => to.serialize_u8(0),
            n => to.serialize_f64(n / 1e4),
        }
    }
}

/// A column: a key that at least one of the tokens saw.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MatrixKey {
    /// Number of its token within the session, if it is known.
    pub token: Option<u64>,
    /// Row of the K cache, where the token is not known.
    pub cell: Option<u64>,
    /// Position that the token had when it came.
    pub pos: Option<i32>,
    /// Text of the token, if it is known.
    pub text: Option<String>,
}

/// Columns that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeySpan {
    /// The first, counted from 0 in [`AttentionMatrix::keys`].
    pub first: usize,
    /// How many.
    pub n: usize,
}

/// A row: a token that looked.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MatrixRow {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its evaluation.
    pub eval: u64,
    /// Its position.
    pub pos: Option<i32>,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// What it saw, in the order of the columns.
    pub spans: Vec<KeySpan>,
}

/// The weights of one head.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HeadMatrix {
    /// The head.
    pub head: usize,
    /// The head of the keys that it shares with its group.
    pub kv_head: usize,
    /// For each row, a weight for each key of its spans, one span after the other. NaN is null.
    pub weights: Vec<Vec<Rounded>>,
    /// For each row, the share of the head's sink; empty where the model has no sinks.
    pub sinks: Vec<Rounded>,
}

/// Tokens × keys of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AttentionMatrix {
    /// The context that computed the tokens.
    pub context: u32,
    /// The layer.
    pub layer: u32,
    /// Heads of the layer.
    pub n_head: usize,
    /// Heads of the keys.
    pub n_head_kv: usize,
    /// The columns: keys by their tokens; first those, by their places in the cache, whose tokens are not known.
    pub keys: Vec<MatrixKey>,
    /// The rows, by their tokens.
    pub rows: Vec<MatrixRow>,
    /// The heads that were asked for.
    pub heads: Vec<HeadMatrix>,
    /// What could not be computed.
    pub refused: Vec<Refused>,
}

/// A column's place among the others: those without a token first.
type Column = (bool, u64);

fn column(key: &KeyRef) -> Column {
    (key.token.is_some(), key.token.unwrap_or(key.cell))
}

struct Taken {
    eval: u64,
    columns: Vec<Column>,
    /// `[n_keys, heads that were asked for]`.
    weights: Vec<f32>,
    sinks: Vec<f32>,
}

/// Rows as they come.
struct Collected {
    layer: u32,
    head: Option<usize>,
    shape: (usize, usize),
    rows: BTreeMap<u64, Taken>,
    n_weights: usize,
}

impl Collected {
    fn new(layer: u32, head: Option<usize>) -> Collected {
        Collected { layer, head, shape: (0, 0), rows: BTreeMap::new(), n_weights: 0 }
    }

    /// Takes a row.
    fn take(&mut self, row: &TokenRow<'_>) -> Result<(), AttentionError> {
        let heads = self.head.map_or(0..row.n_head, |head| head..head + 1);
        if heads.end > row.n_head {
            let why = format!("there is no head {}: the layer has {}", heads.start, row.n_head);
            return Err(AttentionError::Missing("head", why));
        }
        self.n_weights = self.n_weights.saturating_add(row.keys.len().saturating_mul(heads.len()));
        if self.n_weights > MAX_WEIGHTS {
            return Err(AttentionError::TooMuch(format!("these tokens have more than {MAX_WEIGHTS} weights")));
        }
        // In the order of the columns, whatever the cache's is.
        let mut order: Vec<usize> = (0..row.keys.len()).collect();
        order.sort_unstable_by_key(|&i| column(&row.keys[i]));
        let weights = heads.clone().flat_map(|head| {
            let of = of_head(row, head);
            order.iter().map(move |&i| of.get(i).copied().unwrap_or(f32::NAN))
        });
        let taken = Taken {
            eval: row.eval.0,
            columns: order.iter().map(|&i| column(&row.keys[i])).collect(),
            weights: weights.collect(),
            sinks: row.sinks.get(heads).unwrap_or_default().to_vec(),
        };
        self.shape = (row.n_head, row.n_head_kv);
        self.rows.insert(row.token, taken);
        Ok(())
    }

    fn tokens(&self) -> BTreeSet<u64> {
        let of_keys = self.rows.values().flat_map(|row| row.columns.iter().filter(|c| c.0).map(|c| c.1));
        self.rows.keys().copied().chain(of_keys).collect()
    }

    fn finish(self, names: &HashMap<u64, Named>, refused: Vec<Refused>) -> AttentionMatrix {
        let columns: BTreeSet<Column> = self.rows.values().flat_map(|row| row.columns.iter().copied()).collect();
        let columns: Vec<Column> = columns.into_iter().collect();
        let name = |token: u64| names.get(&token).cloned().unwrap_or_default();
        let key = |&(is_token, number): &Column| {
            let Named { pos, text } = if is_token { name(number) } else { Named::default() };
            let [token, cell] = [is_token, !is_token].map(|it| it.then_some(number));
            MatrixKey { token, cell, pos, text }
        };
        let row = |(&token, taken): (&u64, &Taken)| {
            let Named { pos, text } = name(token);
            MatrixRow { token, eval: taken.eval, pos, text, spans: spans(&columns, &taken.columns) }
        };
        let (n_head, n_head_kv) = self.shape;
        let heads = self.head.map_or(0..n_head, |head| head..head + 1);
        let matrix_of = |(i, head): (usize, usize)| HeadMatrix {
            head,
            kv_head: head / (n_head / n_head_kv.max(1)).max(1),
            weights: self
                .rows
                .values()
                .map(|row| {
                    let n = row.columns.len();
                    row.weights[i * n..(i + 1) * n].iter().map(|&w| Rounded(w)).collect()
                })
                .collect(),
            sinks: self.rows.values().filter_map(|row| row.sinks.get(i).map(|&s| Rounded(s))).collect(),
        };
        AttentionMatrix {
            context: 0,
            layer: self.layer,
            n_head,
            n_head_kv,
            keys: columns.iter().map(key).collect(),
            rows: self.rows.iter().map(row).collect(),
            heads: heads.enumerate().map(matrix_of).collect(),
            refused,
        }
    }
}

/// Where the columns of a row are among all; both are in order.
fn spans(all: &[Column], own: &[Column]) -> Vec<KeySpan> {
    let mut spans: Vec<KeySpan> = vec![];
    for place in own.iter().filter_map(|column| all.binary_search(column).ok()) {
        match spans.last_mut() {
            Some(span) if span.first + span.n == place => span.n += 1,
            _ => spans.push(KeySpan { first: place, n: 1 }),
        }
    }
    spans
}

/// The attention of a context's tokens among these in a layer, of one head or of all.
///
/// # Errors
/// When the trace has no such captures, layer or head, or the tokens have more than [`MAX_WEIGHTS`].
pub fn matrix(
    trace: &Trace,
    followers: &mut Followers,
    (context, tokens): (u32, &Range<u64>),
    layer: u32,
    head: Option<usize>,
) -> Result<AttentionMatrix, AttentionError> {
    let mut collected = Collected::new(layer, head);
    let refused = followers.rows(trace, (context, tokens), Some(layer), |row| collected.take(row))?;
    // What has not come yet has no rows, and will have some.
    if collected.rows.is_empty() && refused.is_empty() && trace.complete() {
        return Err(AttentionError::Missing(
            "layer",
            format!("there is no attention in layer {layer} at these tokens"),
        ));
    }
    let names = named(trace, &collected.tokens());
    Ok(AttentionMatrix { context, ..collected.finish(&names, refused) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{keys, row};
    use super::*;

    fn names() -> HashMap<u64, Named> {
        let of = |token: u64| (token, Named { pos: Some(token as i32), text: Some(format!("<{token}>")) });
        (0..10).map(of).collect()
    }

    #[test]
    fn columns_are_tokens_in_order_whatever_the_cells_are() {
        let mut all = Collected::new(3, Some(1));
        all.take(&row(4, &keys(&[(9, Some(4)), (2, Some(1)), (5, None)]), 2, &[0.9, 0.1, 0.0, 0.2, 0.5, 0.3])).unwrap();
        all.take(&row(5, &keys(&[(0, Some(5)), (9, Some(4))]), 2, &[0.0, 0.0, 0.25, 0.75])).unwrap();
        let m = all.finish(&names(), vec![]);
        let keys: Vec<_> = m.keys.iter().map(|k| (k.token, k.cell, k.text.as_deref())).collect();
        let expected = [
            (None, Some(5), None),
            (Some(1), None, Some("<1>")),
            (Some(4), None, Some("<4>")),
            (Some(5), None, Some("<5>")),
        ];
        assert_eq!(keys, expected);
        assert_eq!(
            m.heads[0].weights,
            [vec![0.3, 0.5, 0.2], vec![0.75, 0.25]].map(|r| r.into_iter().map(Rounded).collect::<Vec<_>>())
        );
        assert_eq!(m.rows[0].spans, [KeySpan { first: 0, n: 3 }]);
        assert_eq!(m.rows[1].spans, [KeySpan { first: 2, n: 2 }]);
    }

    #[test]
    fn what_a_token_does_not_see_is_no_weight_of_nothing() {
        let mut all = Collected::new(0, None);
        all.take(&row(1, &keys(&[(0, Some(0)), (1, Some(1)), (2, Some(2))]), 1, &[0.2, 0.3, 0.5])).unwrap();
        all.take(&row(2, &keys(&[(0, Some(0)), (2, Some(2))]), 1, &[0.0, 1.0])).unwrap();
        let m = all.finish(&names(), vec![]);
        assert_eq!(m.rows[1].spans, [KeySpan { first: 0, n: 1 }, KeySpan { first: 2, n: 1 }]);
        assert_eq!(serde_json::to_string(&m.heads[0].weights[1]).unwrap(), "[0,1.0]");
    }

    #[test]
    fn nan_is_null_and_four_digits_are_kept() {
        let all: Vec<Rounded> = [f32::NAN, 0.123_45, 0.000_04, 1.0, 0.99996].map(Rounded).to_vec();
        assert_eq!(serde_json::to_string(&all).unwrap(), "[null,0.1235,0,1.0,1.0]");
    }

    #[test]
    fn a_head_that_is_not_there_and_too_much_are_refused() {
        let keys = keys(&[(0, Some(0))]);
        let mut all = Collected::new(0, Some(2));
        assert!(matches!(all.take(&row(0, &keys, 2, &[1.0, 1.0])), Err(AttentionError::Missing("head", _))));
        let mut all = Collected::new(0, None);
        all.n_weights = MAX_WEIGHTS - 1;
        all.take(&row(0, &keys, 1, &[1.0])).unwrap();
        assert!(matches!(all.take(&row(1, &keys, 1, &[1.0])), Err(AttentionError::TooMuch(_))));
    }
}
