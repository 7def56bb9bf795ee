//! Statistics of a tensor's rows, in place of its values. Every element is looked at while the host waits, so the loops
//! are such that the compiler can take many elements at once.

use ggscope_format::value::{Histogram, RowStatistics};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::RangeInclusive;

/// Types that have statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32 bits.
    F32,
    /// 16 bits, 5 of them the exponent.
    F16,
    /// 16 bits, 8 of them the exponent.
    Bf16,
}

impl Element {
    /// The type that ggml calls so.
    pub fn named(name: &[u8]) -> Option<Element> {
        match name {
            b"f32" => Some(Element::F32),
            b"f16" => Some(Element::F16),
            b"bf16" => Some(Element::Bf16),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        if self == Element::F32 { 4 } else { 2 }
    }

    /// The numbers that `bytes` are, which lie there if they can, else in `out`. `None` if they are not aligned.
    pub fn numbers<'a>(self, bytes: &'a [u8], out: &'a mut Vec<f32>) -> Option<&'a [f32]> {
        // SAFETY: any bits are an `f32`, an `f16` and a `bf16`; the host is little-endian, as ggml's types are there.
        unsafe {
            match self {
                Element::F32 => return aligned::<f32>(bytes.align_to()),
                Element::F16 => {
                    let numbers = aligned::<f16>(bytes.align_to())?;
                    out.resize(numbers.len(), 0.0);
                    numbers.convert_to_f32_slice(out);
                }
                Element::Bf16 => {
                    let numbers = aligned::<bf16>(bytes.align_to())?;
                    out.resize(numbers.len(), 0.0);
                    numbers.convert_to_f32_slice(out);
                }
            }
        }
        Some(out)
    }
}

fn aligned<'a, T>((before, all, behind): (&[u8], &'a [T], &[u8])) -> Option<&'a [T]> {
    (before.is_empty() && behind.is_empty()).then_some(all)
}

/// Elements that are taken at once, and after how many the sums go on in more bits.
const LANES: usize = 16;
const BLOCK: usize = 64 * LANES;

/// Exponents of `f32`: 0 for what is below 2^-126, the last for what is infinite or not a number.
const EXPONENTS: usize = 256;

/// Counts elements by their exponents; several lists, because an element often has the exponent of the one before, and
/// then one list would have to be waited for.
pub struct Exponents {
    counts: [[u32; EXPONENTS]; 4],
    /// The first and the last place where counts may be that are not 0, but for the very first.
    range: (usize, usize),
}

impl Default for Exponents {
    fn default() -> Exponents {
        Exponents { counts: [[0; EXPONENTS]; 4], range: NOWHERE }
    }
}

/// The range of no exponents.
const NOWHERE: (usize, usize) = (EXPONENTS, 0);

/// The biased exponent of a number that has these bits.
fn exponent(bits: u32) -> usize {
    (bits >> 23) as usize & (EXPONENTS - 1)
}

/// The biased exponents of 32 numbers, a byte each, in an order that is not that of the numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn exponents_of(numbers: &[f32; 32]) -> std::arch::x86_64::__m256i {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_packus_epi16, _mm256_packus_epi32, _mm256_set1_epi32, _mm256_srli_epi32,
    };
    // SAFETY: both are 128 bytes, and any bits are integers.
    let bits: [__m256i; 4] = unsafe { std::mem::transmute(*numbers) };
    let [a, b, c, d] = bits.map(|bits| _mm256_and_si256(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(255)));
    _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d))
}

impl Exponents {
    /// So many different exponents are few.
    const FEW: usize = 24;

