//! Runs of asynchronous backends whose ends nobody has seen yet.
//!
//! Such a backend returns when it has taken the work. That it has done it is seen when the program waits for it anyway.

use crate::clock::{self, Ticks};
use crate::host::Backend;
use crate::session::Session;
use ggscope_format::EvalId;
use ggscope_format::record::{Record, RunEnd};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A run of an asynchronous backend whose end nobody has seen yet.
pub struct AsyncRun {
    /// The backend.
    pub backend: usize,
    /// Where its end is to be told.
    pub session: Arc<Session>,
    /// The evaluation.
    pub eval: EvalId,
    /// Number of the run within it.
    pub run: u32,
}

/// All of them. Fork handlers take the lock, so that a child finds the list in order.
pub static ASYNC_RUNS: Mutex<Vec<AsyncRun>> = Mutex::new(Vec::new());
static N_PENDING: AtomicUsize = AtomicUsize::new(0);
/// A program that never synchronises must not fill the memory.
const MAX_PENDING: usize = 1024;

/// A run has begun.
pub fn add(pending: AsyncRun) {
    let mut list = ASYNC_RUNS.lock();
    if list.len() < MAX_PENDING {
        list.push(pending);
    }
    N_PENDING.store(list.len(), Ordering::Relaxed);
}

/// The program has waited for a backend: its runs have ended.
pub fn synchronized(backend: Backend) {
    if N_PENDING.load(Ordering::Relaxed) != 0 {
        ended_at(backend, clock::now());
    }
}

/// The program is about to free a backend: when its runs have ended, cannot be seen any more.
pub fn forget(backend: Backend) {
    if N_PENDING.load(Ordering::Relaxed) != 0 {
        drop(take(backend));
    }
}

/// In a forked child: the runs are the parent's, and so are the sessions, which are never dropped here. `list` is what
/// [`ASYNC_RUNS`] protects.
pub fn leave_to_parent(list: &mut Vec<AsyncRun>) {
    list.drain(..).for_each(std::mem::forget);
    N_PENDING.store(0, Ordering::Relaxed);
}

fn take(backend: Backend) -> Vec<AsyncRun> {
    let mut list = ASYNC_RUNS.lock();
    let taken = list.extract_if(.., |p| p.backend == backend as usize).collect();
    N_PENDING.store(list.len(), Ordering::Relaxed);
    taken
}

/// The runs of a backend had ended at that time.
pub fn ended_at(backend: Backend, now: Ticks) {
    if N_PENDING.load(Ordering::Relaxed) == 0 {
        return;
    }
    for AsyncRun { session, eval, run, .. } in take(backend) {
        let end = session.conversion.rate().at(now);
        session.push(&Record::RunEnd(RunEnd { eval, run, end }));
    }
}
