//! Tests of phases and requests, on evaluations written by hand.

use super::*;
use TokenPhase::{Generate as G, Prompt as P};
use ggscope_format::EvalId;
use ggscope_format::record::SequencesFrom;

/// A program that calls llama.cpp.
#[derive(Default)]
struct Program {
    requests: Requests,
    calls: u64,
    tokens: u64,
    begun: Vec<RequestBegun>,
    drafting: Vec<Drafting>,
}

impl Program {
    /// Evaluates tokens, each (sequence, position, whether its output is wanted), in a context. Returns their phases.
    fn call_in(&mut self, context: u32, tokens: &[(i32, i32, bool)]) -> Vec<TokenPhase> {
        self.calls += 1;
        self.again(context, tokens)
    }

    fn call(&mut self, tokens: &[(i32, i32, bool)]) -> Vec<TokenPhase> {
        self.call_in(0, tokens)
    }

    /// Another evaluation of the same call.
    fn again(&mut self, context: u32, tokens: &[(i32, i32, bool)]) -> Vec<TokenPhase> {
        let outputs = tokens.iter().enumerate().filter(|(_, t)| t.2).map(|(i, _)| i as i32);
        let e = Evaluation {
            context,
            call: self.calls,
            n_tokens: tokens.len() as u32,
            tokens: tokens.iter().map(|t| 100 + t.1).collect(),
            positions: tokens.iter().map(|t| t.1).collect(),
            sequences: tokens.iter().map(|t| t.0).collect(),
            sequences_from: SequencesFrom::Batch,
            requested: Some(outputs.collect()),
            ..Evaluation::default()
        };
        let attributed = self.requests.evaluation(&e, self.tokens);
        self.tokens += tokens.len() as u64;
        self.begun.extend(attributed.begun);
        self.drafting.extend(attributed.drafting);
        attributed.phases
    }

    fn change(&mut self, op: MemoryOp) {
        self.requests.memory(&MemoryChange { before: EvalId(0), context: 0, op });
    }

    fn remove(&mut self, sequence: i32, begin: i32) {
        self.change(MemoryOp::Remove { sequence, positions: (begin, -1) });
    }

    /// A prompt whose last token has an output.
    fn prompt(&mut self, sequence: i32, n: i32) {
        let tokens: Vec<_> = (0..n).map(|p| (sequence, p, p + 1 == n)).collect();
        assert!(self.call(&tokens).iter().all(|&phase| phase == P));
    }

    /// Sequence, reused tokens and parent of each request so far.
    fn requests(&self) -> Vec<(i32, u32, Option<u32>)> {
        self.begun.iter().map(|r| (r.sequence, r.reused, r.parent.map(|p| p.0))).collect()
    }
}

#[test]
fn what_was_sampled_is_generate_and_the_prompt_is_not() {
    let mut program = Program::default();
    program.prompt(0, 3);
    assert_eq!(program.call(&[(0, 3, true)]), [G]);
    assert_eq!(program.call(&[(0, 4, true)]), [G]);
    assert_eq!(program.requests(), [(0, 0, None)]);
}

#[test]
fn slots_at_any_positions_answer_each_for_itself() {
    let mut program = Program::default();
    program.call(&[(0, 0, false), (0, 1, true), (1, 0, false), (1, 1, false)]);
    assert_eq!(program.call(&[(1, 2, true)]), [P], "the end of a prompt that was fed in two calls");
    assert_eq!(program.call(&[(0, 2, true), (1, 3, true)]), [G, G]);
    assert_eq!(program.call(&[(0, 3, true), (2, 0, false), (2, 1, true), (1, 4, true)]), [G, P, P, G]);
    assert_eq!(program.requests(), [(0, 0, None), (1, 0, None), (2, 0, None)]);
}

#[test]
fn the_rest_of_a_call_is_prompt_although_all_outputs_are_wanted() {
    let mut program = Program::default();
    program.call(&[(0, 0, true), (0, 1, true)]);
    assert_eq!(program.again(0, &[(0, 2, true)]), [P]);
    assert_eq!(program.call(&[(0, 3, true)]), [G]);
}

#[test]
fn a_prompt_that_continues_in_the_same_sequence_is_another_request() {
    let mut program = Program::default();
    program.prompt(5, 3);
    program.call(&[(5, 3, true)]);
    assert_eq!(program.call(&[(5, 4, false), (5, 5, true)]), [P, P]);
    assert_eq!(program.requests(), [(5, 0, None), (5, 4, Some(0))]);
}

#[test]
fn a_continued_prompt_of_one_token_is_prompt_where_the_program_says_where_it_goes_on() {
    let mut program = Program::default();
    program.prompt(0, 3);
    program.call(&[(0, 3, true)]);
    program.remove(0, 4);
    assert_eq!(program.call(&[(0, 4, true)]), [P]);
    assert_eq!(program.call(&[(0, 5, true)]), [G]);
    assert_eq!(program.requests(), [(0, 0, None), (0, 4, Some(0))]);
}

#[test]
fn a_server_that_trims_the_cache_before_each_part_of_a_prompt_has_one_request() {
    let mut program = Program::default();
    program.remove(0, 0);
    program.call(&[(0, 0, false), (0, 1, false)]);
    program.remove(0, 2);
    program.call(&[(0, 2, false), (0, 3, true)]);
    assert_eq!(program.call(&[(0, 4, true)]), [G]);
    assert_eq!(program.requests().len(), 1);
}

