//! Executions in the order of the file, counted and found without walking over them: a group of executions is made of
//! parts, each some evaluations times the same places.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An execution: ordinal of the evaluation, place in its layout.
pub(crate) type Place = (u32, u32);

/// All executions of some places in some evaluations of one layout.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Ordinals, ascending.
    pub evaluations: &'a [u32],
    /// Places, ascending.
    pub places: &'a [u32],
}

impl Part<'_> {
    /// Executions.
    pub fn len(&self) -> u64 {
        self.evaluations.len() as u64 * self.places.len() as u64
    }
}

/// The executions `skip..skip + limit` of a group in the order of the file. No two parts share an evaluation.
pub(super) fn in_order(parts: &[Part<'_>], skip: u64, limit: usize) -> Vec<Place> {
    // The evaluation in which the page begins: as many executions as possible, but no more than `skip`, are before it.
    let before = |seq: u32| {
        let of = |p: &Part<'_>| p.evaluations.partition_point(|&s| s < seq) as u64 * p.places.len() as u64;
        parts.iter().map(of).sum::<u64>()
    };
    let (mut low, mut high) = (0_u32, parts.iter().filter_map(|p| p.evaluations.last()).max().map_or(0, |&s| s + 1));
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if before(middle) <= skip {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut skip = (skip - before(low).min(skip)) as usize;
    let mut next: BinaryHeap<Reverse<(u32, usize, usize)>> = BinaryHeap::new();
    for (number, part) in parts.iter().enumerate() {
        let at = part.evaluations.partition_point(|&s| s < low);
        next.extend(part.evaluations.get(at).map(|&seq| Reverse((seq, number, at))));
    }
    let mut found = Vec::with_capacity(limit.min(1 << 16));
    while let Some(Reverse((seq, number, at))) = next.pop() {
        let part = &parts[number];
        let left = limit - found.len();
        found.extend(part.places.iter().skip(skip).take(left).map(|&place| (seq, place)));
        skip = skip.saturating_sub(part.places.len());
        if found.len() == limit {
            break;
        }
        next.extend(part.evaluations.get(at + 1).map(|&seq| Reverse((seq, number, at + 1))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_page_is_a_piece_of_the_whole(
            owners in prop::collection::vec(0..4_usize, 0..60),
            places in prop::collection::vec(prop::collection::btree_set(0..9_u32, 0..5), 4),
            skip in 0..300_u64,
            limit in 0..50_usize,
        ) {
            let evaluations: Vec<Vec<u32>> = (0..4)
                .map(|p| (0..owners.len() as u32).filter(|&s| owners[s as usize] == p).collect())
                .collect();
            let places: Vec<Vec<u32>> = places.into_iter().map(|p| p.into_iter().collect()).collect();
            let parts: Vec<Part<'_>> = evaluations
                .iter()
                .zip(&places)
                .map(|(evaluations, places)| Part { evaluations, places })
                .collect();
            let whole: Vec<Place> = owners
                .iter()
                .enumerate()
                .flat_map(|(seq, &owner)| places[owner].iter().map(move |&place| (seq as u32, place)))
                .collect();
            prop_assert_eq!(parts.iter().map(Part::len).sum::<u64>(), whole.len() as u64);
            let expected: Vec<Place> = whole.into_iter().skip(skip as usize).take(limit).collect();
            prop_assert_eq!(in_order(&parts, skip, limit), expected);
        }
    }
}
