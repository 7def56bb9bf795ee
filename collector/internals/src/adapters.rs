//! LoRA adapters that a graph adds to a matrix of the model. Their matrices are in no file that a user gives with the model, so
//! the shim records each of them once, with the first evaluation that has it.

use ggscope_format::structure::LowRank;
use ggscope_format::{BufferId, TensorId};
use ggscope_model::ggml::GgmlType;
use ggscope_query::values::joined;
use ggscope_query::{GraphView, GraphViews};
use ggscope_trace::{Select, Trace};
use std::ops::ControlFlow;
use std::sync::Arc;

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
    pub a: Arc<Vec<f32>>,
    /// `[rank, n_out]`.
    pub b: Arc<Vec<f32>>,
    /// Columns of `a`.
    pub rank: usize,
    /// Factor.
    pub scale: f32,
}

/// The numbers of matrices, each read from its trace once: an adapter is in the graphs of all shapes, at the same place.
#[derive(Default)]
pub struct Matrices {
    read: Vec<(Matrix, Arc<Vec<f32>>)>,
}

impl Matrices {
    fn numbers(&mut self, trace: &Trace, matrix: &Matrix) -> Result<Arc<Vec<f32>>, String> {
        if let Some((_, numbers)) = self.read.iter().find(|(known, _)| known == matrix) {
            return Ok(numbers.clone());
        }
        let numbers = Arc::new(matrix.numbers(trace)?);
        self.read.push((matrix.clone(), numbers.clone()));
        Ok(numbers)
    }
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

    /// Its numbers, for a matrix `[n_in, n_out]`. `known` are those that were read from the trace already.
    ///
    /// # Errors
    /// When the trace does not have them, or they do not fit the matrix; in words for the user.
    pub fn weights(&self, trace: &Trace, known: &mut Matrices, n_in: usize, n_out: usize) -> Result<Weights, String> {
        let (a, b) = (known.numbers(trace, &self.a)?, known.numbers(trace, &self.b)?);
        let rank = a.len() / n_in.max(1);
        if rank == 0 || a.len() != rank * n_in || b.len() != rank * n_out {
            return Err(format!("the adapter {} does not fit its matrix of {n_in} by {n_out}", self.a.name));
        }
        Ok(Weights { a, b, rank, scale: self.scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::value::Value;
    use ggscope_format::{Bytes, EvalId, GraphId};
    use ggscope_trace::TraceWriter;
    use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};

    #[test]
    fn a_matrix_in_graphs_of_two_shapes_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.ggtrace");
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        let graphs =
            [3, 1].map(|n_tokens| llama(u32::from(n_tokens == 1), Shape { n_layer: 1, n_tokens, ..Shape::default() }));
        let [a, b] = ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"].map(|name| {
            let (id, tensor) = graphs[0].graph.leaves().find(|(_, tensor)| tensor.name == name).unwrap();
            (id, tensor.bytes)
        });
        for (i, graph) in graphs.iter().enumerate() {
            writer.graph(graph.clone()).unwrap();
            writer.evaluation(evaluation(graph, i as u64, i as i32, &mut Random(7))).unwrap();
            // Told once, with the first evaluation.
            for ((tensor, Bytes(n)), number) in [(a, 2.0_f32), (b, 3.0)].into_iter().filter(|_| i == 0) {
                let bytes = number.to_le_bytes().repeat(n as usize / 4);
                let (eval, graph, total) = (EvalId(0), GraphId(0), Bytes(n));
                writer.value(Value { eval, graph, tensor, total, bytes, ..Value::default() }).unwrap();
            }
        }
        writer.finish().unwrap();
        let (trace, mut known, mut views) = (Trace::open(&path).unwrap(), Matrices::default(), GraphViews::default());
        let [first, second] = [0, 1].map(|graph| {
            let view = views.of(&trace, GraphId(graph)).unwrap();
            let id = |name: &str| view.stored.graph.leaves().find(|(_, tensor)| tensor.name == name).unwrap().0.0;
            let (a, b) = (id("blk.0.attn_norm.weight"), id("blk.0.ffn_norm.weight"));
            let adapter = Adapter::of(&view, &LowRank { node: 0, matrix: 0, a, b, scale: 0.5, input: 0 }).unwrap();
            adapter.weights(&trace, &mut known, 576, 576).unwrap()
        });
        assert_eq!((first.rank, &first.a[..], &first.b[..]), (1, &[2.0; 576][..], &[3.0; 576][..]));
        assert!(Arc::ptr_eq(&first.a, &second.a) && Arc::ptr_eq(&first.b, &second.b));
    }
}
