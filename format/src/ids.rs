//! Ids and units as types, so that a graph's number cannot be passed where a tensor's is meant.

use serde::{Deserialize, Serialize};

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype! {
    /// A graph within one session, in the order of first use.
    GraphId(u32)
}
newtype! {
    /// A tensor within one graph: `0..n_nodes` are the nodes in the order of execution, the rest are leaves.
    TensorId(u32)
}
newtype! {
    /// An evaluation within one session, in the order in which evaluations began.
    EvalId(u64)
}
newtype! {
    /// A request within one session: a prompt and its answer in one sequence of one context, in the order in which
    /// requests began.
    RequestId(u32)
}
newtype! {
    /// A backend buffer within one session.
    BufferId(u32)
}
newtype! {
    /// Nanoseconds. A point in time is counted from `CLOCK_MONOTONIC`'s zero.
    Nanos(u64)
}
newtype! {
    /// A number of bytes.
    Bytes(u64)
}

impl TensorId {
    /// The id as an index into [`crate::record::Graph::tensors`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
