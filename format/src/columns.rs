//! How many evaluations lie in a file: as columns, because what follows each other there is alike.
//!
//! Two chunks hold them: everything but the durations ([`encode_evaluations`]), which is what a summary reads, and
//! the durations ([`encode_durations`]). Evaluations of the same graph that were cut into the same runs form a
//! matrix, one row an evaluation and one column an operator. Each column is stored as differences from its median,
//! columns of similar spread together, with [pcodec](https://docs.rs/pco), which finds the bins that fit the
//! distribution and stores each value in about as many bits as its noise has.

use crate::ids::{EvalId, GraphId, Nanos, RequestId, TensorId};
use crate::phase::TokenPhase;
use crate::record::{Evaluation, Experts, RecordError, Run, SequencesFrom, decode, encode};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One evaluation as the file has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// As the shim said it. Without its durations when only the summary was read.
    pub evaluation: Evaluation,
    /// What each token is part of.
    pub phases: Vec<TokenPhase>,
    /// The request that each token belongs to; `None` if it is unknown.
    pub requests: Vec<Option<RequestId>>,
    /// Number of this evaluation's first token within the session.
    pub first_token: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Columns {
    eval: Vec<u64>,
    graph: Vec<u32>,
    context: Vec<u32>,
    thread: Vec<u32>,
    status: Vec<i32>,
    /// After the call of the row before.
    call: Vec<i64>,
    /// After the start of the row before.
    start: Vec<i64>,
    length: Vec<u64>,
    minor_faults: Vec<u32>,
    major_faults: Vec<u32>,
    n_tokens: Vec<u32>,
    first_token: Vec<u64>,
    /// One bit each: see [`TOKENS`] and the following.
    present: Vec<u8>,
    tokens: Vec<i32>,
    positions: Vec<i32>,
    sequences: Vec<i32>,
    n_sequences: Vec<u32>,
    n_outputs: Vec<u32>,
    outputs: Vec<i32>,
    n_requested: Vec<u32>,
    requested: Vec<i32>,
    /// Stretches of tokens of the same phase and the same request, all rows' tokens one after the other: the phase, the
    /// request (0 for none, else one more than its number) and the length.
    phases: Vec<TokenPhase>,
    requests: Vec<u32>,
    stretches: Vec<u32>,
    n_runs: Vec<u32>,
    run_first: Vec<u32>,
    run_nodes: Vec<u32>,
    run_device: Vec<u16>,
    run_clocked: Vec<bool>,
    run_start: Vec<u64>,
    run_duration: Vec<u64>,
    run_calls: Vec<u32>,
    n_experts: Vec<u32>,
    expert_tensor: Vec<u32>,
    expert_used: Vec<u32>,
    expert_count: Vec<u32>,
    expert_ids: Vec<i32>,
}

/// Tokens in one chunk, so that a few bytes cannot ask for all memory; a writer begins another chunk earlier.
pub const MAX_TOKENS: u64 = 1 << 26;
/// Durations in one chunk, for the same reason.
pub const MAX_DURATIONS: u64 = 1 << 23;

/// Which parts of a row are there.
const TOKENS: u8 = 1;
const POSITIONS: u8 = 2;
const SEQUENCES: u8 = 4;
const OUTPUTS: u8 = 8;
/// A token is in more than one sequence.
const N_SEQUENCES: u8 = 16;
/// Sequences are ggscope's own, from the cells of the cache.
const FROM_CELLS: u8 = 32;
const REQUESTED: u8 = 64;
/// What the program asked for is what the graph outputs.
const REQUESTED_OUTPUTS: u8 = 128;

