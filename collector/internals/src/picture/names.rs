//! What tokens are called: their texts and positions, for many tokens at once.

use ggscope_trace::{Select, Trace};
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

/// What is known of a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// Position that it had when it came.
    pub pos: Option<i32>,
    /// Its text.
    pub text: Option<String>,
}

/// What is known of these tokens, by their numbers within the session.
pub fn named(trace: &Trace, tokens: &BTreeSet<u64>) -> HashMap<u64, Named> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return HashMap::new() };
    let select = Select { tokens: Some(*first..last.saturating_add(1)), ..Select::default() };
    let mut found: HashMap<u64, Named> = HashMap::new();
    trace.for_each_evaluation(&select, false, |row| {
        let e = &row.evaluation;
        let end = row.first_token.saturating_add(e.n_tokens.into());
        for &token in tokens.range(row.first_token..end) {
            let i = (token - row.first_token) as usize;
            let text = e.tokens.get(i).and_then(|&id| trace.text_of(e.graph, id));
            found.insert(token, Named { pos: e.positions.get(i).copied(), text });
        }
        ControlFlow::Continue(())
    });
    found
}
