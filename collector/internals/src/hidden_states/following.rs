//! What came after a token in its own context.

use ggscope_trace::{Select, Trace};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

/// The tokens of each context, to find the one that came after another: context, number, id and position.
pub(super) struct Following(Vec<(u32, u64, i32, i32)>);

impl Following {
    /// Of these tokens and, for each of their contexts, the one behind them.
    pub fn of(trace: &Trace, tokens: &Range<u64>) -> Following {
        let (mut all, mut open) = (vec![], BTreeSet::new());
        let select = Select { tokens: Some(tokens.start..u64::MAX), ..Select::default() };
        trace.for_each_evaluation(&select, false, |row| {
            let e = &row.evaluation;
            let is_behind = row.first_token >= tokens.end;
            if is_behind && open.is_empty() {
                return ControlFlow::Break(());
            }
            if !is_behind || open.remove(&e.context) {
                let tokens = e.tokens.iter().zip(&e.positions);
                all.extend((row.first_token..).zip(tokens).map(|(n, (&id, &pos))| (e.context, n, id, pos)));
            }
            if !is_behind && row.first_token + row.phases.len() as u64 <= tokens.end {
                open.insert(e.context);
            } else if !is_behind {
                open.remove(&e.context);
            }
            ControlFlow::Continue(())
        });
        all.sort_unstable();
        Following(all)
    }

    /// The next one in the context, if it has the next position.
    pub fn after(&self, token: u64, context: u32, position: Option<i32>) -> Option<u32> {
        let at = self.0.binary_search_by_key(&(context, token), |t| (t.0, t.1)).ok()?;
        let &(_, _, id, next) = self.0.get(at + 1).filter(|next| next.0 == context)?;
        (position?.checked_add(1) == Some(next)).then(|| u32::try_from(id).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn the_next_token_is_that_of_the_same_context_wherever_others_stand_between() {
        let recorded = contexts(&[(0, 0, 2), (1, 1, 2), (0, 0, 1), (1, 1, 1)]);
        let mut ids = vec![];
        recorded.trace.for_each_evaluation(&Select::default(), false, |row| {
            ids.extend(row.evaluation.tokens.iter().map(|&id| id as u32));
            ControlFlow::Continue(())
        });
        for tokens in [0..6, 0..4, 1..2] {
            let following = Following::of(&recorded.trace, &tokens);
            assert_eq!(following.after(1, 0, Some(1)), Some(ids[4]), "{tokens:?}");
            assert_eq!(following.after(1, 0, Some(7)), None, "it is not at the next position");
        }
        let following = Following::of(&recorded.trace, &(0..6));
        assert_eq!(following.after(3, 1, Some(1)), Some(ids[5]));
        assert_eq!((following.after(4, 0, Some(2)), following.after(4, 1, Some(2))), (None, None));
    }
}
