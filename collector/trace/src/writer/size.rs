//! About how much memory an evaluation takes.

use ggscope_format::record::Evaluation;

/// How many numbers of four bytes an evaluation has for its tokens.
pub fn words(e: &Evaluation) -> usize {
    let outputs = [&e.outputs, &e.requested].into_iter().flatten().map(Vec::len).sum::<usize>();
    e.tokens.len() + e.positions.len() + e.sequences.len() + e.n_sequences.len() + outputs
}

/// About how many bytes an evaluation takes in memory.
pub(super) fn evaluation_bytes(e: &Evaluation) -> usize {
    let words = words(e);
    let experts: usize = e.experts.iter().map(|x| x.ids.len() + 8).sum();
    200 + 9 * e.n_tokens as usize + 4 * (words + experts) + 8 * e.durations.len() + 40 * e.runs.len()
}
