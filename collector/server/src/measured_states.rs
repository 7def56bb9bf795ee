//! The hidden states that were measured last, so that a page can ask for one measure after the other.

use ggscope_internals::hidden_states::{self, KeptLenses, LayersError, Run};
use ggscope_trace::Trace;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// A run that was measured: of which session, of how many evaluations, of which context, and of which tokens.
type Kept = Option<((String, u64, u32, Range<u64>), Arc<Run>)>;

/// The run that was measured last, and what the lens found.
#[derive(Default)]
pub(super) struct Measured {
    run: Mutex<Kept>,
    /// Lenses of states that were computed before.
    pub lenses: KeptLenses,
}

impl Measured {
    /// The states of some tokens of a session, kept if the session has ended.
    pub(super) fn run(
        &self,
        session: &str,
        trace: &Trace,
        (context, tokens): (u32, Range<u64>),
    ) -> Result<Arc<Run>, LayersError> {
        let key = (session.to_owned(), trace.n_evaluations(), context, tokens.clone());
        let kept = || self.run.lock();
        if let Some((_, run)) = kept().as_ref().filter(|k| k.0 == key) {
            return Ok(run.clone());
        }
        let run = Arc::new(hidden_states::run(trace, Some(context), Some(tokens))?);
        // Values of a token come a little later than the token: a run that goes on is asked about again.
        if trace.complete() {
            *kept() = Some((key, run.clone()));
        }
        Ok(run)
    }
}
