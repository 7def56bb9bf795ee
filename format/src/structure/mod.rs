//! What a graph computes, found by what feeds what: its residual stream, what adds to it, and how it becomes logits. The shim
//! chooses by it what the sets `layers` and `logits` take of a graph, and the collector reads the recorded values by it, so
//! both mean the same tensors. Names only say which layer a weight or a cache is of, and break ties.

mod chosen;
mod dominators;
mod head;
mod part;
mod plain;
mod stream;
mod walk;

pub use chosen::Chosen;
pub use head::{Head, LowRank, Step};
pub use part::{Added, Part};
pub use plain::{Plain, PlainTensor};
pub use stream::{From, Gate, Norm, Point, Stack, Stream, Units};
