//! What the current call of this thread to llama.cpp is about: its context, and the batch that it evaluates.

use crate::llama::by_value::Head;
use crate::llama::entry::Entry;
use crate::llama::ext;
use crate::llama::split::{self, Inputs};
use ggscope_format::record::{Evaluation, SequencesFrom};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The batch of a call. It is read when the first evaluation of the call begins: a program that is not traced pays
/// nothing for it.
enum Batch {
    Ext(usize),
    ByValue(Head),
    Read(Vec<Entry>),
    Unreadable,
}

struct Call {
    /// Its number.
    number: u64,
    context: usize,
    /// Where the call returns to.
    caller: usize,
    batch: Batch,
    /// Whether the call is known to go on. The end of one whose batch lies in the caller's stack is not seen.
    is_open: bool,
    /// Which tokens of the batch earlier evaluations of the call have taken.
    is_used: Vec<bool>,
}

/// Calls so far.
static CALLS: AtomicU64 = AtomicU64::new(0);
thread_local!(static CALL: RefCell<Option<Call>> = const { RefCell::new(None) });

/// What is known of the evaluation that the thread is about to begin.
#[derive(Default)]
pub struct Found {
    /// The `llama_context`, if it is certain.
    pub context: Option<usize>,
    /// Where the call of llama.cpp returns to, if there is one.
    pub caller: usize,
    /// Number of the call, if it is certain; else 0.
    number: u64,
    /// Of each token what the batch says of it; `None` if the graph's inputs do not prove it.
    tokens: Option<Vec<Entry>>,
}

/// The thread evaluates a batch of [`ext`] until [`end`].
pub fn begin(context: usize, batch: usize, caller: usize) {
    CALL.set(Some(Call { number: next(), context, caller, batch: Batch::Ext(batch), is_open: true, is_used: vec![] }));
}

/// The thread evaluates a batch that its caller has on the stack.
pub fn begin_by_value(context: usize, head: Option<Head>, caller: usize) {
    let batch = head.map_or(Batch::Unreadable, Batch::ByValue);
    CALL.set(Some(Call { number: next(), context, caller, batch, is_open: false, is_used: vec![] }));
}

/// The call of [`begin`] has returned.
pub fn end() {
    CALL.set(None);
}

fn next() -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Finds the tokens of an evaluation in the batch of the thread's call.
pub fn find(inputs: Inputs<'_>) -> Found {
    CALL.with_borrow_mut(|call| {
        let Some(call) = call else { return Found::default() };
        let tokens = call.take(inputs);
        let is_certain = call.is_open || tokens.is_some();
        let (context, number) = if is_certain { (Some(call.context), call.number) } else { (None, 0) };
        Found { context, caller: call.caller, number, tokens }
    })
}

impl Call {
    fn take(&mut self, inputs: Inputs<'_>) -> Option<Vec<Entry>> {
        let read = match &self.batch {
            Batch::Ext(batch) => Some(ext::entries(*batch)),
            Batch::ByValue(head) => Some(head.entries()),
            Batch::Read(_) | Batch::Unreadable => None,
        };
        if let Some(read) = read {
            self.is_used = vec![false; read.as_ref().map_or(0, Vec::len)];
            self.batch = read.map_or(Batch::Unreadable, Batch::Read);
        }
        let Batch::Read(entries) = &self.batch else { return None };
        let places = split::places(entries, &self.is_used, inputs)?;
        places.iter().for_each(|&place| self.is_used[place] = true);
        Some(places.into_iter().map(|place| entries[place].clone()).collect())
    }
}

impl Found {
    /// Notes in `record` what the batch says of its tokens.
    pub fn note(&self, record: &mut Evaluation) {
        record.call = self.number;
        let Some(tokens) = &self.tokens else { return };
        let requested = tokens.iter().enumerate().filter(|(_, token)| token.is_output).map(|(i, _)| i as i32);
        record.requested = Some(requested.collect());
        if record.positions.is_empty() {
            let positions: Option<Vec<i32>> = tokens.iter().map(|token| token.position).collect();
            record.positions = positions.unwrap_or_default();
        }
        if tokens.iter().any(|token| token.sequences().next().is_none()) {
            return;
        }
        record.sequences_from = SequencesFrom::Batch;
        record.sequences.extend(tokens.iter().flat_map(Entry::sequences));
        if record.sequences.len() > tokens.len() {
            record.n_sequences.extend(tokens.iter().map(|token| token.sequences().count() as u32));
        }
    }
}
