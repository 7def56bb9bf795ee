//! How often each integer occurs among the quants, or among the stored scales: exact counts, and how many bits they are
//! worth.

use serde::Serialize;
use utoipa::ToSchema;

/// The range of what is counted: quants are of 8 bits, stored scales of 8 bits with or without a sign.
const RANGE: std::ops::RangeInclusive<i16> = -128..=255;

/// Counts integers of 8 bits.
#[derive(Clone, Debug)]
pub(super) struct LevelCounts([u64; 384]);

impl Default for LevelCounts {
    fn default() -> LevelCounts {
        LevelCounts([0; 384])
    }
}

impl LevelCounts {
    pub(super) fn add(&mut self, level: i16) {
        self.0[usize::try_from(level - RANGE.start()).expect("a level in the range")] += 1;
    }

    pub(super) fn merge(&mut self, other: &LevelCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(count, other)| *count += other);
    }

    /// What was counted. `possible` are the levels that there could be; without any, those from the least to the largest
    /// that occur.
    pub(super) fn levels(&self, possible: Option<&[i8]>) -> Option<Levels> {
        let all: u64 = self.0.iter().sum();
        let counted = || RANGE.zip(self.0).filter(|(_, count)| *count > 0);
        let (least, most) = (counted().next()?.0, counted().next_back()?.0);
        let counts = RANGE
            .zip(self.0)
            .filter(|&(level, count)| match possible {
                Some(possible) => count > 0 || possible.iter().any(|&p| i16::from(p) == level),
                None => (least..=most).contains(&level),
            })
            .map(|(level, count)| Level { level, count })
            .collect();
        let bits = counted().map(|(_, count)| count as f64 / all as f64).map(|p| -p * p.log2()).sum::<f64>();
        // One level alone is worth -1 · log 1, which is a negative zero.
        Some(Levels { used: counted().count() as u64, entropy_bits: bits.max(0.0), counts })
    }
}

/// How often each level occurs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Levels {
    /// Levels that occur at least once.
    pub used: u64,
    /// Shannon entropy in bits: what a level would cost if the levels were coded by how often they occur.
    pub entropy_bits: f64,
    /// Every level that there can be, least first.
    pub counts: Vec<Level>,
}

/// One level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Level {
    /// The integer.
    pub level: i16,
    /// How often it occurs.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_and_weighed() {
        let mut counts = LevelCounts::default();
        assert_eq!(counts.levels(None), None);
        [-128, 255, 0, 0].into_iter().for_each(|level| counts.add(level));
        let levels = counts.levels(Some(&[0, 1])).unwrap();
        assert_eq!((levels.used, levels.entropy_bits), (3, 1.5));
        let listed: Vec<(i16, u64)> = levels.counts.iter().map(|l| (l.level, l.count)).collect();
        assert_eq!(listed, [(-128, 1), (0, 2), (1, 0), (255, 1)]);
        assert_eq!(counts.levels(None).unwrap().counts.len(), 384);
    }

    #[test]
    fn one_level_alone_is_worth_nothing() {
        let mut counts = LevelCounts::default();
        counts.add(3);
        let levels = counts.levels(None).unwrap();
        assert_eq!(levels.entropy_bits.to_bits(), 0.0_f64.to_bits());
    }
}
