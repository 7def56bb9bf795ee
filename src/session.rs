//! The connection to a collector: looked for once a second while there is none, given up when it is gone.
//!
//! Nothing here waits longer than [`PATIENCE`], and that only once, when a collector has just accepted us.

mod attach;

use crate::abi::Layout;
use crate::caches::{CacheKey, Caches};
use crate::capture::CompiledCapture;
use crate::clock::Conversion;
use crate::graph::GraphInfo;
use crate::host::Host;
use crate::identity::{Identities, Identity};
use crate::sampling::Sampling;
use crate::stderr::say;
use ggscope_format::capture::{Capture, CaptureChange};
use ggscope_format::record::Record;
use ggscope_format::ring::{Lease, Producer, ShmRing};
use ggscope_format::segment::Segment;
use ggscope_format::session::{self as protocol, Level};
use ggscope_format::{EvalId, GraphId};
use parking_lot::{Condvar, Mutex};
use shared_memory::Shmem;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);
/// A collector that hangs costs the host at most one part in so many of its time.
const HANG_SHARE: u32 = 60;
/// How long a thread waits for another thread's copy to a ring to end: much longer than any copy takes.
const RING_PATIENCE: Duration = Duration::from_millis(100);
/// More graphs than this are forgotten and, when they come again, recorded again: a bound on the host's memory.
const MAX_GRAPHS: usize = 128;
/// The same, in bytes of what graphs are identified by.
const MAX_IDENTITY_BYTES: usize = 32 << 20;

/// An attached collector.
pub struct Session {
    /// Number within the process.
    pub number: u64,
    /// The process that it belongs to; see [`crate::fork::generation`].
    generation: u64,
    /// What it wants.
    pub level: Level,
    /// Whether token ids may be recorded.
    pub tokens: bool,
    /// From ticks to time.
    pub conversion: Conversion,
    /// The host's ggml.
    pub host: &'static Host,
    /// How its tensors are laid out.
    pub layout: &'static Layout,
    /// What the collector has of the K and V caches.
    pub caches: Mutex<Caches>,
    /// Tensors that were told once, and need not be again.
    pub told: Mutex<HashSet<CacheKey>>,
    /// In which evaluations values are captured.
    pub pace: Mutex<Sampling>,
    current: Mutex<Current>,
    graphs: Mutex<Graphs>,
    segment: Segment,
    /// Rings that no thread writes to; the last one was used last.
    free_rings: Mutex<Vec<u32>>,
    ring_returned: Condvar,
    socket: UnixStream,
    _memory: Mapping,
}

/// What is captured, and of which evaluations: both under one lock, so that a change begins with one of them.
struct Current {
    wanted: Arc<CompiledCapture>,
    next_eval: u64,
    /// Evaluations that have begun and are not written yet, ascending.
    running: Vec<u64>,
    /// A change that the collector has not been told of yet.
    untold: Option<CaptureChange>,
}

#[derive(Default)]
struct Graphs {
    next: u32,
    ids: Identities,
    known: HashMap<GraphId, Arc<GraphInfo>>,
    /// For each graph, on which rings it was defined.
    defined: HashMap<GraphId, u64>,
}

struct Mapping(#[allow(dead_code)] Shmem);

// SAFETY: only the mapping's lifetime is used; what is in it is reached through `Segment`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// An evaluation that has begun. Dropping it says that all its records are on the rings or counted as lost.
pub struct Running {
    session: Arc<Session>,
    /// Its number.
    pub eval: EvalId,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.settle(self.eval);
    }
}

/// The right to write to a ring, and the ring's number. Dropping it gives the ring to the next thread.
pub struct RingLease<'a> {
    /// The ring.
    pub ring: u32,
    session: &'a Session,
    /// `None` only while it is dropped.
    lease: Option<Lease>,
}

impl RingLease<'_> {
    /// The writing end.
    pub fn producer(&mut self) -> &mut Producer<ShmRing> {
        &mut self.lease.as_mut().expect("a lease that is not being dropped has its producer").producer
    }
}

impl Drop for RingLease<'_> {
    fn drop(&mut self) {
        self.lease = None;
        self.session.free_rings.lock().push(self.ring);
        self.session.ring_returned.notify_one();
    }
}

/// Whether and since when there is a collector.
#[derive(Default)]
pub struct Slot {
    session: Option<Arc<Session>>,
    look_again: Option<Instant>,
    refused: bool,
    sessions: u64,
}

/// The one slot of the process.
pub static SLOT: Mutex<Option<Slot>> = Mutex::new(None);

