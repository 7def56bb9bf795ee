//! What is measured of a head: means over the rows of its attention. Each formula is in docs/heads.md.

use super::entropy::sum_x_ln_x;
use crate::tokens::Marks;
use ggscope_compute::attention::Measured;
use serde::Serialize;
use utoipa::ToSchema;

/// Rows with fewer keys say little: with one key every head looks the same.
pub const MIN_KEYS: usize = 4;

/// Means over the rows of a head. Shares are of 1; null where no row could show it, or where ids or texts are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Measures {
    /// Shannon entropy of the weights, nats.
    pub entropy: Option<f64>,
    /// The same, divided by ln(number of keys): 1 for a head that looks everywhere alike.
    pub entropy_normalized: Option<f64>,
    /// How far away what it looks at is, tokens.
    pub distance: Option<f64>,
    /// Weight on the token at position 0: the attention sink.
    pub first: Option<f64>,
    /// Weight on the token just before.
    pub previous: Option<f64>,
    /// Weight on the token itself.
    #[serde(rename = "self")]
    pub own: Option<f64>,
    /// Weight on tokens that follow an earlier occurrence of the same token, over rows that have such: the induction score.
    pub induction: Option<f64>,
    /// Weight on earlier occurrences of the same token, over rows that have such.
    pub duplicate: Option<f64>,
    /// Weight on punctuation, over rows that see some.
    pub punctuation: Option<f64>,
    /// Share of the head's learned sink, where the model has sinks.
    pub sink: Option<f64>,
}

/// A mean in the making.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    n: u64,
}

impl Mean {
    fn add(&mut self, x: f64) {
        self.sum += x;
        self.n += 1;
    }

    fn get(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// Sums over the rows of a head.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    entropy: Mean,
    entropy_normalized: Mean,
    distance: Mean,
    first: Mean,
    previous: Mean,
    own: Mean,
    induction: Mean,
    duplicate: Mean,
    punctuation: Mean,
    sink: Mean,
    /// Rows that have a number that is NaN or infinite, and are not counted in.
    pub not_finite: u64,
}

fn at(weights: &[f32], places: &[usize]) -> f64 {
    places.iter().filter_map(|&i| weights.get(i)).map(|&w| f64::from(w)).sum()
}

/// The sums over a row that means are made of.
fn measured(weights: &[f32], marks: &Marks) -> Measured {
    let total: f32 = weights.iter().sum();
    let one = |place: Option<usize>| place.and_then(|i| weights.get(i)).map_or(0.0, |&w| f64::from(w));
    Measured {
        total: total.into(),
        x_ln_x: sum_x_ln_x(weights).into(),
        distance: weights.iter().zip(&marks.distance).map(|(&w, &d)| f64::from(w) * f64::from(d)).sum(),
        places: [marks.first, marks.previous, marks.own].map(one),
        kinds: [&marks.induction, &marks.duplicate, &marks.punctuation].map(|places| at(weights, places)),
    }
}

impl Sums {
    /// Counts a row in: its weights, the share of its sink, and what its keys are to its token.
    pub fn add(&mut self, weights: &[f32], sink: Option<f32>, marks: &Marks) {
        self.count(&measured(weights, marks), weights.len(), sink, marks);
    }

    /// The same for a row of `n` keys that was measured already.
    pub fn count(&mut self, row: &Measured, n: usize, sink: Option<f32>, marks: &Marks) {
        if !row.total.is_finite() || sink.is_some_and(|s| !s.is_finite()) {
            self.not_finite += 1;
            return;
        }
        let outcomes = n + usize::from(sink.is_some());
        let entropy = -(row.x_ln_x + f64::from(sink.map_or(0.0, super::entropy::x_ln_x)));
        self.entropy.add(entropy.max(0.0));
        if outcomes > 1 {
            self.entropy_normalized.add((entropy / (outcomes as f64).ln()).clamp(0.0, 1.0));
        }
        // Of what goes to keys at all: a learned sink is nowhere.
        if row.total > 0.0 {
            self.distance.add(row.distance / row.total);
        }
        let [first, previous, own] = row.places;
        self.first.add(first);
        self.previous.add(previous);
        self.own.add(own);
        for (mean, sum, places) in [
            (&mut self.induction, row.kinds[0], &marks.induction),
            (&mut self.duplicate, row.kinds[1], &marks.duplicate),
            (&mut self.punctuation, row.kinds[2], &marks.punctuation),
        ] {
            if !places.is_empty() {
                mean.add(sum);
            }
        }
        if let Some(sink) = sink {
            self.sink.add(sink.into());
        }
    }

    /// Rows that were counted in.
    pub fn rows(&self) -> u64 {
        self.entropy.n
    }

    /// Rows that had something to copy: an earlier occurrence of their token, and what followed it.
    pub fn induction_rows(&self) -> u64 {
        self.induction.n
    }

