//! Which tokens are the answer, and to which request each token belongs.
//!
//! A *request* is a prompt and its answer in one sequence of one context. A token is GENERATE when it was sampled: the
//! token before it in its sequence had an output to sample it from, in an earlier call of llama.cpp. All others are
//! PROMPT. The tokens that a draft proposes and that are verified in one batch are PROMPT, too, but for the first of the
//! batch, which was sampled. Nothing that a context samples which drafts for another one is an answer. That it does is known
//! when the other one verifies what it proposed: what it sampled until then was taken for an answer, and is corrected.

use super::sequence::{Kept, Sequence};
use crate::{Drafting, RequestBegun};
use ggscope_format::record::{Evaluation, MemoryChange, MemoryOp};
use ggscope_format::{RequestId, TokenPhase};
use std::collections::{HashMap, VecDeque};

/// Contexts that are remembered.
const MAX_CONTEXTS: usize = 1 << 10;
/// Sequences of a context that are remembered.
const MAX_SEQUENCES: usize = 1 << 12;
/// A batch of one sequence with outputs of all its tokens is a draft that is verified, if it has no more tokens than
/// this. A longer one is a prompt.
const MAX_VERIFIED: usize = 129;

/// What is known of the tokens of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributed {
    /// What each token is part of.
    pub phases: Vec<TokenPhase>,
    /// The request of each token.
    pub requests: Vec<Option<RequestId>>,
    /// Requests that begin with it.
    pub begun: Vec<RequestBegun>,
    /// Contexts that are known from now on to draft for the one that computed it.
    pub drafting: Vec<Drafting>,
}

#[derive(Default)]
struct Context {
    sequences: HashMap<i32, Sequence>,
    /// The context whose answers it drafts.
    drafts_for: Option<u32>,
    /// Its first token since its memory was empty.
    first_token: Option<u64>,
    /// The last tokens that a token can have been sampled after: when, position and id.
    ends: VecDeque<(u64, i32, i32)>,
}

/// Follows the sequences of all contexts, evaluation after evaluation.
#[derive(Default)]
pub struct Requests {
    contexts: HashMap<u32, Context>,
    next: u32,
    /// Evaluations so far.
    now: u64,
}

/// Tokens of a context that are remembered because another one can have been sampled after them.
const MAX_ENDS: usize = 1 << 10;

/// Tokens of one sequence in one evaluation: their places in it.
struct Part {
    sequence: i32,
    tokens: Vec<usize>,
}

impl Requests {
    /// Takes the next evaluation, whose first token has the number `first_token`. Evaluations of a context have to come
    /// in the order in which they began.
    pub fn evaluation(&mut self, e: &Evaluation, first_token: u64) -> Attributed {
        let n = e.n_tokens as usize;
        if e.sequences.is_empty() || n == 0 {
            return Attributed {
                phases: vec![TokenPhase::Unknown; n],
                requests: vec![None; n],
                ..Attributed::default()
            };
        }
        if self.contexts.len() >= MAX_CONTEXTS && !self.contexts.contains_key(&e.context) {
            self.contexts.clear();
        }
        let mut attributed =
            Attributed { phases: vec![TokenPhase::Prompt; n], requests: vec![None; n], ..Attributed::default() };
        let has_output = outputs(e);
        let context = self.contexts.entry(e.context).or_default();
        context.first_token.get_or_insert(first_token);
        if context.sequences.len() >= MAX_SEQUENCES {
            context.sequences.clear();
        }
        self.now += 1;
        let mut verified = vec![];
        for part in parts(e) {
            let sequence = context.sequences.entry(part.sequence).or_default();
            let generates = sequence.is_sampled(e, &part.tokens, &has_output, MAX_VERIFIED);
            let drafts = context.drafts_for.is_some();
            let generates = generates && !drafts;
            let begins = if drafts { sequence.begins_with_target(e) } else { sequence.begins(e, generates) };
            if sequence.request.is_none() || begins {
                let id = RequestId(self.next);
                self.next = self.next.wrapping_add(1);
                let first = part.tokens[0];
                let Kept { tokens: reused, parent } = sequence.begin(id, e.positions.get(first).copied());
                let (context, sequence) = (e.context, part.sequence);
                attributed.begun.push(RequestBegun {
                    id,
                    context,
                    sequence,
                    sequence_from: e.sequences_from,
                    first_token: first_token.saturating_add(first as u64),
                    reused,
                    parent,
                });
            }
            if generates {
                attributed.phases[part.tokens[0]] = TokenPhase::Generate;
                if part.tokens.len() > 1 {
                    verified.push((part.tokens.clone(), sequence.at));
                }
            }
            for &i in &part.tokens {
                attributed.requests[i] = sequence.request;
            }
            sequence.take(e, &part.tokens, &has_output, generates);
            sequence.at = self.now;
            if let Some(&last) = part.tokens.last().filter(|&&i| has_output[i])
                && let (Some(&position), Some(&id)) = (e.positions.get(last), e.tokens.get(last))
            {
                context.ends.push_back((self.now, position, id));
                context.ends.drain(..context.ends.len().saturating_sub(MAX_ENDS));
            }
        }
        self.share(e);
        for begun in &attributed.begun {
            self.renew_drafts(begun);
        }
        for (tokens, since) in verified {
            let found = self.find_draft(e, &tokens, since, first_token);
            attributed.drafting.extend(found);
        }
        attributed
    }

