//! All evaluations of a session in one piece: what a timeline of a hundred thousand bars is drawn from.

use super::table::{Header, Table};

/// The first bytes.
const MAGIC: &[u8; 4] = b"GGTL";
/// Version of what follows.
const VERSION: u32 = 1;

/// The evaluations from ordinal `from` on as little-endian columns. First a head of 32 bytes: the magic `GGTL`, as
/// `u32` the version 1, the number of evaluations and a zero, as `f64` the ordinal of the first, and the begin of the
/// session's first evaluation in nanoseconds of `CLOCK_MONOTONIC`. Then the columns, each one number an evaluation: as `f64`
/// begin (nanoseconds after the session's first evaluation), length, bytes read from files, from buffers; as `u32` the
/// evaluation's number (its low half), graph, context, first token (its low half), tokens, tokens of answers,
/// operators, minor and major page faults; as `i32` the status.
pub fn timeline(table: &Table, from: u64) -> Vec<u8> {
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(table.len());
    let n = table.len() - from;
    let begin = table.header(0).map_or(0, |h| h.start);
    let mut out = Vec::with_capacity(32 + n * (4 * 8 + 10 * 4));
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
        table.headers(from).for_each(|(_, h)| out.extend_from_slice(&column(h).to_le_bytes()));
    }
    let narrow: [fn(&Header) -> u32; 10] = [
        |h| h.eval as u32,
        |h| h.graph.0,
        |h| h.context,
        |h| h.first_token as u32,
        |h| h.n_tokens,
        |h| h.n_generated,
        |h| h.operators,
        |h| h.minor_faults,
        |h| h.major_faults,
        |h| h.status.cast_unsigned(),
    ];
    for column in narrow {
        table.headers(from).for_each(|(_, h)| out.extend_from_slice(&column(h).to_le_bytes()));
    }
    out
}
