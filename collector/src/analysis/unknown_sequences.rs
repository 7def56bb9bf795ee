//! Which tokens are the answer. A token is GENERATE when it was sampled: it stands alone, and the token before it, in
//! an earlier evaluation of the same context, had an output row to sample it from. All others are PROMPT.

use ggscope_format::TokenPhase;
use ggscope_format::record::Evaluation;
use std::collections::HashMap;

/// Positions that a context may remember; a program that asks for the outputs of whole books starts over.
const MAX_EXPECTED: usize = 1 << 16;
/// Answers at neighbouring positions in one evaluation that are told from a piece of a prompt.
const MAX_SLOTS: usize = 16;
/// Contexts that are remembered.
const MAX_CONTEXTS: usize = 1 << 10;

/// Sequence (or -1 when it is unknown) and position.
type Place = (i32, i32);

#[derive(Default)]
struct Context {
    /// Where a sampled token would go, and how many.
    expected: HashMap<Place, u32>,
    evaluated: bool,
}

/// Tells phases, evaluation after evaluation.
#[derive(Default)]
pub(super) struct Phases(HashMap<u32, Context>);

impl Phases {
    /// For each token of `e` whether it is GENERATE. Evaluations have to come in the order in which they began.
    pub(super) fn next(&mut self, e: &Evaluation) -> Vec<TokenPhase> {
        let of = |generated| if generated { TokenPhase::Generate } else { TokenPhase::Prompt };
        self.generated(e).into_iter().map(of).collect()
    }

    fn generated(&mut self, e: &Evaluation) -> Vec<bool> {
        if self.0.len() >= MAX_CONTEXTS && !self.0.contains_key(&e.context) {
            self.0.clear();
        }
        let context = self.0.entry(e.context).or_default();
        let n = e.n_tokens as usize;
        let later = std::mem::replace(&mut context.evaluated, true);
        if e.positions.len() != n || n == 0 {
            return vec![n == 1 && later; n];
        }
        let place = |i: usize| (e.sequences.get(i).copied().unwrap_or(-1), e.positions[i]);
        let mut has_output = vec![e.outputs.is_none(); n];
        for &row in e.outputs.iter().flatten() {
            if let Some(output) = usize::try_from(row).ok().and_then(|i| has_output.get_mut(i)) {
                *output = true;
            }
        }
        let mut generated = vec![false; n];
        for stretch in stretches(n, place) {
            let expected = |i: usize| e.positions[i] > 0 && context.expected.contains_key(&place(i));
            // Without sequences, neighbours in the batch may be the answers of several slots that happen to be at
            // neighbouring positions.
            let slots =
                e.sequences.is_empty() && stretch.len() <= MAX_SLOTS && has_output[stretch.clone()].iter().all(|&o| o);
            if (stretch.len() == 1 || slots) && stretch.clone().all(expected) {
                for i in stretch {
                    generated[i] = true;
                    context.consume(place(i));
                }
            }
        }
        for i in (0..n).filter(|&i| has_output[i]) {
            let (sequence, position) = place(i);
            context.expect((sequence, position.wrapping_add(1)));
        }
        generated
    }
}

impl Context {
    fn consume(&mut self, place: Place) {
        if let Some(count) = self.expected.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.expected.remove(&place);
            }
        }
    }

    fn expect(&mut self, place: Place) {
        if self.expected.len() >= MAX_EXPECTED {
            self.expected.clear();
        }
        let count = self.expected.entry(place).or_default();
        *count = count.saturating_add(1);
    }
}

/// Cuts `0..n` where the next token is not at the next position of the same sequence.
fn stretches(n: usize, place: impl Fn(usize) -> Place) -> Vec<std::ops::Range<usize>> {
    let mut stretches = vec![];
    let mut first = 0;
    for i in 1..=n {
        let follows = i < n && {
            let (sequence, position) = place(i - 1);
            place(i) == (sequence, position.wrapping_add(1))
        };
        if !follows {
            stretches.push(first..i);
            first = i;
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(positions: &[i32], outputs: Option<&[i32]>) -> Evaluation {
        Evaluation {
            n_tokens: positions.len() as u32,
            positions: positions.to_vec(),
            outputs: outputs.map(<[i32]>::to_vec),
            ..Default::default()
        }
    }

    #[test]
    fn what_was_sampled_is_generate_and_the_prompt_is_not() {
        let mut phases = Phases::default();
        assert_eq!(phases.generated(&evaluation(&[0, 1, 2], Some(&[2]))), [false; 3]);
        assert_eq!(phases.generated(&evaluation(&[3], None)), [true]);
        assert_eq!(phases.generated(&evaluation(&[4], None)), [true]);
    }

    #[test]
    fn the_rest_of_a_prompt_is_prompt_even_if_it_is_one_token() {
        let mut phases = Phases::default();
        assert_eq!(phases.generated(&evaluation(&[0, 1, 2], Some(&[]))), [false; 3]);
        assert_eq!(phases.generated(&evaluation(&[3], None)), [false]);
    }

    #[test]
    fn a_prompt_that_joins_a_running_answer_is_told_apart() {
        let mut phases = Phases::default();
        phases.generated(&evaluation(&[0, 1, 2], Some(&[2])));
        let mixed = phases.generated(&evaluation(&[3, 0, 1, 2, 3], Some(&[0, 4])));
        assert_eq!(mixed, [true, false, false, false, false]);
        assert_eq!(phases.generated(&evaluation(&[4, 4], None)), [true, true]);
    }

    #[test]
    fn neighbouring_slots_are_two_answers_and_not_one_prompt() {
        let mut phases = Phases::default();
        phases.generated(&evaluation(&[0, 1, 2], Some(&[2])));
        phases.generated(&evaluation(&[0, 1, 2, 3], Some(&[3])));
        assert_eq!(phases.generated(&evaluation(&[3, 4], None)), [true, true]);
    }

    #[test]
    fn contexts_do_not_answer_for_each_other() {
        let mut phases = Phases::default();
        phases.generated(&evaluation(&[0, 1], Some(&[1])));
        let other = Evaluation { context: 1, ..evaluation(&[2], None) };
        assert_eq!(phases.generated(&other), [false]);
    }

    #[test]
    fn without_positions_single_tokens_after_the_first_evaluation_are_generate() {
        let mut phases = Phases::default();
        let tokens = |n| Evaluation { n_tokens: n, ..Default::default() };
        assert_eq!(phases.generated(&tokens(4)), [false; 4]);
        assert_eq!(phases.generated(&tokens(1)), [true]);
        assert_eq!(phases.generated(&tokens(2)), [false; 2]);
    }

    #[test]
    fn numbers_from_a_hostile_host_do_no_harm() {
        let mut phases = Phases::default();
        phases.generated(&evaluation(&[i32::MAX, i32::MIN, -1], Some(&[-5, 99, 1])));
        phases.generated(&evaluation(&[i32::MIN], None));
    }
}