#[test]
fn drafts_are_prompt_and_the_token_before_them_was_sampled() {
    let mut program = Program::default();
    program.prompt(0, 3);
    assert_eq!(program.call(&[(0, 3, true), (0, 4, true), (0, 5, true)]), [G, P, P]);
    program.remove(0, 5);
    assert_eq!(program.call(&[(0, 5, true), (0, 6, true)]), [G, P]);
    program.remove(0, 7);
    assert_eq!(program.call(&[(0, 7, true)]), [G], "both were accepted");
    assert_eq!(program.requests().len(), 1);
}

#[test]
fn a_batch_with_drafts_that_takes_several_evaluations_is_one_step_of_the_answer() {
    let mut program = Program::default();
    program.call(&[(0, 0, false), (0, 1, true), (1, 0, true)]);
    assert_eq!(program.call(&[(0, 2, true), (0, 3, true), (1, 1, true), (1, 2, true)]), [G, P, G, P]);
    assert_eq!(program.again(0, &[(0, 4, true), (0, 5, true)]), [P, P]);
    program.remove(0, 5);
    program.remove(1, 3);
    assert_eq!(program.call(&[(0, 5, true), (0, 6, true), (1, 3, true)]), [G, P, G]);
    assert_eq!(program.requests().len(), 2);
}

#[test]
fn what_a_draft_model_proposes_is_no_answer() {
    let mut program = Program::default();
    program.prompt(0, 3);
    program.call_in(1, &[(0, 0, false), (0, 1, false), (0, 2, true)]);
    program.call_in(1, &[(0, 3, true)]);
    program.call_in(1, &[(0, 4, true)]);
    program.requests.memory(&MemoryChange {
        before: EvalId(0),
        context: 1,
        op: MemoryOp::Remove { sequence: 0, positions: (3, -1) },
    });
    assert_eq!(program.drafting, []);
    assert_eq!(program.call(&[(0, 3, true), (0, 4, true), (0, 5, true)]), [G, P, P]);
    let known = Drafting { context: 1, drafts_for: 0, tokens: (3, 8) };
    assert_eq!(program.drafting, [known], "what it proposed until then is no answer");
    assert_eq!(program.call_in(1, &[(0, 5, true)]), [P], "the draft model is known by what it proposed");
    assert_eq!(program.call(&[(0, 6, true)]), [G]);
    let contexts = |program: &Program| program.begun.iter().map(|r| r.context).collect::<Vec<_>>();
    assert_eq!(contexts(&program), [0, 1]);
    program.remove(0, 1);
    assert_eq!(program.call(&[(0, 1, false), (0, 2, true)]), [P, P]);
    assert_eq!(program.call_in(1, &[(0, 7, false), (0, 8, true)]), [P, P]);
    assert_eq!(program.call_in(1, &[(0, 9, true)]), [P]);
    assert_eq!(program.drafting, [known], "once");
    assert_eq!(contexts(&program), [0, 1, 0, 1], "a draft's requests begin with those that it is for");
}

#[test]
fn a_copied_sequence_goes_on_with_a_request_of_its_own() {
    let mut program = Program::default();
    program.prompt(0, 3);
    program.change(MemoryOp::Copy { from: 0, to: 1, positions: (-1, -1) });
    assert_eq!(program.call(&[(0, 3, true), (1, 3, true)]), [G, G]);
    assert_eq!(program.requests(), [(0, 0, None), (1, 3, Some(0))]);
}

#[test]
fn a_context_shift_does_not_end_the_answer() {
    let mut program = Program::default();
    program.prompt(0, 8);
    program.call(&[(0, 8, true)]);
    program.change(MemoryOp::Remove { sequence: 0, positions: (2, 5) });
    program.change(MemoryOp::Shift { sequence: 0, positions: (5, 9), by: -3 });
    assert_eq!(program.call(&[(0, 6, true)]), [G]);
    assert_eq!(program.requests().len(), 1);
}

#[test]
fn a_sequence_that_was_emptied_begins_again() {
    let mut program = Program::default();
    program.prompt(0, 3);
    program.call(&[(0, 3, true)]);
    for op in [MemoryOp::Clear, MemoryOp::Restore { sequence: 0 }, MemoryOp::Keep { sequence: 7 }] {
        program.change(op);
        assert_eq!(program.call(&[(0, 4, true)]), [P], "{op:?}");
    }
}

#[test]
fn contexts_do_not_answer_for_each_other() {
    let mut program = Program::default();
    program.prompt(0, 2);
    assert_eq!(program.call_in(1, &[(0, 2, true)]), [P]);
}

#[test]
fn numbers_from_a_hostile_host_do_no_harm() {
    let mut program = Program::default();
    program.call(&[(-7, i32::MAX, true), (i32::MIN, i32::MIN, true), (0, -1, false)]);
    program.change(MemoryOp::Shift { sequence: -1, positions: (i32::MIN, i32::MAX), by: i32::MIN });
    program.change(MemoryOp::Divide { sequence: -1, positions: (0, -1), by: 0 });
    program.change(MemoryOp::Remove { sequence: 0, positions: (9, 3) });
    program.change(MemoryOp::Copy { from: -7, to: 3, positions: (9, 3) });
    program.call(&[(3, 0, true), (-7, i32::MIN, true)]);
}
