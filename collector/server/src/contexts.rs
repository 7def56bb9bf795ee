//! The contexts of a session, and which of them a question is about.

use super::problem::Problem;
use super::session::Session;
use ggscope_query::contexts::Contexts;
use ggscope_query::table::Table;
use ggscope_trace::Trace;
use std::ops::Range;
use std::sync::Arc;

impl Session {
    /// The contexts of a trace of it.
    pub(super) fn contexts(&self, trace: &Trace) -> Arc<Contexts> {
        let mut kept = self.known_contexts.lock();
        Arc::make_mut(&mut kept).update(trace);
        kept.clone()
    }

    /// Sees to it that there is the context that `field`, a parameter, names. Whatever reads one asks this first: no context is
    /// not an empty one.
    ///
    /// # Errors
    /// When there is no such context.
    pub(super) fn has_context(&self, trace: &Trace, field: &str, named: Option<u32>) -> Result<(), Problem> {
        let Some(named) = named else { return Ok(()) };
        let known = self.contexts(trace);
        known.check(named).map_err(|why| missing(field, why, &known))
    }

    /// What there is now, for a question about this context alone, if one is named.
    ///
    /// # Errors
    /// When there is no such context, and as [`Session::trace`].
    pub(super) fn trace_of(&self, context: Option<u32>) -> Result<Arc<Trace>, Problem> {
        let trace = self.trace()?;
        self.has_context(&trace, "context", context)?;
        Ok(trace)
    }

    /// What there is now and the table of it, for a question about this context alone, if one is named.
    ///
    /// # Errors
    /// When there is no such context, and as [`Session::now`].
    pub(super) fn now_of(&self, context: Option<u32>) -> Result<(Arc<Trace>, Arc<Table>), Problem> {
        let (trace, table) = self.now()?;
        self.has_context(&trace, "context", context)?;
        Ok((trace, table))
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
        let known = self.contexts(trace);
        let chosen = known.choose(trace, named, tokens).map_err(|why| missing("context", why, &known))?;
        Ok(chosen.unwrap_or(0))
    }

    /// Tokens of a context: the number after its last one.
    pub(super) fn end_of(&self, trace: &Trace, context: u32) -> u64 {
        let last = self.contexts(trace).get(context).and_then(|context| context.last_token);
        last.map_or(trace.totals().tokens(), |last| last.saturating_add(1))
    }
}

fn missing(field: &str, why: String, known: &Contexts) -> Problem {
    let help = match known.in_words() {
        all if all.is_empty() => "ask again when the program has computed something".to_owned(),
        all => format!("leave {field} out, or give one of these: {all}"),
    };
    Problem::missing(field, why, help)
}
