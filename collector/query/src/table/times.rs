//! Times of operators, a block of evaluations at a time and column by column: whoever counts, adds or compares times of
//! one node over many evaluations goes through memory in one direction.

use super::plan::NONE;
use super::{BLOCK, Table};
use ggscope_format::record::Evaluation;
use ggscope_trace::Trace;
use ggscope_trace::analysis::timing::Span;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Times, in half the memory as long as none is longer than 4.29 seconds.
enum Times {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

/// The times of the evaluations of a block that have one layout.
struct Matrix {
    layout: u32,
    /// Ordinals of the evaluations, ascending.
    seqs: Vec<u32>,
    /// Columns, one after the other; `None` if the times of these evaluations are damaged.
    times: Option<Times>,
}

/// The times of a block of evaluations.
pub(super) struct TimeBlock {
    evaluations: usize,
    matrices: Vec<Matrix>,
}

/// The times of some nodes in some evaluations of one layout.
pub(crate) struct Piece<'a> {
    /// The layout.
    pub layout: u32,
    /// Ordinals of the evaluations, ascending.
    pub seqs: &'a [u32],
    /// Places in the layout, and for each the time in every one of the evaluations, in nanoseconds.
    pub columns: Vec<(u32, Slice<'a>)>,
}

/// Times that are compared at once.
const COMPARED: usize = 32;

/// A column as it lies in memory.
#[derive(Clone, Copy)]
pub(crate) enum Slice<'a> {
    /// All below 2³².
    Narrow(&'a [u32]),
    /// Any.
    Wide(&'a [u64]),
}

impl Slice<'_> {
    /// The sum.
    pub fn sum(self) -> u64 {
        match self {
            Slice::Narrow(times) => times.iter().map(|&t| u64::from(t)).sum(),
            Slice::Wide(times) => times.iter().fold(0, |sum, &t| sum.saturating_add(t)),
        }
    }

    /// Adds each to one of `sums`.
    pub fn add_to(self, sums: &mut [u64]) {
        match self {
            Slice::Narrow(times) => times.iter().zip(sums).for_each(|(&t, sum)| *sum = sum.saturating_add(t.into())),
            Slice::Wide(times) => times.iter().zip(sums).for_each(|(&t, sum)| *sum = sum.saturating_add(t)),
        }
    }

    /// How many are within `first..=last`.
    pub fn count(self, first: u64, last: u64) -> u64 {
        match self {
            Slice::Narrow(times) => {
                let Ok(first) = u32::try_from(first) else { return 0 };
                let last = u32::try_from(last).unwrap_or(u32::MAX);
                // In pieces whose counts fit 32 bits, so that several are compared at once.
                let of = |piece: &[u32]| piece.iter().map(|&t| u32::from(first <= t && t <= last)).sum::<u32>();
                times.chunks(1 << 20).map(|piece| u64::from(of(piece))).sum()
            }
            Slice::Wide(times) => times.iter().filter(|&&t| first <= t && t <= last).count() as u64,
        }
    }

    /// Adds 1 to the sum of each that is within `first..=last`.
    pub fn mark(self, first: u64, last: u64, sums: &mut [u32]) {
        match self {
            Slice::Narrow(times) => {
                let Ok(first) = u32::try_from(first) else { return };
                let last = u32::try_from(last).unwrap_or(u32::MAX);
                times.iter().zip(sums).for_each(|(&t, sum)| *sum += u32::from(first <= t && t <= last));
            }
            Slice::Wide(times) => {
                times.iter().zip(sums).for_each(|(&t, sum)| *sum += u32::from(first <= t && t <= last));
            }
        }
    }

    /// Calls `f` with the number of each, and the time itself.
    #[inline]
    pub fn each(self, mut f: impl FnMut(usize, u64)) {
        match self {
            Slice::Narrow(times) => times.iter().enumerate().for_each(|(i, &t)| f(i, u64::from(t))),
            Slice::Wide(times) => times.iter().enumerate().for_each(|(i, &t)| f(i, t)),
        }
    }

    /// Calls `f` with the number of each that is within `first..=last`, and the time itself.
    pub fn within(self, first: u64, last: u64, mut f: impl FnMut(usize, u64)) {
        match self {
            Slice::Narrow(times) => {
                let Ok(first) = u32::try_from(first) else { return };
                let last = u32::try_from(last).unwrap_or(u32::MAX);
                let is_within = |t: u32| first <= t && t <= last;
                // As a rule few are: whether there is one is asked of several at once.
                for (number, piece) in times.chunks(COMPARED).enumerate() {
                    if piece.iter().fold(false, |any, &t| any | is_within(t)) {
                        let of_piece = piece.iter().enumerate().filter(|(_, t)| is_within(**t));
                        of_piece.for_each(|(i, &t)| f(number * COMPARED + i, u64::from(t)));
                    }
                }
            }
            Slice::Wide(times) => {
                let wanted = times.iter().enumerate().filter(|(_, t)| (first..=last).contains(*t));
                wanted.for_each(|(i, &t)| f(i, t));
            }
        }
    }
}

/// Stretches of columns, one column after the other.
fn copied<T: Copy>(times: &[T], begins: impl Iterator<Item = usize>, stretches: &[Range<usize>]) -> Vec<T> {
    let mut some = vec![];
    for begin in begins {
        stretches.iter().for_each(|s| some.extend_from_slice(&times[begin + s.start..begin + s.end]));
    }
    some
}

impl TimeBlock {
    fn bytes(&self) -> usize {
        let of = |m: &Matrix| {
            let times = match &m.times {
                Some(Times::Narrow(times)) => 4 * times.len(),
                Some(Times::Wide(times)) => 8 * times.len(),
                None => 0,
            };
            times + 4 * m.seqs.len() + size_of::<Matrix>()
        };
        size_of::<TimeBlock>() + self.matrices.iter().map(of).sum::<usize>()
    }