    /// A token of several sequences is computed for the first of them; the others find it in their memory.
    fn share(&mut self, e: &Evaluation) {
        if e.n_sequences.is_empty() {
            return;
        }
        let Some(context) = self.contexts.get_mut(&e.context) else { return };
        for (i, own) in e.sequences_of_tokens().enumerate() {
            let Some((first, others)) = own.split_first() else { continue };
            let position = e.positions.get(i).copied();
            let Some(from) = context.sequences.get(first).map(|s| s.at(position)) else { continue };
            for other in others {
                context.sequences.entry(*other).or_default().share(&from);
            }
        }
    }

    /// A context that drafts for the one that a request began in goes on to that request, too.
    fn renew_drafts(&mut self, begun: &RequestBegun) {
        for context in self.contexts.values_mut().filter(|context| context.drafts_for == Some(begun.context)) {
            match context.sequences.get_mut(&begun.sequence) {
                Some(own) => own.has_new_target = true,
                None => context.sequences.values_mut().for_each(|own| own.has_new_target = true),
            }
        }
    }

    /// Another context has proposed the tokens that are verified if it sampled after each of them but the last, at the
    /// same positions and `since` the sequence was evaluated before. Returns those of which this was not known, with their
    /// tokens before `end` that were taken for an answer.
    fn find_draft(&mut self, e: &Evaluation, tokens: &[usize], since: u64, end: u64) -> Vec<Drafting> {
        let known = |&i: &usize| Some((e.positions.get(i).copied()?, e.tokens.get(i).copied()?));
        let Some(proposed) = tokens[..tokens.len() - 1].iter().map(known).collect::<Option<Vec<_>>>() else {
            return vec![];
        };
        let mut found = vec![];
        for (&draft, context) in self.contexts.iter_mut().filter(|(number, _)| **number != e.context) {
            let is_end = |token: &(i32, i32)| context.ends.iter().any(|end| end.0 > since && (end.1, end.2) == *token);
            if proposed.iter().all(is_end) {
                if context.drafts_for.is_none() {
                    let first = context.first_token.unwrap_or(end);
                    found.push(Drafting { context: draft, drafts_for: e.context, tokens: (first, end) });
                }
                context.drafts_for = Some(e.context);
            }
        }
        found
    }

    /// Takes a change of a context's memory, after all earlier evaluations of the context.
    pub fn memory(&mut self, change: &MemoryChange) {
        let Some(context) = self.contexts.get_mut(&change.context) else { return };
        if empties(&change.op) {
            context.first_token = None;
        }
        let sequences = &mut context.sequences;
        let each = |sequences: &mut HashMap<i32, Sequence>, wanted: i32, change: &dyn Fn(&mut Sequence)| {
            sequences.iter_mut().filter(|(s, _)| wanted < 0 || **s == wanted).for_each(|(_, s)| change(s));
        };
        match change.op {
            MemoryOp::Clear => sequences.clear(),
            MemoryOp::Keep { sequence } => sequences.retain(|&s, _| s == sequence),
            MemoryOp::Remove { sequence, positions } => each(sequences, sequence, &|s| s.remove(positions)),
            MemoryOp::Copy { from, to, positions } if from != to => {
                if let Some(copy) = sequences.get(&from).map(|s| s.part(positions)) {
                    sequences.entry(to).or_default().receive(copy);
                }
            }
            MemoryOp::Copy { .. } => {}
            MemoryOp::Shift { sequence, positions, by } => {
                each(sequences, sequence, &|s| s.shift(positions, |p| p.saturating_add(by)));
            }
            MemoryOp::Divide { sequence, positions, by } => {
                each(sequences, sequence, &|s| s.shift(positions, |p| p.checked_div(by).unwrap_or(p)));
            }
            MemoryOp::Restore { sequence } if sequence < 0 => sequences.clear(),
            MemoryOp::Restore { sequence } => {
                sequences.remove(&sequence);
            }
        }
    }
}

/// Whether a change leaves nothing in a context's memory: what the context computes then goes on with nothing before.
pub fn empties(op: &MemoryOp) -> bool {
    match *op {
        MemoryOp::Clear => true,
        MemoryOp::Remove { sequence, positions: (begin, end) } => sequence < 0 && begin <= 0 && end < 0,
        _ => false,
    }
}

/// Of which tokens the program asked an output.
fn outputs(e: &Evaluation) -> Vec<bool> {
    let n = e.n_tokens as usize;
    let Some(rows) = e.requested.as_ref().or(e.outputs.as_ref()) else { return vec![true; n] };
    let mut has_output = vec![false; n];
    for &row in rows {
        if let Some(output) = usize::try_from(row).ok().and_then(|i| has_output.get_mut(i)) {
            *output = true;
        }
    }
    has_output
}

/// The tokens of each sequence that an evaluation computes, in the order of their first tokens.
fn parts(e: &Evaluation) -> Vec<Part> {
    let mut parts: Vec<Part> = vec![];
    let mut known: HashMap<i32, usize> = HashMap::new();
    for (i, own) in e.sequences_of_tokens().enumerate() {
        let Some(&sequence) = own.first() else { continue };
        let at = *known.entry(sequence).or_insert_with(|| {
            parts.push(Part { sequence, tokens: vec![] });
            parts.len() - 1
        });
        parts[at].tokens.push(i);
    }
    parts
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
