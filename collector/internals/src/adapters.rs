//! LoRA adapters that a graph adds to a matrix of the model. Their matrices are in no file that a user gives with the model, so
//! the shim records each of them once, with the first evaluation that has it.

use ggscope_format::structure::LowRank;
use ggscope_format::{BufferId, TensorId};
use ggscope_model::ggml::GgmlType;
use ggscope_query::values::joined;
use ggscope_query::{GraphView, GraphViews};
use ggscope_trace::{Select, Trace};
use std::ops::ControlFlow;

/// One matrix of an adapter, in any graph: its buffer, its address and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Matrix {
    name: String,
    place: (BufferId, u64),
    ne: [i64; 4],
    dtype: String,
}

/// An adapter that a graph uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    a: Matrix,
    b: Matrix,
    scale: f32,
}

/// The numbers of an adapter: `scale · b · (a · x)` is added to what its matrix gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `[n_in, rank]`.
    pub a: Vec<f32>,
    /// `[rank, n_out]`.
    pub b: Vec<f32>,
    /// Columns of `a`.
    pub rank: usize,
    /// Factor.
    pub scale: f32,
}

impl Matrix {
    fn of(view: &GraphView, id: TensorId) -> Option<Matrix> {
        let graph = &view.stored.graph;
        let tensor = graph.tensor(id)?;
        let buffer = graph.buffers.get(usize::from(tensor.buffer?))?.id;
        let (name, dtype) = (tensor.name.clone(), view.dtype(tensor).to_owned());
        Some(Matrix { name, place: (buffer, tensor.addr), ne: tensor.ne, dtype })
    }

    /// Its numbers, from the first evaluation that was told with them.
    fn numbers(&self, trace: &Trace) -> Result<Vec<f32>, String> {
        let (mut views, mut found) = (GraphViews::default(), None);
        trace.for_each_evaluation(&Select::default(), false, |row| {
            let Ok(view) = views.of(trace, row.evaluation.graph) else { return ControlFlow::Continue(()) };
            let is_it = |&(id, _): &(TensorId, _)| Matrix::of(&view, id).as_ref() == Some(self);
            let Some((id, _)) = view.stored.graph.leaves().find(is_it) else { return ControlFlow::Continue(()) };
            let whole = joined(id, &trace.values(row.evaluation.eval)).filter(|(bytes, n)| bytes.len() as u64 == *n);
            found = whole.map(|(bytes, _)| bytes);
            if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let lacks = || format!("the run added an adapter, {}, and the trace does not have its numbers", self.name);
        let bytes = found.ok_or_else(lacks)?;
        let unknown = || format!("{} has the type {} or a shape that has no numbers", self.name, self.dtype);
        let ty = GgmlType::from_name(&self.dtype).ok_or_else(unknown)?;
        let elements = self.ne.iter().try_fold(1_u64, |n, &ne| n.checked_mul(u64::try_from(ne).ok()?));
        let elements = elements.filter(|&n| ty.row_size(n) == Some(bytes.len() as u64)).ok_or_else(unknown)?;
        let mut out = vec![0.0; usize::try_from(elements).map_err(|_| unknown())?];
        ty.dequantize(&bytes, &mut out).map_err(|_| unknown())?;
        Ok(out)
    }
}

impl Adapter {
    /// An adapter of a graph; `None` if its matrices are not there.
    pub fn of(view: &GraphView, found: &LowRank) -> Option<Adapter> {
        let (a, b) = (Matrix::of(view, TensorId(found.a))?, Matrix::of(view, TensorId(found.b))?);
        Some(Adapter { a, b, scale: found.scale })
    }

    /// Its numbers, for a matrix `[n_in, n_out]`.
    ///
    /// # Errors
    /// When the trace does not have them, or they do not fit the matrix; in words for the user.
    pub fn weights(&self, trace: &Trace, n_in: usize, n_out: usize) -> Result<Weights, String> {
        let (a, b) = (self.a.numbers(trace)?, self.b.numbers(trace)?);
        let rank = a.len() / n_in.max(1);
        if rank == 0 || a.len() != rank * n_in || b.len() != rank * n_out {
            return Err(format!("the adapter {} does not fit its matrix of {n_in} by {n_out}", self.a.name));
        }
        Ok(Weights { a, b, rank, scale: self.scale })
    }
}
