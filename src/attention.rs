//! What the capture set `attention` takes of a graph: queries, masks and sinks as they are, and of the K cache the rows
//! that the evaluation wrote, which is what keeps a token's cost independent of its context.

use crate::abi::{Layout, TensorRef};
use crate::caches::CacheKey;
use crate::capture;
use crate::graph::GraphRef;
use crate::host::{Host, Tensor};
use crate::registry;
use ggscope_format::attention::{Attention, Nodes, SET_ROWS, root};
use std::ffi::CStr;
use std::ops::Range;

/// The host's tensors, to be asked for attention.
#[derive(Clone, Copy)]
struct HostNodes<'a> {
    host: &'a Host,
    layout: &'a Layout,
}

impl<'a> HostNodes<'a> {
    fn of(graph: GraphRef<'a>) -> Self {
        HostNodes { host: graph.host(), layout: graph.layout() }
    }

    fn tensor(self, tensor: *mut Tensor) -> TensorRef<'a> {
        // SAFETY: only made for a live graph (`GraphRef::new`), and only asked about tensors that it leads to.
        unsafe { TensorRef::new(tensor, self.layout) }
    }
}

impl Nodes for HostNodes<'_> {
    type Tensor = *mut Tensor;

    fn op(&self, tensor: *mut Tensor) -> &str {
        // SAFETY: a tensor of the live graph; the name is a constant of the host.
        unsafe { CStr::from_ptr((self.host.ggml_op_desc)(tensor)) }.to_str().unwrap_or("?")
    }

    fn src(&self, tensor: *mut Tensor, i: usize) -> Option<*mut Tensor> {
        let n_src = self.layout.n_src;
        Some(self.tensor(tensor).src((i < n_src).then_some(i)?)).filter(|t| !t.is_null())
    }

    fn viewed(&self, tensor: *mut Tensor) -> Option<*mut Tensor> {
        Some(self.tensor(tensor).view_src()).filter(|t| !t.is_null())
    }
}

/// A K cache that a graph's attention reads.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The tensor of the host.
    pub tensor: usize,
    /// Which cache it is, in all graphs.
    pub key: CacheKey,
    /// Bytes of a row: one token's keys.
    pub row_bytes: usize,
    /// Rows of the whole cache.
    pub n_rows: u64,
    /// Rows that the attention looks at.
    pub seen: Vec<Range<u64>>,
    /// Places of the rows that the graph writes: `i64` or `i32`.
    pub places: Vec<usize>,
}

/// What is taken of a graph.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Tensors that are copied whole: places of rows, masks, sinks, keys that are in no cache, and then queries.
    pub whole: Vec<usize>,
    /// K caches.
    pub caches: Vec<Cache>,
    /// Caches that the graph changes otherwise than row by row, as a context shift does.
    pub changed: Vec<CacheKey>,
}

/// Pins what has to stay until the evaluation is over.
pub fn pin(graph: GraphRef<'_>) {
    let nodes = HostNodes::of(graph);
    for attention in all(graph) {
        let Attention { q, k, mask, sinks, .. } = attention;
        for tensor in [Some(q), Some(k), mask, sinks].into_iter().flatten() {
            keep(nodes, root(&nodes, tensor));
        }
        writes(graph, root(&nodes, k)).for_each(|(_, places)| keep(nodes, root(&nodes, places)));
    }
}

/// Flags what gets its memory from the graph's allocator; caches and weights have theirs.
fn keep(nodes: HostNodes<'_>, tensor: *mut Tensor) {
    let tensor = nodes.tensor(tensor);
    if tensor.buffer().is_null() && tensor.data().is_null() {
        tensor.set_output(nodes.host);
    }
}

fn all(graph: GraphRef<'_>) -> Vec<Attention<*mut Tensor>> {
    let nodes = HostNodes::of(graph);
    (0..graph.n_nodes).filter_map(|i| Attention::ending(&nodes, graph.node(i).ptr())).collect()
}

/// The operators that write rows into a cache, and where they take the places from.
fn writes<'a>(graph: GraphRef<'a>, cache: *mut Tensor) -> impl Iterator<Item = (*mut Tensor, *mut Tensor)> + 'a {
    let nodes = HostNodes::of(graph);
    (0..graph.n_nodes).map(move |i| graph.node(i)).filter_map(move |node| {
        let writes = node.view_src() == cache && nodes.op(node.ptr()) == SET_ROWS;
        let places = writes.then(|| nodes.src(node.ptr(), 1)).flatten()?;
        Some((node.ptr(), places))
    })
}

