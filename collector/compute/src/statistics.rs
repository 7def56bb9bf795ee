//! How the values of a tensor are distributed: extremes, mean, a histogram and exact quantiles, in two passes and without
//! sorting. Values come in pieces from whoever knows the encoding (ggml, in the collector), so that a tensor is never there
//! as numbers as a whole.

use crate::error::{Error, option};
use rayon::prelude::*;
use std::ops::Range;

/// Values that are taken at once: a multiple of every block of ggml's encodings.
const PIECE: usize = 1 << 16;
/// The values of 16 bits: half of an `f32`.
pub(crate) const HALVES: usize = 1 << 16;
/// As many bins as a histogram may have.
pub const MAX_BINS: usize = 1024;

/// Encodings that CUDA kernels read themselves, with the numbers of `ggml_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, non_camel_case_types)]
pub enum Encoding {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q8_0 = 8,
    Q4_K = 12,
    Q6_K = 14,
    BF16 = 30,
}

impl Encoding {
    /// The encoding with this number in `ggml_type`, if kernels read it.
    pub fn from_ggml(number: u32) -> Option<Encoding> {
        use Encoding::*;
        [F32, F16, Q4_0, Q4_1, Q8_0, Q4_K, Q6_K, BF16].into_iter().find(|&encoding| encoding as u32 == number)
    }

    /// Values of a block, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Encoding::F32 => (1, 4),
            Encoding::F16 | Encoding::BF16 => (1, 2),
            Encoding::Q4_0 => (32, 18),
            Encoding::Q4_1 => (32, 20),
            Encoding::Q8_0 => (32, 34),
            Encoding::Q4_K => (256, 144),
            Encoding::Q6_K => (256, 210),
        }
    }
}

/// Puts the values of a range into a slice of its length. The range begins at a multiple of 65,536, or is of rows of a matrix.
pub type Dequantize<'a> = &'a (dyn Fn(Range<usize>, &mut [f32]) + Sync);

/// The values to look at.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// Numbers as they are.
    F32(&'a [f32]),
    /// A tensor as it lies in a file.
    Encoded {
        /// Number of values.
        count: usize,
        /// The tensor.
        bytes: &'a [u8],
        /// Its encoding, if that is one that kernels read; they are given `bytes`.
        encoding: Option<Encoding>,
        /// Turns it into numbers, for the CPU.
        dequantize: Dequantize<'a>,
    },
}

impl Values<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::Encoded { count, .. } => *count,
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding and the bytes, if kernels can read them.
    pub(crate) fn encoded(&self) -> Option<(Encoding, &[u8])> {
        match *self {
            Values::F32(values) => Some((Encoding::F32, bytemuck::cast_slice(values))),
            Values::Encoded { count, bytes, encoding, .. } => {
                let (values, size) = encoding?.block();
                (bytes.len() / size >= count.div_ceil(values)).then_some((encoding?, bytes))
            }
        }
    }

    /// Puts the values from number `first` on into `out`. It begins and ends with a block of the encoding.
    pub(crate) fn fill(&self, first: usize, out: &mut [f32]) {
        let range = first..first + out.len();
        match self {
            Values::F32(values) => out.copy_from_slice(&values[range]),
            Values::Encoded { dequantize, .. } => dequantize(range, out),
        }
    }

    /// Hands `each` the values of one piece after the other.
    fn pieces(&self, pieces: Range<usize>, mut each: impl FnMut(usize, &[f32])) {
        let mut buffer = Vec::new();
        for piece in pieces {
            let range = piece * PIECE..self.len().min((piece + 1) * PIECE);
            match self {
                Values::F32(values) => each(piece, &values[range]),
                Values::Encoded { dequantize, .. } => {
                    buffer.resize(range.len(), 0.0);
                    dequantize(range, &mut buffer);
                    each(piece, &buffer);
                }
            }
        }
    }
}

