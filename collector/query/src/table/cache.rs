//! What was read from the file, by block of evaluations, up to a number of bytes.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Kept<T> {
    of: HashMap<usize, (Arc<T>, usize)>,
    /// Blocks in the order in which they came.
    order: VecDeque<usize>,
    bytes: usize,
}

impl<T> Kept<T> {
    /// Lets the oldest go until what is kept takes no more than `limit` bytes.
    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some((_, before)) = self.of.remove(&oldest) {
                self.bytes -= before;
            }
        }
    }
}

/// Blocks of `T`.
pub(super) struct Cache<T> {
    limit: AtomicUsize,
    kept: Mutex<Kept<T>>,
}

impl<T> Cache<T> {
    /// A cache of about `limit` bytes.
    pub fn new(limit: usize) -> Cache<T> {
        let limit = AtomicUsize::new(limit);
        Cache { limit, kept: Mutex::new(Kept { of: HashMap::new(), order: VecDeque::new(), bytes: 0 }) }
    }

    /// Keeps no more than `limit` bytes from now on.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.kept.lock().shrink(limit);
    }

    /// A block, if it is there and `is_enough`: the last block of a growing table was kept when it was shorter.
    pub fn get(&self, block: usize, is_enough: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let kept = self.kept.lock();
        kept.of.get(&block).map(|(found, _)| found).filter(|found| is_enough(found)).cloned()
    }

    /// Keeps a block. Where there is no room for it, the oldest give way if it `matters`, as it does to somebody who
    /// turns pages; who reads everything once does not drive out what others read again.
    pub fn put(&self, block: usize, value: T, bytes: usize, matters: bool) -> Arc<T> {
        let value = Arc::new(value);
        let mut kept = self.kept.lock();
        if let Some((_, before)) = kept.of.remove(&block) {
            kept.bytes -= before;
            kept.order.retain(|&b| b != block);
        }
        let limit = self.limit.load(Ordering::Relaxed);
        if matters {
            kept.shrink(limit.saturating_sub(bytes));
        }
        if kept.bytes + bytes <= limit {
            kept.of.insert(block, (Arc::clone(&value), bytes));
            kept.order.push_back(block);
            kept.bytes += bytes;
        }
        value
    }

    /// Whether little more goes in.
    pub fn is_full(&self) -> bool {
        let kept = self.kept.lock();
        let of_one = kept.bytes.checked_div(kept.of.len()).unwrap_or(0);
        kept.bytes + of_one > self.limit.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_the_limit_holds() {
        let cache = Cache::new(10);
        let there = |cache: &Cache<u32>| (0..6).filter(|&b| cache.get(b, |_| true).is_some()).collect::<Vec<_>>();
        for block in 0..4 {
            cache.put(block, block as u32, 3, true);
        }
        assert_eq!(there(&cache), [1, 2, 3]);
        assert!(cache.is_full());
        cache.put(4, 4, 3, false);
        assert_eq!(there(&cache), [1, 2, 3], "what is read once does not drive out others");
        cache.put(2, 20, 4, true);
        assert_eq!((there(&cache), *cache.get(2, |_| true).unwrap()), (vec![1, 2, 3], 20), "it is replaced");
        assert!(cache.get(2, |&v| v > 20).is_none());
        cache.set_limit(7);
        assert_eq!(there(&cache), [2, 3], "less is kept when less may be");
        assert_eq!(*cache.put(5, 5, 11, true), 5);
        assert_eq!(there(&cache), [0; 0], "too large to be kept at all");
    }
}
