//! From the rings of one session into its trace file: `poll → decode → write`, two threads joined by bounded channels.
//!
//! The host spins on every core while it computes, so polling sleeps as long as the rings allow and runs at low
//! priority. Whatever goes wrong here (nonsense on a ring, a full disk), the rings are emptied until the host ends.

mod bytes_per_token;
mod decode;
mod merge;
mod poll;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use decode::Decoder;
use ggscope_format::segment::Segment;
use ggscope_format::session::Hello;
use ggscope_trace::{Ending, Losses, Totals, TraceWriter};
use poll::{Batch, Poller};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Batches on their way to the second stage. With what a ring holds, all that waits in memory.
const BATCHES: usize = 4;
/// A ring holds what the host computes in seconds; waking up disturbs its threads.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// How long the rings are read after the end, should somebody still write.
const LAST_DRAIN: Duration = Duration::from_secs(5);
/// Niceness of all threads that work while the host computes.
const NICE: i32 = 10;

/// How far a session is, for whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Tokens that went in.
    pub tokens: AtomicU64,
    /// Evaluations.
    pub evaluations: AtomicU64,
    /// Bytes of the file.
    pub file_bytes: AtomicU64,
    /// Bytes that were captured of a token that came alone, the median of several; 0 as long as too few came, and if
    /// there was none to the end.
    pub captured_of_token: AtomicU64,
}

/// What the user should know while a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Something that was received is not as it should be.
    Warning(String),
    /// Nothing more is written.
    Cut(String),
}

/// What became of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What is in the file.
    pub totals: Totals,
    /// Records that were lost, by cause.
    pub lost: Losses,
    /// Why the file ends before the session did, if it does.
    pub cut: Option<String>,
    /// How the session ended.
    pub ending: Option<Ending>,
}

/// Where a session's records go, and who hears of them.
pub struct Sink<'a> {
    /// The trace file.
    pub writer: TraceWriter,
    /// Whose records they are.
    pub hello: &'a Hello,
    /// Whether token ids and texts may be written.
    pub tokens: bool,
    /// Counts what was written.
    pub progress: &'a Progress,
    /// Hears of trouble at once.
    pub report: &'a (dyn Fn(Trouble) + Sync),
}

/// Reads the rings of `segment` until the session is over, and finishes the file.
///
/// `wait` sleeps for at most the given time and returns how the session ended, if it is over.
pub fn run(segment: &Segment, sink: Sink<'_>, wait: impl FnMut(Duration) -> Option<Ending>) -> Outcome {
    let (batches, received) = bounded::<Batch>(BATCHES);
    let (give_back, free) = unbounded();
    let ending = OnceLock::new();
    let how = &ending;
    std::thread::scope(|scope| {
        let decoding = scope.spawn(move || {
            lower_priority();
            let mut decoder = Decoder::new(sink);
            decoder.run(&received, &give_back);
            decoder.finish(how.get().copied())
        });
        lower_priority();
        let _ = ending.set(poll_until_over(segment, &batches, &free, wait));
        drop(batches);
        decoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn poll_until_over(
    segment: &Segment,
    batches: &Sender<Batch>,
    free: &Receiver<Batch>,
    mut wait: impl FnMut(Duration) -> Option<Ending>,
) -> Ending {
    let mut poller = Poller::new(segment);
    let mut pause = SHORTEST_PAUSE;
    let mut over: Option<(Ending, Instant)> = None;
    loop {
        let mut batch = free.try_recv().unwrap_or_default();
        let fill = poller.poll(&mut batch);
        let quiet = batch.is_empty();
        if !quiet {
            // The second stage takes batches until this one ends, so nothing is lost but time if it is busy.
            let _ = batches.send(batch);
        }
        match over {
            // Everything was written before the end was seen, so an empty pass after it is the last.
            Some((ending, since)) if quiet || since.elapsed() > LAST_DRAIN => return ending,
            Some(_) => {}
            None => {
                pause = next_pause(pause, fill);
                if let Some(ending) = wait(pause) {
                    segment.close();
                    over = Some((ending, Instant::now()));
                }
            }
        }
    }
}

/// `fill`: what part of the fullest ring was taken by the last pass. The next one is to find an eighth: the host waits
/// for each, and still has room for eight times as much.
fn next_pause(pause: Duration, fill: f64) -> Duration {
    const WANTED: f64 = 0.125;
    if fill > 0.5 {
        return Duration::ZERO;
    }
    pause.max(SHORTEST_PAUSE).mul_f64((WANTED / fill).min(2.0)).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Makes the calling thread give way to the traced program. Best effort: whoever may not, runs at normal priority.
pub fn lower_priority() {
    // SAFETY: plain numbers. On Linux, process 0 is the calling thread alone.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

impl Progress {
    fn set(&self, totals: &Totals) {
        self.tokens.store(totals.tokens(), Ordering::Relaxed);
        self.evaluations.store(totals.evaluations, Ordering::Relaxed);
        self.file_bytes.store(totals.file_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_slows_down_when_it_is_quiet_and_hurries_when_it_is_not() {
        let mut pause = next_pause(SHORTEST_PAUSE, 0.2);
        assert_eq!(pause, SHORTEST_PAUSE);
        for _ in 0..10 {
            pause = next_pause(pause, 0.0);
        }
        assert_eq!(pause, LONGEST_PAUSE);
        assert_eq!(next_pause(pause, 0.25), LONGEST_PAUSE / 2);
        assert_eq!(next_pause(LONGEST_PAUSE / 2, 0.125), LONGEST_PAUSE / 2);
        assert_eq!(next_pause(pause, 0.9), Duration::ZERO);
        assert_eq!(next_pause(Duration::ZERO, 0.1), SHORTEST_PAUSE.mul_f64(1.25));
    }
}
