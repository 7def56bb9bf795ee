//! Requests: each prompt with its answer, how many tokens it took, what it found in the cache, and how fast it was.

use super::contexts::Contexts;
use ggscope_format::columns::Row;
use ggscope_format::record::{MemoryChange, MemoryOp, SequencesFrom};
use ggscope_format::{RequestId, TokenPhase};
use ggscope_trace::{RequestBegun, Select, Trace};
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::ControlFlow;
use std::vec::IntoIter;
use utoipa::ToSchema;

/// A prompt and its answer, in one sequence of one context.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Request {
    /// Number within the session, in the order in which requests began.
    pub id: u32,
    /// Its context.
    pub context: u32,
    /// Its sequence: the id that the program uses, or a number of ggscope's own.
    pub sequence: i32,
    /// Where the sequence's id comes from.
    pub sequence_from: SequenceSource,
    /// Number of its first token within the session.
    pub first_token: u64,
    /// Number of its last token within the session so far.
    pub last_token: u64,
    /// Tokens of its prompt that were computed; in a draft model's context also the tokens that it proposed.
    pub prompt_tokens: u64,
    /// Tokens of earlier requests that it found in its sequence, and that were not computed again.
    pub reused_tokens: u32,
    /// Tokens of its answer that were sampled and then computed.
    pub generated_tokens: u64,
    /// Tokens of a draft that were verified.
    pub drafted_tokens: u64,
    /// How many of the drafted tokens were accepted: the program cut its memory behind them, or the next sampled token came after
    /// them.
    pub accepted_tokens: u64,
    /// The request that computed the last token that it found in its sequence; null if there is none.
    pub parent: Option<u32>,
    /// Begin of its first evaluation, nanoseconds of `CLOCK_MONOTONIC`.
    pub begin_ns: u64,
    /// End of its last evaluation so far, nanoseconds of `CLOCK_MONOTONIC`.
    pub end_ns: u64,
    /// Evaluations that computed tokens of it.
    pub evaluations: u64,
    /// Time of the evaluations that computed its prompt, nanoseconds. An evaluation that also computes tokens of other
    /// requests counts whole: the request waits for all of it.
    pub prompt_ns: u64,
    /// Time of the evaluations that computed its answer, nanoseconds, counted likewise.
    pub generate_ns: u64,
    /// Tokens per second of these times.
    pub tokens_per_second: Speed,
}

/// Tokens per second of the evaluations that computed them; null without tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Speed {
    /// Of the prompt.
    pub prompt: Option<f64>,
    /// Of the answer, accepted drafts included.
    pub generate: Option<f64>,
}

/// Where the id of a sequence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SequenceSource {
    /// From the batch that the program passed to llama.cpp: the id is the program's.
    Batch,
    /// Inferred from the cells of the cache that each token is written to and sees: the id is ggscope's.
    Inferred,
}

impl SequenceSource {
    /// `None` where sequences are unknown.
    pub fn of(from: SequencesFrom) -> Option<SequenceSource> {
        match from {
            SequencesFrom::Nowhere => None,
            SequencesFrom::Batch => Some(SequenceSource::Batch),
            SequencesFrom::Cells => Some(SequenceSource::Inferred),
        }
    }
}

/// A request that is being counted.
struct Counted {
    request: Request,
    /// Positions of drafted tokens that are not known to be accepted.
    drafted: Vec<i32>,
    /// The call of llama.cpp that computed the last token of the answer: what else it computes is a draft.
    answering: Option<u64>,
}

/// All requests of a trace, in the order in which they began. None if the sequences of its tokens are unknown.
pub fn requests(trace: &Trace) -> Vec<Request> {
    let mut counting = Counting::of(trace);
    if !counting.counted.is_empty() {
        trace.for_each_evaluation(&Select::default(), false, |row| {
            counting.next(&row);
            ControlFlow::Continue(())
        });
    }
    counting.finish()
}

/// The same, and the contexts of the trace: its evaluations are read once for both.
pub fn with_contexts(trace: &Trace) -> (Contexts, Vec<Request>) {
    let mut counting = Counting::of(trace);
    let contexts = Contexts::seeing(trace, |row| counting.next(row));
    (contexts, counting.finish())
}

/// All requests while they are counted.
struct Counting {
    counted: BTreeMap<RequestId, Counted>,
    /// The request with drafts that are not known to be accepted, of a context and sequence.
    drafting: BTreeMap<(u32, i32), RequestId>,
    /// Changes of memories that come later than the last evaluation so far.
    changes: Peekable<IntoIter<MemoryChange>>,
}

impl Counting {
    fn of(trace: &Trace) -> Counting {
        let begun = trace.requests().into_iter().map(|begun| (begun.id, Counted::new(begun)));
        let changes = trace.memory_changes().into_iter().peekable();
        Counting { counted: begun.collect(), drafting: BTreeMap::new(), changes }
    }

    /// Takes the next evaluation of the trace, and what changed before it.
    fn next(&mut self, row: &Row) {
        if self.counted.is_empty() {
            return;
        }
        while let Some(change) = self.changes.next_if(|change| change.before <= row.evaluation.eval) {
            self.change(&change);
        }
        self.evaluation(row);
    }

