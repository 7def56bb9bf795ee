//! The buffers of a session: when each was allocated and released, where it was and what for.

use ggscope_format::record::BufferUsage;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A backend buffer and its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BufferLife {
    /// Number within the session.
    pub id: u32,
    /// As ggml calls it.
    pub name: String,
    /// `any`, `weights`, `compute` or `other`: as the program said last.
    pub usage: &'static str,
    /// First address in the traced process.
    pub addr: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether the CPU can read it.
    pub host: bool,
    /// When it was allocated, nanoseconds of `CLOCK_MONOTONIC`; null if that was before the recording.
    pub allocated_ns: Option<u64>,
    /// When it was released; null if it was not.
    pub released_ns: Option<u64>,
}

/// All buffers whose allocation or release was seen, by number.
pub fn buffers(trace: &Trace) -> Vec<BufferLife> {
    let mut lives: BTreeMap<u32, BufferLife> = BTreeMap::new();
    for event in trace.buffers() {
        let buffer = event.buffer;
        let life = lives.entry(buffer.id.0).or_insert_with(|| BufferLife {
            id: buffer.id.0,
            name: buffer.name.clone(),
            usage: "any",
            addr: buffer.base,
            bytes: buffer.size.0,
            host: buffer.host,
            allocated_ns: None,
            released_ns: None,
        });
        life.usage = match buffer.usage {
            BufferUsage::Any => "any",
            BufferUsage::Weights => "weights",
            BufferUsage::Compute => "compute",
            BufferUsage::Other => "other",
        };
        let when = if event.allocated { &mut life.allocated_ns } else { &mut life.released_ns };
        *when = Some(event.time.0);
    }
    lives.into_values().collect()
}
