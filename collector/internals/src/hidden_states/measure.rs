//! What is measured of hidden states: pure functions over rows. `docs/layers.md` has the formulas and where they are from.
//! NaN and infinities are counted and left out of everything else, so that one of them spoils no picture.

use ggscope_format::value::RowStatistics;
use serde::Serialize;
use utoipa::ToSchema;

/// A magnitude is massive from here on, if it is also [`MASSIVE_TIMES`] the median magnitude of its hidden state
/// (Sun et al. 2024, "Massive Activations in Large Language Models", arXiv 2402.17762, section 2).
pub const MASSIVE_LEAST: f32 = 100.0;
/// See [`MASSIVE_LEAST`].
pub const MASSIVE_TIMES: f32 = 1000.0;
/// A value is an outlier if it is so many standard deviations from the mean of its hidden state.
pub const OUTLIER_DEVIATIONS: f64 = 6.0;

/// One element of a hidden state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Element {
    /// Its index; null if only statistics were recorded.
    pub at: Option<u32>,
    /// Its value.
    pub value: f32,
}

/// One hidden state in numbers: those of its finite elements, none where it has no such element.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Hidden {
    /// Euclidean norm, √Σx².
    pub norm: Option<f32>,
    /// Mean of its elements.
    pub mean: Option<f32>,
    /// Root of the mean square, norm / √n.
    pub rms: Option<f32>,
    /// The element of the largest magnitude.
    pub largest: Option<Element>,
    /// Median magnitude; absent if only statistics were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f32>,
    /// Elements more than 6 standard deviations from the mean; absent if only statistics were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outliers: Option<u32>,
    /// Massive activations: magnitudes of 100 or more that are 1,000 times the median or more; absent if only statistics
    /// were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub massive: Option<Vec<Element>>,
    /// Elements that are NaN.
    pub nan: u32,
    /// Elements that are infinite.
    pub inf: u32,
}

/// Partial sums that are kept at once, so that a processor adds several numbers in one go.
const LANES: usize = 8;

/// Σx over finite elements, in double precision.
fn sum(x: &[f32]) -> f64 {
    let mut sums = [0.0_f64; LANES];
    let (lanes, rest) = x.as_chunks::<LANES>();
    for x in lanes {
        for i in 0..LANES {
            sums[i] += f64::from(x[i]);
        }
    }
    let sum = sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x)).sum::<f64>();
    // What is not finite leaves nothing finite behind: then it is left out.
    if sum.is_finite() { sum } else { x.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).sum() }
}

/// Σ a·b over finite elements of both, in double precision.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0_f64; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for i in 0..LANES {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    let sum = sums.iter().sum::<f64>() + rest;
    if sum.is_finite() {
        return sum;
    }
    let finite = |(a, b): (&f32, &f32)| (a.is_finite() && b.is_finite()).then_some(f64::from(*a) * f64::from(*b));
    a.iter().zip(b).filter_map(finite).sum()
}

/// √Σx² over finite elements; `None` if there is none.
pub fn norm(x: &[f32]) -> Option<f64> {
    x.iter().any(|x| x.is_finite()).then(|| dot(x, x).sqrt())
}

/// Two vectors without the elements that are not finite in one of them.
fn finite_in_both(a: &[f32], b: &[f32]) -> (Vec<f32>, Vec<f32>) {
    a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite()).unzip()
}

/// Elements that are not finite in one of two vectors.
pub fn not_finite(a: &[f32], b: &[f32]) -> usize {
    a.iter().zip(b).filter(|(a, b)| !a.is_finite() || !b.is_finite()).count()
}

/// Cosine of the angle between two vectors, over elements that are finite in both; `None` if one of them is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f32> {
    if a.len() != b.len() {
        return None;
    }
    if not_finite(a, b) > 0 {
        let (a, b) = finite_in_both(a, b);
        return cosine(&a, &b);
    }
    let length = norm(a)? * norm(b)?;
    (length > 0.0).then(|| (dot(a, b) / length).clamp(-1.0, 1.0) as f32)
}

/// ‖a - b‖ / ‖b‖, over elements that are finite in both; `None` if the reference is zero or there is no such element.
pub fn relative_error(a: &[f32], b: &[f32]) -> Option<f32> {
    if a.len() != b.len() {
        return None;
    }
    if not_finite(a, b) > 0 {
        let (a, b) = finite_in_both(a, b);
        return relative_error(&a, &b);
    }
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let (difference, length) = (norm(&difference)?, norm(b)?);
    (length > 0.0).then(|| (difference / length) as f32)
}

