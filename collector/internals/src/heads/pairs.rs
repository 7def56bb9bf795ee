//! How much each two heads differ: the Jensen-Shannon divergence of their rows, averaged over tokens. All pairs, in tiles
//! that fit the caches, on all cores.

use super::entropy::{divergence, sum_x_ln_x};
use super::sample::Rows;
use rayon::prelude::*;

/// Heads on each side of a tile.
const TILE: usize = 16;
/// Logarithms that are computed at most: about ten seconds of two cores.
pub const MAX_TERMS: u64 = 6_000_000_000;

/// A number for each two of `n` heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Heads.
    pub n: usize,
    /// (0, 1), (0, 2), … (1, 2), …; NaN where no token had rows of both.
    pub of: Vec<f32>,
}

impl Pairs {
    /// Where the pair's number is; `a` is less than `b`.
    pub(super) fn place(n: usize, a: usize, b: usize) -> usize {
        a * (2 * n - a - 1) / 2 + b - a - 1
    }

    /// The pair's number, 0 for a head and itself.
    pub fn get(&self, a: usize, b: usize) -> f32 {
        match a.cmp(&b) {
            std::cmp::Ordering::Less => self.of[Pairs::place(self.n, a, b)],
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => self.of[Pairs::place(self.n, b, a)],
        }
    }
}

/// How many tokens of so many outcomes can be compared within [`MAX_TERMS`].
pub fn affordable(heads: usize, outcomes: usize) -> usize {
    let pairs = (heads * heads.saturating_sub(1) / 2) as u64;
    usize::try_from(MAX_TERMS / (pairs * outcomes as u64).max(1)).unwrap_or(usize::MAX).max(1)
}

/// Mean divergence in nats of each two of `n` heads over the tokens, 0 to ln 2.
pub fn divergences(n: usize, tokens: &[Rows]) -> Pairs {
    let entropies: Vec<Vec<f32>> = tokens
        .par_iter()
        .map(|rows| (0..n).map(|h| sum_x_ln_x(&rows.weights[h * rows.n..(h + 1) * rows.n])).collect())
        .collect();
    let starts: Vec<usize> = (0..n).step_by(TILE).collect();
    let tiles: Vec<(usize, usize)> =
        starts.iter().flat_map(|&a| starts.iter().filter(move |&&b| b >= a).map(move |&b| (a, b))).collect();
    let computed: Vec<Vec<f32>> = tiles.par_iter().map(|&tile| of_tile(n, tile, tokens, &entropies)).collect();
    let mut of = vec![f32::NAN; n * n.saturating_sub(1) / 2];
    for (&(first_a, first_b), values) in tiles.iter().zip(&computed) {
        for (a, b, value) in in_tile(n, (first_a, first_b)).zip(values).map(|((a, b), v)| (a, b, *v)) {
            of[Pairs::place(n, a, b)] = value;
        }
    }
    Pairs { n, of }
}

fn in_tile(n: usize, (a, b): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    let ends = move |first: usize| first..(first + TILE).min(n);
    ends(a).flat_map(move |a| ends(b).filter(move |&b| b > a).map(move |b| (a, b)))
}

fn of_tile(n: usize, tile: (usize, usize), tokens: &[Rows], entropies: &[Vec<f32>]) -> Vec<f32> {
    let mut sums: Vec<(f64, u32)> = in_tile(n, tile).map(|_| (0.0, 0)).collect();
    for (rows, entropy) in tokens.iter().zip(entropies) {
        let row = |h: usize| &rows.weights[h * rows.n..(h + 1) * rows.n];
        for ((a, b), sum) in in_tile(n, tile).zip(&mut sums) {
            let js = divergence(row(a), row(b), entropy[a], entropy[b]);
            if js.is_finite() && rows.n > 0 {
                *sum = (sum.0 + f64::from(js), sum.1 + 1);
            }
        }
    }
    sums.into_iter().map(|(sum, count)| (sum / f64::from(count)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some rows without a pattern, from a seed.
    fn rows(n: usize, heads: usize, seed: u64) -> Rows {
        let mut random = ggscope_trace::testing::Random(seed);
        let mut weights: Vec<f32> = (0..n * heads).map(|_| random.below(1000) as f32 + 1.0).collect();
        for row in weights.chunks_exact_mut(n) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|w| *w /= sum);
        }
        Rows { n, weights }
    }

    #[test]
    fn every_pair_is_what_the_definition_says() {
        let heads = 37;
        let tokens = [rows(40, heads, 1), rows(23, heads, 2)];
        let found = divergences(heads, &tokens);
        assert_eq!(found.of.len(), heads * (heads - 1) / 2);
        let kl = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
        for a in 0..heads {
            for b in 0..heads {
                let exact = |rows: &Rows| {
                    let row = |h: usize| -> Vec<f64> {
                        rows.weights[h * rows.n..(h + 1) * rows.n].iter().map(|&w| f64::from(w)).collect()
                    };
                    let (p, q) = (row(a), row(b));
                    let m: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
                    (kl(&p, &m) + kl(&q, &m)) / 2.0
                };
                let exact = (exact(&tokens[0]) + exact(&tokens[1])) / 2.0;
                assert!((f64::from(found.get(a, b)) - exact).abs() < 2e-6, "{a}, {b}: {} {exact}", found.get(a, b));
            }
        }
    }

    #[test]
    fn a_token_without_a_row_of_both_does_not_count_and_none_at_all_is_nan() {
        let one = Rows { n: 2, weights: vec![1.0, 0.0, 0.0, 1.0, f32::NAN, f32::NAN] };
        let two = Rows { n: 2, weights: vec![f32::NAN, f32::NAN, 0.0, 1.0, f32::NAN, f32::NAN] };
        let found = divergences(3, &[one, two]);
        assert!((found.get(0, 1) - std::f32::consts::LN_2).abs() < 1e-6);
        assert!(found.get(0, 2).is_nan() && found.get(2, 1).is_nan());
        assert!(divergences(0, &[]).of.is_empty());
    }

    #[test]
    fn work_is_bounded() {
        assert!(affordable(1024, 2048) < 10);
        assert!(affordable(270, 200) > 500);
        assert_eq!(affordable(100_000, 100_000), 1);
    }
}
