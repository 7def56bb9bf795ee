//! Goes through a tensor piece by piece on all cores. Every thread keeps one sum of its own, so memory does not grow with
//! the tensor; what depends on the order of additions is kept by piece and added in the order of the file.

use std::sync::atomic::{AtomicU64, Ordering};

/// Elements of a piece: whole blocks of any type, and small enough for a core's cache.
pub(super) const PIECE: usize = 1 << 16;

/// Calls `work` for every piece of `elements` with the thread's own state, its number and the elements it begins and ends
/// at; returns the states.
pub(super) fn pieces<S: Send>(
    elements: u64,
    new: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, u64, std::ops::Range<u64>) + Sync,
) -> Vec<S> {
    let count = elements.div_ceil(PIECE as u64);
    let next = AtomicU64::new(0);
    let states = |_: rayon::BroadcastContext| {
        let mut state = None;
        loop {
            // Only the number matters: what a piece's work writes is its thread's own until the broadcast ends.
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return state;
            }
            let begin = piece * PIECE as u64;
            let end = elements.min(begin + PIECE as u64);
            work(state.get_or_insert_with(&new), piece, begin..end);
        }
    };
    let mut states: Vec<S> = rayon::broadcast(states).into_iter().flatten().collect();
    if states.is_empty() {
        states.push(new());
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_one_piece() {
        for elements in [0, 1, PIECE as u64, PIECE as u64 + 1, 10 * PIECE as u64 - 3] {
            let states = pieces(elements, Vec::new, |seen, piece, range| seen.push((piece, range)));
            let mut seen: Vec<_> = states.into_iter().flatten().collect();
            seen.sort_by_key(|(piece, _)| *piece);
            let ends: Vec<u64> = seen.iter().map(|(_, range)| range.end).collect();
            let starts: Vec<u64> = seen.iter().map(|(_, range)| range.start).collect();
            assert_eq!(ends.last().copied().unwrap_or(0), elements);
            assert!(starts.iter().skip(1).eq(ends.iter().take(ends.len().saturating_sub(1))));
        }
    }
}
