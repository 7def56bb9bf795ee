//! How evenly tokens went to the experts of a layer.

use serde::Serialize;
use utoipa::ToSchema;

/// The experts of a layer, and how many tokens went to each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Load {
    /// Tokens that were routed.
    pub tokens: u64,
    /// By expert: tokens that went to it.
    pub load: Vec<u64>,
    /// By expert: its mean weight where it was chosen, null where it never was; null if no weights were captured.
    pub weight: Option<Vec<Option<f64>>>,
    /// Experts that at least one token went to.
    pub used: u32,
    /// Shannon entropy of the shares of the load, in bits: -Σ p·log2 p; log2 of the number of experts if all are used alike.
    pub entropy: f64,
    /// The entropy as a part of the most that it can be, 0 to 1.
    pub balance: f64,
    /// 2 to the entropy: so many experts that are used alike have the same entropy.
    pub effective: f64,
    /// Load of the busiest expert as a multiple of the mean over all experts.
    pub peak: f64,
    /// Experts with at least twice the mean load, busiest first.
    pub hot: Vec<u32>,
    /// Experts with at most half of the mean load that were used, idlest first.
    pub cold: Vec<u32>,
    /// Experts that no token went to.
    pub unused: Vec<u32>,
}

/// What is counted while tokens go by.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    pub tokens: u64,
    pub load: Vec<u64>,
    /// Sum of the weights, and choices that had one.
    pub weight: Vec<(f64, u64)>,
}

impl Count {
    pub fn new(n_experts: usize) -> Count {
        Count { tokens: 0, load: vec![0; n_experts], weight: vec![(0.0, 0); n_experts] }
    }

    /// One token's experts, with its weights if they are known.
    pub fn add(&mut self, experts: &[i32], weights: Option<&[f32]>) {
        self.tokens += 1;
        for (i, &id) in experts.iter().enumerate() {
            self.load[id as usize] += 1;
            if let Some(weight) = weights.and_then(|w| w.get(i)).filter(|w| w.is_finite()) {
                let (sum, count) = &mut self.weight[id as usize];
                *sum += f64::from(*weight);
                *count += 1;
            }
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Count) -> Count {
        let weight = |(a, b): (&(f64, u64), &(f64, u64))| (a.0 + b.0, a.1 + b.1);
        Count {
            tokens: self.tokens + other.tokens,
            load: self.load.iter().zip(&other.load).map(|(a, b)| a + b).collect(),
            weight: self.weight.iter().zip(&other.weight).map(weight).collect(),
        }
    }

    pub fn load(&self) -> Load {
        let n = self.load.len();
        let total: u64 = self.load.iter().sum();
        let mean = total as f64 / n.max(1) as f64;
        let entropy = entropy(&self.load);
        let by_load = |wanted: &dyn Fn(f64) -> bool| {
            let mut found: Vec<u32> = (0..n as u32).filter(|&e| wanted(self.load[e as usize] as f64)).collect();
            found.sort_by_key(|&e| self.load[e as usize]);
            found
        };
        let mut hot = by_load(&|load| load > 0.0 && load >= 2.0 * mean);
        hot.sort_by_key(|&e| std::cmp::Reverse(self.load[e as usize]));
        let of_weight = |&(sum, count): &(f64, u64)| (count > 0).then(|| sum / count as f64);
        let is_weighted = self.weight.iter().any(|w| w.1 > 0);
        Load {
            tokens: self.tokens,
            weight: is_weighted.then(|| self.weight.iter().map(of_weight).collect()),
            used: self.load.iter().filter(|&&l| l > 0).count() as u32,
            entropy,
            balance: if n > 1 { entropy / (n as f64).log2() } else { 1.0 },
            effective: entropy.exp2(),
            peak: if total > 0 { self.load.iter().max().map_or(0.0, |&most| most as f64 / mean) } else { 0.0 },
            hot,
            cold: by_load(&|load| load > 0.0 && load <= mean / 2.0),
            unused: by_load(&|load| load == 0.0),
            load: self.load.clone(),
        }
    }
}

/// Shannon entropy of shares, in bits.
fn entropy(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let shares = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total as f64);
    // Not -0 for a single share.
    shares.map(|p| -p * p.log2()).sum::<f64>().max(0.0)
}

