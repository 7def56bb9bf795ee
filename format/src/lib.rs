//! The records of ggscope: the only thing that the shim and the collector both know.
//!
//! One definition serves the shared-memory ring ([`ring`], [`segment`]), the handshake on the Unix socket
//! ([`session`]) and the trace file ([`chunk`], [`columns`]). This crate encodes, decodes and validates; it opens
//! no file, no socket and no segment: policy is its callers' business. The memory that several threads share without a lock
//! is here too ([`ring`], [`pair`]), where loom tests it.

pub mod attention;
pub mod capture;
pub mod chunk;
pub mod columns;
mod durations;
pub mod ids;
pub mod names;
pub mod pair;
pub mod phase;
pub mod record;
pub mod ring;
pub mod segment;
pub mod sequences;
pub mod session;
pub mod structure;
pub mod value;

pub use ids::{BufferId, Bytes, EvalId, GraphId, Nanos, RequestId, TensorId};
pub use phase::TokenPhase;

/// The version of the ring records, the handshake and the trace file. A reader refuses every other one.
pub const FORMAT_VERSION: u32 = 3;