    /// Counts a row, whose exponents are in the range, or 0: each of them is looked for in many elements at once, which
    /// is faster than [`Exponents::add`] up to [`Exponents::FEW`] exponents.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn add_few(&mut self, row: &[f32], range: RangeInclusive<usize>) {
        use std::arch::x86_64::{
            _mm256_cmpeq_epi8, _mm256_extract_epi64, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_setzero_si256,
            _mm256_sub_epi8,
        };
        /// Elements of a vector of bytes, and such vectors at a time: a count of them fits into a byte.
        const BYTES: usize = 32;
        const VECTORS: usize = 32;
        let (chunks, rest) = row.as_chunks::<BYTES>();
        let none = _mm256_setzero_si256();
        let mut vectors = [none; VECTORS];
        for chunks in chunks.chunks(VECTORS) {
            vectors.iter_mut().zip(chunks).for_each(|(vector, chunk)| *vector = exponents_of(chunk));
            let mut zeros = (chunks.len() * BYTES) as u32;
            for exponent in range.clone() {
                let wanted = _mm256_set1_epi8(exponent as i8);
                let count = |counts, &vector| _mm256_sub_epi8(counts, _mm256_cmpeq_epi8(vector, wanted));
                let sums = _mm256_sad_epu8(vectors[..chunks.len()].iter().fold(none, count), none);
                let n = _mm256_extract_epi64::<0>(sums)
                    + _mm256_extract_epi64::<1>(sums)
                    + _mm256_extract_epi64::<2>(sums)
                    + _mm256_extract_epi64::<3>(sums);
                let n = n as u32;
                self.counts[0][exponent] += n;
                zeros -= n;
            }
            self.counts[0][0] += zeros;
        }
        self.add(rest, range);
    }

    /// Counts a row, whose exponents are in the range, or 0.
    fn add(&mut self, row: &[f32], range: RangeInclusive<usize>) {
        self.range = (self.range.0.min(*range.start()), self.range.1.max(*range.end()));
        let (fours, rest) = row.as_chunks::<4>();
        for four in fours {
            for (list, &x) in self.counts.iter_mut().zip(four) {
                list[exponent(x.to_bits())] += 1;
            }
        }
        rest.iter().for_each(|&x| self.counts[0][exponent(x.to_bits())] += 1);
    }

    /// The histogram of what was counted, `zeros` of which were zero. Nothing is counted any more.
    pub fn take(&mut self, zeros: u64) -> Histogram {
        let mut of = |i: usize| self.counts.iter_mut().map(|list| u64::from(std::mem::take(&mut list[i]))).sum::<u64>();
        let mut counts = [0; EXPONENTS];
        counts[0] = of(0).saturating_sub(zeros);
        let (first, last) = std::mem::replace(&mut self.range, NOWHERE);
        (first.max(1)..=last).for_each(|i| counts[i] = of(i));
        // What is infinite or not a number, the last, is counted for its row.
        let from = if counts[0] > 0 { 0 } else { first.min(EXPONENTS - 2) };
        Histogram::of_exponents(from, &counts[from..=last.clamp(from, EXPONENTS - 2)])
    }
}

/// Asks for the beginning of what is looked at next: it was computed a while ago, and has to come from farther than the
/// nearest caches.
pub fn prefetch(bytes: &[u8]) {
    /// Rows that are longer are read ahead by the processor itself.
    const AHEAD: usize = 4096;
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    for line in bytes[..bytes.len().min(AHEAD)].chunks(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and the address is one that could be read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, AHEAD, LINE);
}

/// Calls `f` for every element with the number of its lane: what `f` does to each lane is done to all of them at once, as
/// long as it is little. The last lanes that have no element get `filler`.
#[inline(always)]
fn for_each(row: &[f32], filler: f32, mut f: impl FnMut(usize, f32)) {
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in chunk.iter().enumerate() {
            f(lane, x);
        }
    }
    let mut last = [filler; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for (lane, &x) in last.iter().enumerate() {
        f(lane, x);
    }
}

/// Statistics of a row, and its elements counted by their exponents.
pub fn of_row(row: &[f32], exponents: &mut Exponents) -> RowStatistics {
    let (statistics, range) = of_row_and_range(row).unwrap_or_else(|| (of_any(row), 0..=EXPONENTS - 1));
    #[cfg(target_arch = "x86_64")]
    if range.end().saturating_sub(*range.start()) < Exponents::FEW && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions.
        unsafe { exponents.add_few(row, range) };
        return statistics;
    }
    exponents.add(row, range);
    statistics
}

fn of_row_and_range(row: &[f32]) -> Option<(RowStatistics, RangeInclusive<usize>)> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn eight_at_once(row: &[f32]) -> Option<(RowStatistics, RangeInclusive<usize>)> {
            of_finite(row)
        }
        // SAFETY: the processor has the instructions.
        return unsafe { eight_at_once(row) };
    }
    of_finite(row)
}

