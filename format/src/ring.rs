//! A single-producer single-consumer ring of variable-length records.
//!
//! A record is an 8-byte header (length and marker) and its payload, padded to 8 bytes; one that would not fit
//! before the end of the data is preceded by a filler that leads to the start. Positions count bytes since the
//! beginning and never wrap. The producer never waits: what does not fit is dropped whole and counted. The consumer
//! trusts nothing that it reads: see [`Consumer::pop`].
//!
//! This is the protocol; the memory that two processes share, and who may write to it, is another matter.

mod shared;

#[cfg(not(loom))]
pub use shared::Lease;
pub use shared::{RingControl, ShmRing};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

const HEADER: u64 = 8;
const RECORD: u64 = 0x4747_5243 << 32;
const FILLER: u64 = 0x4747_5046 << 32;
const MARKER: u64 = 0xffff_ffff << 32;

/// What a ring is made of: two positions and the data between them.
///
/// # Safety
/// `write` and `read` must reach `capacity()` bytes, and `capacity()` must be a power of two and never change.
pub unsafe trait RingMemory {
    /// How far the producer has written.
    fn head(&self) -> &AtomicU64;
    /// How far the consumer has read.
    fn tail(&self) -> &AtomicU64;
    /// Data bytes.
    fn capacity(&self) -> u64;
    /// Counts a record of `bytes` bytes that did not fit.
    fn count_dropped(&self, bytes: u64);
    /// Copies `bytes` to `offset`.
    ///
    /// # Safety
    /// `offset` is a multiple of 8, `offset + bytes.len() <= capacity()`, and the consumer does not read there: the
    /// bytes lie outside `tail..head`.
    unsafe fn write(&self, offset: u64, bytes: &[u8]);
    /// Copies from `offset` to `out`. Whoever breaks the protocol on the other side can change what is read, but
    /// nothing else.
    ///
    /// # Safety
    /// `offset` is a multiple of 8 and `offset + out.len() <= capacity()`.
    unsafe fn read(&self, offset: u64, out: &mut [u8]);
}

fn record_bytes(len: usize) -> u64 {
    HEADER + (len as u64).next_multiple_of(8)
}

/// The writing end.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    head: u64,
}

impl<M: RingMemory> Producer<M> {
    /// # Safety
    /// There is no other producer on this memory until this one is dropped.
    pub unsafe fn new(memory: M) -> Self {
        // The acquire of the lease orders this with the producer before us. `& !7`: a corrupted position must not
        // lead to an unaligned or cut header.
        let head = memory.head().load(Ordering::Relaxed) & !7;
        Producer { memory, head }
    }

    /// Appends one record, or drops it and counts it. Returns whether it was appended.
    pub fn push(&mut self, payload: &[u8]) -> bool {
        self.append(payload, &[], 0)
    }

    /// Appends one record that lies in two places, and that others can be understood without: it leaves room for those.
    /// Else as [`Producer::push`].
    pub fn push_aside(&mut self, head: &[u8], body: &[u8]) -> bool {
        self.append(head, body, self.spare())
    }

    /// What is left free for records that others need.
    fn spare(&self) -> u64 {
        self.memory.capacity() / 8
    }

    fn append(&mut self, head: &[u8], body: &[u8], spare: u64) -> bool {
        let len = head.len() + body.len();
        let capacity = self.memory.capacity();
        let need = record_bytes(len);
        let offset = self.head & (capacity - 1);
        let filler = if offset + need > capacity { capacity - offset } else { 0 };
        // SYNC POINT: with the release store in `pop`: the consumer has finished with everything before `tail`.
        let tail = self.memory.tail().load(Ordering::Acquire);
        let used = self.head.wrapping_sub(tail);
        if need > capacity / 2 || used > capacity || used + filler + need + spare > capacity {
            self.memory.count_dropped(len as u64);
            return false;
        }
        // SAFETY: positions and lengths are multiples of 8; `filler` and `need` were just seen to fit between `head`
        // and `tail + capacity`, where the consumer does not read, and neither crosses the end of the data.
        unsafe {
            if filler > 0 {
                self.memory.write(offset, &(FILLER | (filler - HEADER)).to_le_bytes());
            }
            let start = (offset + filler) & (capacity - 1);
            self.memory.write(start, &(RECORD | len as u64).to_le_bytes());
            self.write_parts(start + HEADER, head, body);
        }
        self.head = self.head.wrapping_add(filler + need);
        // SYNC POINT: with the acquire load in `pop`: who sees the position sees the record.
        self.memory.head().store(self.head, Ordering::Release);
        true
    }

