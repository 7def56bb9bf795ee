//! The files and buffers that operators read, as wholes: the tracks of a memory map.

use super::memory::{ReadFilter, Region, memory};
use super::table::Table;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// A file or a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PlaceSummary {
    /// `DISK` or `BUFFER`.
    pub memory: &'static str,
    /// The file or the buffer.
    pub place: String,
    /// First byte: 0 of a file, the lowest address that was read of a buffer.
    pub start: u64,
    /// The byte after the last: the file's size if it is known, else the end of what was read.
    pub end: u64,
    /// Regions that were read.
    pub regions: u64,
    /// Bytes that were read in all.
    pub read_bytes: u64,
    /// How often an executed operator read one of the regions.
    pub accesses: u64,
    /// The contexts that read them.
    pub contexts: Vec<u32>,
}

/// What was read, files before buffers, by name; by one context, if it is given.
pub fn places(trace: &Trace, table: &Table, context: Option<u32>) -> Vec<PlaceSummary> {
    let regions = memory(trace, table, &ReadFilter { context, ..ReadFilter::default() });
    let of_place = |of_one: &[Region]| {
        let Region { memory, ref place, .. } = of_one[0];
        let size = trace.models().iter().find(|model| model.path == *place).map_or(0, |model| model.file_bytes);
        let start = if memory == "DISK" { 0 } else { of_one.iter().map(|r| r.start).min().unwrap_or(0) };
        let end = of_one.iter().map(|r| r.start.saturating_add(r.bytes)).max().unwrap_or(0);
        PlaceSummary {
            memory,
            place: place.clone(),
            start,
            end: if memory == "DISK" { end.max(size) } else { end },
            regions: of_one.len() as u64,
            read_bytes: of_one.iter().fold(0, |sum, r| sum.saturating_add(r.read_bytes)),
            accesses: of_one.iter().fold(0, |sum, r| sum.saturating_add(r.accesses)),
            contexts: of_one.iter().flat_map(|r| &r.contexts).copied().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    };
    // They come place by place.
    regions.chunk_by(|a, b| (a.memory, &a.place) == (b.memory, &b.place)).map(of_place).collect()
}
