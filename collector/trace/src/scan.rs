//! Finds the chunks of a trace that has no usable index, because the recording was cut or is still running, and
//! counts again what the index would have said. A file that has grown is read from where it ended before.

use super::index::IndexEntry;
use super::{Remark, Remarks, Trace, Values};
use crate::analysis::timing::Plans;
use ggscope_format::chunk::{Chunk, ChunkKind};
use ggscope_format::record::LeftOut;
use std::ops::Range;
use std::sync::Arc;

/// Whole chunks of a file.
#[derive(Debug, Default)]
struct Found<'a> {
    /// Offset and chunk.
    chunks: Vec<(u64, Chunk<'a>)>,
    /// What lies between them and is no chunk.
    damaged: Vec<Range<u64>>,
    /// Where the last whole chunk ends.
    end: u64,
}

/// Looks for whole chunks from byte `from` on.
fn scan(file: &[u8], from: usize) -> Found<'_> {
    let mut found = Found { end: from as u64, ..Default::default() };
    let mut at = from;
    // A hostile file can make every fourth byte look like the beginning of a huge chunk: look at each byte a few
    // times at most.
    let mut patience = (file.len().saturating_sub(from)).saturating_mul(4).saturating_add(1 << 20);
    while at < file.len() && patience > 0 {
        match Chunk::parse(&file[at..]).and_then(|(chunk, len)| chunk.check().map(|()| (chunk, len))) {
            Ok((chunk, len)) => {
                if at as u64 > found.end {
                    found.damaged.push(found.end..at as u64);
                }
                found.chunks.push((at as u64, chunk));
                at += len;
                found.end = at as u64;
            }
            Err(_) => {
                let claimed = Chunk::parse(&file[at..]).map_or(0, |(_, len)| len);
                patience = patience.saturating_sub(claimed + 1);
                at = next_magic(file, at + 1);
            }
        }
    }
    found
}

fn next_magic(file: &[u8], from: usize) -> usize {
    let rest = file.get(from..).unwrap_or_default();
    rest.windows(4).position(|w| w == b"GGCK").map_or(file.len(), |at| from + at)
}

/// Adds to `trace` the chunks from byte `from` on, and what is in them to its sums. Returns where the last one ends,
/// which is where to go on when the file has grown. `why` says why there is no index. With `grows`, evaluations at the
/// end are left for later: their times come after them.
pub fn extend(trace: &mut Trace, from: u64, plans: &mut Plans, why: &str, grows: bool) -> u64 {
    let map = trace.map.clone();
    let mut found = scan(&map, from as usize);
    if let Some(last) = found.chunks.pop_if(|last| grows && last.1.kind == ChunkKind::Evaluations) {
        found.end = last.0;
    }
    trace.contents.totals.file_bytes = map.len() as u64;
    trace.contents.cut = Some(format!(
        "the recording was cut, or is still running ({why}): read up to byte {} of {}",
        found.end,
        map.len()
    ));
    for damage in &found.damaged {
        trace.warn(format!("bytes {} to {} are damaged and left out", damage.start, damage.end));
    }
    let before = trace.contents.chunks.len();
    let chunks = found.chunks.iter().filter(|(_, chunk)| chunk.kind != ChunkKind::Index);
    // Graphs first: an evaluation is counted with the help of its graph.
    let mut entries: Vec<IndexEntry> = chunks.map(|(at, chunk)| outline(trace, *at, chunk.kind)).collect();
    trace.contents.add_chunks(&entries);
    trace.contents.totals.graphs = trace.contents.graph_at.len() as u64;
    // Times that were cut off, or lie in a damaged chunk, are nobody's.
    let has_times: Vec<bool> = (1..=entries.len())
        .map(|next| entries.get(next).is_some_and(|e: &IndexEntry| e.kind == ChunkKind::Durations))
        .collect();
    for (entry, has_times) in entries.iter_mut().zip(has_times) {
        count(trace, entry, has_times, plans);
    }
    Arc::make_mut(&mut trace.contents.chunks)[before..].clone_from_slice(&entries);
    if !entries.is_empty() {
        trace.read_heads(before);
    }
    found.end
}

/// What is known of a chunk without counting what is in it.
fn outline(trace: &Trace, offset: u64, kind: ChunkKind) -> IndexEntry {
    let mut entry = IndexEntry::new(offset, kind, 1);
    if kind == ChunkKind::Graph {
        match trace.graph_id_at(offset) {
            Ok(id) => entry.cover([u64::from(id.0)].into_iter()),
            Err(error) => trace.warn(error.to_string()),
        }
    }
    entry
}

fn count(trace: &mut Trace, entry: &mut IndexEntry, has_times: bool, plans: &mut Plans) {
    let mut totals = trace.contents.totals.clone();
    match entry.kind {
        ChunkKind::Evaluations => match trace.rows(entry.offset) {
            Ok(rows) => {
                *entry = IndexEntry::of_rows(entry.offset, ChunkKind::Evaluations, &rows);
                for row in &rows {
                    match trace.graph(row.evaluation.graph) {
                        Ok(stored) => {
                            let plan = plans.of(&stored.graph, &row.evaluation);
                            totals.add(row, &plan);
                            if !has_times {
                                totals.timed_operators -= plan.timed();
                            }
                        }
                        Err(error) => trace.warn(format!("evaluations are not counted: {error}")),
                    }
                }
            }
            Err(error) => trace.warn(format!("evaluations are left out: {error}")),
        },
        ChunkKind::Values => {
            // As they travelled: that is what the index counts.
            let values: Values = trace.content(entry.offset, ChunkKind::Values).unwrap_or_default();
            entry.items = values.len() as u64;
            entry.cover(values.iter().map(|v| v.eval.0));
            totals.value_bytes += values.iter().map(|v| v.bytes.len() as u64).sum::<u64>();
        }
        ChunkKind::Statistics => {
            let statistics = trace.statistics_at(entry.offset);
            entry.items = statistics.len() as u64;
            entry.cover(statistics.iter().map(|s| s.eval.0));
        }
        ChunkKind::Notes => {
            for remark in trace.content::<Remarks>(entry.offset, ChunkKind::Notes).unwrap_or_default() {
                if let Remark::Dropped { records, bytes } = remark {
                    (totals.dropped_records, totals.dropped_bytes) = (records, bytes);
                }
                if let Remark::Drafting(drafting) = remark {
                    trace.correct_totals(entry.offset, &drafting, &mut totals);
                }
                if let Remark::LeftOut(LeftOut { evaluations, bytes }) = remark {
                    (totals.left_out_evaluations, totals.left_out_bytes) = (evaluations, bytes.0);
                }
                trace.contents.ending = remark.ending().or(trace.contents.ending);
            }
        }
        _ => {}
    }
    trace.contents.totals = totals;
}
