//! What turns a hidden state into logits: the final norm, the output matrix, and what the architecture does behind it. It
//! is read off the graph that llama.cpp ran, with the numbers of its own operators, so no table of architectures is needed.

use crate::analysis::layers::copied_node;
use ggscope_format::TensorId;
use ggscope_format::record::{Graph, Tensor, TensorFlags};

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
}

/// The way from the end of the residual stream to the logits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub steps: Vec<Step>,
    /// The tensor that llama.cpp has them in.
    pub logits: TensorId,
}

/// The tensor if it is part of the model: there before the graph ran, and no input.
pub(super) fn constant(graph: &Graph, id: TensorId) -> Option<&Tensor> {
    let tensor = graph.tensor(id).filter(|_| id.0 >= graph.n_nodes && copied_node(graph, id).is_none())?;
    (graph.op(tensor) == "NONE" && !tensor.flags.has(TensorFlags::INPUT)).then_some(tensor)
}

impl Step {
    /// What a node does, and to what; `None` if it is none of these.
    pub(super) fn of(graph: &Graph, id: TensorId) -> Option<(Step, TensorId)> {
        let tensor = graph.tensor(id)?;
        let src = |i: usize| tensor.src.get(i).copied().flatten();
        let param = |i: usize| tensor.op_params.get(i).map_or(0.0, |&bits| f32::from_bits(bits as u32));
        let first = src(0)?;
        let step = match graph.op(tensor) {
            "RMS_NORM" => Step::RmsNorm(param(0)),
            "NORM" => Step::LayerNorm(param(0)),
            "SCALE" => Step::Scale { by: param(0), add: param(1) },
            "TANH" => Step::Tanh,
            "MUL_MAT" if constant(graph, first).is_some() => return Some((Step::Matrix(first), src(1)?)),
            op @ ("MUL" | "ADD") => {
                let second = src(1)?;
                let (weight, row) = match (constant(graph, first), constant(graph, second)) {
                    (None, Some(_)) => (second, first),
                    (Some(_), None) => (first, second),
                    _ => return None,
                };
                return Some((if op == "MUL" { Step::Mul(weight) } else { Step::Add(weight) }, row));
            }
            _ => return None,
        };
        Some((step, first))
    }
}
