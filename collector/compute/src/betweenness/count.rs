//! Numbers of shortest paths. They grow exponentially with the length of a graph: a chain of a thousand diamonds has more
//! than the largest 64-bit number. Only quotients are needed in the end, so a wide number is at hand for such graphs.

/// A number of shortest paths.
pub(crate) trait Count: Copy + Send {
    const ZERO: Self;
    const ONE: Self;
    fn add(self, other: Self) -> Self;
    /// How many of `self`'s are `part`'s, at most 1.
    fn share(self, part: Self) -> f64;
    /// Too large for this type.
    fn overflowed(self) -> bool;
}

impl Count for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    fn add(self, other: f64) -> f64 {
        self + other
    }

    fn share(self, part: f64) -> f64 {
        part / self
    }

    fn overflowed(self) -> bool {
        self.is_infinite()
    }
}

/// `value` · 2^(512 · `scale`), `value` below 2^512.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wide {
    value: f64,
    scale: u32,
}

const STEP: f64 = f64::from_bits((1023 + 512) << 52);

impl Count for Wide {
    const ZERO: Wide = Wide { value: 0.0, scale: 0 };
    const ONE: Wide = Wide { value: 1.0, scale: 0 };

    fn add(self, other: Wide) -> Wide {
        let (large, small) = if self.scale >= other.scale { (self, other) } else { (other, self) };
        let value = match large.scale - small.scale {
            0 => large.value + small.value,
            1 => large.value + small.value / STEP,
            _ => large.value,
        };
        if value < STEP { Wide { value, ..large } } else { Wide { value: value / STEP, scale: large.scale + 1 } }
    }

    fn share(self, part: Wide) -> f64 {
        match self.scale - part.scale.min(self.scale) {
            0 => part.value / self.value,
            1 => part.value / self.value / STEP,
            _ => 0.0,
        }
    }

    fn overflowed(self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_numbers_go_on_where_64_bits_end() {
        let (mut wide, mut exact) = (Wide::ONE, 1.0_f64);
        let mut before = wide;
        for doubling in 0..5000 {
            before = wide;
            wide = wide.add(wide);
            exact = exact.add(exact);
            assert_eq!(exact.overflowed(), doubling >= 1023);
            assert_eq!(wide.share(before), 0.5, "after {doubling} doublings");
        }
        assert_eq!(wide.share(Wide::ONE), 0.0);
        assert_eq!(wide.add(Wide::ONE), wide);
        assert_eq!(before.add(before).share(wide), 1.0);
    }
}
