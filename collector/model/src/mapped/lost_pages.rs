//! Another program can cut the memory or the file that is mapped here. A thread that touches what is gone gets SIGBUS, which
//! would end this process and with it every session. Here such a page becomes one of zeros, and its mapping is marked.

use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Slots of a block.
const SLOTS: usize = 256;

/// One guarded mapping, or room for one.
#[derive(Debug)]
struct Slot {
    /// 0: free.
    begin: AtomicUsize,
    /// 0: not yet, or no longer.
    end: AtomicUsize,
    lost: AtomicBool,
}

impl Slot {
    const fn new() -> Slot {
        Slot { begin: AtomicUsize::new(0), end: AtomicUsize::new(0), lost: AtomicBool::new(false) }
    }
}

/// Slots that are never freed, so that the handler of the signal can walk them at any time without a lock.
struct Block {
    slots: [Slot; SLOTS],
    next: AtomicPtr<Block>,
}

static FIRST: Block = Block::new();
static PAGE: AtomicUsize = AtomicUsize::new(4096);

impl Block {
    const fn new() -> Block {
        Block { slots: [const { Slot::new() }; SLOTS], next: AtomicPtr::new(null_mut()) }
    }

    /// This block and those behind it.
    fn all(&'static self) -> impl Iterator<Item = &'static Block> {
        // SAFETY: `next` is null or a leaked block.
        std::iter::successors(Some(self), |block| unsafe { block.next.load(Ordering::Acquire).as_ref() })
    }
}

/// A mapping whose pages may vanish, as long as this lives.
#[derive(Debug)]
pub struct Guard(&'static Slot);

impl Guard {
    /// Guards `len` bytes that are mapped at `base`.
    pub fn new(base: *const u8, len: usize) -> Guard {
        static ONCE: Once = Once::new();
        ONCE.call_once(install);
        let base = base as usize;
        let take = |slot: &&Slot| slot.begin.compare_exchange(0, base, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = loop {
            if let Some(slot) = FIRST.all().flat_map(|block| &block.slots).find(take) {
                break slot;
            }
            let last = FIRST.all().last().unwrap_or(&FIRST);
            let more = Box::into_raw(Box::new(Block::new()));
            if last.next.compare_exchange(null_mut(), more, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: another thread was faster, and this block was shown to no one.
                drop(unsafe { Box::from_raw(more) });
            }
        };
        slot.lost.store(false, Ordering::Relaxed);
        slot.end.store(base + len, Ordering::Release);
        Guard(slot)
    }

    /// Whether a page of it vanished and was replaced by zeros.
    pub fn lost(&self) -> bool {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::Release);
        self.0.begin.store(0, Ordering::Release);
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

/// Puts an empty page where one is missing. A fault anywhere else ends the process as it would have without this handler.
extern "C" fn lost(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t`, whose address field SIGBUS has.
    let at = unsafe { (*info).si_addr() } as usize;
    let page = PAGE.load(Ordering::Relaxed);
    let begin = at - at % page;
    let inside = |slot: &&Slot| {
        let end = slot.end.load(Ordering::Acquire);
        // The last page is mapped to its end.
        (slot.begin.load(Ordering::Acquire)..end.next_multiple_of(page)).contains(&begin)
    };
    let slot = FIRST.all().flat_map(|block| &block.slots).find(inside);
    let put = slot.is_some_and(|slot| {
        slot.lost.store(true, Ordering::Relaxed);
        let (read_write, fixed) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
        // SAFETY: replaces one page of a mapping that is ours and whose bytes other programs may change.
        unsafe { libc::mmap(begin as *mut _, page, read_write, fixed, -1, 0) != libc::MAP_FAILED }
    });
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
    fn pages_that_were_cut_off_read_as_zeros_however_many_mappings_there_are() {
        let file = tempfile::tempfile().unwrap();
        let (access, len) = (libc::PROT_READ | libc::PROT_WRITE, 8 << 12);
        let mapped: Vec<(*mut u8, Guard)> = (0..2 * SLOTS + 1)
            .map(|_| {
                file.set_len(len as u64).unwrap();
                // SAFETY: a new mapping of an open file.
                let base = unsafe { libc::mmap(null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
                (base.cast::<u8>(), Guard::new(base.cast(), len))
            })
            .collect();
        file.set_len(0).unwrap();
        for (base, guard) in mapped {
            assert!(!guard.lost());
            // SAFETY: inside the mapping, where the file has ended.
            assert_eq!(unsafe { base.add(5 << 12).read_volatile() }, 0);
            assert!(guard.lost());
            drop(guard);
            // SAFETY: the mapping from above.
            unsafe { libc::munmap(base.cast(), len) };
        }
    }
}
