//! Which heads much is read from: PageRank over the graph of heads, in which a head points to the heads below it by how much
//! of what it reads they had brought there. The graph is ours; docs/heads.md defines it.

use crate::attention::TokenRow;
use crate::tokens::Marks;
use ggscope_compute::{Direction, Error, Graph, NodeId, PageRank, Parallel, pagerank};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Tokens, from the first of the span, that are followed at most: 8 bytes for each and each head.
pub const MAX_TOKENS: usize = 4096;
/// Edges that weigh less are left out.
const LEAST: f64 = 1e-9;

/// What went through a head, by token.
#[derive(Clone, Debug, Default)]
struct Head {
    /// Weight that all rows together put on a token, the first one left out.
    read: Vec<f32>,
    /// Weight that a token's own row put on other tokens than itself and the first one.
    moved: Vec<f32>,
    rows: u64,
}

/// What went through all heads.
#[derive(Debug, Default)]
pub struct Flows {
    base: u64,
    heads: BTreeMap<(u32, usize), Head>,
}

fn add(list: &mut Vec<f32>, at: usize, weight: f32) {
    if list.len() <= at {
        list.resize(at + 1, 0.0);
    }
    list[at] += weight;
}

impl Flows {
    /// For tokens from number `base` on.
    pub fn new(base: u64) -> Flows {
        Flows { base, heads: BTreeMap::new() }
    }

    fn place(&self, token: u64) -> Option<usize> {
        usize::try_from(token.checked_sub(self.base)?).ok().filter(|&i| i < MAX_TOKENS)
    }

    /// Counts a row in. Rows that are not finite are left out.
    pub fn add(&mut self, row: &TokenRow<'_>, marks: &Marks) {
        let Some(own) = self.place(row.token) else { return };
        let places: Vec<Option<usize>> = row.keys.iter().map(|k| k.token.and_then(|t| self.place(t))).collect();
        for (h, weights) in row.weights.chunks_exact(row.keys.len().max(1)).enumerate() {
            let total: f32 = weights.iter().sum();
            if !total.is_finite() {
                continue;
            }
            let head = self.heads.entry((row.layer, h)).or_default();
            head.rows += 1;
            for (i, (&weight, place)) in weights.iter().zip(&places).enumerate() {
                if let Some(place) = place.filter(|_| marks.first != Some(i)) {
                    add(&mut head.read, place, weight);
                }
            }
            let at = |place: Option<usize>| place.map_or(0.0, |i| weights[i]);
            // At position 0 the token itself is the first one.
            let first = if marks.first == marks.own { None } else { marks.first };
            add(&mut head.moved, own, (total - at(marks.own) - at(first)).max(0.0));
        }
    }

    /// PageRank of each head, by layer and head; they sum to 1.
    ///
    /// # Errors
    /// When it does not converge.
    pub fn ranks(&self) -> Result<BTreeMap<(u32, usize), f64>, Error> {
        let heads: Vec<((u32, usize), &Head)> = self.heads.iter().map(|(&place, head)| (place, head)).collect();
        let edges_of = |reader: usize| {
            let ((layer, _), head) = heads[reader];
            let weight = |source: &Head| {
                let carried: f64 = head.read.iter().zip(&source.moved).map(|(r, m)| f64::from(r * m)).sum();
                carried / head.rows.max(1) as f64
            };
            let below = heads.iter().take_while(|source| source.0.0 < layer).enumerate();
            let edges = below.map(|(i, source)| ((NodeId(reader as u32), NodeId(i as u32)), weight(source.1)));
            edges.filter(|edge| edge.1 > LEAST).collect::<Vec<_>>()
        };
        let edges: Vec<((NodeId, NodeId), f64)> = (0..heads.len()).into_par_iter().flat_map_iter(edges_of).collect();
        let (edges, weights): (Vec<_>, Vec<_>) = edges.into_iter().unzip();
        let graph = Graph::weighted(heads.len(), Direction::Directed, &edges, &weights, Parallel::Last)?;
        let options = PageRank { tolerance: 1e-10, max_iterations: 1000, ..PageRank::default() };
        let ranks = pagerank(&graph, &options)?;
        Ok(heads.iter().map(|head| head.0).zip(ranks.scores).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::KeyRef;
    use crate::tokens::{Token, Tokens};
    use ggscope_format::EvalId;

    #[test]
    fn a_head_whose_finds_are_read_ranks_above_one_that_only_looks_at_itself() {
        let n = 12_u64;
        let tokens = Tokens::of((0..n as i32).map(|i| Token { pos: Some(i), ..Token::default() }).collect());
        let mut flows = Flows::new(0);
        for t in 1..n {
            let keys: Vec<KeyRef> = (0..=t).map(|k| KeyRef { cell: k, token: Some(k) }).collect();
            let marks = Marks::new(&tokens, t, &keys);
            let one = |at: u64| (0..=t).map(move |k| if k == at { 1.0 } else { 0.0 });
            // Layer 0: looks at the token before; at itself; at the first. Layer 1: at the token before; at the first.
            let lower: Vec<f32> = one(t - 1).chain(one(t)).chain(one(0)).collect();
            let upper: Vec<f32> = one(t - 1).chain(one(0)).collect();
            for (layer, weights) in [(0, &lower), (1, &upper)] {
                flows.add(
                    &TokenRow {
                        token: t,
                        eval: EvalId(0),
                        context: 0,
                        layer,
                        n_head: weights.len() / keys.len(),
                        n_head_kv: 1,
                        keys: &keys,
                        weights,
                        sinks: &[],
                    },
                    &marks,
                );
            }
        }
        let ranks = flows.ranks().unwrap();
        assert!((ranks.values().sum::<f64>() - 1.0).abs() < 1e-9);
        let rank = |layer, head| ranks[&(layer, head)];
        assert!(rank(0, 0) > 1.5 * rank(0, 1), "{ranks:?}");
        assert!((rank(0, 1) - rank(0, 2)).abs() < 1e-9, "what stays, or comes from the first token, is nothing new");
        assert!((rank(1, 0) - rank(1, 1)).abs() < 1e-9, "nobody reads from the last layer");
        assert!(Flows::new(0).ranks().unwrap().is_empty());
    }
}
