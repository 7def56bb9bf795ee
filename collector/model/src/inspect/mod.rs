//! Facts about a model that follow from its header: what each tensor is for, the architecture, and what both cost.
//! Each file answers one question; none of them reads weights.

mod arch_rules;
mod architecture;
pub mod contents;
mod facts;
mod families;
mod hparams;
mod inspection;
mod keys;
mod layer_tensors;
pub mod memory;
mod parameters;
mod role;
mod tokenizer;
#[cfg(test)]
mod vendored;
mod work;

pub use architecture::{
    Architecture, Attention, AttentionKind, Cache, Experts, FeedForward, Layer, ModelKind, Rope, StateKind, WindowKind,
};
#[cfg(test)]
mod architecture_tests;

pub use facts::Tensor;
pub use hparams::HParams;
pub use inspection::{Files, InspectOptions, Inspection, Metadata};
pub use parameters::{ComponentParameters, LayerParameters, Parameters, Reason, Textbook};
pub use role::{Component, Kind, Role, Stack};
pub use tokenizer::{SpecialToken, TokenSort, Tokenizer};
pub use work::{Bound, Costs, Limit, Machine, PartWork, Work};
