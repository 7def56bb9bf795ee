//! A process can cut the memory that it shares with us. Whoever touches what is gone gets SIGBUS, which would end the
//! collector and with it every other session. Here such a page becomes one of zeros, and the reader finds nonsense.

use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More mappings than this at one moment are not guarded.
const SLOTS: usize = 256;

struct Slot {
    /// 0: free.
    begin: AtomicUsize,
    /// 0: not yet, or no longer.
    end: AtomicUsize,
}

static GUARDED: [Slot; SLOTS] = [const { Slot { begin: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; SLOTS];
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// A mapping whose pages may vanish, as long as this lives.
pub(super) struct Guard(Option<&'static Slot>);

impl Guard {
    /// Guards `len` mapped bytes.
    pub(super) fn new(base: *mut u8, len: usize) -> Guard {
        static ONCE: Once = Once::new();
        ONCE.call_once(install);
        let free =
            |slot: &&Slot| slot.begin.compare_exchange(0, base as usize, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = GUARDED.iter().find(free);
        if let Some(slot) = slot {
            slot.end.store(base as usize + len, Ordering::Release);
        }
        Guard(slot)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.end.store(0, Ordering::Release);
            slot.begin.store(0, Ordering::Release);
        }
    }
}

fn install() {
    // SAFETY: plain data; the handler makes async-signal-safe calls only.
    unsafe {
        PAGE.store(usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(4096), Ordering::Relaxed);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = lost as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const action, null_mut());
    }
}

/// Puts an empty page where one is missing. A fault anywhere else ends the process as it would have without us.
extern "C" fn lost(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t`, whose address field SIGBUS has.
    let at = unsafe { (*info).si_addr() } as usize;
    let page = PAGE.load(Ordering::Relaxed);
    let inside = |slot: &Slot| {
        let end = slot.end.load(Ordering::Acquire);
        (slot.begin.load(Ordering::Acquire)..end).contains(&at)
    };
    let put = GUARDED.iter().any(inside) && {
        let (read_write, fixed) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
        // SAFETY: replaces one page of a mapping that is ours and whose bytes are anybody's to change.
        unsafe { libc::mmap((at - at % page) as *mut _, page, read_write, fixed, -1, 0) != libc::MAP_FAILED }
    };
    if !put {
        // SAFETY: the instruction is tried again, and now ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn pages_that_were_cut_off_read_as_zeros() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 12).unwrap();
        let (access, len) = (libc::PROT_READ | libc::PROT_WRITE, 8 << 12);
        // SAFETY: a new mapping of an open file.
        let base = unsafe { libc::mmap(null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) }.cast::<u8>();
        let guard = Guard::new(base, len);
        // SAFETY: inside the mapping, also where the file has ended.
        unsafe { base.add(5 << 12).write_volatile(7) };
        file.set_len(0).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { base.add(5 << 12).read_volatile() }, 0);
        drop(guard);
        // SAFETY: the mapping from above.
        unsafe { libc::munmap(base.cast(), len) };
    }
}
