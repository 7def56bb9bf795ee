//! Contexts that draft for others. A writer learns it when the other context verifies what was proposed, and has taken what
//! was sampled before for an answer by then: it writes a correction, which readers apply.

use super::{Remark, Remarks, Totals, Trace, TraceError, TraceWriter};
use crate::analysis::requests::empties;
use ggscope_format::TokenPhase;
use ggscope_format::chunk::ChunkKind;
use ggscope_format::columns::Row;
use ggscope_format::record::MemoryChange;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Contexts whose tokens are counted each on its own.
const MAX_CONTEXTS: usize = 1 << 10;
/// Corrections that are read.
const MAX_READ: usize = 64;

/// A context drafts for another one, so nothing that it sampled is an answer. Before that was known, its evaluations were
/// written as if it was: readers correct them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drafting {
    /// The context.
    pub context: u32,
    /// The context whose answers it drafts.
    pub drafts_for: u32,
    /// Numbers within the session of the tokens whose phase is corrected: the first, and the one after the last.
    pub tokens: (u64, u64),
}

impl Drafting {
    /// Makes tokens that were taken for an answer those of a prompt. Returns whether the evaluation has some.
    pub(super) fn correct(&self, row: &mut Row) -> bool {
        if row.evaluation.context != self.context {
            return false;
        }
        let is_among = |token: u64| self.tokens.0 <= token && token < self.tokens.1;
        let mut corrected = false;
        for (phase, token) in row.phases.iter_mut().zip(row.first_token..) {
            if *phase == TokenPhase::Generate && is_among(token) {
                *phase = TokenPhase::Prompt;
                corrected = true;
            }
        }
        corrected
    }
}

/// The corrections in the chunks that were read.
#[derive(Default)]
pub(super) struct Known {
    chunks: usize,
    found: Arc<Vec<Drafting>>,
}

impl Trace {
    /// The contexts that draft for others, in the order in which that was known.
    pub fn drafting(&self) -> Arc<Vec<Drafting>> {
        let mut known = self.shared.drafting.lock();
        let chunks = &self.contents.chunks;
        // Another state of the trace may have read more.
        let unread = chunks.get(known.chunks..).unwrap_or_default();
        for entry in unread.iter().filter(|e| e.kind == ChunkKind::Notes && e.items == 1) {
            let remarks: Remarks = self.content(entry.offset, ChunkKind::Notes).unwrap_or_default();
            if let [Remark::Drafting(drafting)] = remarks[..]
                && known.found.len() < MAX_READ
                && !known.found.contains(&drafting)
            {
                Arc::make_mut(&mut known.found).push(drafting);
            }
        }
        known.chunks = known.chunks.max(chunks.len());
        known.found.clone()
    }

    /// Corrects what evaluations of the file say.
    pub(super) fn correct(&self, rows: &mut [Row]) {
        for drafting in self.drafting().iter() {
            for row in &mut *rows {
                drafting.correct(row);
            }
        }
    }

    /// Takes back what evaluations before byte `end` were counted as, of a context that drafts.
    pub(super) fn correct_totals(&self, end: u64, drafting: &Drafting, totals: &mut Totals) {
        if !self.drafting().contains(drafting) {
            return;
        }
        let before = self.contents.chunks.iter().filter(|e| e.kind == ChunkKind::Evaluations && e.offset < end);
        let mut of_context = Totals::default();
        for mut row in before.filter_map(|e| self.rows(e.offset).ok()).flatten() {
            let wrong = row.clone();
            if drafting.correct(&mut row) {
                of_context.add_row(&wrong);
            }
        }
        totals.no_answer(&of_context);
    }
}

impl TraceWriter {
    /// Counts an evaluation of its context.
    pub(super) fn count_of_context(&mut self, row: &Row) {
        let context = row.evaluation.context;
        if self.of_context.len() < MAX_CONTEXTS || self.of_context.contains_key(&context) {
            self.of_context.entry(context).or_default().add_row(row);
        }
    }

    /// What a context computed before its memory was emptied is not corrected later.
    pub(super) fn forget_of_context(&mut self, change: &MemoryChange) {
        if empties(&change.op) {
            self.of_context.remove(&change.context);
        }
    }

    /// Corrects what was taken for an answer of a context that drafts.
    pub(super) fn drafting(&mut self, drafting: Drafting) -> Result<(), TraceError> {
        let Some(sums) = self.of_context.remove(&drafting.context).filter(|sums| sums.generated_tokens > 0) else {
            return Ok(());
        };
        self.index.totals.no_answer(&sums);
        // What is in the file already is corrected by whoever reads it.
        for row in &mut self.rows {
            drafting.correct(Arc::make_mut(row));
        }
        self.display.same.rows = 0;
        // In a chunk of its own: whoever knows no such remark loses no other.
        self.flush_remarks()?;
        self.remarks.push(Remark::Drafting(drafting));
        self.flush_remarks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing_drafts::{RIGHT, ROUND, Step, begin, phases, take};
    use ggscope_format::EvalId;
    use ggscope_format::record::MemoryOp;

    #[test]
    fn the_first_proposals_of_a_draft_are_no_answer_whenever_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        // Written before the draft was known, after, and partly.
        for flushed in [None, Some(2), Some(3), Some(4), Some(6)] {
            let path = dir.path().join(format!("{flushed:?}.ggtrace"));
            let mut writer = begin(&path, &ROUND);
            for number in 0..ROUND.len() {
                take(&mut writer, &ROUND, number);
                if flushed == Some(number) {
                    writer.flush().unwrap();
                }
            }
            writer.flush().unwrap();
            // Cut here, and whole.
            let cut = Trace::open(&path).unwrap();
            let totals = writer.finish().unwrap();
            let whole = Trace::open(&path).unwrap();
            for trace in [&cut, &whole] {
                assert_eq!(phases(trace), RIGHT, "{flushed:?}");
                let of = |t: &Totals| (t.prompt_tokens, t.generated_tokens, t.prompt_ns, t.generate_ns, t.compute_ns);
                assert_eq!(of(trace.totals()), of(&totals), "{flushed:?}");
                let mut counted = Totals::default();
                trace.for_each_evaluation_from(0, false, |_, row| {
                    counted.add_row(&row);
                    std::ops::ControlFlow::Continue(())
                });
                assert_eq!(of(&counted), of(&totals), "{flushed:?}");
            }
            assert_eq!(whole.drafting()[..], [Drafting { context: 1, drafts_for: 0, tokens: (3, 8) }]);
        }
    }

    #[test]
    fn what_a_model_answered_before_its_memory_was_cleared_stays_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let alone: [Step; 2] = [(1, 0, 3), (1, 3, 1)];
        let steps: Vec<Step> = alone.into_iter().chain(ROUND).collect();
        let mut writer = begin(&path, &steps);
        for number in 0..steps.len() {
            if number == alone.len() {
                let before = EvalId(number as u64);
                writer.memory(MemoryChange { before, context: 1, op: MemoryOp::Clear }).unwrap();
            }
            take(&mut writer, &steps, number);
        }
        let totals = writer.finish().unwrap();
        let found = phases(&Trace::open(&path).unwrap());
        assert_eq!((&found[..2], &found[2..]), (&[(1, 0), (1, 1)][..], &RIGHT[..]));
        assert_eq!(totals.generated_tokens, 3);
    }
}
