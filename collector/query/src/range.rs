//! Ranges as users type them: `7`, `7..9` or `7-9` (both included), `7..`, `..9`.

use ggscope_format::capture::span;
use std::str::FromStr;

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The lowest.
    pub first: u64,
    /// The highest.
    pub last: u64,
}

impl Numbers {
    /// Whether the number is one of them.
    pub fn contains(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// The same as a half-open range.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.first..self.last.saturating_add(1)
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Numbers, String> {
        span(text).map(|(first, last)| Numbers { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_users_type() {
        let parsed = |text: &str| text.parse::<Numbers>().map(|n| (n.first, n.last));
        assert_eq!(parsed("7"), Ok((7, 7)));
        assert_eq!(parsed("7..9"), Ok((7, 9)));
        assert_eq!((parsed("7..=9"), parsed("7-9")), (Ok((7, 9)), Ok((7, 9))));
        assert_eq!(parsed("7.."), Ok((7, u64::MAX)));
        assert_eq!(parsed("..9"), Ok((0, 9)));
        for wrong in ["", "x", "9..7", "-1", "1..x", "1.5"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