/// Jensen-Shannon divergence of two loads in bits: 0 if their shares are the same, 1 if they have no expert in common.
/// `None` if one of them is empty. J. Lin, "Divergence measures based on the Shannon entropy", 1991.
pub(super) fn divergence(a: &Count, b: &Count) -> Option<f64> {
    let (total_a, total_b): (u64, u64) = (a.load.iter().sum(), b.load.iter().sum());
    if total_a == 0 || total_b == 0 {
        return None;
    }
    let part = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).log2() / 2.0 } else { 0.0 };
    let of = |(&a, &b): (&u64, &u64)| {
        let (p, q) = (a as f64 / total_a as f64, b as f64 / total_b as f64);
        part(p, (p + q) / 2.0) + part(q, (p + q) / 2.0)
    };
    Some(a.load.iter().zip(&b.load).map(of).sum::<f64>().clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(load: &[u64]) -> Count {
        Count { tokens: load.iter().sum(), load: load.to_vec(), weight: vec![(0.0, 0); load.len()] }
    }

    #[test]
    fn entropy_and_balance_are_those_worked_out_by_hand() {
        // Shares ½, ¼, ⅛, ⅛: ½·1 + ¼·2 + 2·⅛·3 = 1.75 bits of 2.
        let uneven = counted(&[4, 2, 1, 1]).load();
        assert_eq!((uneven.entropy, uneven.balance, uneven.peak), (1.75, 0.875, 2.0));
        assert!((uneven.effective - 3.363_585_661).abs() < 1e-9);
        let even = counted(&[5, 5, 5, 5]).load();
        assert_eq!((even.entropy, even.balance, even.effective, even.peak, even.used), (2.0, 1.0, 4.0, 1.0, 4));
        let one = counted(&[0, 9, 0, 0]).load();
        assert_eq!((one.entropy, one.balance, one.effective, one.peak, one.used), (0.0, 0.0, 1.0, 4.0, 1));
        let none = counted(&[0, 0]).load();
        assert_eq!((none.entropy, none.balance, none.peak), (0.0, 0.0, 0.0));
    }

    #[test]
    fn hot_cold_and_unused_experts_are_told_apart() {
        // Mean 4: hot from 8 on, cold up to 2.
        let load = counted(&[9, 2, 0, 1, 4, 8]).load();
        assert_eq!((load.hot, load.cold, load.unused), (vec![0, 5], vec![3, 1], vec![2]));
        let even = counted(&[3, 3, 3]).load();
        assert_eq!((even.hot, even.cold, even.unused), (vec![], vec![], vec![]));
    }

    #[test]
    fn weights_are_means_over_the_choices_that_have_one() {
        let mut count = Count::new(3);
        count.add(&[2, 0], Some(&[0.75, 0.25]));
        count.add(&[2, 1], Some(&[0.25, f32::NAN]));
        count.add(&[0, 1], None);
        let load = count.load();
        assert_eq!((load.tokens, load.load), (3, vec![2, 2, 2]));
        assert_eq!(load.weight, Some(vec![Some(0.25), None, Some(0.5)]));
        assert_eq!(Count::new(3).load().weight, None);
    }

    #[test]
    fn divergence_reaches_from_the_same_to_nothing_in_common() {
        let of = |a: &[u64], b: &[u64]| divergence(&counted(a), &counted(b));
        assert_eq!(of(&[1, 3], &[2, 6]), Some(0.0));
        assert_eq!(of(&[5, 0], &[0, 2]), Some(1.0));
        // Of (1, 0) and (½, ½) the middle is (¾, ¼): ½·log2(4/3) + ½·(½·log2(2/3) + ½·log2(2)) = 0.3113.
        assert!((of(&[4, 0], &[1, 1]).unwrap() - 0.311_278_124).abs() < 1e-9);
        assert_eq!(of(&[0, 0], &[1, 1]), None);
    }
}
