//! Two pointers that only ever change together, such as a callback and its data.
//!
//! A reader never waits for the writer and neither of them allocates. Two places take turns: the writer fills the one that
//! is not in use and then makes it the current one. A reader reads again only if the pair changed while it read.

use std::ffi::c_void;

#[cfg(loom)]
use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};

/// The pair. Both pointers are null until it is set.
#[derive(Debug, Default)]
pub struct Pair {
    /// How often the pair was set. The last bit says which place is current.
    version: AtomicUsize,
    places: [Place; 2],
}

#[derive(Debug, Default)]
struct Place {
    first: AtomicPtr<c_void>,
    second: AtomicPtr<c_void>,
}

impl Pair {
    /// Sets both. Only one thread at a time may do so.
    pub fn set(&self, first: *mut c_void, second: *mut c_void) {
        let version = self.version.load(Ordering::Relaxed);
        let next = version.wrapping_add(1);
        let place = &self.places[next & 1];
        // SYNC POINT: with the fence in `get`. A reader that sees what is stored below also sees that this place is no
        // longer the current one.
        fence(Ordering::Release);
        place.first.store(first, Ordering::Relaxed);
        place.second.store(second, Ordering::Relaxed);
        // SYNC POINT: with the acquire load in `get`. A reader that sees the version sees the place filled.
        self.version.store(next, Ordering::Release);
    }

    /// Both, as they were set last.
    #[inline]
    pub fn get(&self) -> (*mut c_void, *mut c_void) {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let place = &self.places[version & 1];
            let pair = (place.first.load(Ordering::Relaxed), place.second.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return pair;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_last_is_what_is_read() {
        let pair = Pair::default();
        assert_eq!(pair.get(), (std::ptr::null_mut(), std::ptr::null_mut()));
        for n in 1..5 {
            let (first, second) = (std::ptr::without_provenance_mut(n), std::ptr::without_provenance_mut(10 * n));
            pair.set(first, second);
            assert_eq!(pair.get(), (first, second));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn loom_no_reader_sees_one_of_a_pair_without_the_other() {
        loom::model(|| {
            let of = |n: usize| std::ptr::without_provenance_mut::<c_void>(n);
            let pair = Arc::new(Pair::default());
            pair.set(of(1), of(1));
            let writer = {
                let pair = pair.clone();
                loom::thread::spawn(move || (2..4).for_each(|n| pair.set(of(n), of(n))))
            };
            let (first, second) = pair.get();
            assert_eq!(first, second);
            writer.join().unwrap();
            assert_eq!(pair.get(), (of(3), of(3)));
        });
    }
}
