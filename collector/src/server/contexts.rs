//! The contexts of a session, and which of them a question is about.

use super::problem::Problem;
use super::session::Session;
use crate::query::contexts::Contexts;
use crate::trace::Trace;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

impl Session {
    /// The contexts of a trace of it.
    pub(super) fn contexts(&self, trace: &Trace) -> Arc<Contexts> {
        let mut kept = self.known_contexts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut kept).update(trace);
        kept.clone()
    }

    /// The context that a question is about: the one that is named, else that of the tokens, else the usual one.
    ///
    /// # Errors
    /// When there is no such context, or the tokens are of others.
    pub(super) fn context(
        &self,
        trace: &Trace,
        named: Option<u32>,
        tokens: Option<&Range<u64>>,
    ) -> Result<u32, Problem> {
        let chosen = self.contexts(trace).choose(trace, named, tokens);
        let chosen = chosen.map_err(|why| Problem::missing("context", why, "/sessions/ID lists the contexts"))?;
        Ok(chosen.unwrap_or(0))
    }

    /// Tokens of a context: the number after its last one.
    pub(super) fn end_of(&self, trace: &Trace, context: u32) -> u64 {
        let last = self.contexts(trace).get(context).and_then(|context| context.last_token);
        last.map_or(trace.totals().tokens(), |last| last.saturating_add(1))
    }
}
