//! What tokens are called: their texts and positions, for many tokens at once.

use crate::trace::{Select, Trace};
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
    let mut found: HashMap<u64, (Option<i32>, Option<i32>)> = HashMap::new();
    trace.for_each_evaluation(&select, false, |row| {
        let e = &row.evaluation;
        let end = row.first_token.saturating_add(e.n_tokens.into());
        for &token in tokens.range(row.first_token..end) {
            let i = (token - row.first_token) as usize;
            found.insert(token, (e.tokens.get(i).copied(), e.positions.get(i).copied()));
        }
        ControlFlow::Continue(())
    });
    let ids: Vec<i32> = found.values().filter_map(|f| f.0).collect();
    let texts = trace.texts_of(&ids);
    let text = |id: Option<i32>| Some(String::from_utf8_lossy(texts.get(&id?)?).into_owned());
    found.into_iter().map(|(token, (id, pos))| (token, Named { pos, text: text(id) })).collect()
}