/// What to find out.
#[derive(Clone, Copy, Debug)]
pub struct DistributionOptions<'a> {
    /// Number of bins, 1 to [`MAX_BINS`].
    pub bins: usize,
    /// Quantiles, each from 0 to 1.
    pub quantiles: &'a [f64],
}

/// How values are distributed. Only finite ones count, but for the numbers of those that are not.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Finite values.
    pub count: u64,
    /// Zeros of either sign.
    pub zeros: u64,
    /// Values that are not a number.
    pub nan: u64,
    /// Values that are -∞, and +∞.
    pub infinite: [u64; 2],
    /// The least and the greatest; both 0 if there is none.
    pub range: [f32; 2],
    /// Their mean; 0 if there is none.
    pub mean: f64,
    /// Their standard deviation, of the values as they are, not as a sample.
    pub deviation: f64,
    /// How many are in each bin. All bins are equally wide, from the least value to the greatest, which is in the last one.
    pub bins: Vec<u64>,
    /// Each quantile that was asked for: the least value that at least such a part of them does not exceed (numpy's method
    /// `inverted_cdf`). NaN if there is none.
    pub quantiles: Vec<f32>,
}

/// What the first pass finds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Survey {
    pub count: u64,
    pub nan: u64,
    pub infinite: [u64; 2],
    /// Least and greatest, as [`key`]s.
    pub limits: [u32; 2],
    pub sum: f64,
    pub squares: f64,
    /// How many values have each upper half of their key.
    pub upper: Vec<u64>,
}

/// What the second pass is to count.
pub(crate) struct Plan {
    pub lowest: f64,
    pub width: f64,
    pub bins: usize,
    /// The rank of each quantile in ascending order of values, from 0.
    ranks: Vec<u64>,
    /// For every upper half the place of its lower halves, or `u32::MAX`.
    pub slots: Vec<u32>,
    pub slot_count: usize,
}

/// A number that is ordered as values are.
pub(crate) fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

impl DistributionOptions<'_> {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_BINS).contains(&self.bins) {
            return Err(option("bins", self.bins, "there must be from 1 to 1024"));
        }
        match self.quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            Some(bad) => Err(option("quantile", bad, "it must be from 0 to 1")),
            None => Ok(()),
        }
    }

    pub(crate) fn plan(&self, survey: &Survey) -> Plan {
        let rank = |q: &f64| ((q * survey.count as f64).ceil() as u64).clamp(1, survey.count.max(1)) - 1;
        let ranks: Vec<u64> = self.quantiles.iter().map(rank).collect();
        let mut slots = vec![u32::MAX; HALVES];
        let mut slot_count = 0;
        if survey.count > 0 {
            // Zeros are counted in the halves that both of them have in common with other values.
            let halves = ranks.iter().map(|&rank| find(&survey.upper, rank).0).chain(ZEROS.map(|zero| zero >> 16));
            for half in halves {
                let slot = &mut slots[half];
                if *slot == u32::MAX {
                    *slot = slot_count;
                    slot_count += 1;
                }
            }
        }
        let [least, greatest] = survey.range().map(f64::from);
        let width = (greatest - least) / self.bins as f64;
        Plan { lowest: least, width, bins: self.bins, ranks, slots, slot_count: slot_count as usize }
    }
}

/// The [`key`]s of both zeros.
const ZEROS: [usize; 2] = [0x8000_0000, 0x7fff_ffff];

/// Which bin the value of a rank is in, and its rank in there.
fn find(counts: &[u64], mut rank: u64) -> (usize, u64) {
    for (bin, &count) in counts.iter().enumerate() {
        if rank < count {
            return (bin, rank);
        }
        rank -= count;
    }
    (counts.len() - 1, 0)
}

impl Survey {
    fn range(&self) -> [f32; 2] {
        if self.count == 0 { [0.0; 2] } else { self.limits.map(value) }
    }

