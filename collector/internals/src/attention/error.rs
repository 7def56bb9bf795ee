//! Why there is no attention to show.

use ggscope_format::capture::Set;
use ggscope_trace::{Trace, TraceError};

/// Why there is no attention to show.
#[derive(Debug, thiserror::Error)]
pub enum AttentionError {
    /// The trace has none.
    #[error("{0} has no attention: record with `ggscope record --capture attention -- PROGRAM`")]
    NotCaptured(String),
    /// No such token, layer or head. The first part is `token`, `layer` or `head`.
    #[error("{1}")]
    Missing(&'static str, String),
    /// Something that it is computed from was lost, or is not known.
    #[error("the attention of evaluation {0} in layer {1} cannot be computed: {2}")]
    Unknown(u64, u32, String),
    /// More than an answer can have.
    #[error("{0}")]
    TooMuch(String),
    /// Two traces are not of the same text or of models of the same shape.
    #[error("{0}")]
    Unlike(String),
    /// A GPU that was asked for fails.
    #[error(transparent)]
    Device(#[from] ggscope_compute::Error),
    /// The trace is damaged.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// Whether a trace has what attention is computed from.
pub fn captured(trace: &Trace) -> Result<(), AttentionError> {
    let is_captured = trace.captures().iter().any(|change| change.capture.has(Set::Attention));
    is_captured.then_some(()).ok_or_else(|| AttentionError::NotCaptured(trace.path().display().to_string()))
}