/// All of `rows` but their durations.
pub fn encode_evaluations(rows: &[Row]) -> Vec<u8> {
    let mut c = Columns::default();
    let (mut eval, mut call, mut start, mut first_token) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut stretch: Option<(TokenPhase, u32)> = None;
    let mut last_position = -1_i32;
    for row in rows {
        let e = &row.evaluation;
        c.eval.push(e.eval.0.wrapping_sub(eval));
        c.call.push(e.call.wrapping_sub(call) as i64);
        call = e.call;
        c.start.push(e.start.0.wrapping_sub(start) as i64);
        c.first_token.push(row.first_token.wrapping_sub(first_token));
        (eval, start, first_token) = (e.eval.0, e.start.0, row.first_token + u64::from(e.n_tokens));
        c.graph.push(e.graph.0);
        c.context.push(e.context);
        c.thread.push(e.thread);
        c.status.push(e.status);
        c.length.push(e.end.0.wrapping_sub(e.start.0));
        c.minor_faults.push(e.minor_faults);
        c.major_faults.push(e.major_faults);
        c.n_tokens.push(e.n_tokens);
        let present = |bit: u8, there: bool| if there { bit } else { 0 };
        c.present.push(
            present(TOKENS, !e.tokens.is_empty())
                | present(POSITIONS, !e.positions.is_empty())
                | present(SEQUENCES, !e.sequences.is_empty())
                | present(OUTPUTS, e.outputs.is_some())
                | present(N_SEQUENCES, !e.n_sequences.is_empty())
                | present(FROM_CELLS, e.sequences_from == SequencesFrom::Cells)
                | present(REQUESTED, e.requested.is_some())
                | present(REQUESTED_OUTPUTS, requests_outputs(e)),
        );
        c.tokens.extend(&e.tokens);
        for &position in &e.positions {
            c.positions.push(position.wrapping_sub(last_position).wrapping_sub(1));
            last_position = position;
        }
        if !e.n_sequences.is_empty() {
            c.n_sequences.extend(&e.n_sequences);
        }
        c.sequences.extend(&e.sequences);
        if let Some(requested) = e.requested.as_ref().filter(|_| !requests_outputs(e)) {
            c.n_requested.push(requested.len() as u32);
            c.requested.extend(requested);
        }
        if let Some(outputs) = &e.outputs {
            c.n_outputs.push(outputs.len() as u32);
            c.outputs.extend(outputs);
        }
        for (i, &phase) in row.phases.iter().enumerate() {
            let request = row.requests.get(i).copied().flatten().map_or(0, |r| r.0.saturating_add(1));
            if stretch != Some((phase, request)) {
                stretch = Some((phase, request));
                c.phases.push(phase);
                c.requests.push(request);
                c.stretches.push(0);
            }
            *c.stretches.last_mut().expect("a stretch has begun") += 1;
        }
        c.n_runs.push(e.runs.len() as u32);
        for run in &e.runs {
            c.run_first.push(run.first.0);
            c.run_nodes.push(run.n_nodes);
            c.run_device.push(run.device);
            c.run_clocked.push(run.clocked);
            c.run_start.push(run.start);
            c.run_duration.push(run.duration);
            c.run_calls.push(run.n_calls);
        }
        c.n_experts.push(e.experts.len() as u32);
        for experts in &e.experts {
            c.expert_tensor.push(experts.tensor.0);
            c.expert_used.push(experts.n_used);
            c.expert_count.push(experts.ids.len() as u32);
            c.expert_ids.extend(&experts.ids);
        }
    }
    let mut out = vec![];
    encode(&c, &mut out);
    out
}

/// Whether what the program asked for is what the graph outputs.
fn requests_outputs(e: &Evaluation) -> bool {
    let Some(requested) = &e.requested else { return false };
    match &e.outputs {
        Some(outputs) => outputs == requested,
        None => requested.len() == e.n_tokens as usize && requested.iter().zip(0..).all(|(&a, b)| a == b),
    }
}

/// A column that is read from its front. Reading past its end is an error, not a panic.
struct Cursor<T> {
    items: std::vec::IntoIter<T>,
    name: &'static str,
}

impl<T> Cursor<T> {
    fn new(name: &'static str, items: Vec<T>) -> Self {
        Cursor { items: items.into_iter(), name }
    }

