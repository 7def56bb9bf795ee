//! What turns a hidden state into logits: the final norm, the output matrix, adapters on it, and what the architecture does
//! behind it. It is read off the graph that ran, with the numbers of its own operators, so no table of architectures is
//! needed.

use super::Plain;

/// One operation on a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// x / sqrt(mean(x²) + eps).
    RmsNorm(f32),
    /// (x - mean) / sqrt(variance + eps).
    LayerNorm(f32),
    /// Element by element, by a tensor of the model.
    Mul(u32),
    /// Element by element, a tensor of the model.
    Add(u32),
    /// A matrix of the model times the row.
    Matrix(u32),
    /// `x * by + add`.
    Scale {
        /// Factor.
        by: f32,
        /// Summand.
        add: f32,
    },
    /// Between two scalings it is a soft cap.
    Tanh,
    /// A low-rank matrix times what the step before took is added to its result: an adapter on the output matrix.
    Adapter(LowRank),
}

/// The product with two narrow matrices, as a LoRA adapter adds it to a matrix's: `scale · b · (a · x)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// What it gives.
    pub node: u32,
    /// The model's matrix to whose product it is added.
    pub matrix: u32,
    /// The first matrix, `[n_in, rank]`.
    pub a: u32,
    /// The second one, `[rank, n_out]`.
    pub b: u32,
    /// The factor.
    pub scale: f32,
    /// What the first matrix is multiplied with, or the ids of rows that are taken of it.
    pub input: u32,
}

/// The way from the end of the residual stream to the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// The tensor that llama.cpp has the logits in.
    pub logits: u32,
}

/// The operators that multiply with a matrix, and the one that takes rows of it.
fn is_product(op: &str) -> bool {
    matches!(op, "MUL_MAT" | "MUL_MAT_ID" | "GET_ROWS")
}

impl Plain {
    /// The source of a product that is multiplied, and the matrix, if that is a constant.
    pub(super) fn product(&self, id: u32) -> Option<(u32, u32)> {
        let matrix = self.src(id, 0).map(|w| self.weight_beneath(w))?;
        (is_product(self.op(id)) && self.is_constant(matrix)).then(|| Some((matrix, self.src(id, 1)?)))?
    }

    /// The adapters on the matrix of a product: sums that follow it, one adapter each.
    pub fn adapters_of(&self, product: u32) -> Vec<LowRank> {
        let (mut found, mut at) = (vec![], product);
        'sums: loop {
            for &next in self.consumers(at) {
                let adapted = self.adapted(next).filter(|(base, _)| *base == at);
                if adapted.is_some() || (self.op(next) == "MUL" && self.through_constant(next).is_some()) {
                    found.extend(adapted.map(|(_, adapter)| adapter));
                    at = next;
                    continue 'sums;
                }
            }
            return found;
        }
    }

    /// Both matrices of an adapter, and what the first one takes, of the node that scales what it gives.
    pub(super) fn low_rank(&self, node: u32) -> Option<(u32, u32, u32)> {
        let up = self.src(node, 0).filter(|_| self.op(node) == "SCALE")?;
        let (b, down) = self.product(up).filter(|_| self.op(up) != "GET_ROWS")?;
        let (a, input) = self.product(down)?;
        let (rank, n_out) = (self.tensor(b)?.ne[0], self.tensor(b)?.ne[1]);
        let is_narrow = self.tensor(a)?.ne[1] == rank || self.tensor(a)?.ne[0] == rank;
        (is_narrow && rank < n_out.max(2)).then_some((a, b, input))
    }

    /// Of a sum of a product and an adapter on its matrix: what the adapter is added to, and the adapter. Both multiply the
    /// same tensor, or take the same rows.
    pub(super) fn adapted(&self, sum: u32) -> Option<(u32, LowRank)> {
        if self.op(sum) != "ADD" {
            return None;
        }
        let (a, b) = (self.src(sum, 0)?, self.src(sum, 1)?);
        let of = |base: u32, added: u32| {
            let (a, b, input) = self.low_rank(added)?;
            let mut at = base;
            // Other adapters, and the scale of the matrix, may be in between.
            loop {
                at = match (self.op(at), self.src(at, 0), self.src(at, 1)) {
                    ("ADD", Some(under), Some(other)) if self.low_rank(other).is_some() => under,
                    ("MUL", Some(under), Some(by)) if self.is_constant(self.weight_beneath(by)) => under,
                    _ => break,
                };
            }
            let (matrix, taken) = self.product(at)?;
            let adapter = LowRank { node: added, matrix, a, b, scale: self.param(added, 0), input };
            (self.beneath(taken).0 == self.beneath(input).0).then_some((base, adapter))
        };
        of(a, b).or_else(|| of(b, a))
    }
}

impl Step {
    /// What a node does, and to what; `None` if it is none of these.
    pub fn of(graph: &Plain, id: u32) -> Option<(Step, u32)> {
        if let Some((base, adapter)) = graph.adapted(id) {
            return Some((Step::Adapter(adapter), base));
        }
        let first = graph.src(id, 0)?;
        let step = match graph.op(id) {
            "RMS_NORM" => Step::RmsNorm(graph.param(id, 0)),
            "NORM" => Step::LayerNorm(graph.param(id, 0)),
            "SCALE" => Step::Scale { by: graph.param(id, 0), add: graph.param(id, 1) },
            "TANH" => Step::Tanh,
            "MUL_MAT" if graph.is_constant(first) => return Some((Step::Matrix(first), graph.src(id, 1)?)),
            op @ ("MUL" | "ADD") => {
                let (row, weight) = graph.through_constant(id)?;
                return Some((if op == "MUL" { Step::Mul(weight) } else { Step::Add(weight) }, row));
            }
            _ => return None,
        };
        Some((step, first))
    }
}
