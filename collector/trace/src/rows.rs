//! The evaluations of a trace, one after the other: those that are wanted, or all from a certain one on. A chunk that
//! has none of them is not read.

use super::index::IndexEntry;
use super::{Trace, TraceError};
use ggscope_format::chunk::ChunkKind;
use ggscope_format::columns::{Row, decode_durations, decode_evaluations};
use std::ops::{ControlFlow, Range};

/// Which evaluations are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// Numbers of evaluations; all if `None`.
    pub evals: Option<Range<u64>>,
    /// Numbers of tokens within the session, of which an evaluation has one at least; all if `None`.
    pub tokens: Option<Range<u64>>,
}

impl Select {
    pub(super) fn takes_chunk(&self, entry: &IndexEntry) -> bool {
        let evals = self.evals.as_ref().is_none_or(|r| entry.first < r.end && r.start <= entry.last);
        let end = entry.first_token.saturating_add(entry.n_tokens);
        evals && self.tokens.as_ref().is_none_or(|r| entry.first_token < r.end && r.start < end)
    }

    /// Whether an evaluation is wanted.
    pub fn takes(&self, row: &Row) -> bool {
        let evals = self.evals.as_ref().is_none_or(|r| r.contains(&row.evaluation.eval.0));
        let end = row.first_token.saturating_add(row.phases.len() as u64);
        evals && self.tokens.as_ref().is_none_or(|r| row.first_token < r.end && r.start < end)
    }
}

/// A row that is not in the file yet.
fn copy(row: &Row, durations: bool) -> Row {
    let mut row = row.clone();
    if !durations {
        row.evaluation.durations.clear();
    }
    row
}

impl Trace {
    /// Calls `f` for each evaluation that is wanted, in the order of the file, until it breaks. Evaluations that are
    /// damaged are left out with a warning. Without `durations`, or when those are damaged, rows have none.
    pub fn for_each_evaluation(&self, select: &Select, durations: bool, mut f: impl FnMut(Row) -> ControlFlow<()>) {
        self.for_each_numbered_evaluation(select, durations, |_, row| f(row));
    }

    /// The same, and what number each has, counted from 0 in the order of the file without those that are damaged, as far
    /// as these were read.
    pub fn for_each_numbered_evaluation(
        &self,
        select: &Select,
        durations: bool,
        mut f: impl FnMut(u64, Row) -> ControlFlow<()>,
    ) {
        let mut first = 0_u64;
        for (i, entry) in self.contents.chunks.iter().enumerate().filter(|(_, e)| e.kind == ChunkKind::Evaluations) {
            if !select.takes_chunk(entry) {
                first = first.saturating_add(entry.items);
                continue;
            }
            let rows = self.rows_of(i, durations);
            let next = first + rows.len() as u64;
            for (number, row) in (first..).zip(rows).filter(|(_, row)| select.takes(row)) {
                if f(number, row).is_break() {
                    return;
                }
            }
            first = next;
        }
        let pending = (first..).zip(self.contents.pending.rows.iter());
        for (number, row) in pending.filter(|(_, row)| select.takes(row)) {
            if f(number, copy(row, durations)).is_break() {
                return;
            }
        }
    }

    /// Calls `f` for each evaluation from number `seq` on, counted from 0 in the order of the file, with that number,
    /// until it breaks. Damaged evaluations are left out, and their numbers with them. Durations as in
    /// [`Trace::for_each_evaluation`].
    pub fn for_each_evaluation_from(&self, seq: u64, durations: bool, mut f: impl FnMut(u64, Row) -> ControlFlow<()>) {
        let mut first = 0_u64;
        for (i, entry) in self.contents.chunks.iter().enumerate().filter(|(_, e)| e.kind == ChunkKind::Evaluations) {
            let end = first.saturating_add(entry.items);
            if end > seq {
                for (number, row) in (first..end).zip(self.rows_of(i, durations)).skip_while(|(n, _)| *n < seq) {
                    if f(number, row).is_break() {
                        return;
                    }
                }
            }
            first = end;
        }
        let pending = (first..).zip(self.contents.pending.rows.iter());
        for (number, row) in pending.skip_while(|(number, _)| *number < seq) {
            if f(number, copy(row, durations)).is_break() {
                return;
            }
        }
    }

    /// How many evaluations [`Trace::for_each_evaluation_from`] numbers.
    pub fn n_evaluations(&self) -> u64 {
        let in_file = self.contents.chunks.iter().filter(|e| e.kind == ChunkKind::Evaluations).map(|e| e.items);
        in_file.fold(self.contents.pending.rows.len() as u64, u64::saturating_add)
    }

    /// The evaluations of the chunk with this place in the index; none, with a warning, if it is damaged.
    fn rows_of(&self, place: usize, durations: bool) -> Vec<Row> {
        let entry = &self.contents.chunks[place];
        let mut rows = match self.rows(entry.offset) {
            Ok(rows) => rows,
            Err(error) => {
                self.warn(format!("{} evaluations are left out: {error}", entry.items));
                return vec![];
            }
        };
        self.correct(&mut rows);
        if durations {
            let clocked = rows.iter().any(|r| r.evaluation.runs.iter().any(|run| run.n_calls > 0));
            let read = match self.contents.chunks.get(place + 1).filter(|e| e.kind == ChunkKind::Durations) {
                Some(next) => self.add_durations(next.offset, &mut rows),
                None if clocked => Err(self.bad(entry.offset, "the chunk with their times is not there".into())),
                None => Ok(()),
            };
            if let Err(error) = read {
                rows.iter_mut().for_each(|row| row.evaluation.durations.clear());
                self.warn(format!("{} evaluations are without times: {error}", entry.items));
            }
        }
        rows
    }

    pub(super) fn rows(&self, offset: u64) -> Result<Vec<Row>, TraceError> {
        let content = self.unpack(offset, ChunkKind::Evaluations)?;
        decode_evaluations(&content).map_err(|e| self.bad(offset, e.to_string()))
    }

    fn add_durations(&self, offset: u64, rows: &mut [Row]) -> Result<(), TraceError> {
        let content = self.unpack(offset, ChunkKind::Durations)?;
        decode_durations(&content, rows).map_err(|e| self.bad(offset, e.to_string()))
    }
}
