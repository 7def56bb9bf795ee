//! The first stage: moves records from the rings into batches, whatever they are.

use ggscope_format::EvalId;
use ggscope_format::ring::{Consumer, RingMemory, ShmRing};
use ggscope_format::segment::Segment;
use std::sync::atomic::Ordering;

/// A batch that has this many bytes goes on.
const BATCH_BYTES: usize = 1 << 20;
/// A batch that has grown beyond this (one record can be half a ring) is not kept for the next.
const KEEP_BYTES: usize = 8 << 20;
/// What was counted as lost is never more than this.
const MAX_COUNT: u64 = 1 << 62;

/// Records as they lay on the rings, one after the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// What was wrong with the rings.
    pub(super) corrupt: Vec<String>,
    /// Records and bytes that the rings had no room for, in all so far.
    pub(super) dropped: (u64, u64),
    /// How many of the lost records were lost because other threads of the host held every ring.
    pub(super) unleased: u64,
    /// More records were lost than the batch before says.
    more_dropped: bool,
    /// A pass ends with this batch: all records of evaluations before this one are in it or in an earlier batch.
    pub(super) settled: Option<EvalId>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.corrupt.is_empty() && !self.more_dropped && self.settled.is_none()
    }

    /// The records in order.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Empties it and keeps its memory, within reason.
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_BYTES {
            *self = Batch::default();
        }
        self.bytes.clear();
        self.ends.clear();
        self.corrupt.clear();
        self.settled = None;
    }
}

struct Ring {
    memory: ShmRing,
    consumer: Consumer<ShmRing>,
    /// Where it was found corrupt last. As long as nobody writes it stays so, and is worth one remark.
    corrupt_at: Option<u64>,
    /// Where its writer was when the pass began, until the pass has read up to there.
    goal: Option<u64>,
}

/// The reading ends of all rings of a segment.
///
/// A *pass* reads every ring at least as far as it was written when the pass began. Only then is it known which
/// evaluations are here whole: the host's threads write to several rings, and a pass may take several batches.
pub(super) struct Poller {
    segment: Segment,
    rings: Vec<Ring>,
    /// What the host had settled when the pass began.
    settled: EvalId,
    /// What the last whole pass has found to be settled.
    known: EvalId,
    /// Whether this pass and the one before found records.
    moved: (bool, bool),
    /// Where the next pass begins, so that a busy ring does not starve the others.
    next: usize,
    dropped: (u64, u64),
}

impl Poller {
    pub(super) fn new(segment: &Segment) -> Poller {
        let ring = |memory| {
            // SAFETY: the segment's name is gone and its session has one poller, so there is no other consumer.
            let consumer = unsafe { Consumer::new(memory) };
            Ring { memory, consumer, corrupt_at: None, goal: None }
        };
        let rings = (0..segment.n_rings()).map(|i| ring(segment.ring(i))).collect();
        Poller {
            segment: *segment,
            rings,
            settled: EvalId(0),
            known: EvalId(0),
            moved: (false, false),
            next: 0,
            dropped: (0, 0),
        }
    }

    /// Moves what is there into `batch`, up to about a megabyte. Returns what part of the fullest ring it was.
    pub(super) fn poll(&mut self, batch: &mut Batch) -> f64 {
        batch.clear();
        let mut fill = 0_f64;
        let n = self.rings.len();
        let begin = self.next;
        if self.rings.iter().all(|ring| ring.goal.is_none()) {
            // First what is settled, then how far the rings were written: see `Segment::settled`.
            self.settled = self.segment.settled();
            self.rings.iter_mut().for_each(|ring| ring.goal = Some(ring.memory.head().load(Ordering::Acquire)));
        }
        for i in 0..n {
            let index = (begin + i) % n;
            let ring = &mut self.rings[index];
            let before = batch.bytes.len();
            while batch.bytes.len() < BATCH_BYTES {
                match ring.consumer.pop_onto(&mut batch.bytes) {
                    Ok(true) => batch.ends.push(batch.bytes.len()),
                    Ok(false) => break,
                    Err(corrupt) if ring.corrupt_at == Some(corrupt.position) => break,
                    Err(corrupt) => {
                        ring.corrupt_at = Some(corrupt.position);
                        batch.corrupt.push(format!("{corrupt} (ring {index}); what it held is lost"));
                        break;
                    }
                }
            }
            let is_read = |goal| ring.consumer.has_read(goal) || batch.bytes.len() < BATCH_BYTES;
            ring.goal = ring.goal.filter(|&goal| !is_read(goal));
            fill = fill.max((batch.bytes.len() - before) as f64 / ring.memory.capacity() as f64);
            if batch.bytes.len() >= BATCH_BYTES {
                self.next = (index + 1) % n;
                // More may be waiting: as urgent as a full ring.
                fill = 1.0;
                break;
            }
        }
        self.moved.0 |= !batch.ends.is_empty();
        if self.rings.iter().all(|ring| ring.goal.is_none()) {
            // Also after the first pass that finds nothing: it says that nothing was missing before what was found.
            if self.known < self.settled || self.moved != (false, false) {
                self.known = self.settled;
                batch.settled = Some(self.settled);
            }
            self.moved = (false, self.moved.0);
        }
        self.count_dropped(batch);
        fill
    }

    /// The counters lie in shared memory, so they can hold anything: here they never run backwards nor overflow.
    fn count_dropped(&mut self, batch: &mut Batch) {
        let sum = self.rings.iter().fold((0_u64, 0_u64), |sum, ring| {
            let (records, bytes) = ring.memory.dropped();
            (sum.0.saturating_add(records), sum.1.saturating_add(bytes))
        });
        let sum = (sum.0.saturating_add(self.segment.unleased()), sum.1);
        let sane = |count: u64| count.min(MAX_COUNT);
        let dropped = (self.dropped.0.max(sane(sum.0)), self.dropped.1.max(sane(sum.1)));
        batch.more_dropped = dropped != self.dropped;
        (self.dropped, batch.dropped) = (dropped, dropped);
        batch.unleased = sane(self.segment.unleased());
    }
}