    /// Writes both parts, one right behind the other. Every single write begins at a multiple of 8: the word that has
    /// the end of the first and the beginning of the second is put together here.
    ///
    /// # Safety
    /// As for [`RingMemory::write`], with the length of both.
    unsafe fn write_parts(&self, offset: u64, head: &[u8], body: &[u8]) {
        let whole = head.len() & !7;
        let (head, end) = head.split_at(if body.is_empty() { head.len() } else { whole });
        let mut word = [0; 8];
        word[..end.len()].copy_from_slice(end);
        let (begin, body) = body.split_at(if end.is_empty() { 0 } else { body.len().min(8 - end.len()) });
        word[end.len()..end.len() + begin.len()].copy_from_slice(begin);
        let between = &word[..end.len() + begin.len()];
        let mut at = offset;
        for part in [head, between, body].into_iter().filter(|part| !part.is_empty()) {
            // SAFETY: promised by the caller; all parts but the last have a multiple of 8 bytes.
            unsafe { self.memory.write(at, part) };
            at += part.len() as u64;
        }
    }

    /// Whether records of these lengths would all fit now, whatever the consumer does meanwhile.
    pub fn fits_all(&self, lens: impl Iterator<Item = usize>) -> bool {
        self.fit(lens, 0)
    }

    /// The same for [`Producer::push_aside`].
    pub fn fits_all_aside(&self, lens: impl Iterator<Item = usize>) -> bool {
        self.fit(lens, self.spare())
    }

    fn fit(&self, lens: impl Iterator<Item = usize>, spare: u64) -> bool {
        let tail = self.memory.tail().load(Ordering::Acquire);
        let capacity = self.memory.capacity();
        let (mut need, mut largest) = (0_u64, 0);
        for bytes in lens.map(record_bytes) {
            (need, largest) = (need.saturating_add(bytes), bytes.max(largest));
        }
        // Where the end of the data is met, less than a record's length is left empty.
        let used = self.head.wrapping_sub(tail);
        largest <= capacity / 2 && used <= capacity && need.saturating_add(largest + spare) <= capacity - used
    }
}

/// The ring's content contradicts the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ring is corrupt at position {position}: {what}")]
pub struct Corrupt {
    /// Bytes since the beginning.
    pub position: u64,
    /// What was found there.
    pub what: String,
}

/// The reading end.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    tail: u64,
}

impl<M: RingMemory> Consumer<M> {
    /// # Safety
    /// There is no other consumer on this memory until this one is dropped.
    pub unsafe fn new(memory: M) -> Self {
        Consumer { memory, tail: 0 }
    }

    /// Takes the oldest record into `out`, in place of what is there, and returns false if there is none.
    ///
    /// # Errors
    /// As [`Consumer::pop_onto`].
    pub fn pop(&mut self, out: &mut Vec<u8>) -> Result<bool, Corrupt> {
        out.clear();
        self.pop_onto(out)
    }

    /// Takes the oldest record to the end of `out`, and returns false if there is none.
    ///
    /// The position is kept here, not in the memory; header and payload are copied once and checked after copying,
    /// so the other side can send nonsense but cannot make this side read outside the ring.
    ///
    /// # Errors
    /// When the ring contradicts the protocol. Everything that it held is then skipped, and reading goes on with what
    /// is written next.
    pub fn pop_onto(&mut self, out: &mut Vec<u8>) -> Result<bool, Corrupt> {
        loop {
            // SYNC POINT: with the release store in `push`.
            let head = self.memory.head().load(Ordering::Acquire);
            let available = head.wrapping_sub(self.tail);
            if available == 0 {
                return Ok(false);
            }
            let capacity = self.memory.capacity();
            if available > capacity || !available.is_multiple_of(8) {
                return Err(self.corrupt(head, format!("{available} bytes in a ring of {capacity}")));
            }
            let offset = self.tail & (capacity - 1);
            let mut header = [0; HEADER as usize];
            // SAFETY: `offset` is a multiple of 8 below `capacity`, itself a multiple of 8.
            unsafe { self.memory.read(offset, &mut header) };
            let header = u64::from_le_bytes(header);
            let len = header & !MARKER;
            let bytes = record_bytes(len as usize);
            let fits = bytes <= available && offset + bytes <= capacity;
            match header & MARKER {
                FILLER if fits && offset + bytes == capacity => self.advance(bytes),
                RECORD if fits => {
                    let begin = out.len();
                    out.resize(begin + len as usize, 0);
                    // SAFETY: just checked: the payload ends before the end of the data.
                    unsafe { self.memory.read(offset + HEADER, &mut out[begin..]) };
                    self.advance(bytes);
                    return Ok(true);
                }
                _ => return Err(self.corrupt(head, format!("header {header:#018x}, {available} bytes available"))),
            }
        }
    }

