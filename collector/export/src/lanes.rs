//! Slices of one track that overlap: each of them goes to a lane of its own, because slices of a track have to lie
//! inside each other. Runs of a device that works asynchronously overlap when the host saw the first one's end late.

use std::collections::HashMap;
use std::hash::Hash;

/// Lanes of a track; whatever needs more shares the last.
const MAX_LANES: usize = 8;

/// For each track, when the last slice of each of its lanes ends.
pub struct Lanes<K>(HashMap<K, Vec<u64>>);

impl<K: Eq + Hash> Lanes<K> {
    /// No tracks.
    pub fn new() -> Lanes<K> {
        Lanes(HashMap::new())
    }

    /// The lane for a slice.
    pub fn place(&mut self, track: K, start: u64, dur: u64) -> usize {
        let ends = self.0.entry(track).or_default();
        let free = ends.iter().position(|&end| end <= start);
        let lane = free.unwrap_or(ends.len()).min(MAX_LANES - 1);
        if lane == ends.len() {
            ends.push(0);
        }
        ends[lane] = ends[lane].max(start.saturating_add(dur));
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_lies_side_by_side() {
        let mut lanes = Lanes::new();
        assert_eq!([(0, 10), (5, 10), (10, 5), (15, 1)].map(|(start, dur)| lanes.place("a", start, dur)), [0, 1, 0, 0]);
        assert_eq!(lanes.place("b", 0, 1), 0);
        assert!((0..100).all(|_| lanes.place("c", 0, u64::MAX) < MAX_LANES));
    }
}
