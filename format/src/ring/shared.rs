//! A ring in memory that two processes share, and the right to write to it: the one writer at a time is whoever holds the
//! ring's lease ([`ShmRing::lease`]), so threads may come and go.

#[cfg(not(loom))]
use super::{AtomicU64, Producer, RingMemory};
#[cfg(not(loom))]
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

/// The start of a ring in shared memory. Producer's and consumer's words lie on different cache lines.
#[repr(C, align(64))]
pub struct RingControl {
    head: Line,
    tail: Line,
    lease: Line,
    dropped_records: std::sync::atomic::AtomicU64,
    dropped_bytes: std::sync::atomic::AtomicU64,
}

#[repr(C, align(64))]
struct Line(std::sync::atomic::AtomicU64);

const _: () = assert!(std::mem::size_of::<RingControl>() == 256);

/// A ring in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct ShmRing {
    base: *mut u8,
    capacity: u64,
}

// SAFETY: control words are atomics, and data is ordered by them as `RingMemory` demands.
unsafe impl Send for ShmRing {}
// SAFETY: as above.
unsafe impl Sync for ShmRing {}

impl ShmRing {
    /// # Safety
    /// `base` is 64-byte aligned and leads to a control block and `capacity` data bytes, a power of two, that stay
    /// mapped as long as any copy of the value is used.
    pub unsafe fn new(base: *mut u8, capacity: u64) -> ShmRing {
        ShmRing { base, capacity }
    }

    /// Becomes the ring's writer, if there is none.
    #[cfg(not(loom))]
    pub fn lease(self) -> Option<Lease> {
        let lease = &self.control().lease.0;
        if lease.load(Ordering::Relaxed) != 0 {
            return None;
        }
        // SYNC POINT: acquire, with the release in `Lease::drop`: the positions of the writer before us are seen.
        lease.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok()?;
        // SAFETY: the lease makes us the only producer.
        Some(Lease { ring: self, producer: unsafe { Producer::new(self) }, _not_sync: PhantomData })
    }

    /// Records and bytes that did not fit so far.
    pub fn dropped(&self) -> (u64, u64) {
        let control = self.control();
        (control.dropped_records.load(Ordering::Relaxed), control.dropped_bytes.load(Ordering::Relaxed))
    }

    /// Counts records that were lost before they came to the ring.
    pub fn count_lost(&self, records: u64, bytes: u64) {
        self.control().dropped_records.fetch_add(records, Ordering::Relaxed);
        self.control().dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn control(&self) -> &RingControl {
        // SAFETY: promise of `new`; the block consists of atomics, so the other process may write it at any time.
        unsafe { &*self.base.cast::<RingControl>() }
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: promise of `new`.
        unsafe { self.base.add(std::mem::size_of::<RingControl>()) }
    }
}

/// The right to write into a ring, given back when dropped.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct Lease {
    ring: ShmRing,
    /// The writing end.
    pub producer: Producer<ShmRing>,
    _not_sync: PhantomData<*const ()>,
}

#[cfg(not(loom))]
impl Drop for Lease {
    fn drop(&mut self) {
        // SYNC POINT: release, with the acquire in `lease`.
        self.ring.control().lease.0.store(0, Ordering::Release);
    }
}

#[cfg(not(loom))]
// SAFETY: `new` promises `capacity` bytes after the control block.
unsafe impl RingMemory for ShmRing {
    fn head(&self) -> &AtomicU64 {
        &self.control().head.0
    }
    fn tail(&self) -> &AtomicU64 {
        &self.control().tail.0
    }
    fn capacity(&self) -> u64 {
        self.capacity
    }
    fn count_dropped(&self, bytes: u64) {
        self.count_lost(1, bytes);
    }
    unsafe fn write(&self, offset: u64, bytes: &[u8]) {
        // SAFETY: the caller keeps inside the data and away from the consumer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data().add(offset as usize), bytes.len()) };
    }
    unsafe fn read(&self, offset: u64, out: &mut [u8]) {
        // SAFETY: the caller keeps inside the data, whose size is a multiple of 8, and aligned to words. A dishonest producer can
        // write there meanwhile: atomic loads make that a torn record, which the checks after it refuse, and no data race.
        let word = |at: usize| unsafe {
            AtomicU64::from_ptr(self.data().add(offset as usize + at).cast::<u64>())
                .load(Ordering::Relaxed)
                .to_ne_bytes()
        };
        let (words, rest) = out.as_chunks_mut::<8>();
        let read = words.len() * 8;
        words.iter_mut().enumerate().for_each(|(i, out)| *out = word(i * 8));
        if !rest.is_empty() {
            rest.copy_from_slice(&word(read)[..rest.len()]);
        }
    }
}
