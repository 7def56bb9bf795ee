//! The operator clock: ticks that cost a few nanoseconds to read, and their conversion to `CLOCK_MONOTONIC`.
//!
//! On x86-64 with an invariant time-stamp counter a tick is one count of it, and the rate is measured against
//! `CLOCK_MONOTONIC` over the whole life of the session; elsewhere a tick is a nanosecond of `clock_gettime`.

use ggscope_format::Nanos;
use std::sync::OnceLock;

/// A point in time, comparable only with others of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

/// `CLOCK_MONOTONIC` now.
pub fn monotonic() -> Nanos {
    clock_gettime(libc::CLOCK_MONOTONIC)
}

/// Wall-clock time now, nanoseconds since 1970.
pub fn realtime() -> Nanos {
    clock_gettime(libc::CLOCK_REALTIME)
}

fn clock_gettime(id: libc::clockid_t) -> Nanos {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for writing; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(id, &mut t) };
    Nanos(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// Now.
#[inline]
pub fn now() -> Ticks {
    #[cfg(target_arch = "x86_64")]
    if uses_tsc() {
        // SAFETY: every x86-64 has the instruction.
        return Ticks(unsafe { core::arch::x86_64::_rdtsc() });
    }
    Ticks(monotonic().0)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn uses_tsc() -> bool {
    static HAS_TSC: OnceLock<bool> = OnceLock::new();
    *HAS_TSC.get_or_init(has_invariant_tsc)
}

#[cfg(target_arch = "x86_64")]
fn has_invariant_tsc() -> bool {
    use core::arch::x86_64::__cpuid;
    // Leaf 0x8000_0007, EDX bit 8: the counter runs at one rate in all power states.
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

/// What a tick is: `tsc` or `clock_gettime`.
pub fn name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if uses_tsc() {
        return "tsc";
    }
    "clock_gettime"
}

/// Converts ticks. The longer ago it was made, the better it knows the rate.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    ticks: Ticks,
    nanos: Nanos,
}

impl Conversion {
    /// The first of the two points that determine the rate.
    pub fn begin() -> Conversion {
        let (ticks, nanos) = pair();
        Conversion { ticks, nanos }
    }

    /// The rate from the beginning until now, anchored now.
    pub fn rate(&self) -> Rate {
        let (ticks, nanos) = pair();
        let elapsed = ticks.0.saturating_sub(self.ticks.0);
        let per_tick = if elapsed == 0 { 1.0 } else { (nanos.0 - self.nanos.0) as f64 / elapsed as f64 };
        Rate { ticks, nanos, scaled: (per_tick * SCALE as f64).round() as u64 }
    }
}

/// Both clocks at (nearly) the same moment: the pair of three that was taken fastest.
fn pair() -> (Ticks, Nanos) {
    let mut best = (u64::MAX, Ticks(0), Nanos(0));
    for _ in 0..3 {
        let before = now();
        let nanos = monotonic();
        let after = now();
        let took = after.0.saturating_sub(before.0);
        if took <= best.0 {
            best = (took, Ticks(before.0 + took / 2), nanos);
        }
    }
    (best.1, best.2)
}

/// How ticks become nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    ticks: Ticks,
    nanos: Nanos,
    /// Nanoseconds of [`SCALE`] ticks. Integers: a conversion is one multiplication and one shift.
    scaled: u64,
}

const SCALE: u64 = 1 << 32;

impl Rate {
    /// The point in time.
    pub fn at(&self, ticks: Ticks) -> Nanos {
        if ticks >= self.ticks {
            Nanos(self.nanos.0.saturating_add(self.between(self.ticks, ticks)))
        } else {
            Nanos(self.nanos.0.saturating_sub(self.between(ticks, self.ticks)))
        }
    }

    /// Nanoseconds from one point to a later one.
    #[inline]
    pub fn between(&self, from: Ticks, to: Ticks) -> u64 {
        let product = u128::from(to.0.saturating_sub(from.0)) * u128::from(self.scaled);
        ((product + u128::from(SCALE / 2)) / u128::from(SCALE)) as u64
    }

    /// Appends the nanoseconds from `begin` to the first of `ticks`, from there to the second, and so on.
    pub fn durations(&self, begin: Ticks, ticks: &[Ticks], out: &mut Vec<u64>) {
        let mut last = begin;
        out.extend(ticks.iter().map(|&tick| self.between(std::mem::replace(&mut last, tick), tick)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_the_monotonic_time_they_were_taken_at() {
        let conversion = Conversion::begin();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (before, ticks, after) = (monotonic(), now(), monotonic());
        let at = conversion.rate().at(ticks);
        let slack = 20_000;
        assert!(at.0 + slack >= before.0 && at.0 <= after.0 + slack, "{before} <= {at} <= {after}");
    }

    #[test]
    fn durations_are_those_of_the_monotonic_clock() {
        let conversion = Conversion::begin();
        let (t0, m0) = (now(), monotonic());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (t1, m1) = (now(), monotonic());
        let (ours, theirs) = (conversion.rate().between(t0, t1), m1.0 - m0.0);
        assert!(ours.abs_diff(theirs) < theirs / 100, "{ours} ns against {theirs} ns");
    }
}