    /// Whether everything that was written before the producer came to `head` has been taken or skipped.
    pub fn has_read(&self, head: u64) -> bool {
        self.tail.wrapping_sub(head) <= u64::MAX / 2
    }

    fn advance(&mut self, bytes: u64) {
        self.tail = self.tail.wrapping_add(bytes);
        // SYNC POINT: with the acquire load in `push`.
        self.memory.tail().store(self.tail, Ordering::Release);
    }

    fn corrupt(&mut self, head: u64, what: String) -> Corrupt {
        let position = self.tail;
        self.tail = head & !7;
        self.memory.tail().store(self.tail, Ordering::Release);
        Corrupt { position, what }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Memory(Vec<u64>);

    fn ring(memory: &mut Memory, capacity: u64) -> ShmRing {
        memory.0 = vec![0; (64 + 256 + capacity as usize) / 8 + 8];
        let base = memory.0.as_mut_ptr().cast::<u8>();
        // SAFETY: the vector has room for the alignment, the control block and the data.
        unsafe { ShmRing::new(base.add(base.align_offset(64)), capacity) }
    }

    fn consumer(ring: ShmRing) -> Consumer<ShmRing> {
        // SAFETY: each test makes one.
        unsafe { Consumer::new(ring) }
    }

    #[test]
    fn a_record_of_two_parts_comes_out_whole_wherever_they_meet() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let (mut lease, mut consumer, mut out) = (ring.lease().unwrap(), consumer(ring), vec![]);
        for (head, body) in (0..20).flat_map(|head| (0..20).map(move |body| (head, body))) {
            let whole: Vec<u8> = (1..=head + body).collect();
            let (first, second) = whole.split_at(usize::from(head));
            assert!(lease.producer.push_aside(first, second));
            assert!(consumer.pop(&mut out).unwrap());
            assert_eq!(out, whole, "{head} and {body} bytes");
        }
    }