    /// Calls `f` with the ordinals of evaluations without times, by layout.
    pub fn untimed(&self, mut f: impl FnMut(u32, &[u32])) {
        self.matrices.iter().filter(|m| m.times.is_none()).for_each(|m| f(m.layout, &m.seqs));
    }

    /// Calls `f` with the columns that `wanted` says, of the evaluations that `takes` says.
    pub fn pieces<'c>(
        &self,
        wanted: impl Fn(u32) -> Option<&'c [(u32, u32)]>,
        takes: impl Fn(u32) -> bool,
        mut f: impl FnMut(&Piece<'_>),
    ) {
        for matrix in &self.matrices {
            let (Some(times), Some(columns)) = (&matrix.times, wanted(matrix.layout)) else { continue };
            let n = matrix.seqs.len();
            let taken: Vec<usize> = (0..n).filter(|&i| takes(matrix.seqs[i])).collect();
            if taken.is_empty() || columns.is_empty() {
                continue;
            }
            let begins = columns.iter().map(|&(place, column)| (place, column as usize * n));
            if taken.len() == n {
                let slice = |at: usize| match times {
                    Times::Narrow(times) => Slice::Narrow(&times[at..at + n]),
                    Times::Wide(times) => Slice::Wide(&times[at..at + n]),
                };
                let columns = begins.map(|(place, at)| (place, slice(at))).collect();
                f(&Piece { layout: matrix.layout, seqs: &matrix.seqs, columns });
                continue;
            }
            let seqs: Vec<u32> = taken.iter().map(|&i| matrix.seqs[i]).collect();
            // As a rule few are left out: what follows each other is copied together.
            let stretches: Vec<Range<usize>> =
                taken.chunk_by(|a, b| a + 1 == *b).map(|s| s[0]..s[0] + s.len()).collect();
            let places = columns.iter().map(|c| c.0);
            let begins = begins.map(|(_, at)| at);
            match times {
                Times::Narrow(times) => {
                    let some = copied(times, begins, &stretches);
                    let columns = places.zip(some.chunks(seqs.len()).map(Slice::Narrow)).collect();
                    f(&Piece { layout: matrix.layout, seqs: &seqs, columns });
                }
                Times::Wide(times) => {
                    let some = copied(times, begins, &stretches);
                    let columns = places.zip(some.chunks(seqs.len()).map(Slice::Wide)).collect();
                    f(&Piece { layout: matrix.layout, seqs: &seqs, columns });
                }
            }
        }
    }