/// How large a row is, where nothing else of it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Norm √Σx²; `None` where nothing is finite.
    pub norm: Option<f32>,
    /// Root of the mean square; `None` where nothing is finite.
    pub rms: Option<f32>,
}

/// The size of a row, as [`hidden`] has it, at a tenth of the cost.
pub fn size(x: &[f32]) -> Size {
    match x.iter().filter(|x| x.is_finite()).count() {
        0 => Size::default(),
        n => size_of(dot(x, x), n),
    }
}

fn size_of(square: f64, n_finite: usize) -> Size {
    let rms = (square / n_finite as f64).sqrt();
    Size { norm: Some(square.sqrt() as f32), rms: Some(rms as f32) }
}

/// Measures a hidden state.
pub fn hidden(x: &[f32]) -> Hidden {
    let nan = x.iter().filter(|x| x.is_nan()).count();
    let inf = x.iter().filter(|x| x.is_infinite()).count();
    let mut found = Hidden { nan: nan as u32, inf: inf as u32, ..Hidden::default() };
    if nan + inf == x.len() {
        return found;
    }
    // Bits of magnitudes are ordered as they are, and integers are compared faster.
    let bits = |x: f32| x.abs().to_bits();
    let mut magnitudes: Vec<u32> = x.iter().filter(|x| x.is_finite()).map(|&x| bits(x)).collect();
    let n = magnitudes.len();
    let most = magnitudes.iter().copied().max().unwrap_or_default();
    let at = x.iter().position(|&x| bits(x) == most);
    found.largest = at.map(|i| Element { at: Some(i as u32), value: x[i] });
    let (sum, square) = (sum(x), dot(x, x));
    let mean = sum / n as f64;
    found.mean = Some(mean as f32);
    Size { norm: found.norm, rms: found.rms } = size_of(square, n);
    let deviation = (square / n as f64 - mean * mean).max(0.0).sqrt();
    let is_outlier = |v: &&f32| v.is_finite() & ((f64::from(**v) - mean).abs() > OUTLIER_DEVIATIONS * deviation);
    found.outliers = Some(if deviation > 0.0 { x.iter().filter(is_outlier).count() as u32 } else { 0 });
    let median = f32::from_bits(*magnitudes.select_nth_unstable((n - 1) / 2).1);
    found.median = Some(median);
    let is_massive = |v: f32| v.is_finite() && v.abs() >= MASSIVE_LEAST && v.abs() >= MASSIVE_TIMES * median;
    let any = found.largest.is_some_and(|largest| is_massive(largest.value));
    let elements = (0..).zip(x).map(|(at, &value)| Element { at: Some(at), value });
    found.massive = Some(if any { elements.filter(|e| is_massive(e.value)).collect() } else { vec![] });
    found
}

/// What is known of a hidden state of `n` elements from its statistics.
pub fn of_statistics(s: &RowStatistics, n: usize) -> Hidden {
    let finite = n.saturating_sub((s.nans + s.infs) as usize);
    let value = if s.max.abs() >= s.min.abs() { s.max } else { s.min };
    let known = |x: f32| (!x.is_nan()).then_some(x);
    Hidden {
        norm: known(s.rms * (finite as f32).sqrt()),
        mean: known(s.mean),
        rms: known(s.rms),
        largest: known(value).map(|value| Element { at: None, value }),
        nan: s.nans,
        inf: s.infs,
        ..Hidden::default()
    }
}

