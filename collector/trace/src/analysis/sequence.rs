//! What is known of one sequence of a context: which positions it holds, whose they are, and whether a token can have been
//! sampled from the last.

use ggscope_format::RequestId;
use ggscope_format::record::Evaluation;
use std::collections::BTreeMap;

/// Positions that are remembered one by one: the last ones.
const MAX_CELLS: usize = 1 << 14;

/// A token in a sequence's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    id: Option<i32>,
    has_output: bool,
    request: Option<RequestId>,
    /// The call of llama.cpp that computed it; 0 if unknown.
    call: u64,
}

/// A sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    /// The request that its last token belongs to.
    pub(super) request: Option<RequestId>,
    /// When it was evaluated last.
    pub(super) at: u64,
    /// What its memory holds, by position.
    cells: BTreeMap<i32, Cell>,
    /// Tokens before the first cell that is remembered.
    forgotten: u32,
    /// Whether the last request has tokens of an answer.
    has_answered: bool,
    /// The program has said where the sequence goes on: what comes next was not sampled.
    is_cut: bool,
    /// Something at its end was removed, other than drafts that were not accepted.
    has_lost: bool,
    /// Whether drafts were verified in the last request.
    has_drafted: bool,
    /// The sequence that this one drafts for has begun another request.
    pub(super) has_new_target: bool,
    /// The positions of the last batch with drafts, or that could have had some.
    verified: Option<(i32, i32)>,
}

/// What a request finds in its sequence.
pub(super) struct Kept {
    /// How many tokens.
    pub(super) tokens: u32,
    /// The request of the last.
    pub(super) parent: Option<RequestId>,
}

impl Sequence {
    /// Whether the first of these tokens was sampled, and the others, if there are some, are a draft that is verified.
    pub(super) fn is_sampled(&self, e: &Evaluation, tokens: &[usize], has_output: &[bool], most: usize) -> bool {
        let Some((&last, cell)) = self.cells.last_key_value() else { return false };
        let follows = e.positions.get(tokens[0]).is_none_or(|&p| p == last.wrapping_add(1));
        let is_of_earlier_call = !self.is_in_call(e);
        let verifies = tokens.len() <= most && tokens.iter().all(|&i| has_output[i]);
        !self.is_cut && cell.has_output && follows && is_of_earlier_call && (tokens.len() == 1 || verifies)
    }

    /// Whether the evaluation goes on with the batch that the last token came in.
    fn is_in_call(&self, e: &Evaluation) -> bool {
        e.call != 0 && self.cells.last_key_value().is_some_and(|(_, cell)| cell.call == e.call)
    }

    /// Whether tokens that come now begin another request.
    pub(super) fn begins(&self, e: &Evaluation, generates: bool) -> bool {
        if self.is_in_call(e) {
            return false;
        }
        let had_output = self.cells.last_key_value().is_none_or(|(_, cell)| cell.has_output);
        !generates && (self.has_lost || self.has_answered || had_output)
    }

    /// Whether tokens of a draft that come now are for another request than those before.
    pub(super) fn begins_with_target(&self, e: &Evaluation) -> bool {
        self.has_new_target && !self.is_in_call(e)
    }

    /// A request begins at `position`; all that is kept lies before it.
    pub(super) fn begin(&mut self, request: RequestId, position: Option<i32>) -> Kept {
        if let Some(position) = position {
            self.cells.split_off(&position);
        }
        let parent = self.cells.last_key_value().and_then(|(_, cell)| cell.request);
        self.request = Some(request);
        (self.has_answered, self.has_drafted, self.has_new_target) = (false, false, false);
        Kept { tokens: self.forgotten.saturating_add(self.cells.len() as u32), parent }
    }

    /// Takes tokens of an evaluation.
    pub(super) fn take(&mut self, e: &Evaluation, tokens: &[usize], has_output: &[bool], generates: bool) {
        let goes_on = self.verified.filter(|_| self.is_in_call(e));
        let mut next = self.next();
        let begin = e.positions.get(tokens[0]).copied().unwrap_or(next);
        for &i in tokens {
            let position = e.positions.get(i).copied().unwrap_or(next);
            next = position.wrapping_add(1);
            let id = e.tokens.get(i).copied();
            self.put(position, Cell { id, has_output: has_output[i], request: self.request, call: e.call });
        }
        self.has_answered |= generates;
        (self.is_cut, self.has_lost) = (false, false);
        self.has_drafted |= (generates && tokens.len() > 1) || goes_on.is_some();
        let begin = goes_on.map_or(begin, |(begin, _)| begin);
        self.verified = ((generates && self.has_drafted) || goes_on.is_some()).then_some((begin, next));
    }

    fn put(&mut self, position: i32, cell: Cell) {
        self.cells.insert(position, cell);
        if self.cells.len() > MAX_CELLS {
            self.cells.pop_first();
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    fn next(&self) -> i32 {
        self.cells.last_key_value().map_or(0, |(last, _)| last.wrapping_add(1))
    }

    /// Positions were removed. Drafts that were not accepted are removed after they were verified: the token after them
    /// was sampled. Else the program says where the next prompt begins.
    pub(super) fn remove(&mut self, positions: (i32, i32)) {
        let (begin, end) = range(positions);
        let (next, is_tail) = (self.next(), self.cells.last_key_value().is_none_or(|(last, _)| *last < end));
        if is_tail {
            let rejects = self.verified.is_some_and(|(first, end)| first < begin && begin <= end);
            self.is_cut |= !rejects && begin <= next;
            self.has_lost |= !rejects && begin < next;
        }
        self.cells.retain(|position, _| !(begin..end).contains(position));
        if begin <= 0 && is_tail {
            *self = Sequence::default();
        }
    }

    /// What other sequences find that get these positions.
    pub(super) fn part(&self, positions: (i32, i32)) -> Sequence {
        let (begin, end) = range(positions);
        let cells: BTreeMap<i32, Cell> = self.cells.range(begin..end).map(|(p, cell)| (*p, *cell)).collect();
        let forgotten = if begin <= 0 { self.forgotten } else { 0 };
        Sequence { cells, forgotten, ..Sequence::default() }
    }

    /// Gets positions of another sequence.
    pub(super) fn receive(&mut self, copy: Sequence) {
        if self.cells.is_empty() {
            *self = copy;
        } else {
            self.share(&copy);
        }
    }

    /// The cell at a position, or the last, to be shared with another sequence.
    pub(super) fn at(&self, position: Option<i32>) -> Sequence {
        let position = position.or_else(|| self.cells.last_key_value().map(|(last, _)| *last)).unwrap_or(0);
        self.part((position, position.saturating_add(1)))
    }

    /// Gets a token that was computed for another sequence as well.
    pub(super) fn share(&mut self, other: &Sequence) {
        self.cells.extend(other.cells.iter().map(|(position, cell)| (*position, *cell)));
        (self.request, self.is_cut, self.verified) = (None, false, None);
    }

    /// Positions were changed.
    pub(super) fn shift(&mut self, positions: (i32, i32), to: impl Fn(i32) -> i32) {
        let (begin, end) = range(positions);
        let moved = |position: i32| if (begin..end).contains(&position) { to(position) } else { position };
        self.cells = std::mem::take(&mut self.cells).into_iter().map(|(p, cell)| (moved(p), cell)).collect();
    }
}

fn range((begin, end): (i32, i32)) -> (i32, i32) {
    let end = if end < 0 { i32::MAX } else { end };
    (begin.clamp(0, end), end)
}