/// Statistics of a row of numbers that are finite, and so are their sums, and the exponents between which those lie that
/// are not zero. Three passes, as each then needs few registers.
#[inline(always)]
fn of_finite(row: &[f32]) -> Option<(RowStatistics, RangeInclusive<usize>)> {
    const INFINITE: u32 = 0x7f80_0000;
    let &first = row.first()?;
    let (mut zeros, mut least, mut largest) = ([0_u32; LANES], [u32::MAX; LANES], [0_u32; LANES]);
    // Another filler would widen the range. It is counted where the row's last lanes have no element.
    let filled = if first == 0.0 { (LANES - row.len() % LANES) as u32 } else { 0 };
    for_each(row, first, |lane, x| {
        let size = x.to_bits() & 0x7fff_ffff;
        zeros[lane] += u32::from(size == 0);
        // Less 1, a zero is larger than all others.
        least[lane] = least[lane].min(size.wrapping_sub(1));
        largest[lane] = largest[lane].max(size);
    });
    let largest = largest.into_iter().fold(0, u32::max);
    if largest >= INFINITE {
        return None;
    }
    let least = least.into_iter().fold(u32::MAX, u32::min);
    let range = exponent(least.wrapping_add(1))..=exponent(largest);
    let (mut sum, mut squares) = (0_f64, 0_f64);
    for block in row.chunks(BLOCK) {
        let (mut sums, mut sums_of_squares) = ([0_f32; LANES], [0_f32; LANES]);
        for_each(block, 0.0, |lane, x| {
            sums[lane] += x;
            sums_of_squares[lane] += x * x;
        });
        sum += f64::from(sums.iter().sum::<f32>());
        squares += f64::from(sums_of_squares.iter().sum::<f32>());
    }
    let (mut min, mut max) = ([first; LANES], [first; LANES]);
    // Of numbers that are no NaN, the comparison is one instruction, as `f32::min` is not.
    for_each(row, first, |lane, x| {
        min[lane] = if x < min[lane] { x } else { min[lane] };
        max[lane] = if x > max[lane] { x } else { max[lane] };
    });
    let n = row.len() as f64;
    let statistics = RowStatistics {
        min: min.into_iter().fold(first, f32::min),
        max: max.into_iter().fold(first, f32::max),
        mean: (sum / n) as f32,
        rms: (squares / n).sqrt() as f32,
        zeros: zeros.iter().sum::<u32>() - filled,
        nans: 0,
        infs: 0,
    };
    (sum.is_finite() && squares.is_finite()).then_some((statistics, range))
}

/// Statistics of any row: of its finite numbers, in 64 bits, which have room for their squares.
#[cold]
fn of_any(row: &[f32]) -> RowStatistics {
    let count = |is: fn(&f32) -> bool| row.iter().filter(|x| is(x)).count() as u32;
    let finite = || row.iter().copied().filter(|x| x.is_finite());
    let n = finite().count() as f64;
    let mean = |of: fn(f64) -> f64| finite().map(f64::from).map(of).sum::<f64>() / n;
    // Without a number there is no least one, and a mean of nothing is none.
    RowStatistics {
        min: finite().fold(f32::NAN, f32::min),
        max: finite().fold(f32::NAN, f32::max),
        mean: mean(|x| x) as f32,
        rms: mean(|x| x * x).sqrt() as f32,
        zeros: count(|x| *x == 0.0),
        nans: count(|x| x.is_nan()),
        infs: count(|x| x.is_infinite()),
    }
}

