//! The distribution of very many floats in little memory: two looks at them give exact quantiles. The first counts them
//! by the upper 16 bits of their order, the second by the lower 16 bits where a quantile must lie, and fills a histogram
//! between the least and the largest that the first has found.

use serde::Serialize;
use utoipa::ToSchema;

/// The quantiles that are told.
pub const QUANTILES: [f64; 9] = [0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999];
/// Bins of a histogram.
pub const BINS: usize = 64;
const UPPER: usize = 1 << 16;

/// How floats are distributed. Finite ones only, but where something else is said.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Distribution {
    /// All of them, whatever they are.
    pub count: u64,
    /// Zeros of either sign.
    pub zeros: u64,
    /// Numbers that are none.
    pub nan: u64,
    /// Infinities of either sign.
    pub infinite: u64,
    /// The least; none if there is no finite one, likewise the next four.
    pub min: Option<f32>,
    /// The largest.
    pub max: Option<f32>,
    /// Mean.
    pub mean: Option<f64>,
    /// Root of the mean square.
    pub rms: Option<f64>,
    /// Standard deviation (of all of them, not of a sample).
    pub std: Option<f64>,
    /// Quantiles, least first: exact, the least number that at least such a part of them does not exceed.
    pub quantiles: Vec<Quantile>,
    /// How many lie where.
    pub histogram: Option<Histogram>,
}

/// One quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Quantile {
    /// The part of them, 0 to 1.
    pub p: f64,
    /// The number.
    pub value: f32,
}

/// Counts in bins of equal width.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
// Queries of traces have another of this name.
#[schema(as = quant::Histogram)]
pub struct Histogram {
    /// Where the first bin begins.
    pub from: f32,
    /// Where the last bin ends; it includes this number.
    pub to: f32,
    /// Numbers in each bin.
    pub counts: Vec<u64>,
}

/// Where a float stands among all floats; both zeros are one.
fn order(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The float with that place.
fn at_order(order: u32) -> f32 {
    f32::from_bits(if order >> 31 == 1 { order & !(1 << 31) } else { !order })
}

/// What the first look finds.
#[derive(Clone, Debug)]
pub(super) struct FirstLook {
    zeros: u64,
    nan: u64,
    infinite: u64,
    upper: Vec<u64>,
    least: f32,
    most: f32,
    /// Sums and sums of squares by piece.
    sums: Vec<(u64, f64, f64)>,
}

impl Default for FirstLook {
    fn default() -> FirstLook {
        FirstLook {
            zeros: 0,
            nan: 0,
            infinite: 0,
            upper: vec![0; UPPER],
            least: f32::INFINITY,
            most: f32::NEG_INFINITY,
            sums: vec![],
        }
    }
}

impl FirstLook {
    /// Looks at the numbers of a piece.
    pub(super) fn add(&mut self, piece: u64, values: &[f32]) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for &value in values {
            if !value.is_finite() {
                if value.is_nan() {
                    self.nan += 1
                } else {
                    self.infinite += 1
                };
                continue;
            }
            self.zeros += u64::from(value == 0.0);
            self.least = self.least.min(value);
            self.most = self.most.max(value);
            self.upper[(order(value) >> 16) as usize] += 1;
            let wide = f64::from(value);
            sum += wide;
            squares += wide * wide;
        }
        self.sums.push((piece, sum, squares));
    }

    pub(super) fn merge(&mut self, other: FirstLook) {
        self.zeros += other.zeros;
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.upper.iter_mut().zip(other.upper).for_each(|(count, other)| *count += other);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.sums.extend(other.sums);
    }

    fn finite(&self) -> u64 {
        self.upper.iter().sum()
    }
}

/// What the second look is for, and what it finds.
#[derive(Clone, Debug)]
pub(super) struct SecondLook {
    from: f32,
    width: f64,
    bins: [u64; BINS],
    /// For each upper half one more than the index in `lower`, 0 where no quantile lies.
    wanted: Vec<u8>,
    lower: Vec<Vec<u64>>,
}

impl SecondLook {
    /// Prepares the second look at what `first` is of.
    pub(super) fn after(first: &FirstLook) -> SecondLook {
        let mut look = SecondLook {
            from: first.least,
            width: (f64::from(first.most) - f64::from(first.least)) / BINS as f64,
            bins: [0; BINS],
            wanted: vec![0; UPPER],
            lower: vec![],
        };
        for rank in ranks(first.finite()) {
            let (upper, _) = bucket(first.upper.iter(), rank);
            if look.wanted[upper] == 0 {
                look.lower.push(vec![0; 1 << 16]);
                look.wanted[upper] = look.lower.len() as u8;
            }
        }
        look
    }