    fn finish(mut self) -> Vec<Request> {
        while let Some(change) = self.changes.next() {
            self.change(&change);
        }
        let is_seen = |c: &Counted| c.request.evaluations > 0;
        self.counted.into_values().filter(is_seen).map(Counted::finish).collect()
    }

    fn evaluation(&mut self, row: &Row) {
        let mut of: BTreeMap<RequestId, Vec<usize>> = BTreeMap::new();
        for (i, request) in row.requests.iter().enumerate().filter_map(|(i, r)| Some((i, (*r)?))) {
            of.entry(request).or_default().push(i);
        }
        for (request, tokens) in of {
            let Some(counted) = self.counted.get_mut(&request) else { continue };
            counted.add(row, &tokens);
            if !counted.drafted.is_empty() {
                self.drafting.insert((counted.request.context, counted.request.sequence), request);
            }
        }
    }

    /// A program removes the drafts that it does not accept: those before the cut stay.
    fn change(&mut self, change: &MemoryChange) {
        let MemoryOp::Remove { sequence, positions: (begin, end) } = change.op else { return };
        let is_cut = |&(context, own): &(u32, i32)| context == change.context && (sequence < 0 || own == sequence);
        if end >= 0 {
            return;
        }
        let Counting { counted, drafting, .. } = self;
        drafting.retain(|key, request| {
            if is_cut(key)
                && let Some(counted) = counted.get_mut(request)
            {
                counted.accept(|position| position < begin);
            }
            !is_cut(key)
        });
    }
}

impl Counted {
    fn new(begun: RequestBegun) -> Counted {
        let RequestBegun { id, context, sequence, sequence_from, first_token, reused, parent } = begun;
        let request = Request {
            id: id.0,
            context,
            sequence,
            sequence_from: SequenceSource::of(sequence_from).unwrap_or(SequenceSource::Inferred),
            first_token,
            last_token: first_token,
            prompt_tokens: 0,
            reused_tokens: reused,
            generated_tokens: 0,
            drafted_tokens: 0,
            accepted_tokens: 0,
            parent: parent.map(|p| p.0),
            begin_ns: 0,
            end_ns: 0,
            evaluations: 0,
            prompt_ns: 0,
            generate_ns: 0,
            tokens_per_second: Speed::default(),
        };
        Counted { request, drafted: vec![], answering: None }
    }

    fn add(&mut self, row: &Row, tokens: &[usize]) {
        let (e, r) = (&row.evaluation, &mut self.request);
        let ns = e.end.0.saturating_sub(e.start.0);
        r.begin_ns = if r.evaluations == 0 { e.start.0 } else { r.begin_ns.min(e.start.0) };
        r.end_ns = r.end_ns.max(e.end.0);
        r.evaluations += 1;
        if tokens.iter().any(|&i| row.phases[i] == TokenPhase::Generate) {
            self.answering = Some(e.call);
        } else if e.call == 0 || self.answering != Some(e.call) {
            self.answering = None;
        }
        let answers = self.answering.is_some();
        for &i in tokens {
            self.request.last_token = self.request.last_token.max(row.first_token.saturating_add(i as u64));
            let position = e.positions.get(i).copied();
            match row.phases[i] {
                TokenPhase::Generate => {
                    self.request.generated_tokens += 1;
                    self.accept(|drafted| position.is_some_and(|at| drafted < at));
                }
                _ if answers => {
                    self.request.drafted_tokens += 1;
                    self.drafted.extend(position);
                }
                _ => self.request.prompt_tokens += 1,
            }
        }
        let time = if answers { &mut self.request.generate_ns } else { &mut self.request.prompt_ns };
        *time = time.saturating_add(ns);
    }

    /// Drafted tokens are accepted where `is_kept` says so of their positions, and no others.
    fn accept(&mut self, is_kept: impl Fn(i32) -> bool) {
        let drafted = std::mem::take(&mut self.drafted);
        self.request.accepted_tokens += drafted.into_iter().filter(|&position| is_kept(position)).count() as u64;
    }

    fn finish(self) -> Request {
        let mut request = self.request;
        let rate = |tokens: u64, ns: u64| (tokens > 0 && ns > 0).then(|| tokens as f64 * 1e9 / ns as f64);
        request.tokens_per_second = Speed {
            prompt: rate(request.prompt_tokens, request.prompt_ns),
            generate: rate(request.generated_tokens + request.accepted_tokens, request.generate_ns),
        };
        request
    }
}

/// What is known of the sequences of one token.
#[derive(Clone, Debug, Default)]
pub struct OfToken {
    /// Its sequences; `None` if they are unknown.
    pub seq_ids: Option<Vec<i32>>,
    /// Whether the program asked for its output; `None` if that is unknown.
    pub output: Option<bool>,
    /// Its request.
    pub request: Option<u32>,
}

/// The sequences and requests of an evaluation's tokens.
pub fn of_tokens(row: &Row) -> Vec<OfToken> {
    let e = &row.evaluation;
    let mut all: Vec<OfToken> = (0..row.phases.len())
        .map(|i| OfToken {
            request: row.requests.get(i).copied().flatten().map(|r| r.0),
            output: e.requested.as_ref().map(|rows| rows.iter().any(|&r| usize::try_from(r) == Ok(i))),
            seq_ids: None,
        })
        .collect();
    for (token, own) in all.iter_mut().zip(e.sequences_of_tokens()) {
        token.seq_ids = Some(own.to_vec());
    }
    all
}
