//! What this machine can do at most, measured on the spot with all its processors: bytes a second that it reads from
//! memory, and floating-point operations a second. These are the two lines of a roofline.
//!
//! Memory: every thread reads its own part of a buffer that is larger than any cache, over and over; the best pass counts.
//! Arithmetic: every thread multiplies and adds 32-bit floats in registers with the widest instructions that the processor
//! has, in as many independent chains as it takes to keep them busy; the best pass counts.

mod arithmetic;

use ggscope_model::inspect::Machine;
use serde::Serialize;
use std::sync::Barrier;
use std::time::Instant;

/// Bytes of the buffer of one thread, and of all together at most: more than caches hold.
const BYTES_PER_THREAD: usize = 128 << 20;
const MOST_BYTES: usize = 1 << 30;
/// Passes of which the best counts.
const PASSES: usize = 8;

/// What was measured, and how.
#[derive(Clone, Debug, Serialize)]
pub struct ThisMachine {
    /// What the machine reached.
    pub machine: Machine,
    /// Threads that worked at once.
    pub threads: usize,
    /// Instructions that were used for arithmetic.
    pub instructions: &'static str,
}

/// Measures for about a second.
pub fn measure() -> ThisMachine {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (instructions, flops_per_second) = arithmetic::measure(threads);
    let machine = Machine { bytes_per_second: memory(threads), flops_per_second };
    ThisMachine { machine, threads, instructions }
}

/// Bytes a second that all threads together read.
fn memory(threads: usize) -> f64 {
    let words = (MOST_BYTES / threads).min(BYTES_PER_THREAD) / 8;
    best_rate(
        threads,
        || vec![1_u64; words],
        |buffer| {
            std::hint::black_box(sum(buffer));
            (buffer.len() * 8) as f64
        },
    )
}

/// Eight sums that do not wait for each other, so that nothing but memory limits them.
fn sum(buffer: &[u64]) -> u64 {
    let mut sums = [0_u64; 8];
    for words in buffer.chunks_exact(8) {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// The best of several passes in which all threads work at once: what they did together, from the first that began to the
/// last that was done.
fn best_rate<T>(threads: usize, prepare: impl Fn() -> T + Sync, pass: impl Fn(&mut T) -> f64 + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let work = || {
        let mut state = prepare();
        let one = |_| {
            barrier.wait();
            let start = Instant::now();
            let done = pass(&mut state);
            (done, start, Instant::now())
        };
        (0..PASSES).map(one).collect::<Vec<_>>()
    };
    let passes: Vec<Vec<_>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().expect("a measuring thread does not panic")).collect()
    });
    let rate = |i: usize| {
        let done: f64 = passes.iter().map(|p| p[i].0).sum();
        let first = passes.iter().map(|p| p[i].1).min().expect("there is a thread");
        let last = passes.iter().map(|p| p[i].2).max().expect("there is a thread");
        done / last.duration_since(first).as_secs_f64().max(1e-9)
    };
    (0..PASSES).map(rate).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_does_something_and_not_the_impossible() {
        let host = measure();
        let (bytes, flops) = (host.machine.bytes_per_second, host.machine.flops_per_second);
        assert!((1e8..1e14).contains(&bytes), "{bytes}");
        assert!((1e8..1e15).contains(&flops), "{flops}");
        assert!(!host.instructions.is_empty() && host.threads > 0);
    }
}