    /// The times of one evaluation, by column; `None` if they are damaged.
    pub fn of(&self, seq: usize) -> Option<Vec<u64>> {
        let found = self.matrices.iter().find_map(|m| Some((m, m.seqs.binary_search(&(seq as u32)).ok()?)));
        let (matrix, at) = found?;
        let n = matrix.seqs.len();
        Some(match matrix.times.as_ref()? {
            Times::Narrow(times) => times.iter().skip(at).step_by(n).map(|&t| u64::from(t)).collect(),
            Times::Wide(times) => times.iter().skip(at).step_by(n).copied().collect(),
        })
    }
}

impl Table {
    /// The times of a block. What is read although it was not kept stays if that `matters` to somebody.
    pub(super) fn times_of(&self, trace: &Trace, block: usize, matters: bool) -> Arc<TimeBlock> {
        let headers = &self.blocks[block];
        let wanted = headers.len();
        if let Some(times) = self.shared.times.get(block, |times| times.evaluations >= wanted) {
            return times;
        }
        // Rows of one layout, before they are turned into columns.
        let mut matrices: Vec<(u32, bool, Vec<u32>, Vec<u64>)> = vec![];
        let mut next = 0;
        trace.for_each_evaluation_from(headers[0].at, true, |at, row| {
            if let Some(header) = headers.get(next).filter(|h| h.at == at) {
                if let Some(plan) = self.plan(header) {
                    let durations = &row.evaluation.durations;
                    let layout = self.layout(plan.layout);
                    let slot = |&place: &u32| durations.get(layout.slot[place as usize] as usize).copied();
                    let timed = layout.timed.iter().all(|place| slot(place).is_some());
                    let i = matrices.iter().position(|m| (m.0, m.1) == (plan.layout, timed)).unwrap_or_else(|| {
                        matrices.push((plan.layout, timed, vec![], vec![]));
                        matrices.len() - 1
                    });
                    let (_, _, seqs, times) = &mut matrices[i];
                    seqs.push((block * BLOCK + next) as u32);
                    if timed {
                        times.extend(layout.timed.iter().filter_map(slot));
                    }
                }
                next += 1;
            }
            if next < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let matrices = matrices.into_iter().map(|(layout, timed, seqs, rows)| {
            let n = seqs.len();
            let width = rows.len() / n.max(1);
            let cells = (0..width).flat_map(|column| (0..n).map(move |row| row * width + column));
            let times = if rows.iter().all(|&t| u32::try_from(t).is_ok()) {
                Times::Narrow(cells.map(|cell| rows[cell] as u32).collect())
            } else {
                Times::Wide(cells.map(|cell| rows[cell]).collect())
            };
            Matrix { layout, seqs, times: timed.then_some(times) }
        });
        let found = TimeBlock { evaluations: wanted, matrices: matrices.collect() };
        if self.may_be_young(block) && found.matrices.iter().any(|m| m.times.is_none()) {
            return Arc::new(found);
        }
        let bytes = found.bytes();
        self.shared.times.put(block, found, bytes, matters)
    }

    /// Whether what is not there of a block may still come: times follow their evaluations in a file that grows.
    pub(super) fn may_be_young(&self, block: usize) -> bool {
        block + 1 == self.blocks.len()
    }

    /// The times of an evaluation by column of its layout; `None` if they are damaged.
    pub(crate) fn durations(&self, trace: &Trace, seq: usize) -> Option<Vec<u64>> {
        self.times_of(trace, seq / BLOCK, true).of(seq)
    }

    /// The times of the executed nodes of an evaluation, by place.
    pub(crate) fn spans(&self, trace: &Trace, seq: usize, evaluation: &Evaluation) -> Vec<Span> {
        let Some(plan) = self.header(seq).and_then(|h| self.plan(h)) else { return vec![] };
        let layout = self.layout(plan.layout);
        let durations = self.durations(trace, seq);
        let run_start = |run: u32| evaluation.runs.get(run as usize).map_or(0, |run| run.start);
        // Begin of every column: the ones before it in its run have passed, those that belong to no node too, but
        // in a run with such the times of no node are known.
        let mut starts = vec![];
        let (mut run, mut at) = (NONE, 0_u64);
        for (column, &place) in layout.timed.iter().enumerate() {
            if layout.run[place as usize] != run {
                run = layout.run[place as usize];
                at = run_start(run);
            }
            starts.push(at);
            at = at.saturating_add(durations.as_ref().and_then(|d| d.get(column)).copied().unwrap_or(0));
        }
        let span = |place: usize| {
            let timed_by = if layout.fused[place] == NONE { place } else { layout.fused[place] as usize };
            let column = layout.column[timed_by];
            let of_column = durations.as_ref().filter(|_| column != NONE).and_then(|durations| {
                Some(Span { start: *starts.get(column as usize)?, duration: durations.get(column as usize).copied() })
            });
            let span = of_column.unwrap_or(Span { start: run_start(layout.run[place]), duration: None });
            Span { duration: span.duration.filter(|_| timed_by == place), ..span }
        };
        (0..layout.len()).map(span).collect()
    }
}
