//! Rows of all heads for some of the tokens, kept to compare heads with each other. As many tokens as fit into the memory
//! that there is: when it is full, every second one is let go.

use crate::attention::TokenRow;
use std::collections::BTreeMap;

/// Bytes of rows that are kept at most.
const BUDGET: usize = 128 << 20;
/// The outcome that is a head's learned sink.
const SINK: u64 = u64::MAX;
/// Keys whose token is not known go by their cell.
const CELL: u64 = 1 << 63;

/// The rows of one layer for a token.
struct LayerRows {
    keys: Vec<u64>,
    n_head: usize,
    /// `[n_keys, n_head]`.
    weights: Vec<f32>,
}

/// A token's rows, by layer.
#[derive(Default)]
struct Kept {
    layers: BTreeMap<u32, LayerRows>,
}

/// The rows that are kept.
pub struct Sample {
    tokens: BTreeMap<u64, (u64, Kept)>,
    /// How many tokens came.
    seen: u64,
    /// Of those every so many-th is kept.
    stride: u64,
    last: Option<u64>,
    bytes: usize,
    budget: usize,
}

/// All heads' distributions for one token over the same outcomes.
pub struct Rows {
    /// Outcomes.
    pub n: usize,
    /// `[n, heads]`, NaN where a head has no row.
    pub weights: Vec<f32>,
}

impl Default for Sample {
    fn default() -> Sample {
        Sample::within(BUDGET)
    }
}

impl Sample {
    fn within(budget: usize) -> Sample {
        Sample { tokens: BTreeMap::new(), seen: 0, stride: 1, last: None, bytes: 0, budget }
    }