/// The session, looked for if there is none.
pub fn current() -> Option<Arc<Session>> {
    let mut guard = SLOT.lock();
    let slot = guard.get_or_insert_default();
    if slot.refused {
        return None;
    }
    if slot.session.as_ref().is_some_and(|s| s.segment.is_closed()) {
        slot.session = None;
    }
    crate::fork::watch();
    let due = slot.look_again.is_none_or(|at| Instant::now() >= at);
    if due {
        slot.look_again = Some(Instant::now() + RETRY);
        match &slot.session {
            Some(session) if session.is_gone() => slot.session = None,
            Some(session) => session.tell_change(),
            None => {
                let begin = Instant::now();
                match attach::attach(slot.sessions) {
                    Ok(session) => {
                        slot.sessions += u64::from(session.is_some());
                        slot.session = session.map(Arc::new);
                    }
                    Err(reason) => {
                        slot.refused = true;
                        say(&format!("this process is not traced: {reason}"));
                    }
                }
                if slot.session.is_none() {
                    slot.look_again = Some(Instant::now() + RETRY.max(begin.elapsed() * HANG_SHARE));
                }
            }
        }
    }
    slot.session.clone()
}

/// The session, if it wants something of caches. Nobody is looked for.
pub fn of_caches() -> Option<Arc<Session>> {
    if !WANTS_CACHES.load(Ordering::Relaxed) {
        return None;
    }
    SLOT.lock().as_ref()?.session.clone().filter(|session| session.wanted().of_caches())
}

/// Whether any session of the process has wanted something of caches: what hooks of frequent calls look at first.
static WANTS_CACHES: AtomicBool = AtomicBool::new(false);

/// Whether there is a session now.
pub fn attached() -> bool {
    SLOT.lock().as_ref().is_some_and(|slot| slot.session.is_some())
}

/// Never trace this process again.
pub fn refuse(reason: &str) {
    let mut guard = SLOT.lock();
    let slot = guard.get_or_insert_default();
    if !slot.refused {
        (slot.refused, slot.session) = (true, None);
        say(&format!("this process is traced no longer: {reason}"));
    }
}

impl Slot {
    /// In a forked child: the session is the parent's. Its memory stays mapped, its connection is closed.
    pub fn leave_to_parent(&mut self) {
        if let Some(session) = self.session.take() {
            // SAFETY: this closes the child's copy of the descriptor; the session is never dropped here.
            unsafe { libc::close(session.socket.as_raw_fd()) };
            std::mem::forget(session);
        }
        self.look_again = None;
    }
}

/// A capture, ready to be asked about tensors. Says what is not understood.
fn compiled(capture: Capture, number: u32) -> CompiledCapture {
    let (wanted, bad) = CompiledCapture::new(capture, number);
    bad.iter().for_each(|b| say(&format!("ignoring a pattern of tensor names: {b}")));
    WANTS_CACHES.fetch_or(wanted.of_caches(), Ordering::Relaxed);
    wanted
}

impl Session {
    /// What is captured now.
    pub fn wanted(&self) -> Arc<CompiledCapture> {
        self.current.lock().wanted.clone()
    }

    /// An evaluation begins: what is captured of it, and its number.
    pub fn begin(self: &Arc<Self>) -> (Arc<CompiledCapture>, Running) {
        let mut current = self.current.lock();
        let eval = current.next_eval;
        current.next_eval += 1;
        current.running.push(eval);
        (current.wanted.clone(), Running { session: self.clone(), eval: EvalId(eval) })
    }

    /// Number of the next evaluation.
    pub fn next_eval(&self) -> EvalId {
        EvalId(self.current.lock().next_eval)
    }

    /// Tells the collector how far it can read in order, now that an evaluation has been written.
    fn settle(&self, eval: EvalId) {
        if self.is_of_parent() {
            return;
        }
        let mut current = self.current.lock();
        current.running.retain(|&running| running != eval.0);
        let first = current.running.first().copied().unwrap_or(current.next_eval);
        // Under the lock, so that the number never goes back.
        self.segment.settle(EvalId(first));
    }

    /// Captures something else from the next evaluation on.
    fn change(&self, capture: Capture) {
        let mut current = self.current.lock();
        let number = current.wanted.number.wrapping_add(1);
        current.untold = Some(CaptureChange { from: EvalId(current.next_eval), capture: capture.clone() });
        current.wanted = Arc::new(compiled(capture, number));
        drop(current);
        self.caches.lock().clear();
    }

    /// Tells the collector since when something else is captured, as soon as there is room to tell it.
    fn tell_change(&self) {
        let Some(change) = self.current.lock().untold.take() else { return };
        if !self.push(&Record::Capture(change.clone())) {
            self.current.lock().untold.get_or_insert(change);
        }
    }

