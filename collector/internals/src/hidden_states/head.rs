//! What turns a hidden state into logits, as the recorded graph has it.

use ggscope_format::TensorId;
use ggscope_format::structure::{self, LowRank};

/// One operation on a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// x / sqrt(mean(x²) + eps).
    RmsNorm(f32),
    /// (x - mean) / sqrt(variance + eps).
    LayerNorm(f32),
    /// Element by element, by a tensor of the model.
    Mul(TensorId),
    /// Element by element, a tensor of the model.
    Add(TensorId),
    /// A matrix of the model times the row.
    Matrix(TensorId),
    /// `x * by + add`.
    Scale { by: f32, add: f32 },
    /// Between two scalings it is a soft cap.
    Tanh,
    /// `scale · b · (a · x)` is added to the matrix's result, x being what the matrix took: an adapter.
    Adapter(LowRank),
}

/// The way from the end of the residual stream to the logits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub steps: Vec<Step>,
    /// The tensor that llama.cpp has them in.
    pub logits: TensorId,
}

impl From<structure::Head> for Head {
    fn from(head: structure::Head) -> Head {
        let step = |step| match step {
            structure::Step::RmsNorm(eps) => Step::RmsNorm(eps),
            structure::Step::LayerNorm(eps) => Step::LayerNorm(eps),
            structure::Step::Mul(by) => Step::Mul(TensorId(by)),
            structure::Step::Add(what) => Step::Add(TensorId(what)),
            structure::Step::Matrix(matrix) => Step::Matrix(TensorId(matrix)),
            structure::Step::Scale { by, add } => Step::Scale { by, add },
            structure::Step::Tanh => Step::Tanh,
            structure::Step::Adapter(found) => Step::Adapter(found),
        };
        Head { steps: head.steps.into_iter().map(step).collect(), logits: TensorId(head.logits) }
    }
}