    /// Takes a row, if its token is one of those that are kept. Rows of a token may come in any order, but a token's
    /// first row comes only once.
    pub fn add(&mut self, row: &TokenRow<'_>) {
        if !self.tokens.contains_key(&row.token) {
            // The tokens of an evaluation come again with every layer when layers are computed one after the other.
            if self.last.is_some_and(|last| row.token <= last) {
                return;
            }
            self.last = Some(row.token);
            let number = self.seen;
            self.seen += 1;
            if !number.is_multiple_of(self.stride) {
                return;
            }
            self.tokens.insert(row.token, (number, Kept::default()));
        }
        let Some((_, kept)) = self.tokens.get_mut(&row.token) else { return };
        let has_sinks = row.sinks.len() == row.n_head;
        let mut keys: Vec<u64> = row.keys.iter().map(|k| k.token.unwrap_or(CELL | k.cell)).collect();
        let mut weights = row.weights.to_vec();
        if has_sinks {
            weights.clear();
            for (head, sink) in row.weights.chunks_exact(row.keys.len().max(1)).zip(row.sinks) {
                weights.extend_from_slice(head);
                weights.push(*sink);
            }
            keys.push(SINK);
        }
        self.bytes += weights.len() * 4 + keys.len() * 8;
        kept.layers.insert(row.layer, LayerRows { keys, n_head: row.n_head, weights });
        while self.bytes > self.budget && self.tokens.len() > 1 {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.stride *= 2;
        let stride = self.stride;
        self.tokens.retain(|_, (number, _)| number.is_multiple_of(stride));
        let layers = self.tokens.values().flat_map(|(_, kept)| kept.layers.values());
        self.bytes = layers.map(|l| l.weights.len() * 4 + l.keys.len() * 8).sum();
    }

    /// Tokens that came.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Outcomes of the token that has most.
    pub fn widest(&self) -> usize {
        self.tokens.values().flat_map(|(_, kept)| kept.layers.values()).map(|l| l.keys.len()).max().unwrap_or(0)
    }

    /// Rows of the kept tokens, `most` of them at most, evenly spaced, in the order of `heads`: how many heads each layer has.
    pub fn rows(self, heads: &BTreeMap<u32, usize>, most: usize) -> Vec<Rows> {
        let step = self.tokens.len().div_ceil(most.max(1)).max(1);
        self.tokens.into_values().step_by(step).map(|(_, kept)| kept.rows(heads)).collect()
    }
}

impl Kept {
    fn rows(&self, heads: &BTreeMap<u32, usize>) -> Rows {
        let mut outcomes: Vec<u64> = self.layers.values().flat_map(|l| l.keys.iter().copied()).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        let n = outcomes.len();
        let mut weights = vec![f32::NAN; n * heads.values().sum::<usize>()];
        let mut first = 0;
        for (layer, &n_head) in heads {
            let out = &mut weights[first * n..(first + n_head) * n];
            first += n_head;
            let Some(rows) = self.layers.get(layer).filter(|rows| rows.n_head == n_head) else { continue };
            out.fill(0.0);
            let places: Vec<usize> = rows.keys.iter().filter_map(|key| outcomes.binary_search(key).ok()).collect();
            for (out, row) in out.chunks_exact_mut(n.max(1)).zip(rows.weights.chunks_exact(rows.keys.len().max(1))) {
                for (&place, &weight) in places.iter().zip(row) {
                    out[place] += weight;
                }
            }
        }
        Rows { n, weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::KeyRef;
    use ggscope_format::EvalId;

    fn add(sample: &mut Sample, token: u64, layer: u32, keys: &[u64], weights: &[f32], sinks: &[f32]) {
        let keys: Vec<KeyRef> = keys.iter().map(|&k| KeyRef { cell: 0, token: Some(k) }).collect();
        let n_head = weights.len() / keys.len();
        sample.add(&TokenRow {
            token,
            eval: EvalId(0),
            context: 0,
            layer,
            n_head,
            n_head_kv: 1,
            keys: &keys,
            weights,
            sinks,
        });
    }

    #[test]
    fn layers_that_see_other_keys_are_laid_over_each_other_by_token() {
        let mut sample = Sample::default();
        add(&mut sample, 9, 0, &[3, 1, 2], &[0.5, 0.2, 0.3], &[]);
        add(&mut sample, 9, 1, &[2, 3], &[0.4, 0.6, 1.0, 0.0], &[]);
        let rows = sample.rows(&[(0, 1), (1, 2)].into(), 10);
        assert_eq!((rows.len(), rows[0].n), (1, 3));
        assert_eq!(rows[0].weights, [0.2, 0.3, 0.5, 0.0, 0.4, 0.6, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_sink_is_an_outcome_and_a_layer_without_a_row_has_none() {
        let mut sample = Sample::default();
        add(&mut sample, 1, 0, &[0, 1], &[0.25, 0.25, 0.5, 0.5], &[0.5, 0.0]);
        let rows = sample.rows(&[(0, 2), (1, 1)].into(), 10);
        assert_eq!(rows[0].weights[..6], [0.25, 0.25, 0.5, 0.5, 0.5, 0.0]);
        assert!(rows[0].weights[6..].iter().all(|w| w.is_nan()));
    }

    #[test]
    fn memory_is_bounded_and_the_tokens_that_are_kept_are_evenly_spaced() {
        let mut sample = Sample::within(10 * 24);
        // Layer after layer, as an evaluation is computed.
        for token in 0..100 {
            add(&mut sample, token, 0, &[0, 1], &[0.5, 0.5], &[]);
        }
        assert!(sample.bytes <= 240);
        assert_eq!((sample.seen(), sample.tokens.len()), (100, 7));
        assert_eq!(sample.tokens.keys().copied().collect::<Vec<_>>(), [0, 16, 32, 48, 64, 80, 96]);
        for token in 0..100 {
            add(&mut sample, token, 1, &[0, 1], &[0.5, 0.5], &[]);
        }
        assert_eq!(sample.seen(), 100);
        assert_eq!(sample.rows(&[(0, 1), (1, 1)].into(), 3).len(), 2);
    }
}
