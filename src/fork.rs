//! A child of `fork` is another process: it must not write into its parent's rings.

use crate::llama::ext;
use crate::registry::REGISTRY;
use crate::session::SLOT;
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

/// Holds both locks over the fork, so that the child finds what they protect in order.
unsafe extern "C" fn prepare() {
    std::mem::forget(REGISTRY.lock());
    std::mem::forget(SLOT.lock());
    ext::before_fork();
}

unsafe extern "C" fn parent() {
    // SAFETY: `prepare` locked both on this thread.
    unsafe {
        ext::after_fork();
        SLOT.force_unlock();
        REGISTRY.force_unlock();
    }
}

unsafe extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `prepare` locked it on the thread that this one is a copy of; the child has no other.
    if let Some(slot) = unsafe { (*SLOT.data_ptr()).as_mut() } {
        slot.leave_to_parent();
    }
    // SAFETY: as in `parent`.
    unsafe { parent() };
}
