//! A graph with what follows from it: layers, what its buffers are, and where each tensor lies.

use crate::analysis::layers::{Layers, base_name, cache};
use crate::{StoredGraph, Trace, TraceError};
use ggscope_format::record::{Experts, Tensor};
use ggscope_format::{GraphId, TensorId};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Views that are kept.
const KEPT: usize = 64;

/// Where a tensor's bytes are: DISK when they are mapped from a file, else BUFFER.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Place<'a> {
    /// `DISK` or `BUFFER`.
    pub memory: &'static str,
    /// The file, on DISK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<&'a str>,
    /// Where in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Name of the buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<&'a str>,
    /// Address in the traced process; 0 if the tensor has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<u64>,
    /// Where in a file the bytes in the buffer came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin<'a>>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Origin<'a> {
    /// The file.
    pub file: &'a str,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// The part of an expert tensor that belongs to one expert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExpertSlice {
    /// Number of the expert.
    pub id: i32,
    /// Where it begins in the file, in bytes; `None` if the tensor did not come from a file.
    pub offset: Option<u64>,
    /// Its bytes.
    pub bytes: u64,
}

/// A graph with what follows from it.
#[derive(Debug)]
pub struct GraphView {
    /// The graph.
    pub stored: Arc<StoredGraph>,
    /// Its layers.
    pub layers: Layers,
    buffers: Vec<String>,
}

impl GraphView {
    /// Looks at a graph.
    pub fn new(stored: Arc<StoredGraph>) -> GraphView {
        let graph = &stored.graph;
        let mut purpose: Vec<Option<&str>> = vec![None; graph.buffers.len()];
        for tensor in graph.tensors.iter().filter(|t| t.view.is_none()) {
            let what = match cache(base_name(&tensor.name)) {
                Some(("r" | "s", _)) => "recurrent state",
                Some(_) => "KV cache",
                None => continue,
            };
            // Only the cache itself: a copy of it lies among the intermediate results.
            if let Some(buffer) = tensor.buffer.filter(|_| base_name(&tensor.name) == tensor.name) {
                purpose[usize::from(buffer)] = Some(what);
            }
        }
        let name = |(buffer, purpose): (&ggscope_format::record::Buffer, &Option<&str>)| match purpose {
            Some(what) => format!("{what} ({})", buffer.name),
            None => buffer.name.clone(),
        };
        let buffers = graph.buffers.iter().zip(&purpose).map(name).collect();
        GraphView { layers: Layers::of(graph), buffers, stored }
    }

    /// Name of a tensor's buffer; the K/V cache's is named as such.
    pub fn buffer(&self, tensor: &Tensor) -> Option<&str> {
        let own = tensor.buffer.or_else(|| self.stored.graph.tensor(tensor.view?.0)?.buffer);
        own.and_then(|b| self.buffers.get(usize::from(b))).map(String::as_str)
    }

    /// Name of a tensor's type.
    pub fn dtype(&self, tensor: &Tensor) -> &str {
        self.stored.graph.types.get(usize::from(tensor.dtype)).map_or("?", |t| t.name.as_str())
    }

    /// Whether the tensor's bytes are mapped from a file.
    pub fn is_on_disk(&self, id: TensorId) -> bool {
        let graph = &self.stored.graph;
        let is_mapped = |t: &Tensor| t.mapped.is_some();
        graph.tensor(id).is_some_and(|t| is_mapped(t) || t.view.and_then(|v| graph.tensor(v.0)).is_some_and(is_mapped))
    }

    /// Where a tensor's bytes are.
    pub fn place(&self, id: TensorId) -> Place<'_> {
        let graph = &self.stored.graph;
        let origin = self.stored.origin(id).and_then(|(file, offset)| {
            let file = graph.files.get(usize::from(file))?.path.as_str();
            Some(Origin { file, offset })
        });
        match (self.is_on_disk(id), origin) {
            (true, Some(Origin { file, offset })) => {
                Place { memory: "DISK", file: Some(file), offset: Some(offset), buffer: None, addr: None, origin: None }
            }
            (_, origin) => {
                let tensor = graph.tensor(id);
                let buffer = tensor.and_then(|t| self.buffer(t)).unwrap_or("none");
                let addr = tensor.map_or(0, |t| t.addr);
                Place { memory: "BUFFER", file: None, offset: None, buffer: Some(buffer), addr: Some(addr), origin }
            }
        }
    }

    /// The router whose choice an operator follows: the entry of `experts` that its ids come from, if any.
    pub fn router<'e>(&self, node: &Tensor, experts: &'e [Experts]) -> Option<&'e Experts> {
        let graph = &self.stored.graph;
        if !matches!(graph.op(node), "MUL_MAT_ID" | "ADD_ID") {
            return None;
        }
        let root = |id: TensorId| graph.tensor(id).and_then(|t| t.view).map_or(id, |(root, _)| root);
        let ids = node.src.get(2).copied().flatten()?;
        experts.iter().find(|e| e.tensor == ids).or_else(|| experts.iter().find(|e| root(e.tensor) == root(ids)))
    }

    /// The slices of a tensor for the experts `ids`, one for each step along dimension `dim`.
    pub fn expert_slices(&self, id: TensorId, dim: usize, ids: &[i32]) -> Vec<ExpertSlice> {
        let Some(tensor) = self.stored.graph.tensor(id) else { return vec![] };
        let origin = self.stored.origin(id).map(|o| o.1);
        let slice = |&id: &i32| {
            let number = u64::try_from(id).ok().filter(|&n| n < tensor.ne[dim] as u64)?;
            let offset = number.checked_mul(tensor.nb[dim])?;
            Some(ExpertSlice { id, offset: origin.and_then(|o| o.checked_add(offset)), bytes: tensor.nb[dim] })
        };
        ids.iter().filter_map(slice).collect()
    }
}

/// Views of a trace's graphs that were needed before.
#[derive(Default)]
pub struct GraphViews(HashMap<GraphId, Arc<GraphView>>);

impl GraphViews {
    /// The view of a graph.
    ///
    /// # Errors
    /// When the trace does not have the graph.
    pub fn of(&mut self, trace: &Trace, id: GraphId) -> Result<Arc<GraphView>, TraceError> {
        if let Some(view) = self.0.get(&id) {
            return Ok(view.clone());
        }
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        let view = Arc::new(GraphView::new(trace.graph(id)?));
        self.0.insert(id, view.clone());
        Ok(view)
    }
}
