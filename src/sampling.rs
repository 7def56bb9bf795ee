//! In which evaluations values are captured: those that have a wanted token, every n-th of an answer, and no more than the
//! budget allows.

use ggscope_format::Bytes;
use ggscope_format::capture::Capture;
use ggscope_format::record::{Evaluation, LeftOut};
use std::collections::HashSet;
use std::time::Instant;

/// More tokens with outputs than this in one evaluation are a prompt's, not answers of several slots.
const MAX_SLOTS: u32 = 16;
/// Contexts that are remembered.
const MAX_CONTEXTS: usize = 1 << 10;

/// Counts tokens, and what may still travel.
#[derive(Default)]
pub struct Sampling {
    tokens: u64,
    /// Evaluations that looked like an answer's, and contexts that have evaluated something.
    generated: u64,
    contexts: HashSet<u32>,
    /// Bytes that may travel, below 0 if more have, and when that was so.
    left: Option<(f64, Instant)>,
    left_out: LeftOut,
}

impl Sampling {
    /// Whether values of the evaluation are wanted. To be asked once for every evaluation, in their order.
    pub fn wants(&mut self, capture: &Capture, evaluation: &Evaluation) -> bool {
        let first = self.tokens;
        let n = evaluation.n_tokens;
        self.tokens += u64::from(n);
        if self.contexts.len() >= MAX_CONTEXTS {
            self.contexts.clear();
        }
        let is_first = self.contexts.insert(evaluation.context);
        let outputs = evaluation.outputs.as_ref().map_or(n as usize, Vec::len);
        let generates = !is_first && (1..=MAX_SLOTS).contains(&n) && outputs == n as usize;
        let is_nth = !generates || self.generated.is_multiple_of(capture.every.max(1));
        self.generated += u64::from(generates);
        is_nth && (n == 0 || capture.tokens.has_any(first..=first + u64::from(n) - 1))
    }

    /// Whether a capture of so many bytes may travel. One that is larger than what a second allows may if nothing did for
    /// as long as it takes, and is paid off by those that are left out after it.
    pub fn affords(&mut self, budget: Option<Bytes>, bytes: u64, now: Instant) -> bool {
        let Some(Bytes(budget)) = budget else { return true };
        let budget = budget as f64;
        let (left, since) = self.left.unwrap_or((budget, now));
        let left = (left + now.saturating_duration_since(since).as_secs_f64() * budget).min(budget);
        let affords = left > 0.0;
        self.left = Some((if affords { left - bytes as f64 } else { left }, now));
        if !affords {
            self.left_out.evaluations += 1;
            self.left_out.bytes.0 += bytes;
        }
        affords
    }

    /// What was left out for the budget's sake so far.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::capture::Ranges;
    use std::time::Duration;

    fn evaluation(n_tokens: u32, outputs: i32) -> Evaluation {
        Evaluation { n_tokens, outputs: Some((0..outputs).collect()), ..Evaluation::default() }
    }

    #[test]
    fn every_nth_token_of_an_answer_is_wanted_and_all_of_a_prompt() {
        let (mut pace, capture) = (Sampling::default(), Capture { every: 3, ..Capture::default() });
        let mut wants = |n, outputs| pace.wants(&capture, &evaluation(n, outputs));
        assert!(wants(5, 1) && wants(5, 1));
        assert_eq!([(); 5].map(|()| wants(1, 1)), [true, false, false, true, false]);
        assert!(wants(7, 1), "another prompt");
        assert!(!wants(2, 2) && wants(2, 2), "two slots");
    }

    #[test]
    fn an_evaluation_is_wanted_if_one_of_its_tokens_is() {
        let tokens = Ranges::parse("0,6-7").unwrap();
        let (mut pace, capture) = (Sampling::default(), Capture { tokens, ..Capture::default() });
        let mut wants = |n| pace.wants(&capture, &evaluation(n, 1));
        assert_eq!([5, 1, 1, 1, 1].map(&mut wants), [true, false, true, true, false]);
    }

    #[test]
    fn the_budget_holds_over_time_and_what_is_left_out_is_counted() {
        let (mut pace, begin, budget) = (Sampling::default(), Instant::now(), Some(Bytes(1000)));
        let mut affords = |ms, bytes| pace.affords(budget, bytes, begin + Duration::from_millis(ms));
        assert!(affords(0, 600) && affords(0, 600), "a second's worth at once, and what begins within it");
        assert!(!affords(100, 300) && !affords(200, 300));
        assert!(affords(201, 5000), "paid off");
        assert!(!affords(5000, 1));
        assert!(affords(5400, 1));
        assert_eq!(pace.left_out(), LeftOut { evaluations: 3, bytes: Bytes(601) });
        assert!(pace.affords(None, u64::MAX, begin));
    }
}