/// The numbers as `f16`, if none of them that is finite would become infinite.
pub fn as_f16<'a>(numbers: &[f32], out: &'a mut Vec<f16>) -> Option<&'a [u8]> {
    /// The least number that rounds to infinity.
    const TOO_LARGE: f32 = 65520.0;
    let fits = |x: f32| !(TOO_LARGE..f32::INFINITY).contains(&x.abs());
    if !numbers.iter().fold(true, |all, &x| all & fits(x)) {
        return None;
    }
    out.resize(numbers.len(), f16::ZERO);
    out.convert_from_f32_slice(numbers);
    // SAFETY: as many initialised bytes as the halves have.
    Some(unsafe { std::slice::from_raw_parts(out.as_ptr().cast::<u8>(), size_of_val(out.as_slice())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, one element after the other.
    fn plain(row: &[f32]) -> RowStatistics {
        let finite: Vec<f64> = row.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
        let mean = |of: &dyn Fn(f64) -> f64| finite.iter().map(|&x| of(x)).sum::<f64>() / finite.len() as f64;
        RowStatistics {
            min: finite.iter().copied().fold(f64::INFINITY, f64::min) as f32,
            max: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max) as f32,
            mean: mean(&|x| x) as f32,
            rms: mean(&|x| x * x).sqrt() as f32,
            zeros: row.iter().filter(|x| **x == 0.0).count() as u32,
            nans: row.iter().filter(|x| x.is_nan()).count() as u32,
            infs: row.iter().filter(|x| x.is_infinite()).count() as u32,
        }
    }

    /// Numbers between -4 and 4 that look random, with whatever else is given put among them.
    fn numbers(n: usize, among: &[f32]) -> Vec<f32> {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 21) as f32 - 4.0
        };
        let mut all: Vec<f32> = (0..n).map(|_| next()).collect();
        all.iter_mut().step_by(7).zip(among).for_each(|(place, &x)| *place = x);
        all
    }

    #[test]
    fn statistics_are_those_that_are_counted_one_by_one() {
        let odd = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -9.0, 9.0, 1e-42];
        for n in [1, 15, 16, 17, 576, 1023, 1024, 1025, 49_152] {
            for among in [&[][..], &odd] {
                let row = numbers(n, among);
                let (found, expected) = (of_row(&row, &mut Exponents::default()), plain(&row));
                let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
                assert!(near(found.mean, expected.mean), "{n}: {} {}", found.mean, expected.mean);
                assert!(near(found.rms, expected.rms), "{n}: {} {}", found.rms, expected.rms);
                let exact = |s: RowStatistics| (s.min, s.max, s.zeros, s.nans, s.infs);
                assert_eq!(exact(found), exact(expected), "{n}");
            }
        }
    }

    #[test]
    fn squares_beyond_f32_have_a_root_all_the_same() {
        let found = of_row(&[3e30; 100], &mut Exponents::default());
        assert!((found.rms / 3e30 - 1.0).abs() < 1e-6 && (found.mean / 3e30 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_row_without_a_number_has_no_mean() {
        let found = of_row(&[f32::NAN, f32::INFINITY], &mut Exponents::default());
        assert!(found.min.is_nan() && found.max.is_nan() && found.mean.is_nan() && found.rms.is_nan());
        assert_eq!((found.nans, found.infs), (1, 1));
    }

    #[test]
    fn the_histogram_counts_every_finite_element_that_is_not_zero() {
        let mut exponents = Exponents::default();
        let row = [0.0, 1.0, -1.5, 2.0, 0.75, 1e-42, f32::NAN, f32::INFINITY, f32::MAX];
        let zeros = of_row(&row, &mut exponents).zeros;
        let histogram = exponents.take(zeros.into());
        let bin = |exponent: i32| histogram.counts[(exponent - histogram.first) as usize];
        assert_eq!((histogram.first, bin(-127), bin(-1), bin(0), bin(1), bin(127)), (-127, 1, 1, 2, 1, 1));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 6);
        assert_eq!(exponents.take(0), Histogram::default());
    }

    #[test]
    fn rows_of_any_size_are_counted_one_after_the_other_and_once() {
        let mut exponents = Exponents::default();
        for (row, expected) in [
            (&[1e-30, 1.0, 0.0][..], 2),
            (&[0.0; 40], 0),
            (&[f32::MAX, -1e-45], 2),
            (&[3e30; 100], 100),
            (&[0.5, f32::NAN, 1e-40], 2),
        ] {
            let zeros = of_row(row, &mut exponents).zeros;
            assert_eq!(exponents.take(zeros.into()).counts.iter().sum::<u64>(), expected, "{row:?}");
        }
        let rows = [vec![1.0; 20], vec![1e-20; 3]];
        for row in &rows {
            of_row(row, &mut exponents);
        }
        let both = exponents.take(0);
        assert_eq!((both.counts[0], both.counts.last()), (3, Some(&20)));
    }

    #[test]
    fn few_exponents_are_counted_as_many_are() {
        let rows = [1, 31, 32, 33, 576, 1023, 1024, 1025, 49_152].map(|n| {
            let mut row = numbers(n, &[0.0, -0.0]);
            row.iter_mut().filter(|x| x.abs() < 1e-3).for_each(|x| *x = 0.0);
            row
        });
        let tiny = [[1e-42, 0.0, -1e-40].repeat(32), vec![0.0; 64]];
        for row in rows.iter().chain(&tiny) {
            let (mut found, mut expected) = (Exponents::default(), Exponents::default());
            let zeros = of_row(row, &mut found).zeros.into();
            assert!(found.range.1.saturating_sub(found.range.0) < Exponents::FEW, "{}: they are few", row.len());
            expected.add(row, 0..=EXPONENTS - 1);
            assert_eq!(found.take(zeros), expected.take(zeros), "{}", row.len());
        }
    }

    #[test]
    fn what_would_become_infinite_does_not_travel_as_f16() {
        let mut out = vec![];
        let bytes = as_f16(&[1.0, -65504.0, f32::NEG_INFINITY], &mut out).unwrap();
        assert_eq!(bytes, [0x00, 0x3c, 0xff, 0xfb, 0x00, 0xfc]);
        assert!(as_f16(&[1.0, 65519.0], &mut out).is_some());
        assert!(as_f16(&[1.0, -65520.0], &mut out).is_none());
        assert!(as_f16(&[f32::NAN], &mut out).is_some());
    }
}