/// Looks for all that is to be taken of a graph that has been allocated. `kept` says where the bytes of a tensor are
/// after the evaluation, which may be another tensor where a scheduler has put copies.
pub fn taken(graph: GraphRef<'_>, kept: impl Fn(*mut Tensor) -> Option<*mut Tensor>) -> Taken {
    let nodes = HostNodes::of(graph);
    let mut taken = Taken::default();
    let add = |list: &mut Vec<usize>, tensor: *mut Tensor| {
        if let Some(tensor) = kept(tensor).map(|t| t as usize).filter(|t| !list.contains(t)) {
            list.push(tensor);
        }
    };
    let (mut queries, mut sinks) = (vec![], vec![]);
    for attention in all(graph) {
        add(&mut queries, root(&nodes, attention.q));
        attention.mask.into_iter().for_each(|mask| add(&mut taken.whole, root(&nodes, mask)));
        attention.sinks.into_iter().for_each(|s| add(&mut sinks, root(&nodes, s)));
        let keys = root(&nodes, attention.k);
        if nodes.op(keys) != "NONE" {
            add(&mut queries, keys);
            continue;
        }
        let Some(cache) = cache(graph, attention.k, keys) else { continue };
        cache.places.iter().for_each(|&places| add(&mut taken.whole, places as *mut Tensor));
        match taken.caches.iter_mut().find(|c| c.key == cache.key) {
            Some(known) => known.seen.extend(cache.seen),
            None => taken.caches.push(cache),
        }
    }
    taken.whole.extend(sinks);
    taken.whole.extend(queries);
    taken.changed = changed(graph);
    taken
}

/// A cache as attention looks at it, if its rows are written one by one.
fn cache(graph: GraphRef<'_>, keys: *mut Tensor, cache: *mut Tensor) -> Option<Cache> {
    let nodes = HostNodes::of(graph);
    let (look, tensor) = (nodes.tensor(keys), nodes.tensor(cache));
    let written: Vec<_> = writes(graph, cache).collect();
    let &(first, _) = written.first()?;
    let row_bytes = nodes.tensor(first).nb()[1];
    // SAFETY: the cache is a live tensor.
    let total = unsafe { (graph.host().ggml_nbytes)(cache) } as u64;
    let fits = row_bytes > 0 && look.nb()[1] == row_bytes && total.is_multiple_of(row_bytes);
    let n_rows = fits.then(|| total / row_bytes)?;
    let stream = |s: i64| {
        let begin = (look.view_offs() as u64 + s as u64 * look.nb()[3]) / row_bytes;
        begin.min(n_rows)..(begin + look.ne()[1] as u64).min(n_rows)
    };
    Some(Cache {
        tensor: cache as usize,
        key: key(tensor)?,
        row_bytes: row_bytes as usize,
        n_rows,
        seen: (0..look.ne()[3]).map(stream).collect(),
        places: written.iter().map(|&(_, places)| root(&nodes, places) as usize).collect(),
    })
}

/// The caches, and whatever else is no intermediate result, that nodes change in place.
fn changed(graph: GraphRef<'_>) -> Vec<CacheKey> {
    let nodes = HostNodes::of(graph);
    let mut changed = vec![];
    for node in (0..graph.n_nodes).map(|i| graph.node(i)).filter(|node| !node.view_src().is_null()) {
        let into = nodes.tensor(node.view_src());
        // Operator 0 is NONE in every release.
        let op = if into.op() == 0 { nodes.op(node.ptr()) } else { continue };
        if op != SET_ROWS && !capture::EMPTY_OPS.contains(&op) {
            changed.extend(key(into).filter(|key| !changed.contains(key)));
        }
    }
    changed
}

/// Which cache a tensor is.
fn key(tensor: TensorRef<'_>) -> Option<CacheKey> {
    let (buffer, data) = (tensor.buffer(), tensor.data());
    (!buffer.is_null() && !data.is_null())
        .then(|| CacheKey { buffer: registry::with(|r| r.buffers.id(buffer)), data: data as usize })
}

/// The part of a cache that the program has written itself, as it does when it restores a saved sequence: which cache
/// the tensor is, or is a part of, and the bytes of it.
///
/// # Safety
/// The tensor is live.
pub unsafe fn written(
    layout: &Layout,
    tensor: *mut Tensor,
    offset: usize,
    bytes: usize,
) -> Option<(CacheKey, Range<u64>)> {
    // SAFETY: promised by the caller; a view keeps its source alive.
    let (tensor, root) = unsafe {
        let tensor = TensorRef::new(tensor, layout);
        let root = if tensor.view_src().is_null() { tensor } else { TensorRef::new(tensor.view_src(), layout) };
        (tensor, root)
    };
    let begin = (tensor.view_offs() + offset) as u64;
    Some((key(root)?, begin..begin + bytes as u64))
}