    fn next(&mut self) -> Result<T, RecordError> {
        self.items.next().ok_or_else(|| self.short())
    }

    fn take(&mut self, n: usize) -> Result<Vec<T>, RecordError> {
        if n > self.items.len() {
            return Err(self.short());
        }
        Ok(self.items.by_ref().take(n).collect())
    }

    fn short(&self) -> RecordError {
        RecordError::Invalid(format!("column {} is too short", self.name))
    }
}

/// What [`encode_evaluations`] wrote; durations are empty.
///
/// # Errors
/// When the bytes do not decode or the columns' lengths contradict each other.
pub fn decode_evaluations(bytes: &[u8]) -> Result<Vec<Row>, RecordError> {
    let c: Columns = decode(bytes)?;
    let n = c.eval.len();
    macro_rules! cursors { ($($name:ident),* $(,)?) => { $(let mut $name = Cursor::new(stringify!($name), c.$name);)* } }
    cursors!(
        eval,
        graph,
        context,
        thread,
        status,
        call,
        start,
        length,
        minor_faults,
        major_faults,
        n_tokens,
        first_token,
        present,
        tokens,
        positions,
        sequences,
        n_sequences,
        n_outputs,
        outputs,
        n_requested,
        requested,
        phases,
        requests,
        stretches,
        n_runs,
        run_first,
        run_nodes,
        run_device,
        run_clocked,
        run_start,
        run_duration,
        run_calls,
        n_experts,
        expert_tensor,
        expert_used,
        expert_count,
        expert_ids,
    );
    let (mut last_eval, mut last_call, mut last_start, mut next_token) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut phase, mut request, mut stretch) = (TokenPhase::Unknown, 0, 0);
    let mut last_position = -1_i32;
    let mut all_tokens = 0_u64;
    let mut rows = Vec::with_capacity(n);
    for _ in 0..n {
        last_eval = last_eval.wrapping_add(eval.next()?);
        last_call = last_call.wrapping_add(call.next()? as u64);
        last_start = last_start.wrapping_add(start.next()? as u64);
        let row_tokens = n_tokens.next()?;
        let first = next_token.wrapping_add(first_token.next()?);
        next_token = first.wrapping_add(u64::from(row_tokens));
        let there = present.next()?;
        let count = |bit: u8| if there & bit != 0 { row_tokens as usize } else { 0 };
        let mut e = Evaluation {
            eval: EvalId(last_eval),
            graph: GraphId(graph.next()?),
            context: context.next()?,
            thread: thread.next()?,
            status: status.next()?,
            call: last_call,
            start: Nanos(last_start),
            end: Nanos(last_start.wrapping_add(length.next()?)),
            minor_faults: minor_faults.next()?,
            major_faults: major_faults.next()?,
            n_tokens: row_tokens,
            tokens: tokens.take(count(TOKENS))?,
            positions: positions.take(count(POSITIONS))?,
            n_sequences: n_sequences.take(count(N_SEQUENCES))?,
            ..Default::default()
        };
        if there & SEQUENCES != 0 {
            let several = e.n_sequences.iter().map(|&n| u64::from(n)).sum();
            let n = if e.n_sequences.is_empty() { u64::from(row_tokens) } else { several };
            e.sequences = sequences.take(usize::try_from(n).unwrap_or(usize::MAX))?;
            let is_from_cells = there & FROM_CELLS != 0;
            e.sequences_from = if is_from_cells { SequencesFrom::Cells } else { SequencesFrom::Batch };
        }
        for position in &mut e.positions {
            last_position = position.wrapping_add(last_position).wrapping_add(1);
            *position = last_position;
        }
        if there & OUTPUTS != 0 {
            e.outputs = Some(outputs.take(n_outputs.next()? as usize)?);
        }
        e.requested = match (there & REQUESTED != 0, there & REQUESTED_OUTPUTS != 0) {
            (false, _) => None,
            (true, true) => Some(e.outputs.clone().unwrap_or_default()),
            (true, false) => Some(requested.take(n_requested.next()? as usize)?),
        };
        for _ in 0..n_runs.next()? {
            e.runs.push(Run {
                first: TensorId(run_first.next()?),
                n_nodes: run_nodes.next()?,
                device: run_device.next()?,
                clocked: run_clocked.next()?,
                start: run_start.next()?,
                duration: run_duration.next()?,
                n_calls: run_calls.next()?,
            });
        }
        for _ in 0..n_experts.next()? {
            e.experts.push(Experts {
                tensor: TensorId(expert_tensor.next()?),
                n_used: expert_used.next()?,
                ids: expert_ids.take(expert_count.next()? as usize)?,
            });
        }
        let (mut row_phases, mut row_requests) = (vec![], vec![]);
        let mut left = row_tokens;
        while left > 0 {
            if stretch == 0 {
                (phase, request, stretch) = (phases.next()?, requests.next()?, stretches.next()?);
                if stretch == 0 {
                    return Err(RecordError::Invalid("an empty stretch of a phase".into()));
                }
            }
            let step = left.min(stretch);
            all_tokens += u64::from(step);
            if all_tokens > MAX_TOKENS {
                return Err(RecordError::Invalid(format!("more than {MAX_TOKENS} tokens in one chunk")));
            }
            let n = row_phases.len() + step as usize;
            row_phases.resize(n, phase);
            row_requests.resize(n, request.checked_sub(1).map(RequestId));
            (left, stretch) = (left - step, stretch - step);
        }
        // All tokens have outputs, and the program asked for all of them: a list as long as the tokens, now bounded.
        if there & REQUESTED_OUTPUTS != 0 && e.outputs.is_none() {
            e.requested = Some((0..row_tokens as i32).collect());
        }
        rows.push(Row { evaluation: e, phases: row_phases, requests: row_requests, first_token: first });
    }
    Ok(rows)
}