    /// The graph of this identity, described by `describe` if the session does not know it yet.
    pub fn graph<R>(
        &self,
        identity: Identity<'_>,
        describe: impl FnOnce(GraphId) -> (R, GraphInfo),
    ) -> (Arc<GraphInfo>, Option<R>) {
        let id = {
            let mut graphs = self.graphs.lock();
            if let Some(info) = graphs.ids.get(identity).and_then(|id| graphs.known.get(&id)) {
                return (info.clone(), None);
            }
            graphs.next += 1;
            GraphId(graphs.next - 1)
        };
        let (record, info) = describe(id);
        let info = Arc::new(info);
        let mut graphs = self.graphs.lock();
        if graphs.known.len() >= MAX_GRAPHS || graphs.ids.bytes() >= MAX_IDENTITY_BYTES {
            graphs.ids.clear();
            graphs.known.clear();
            graphs.defined.clear();
        }
        graphs.ids.insert(identity, id);
        graphs.known.insert(id, info.clone());
        (info, Some(record))
    }

    /// The graph that the session calls `id`, if it still knows it.
    pub fn known_graph(&self, id: GraphId) -> Option<Arc<GraphInfo>> {
        self.graphs.lock().known.get(&id).cloned()
    }

    /// Whether the graph was defined on the ring.
    pub fn is_defined(&self, id: GraphId, ring: u32) -> bool {
        self.graphs.lock().defined.get(&id).is_some_and(|rings| rings >> ring & 1 == 1)
    }

    /// The graph was defined on the ring.
    pub fn define(&self, id: GraphId, ring: u32) {
        *self.graphs.lock().defined.entry(id).or_default() |= 1 << ring;
    }

    /// A ring to write to. A thread that finds all rings taken waits for another thread of this process to finish its
    /// copy; no thread holds a ring while it waits for anything. `None` if that takes longer than [`RING_PATIENCE`],
    /// for example because the thread that copies is not scheduled: the record is counted as lost. `None` also in a child
    /// of the process that the session belongs to: the rings are its parent's.
    pub fn lease(&self) -> Option<RingLease<'_>> {
        if self.is_of_parent() {
            return None;
        }
        let mut free = self.free_rings.lock();
        let deadline = Instant::now() + RING_PATIENCE;
        while free.is_empty() {
            if self.ring_returned.wait_until(&mut free, deadline).timed_out() {
                break;
            }
        }
        let ring = free.pop();
        drop(free);
        let Some(ring) = ring else {
            self.segment.count_unleased();
            return None;
        };
        let mut lease = RingLease { session: self, ring, lease: None };
        lease.lease = self.segment.ring(ring).lease();
        if lease.lease.is_none() {
            // Only corrupted shared memory says that a ring is taken that no thread of this process holds.
            self.count_lost(ring);
            return None;
        }
        Some(lease)
    }

    /// Counts a record that did not come as far as the ring.
    pub fn count_lost(&self, ring: u32) {
        self.count_all_lost(ring, 1, 0);
    }

    /// Counts records, of so many bytes in all, that did not come as far as the ring.
    pub fn count_all_lost(&self, ring: u32, records: u64, bytes: u64) {
        if !self.is_of_parent() {
            self.segment.ring(ring).count_lost(records, bytes);
        }
    }

    /// Whether a fork lies between: the collector's session is with the parent of this process.
    fn is_of_parent(&self) -> bool {
        self.generation != crate::fork::generation()
    }

    /// Writes a record that needs no other before it. Returns whether there was room.
    pub fn push(&self, record: &Record) -> bool {
        self.lease().is_some_and(|mut lease| {
            let mut bytes = vec![];
            record.encode(&mut bytes);
            lease.producer().push(&bytes)
        })
    }

    /// Whether the collector has closed its end, as it does when it is killed, or says what cannot be. If it wants
    /// something else to be captured, that begins.
    fn is_gone(&self) -> bool {
        let mut head = [0; 4];
        match self.peek(&mut head) {
            Err(gone) => return gone,
            Ok(4) => {}
            Ok(_) => return false,
        }
        let len = u32::from_le_bytes(head);
        if len > protocol::MAX_CHANGE_BYTES {
            return true;
        }
        let mut message = vec![0; head.len() + len as usize];
        match self.peek(&mut message) {
            Err(gone) => return gone,
            // The rest will be there when it is looked for again.
            Ok(n) if n < message.len() => return false,
            Ok(_) => {}
        }
        let Some(capture) = attach::receive::<Capture>(&self.socket) else { return true };
        self.change(capture);
        false
    }

    /// Looks at what the collector has said, and leaves it there.
    ///
    /// # Errors
    /// When there is nothing: whether the collector is gone.
    fn peek(&self, out: &mut [u8]) -> Result<usize, bool> {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: `out` is valid for writing so many bytes; nothing waits.
        let n = unsafe { libc::recv(self.socket.as_raw_fd(), out.as_mut_ptr().cast(), out.len(), flags) };
        match usize::try_from(n) {
            Ok(0) => Err(true),
            Ok(n) => Ok(n),
            Err(_) => Err(std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock),
        }
    }
}
