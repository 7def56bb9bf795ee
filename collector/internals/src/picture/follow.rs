//! Where the rows of pictures come from: walkers that stay where they are between two questions, so that a recording that
//! goes on is read once, and a question about its newest tokens costs what is new.

use super::Refused;
use crate::attention::error::captured;
use crate::attention::token;
use crate::attention::{Attention, AttentionError, TokenRow, Walker};
use crate::no_token;
use ggscope_format::EvalId;
use ggscope_format::capture::Set;
use ggscope_format::columns::Row;
use ggscope_trace::{Select, Trace};
use std::ops::{ControlFlow, Range};

/// Walkers that are kept: of all layers, and of some that somebody looks at.
const KEPT: usize = 4;

/// The last evaluation that is looked at: what was captured of one comes a little later than the evaluation itself.
fn come(trace: &Trace) -> EvalId {
    if trace.complete() { EvalId(u64::MAX) } else { trace.values_until().unwrap_or_default() }
}

/// A walker, and how far it is.
struct Follower {
    layer: Option<u32>,
    walker: Walker,
    /// Number of the evaluation after the last that it has passed.
    next: u64,
    /// That last one.
    last: Option<Row>,
}

impl Follower {
    fn new(layer: Option<u32>) -> Follower {
        // Of one layer all stages are asked for, what it weighs among them.
        let walker = layer.map_or_else(|| Walker::new(None), |layer| Walker::with_values(Some(layer..=layer)));
        Follower { layer, walker, next: 0, last: None }
    }

    /// Whether it has not passed the evaluation of a token, or only just.
    fn is_before(&self, token: u64) -> bool {
        self.last.as_ref().is_none_or(|row| row.first_token <= token)
    }

    fn rows(
        &mut self,
        trace: &Trace,
        (context, tokens): (u32, &Range<u64>),
        mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
    ) {
        // Of the others only the caches are moved on: the next question may be about them.
        let of_context = |row: &Row| if row.evaluation.context == context { tokens.clone() } else { 0..0 };
        if let Some(row) = &self.last
            && self.walker.again(trace, row, &of_context(row), &mut f).is_break()
        {
            return;
        }
        let come = come(trace);
        trace.for_each_evaluation_from(self.next, false, |number, row| {
            if row.first_token >= tokens.end || row.evaluation.eval > come {
                return ControlFlow::Break(());
            }
            let flow = self.walker.advance(trace, &row, &of_context(&row), &mut f);
            (self.next, self.last) = (number + 1, Some(row));
            flow
        });
    }
}

impl Follower {
    /// Moves on to the evaluation of a token, and computes all of its stages.
    fn stages(
        &mut self,
        trace: &Trace,
        wanted: (u64, u32, Option<usize>, bool),
    ) -> Result<Option<Attention>, AttentionError> {
        let token = wanted.0;
        let is_in = |row: &Row| row.first_token.saturating_add(row.phases.len() as u64) > token;
        if !self.last.as_ref().is_some_and(is_in) {
            let come = come(trace);
            trace.for_each_evaluation_from(self.next, false, |number, row| {
                if row.first_token > token || row.evaluation.eval > come {
                    return ControlFlow::Break(());
                }
                self.walker.move_on(trace, &row);
                let flow = if is_in(&row) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
                (self.next, self.last) = (number + 1, Some(row));
                flow
            });
        }
        let Some(row) = self.last.as_ref().filter(|row| is_in(row)) else { return Ok(None) };
        let Some(plan) = self.walker.plan(trace, row.evaluation.graph) else { return Ok(None) };
        token::stages(trace, &self.walker, (row, &plan), wanted).map(Some)
    }
}

/// Whether attention was to be captured when a token was computed.
fn wants_attention(trace: &Trace, token: u64) -> bool {
    let select = Select { tokens: Some(token..token.saturating_add(1)), ..Select::default() };
    let mut of = None;
    trace.for_each_evaluation(&select, false, |row| {
        of = Some(row.evaluation.eval);
        ControlFlow::Break(())
    });
    let Some(eval) = of else { return true };
    let then = trace.captures().into_iter().rfind(|change| change.from <= eval);
    then.is_none_or(|change| change.capture.has(Set::Attention))
}