/// What rows of one matrix have in common: the graph and how it was cut.
#[derive(PartialEq, Eq, Hash)]
struct Layout {
    graph: GraphId,
    runs: Vec<(TensorId, u32, u32)>,
}

impl Layout {
    fn of(e: &Evaluation) -> Layout {
        Layout { graph: e.graph, runs: e.runs.iter().map(|r| (r.first, r.n_nodes, r.n_calls)).collect() }
    }
}

/// Row numbers of each matrix, in the order of their first rows.
fn matrices(rows: &[Row]) -> Vec<Vec<usize>> {
    let mut of: HashMap<Layout, usize> = HashMap::new();
    let mut matrices: Vec<Vec<usize>> = vec![];
    for (i, row) in rows.iter().enumerate() {
        let m = *of.entry(Layout::of(&row.evaluation)).or_insert_with(|| {
            matrices.push(vec![]);
            matrices.len() - 1
        });
        matrices[m].push(i);
    }
    matrices
}

#[derive(Serialize, Deserialize)]
struct Matrix {
    /// Column medians, nanoseconds; empty for a single row.
    medians: Vec<u64>,
    /// For each column, which of `classes` holds it.
    class: Vec<u8>,
    /// pcodec streams of the differences, column after column.
    classes: Vec<Vec<u8>>,
}

/// At most this many classes of columns.
const CLASSES: usize = 24;

/// The durations of `rows`, as [`encode_evaluations`] wrote the rest.
pub fn encode_durations(rows: &[Row]) -> Vec<u8> {
    let encoded: Vec<Matrix> = matrices(rows).iter().map(|of| encode_matrix(rows, of)).collect();
    let mut out = vec![];
    encode(&encoded, &mut out);
    out
}

