//! A child of `fork` is another process: it must not write into its parent's rings.

use crate::async_runs::{self, ASYNC_RUNS};
use crate::llama::ext::BATCHES;
#[cfg(not(feature = "static-wrap"))]
use crate::llama::symbols::KNOWN;
use crate::registry::REGISTRY;
use crate::session::SLOT;
use parking_lot::lock_api::RawMutex as _;
use parking_lot::{Mutex, RawMutex};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between this process and the one that loaded the shim.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Installs the handlers, once.
pub fn watch() {
    static ONCE: Once = Once::new();
    // SAFETY: the handlers only take and release locks that no code of ours holds while it forks.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(prepare), Some(parent), Some(child));
    });
}

/// Holds all locks over the fork, so that the child finds what they protect in order.
///
/// # Safety
/// Only `fork` calls it, and [`parent`] or [`child`] afterwards on the same thread.
unsafe extern "C" fn prepare() {
    std::mem::forget(REGISTRY.lock());
    std::mem::forget(SLOT.lock());
    std::mem::forget(ASYNC_RUNS.lock());
    std::mem::forget(BATCHES.lock());
    #[cfg(not(feature = "static-wrap"))]
    std::mem::forget(KNOWN.lock());
}

/// Opens all locks again.
///
/// # Safety
/// Only `fork` calls it, on the thread on which it called [`prepare`].
unsafe extern "C" fn parent() {
    // SAFETY: `prepare` locked all of them on this thread.
    unsafe {
        #[cfg(not(feature = "static-wrap"))]
        KNOWN.force_unlock();
        BATCHES.force_unlock();
        ASYNC_RUNS.force_unlock();
        SLOT.force_unlock();
        REGISTRY.force_unlock();
    }
}

/// Leaves the session to the parent and opens all locks.
///
/// # Safety
/// Only `fork` calls it, on the only thread of the child, after [`prepare`] in the parent.
unsafe extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `prepare` locked all of them on the thread that this one is a copy of; the child has no other.
    unsafe {
        if let Some(slot) = (*SLOT.data_ptr()).as_mut() {
            slot.leave_to_parent();
        }
        async_runs::leave_to_parent(&mut *ASYNC_RUNS.data_ptr());
        #[cfg(not(feature = "static-wrap"))]
        open(&KNOWN);
        open(&BATCHES);
        open(&ASYNC_RUNS);
        open(&SLOT);
        open(&REGISTRY);
    }
}

/// Opens a lock in the child. To unlock it would look for threads that wait for it, and those are the parent's.
///
/// # Safety
/// The lock is held, by the only thread that there is.
unsafe fn open<T>(lock: &Mutex<T>) {
    // SAFETY: promised by the caller; the lock is one atomic, so it may be written to through a shared reference.
    unsafe { std::ptr::from_ref(lock.raw()).cast_mut().write(RawMutex::INIT) }
}
