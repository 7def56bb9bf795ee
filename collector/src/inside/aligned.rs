//! Two runs of one text, token by token: how far they go together, and where they part. Tokens are paired by their
//! numbers within the session and must have the same ids.

use crate::trace::{Select, Trace};
use ggscope_format::{GraphId, TokenPhase};
use serde::Serialize;
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

/// The tokens of a run, or of one context of it.
///
/// # Errors
/// When their ids were not recorded.
pub(super) fn tokens_of(trace: &Trace, context: Option<u32>) -> Result<Vec<Known>, String> {
    let mut all = vec![];
    trace.for_each_evaluation(&Select::default(), false, |row| {
        if context.is_none_or(|context| row.evaluation.context == context) {
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
    let same = |(a, b): (&Known, &Known)| a.token == b.token && a.id == b.id;
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