/// Why a token has no attention.
pub(super) fn not_here(trace: &Trace, token: u64) -> String {
    let totals = trace.totals();
    let n_tokens = totals.tokens();
    if !wants_attention(trace, token) {
        return format!("token {token} was computed while no attention was captured");
    }
    if token < n_tokens && !trace.complete() {
        return format!(
            "nothing of token {token} has come yet that attention is computed from: if it was captured, it soon will"
        );
    }
    if token >= n_tokens {
        return no_token(token, n_tokens);
    }
    format!("the graph that computed token {token} has no attention, or cannot be read")
}

/// The walkers of one recording, those that were asked last first.
#[derive(Default)]
pub struct Followers {
    all: Vec<Follower>,
    /// Bytes that they may keep.
    limit: usize,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followers").field("walkers", &self.all.len()).field("bytes", &self.bytes()).finish()
    }
}

impl Followers {
    /// Keeps about so many bytes from now on, between two questions.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink();
    }

    /// About how many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.all.iter().map(|follower| follower.walker.bytes()).sum()
    }

    /// A walker of a layer or of all that has not passed a token.
    fn take(&mut self, layer: Option<u32>, token: u64) -> Follower {
        let known = self.all.iter().position(|of| of.layer == layer);
        let known = known.map(|at| self.all.remove(at)).filter(|of| of.is_before(token));
        known.unwrap_or_else(|| Follower::new(layer))
    }

    fn keep(&mut self, follower: Follower) {
        self.all.insert(0, follower);
        self.shrink();
    }

    /// As [`crate::attention`], of a certain token: token, layer, head (all if none is said), and whether
    /// vectors are wanted.
    ///
    /// # Errors
    /// As there.
    pub fn attention(
        &mut self,
        trace: &Trace,
        wanted: (u64, u32, Option<usize>, bool),
    ) -> Result<Attention, AttentionError> {
        let (token, layer) = (wanted.0, wanted.1);
        captured(trace)?;
        let mut follower = self.take(Some(layer), token);
        let found = follower.stages(trace, wanted);
        if found.is_ok() || trace.complete() {
            self.keep(follower);
        }
        found?.ok_or_else(|| AttentionError::Missing("token", not_here(trace, token)))
    }

    fn shrink(&mut self) {
        self.all.truncate(KEPT);
        while self.bytes() > self.limit {
            self.all.pop();
        }
    }

    /// Calls `f` for every one of these tokens of a context in one layer or in all, and returns what could not be computed.
    ///
    /// # Errors
    /// When the trace has no such captures, or `f` says so.
    pub(super) fn rows(
        &mut self,
        trace: &Trace,
        (context, tokens): (u32, &Range<u64>),
        layer: Option<u32>,
        mut f: impl FnMut(&TokenRow<'_>) -> Result<(), AttentionError>,
    ) -> Result<Vec<Refused>, AttentionError> {
        captured(trace)?;
        let mut follower = self.take(layer, tokens.start);
        let before = follower.walker.walked().refused.clone();
        let mut failed = None;
        follower.rows(trace, (context, tokens), |row| match f(row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        let counted = |layer: u32, why: &str| before.iter().find(|b| b.0 == layer && b.1 == why).map_or(0, |b| b.2);
        let refused = follower.walker.walked().refused.iter().filter_map(|(layer, why, n)| {
            let tokens = n - counted(*layer, why);
            (tokens > 0).then(|| Refused { layer: *layer, tokens, why: why.clone() })
        });
        let refused: Vec<Refused> = refused.collect();
        // Of the last evaluation a part may be on its way: who has passed that by would never see it.
        if refused.is_empty() || trace.complete() {
            self.keep(follower);
        }
        failed.map_or(Ok(refused), Err)
    }
}
