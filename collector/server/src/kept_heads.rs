//! What the heads of a session do, as it was computed last.

use super::problem::Problem;
use ggscope_compute::Compute;
use ggscope_internals::heads::{Heads, HeadsOptions, heads};
use ggscope_trace::Trace;
use parking_lot::Mutex;
use std::sync::Arc;

/// What was computed last of a session: of so many evaluations, for this question.
#[derive(Default)]
pub(super) struct KeptHeads(Mutex<Option<(u64, HeadsOptions, Arc<Heads>)>>);

impl KeptHeads {
    /// Computes it, unless it is the same as the last time. Whoever asks at the same time waits for the answer.
    pub(super) fn get(
        &self,
        trace: impl FnOnce() -> Result<Arc<Trace>, Problem>,
        device: impl FnOnce() -> Result<Compute, Problem>,
        wanted: HeadsOptions,
    ) -> Result<Arc<Heads>, Problem> {
        let mut kept = self.0.lock();
        let trace = trace()?;
        let now = trace.n_evaluations();
        // While a program runs, values come a little later than the evaluations that they are of.
        let is_whole = |found: &Heads| found.refused.is_empty() || trace.complete();
        let same = |kept: &&(u64, HeadsOptions, Arc<Heads>)| (kept.0, &kept.1) == (now, &wanted) && is_whole(&kept.2);
        if let Some((_, _, found)) = kept.as_ref().filter(same) {
            return Ok(found.clone());
        }
        let device = Arc::new(device()?);
        let found = Arc::new(heads(&trace, &wanted, &device)?);
        *kept = Some((now, wanted, found.clone()));
        Ok(found)
    }
}