    pub(crate) fn finish(&self, plan: &Plan, bins: Vec<u64>, lower: &[u64]) -> Distribution {
        let lower_of = |upper: usize| &lower[plan.slots[upper] as usize * HALVES..][..HALVES];
        let at = |&rank: &u64| -> f32 {
            if self.count == 0 {
                return f32::NAN;
            }
            let (upper, rank) = find(&self.upper, rank);
            let (half, _) = find(lower_of(upper), rank);
            value((upper as u32) << 16 | half as u32)
        };
        let zeros =
            if self.count == 0 { 0 } else { ZEROS.map(|zero| lower_of(zero >> 16)[zero & 0xffff]).iter().sum() };
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        Distribution {
            count: self.count,
            zeros,
            nan: self.nan,
            infinite: self.infinite,
            range: self.range(),
            mean,
            deviation: (self.squares / count - mean * mean).max(0.0).sqrt(),
            bins,
            quantiles: plan.ranks.iter().map(at).collect(),
        }
    }
}

/// How the values are distributed, computed on the CPU.
///
/// # Errors
/// [`Error::Option`] for a bad number of bins or a bad quantile.
pub fn distribution_of(values: Values, wanted: &DistributionOptions) -> Result<Distribution, Error> {
    wanted.check()?;
    let survey = survey(values);
    let plan = wanted.plan(&survey);
    let (bins, lower) = detail(values, &plan);
    Ok(survey.finish(&plan, bins, &lower))
}

/// Pieces in as many groups as there are threads. Counts do not depend on how they are grouped; sums are kept by piece.
fn groups(values: &Values) -> Vec<Range<usize>> {
    let pieces = values.len().div_ceil(PIECE);
    let size = pieces.div_ceil(rayon::current_num_threads()).max(1);
    (0..pieces.div_ceil(size)).map(|group| group * size..pieces.min((group + 1) * size)).collect()
}

fn survey(values: Values) -> Survey {
    let of_group = |pieces: Range<usize>| {
        let mut survey = Survey::none();
        let mut sums = Vec::with_capacity(pieces.len());
        values.pieces(pieces, |_, piece| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for &value in piece {
                if !value.is_finite() {
                    match value.is_nan() {
                        true => survey.nan += 1,
                        false => survey.infinite[usize::from(value > 0.0)] += 1,
                    }
                    continue;
                }
                let key = key(value);
                survey.count += 1;
                survey.limits = [survey.limits[0].min(key), survey.limits[1].max(key)];
                survey.upper[(key >> 16) as usize] += 1;
                let value = f64::from(value);
                sum += value;
                squares += value * value;
            }
            sums.push((sum, squares));
        });
        (survey, sums)
    };
    let parts: Vec<(Survey, Vec<(f64, f64)>)> = groups(&values).into_par_iter().map(of_group).collect();
    let mut all = Survey::none();
    for (part, sums) in parts {
        all.add(&part);
        for (sum, squares) in sums {
            all.sum += sum;
            all.squares += squares;
        }
    }
    all
}

impl Survey {
    pub(crate) fn none() -> Survey {
        let limits = [u32::MAX, 0];
        Survey { count: 0, nan: 0, infinite: [0; 2], limits, sum: 0.0, squares: 0.0, upper: vec![0; HALVES] }
    }

    pub(crate) fn add(&mut self, part: &Survey) {
        self.count += part.count;
        self.nan += part.nan;
        self.infinite = [self.infinite[0] + part.infinite[0], self.infinite[1] + part.infinite[1]];
        self.limits = [self.limits[0].min(part.limits[0]), self.limits[1].max(part.limits[1])];
        self.sum += part.sum;
        self.squares += part.squares;
        add(&mut self.upper, &part.upper);
    }
}

fn add(sums: &mut [u64], parts: &[u64]) {
    sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
}

