//! How a tensor is divided among heads or experts: exactly, so that the parts add up to the whole.

use super::TensorShare;

/// A tensor that is to be given to nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight<'a> {
    pub name: &'a str,
    pub ne: [u64; 4],
    pub bytes: u64,
}

impl Weight<'_> {
    pub fn parameters(&self) -> u64 {
        self.ne.iter().fold(1, |product: u64, n| product.saturating_mul(*n))
    }

    /// Length of the outermost dimension that is not 1: rows of a matrix, elements of a vector.
    pub fn rows(&self) -> u64 {
        self.ne.iter().rev().copied().find(|&n| n != 1).unwrap_or(1)
    }

    pub fn whole(&self) -> TensorShare {
        TensorShare { tensor: self.name.into(), parameters: self.parameters(), bytes: self.bytes, whole: true }
    }

    /// The part from `from` to `to` of `of` equal parts.
    pub fn part(&self, from: u64, to: u64, of: u64) -> TensorShare {
        let until = |all: u64, part: u64| (u128::from(all) * u128::from(part) / u128::from(of.max(1))) as u64;
        let part = |all: u64| until(all, to) - until(all, from);
        TensorShare {
            tensor: self.name.into(),
            parameters: part(self.parameters()),
            bytes: part(self.bytes),
            whole: from == 0 && to == of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let weight = Weight { name: "w", ne: [576, 192, 1, 1], bytes: 69_121 };
        for of in [1, 2, 3, 7, 192] {
            let parts: Vec<_> = (0..of).map(|i| weight.part(i, i + 1, of)).collect();
            assert_eq!(parts.iter().map(|p| p.parameters).sum::<u64>(), 576 * 192);
            assert_eq!(parts.iter().map(|p| p.bytes).sum::<u64>(), 69_121);
            assert_eq!(parts[0].whole, of == 1);
        }
        assert_eq!((weight.rows(), Weight { name: "b", ne: [64, 1, 1, 1], bytes: 256 }.rows()), (192, 64));
    }

    #[test]
    fn sizes_that_overflow_are_the_largest_number() {
        let weight = Weight { name: "w", ne: [u64::MAX, 2, 1, 1], bytes: u64::MAX };
        assert_eq!(weight.part(0, 1, 2).parameters, u64::MAX / 2);
    }
}
