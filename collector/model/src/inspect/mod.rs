//! Facts about a model that follow from its header: what each tensor is for, the architecture, and what both cost.
//! Each file answers one question; none of them reads weights.

mod arch_rules;
mod architecture;
mod families;
mod hparams;
mod keys;
mod layer_tensors;
mod role;
#[cfg(test)]
mod vendored;

pub use architecture::{
    Architecture, Attention, AttentionKind, Cache, Experts, FeedForward, Layer, ModelKind, Rope, StateKind, WindowKind,
};
#[cfg(test)]
mod architecture_tests;

pub use hparams::HParams;
pub use role::{Component, Kind, Role, Stack};