fn detail(values: Values, plan: &Plan) -> (Vec<u64>, Vec<u64>) {
    let none = || (vec![0; plan.bins], vec![0; plan.slot_count * HALVES]);
    let of_group = |pieces: Range<usize>| {
        let (mut bins, mut lower) = none();
        values.pieces(pieces, |_, piece| {
            for &value in piece.iter().filter(|value| value.is_finite()) {
                let place = if plan.width > 0.0 { (f64::from(value) - plan.lowest) / plan.width } else { 0.0 };
                bins[(place as usize).min(plan.bins - 1)] += 1;
                let key = key(value);
                let slot = plan.slots[(key >> 16) as usize];
                if slot != u32::MAX {
                    lower[slot as usize * HALVES + (key & 0xffff) as usize] += 1;
                }
            }
        });
        (bins, lower)
    };
    let parts: Vec<_> = groups(&values).into_par_iter().map(of_group).collect();
    let mut all = none();
    for (bins, lower) in &parts {
        add(&mut all.0, bins);
        add(&mut all.1, lower);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_bins_are_those_of_the_sorted_values() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut values: Vec<f32> = (0..200_001).map(|_| (random.f32() - 0.4) * random.f32().powi(9)).collect();
        values[7] = f32::NAN;
        values[9] = f32::INFINITY;
        values[11] = f32::NEG_INFINITY;
        values[13] = -0.0;
        let quantiles = [0.0, 0.001, 0.25, 0.5, 0.9, 1.0];
        let ours =
            distribution_of(Values::F32(&values), &DistributionOptions { bins: 50, quantiles: &quantiles }).unwrap();
        values.retain(|v| v.is_finite());
        values.sort_by(f32::total_cmp);
        assert_eq!((ours.count, ours.nan, ours.infinite), (values.len() as u64, 1, [1, 1]));
        assert_eq!(ours.range, [values[0], values[values.len() - 1]]);
        assert_eq!(ours.zeros, values.iter().filter(|&&v| v == 0.0).count() as u64);
        assert!(ours.zeros > 0);
        for (q, found) in quantiles.iter().zip(&ours.quantiles) {
            // At least such a part is not greater, and no value before it has that.
            let not_greater = |value: f32| values.iter().filter(|&&v| v <= value).count() as f64;
            let place = values.iter().position(|v| v == found).unwrap();
            assert!(not_greater(*found) >= q * values.len() as f64, "{q}: {found}");
            assert!(place == 0 || not_greater(values[place - 1]) < q * values.len() as f64, "{q}: {found}");
        }
        assert_eq!(ours.bins.iter().sum::<u64>(), ours.count);
        let width = f64::from(ours.range[1] - ours.range[0]) / 50.0;
        let first = values.iter().filter(|&&v| f64::from(v - ours.range[0]) < width).count() as u64;
        assert_eq!(ours.bins[0], first);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        assert!((ours.mean - mean).abs() < 1e-15);
    }

    #[test]
    fn there_may_be_no_values_or_all_the_same() {
        let wanted = DistributionOptions { bins: 3, quantiles: &[0.5] };
        let none = distribution_of(Values::F32(&[f32::NAN]), &wanted).unwrap();
        assert_eq!((none.count, none.nan, none.range, none.mean), (0, 1, [0.0; 2], 0.0));
        assert!(none.quantiles[0].is_nan());
        let same = distribution_of(Values::F32(&[2.5; 9]), &wanted).unwrap();
        assert_eq!((same.bins, same.quantiles, same.deviation), (vec![9, 0, 0], vec![2.5], 0.0));
        let bad = distribution_of(Values::F32(&[]), &DistributionOptions { bins: 0, quantiles: &[] }).unwrap_err();
        assert_eq!(bad.to_string(), "bins is 0: there must be from 1 to 1024");
        let bad =
            distribution_of(Values::F32(&[]), &DistributionOptions { bins: 1, quantiles: &[f64::NAN] }).unwrap_err();
        assert_eq!(bad.to_string(), "quantile is NaN: it must be from 0 to 1");
    }
}
