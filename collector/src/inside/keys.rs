//! The K cache as an evaluation found it, from the rows that evaluations wrote up to then; and which token is in which
//! of its rows.

use crate::trace::{StoredGraph, Trace};
use ggscope_format::attention::{SET_ROWS, root};
use ggscope_format::record::{Graph, Tensor, Value};
use ggscope_format::{EvalId, GraphId, TensorId};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows of a cache.
#[derive(Default)]
pub struct Rows {
    /// Bytes of a row, by its number, and the evaluation that told it.
    rows: HashMap<u64, (EvalId, Vec<u8>)>,
    /// The evaluation that wrote a row last, and the number of the token in it.
    pub tokens: HashMap<u64, (EvalId, usize)>,
    /// Whether the last evaluation told its rows: if not, what it wrote is not known.
    pub is_current: bool,
}

/// A cache in one graph.
#[derive(Clone, Default)]
struct InGraph {
    cache: Option<TensorId>,
    places: Vec<TensorId>,
}

fn in_graph(graph: &Graph, like: (&Graph, TensorId)) -> InGraph {
    let place = |graph: &Graph, id: TensorId| {
        let t = graph.tensor(id)?;
        Some((graph.buffers.get(usize::from(t.buffer?))?.id, t.addr))
    };
    let wanted = place(like.0, like.1);
    let is_it = |&(id, t): &(TensorId, &Tensor)| t.view.is_none() && wanted.is_some() && place(graph, id) == wanted;
    let cache = graph.leaves().find(is_it).map(|(id, _)| id);
    let writes = cache.into_iter().flat_map(|cache| writes(graph, cache));
    let places = writes.filter_map(|t| t.src.get(1).copied().flatten()).map(|places| root(graph, places));
    InGraph { cache, places: places.collect() }
}

/// The operators that write rows into a cache.
fn writes(graph: &Graph, cache: TensorId) -> impl Iterator<Item = &Tensor> {
    graph.nodes().map(|(_, t)| t).filter(move |t| t.view.map(|v| v.0) == Some(cache) && graph.op(t) == SET_ROWS)
}

/// Bytes of a row of a cache, as the operator that writes rows has them.
pub fn row_bytes(graph: &Graph, cache: TensorId) -> Option<u64> {
    writes(graph, cache).next().map(|t| t.nb[1]).filter(|&bytes| bytes > 0)
}

impl Rows {
    /// The rows in `wanted` of a cache, after evaluation `last`, whose graph is `stored`.
    pub fn at(trace: &Trace, stored: &StoredGraph, cache: TensorId, last: EvalId, wanted: &Range<u64>) -> Rows {
        let mut rows = Rows::default();
        let Some(row_bytes) = row_bytes(&stored.graph, cache) else { return rows };
        let mut graphs: HashMap<GraphId, InGraph> = HashMap::new();
        let is_wanted = |row: u64| wanted.contains(&row);
        trace.for_each_value(last, |value| {
            let known = graphs.entry(value.graph).or_insert_with(|| {
                let graph: Option<Arc<StoredGraph>> = trace.graph(value.graph).ok();
                graph.map(|g| in_graph(&g.graph, (&stored.graph, cache))).unwrap_or_default()
            });
            if known.cache == Some(value.tensor) {
                rows.take(value, row_bytes, &is_wanted);
                rows.is_current |= value.eval == last;
            } else if known.places.contains(&value.tensor) {
                rows.place(value, &is_wanted);
            }
        });
        rows
    }

    fn take(&mut self, value: &Value, row_bytes: u64, is_wanted: &impl Fn(u64) -> bool) {
        let first = value.offset / row_bytes;
        for (row, bytes) in
            (first..).zip(value.bytes.chunks_exact(row_bytes as usize)).filter(|(row, _)| is_wanted(*row))
        {
            let known = self.rows.entry(row).or_default();
            if value.eval >= known.0 {
                *known = (value.eval, bytes.to_vec());
            }
        }
    }

    /// `i64` places of rows; no release that has the operator writes others.
    fn place(&mut self, value: &Value, is_wanted: &impl Fn(u64) -> bool) {
        let first = (value.offset / 8) as usize;
        for (token, row) in (first..).zip(value.bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b))) {
            if is_wanted(row) {
                let known = self.tokens.entry(row).or_insert((value.eval, token));
                *known = (*known).max((value.eval, token));
            }
        }
    }

    /// Bytes of a row, if it was told.
    pub fn row(&self, row: u64) -> Option<&[u8]> {
        self.rows.get(&row).map(|known| known.1.as_slice())
    }
}
