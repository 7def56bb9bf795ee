//! What a cache of experts would have hit: with the expert that was used longest ago thrown out (LRU), and with the one
//! thrown out that is needed latest in the future (Belady's MIN), which no cache that loads what is missing can beat.
//! Nothing is fetched before it is asked for, and what was asked for is in the cache afterwards.
//!
//! Sources: R. L. Mattson et al., "Evaluation techniques for storage hierarchies", IBM Systems Journal 9(2), 1970 (all
//! sizes of an LRU cache in one pass, by stack distance); L. A. Belady, "A study of replacement algorithms for a
//! virtual-storage computer", IBM Systems Journal 5(2), 1966 (MIN).

use std::collections::BinaryHeap;

/// A later use that never comes.
const NEVER: u32 = u32::MAX;

/// Hits of LRU caches of every size.
pub(super) struct LruHits {
    /// By size less one: hits of a cache of this size.
    of_size: Vec<u64>,
}

impl LruHits {
    /// Of `accesses` to things numbered below `n_keys`; fewer than `u32::MAX` of them.
    pub fn new(accesses: &[u32], n_keys: usize) -> LruHits {
        // An access hits in every cache that is larger than the number of other things that were used since the last
        // access to the same one. The tree counts, over time, the latest access to each thing.
        let mut latest = Counts(vec![0; accesses.len() + 1]);
        let mut last: Vec<Option<usize>> = vec![None; n_keys];
        let mut of_size: Vec<u64> = vec![];
        for (now, &key) in accesses.iter().enumerate() {
            if let Some(before) = last[key as usize].replace(now) {
                let since = (latest.below(now) - latest.below(before + 1)) as usize;
                if of_size.len() <= since {
                    of_size.resize(since + 1, 0);
                }
                of_size[since] += 1;
                latest.add(before, -1);
            }
            latest.add(now, 1);
        }
        let mut hits = 0;
        of_size.iter_mut().for_each(|count| {
            hits += *count;
            *count = hits;
        });
        LruHits { of_size }
    }

    /// Hits of a cache for `size` things.
    pub fn of(&self, size: usize) -> u64 {
        let at = size.min(self.of_size.len()).checked_sub(1);
        at.map_or(0, |at| self.of_size[at])
    }
}

/// Sums over prefixes that change (a Fenwick tree).
struct Counts(Vec<i32>);

impl Counts {
    fn add(&mut self, at: usize, change: i32) {
        let mut i = at + 1;
        while i < self.0.len() {
            self.0[i] += change;
            i += i & i.wrapping_neg();
        }
    }

    /// Sum of the entries before `end`.
    fn below(&self, end: usize) -> i32 {
        let (mut i, mut sum) = (end, 0);
        while i > 0 {
            sum += self.0[i];
            i &= i - 1;
        }
        sum
    }
}

/// For each access when the same thing is accessed next.
pub(super) fn next_uses(accesses: &[u32], n_keys: usize) -> Vec<u32> {
    let mut next = vec![NEVER; n_keys];
    let mut uses = vec![NEVER; accesses.len()];
    for (now, &key) in accesses.iter().enumerate().rev() {
        uses[now] = std::mem::replace(&mut next[key as usize], now as u32);
    }
    uses
}

/// Hits of the best cache for `size` things; `next_uses` as [`next_uses`] gives them.
pub(super) fn best_hits(accesses: &[u32], next_uses: &[u32], n_keys: usize, size: usize) -> u64 {
    if size == 0 {
        return 0;
    }
    let mut is_in = vec![false; n_keys];
    // What is in the cache, latest next use first, and entries of the past, which lie below all that are in it.
    let mut queue: BinaryHeap<(u32, u32)> = BinaryHeap::new();
    let (mut used, mut hits) = (0, 0);
    for (now, (&key, &next)) in accesses.iter().zip(next_uses).enumerate() {
        if is_in[key as usize] {
            hits += 1;
        } else {
            if used == size {
                if let Some((_, out)) = queue.pop() {
                    is_in[out as usize] = false;
                }
            } else {
                used += 1;
            }
            is_in[key as usize] = true;
        }
        queue.push((next, key));
        if queue.len() > 2 * size + 64 {
            queue.retain(|&(next, _)| next > now as u32);
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing::Random;

    /// The most hits that any choice of what to throw out gives, by trying all.
    fn tried(accesses: &[u32], cache: &mut Vec<u32>, size: usize) -> u64 {
        let Some((key, rest)) = accesses.split_first() else { return 0 };
        if cache.contains(key) {
            return 1 + tried(rest, cache, size);
        }
        if cache.len() < size {
            cache.push(*key);
            let hits = tried(rest, cache, size);
            cache.pop();
            return hits;
        }
        let all = (0..size).map(|i| {
            let out = std::mem::replace(&mut cache[i], *key);
            let hits = tried(rest, cache, size);
            cache[i] = out;
            hits
        });
        all.max().unwrap_or(0)
    }

    /// An LRU cache as it is described: a list with the latest at the end.
    fn listed(accesses: &[u32], size: usize) -> u64 {
        let mut list: Vec<u32> = vec![];
        let mut hits = 0;
        for &key in accesses {
            if let Some(at) = list.iter().position(|&k| k == key) {
                list.remove(at);
                hits += 1;
            } else if list.len() == size {
                list.remove(0);
            }
            list.push(key);
        }
        hits
    }

    fn best(accesses: &[u32], n_keys: usize, size: usize) -> u64 {
        best_hits(accesses, &next_uses(accesses, n_keys), n_keys, size)
    }

    #[test]
    fn hits_are_those_of_the_textbook() {
        // Belady's anomaly's reference string, by hand.
        let accesses = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5];
        let lru = LruHits::new(&accesses, 6);
        assert_eq!([0, 1, 2, 3, 4, 5, 99].map(|size| lru.of(size)), [0, 0, 0, 2, 4, 7, 7]);
        assert_eq!([0, 1, 3, 4, 5, 99].map(|size| best(&accesses, 6, size)), [0, 0, 5, 6, 7, 7]);
    }

    #[test]
    fn lru_is_what_a_list_does_and_no_cache_is_better_than_the_best() {
        let mut random = Random(7);
        for round in 0..60 {
            let n_keys = 2 + round % 5;
            let accesses: Vec<u32> = (0..11).map(|_| random.below(n_keys) as u32).collect();
            let lru = LruHits::new(&accesses, n_keys as usize);
            for size in 1..=n_keys as usize {
                let most = tried(&accesses, &mut vec![], size);
                assert_eq!(lru.of(size), listed(&accesses, size), "{accesses:?}, {size}");
                assert_eq!(best(&accesses, n_keys as usize, size), most, "{accesses:?}, {size}");
            }
        }
    }

    #[test]
    fn long_runs_are_counted_the_same() {
        let mut random = Random(3);
        let accesses: Vec<u32> = (0..5_000).map(|_| random.below(1 + random.0 % 40) as u32).collect();
        let lru = LruHits::new(&accesses, 40);
        let distinct = accesses.iter().collect::<std::collections::HashSet<_>>().len() as u64;
        let mut before = 0;
        for size in [1, 2, 5, 13, 39, 40] {
            let most = best(&accesses, 40, size);
            assert_eq!(lru.of(size), listed(&accesses, size));
            assert!(most >= lru.of(size) && most >= before, "{size}: {most}");
            before = most;
        }
        assert_eq!(before, 5_000 - distinct, "only the first use of each is missed");
    }

    #[test]
    fn nothing_is_no_trouble() {
        assert_eq!((LruHits::new(&[], 0).of(3), best(&[], 0, 3)), (0, 0));
    }
}
