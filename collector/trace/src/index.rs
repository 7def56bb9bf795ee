//! What the index chunk at the end of a trace says: totals, and where every chunk is and what it covers. A summary
//! reads it instead of the evaluations; a trace without one is scanned, with the same types as the result.

use crate::analysis::timing::Plan;
use ggscope_format::TokenPhase;
use ggscope_format::chunk::ChunkKind;
use ggscope_format::columns::Row;
use serde::{Deserialize, Serialize};

/// Sums over a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Graphs.
    pub graphs: u64,
    /// Evaluations.
    pub evaluations: u64,
    /// Operators that were executed.
    pub operators: u64,
    /// How many of them have a time of their own.
    pub timed_operators: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
    /// Tokens of which it is not known what they are part of.
    pub unknown_tokens: u64,
    /// Begin of the first evaluation, nanoseconds.
    pub first_ns: u64,
    /// End of the last evaluation, nanoseconds.
    pub last_ns: u64,
    /// Sum of the lengths of all evaluations, nanoseconds.
    pub compute_ns: u64,
    /// Part of it that went to prompts; a mixed evaluation is divided by its tokens.
    pub prompt_ns: u64,
    /// Part of it that went to answers.
    pub generate_ns: u64,
    /// Page faults during evaluations that needed no read.
    pub minor_faults: u64,
    /// Page faults during evaluations that read from disk.
    pub major_faults: u64,
    /// Captured values.
    pub value_bytes: u64,
    /// Records that were lost on the rings or contradicted themselves.
    pub dropped_records: u64,
    /// Bytes of those that were lost on the rings.
    pub dropped_bytes: u64,
    /// Evaluations whose values were left out for the budget's sake.
    pub left_out_evaluations: u64,
    /// Bytes of those values.
    pub left_out_bytes: u64,
    /// Size of the file so far, in bytes.
    pub file_bytes: u64,
}

impl Totals {
    /// Tokens of prompts and answers: one more than the number of the last.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.generated_tokens).saturating_add(self.unknown_tokens)
    }

    /// Counts one evaluation in.
    pub fn add(&mut self, row: &Row, plan: &Plan) {
        self.add_row(row);
        self.operators += plan.executed();
        self.timed_operators += plan.timed();
    }

    /// Counts one evaluation in, but for its operators.
    pub fn add_row(&mut self, row: &Row) {
        let e = &row.evaluation;
        let of = |phase| row.phases.iter().filter(|&&p| p == phase).count() as u64;
        let length = e.end.0.saturating_sub(e.start.0);
        self.first_ns = if self.evaluations == 0 { e.start.0 } else { self.first_ns.min(e.start.0) };
        self.last_ns = self.last_ns.max(e.end.0);
        self.evaluations += 1;
        self.prompt_tokens += of(TokenPhase::Prompt);
        self.generated_tokens += of(TokenPhase::Generate);
        self.unknown_tokens += of(TokenPhase::Unknown);
        self.add_length(row, length);
        self.minor_faults += u64::from(e.minor_faults);
        self.major_faults += u64::from(e.major_faults);
    }

    /// An evaluation that was counted in lasted until `end`, because a device went on after the host had come back.
    pub fn lasted(&mut self, row: &Row, end: u64) {
        self.last_ns = self.last_ns.max(end);
        self.add_length(row, end.saturating_sub(row.evaluation.end.0));
    }

    /// All of an answer in `of`, which was counted in, was none.
    pub fn no_answer(&mut self, of: &Totals) {
        self.generated_tokens = self.generated_tokens.saturating_sub(of.generated_tokens);
        self.prompt_tokens = self.prompt_tokens.saturating_add(of.generated_tokens);
        self.generate_ns = self.generate_ns.saturating_sub(of.generate_ns);
        self.prompt_ns = self.prompt_ns.saturating_add(of.generate_ns);
    }

    fn add_length(&mut self, row: &Row, length: u64) {
        let tokens = row.phases.len() as u128;
        let share = |phase| {
            let of_phase = row.phases.iter().filter(|&&p| p == phase).count() as u128;
            (u128::from(length) * of_phase).checked_div(tokens).unwrap_or(0) as u64
        };
        let (to_answer, unknown) = (share(TokenPhase::Generate), share(TokenPhase::Unknown));
        self.compute_ns = self.compute_ns.saturating_add(length);
        self.generate_ns = self.generate_ns.saturating_add(to_answer);
        self.prompt_ns = self.prompt_ns.saturating_add(length - to_answer - unknown);
    }
}

/// All executions of one kind of operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorTotal {
    /// Name of the operator, as in ggml.
    pub op: String,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
}

/// A chunk of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Where it begins.
    pub offset: u64,
    /// What it holds.
    pub kind: ChunkKind,
    /// Lowest evaluation in it; of a Graph chunk, the graph.
    pub first: u64,
    /// Highest evaluation in it; of a Graph chunk, the graph. Below `first` if the chunk has no evaluations.
    pub last: u64,
    /// Evaluations, values, events, … in it.
    pub items: u64,
    /// Number of its first token within the session.
    pub first_token: u64,
    /// Tokens in it.
    pub n_tokens: u64,
}

impl IndexEntry {
    /// An entry for a chunk that holds neither evaluations nor values.
    pub fn new(offset: u64, kind: ChunkKind, items: usize) -> IndexEntry {
        IndexEntry { offset, kind, first: 1, last: 0, items: items as u64, first_token: 0, n_tokens: 0 }
    }

    /// An entry for evaluations.
    pub fn of_rows(offset: u64, kind: ChunkKind, rows: &[Row]) -> IndexEntry {
        let mut entry = IndexEntry::new(offset, kind, rows.len());
        entry.cover(rows.iter().map(|r| r.evaluation.eval.0));
        let first = rows.iter().map(|r| r.first_token).min().unwrap_or(0);
        let end = rows.iter().map(|r| r.first_token.saturating_add(r.phases.len() as u64)).max().unwrap_or(0);
        (entry.first_token, entry.n_tokens) = (first, end.saturating_sub(first));
        entry
    }

    /// Sets the range of evaluations.
    pub fn cover(&mut self, evals: impl Iterator<Item = u64>) {
        for (i, eval) in evals.enumerate() {
            (self.first, self.last) = if i == 0 { (eval, eval) } else { (self.first.min(eval), self.last.max(eval)) };
        }
    }
}

/// Content of the Index chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Sums.
    pub totals: Totals,
    /// Times by kind of operator, longest first.
    pub operators: Vec<OperatorTotal>,
    /// Chunks in the order of the file, the index itself not among them.
    pub chunks: Vec<IndexEntry>,
}
