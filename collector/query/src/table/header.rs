//! What the table keeps of every evaluation.

use crate::filter::{Filter, Phase};
use ggscope_format::GraphId;
use ggscope_format::TokenPhase;
use ggscope_format::columns::Row;
use std::sync::Arc;

/// An evaluation without its tokens and times.
#[derive(Clone, Debug)]
pub struct Header {
    /// The shim's number.
    pub eval: u64,
    /// Its graph.
    pub graph: GraphId,
    /// Number of its plan, [`NONE`](super::plan::NONE) if its graph is not known.
    pub(crate) plan: u32,
    /// The scheduler that computed it.
    pub context: u32,
    /// Kernel's id of the thread that asked for it.
    pub thread: u32,
    /// `ggml_status`.
    pub status: i32,
    /// Begin, nanoseconds of `CLOCK_MONOTONIC`.
    pub start: u64,
    /// Nanoseconds from begin to end.
    pub dur: u64,
    /// Number of its first token within the session.
    pub first_token: u64,
    /// Tokens.
    pub n_tokens: u32,
    /// How many of them are of an answer.
    pub n_generated: u32,
    /// Of how many of them it is not known what they are of.
    pub n_unknown: u32,
    /// Executed operators.
    pub operators: u32,
    /// How many of them have no time, neither one of their own nor one that they share.
    pub untimed: u32,
    /// Page faults that needed no read.
    pub minor_faults: u32,
    /// Page faults that read from disk.
    pub major_faults: u32,
    /// Rows of the trace table before it.
    pub first_row: u64,
    /// Bytes that its operators read from files.
    pub disk_bytes: u64,
    /// Bytes that its operators read from buffers.
    pub buffer_bytes: u64,
    /// Number by which the trace gives it back.
    pub at: u64,
    /// The phase of its first token.
    first_phase: TokenPhase,
    /// The phase of each token, if they differ.
    phases: Option<Arc<[TokenPhase]>>,
}

impl Header {
    /// What is known from the row alone.
    pub(crate) fn new(at: u64, row: &Row) -> Header {
        let e = &row.evaluation;
        let of_phase = |phase: TokenPhase| row.phases.iter().filter(|&&p| p == phase).count() as u32;
        let first_phase = row.phases.first().copied().unwrap_or_default();
        let mixed = row.phases.iter().any(|&p| p != first_phase);
        Header {
            eval: e.eval.0,
            graph: e.graph,
            plan: super::plan::NONE,
            context: e.context,
            thread: e.thread,
            status: e.status,
            start: e.start.0,
            dur: e.end.0.saturating_sub(e.start.0),
            first_token: row.first_token,
            n_tokens: row.phases.len() as u32,
            n_generated: of_phase(TokenPhase::Generate),
            n_unknown: of_phase(TokenPhase::Unknown),
            operators: 0,
            untimed: 0,
            minor_faults: e.minor_faults,
            major_faults: e.major_faults,
            first_row: 0,
            disk_bytes: 0,
            buffer_bytes: 0,
            at,
            first_phase,
            phases: mixed.then(|| row.phases.as_slice().into()),
        }
    }

    /// End, nanoseconds of `CLOCK_MONOTONIC`.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.dur)
    }

    /// Number of the last token within the session, if it has tokens.
    pub fn last_token(&self) -> Option<u64> {
        Some(self.first_token.saturating_add(u64::from(self.n_tokens).checked_sub(1)?))
    }

    /// Phase of a token, by its place in the evaluation.
    pub fn phase(&self, token: usize) -> Phase {
        let mixed = self.phases.as_ref().and_then(|phases| phases.get(token));
        Phase::of(mixed.copied().unwrap_or(self.first_phase))
    }

    /// Number and phase of the first token that the filter lets through; a phase alone if the evaluation has no
    /// tokens and is wanted; `None` if it is not wanted.
    pub(crate) fn choose(&self, filter: &Filter) -> Option<(Option<u64>, Phase)> {
        if filter.evals.is_some_and(|n| !n.contains(self.eval)) || !filter.takes_context(self.context) {
            return None;
        }
        let Some(last) = self.last_token() else {
            let unasked = filter.tokens.is_none() && filter.phase.is_none_or(|phase| phase == Phase::Prompt);
            return unasked.then_some((None, Phase::Prompt));
        };
        let (first, last) =
            filter.tokens.map_or((self.first_token, last), |n| (n.first.max(self.first_token), n.last.min(last)));
        let numbers = first..=last;
        let place = |number: u64| (number - self.first_token) as usize;
        let found = match (filter.phase, &self.phases) {
            (None, _) => numbers.into_iter().next(),
            (Some(phase), None) => numbers.into_iter().next().filter(|_| self.phase(0) == phase),
            (Some(phase), Some(_)) => numbers.into_iter().find(|&number| self.phase(place(number)) == phase),
        };
        found.map(|number| (Some(number), self.phase(place(number))))
    }
}