    /// Looks at numbers, of which no order is asked.
    pub(super) fn add(&mut self, values: &[f32]) {
        for &value in values.iter().filter(|v| v.is_finite()) {
            let bin = ((f64::from(value) - f64::from(self.from)) / self.width) as usize;
            self.bins[bin.min(BINS - 1)] += 1;
            let order = order(value);
            let wanted = self.wanted[(order >> 16) as usize];
            if wanted > 0 {
                self.lower[usize::from(wanted) - 1][(order & 0xffff) as usize] += 1;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &SecondLook) {
        self.bins.iter_mut().zip(other.bins).for_each(|(count, other)| *count += other);
        for (mine, other) in self.lower.iter_mut().zip(&other.lower) {
            mine.iter_mut().zip(other).for_each(|(count, other)| *count += other);
        }
    }
}

/// Ranks of the quantiles among `count` numbers, from 1.
fn ranks(count: u64) -> Vec<u64> {
    if count == 0 {
        return vec![];
    }
    QUANTILES.iter().map(|p| ((p * count as f64).ceil() as u64).clamp(1, count)).collect()
}

/// The bucket that the number with the rank lies in, and its rank there.
fn bucket<'a>(counts: impl Iterator<Item = &'a u64>, rank: u64) -> (usize, u64) {
    let mut before = 0;
    for (bucket, &count) in counts.enumerate() {
        if rank <= before + count {
            return (bucket, rank - before);
        }
        before += count;
    }
    unreachable!("rank {rank} of {before} numbers")
}

impl Distribution {
    /// What both looks have found.
    pub(super) fn of(mut first: FirstLook, second: &SecondLook) -> Distribution {
        let finite = first.finite();
        first.sums.sort_unstable_by_key(|(piece, ..)| *piece);
        let (sum, squares) = first.sums.iter().fold((0.0, 0.0), |(s, q), (_, sum, squares)| (s + sum, q + squares));
        let any = |number: f64| (finite > 0).then_some(number / finite as f64);
        let (mean, square) = (any(sum), any(squares));
        let quantiles = QUANTILES.iter().zip(ranks(finite)).map(|(&p, rank)| {
            let (upper, rank) = bucket(first.upper.iter(), rank);
            let (lower, _) = bucket(second.lower[usize::from(second.wanted[upper]) - 1].iter(), rank);
            Quantile { p, value: at_order((upper << 16 | lower) as u32) }
        });
        Distribution {
            count: finite + first.nan + first.infinite,
            zeros: first.zeros,
            nan: first.nan,
            infinite: first.infinite,
            min: (finite > 0).then_some(first.least + 0.0),
            max: (finite > 0).then_some(first.most + 0.0),
            mean,
            rms: square.map(f64::sqrt),
            std: mean.zip(square).map(|(mean, square)| (square - mean * mean).max(0.0).sqrt()),
            quantiles: quantiles.collect(),
            histogram: (finite > 0).then(|| Histogram {
                from: first.least + 0.0,
                to: first.most + 0.0,
                counts: second.bins.to_vec(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ggml::testing::Noise;

    fn distribution(values: &[f32]) -> Distribution {
        // In two parts, the later one first, as two threads might.
        let (a, b) = values.split_at(values.len() / 3);
        let (mut first, mut other) = (FirstLook::default(), FirstLook::default());
        first.add(1, b);
        other.add(0, a);
        first.merge(other);
        let mut second = SecondLook::after(&first);
        let mut other = second.clone();
        second.add(b);
        other.add(a);
        second.merge(&other);
        Distribution::of(first, &second)
    }

    #[test]
    fn quantiles_are_exact() {
        let mut values = Noise::new(2).normals(50_000);
        values.extend(values.iter().map(|v| v * 1e-6).collect::<Vec<_>>());
        let found = distribution(&values);
        values.sort_by(f32::total_cmp);
        for Quantile { p, value } in found.quantiles {
            let rank = (p * values.len() as f64).ceil() as usize;
            assert_eq!(value, values[rank - 1], "{p}");
        }
        assert_eq!((found.min, found.max), (values.first().copied(), values.last().copied()));
        assert_eq!(found.histogram.unwrap().counts.iter().sum::<u64>(), 100_000);
    }

    #[test]
    fn what_is_no_number_is_counted_and_left_out() {
        let found = distribution(&[1.0, f32::NAN, 3.0, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!((found.count, found.zeros, found.nan, found.infinite), (7, 2, 1, 2));
        assert_eq!(
            (found.min, found.max, found.mean, found.rms),
            (Some(0.0), Some(3.0), Some(1.0), Some(2.5_f64.sqrt()))
        );
        let histogram = found.histogram.unwrap();
        assert_eq!((histogram.from, histogram.to), (0.0, 3.0));
        assert_eq!((histogram.counts[0], histogram.counts[21], histogram.counts[63]), (2, 1, 1));
    }

    #[test]
    fn nothing_and_one_number_again_and_again_have_distributions() {
        let none = distribution(&[]);
        assert_eq!((none.count, none.mean, none.quantiles.len(), none.histogram), (0, None, 0, None));
        let same = distribution(&[0.25; 100]);
        assert_eq!((same.mean, same.std, same.rms), (Some(0.25), Some(0.0), Some(0.25)));
        assert!(same.quantiles.iter().all(|q| q.value == 0.25));
        assert_eq!(same.histogram.unwrap().counts.iter().sum::<u64>(), 100);
        let only_nan = distribution(&[f32::NAN; 3]);
        assert_eq!((only_nan.nan, only_nan.min, only_nan.quantiles.len()), (3, None, 0));
    }

    #[test]
    fn the_largest_floats_fit() {
        let found = distribution(&[f32::MIN, f32::MAX, 1.0]);
        let counts = found.histogram.unwrap().counts;
        assert_eq!((counts[0], counts[32], counts[63]), (1, 1, 1));
        assert_eq!(found.quantiles[4].value, 1.0);
    }

    #[test]
    fn order_is_the_order_of_floats() {
        let sorted = [f32::MIN, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX];
        assert!(sorted.is_sorted_by(|a, b| order(*a) < order(*b)));
        assert!(sorted.iter().all(|&v| at_order(order(v)) == v));
        assert_eq!(order(-0.0), order(0.0));
    }
}
