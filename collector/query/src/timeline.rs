//! All evaluations of a session in one piece: what a timeline of a hundred thousand bars is drawn from.

use super::table::{Header, Table};

/// The first bytes.
const MAGIC: &[u8; 4] = b"GGTL";
/// Version of what follows.
const VERSION: u32 = 3;

/// The evaluations from ordinal `from` on as little-endian columns. First a head of 32 bytes: the magic `GGTL`, as
/// `u32` the version 3, the number of evaluations and a zero, as `f64` the ordinal of the first, and the begin of the
/// session's first evaluation in nanoseconds of `CLOCK_MONOTONIC`. Then the columns, each one number an evaluation: as `f64`
/// begin (nanoseconds after the session's first evaluation), length, bytes read from files, from buffers; as `u32` the
/// evaluation's number (its low half), graph, context, first token (its low half), tokens, tokens of answers,
/// tokens of unknown phase, operators, those of them without a time, minor and major page faults; as `i32` the status.
/// With a context they are the evaluations of it alone, and their ordinals are not known.
pub fn timeline(table: &Table, from: u64, context: Option<u32>) -> Vec<u8> {
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(table.len());
    let wanted = || table.headers(from).filter(move |(_, h)| context.is_none_or(|context| context == h.context));
    let n = wanted().count();
    let begin = table.header(0).map_or(0, |h| h.start);
    let mut out = Vec::with_capacity(32 + n * (4 * 8 + 12 * 4));
    out.extend_from_slice(MAGIC);
    for word in [VERSION, n as u32, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for number in [from as f64, begin as f64] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    // Evaluations of several threads may arrive after one that began later.
    let start = |h: &Header| h.start as i128 - i128::from(begin);
    let wide: [&dyn Fn(&Header) -> f64; 4] =
        [&|h| start(h) as f64, &|h| h.dur as f64, &|h| h.disk_bytes as f64, &|h| h.buffer_bytes as f64];
    for column in wide {
        wanted().for_each(|(_, h)| out.extend_from_slice(&column(h).to_le_bytes()));
    }
    let narrow: [fn(&Header) -> u32; 12] = [
        |h| h.eval as u32,
        |h| h.graph.0,
        |h| h.context,
        |h| h.first_token as u32,
        |h| h.n_tokens,
        |h| h.n_generated,
        |h| h.n_unknown,
        |h| h.operators,
        |h| h.untimed,
        |h| h.minor_faults,
        |h| h.major_faults,
        |h| h.status.cast_unsigned(),
    ];
    for column in narrow {
        wanted().for_each(|(_, h)| out.extend_from_slice(&column(h).to_le_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_format::EvalId;
    use ggscope_format::record::Evaluation;
    use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
    use ggscope_trace::{Trace, TraceWriter};

    #[test]
    fn of_each_evaluation_it_says_how_many_operators_have_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let stored = llama(0, Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 256 });
        let timed = evaluation(&stored, 0, 0, &mut Random(1));
        // On a device that is timed as a whole.
        let mut whole = Evaluation { eval: EvalId(1), ..timed.clone() };
        whole.durations.clear();
        (whole.runs[0].clocked, whole.runs[0].n_calls) = (false, 0);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored).unwrap();
        writer.evaluation(timed).unwrap();
        writer.evaluation(whole).unwrap();
        writer.finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let bytes = timeline(&Table::new(&trace, DEFAULT_MEMORY), 0, None);
        let column = |number: usize| {
            let at = 32 + 2 * (4 * 8 + number * 4);
            [at, at + 4].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
        };
        let [operators, same] = column(7);
        assert!(operators > 40 && operators == same);
        assert_eq!(column(8), [0, operators], "a fused operator has the time of what it was fused into");
    }

    #[test]
    fn tokens_whose_phase_is_not_known_are_counted_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let stored = llama(0, Shape { n_layer: 1, n_tokens: 3, n_outputs: 1, n_kv: 256 });
        let known = evaluation(&stored, 0, 0, &mut Random(1));
        let unknown = Evaluation { eval: EvalId(1), sequences: vec![], ..known.clone() };
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored).unwrap();
        writer.evaluation(known).unwrap();
        writer.evaluation(unknown).unwrap();
        writer.finish().unwrap();
        let bytes = timeline(&Table::new(&Trace::open(&path).unwrap(), DEFAULT_MEMORY), 0, None);
        let column = |number: usize| {
            let at = 32 + 2 * (4 * 8 + number * 4);
            [at, at + 4].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
        };
        assert_eq!((column(4), column(5), column(6)), ([3, 3], [0, 0], [0, 3]));
    }
}
