//! Finds the chunks of a trace that has no usable index, because the recording was cut or is still running, and
//! counts again what the index would have said.

use super::index::{Index, IndexEntry};
use super::{Remark, Trace};
use crate::analysis::timing::Plans;
use ggscope_format::chunk::{Chunk, ChunkKind, FILE_HEADER_BYTES};
use std::ops::Range;

/// Whole chunks of a file.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// Offset and chunk.
    pub chunks: Vec<(u64, Chunk<'a>)>,
    /// What lies between them and is no chunk.
    pub damaged: Vec<Range<u64>>,
    /// Where the last whole chunk ends.
    pub end: u64,
}

/// Looks for whole chunks from the front.
pub fn scan(file: &[u8]) -> Found<'_> {
    let mut found = Found { end: FILE_HEADER_BYTES as u64, ..Default::default() };
    let mut at = FILE_HEADER_BYTES;
    // A hostile file can make every fourth byte look like the beginning of a huge chunk: look at each byte a few
    // times at most.
    let mut patience = file.len().saturating_mul(4).saturating_add(1 << 20);
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

/// The index of a trace whose chunks are `chunks`; `trace` is opened as far as that it can read a chunk.
pub fn rebuild(trace: &mut Trace, chunks: &[(u64, ChunkKind)]) {
    let mut index = Index::default();
    for &(offset, kind) in chunks.iter().filter(|c| c.1 != ChunkKind::Index) {
        let mut entry = IndexEntry::new(offset, kind, 1);
        if kind == ChunkKind::Graph {
            match trace.graph_id_at(offset) {
                Ok(id) => entry.cover([u64::from(id.0)].into_iter()),
                Err(error) => trace.warn(error.to_string()),
            }
        }
        index.chunks.push(entry);
    }
    trace.set_index(index.clone());
    index.totals.graphs = trace.graphs().count() as u64;

    let mut plans = Plans::default();
    for i in 0..index.chunks.len() {
        let offset = index.chunks[i].offset;
        match index.chunks[i].kind {
            ChunkKind::Evaluations => match trace.rows(offset) {
                Ok(rows) => {
                    index.chunks[i] = IndexEntry::of_rows(offset, ChunkKind::Evaluations, &rows);
                    for row in &rows {
                        match trace.graph(row.evaluation.graph) {
                            Ok(stored) => index.totals.add(row, &plans.of(&stored.graph, &row.evaluation)),
                            Err(error) => trace.warn(format!("evaluations are not counted: {error}")),
                        }
                    }
                }
                Err(error) => trace.warn(format!("evaluations are left out: {error}")),
            },
            ChunkKind::Values => {
                let values = trace.values_at(offset);
                index.chunks[i].items = values.len() as u64;
                index.chunks[i].cover(values.iter().map(|v| v.eval.0));
                index.totals.value_bytes += values.iter().map(|v| v.bytes.len() as u64).sum::<u64>();
            }
            _ => {}
        }
    }
    for remark in trace.notes() {
        if let Remark::Dropped { records, bytes } = remark {
            (index.totals.dropped_records, index.totals.dropped_bytes) = (records, bytes);
        }
    }
    trace.set_index(index);
}
