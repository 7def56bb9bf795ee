//! One timestamp an operator, from the CPU backend's abort callback.
//!
//! The backend asks its abort callback after every node that it computed, on the thread that runs the graph. A
//! callback of ours notes the time and then asks the program's own one, so the program keeps what it had.

use crate::clock::{self, Ticks};
use crate::host::AbortCallback;
use ggscope_format::pair::Pair;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The clock of one backend. It lives as long as the backend, at one address, and on cache lines of its own.
#[derive(Default)]
#[repr(align(64))]
pub struct OpClock {
    /// Calls since [`OpClock::arm`]; more than `ticks` has room for are counted but not kept.
    calls: AtomicUsize,
    ticks: AtomicPtr<AtomicU64>,
    capacity: AtomicUsize,
    /// The program's callback and its data. The callback is asked on compute threads while another thread may set a new one.
    program: Pair,
}

impl OpClock {
    /// A clock that passes on to the program's callback.
    pub fn new(callback: AbortCallback, data: *mut c_void) -> Box<OpClock> {
        let clock = Box::<OpClock>::default();
        clock.set_program_callback(callback, data);
        clock
    }

    /// The program sets (or, with `None`, removes) its own callback. Only one thread at a time may do so.
    pub fn set_program_callback(&self, callback: AbortCallback, data: *mut c_void) {
        self.program.set(callback.map_or(std::ptr::null_mut(), |f| f as *mut c_void), data);
    }

    /// Makes room for `n` calls and forgets the ones before. The only place that allocates.
    ///
    /// Call it on the thread that is about to run the backend: nobody else may be inside the backend.
    pub fn arm(&self, n: usize) {
        if self.capacity.load(Ordering::Relaxed) < n {
            let room: Box<[AtomicU64]> = (0..n.next_power_of_two().max(1024)).map(|_| AtomicU64::new(0)).collect();
            let capacity = room.len();
            self.free(Box::into_raw(room).cast(), capacity);
        }
        self.calls.store(0, Ordering::Relaxed);
    }

    /// The times noted since [`OpClock::arm`], or `None` if there were more calls than room.
    ///
    /// Call it on the thread that ran the backend, after the backend returned.
    pub fn times(&self) -> Option<impl ExactSizeIterator<Item = Ticks>> {
        let n = self.calls.load(Ordering::Relaxed);
        let ticks = self.ticks.load(Ordering::Relaxed);
        if n > self.capacity.load(Ordering::Relaxed) {
            return None;
        }
        let noted: &[AtomicU64] = match n {
            0 => &[],
            // SAFETY: `ticks` has room for `capacity >= n`, and is replaced by `arm` only, which this thread calls.
            _ => unsafe { std::slice::from_raw_parts(ticks, n) },
        };
        Some(noted.iter().map(|t| Ticks(t.load(Ordering::Relaxed))))
    }

    fn free(&self, ticks: *mut AtomicU64, capacity: usize) {
        let old = self.ticks.swap(ticks, Ordering::Relaxed);
        let old_capacity = self.capacity.swap(capacity, Ordering::Relaxed);
        if !old.is_null() {
            // SAFETY: `ticks` and `capacity` always are those of one boxed slice made in `arm`.
            drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(old, old_capacity)) });
        }
    }
}

impl Drop for OpClock {
    fn drop(&mut self) {
        self.free(std::ptr::null_mut(), 0);
    }
}

/// What is installed as the backend's abort callback: notes the time, then asks the program.
///
/// # Safety
/// `data` is an [`OpClock`] that outlives the backend.
pub unsafe extern "C" fn op_clock(data: *mut c_void) -> bool {
    // SAFETY: promised by the caller.
    let clock = unsafe { &*data.cast::<OpClock>() };
    let n = clock.calls.load(Ordering::Relaxed);
    if n < clock.capacity.load(Ordering::Relaxed) {
        // SAFETY: `n` is inside the slice that `arm` made.
        unsafe { &*clock.ticks.load(Ordering::Relaxed).add(n) }.store(clock::now().0, Ordering::Relaxed);
    }
    clock.calls.store(n + 1, Ordering::Relaxed);
    let (callback, data) = clock.program.get();
    // SAFETY: only `set_program_callback` stores here, null or a function pointer of this type.
    let callback = unsafe { std::mem::transmute::<*mut c_void, AbortCallback>(callback) };
    match callback {
        // SAFETY: the program's callback with the program's data, as the backend would have called it.
        Some(callback) => unsafe { callback(data) },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(clock: &OpClock) -> bool {
        // SAFETY: the clock is alive.
        unsafe { op_clock((&raw const *clock).cast_mut().cast()) }
    }

    #[test]
    fn every_call_is_one_time_and_times_ascend() {
        let clock = OpClock::new(None, std::ptr::null_mut());
        clock.arm(3);
        assert_eq!([call(&clock), call(&clock), call(&clock)], [false; 3]);
        let times: Vec<_> = clock.times().unwrap().collect();
        assert_eq!(times.len(), 3);
        assert!(times.is_sorted());
        clock.arm(3);
        assert_eq!(clock.times().unwrap().len(), 0);
    }

    #[test]
    fn more_calls_than_room_are_never_guessed_at() {
        let clock = OpClock::new(None, std::ptr::null_mut());
        clock.arm(1);
        for _ in 0..1025 {
            call(&clock);
        }
        assert!(clock.times().is_none());
    }

    #[test]
    fn the_programs_own_callback_is_asked_and_its_answer_counts() {
        /// # Safety
        /// `data` is a live `u32`.
        unsafe extern "C" fn third(data: *mut c_void) -> bool {
            // SAFETY: the test passes a live `u32`.
            let n = unsafe { &mut *data.cast::<u32>() };
            *n += 1;
            *n == 3
        }
        let mut n = 0_u32;
        let clock = OpClock::new(Some(third), (&raw mut n).cast());
        clock.arm(8);
        assert_eq!([call(&clock), call(&clock), call(&clock)], [false, false, true]);
        assert_eq!(clock.times().unwrap().len(), 3);
        clock.set_program_callback(None, std::ptr::null_mut());
        assert!(!call(&clock));
        assert_eq!(n, 3);
    }
}
