//! Two runs of one text, token by token: how far they go together, and where they part. Of each run one context is
//! compared. Tokens are paired in the order in which their contexts computed them, and must have the same ids.

use ggscope_format::{GraphId, TokenPhase};
use ggscope_query::contexts::Contexts;
use ggscope_trace::{Select, Trace};
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use utoipa::ToSchema;

/// The token at which two runs part.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Parted {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text in this trace; null if the trace ends there.
    pub text: Option<String>,
    /// Its text in the reference; null if the reference ends there.
    pub reference: Option<String>,
}

/// A token of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub token: u64,
    pub id: i32,
    /// The graph that computed it.
    pub graph: GraphId,
    /// Whether the run chose it itself.
    pub generated: bool,
}

/// The tokens of a context of a run.
///
/// # Errors
/// When their ids were not recorded.
pub(super) fn tokens_of(trace: &Trace, context: u32) -> Result<Vec<Known>, String> {
    let mut all = vec![];
    trace.for_each_evaluation(&Select::default(), false, |row| {
        if row.evaluation.context == context {
            let of = row.evaluation.tokens.iter().zip(&row.phases);
            let graph = row.evaluation.graph;
            all.extend((row.first_token..).zip(of).map(|(token, (&id, &phase))| Known {
                token,
                id,
                graph,
                generated: phase == TokenPhase::Generate,
            }));
        }
        ControlFlow::Continue(())
    });
    if all.is_empty() {
        let path = trace.path().display();
        return Err(format!("{path} has no token ids, by which two runs are compared: record it without --no-tokens"));
    }
    Ok(all)
}

/// Which token of ours each of a reference's tokens is, of those that are the same.
pub(super) fn ours_of(a: &[Known], b: &[Known]) -> HashMap<u64, u64> {
    a.iter().zip(b).map(|(a, b)| (b.token, a.token)).collect()
}

/// The contexts of two runs that are compared: the one that is named, or the usual one; and of the reference the one that is
/// named, else the one of the same number, else the usual one.
///
/// # Errors
/// When there is no such context.
pub(super) fn contexts_of(
    trace: &Trace,
    reference: &Trace,
    (here, there): (Option<u32>, Option<u32>),
) -> Result<(u32, u32), String> {
    let (ours, theirs) = (Contexts::of(trace), Contexts::of(reference));
    let nothing = |trace: &Trace| format!("{}: nothing was evaluated", trace.path().display());
    let there = there.or(here.filter(|&here| theirs.get(here).is_some()));
    let of = |all: &Contexts, trace: &Trace, named| {
        let chosen = all.choose(trace, named, None).map_err(|why| format!("{}: {why}", trace.path().display()))?;
        chosen.ok_or_else(|| nothing(trace))
    };
    Ok((of(&ours, trace, here)?, of(&theirs, reference, there)?))
}

/// How many tokens at the start are the same, and what follows.
///
/// # Errors
/// When they differ where neither run chose them: then these are no runs of one text.
pub(super) fn common(
    trace: &Trace,
    reference: &Trace,
    a: &[Known],
    b: &[Known],
) -> Result<(usize, Option<Parted>), String> {
    let same = |(a, b): (&Known, &Known)| a.id == b.id;
    let n = a.iter().zip(b).take_while(|&pair| same(pair)).count();
    let next = (a.get(n), b.get(n));
    let text = |trace: &Trace, known: Option<&Known>| {
        let known = known?;
        Some(trace.text_of(known.graph, known.id).unwrap_or_else(|| known.id.to_string()))
    };
    let token = next.0.or(next.1).map_or(0, |known| known.token);
    let parts = Parted { token, text: text(trace, next.0), reference: text(reference, next.1) };
    match next {
        (Some(x), Some(y)) if !x.generated || !y.generated => {
            let said = |text: &Option<String>| format!("{:?}", text.as_deref().unwrap_or("?"));
            Err(format!(
                "the texts differ: token {} is {} in {} and {} in {}; record both runs with the same prompt",
                x.token,
                said(&parts.text),
                trace.path().display(),
                said(&parts.reference),
                reference.path().display()
            ))
        }
        (Some(_), Some(_)) => Ok((n, Some(parts))),
        _ => Ok((n, None)),
    }
}
