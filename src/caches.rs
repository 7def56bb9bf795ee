//! What a collector knows of the K and V caches: which rows it was given as they are now, and which it has still to get.
//!
//! A row is told when it was written. What could not be told then, because the ring was full or because nobody listened
//! yet, is told with the next evaluation that can: the cache itself still has it.

use crate::attention::Cache;
use ggscope_format::BufferId;
use std::collections::HashMap;
use std::ops::Range;

/// A cache, whatever graph it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// Its buffer. The number of a buffer that is gone is not used again.
    pub buffer: BufferId,
    /// Its address.
    pub data: usize,
}

/// Caches by what they are.
#[derive(Default)]
pub struct Caches(HashMap<CacheKey, Rows>);

/// The rows of one cache.
#[derive(Debug)]
pub struct Rows {
    row_bytes: u64,
    told: Set,
    to_tell: Set,
}

impl Caches {
    /// The cache, as the attention of a graph sees it. On first sight everything that the attention may look at is to
    /// be told: it may have been written before anybody listened.
    pub fn rows(&mut self, cache: &Cache) -> &mut Rows {
        self.0.entry(cache.key).or_insert_with(|| {
            let mut rows = Rows {
                row_bytes: cache.row_bytes as u64,
                told: Set::new(cache.n_rows),
                to_tell: Set::new(cache.n_rows),
            };
            cache.seen.iter().cloned().flatten().for_each(|row| rows.to_tell.insert(row));
            rows
        })
    }

    /// The program has changed a cache in a way that does not say which rows.
    pub fn changed(&mut self, key: CacheKey) {
        if let Some(rows) = self.0.get_mut(&key) {
            rows.to_tell.add(&rows.told);
        }
    }

    /// The program has written bytes of a cache.
    pub fn written(&mut self, key: CacheKey, bytes: Range<u64>) {
        if let Some(rows) = self.0.get_mut(&key) {
            let end = bytes.end.div_ceil(rows.row_bytes);
            (bytes.start / rows.row_bytes..end).for_each(|row| rows.to_tell.insert(row));
        }
    }

    /// Nothing is known any more: another capture has begun, and nobody has looked what was written meanwhile.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rows {
    /// A row was written.
    pub fn wrote(&mut self, row: u64) {
        self.to_tell.insert(row);
    }

    /// The rows that are to be told, in runs of at most `most` rows.
    pub fn to_tell(&self, most: u64) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = vec![];
        for row in self.to_tell.rows() {
            match runs.last_mut() {
                Some(run) if run.end == row && row - run.start < most => run.end += 1,
                _ => runs.push(row..row + 1),
            }
        }
        runs
    }

    /// How many rows are to be told.
    pub fn n_to_tell(&self) -> u64 {
        self.to_tell.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// They were told.
    pub fn told(&mut self) {
        self.told.add(&self.to_tell);
        self.to_tell.clear();
    }
}

/// A set of rows: a bit for each that there is.
#[derive(Debug)]
struct Set {
    words: Vec<u64>,
    n: u64,
}

impl Set {
    fn new(n: u64) -> Set {
        Set { words: vec![0; n.div_ceil(64) as usize], n }
    }

    fn insert(&mut self, row: u64) {
        if row < self.n {
            self.words[(row / 64) as usize] |= 1 << (row % 64);
        }
    }

    fn add(&mut self, other: &Set) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    fn clear(&mut self) {
        self.words.fill(0);
    }

    fn rows(&self) -> impl Iterator<Item = u64> {
        let bits = |word: u64| (0..64).filter(move |bit| word >> bit & 1 == 1);
        let words = self.words.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(move |(i, &word)| bits(word).map(move |bit| i as u64 * 64 + bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CacheKey = CacheKey { buffer: BufferId(1), data: 64 };

    fn cache(seen: Range<u64>) -> Cache {
        Cache { tensor: 0, key: KEY, row_bytes: 10, part: None, n_rows: 100, seen: vec![seen], places: vec![] }
    }

    #[test]
    fn what_was_not_told_is_told_later_and_what_was_told_is_not_told_again() {
        let mut caches = Caches::default();
        let rows = caches.rows(&cache(0..3));
        assert_eq!(rows.to_tell(100).as_slice(), std::slice::from_ref(&(0..3)), "what may have been written before");
        rows.told();
        rows.wrote(7);
        rows.wrote(64);
        rows.wrote(6);
        rows.wrote(1000);
        assert_eq!(rows.to_tell(100), [6..8, 64..65]);
        assert_eq!(rows.to_tell(1), [6..7, 7..8, 64..65]);
        let rows = caches.rows(&cache(0..50));
        assert_eq!(rows.to_tell(100), [6..8, 64..65], "still");
        rows.told();
        assert!(rows.to_tell(100).is_empty());
    }

    #[test]
    fn of_a_transposed_cache_the_part_that_is_looked_at_is_told_row_by_row() {
        let mut caches = Caches::default();
        let turned = Cache { part: Some(6), ..cache(4..7) };
        assert_eq!(turned.pieces(caches.rows(&turned), 1 << 10), [40..46, 50..56, 60..66]);
        caches.rows(&turned).told();
        caches.written(KEY, 51..53);
        assert_eq!(turned.pieces(caches.rows(&turned), 1 << 10).as_slice(), std::slice::from_ref(&(50..56)));
        caches.rows(&turned).told();
        caches.written(KEY, 40..60);
        assert_eq!(cache(0..0).pieces(caches.rows(&turned), 1 << 10).as_slice(), std::slice::from_ref(&(40..60)));
    }

    #[test]
    fn what_the_program_changes_otherwise_is_told_again() {
        let mut caches = Caches::default();
        caches.rows(&cache(2..4)).told();
        caches.changed(KEY);
        assert_eq!(caches.rows(&cache(0..0)).to_tell(9).as_slice(), std::slice::from_ref(&(2..4)));
        caches.rows(&cache(0..0)).told();
        caches.written(KEY, 15..31);
        caches.written(CacheKey { data: 0, ..KEY }, 0..1000);
        assert_eq!(caches.rows(&cache(0..0)).to_tell(9).as_slice(), std::slice::from_ref(&(1..4)));
    }
}