    #[test]
    fn records_come_out_as_they_went_in_across_many_wraps() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let mut consumer = consumer(ring);
        let mut lease = ring.lease().unwrap();
        let mut out = vec![];
        for i in 0..5_000_usize {
            let payload: Vec<u8> = (0..i % 97).map(|b| (b + i) as u8).collect();
            assert!(lease.producer.push(&payload), "record {i}");
            assert_eq!(consumer.pop(&mut out), Ok(true));
            assert_eq!(out, payload, "record {i}");
            assert_eq!(consumer.pop(&mut out), Ok(false));
        }
        assert_eq!(ring.dropped(), (0, 0));
    }

    #[test]
    fn a_full_ring_drops_whole_records_counts_them_and_keeps_the_rest() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let mut consumer = consumer(ring);
        let mut lease = ring.lease().unwrap();
        let fitted = (0..100_u8).filter(|&i| lease.producer.push(&[i; 20])).count();
        assert_eq!(fitted, 8, "8 records of 8 + 24 bytes fill 256");
        assert_eq!(ring.dropped(), (92, 92 * 20));
        let mut out = vec![];
        for i in 0..8_u8 {
            assert_eq!(consumer.pop(&mut out), Ok(true));
            assert_eq!(out, [i; 20]);
        }
        assert_eq!(consumer.pop(&mut out), Ok(false));
        assert!(lease.producer.push(b"room again"));
    }

    #[test]
    fn what_others_can_be_understood_without_leaves_room_for_what_they_need() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let mut lease = ring.lease().unwrap();
        let fitted = (0..100).filter(|_| lease.producer.push_aside(&[0; 12], &[1; 8])).count();
        assert_eq!(fitted, 7, "the last 32 of 256 bytes stay free");
        assert!(!lease.producer.fits_all_aside([20].into_iter()) && !lease.producer.fits_all([40].into_iter()));
        assert!(lease.producer.push(&[2; 20]) && !lease.producer.push(&[2; 20]));
    }

    #[test]
    fn a_record_larger_than_half_the_ring_is_dropped_and_does_not_block_others() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let mut lease = ring.lease().unwrap();
        assert!(!lease.producer.push(&[0; 200]));
        assert!(lease.producer.push(&[0; 100]));
        assert_eq!(ring.dropped(), (1, 200));
    }

    #[test]
    fn only_one_writer_has_the_lease() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let lease = ring.lease().unwrap();
        assert!(ring.lease().is_none());
        drop(lease);
        assert!(ring.lease().is_some());
    }

    #[test]
    fn whatever_stands_in_the_memory_the_reader_reports_it_and_reads_on() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed ^ (seed >> 29)
        };
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        let mut consumer = consumer(ring);
        let (mut corrupt, mut out) = (0, vec![]);
        for round in 0..2_000 {
            for word in 0..32 {
                // SAFETY: inside the data; nobody else is here.
                unsafe { ring.write(word * 8, &random().to_le_bytes()) };
            }
            let head = if round % 2 == 0 { random() } else { ring.tail().load(Ordering::Relaxed) + random() % 256 };
            ring.head().store(head, Ordering::Relaxed);
            corrupt += usize::from(consumer.pop(&mut out).is_err());
            // Whatever happened, an honest writer gets through again.
            let mut lease = ring.lease().unwrap();
            ring.head().store(ring.tail().load(Ordering::Relaxed), Ordering::Relaxed);
            lease.producer.head = ring.head().load(Ordering::Relaxed);
            assert!(lease.producer.push(b"honest"));
            assert_eq!(consumer.pop(&mut out), Ok(true));
            assert_eq!(out, b"honest");
        }
        assert!(corrupt > 1_900, "only {corrupt} of 2000 were noticed");
    }

    #[test]
    fn a_writer_survives_whatever_stands_in_the_positions() {
        let mut memory = Memory(vec![]);
        let ring = ring(&mut memory, 256);
        for positions in [(u64::MAX, 0), (3, 5), (1 << 40, 1 << 41), (u64::MAX, u64::MAX)] {
            ring.head().store(positions.0, Ordering::Relaxed);
            ring.tail().store(positions.1, Ordering::Relaxed);
            let mut lease = ring.lease().unwrap();
            for _ in 0..50 {
                lease.producer.push(&[7; 40]);
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Words {
        head: AtomicU64,
        tail: AtomicU64,
        dropped: AtomicU64,
        data: Vec<UnsafeCell<u64>>,
    }

    // SAFETY: loom itself finds unordered access to the cells; that is the test.
    unsafe impl Sync for Words {}
    // SAFETY: as above.
    unsafe impl Send for Words {}

    // SAFETY: `data` is a power of two of words that never changes.
    unsafe impl RingMemory for Arc<Words> {
        fn head(&self) -> &AtomicU64 {
            &self.head
        }
        fn tail(&self) -> &AtomicU64 {
            &self.tail
        }
        fn capacity(&self) -> u64 {
            self.data.len() as u64 * 8
        }
        fn count_dropped(&self, _: u64) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        unsafe fn write(&self, offset: u64, bytes: &[u8]) {
            for (i, word) in bytes.chunks(8).enumerate() {
                let mut padded = [0; 8];
                padded[..word.len()].copy_from_slice(word);
                // SAFETY: loom checks it.
                self.data[offset as usize / 8 + i].with_mut(|p| unsafe { *p = u64::from_le_bytes(padded) });
            }
        }
        unsafe fn read(&self, offset: u64, out: &mut [u8]) {
            for (i, word) in out.chunks_mut(8).enumerate() {
                // SAFETY: loom checks it.
                let value = self.data[offset as usize / 8 + i].with(|p| unsafe { *p });
                word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
            }
        }
    }

    /// In every interleaving, what was not dropped comes out whole, once and in order, and no cell is read while it
    /// is written.
    #[test]
    fn loom_every_interleaving_delivers_or_counts() {
        loom::model(|| {
            let words = Arc::new(Words {
                head: AtomicU64::new(0),
                tail: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
                data: (0..8).map(|_| UnsafeCell::new(0)).collect(),
            });
            let writer = {
                let words = words.clone();
                loom::thread::spawn(move || {
                    // SAFETY: the only producer.
                    let mut producer = unsafe { Producer::new(words) };
                    // 16 + 24 + 24 bytes in a ring of 64 with a filler: wraps, and can be full.
                    [&[1_u8; 8][..], &[2; 16], &[3; 16]].map(|record| producer.push(record))
                })
            };
            // SAFETY: the only consumer.
            let mut consumer = unsafe { Consumer::new(words.clone()) };
            let mut seen = vec![];
            let mut out = vec![];
            for _ in 0..2 {
                if consumer.pop(&mut out).unwrap() {
                    seen.push(out.clone());
                }
            }
            let pushed = writer.join().unwrap();
            while consumer.pop(&mut out).unwrap() {
                seen.push(out.clone());
            }
            let records = [vec![1_u8; 8], vec![2; 16], vec![3; 16]];
            let expected: Vec<_> = records.into_iter().zip(pushed).filter(|(_, p)| *p).map(|(r, _)| r).collect();
            assert_eq!(seen, expected);
            let dropped = words.dropped.load(Ordering::Relaxed) as usize;
            assert_eq!(dropped, 3 - expected.len());
        });
    }
}