    /// The means.
    pub fn means(&self) -> Measures {
        Measures {
            entropy: self.entropy.get(),
            entropy_normalized: self.entropy_normalized.get(),
            distance: self.distance.get(),
            first: self.first.get(),
            previous: self.previous.get(),
            own: self.own.get(),
            induction: self.induction.get(),
            duplicate: self.duplicate.get(),
            punctuation: self.punctuation.get(),
            sink: self.sink.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::KeyRef;
    use crate::tokens::{Token, Tokens};

    /// A text whose second half is its first half again.
    fn repeated(half: i32) -> Tokens {
        let token = |i: i32| Token {
            id: Some(1000 + i % half),
            pos: Some(i),
            phase: ggscope_format::TokenPhase::Prompt,
            punctuation: i % half == 3,
            ..Token::default()
        };
        Tokens::of((0..2 * half).map(token).collect())
    }

    /// The means of a head of which `look` says where a token looks.
    fn head(tokens: &Tokens, n: u64, look: impl Fn(u64, &mut [f32])) -> Measures {
        let mut sums = Sums::default();
        for t in (0..n).filter(|&t| t as usize + 1 >= MIN_KEYS) {
            let keys: Vec<KeyRef> = (0..=t).map(|k| KeyRef { cell: k, token: Some(k) }).collect();
            let mut weights = vec![0.0; keys.len()];
            look(t, &mut weights);
            sums.add(&weights, None, &Marks::new(tokens, t, &keys));
        }
        sums.means()
    }

    #[test]
    fn a_head_that_looks_at_the_previous_token_has_all_its_weight_there() {
        let found = head(&repeated(16), 32, |t, w| w[t as usize - 1] = 1.0);
        assert_eq!((found.previous, found.own, found.first), (Some(1.0), Some(0.0), Some(0.0)));
        assert_eq!((found.distance, found.entropy), (Some(1.0), Some(0.0)));
        assert_eq!(found.induction, Some(0.0));
    }

    #[test]
    fn an_induction_head_on_a_repeated_text_scores_one_and_a_duplicate_head_too() {
        let half = 16;
        let copy = |t: u64, w: &mut [f32]| w[if t < half { 0 } else { (t - half + 1) as usize }] = 1.0;
        let found = head(&repeated(half as i32), 2 * half, copy);
        assert_eq!((found.induction, found.duplicate), (Some(1.0), Some(0.0)));
        let same = |t: u64, w: &mut [f32]| w[if t < half { 0 } else { (t - half) as usize }] = 1.0;
        let found = head(&repeated(half as i32), 2 * half, same);
        assert_eq!((found.induction, found.duplicate), (Some(0.0), Some(1.0)));
    }

    #[test]
    fn a_head_that_looks_everywhere_alike_has_the_entropy_ln_n() {
        let found = head(&repeated(16), 32, |_, w| w.fill(1.0 / w.len() as f32));
        let mean = |f: fn(f64) -> f64| (4..=32).map(|n| f(f64::from(n))).sum::<f64>() / 29.0;
        let near = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-6, "{a:?} is not {b}");
        near(found.entropy, mean(f64::ln));
        near(found.entropy_normalized, 1.0);
        near(found.first, mean(|n| 1.0 / n));
        near(found.distance, mean(|n| (n - 1.0) / 2.0));
        // One token of 16 is punctuation: number 3, and 19 later on.
        near(found.punctuation, (4..=32).map(|n| if n < 20 { 1.0 } else { 2.0 } / f64::from(n)).sum::<f64>() / 29.0);
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let unnamed = Tokens::of((0..8).map(|i| Token { pos: Some(i), ..Token::default() }).collect());
        let found = head(&unnamed, 8, |_, w| w[0] = 1.0);
        assert_eq!((found.induction, found.duplicate, found.punctuation, found.sink), (None, None, None, None));
        assert_eq!(found.first, Some(1.0));
        assert_eq!(Sums::default().means(), Measures::default());
    }

    #[test]
    fn rows_with_nan_are_counted_and_spoil_nothing() {
        let tokens = repeated(4);
        let keys: Vec<KeyRef> = (0..4).map(|k| KeyRef { cell: k, token: Some(k) }).collect();
        let marks = Marks::new(&tokens, 3, &keys);
        let mut sums = Sums::default();
        sums.add(&[f32::NAN, 0.0, 0.0, 1.0], None, &marks);
        sums.add(&[0.25; 4], None, &marks);
        assert_eq!((sums.not_finite, sums.rows()), (1, 1));
        assert!((sums.means().entropy.unwrap() - 4_f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_learned_sink_is_one_more_place_to_look_at() {
        let tokens = repeated(4);
        let keys: Vec<KeyRef> = (0..3).map(|k| KeyRef { cell: k, token: Some(k) }).collect();
        let mut sums = Sums::default();
        sums.add(&[0.25; 3], Some(0.25), &Marks::new(&tokens, 2, &keys));
        let found = sums.means();
        assert_eq!(found.sink, Some(0.25));
        assert!((found.entropy_normalized.unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(found.distance, Some(1.0), "of what goes to tokens");
    }
}
