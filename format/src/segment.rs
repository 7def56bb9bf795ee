//! The layout of a session's shared-memory segment: a header, then rings of equal size.
//!
//! ```text
//! 0      magic u64 · version u32 · n_rings u32 · ring_bytes u64 · closed u64 · settled u64 · unleased u64 (all atomic)
//! 4096   ring 0: control block (256 bytes) · data (ring_bytes)
//! …      ring n
//! ```
//!
//! The shim creates and fills it; the collector maps it and treats all of it as hostile.

use crate::EvalId;
use crate::ring::{RingControl, ShmRing};
use std::sync::atomic::{AtomicU64, Ordering};

/// First bytes of a segment.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ggscope1");
/// Where the first ring begins.
pub const HEADER_BYTES: usize = 4096;
/// Rings in a segment: how many evaluations can be recorded at one moment.
pub const DEFAULT_RINGS: u32 = 8;
/// Data bytes of a ring if the user does not say.
pub const DEFAULT_RING_BYTES: u64 = 2 << 20;
/// Least and most data bytes of a ring.
pub const RING_BYTES_RANGE: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
/// Most rings that a reader accepts.
pub const MAX_RINGS: u32 = 64;

/// The start of a segment.
#[repr(C)]
pub struct SegmentHeader {
    magic: AtomicU64,
    version_and_rings: AtomicU64,
    ring_bytes: AtomicU64,
    closed: AtomicU64,
    settled: AtomicU64,
    unleased: AtomicU64,
}

/// Why a segment is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SegmentError {
    /// It does not begin like a segment.
    #[error("shared memory does not begin with ggscope's magic number (found {0:#018x})")]
    Magic(u64),
    /// Another version of ggscope made it.
    #[error("shared memory has format {0}, this ggscope reads format {want}", want = crate::FORMAT_VERSION)]
    Version(u32),
    /// Its numbers contradict each other.
    #[error("shared memory of {size} bytes says it has {n_rings} rings of {ring_bytes} bytes")]
    Geometry {
        /// Size of the mapping in bytes.
        size: usize,
        /// What the header says.
        n_rings: u32,
        /// What the header says, in bytes.
        ring_bytes: u64,
    },
}

/// Size in bytes of a segment with `n_rings` rings of `ring_bytes` data bytes each.
pub fn segment_bytes(n_rings: u32, ring_bytes: u64) -> usize {
    HEADER_BYTES + n_rings as usize * (std::mem::size_of::<RingControl>() + ring_bytes as usize)
}

/// A mapped segment. Both sides hold one; it does not own the mapping.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    base: *mut u8,
    n_rings: u32,
    ring_bytes: u64,
}

// SAFETY: the segment is only reached through atomics and through `ShmRing`, whose protocol orders all access.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// Writes the header of a new segment.
    ///
    /// # Safety
    /// `base` is the page-aligned start of at least [`segment_bytes`] zeroed bytes that stay mapped as long as the
    /// value or a ring of it is used, and nobody else has seen them yet.
    pub unsafe fn create(base: *mut u8, n_rings: u32, ring_bytes: u64) -> Segment {
        let segment = Segment { base, n_rings, ring_bytes };
        let header = segment.header();
        header.version_and_rings.store(u64::from(crate::FORMAT_VERSION) | u64::from(n_rings) << 32, Ordering::Relaxed);
        header.ring_bytes.store(ring_bytes, Ordering::Relaxed);
        // SYNC POINT: with the acquire load in `open`; who sees the magic sees the geometry.
        header.magic.store(MAGIC, Ordering::Release);
        segment
    }

    /// Checks the header of somebody else's segment. The geometry is read once and never again.
    ///
    /// # Safety
    /// `base` is the page-aligned start of `size` readable and writable bytes that stay mapped as long as the value
    /// or a ring of it is used.
    ///
    /// # Errors
    /// When the segment is not one of ours or its numbers do not fit `size`.
    pub unsafe fn open(base: *mut u8, size: usize) -> Result<Segment, SegmentError> {
        if size < HEADER_BYTES {
            return Err(SegmentError::Geometry { size, n_rings: 0, ring_bytes: 0 });
        }
        // SAFETY: the header fits into `size` (checked above) and consists of atomics.
        let header = unsafe { &*base.cast::<SegmentHeader>() };
        // SYNC POINT: with the release store in `create`.
        let magic = header.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(SegmentError::Magic(magic));
        }
        let version_and_rings = header.version_and_rings.load(Ordering::Relaxed);
        let (version, n_rings) = (version_and_rings as u32, (version_and_rings >> 32) as u32);
        if version != crate::FORMAT_VERSION {
            return Err(SegmentError::Version(version));
        }
        let ring_bytes = header.ring_bytes.load(Ordering::Relaxed);
        let fits = (1..=MAX_RINGS).contains(&n_rings)
            && RING_BYTES_RANGE.contains(&ring_bytes)
            && ring_bytes.is_power_of_two()
            && segment_bytes(n_rings, ring_bytes) <= size;
        if !fits {
            return Err(SegmentError::Geometry { size, n_rings, ring_bytes });
        }
        Ok(Segment { base, n_rings, ring_bytes })
    }

    /// How many rings it has.
    pub fn n_rings(&self) -> u32 {
        self.n_rings
    }

    /// Ring number `index`.
    ///
    /// # Panics
    /// When there is no such ring.
    pub fn ring(&self, index: u32) -> ShmRing {
        assert!(index < self.n_rings, "ring {index} of {}", self.n_rings);
        let stride = std::mem::size_of::<RingControl>() + self.ring_bytes as usize;
        // SAFETY: `create` and `open` made sure that all rings lie inside the mapping; the header and the stride are
        // multiples of 64, so that the control block is aligned.
        unsafe { ShmRing::new(self.base.add(HEADER_BYTES + index as usize * stride), self.ring_bytes) }
    }

    /// The collector says that it reads no more.
    pub fn close(&self) {
        self.header().closed.store(1, Ordering::Relaxed);
    }

    /// Whether the collector said that it reads no more.
    pub fn is_closed(&self) -> bool {
        self.header().closed.load(Ordering::Relaxed) != 0
    }

    /// The shim says that every evaluation before `eval` is on the rings or counted as lost.
    pub fn settle(&self, eval: EvalId) {
        // SYNC POINT: with the acquire load in `settled`: a reader that sees the number sees the heads of the rings as they
        // were when the evaluations before it had been written.
        self.header().settled.store(eval.0, Ordering::Release);
    }

    /// The first evaluation that may still be missing from the rings. Read it before the rings: then the records of
    /// every earlier evaluation are among those that are found there.
    pub fn settled(&self) -> EvalId {
        // SYNC POINT: with the release store in `settle`.
        EvalId(self.header().settled.load(Ordering::Acquire))
    }

    /// Counts a record that is lost because other threads held every ring.
    pub fn count_unleased(&self) {
        self.header().unleased.fetch_add(1, Ordering::Relaxed);
    }

    /// How many records were lost because other threads held every ring.
    pub fn unleased(&self) -> u64 {
        self.header().unleased.load(Ordering::Relaxed)
    }

    fn header(&self) -> &SegmentHeader {
        // SAFETY: the mapping is page-aligned, longer than the header and outlives `self` (promise of the
        // constructors); the header consists of atomics, so the other process may write it at any time.
        unsafe { &*self.base.cast::<SegmentHeader>() }
    }
}