/// The middle of some numbers, NaN left out: the lower of two in the middle.
pub fn median(numbers: impl IntoIterator<Item = f32>) -> Option<f32> {
    let mut numbers: Vec<f32> = numbers.into_iter().filter(|n| !n.is_nan()).collect();
    let middle = numbers.len().checked_sub(1)? / 2;
    Some(*numbers.select_nth_unstable_by(middle, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_mean_and_rms_are_those_of_the_textbook() {
        let h = hidden(&[3.0, -4.0, 0.0, 0.0]);
        assert_eq!((h.norm, h.mean, h.rms), (Some(5.0), Some(-0.25), Some(2.5)));
        assert_eq!((h.largest, h.median), (Some(Element { at: Some(1), value: -4.0 }), Some(0.0)));
        assert_eq!(hidden(&[0.0; 2]).largest, Some(Element { at: Some(0), value: 0.0 }));
        assert_eq!(hidden(&[]), Hidden::default());
    }

    #[test]
    fn nan_and_infinity_are_counted_and_spoil_nothing() {
        let h = hidden(&[3.0, f32::NAN, -4.0, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!((h.norm, h.nan, h.inf), (Some(5.0), 1, 2));
        assert_eq!(h.largest, Some(Element { at: Some(2), value: -4.0 }));
        assert_eq!(cosine(&[1.0, f32::NAN], &[1.0, 1.0]), Some(1.0));
        assert_eq!(relative_error(&[3.0, 4.5, f32::NAN], &[3.0, 4.0, 9e9]), Some(0.1));
        assert_eq!(not_finite(&[1.0, f32::NAN, 2.0], &[f32::INFINITY, f32::NAN, 2.0]), 2);
    }

    #[test]
    fn where_nothing_is_finite_there_are_no_numbers_but_their_count() {
        assert_eq!(hidden(&[f32::NAN; 3]), Hidden { nan: 3, ..Hidden::default() });
        assert_eq!(hidden(&[f32::NEG_INFINITY; 2]), Hidden { inf: 2, ..Hidden::default() });
        assert_eq!((norm(&[f32::NAN; 3]), norm(&[])), (None, None));
        assert_eq!(cosine(&[f32::NAN, 1.0], &[1.0, f32::NAN]), None);
        assert_eq!(relative_error(&[f32::NAN; 3], &[1.0; 3]), None);
    }

    #[test]
    fn the_size_of_a_row_is_that_of_its_state() {
        let long: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin() * 9.0).collect();
        let odd = [3.0, f32::NAN, -4.0, f32::INFINITY, f32::NEG_INFINITY, 0.5, 1.5, -2.5, 7.0];
        for x in [&long[..], &odd, &[f32::NAN; 3], &[], &[0.0; 9]] {
            let h = hidden(x);
            assert_eq!(size(x), Size { norm: h.norm, rms: h.rms }, "{x:?}");
            let finite: Vec<f64> = x.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
            let mean = finite.iter().sum::<f64>() / finite.len() as f64;
            assert!(h.mean.is_none_or(|m| (f64::from(m) - mean).abs() < 1e-6), "{x:?}");
        }
    }

    #[test]
    fn a_massive_activation_is_large_both_by_itself_and_beside_the_median() {
        let with = |value: f32, rest: f32| {
            let mut x = vec![rest; 99];
            x.push(value);
            hidden(&x).massive.unwrap()
        };
        assert_eq!(with(-150.0, 0.1), [Element { at: Some(99), value: -150.0 }]);
        assert_eq!(with(99.0, 0.01), [], "100 is the least");
        assert_eq!(with(150.0, 0.2), [], "only 750 times the median");
    }

    #[test]
    fn an_outlier_is_six_deviations_from_the_mean() {
        let mut x: Vec<f32> = (0..100).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(hidden(&x).outliers, Some(0));
        x.push(9.0);
        assert_eq!(hidden(&x).outliers, Some(1));
        assert_eq!(hidden(&[7.0; 5]).outliers, Some(0), "all alike");
    }

    #[test]
    fn statistics_of_a_row_say_what_they_can() {
        let s = RowStatistics { min: -4.0, max: 3.0, mean: -0.5, rms: 2.5, zeros: 2, nans: 1, infs: 0 };
        let h = of_statistics(&s, 5);
        assert_eq!((h.norm, h.mean, h.nan), (Some(5.0), Some(-0.5), 1));
        assert_eq!(h.largest, Some(Element { at: None, value: -4.0 }));
        assert_eq!((h.median, h.outliers, h.massive), (None, None, None), "these need values");
        let none = RowStatistics { min: f32::NAN, max: f32::NAN, mean: f32::NAN, rms: f32::NAN, nans: 5, ..s };
        assert_eq!(of_statistics(&none, 5), Hidden { nan: 5, ..Hidden::default() });
    }

    #[test]
    fn angles_and_relative_errors_are_known() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), Some(0.0));
        assert_eq!(cosine(&[2.0; 9], &[-1.0; 9]), Some(-1.0));
        assert_eq!(cosine(&[0.0; 2], &[1.0; 2]), None);
        assert_eq!(relative_error(&[3.0, 4.5], &[3.0, 4.0]), Some(0.1));
        assert_eq!(relative_error(&[1.0], &[0.0]), None);
        assert_eq!(median([3.0, f32::NAN, 1.0, 2.0, 9.0]), Some(2.0));
    }
}