fn encode_matrix(rows: &[Row], of: &[usize]) -> Matrix {
    let width = rows[of[0]].evaluation.durations.len();
    let mut medians = vec![];
    let mut spread = vec![0_u64; width];
    let mut column: Vec<u64> = Vec::with_capacity(of.len());
    if of.len() > 1 {
        for (x, spread) in spread.iter_mut().enumerate() {
            column.clear();
            column.extend(of.iter().map(|&r| rows[r].evaluation.durations[x]));
            let middle = column.len() / 2;
            let median = *column.select_nth_unstable(middle).1;
            medians.push(median);
            for value in &mut column {
                *value = value.abs_diff(median);
            }
            *spread = *column.select_nth_unstable(middle).1;
        }
    }
    // Columns whose noise is of the same order of magnitude share one set of bins.
    let class_of = |x: usize| (((spread[x] + 1) as f64).log2() * 2.0).min(CLASSES as f64 - 1.0) as u8;
    let class: Vec<u8> = (0..width).map(class_of).collect();
    // The differences have no order and no common factor: looking for one takes as long as the rest, and finds nothing.
    let config = pco::ChunkConfig::default()
        .with_compression_level(8)
        .with_mode_spec(pco::ModeSpec::Classic)
        .with_delta_spec(pco::DeltaSpec::None);
    let classes = (0..CLASSES as u8)
        .map(|k| {
            let mut values: Vec<i64> = vec![];
            for x in (0..width).filter(|&x| class[x] == k) {
                let median = medians.get(x).copied().unwrap_or(0);
                values.extend(of.iter().map(|&r| rows[r].evaluation.durations[x].wrapping_sub(median) as i64));
            }
            if values.is_empty() {
                return vec![];
            }
            pco::standalone::simple_compress(&values, &config).expect("the default configuration is valid")
        })
        .collect();
    Matrix { medians, class, classes }
}

/// Puts back into `rows` what [`encode_durations`] wrote.
///
/// # Errors
/// When the bytes do not decode or do not fit the rows.
pub fn decode_durations(bytes: &[u8], rows: &mut [Row]) -> Result<(), RecordError> {
    let bad = |what: String| RecordError::Invalid(format!("durations: {what}"));
    let encoded: Vec<Matrix> = decode(bytes)?;
    let cells: u64 = rows.iter().flat_map(|row| &row.evaluation.runs).map(|r| u64::from(r.n_calls)).sum();
    if cells > MAX_DURATIONS {
        return Err(bad(format!("{cells} in one chunk")));
    }
    let matrices = matrices(rows);
    if encoded.len() != matrices.len() {
        return Err(bad(format!("{} matrices for {} layouts", encoded.len(), matrices.len())));
    }
    for (matrix, of) in encoded.iter().zip(matrices) {
        let width: u64 = rows[of[0]].evaluation.runs.iter().map(|r| u64::from(r.n_calls)).sum();
        if matrix.class.len() as u64 != width || (of.len() > 1 && matrix.medians.len() as u64 != width) {
            return Err(bad(format!("{} columns, should be {width}", matrix.class.len())));
        }
        for &r in &of {
            rows[r].evaluation.durations = vec![0; width as usize];
        }
        for (k, stream) in matrix.classes.iter().enumerate() {
            let columns: Vec<usize> = (0..width as usize).filter(|&x| usize::from(matrix.class[x]) == k).collect();
            let n = columns.len() * of.len();
            if n == 0 {
                continue;
            }
            let mut values = vec![0_i64; n];
            let progress = pco::standalone::simple_decompress_into(stream, &mut values)
                .map_err(|e| bad(format!("pcodec: {e}")))?;
            if progress.n_processed != n {
                return Err(bad(format!("{} values in class {k}, should be {n}", progress.n_processed)));
            }
            for (column, &x) in values.chunks(of.len()).zip(&columns) {
                let median = matrix.medians.get(x).copied().unwrap_or(0);
                for (&value, &r) in column.iter().zip(&of) {
                    rows[r].evaluation.durations[x] = median.wrapping_add(value as u64);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
