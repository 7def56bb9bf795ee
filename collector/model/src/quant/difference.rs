//! The size of a difference between two runs of floats: summed up by piece, and told by the usual measures.

use super::stream::PIECE;
use serde::Serialize;
use utoipa::ToSchema;

/// The size of a difference between `x` and its reference `r`, over elements where both are finite.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
// Queries of traces have another of this name.
#[schema(as = quant::Difference)]
pub struct Difference {
    /// Elements.
    pub elements: u64,
    /// Elements that are not finite here or there, and are left out below.
    pub not_finite: u64,
    /// Elements that are equal.
    pub equal: u64,
    /// Root of the mean square of `x − r`.
    pub rmse: f64,
    /// `rmse` by the root mean square of `r`; none where `r` is 0 and `x` is not.
    pub relative: Option<f64>,
    /// Signal to quantisation noise: `10·log10(Σr² / Σ(x−r)²)` in dB; none if one of them is 0.
    pub sqnr_db: Option<f64>,
    /// `Σx·r / √(Σx²·Σr²)`; none if one is 0.
    pub cosine: Option<f64>,
    /// Mean of `x − r`.
    pub bias: f64,
    /// The largest `|x − r|`.
    pub max: f32,
}

/// The two runs of a piece, and what a thread has summed up so far.
#[derive(Default)]
pub(super) struct Pair {
    pub(super) x: Vec<f32>,
    pub(super) r: Vec<f32>,
    pub(super) sums: Vec<(u64, Sums)>,
}

/// Sums by piece, added in the order of the file, so that threads change nothing.
pub(super) fn in_order(mut sums: Vec<(u64, Sums)>) -> Sums {
    sums.sort_unstable_by_key(|(piece, _)| *piece);
    sums.iter().fold(Sums::default(), |all, (_, sums)| all.and(sums))
}

/// What is summed up of a difference.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    elements: u64,
    finite: u64,
    pub(super) equal: u64,
    error: f64,
    error_squares: f64,
    squares: f64,
    reference_squares: f64,
    products: f64,
    pub(super) max: f32,
    pub(super) worst: u64,
}

impl Sums {
    /// Of the elements from number `first`.
    pub(super) fn of(x: &[f32], r: &[f32], first: u64) -> Sums {
        let mut sums = Sums { elements: x.len() as u64, ..Sums::default() };
        for ((&x, &r), at) in x.iter().zip(r).zip(first..) {
            sums.equal += u64::from(x == r);
            if !(x.is_finite() && r.is_finite()) {
                continue;
            }
            sums.finite += 1;
            let (wide_x, wide_r) = (f64::from(x), f64::from(r));
            let error = wide_x - wide_r;
            sums.error += error;
            sums.error_squares += error * error;
            sums.squares += wide_x * wide_x;
            sums.reference_squares += wide_r * wide_r;
            sums.products += wide_x * wide_r;
            if error.abs() as f32 > sums.max {
                (sums.max, sums.worst) = (error.abs() as f32, at);
            }
        }
        sums
    }

    pub(super) fn and(self, other: &Sums) -> Sums {
        let (max, worst) = if other.max > self.max { (other.max, other.worst) } else { (self.max, self.worst) };
        Sums {
            elements: self.elements + other.elements,
            finite: self.finite + other.finite,
            equal: self.equal + other.equal,
            error: self.error + other.error,
            error_squares: self.error_squares + other.error_squares,
            squares: self.squares + other.squares,
            reference_squares: self.reference_squares + other.reference_squares,
            products: self.products + other.products,
            max,
            worst,
        }
    }

    pub(super) fn error(&self) -> Difference {
        let n = self.finite.max(1) as f64;
        let ratio = |a: f64, b: f64| (b > 0.0).then_some(a / b);
        let both = self.error_squares > 0.0 && self.reference_squares > 0.0;
        Difference {
            elements: self.elements,
            not_finite: self.elements - self.finite,
            equal: self.equal,
            rmse: (self.error_squares / n).sqrt(),
            relative: match self.error_squares {
                0.0 => Some(0.0),
                squares => ratio(squares, self.reference_squares).map(f64::sqrt),
            },
            sqnr_db: both.then(|| 10.0 * (self.reference_squares / self.error_squares).log10()),
            cosine: ratio(self.products, (self.squares * self.reference_squares).sqrt()),
            bias: self.error / n,
            max: self.max,
        }
    }
}

const _: () = assert!(PIECE.is_multiple_of(super::decode::MAX_ELEMENTS));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_definition() {
        let (r, x) = ([3.0_f32, -4.0, 0.0, 1.0], [3.0_f32, -3.0, 0.5, 1.0]);
        let error = Sums::of(&x, &r, 100).error();
        let (noise, signal) = (1.25_f64, 26.0_f64);
        assert_eq!((error.elements, error.equal, error.not_finite, error.max), (4, 2, 0, 1.0));
        assert_eq!(error.rmse, (noise / 4.0).sqrt());
        assert_eq!(error.relative, Some((noise / signal).sqrt()));
        assert!((error.sqnr_db.unwrap() - 10.0 * (signal / noise).log10()).abs() < 1e-12);
        assert!((error.cosine.unwrap() - 22.0 / (19.25_f64 * 26.0).sqrt()).abs() < 1e-12);
        assert_eq!((error.bias, Sums::of(&x, &r, 100).worst), (1.5 / 4.0, 101));
    }

    #[test]
    fn nothing_infinite_or_zero_makes_the_error_no_number() {
        let error = Sums::of(&[1.0, f32::NAN, f32::INFINITY], &[1.0, 1.0, 1.0], 0).error();
        assert_eq!((error.not_finite, error.rmse, error.relative, error.sqnr_db), (2, 0.0, Some(0.0), None));
        let zeros = Sums::of(&[1.0], &[0.0], 0).error();
        assert_eq!((zeros.rmse, zeros.relative, zeros.sqnr_db, zeros.cosine), (1.0, None, None, None));
        let same = Sums::of(&[0.0], &[0.0], 0).error();
        assert_eq!((same.relative, same.cosine), (Some(0.0), None));
        assert_eq!(Sums::default().error().rmse, 0.0);
    }
}
