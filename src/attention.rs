//! What the capture sets `attention` and `values` take of a graph: queries, masks and sinks as they are, and of the K and
//! V caches the rows that the evaluation wrote, which is what keeps a token's cost independent of its context.

use crate::abi::{Layout, TensorRef};
use crate::caches::{CacheKey, Rows};
use crate::capture::{self, CompiledCapture};
use crate::graph::GraphRef;
use crate::host::{Host, Tensor};
use crate::registry;
use ggscope_format::attention::{Attention, Nodes, SET_ROWS, root, values};
use ggscope_format::capture::{Ranges, layer};
use std::collections::HashMap;
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

/// A K or V cache that a graph's attention reads, and that is written row by row; or a V cache that is transposed, as it is
/// where flash attention is off. The rows of that one hold an element of all tokens each, and evaluations write into all of
/// them: what they write is told otherwise ([`Taken::always`]), and rows only where the program changes them itself.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The tensor of the host.
    pub tensor: usize,
    /// Which cache it is, in all graphs.
    pub key: CacheKey,
    /// Bytes of a row: one token's keys, or values.
    pub row_bytes: usize,
    /// Bytes of a row that attention looks at, from its begin on, where that is not all of it.
    pub part: Option<usize>,
    /// Rows of the whole cache.
    pub n_rows: u64,
    /// Rows that the attention looks at.
    pub seen: Vec<Range<u64>>,
    /// Places of the rows that the graph writes: `i64` or `i32`.
    pub places: Vec<usize>,
}

impl Cache {
    /// The bytes of some rows that are told, as pieces of at most about `most` bytes.
    pub fn pieces(&self, rows: &Rows, most: usize) -> Vec<Range<usize>> {
        let together = if self.part.is_some() { 1 } else { (most / self.row_bytes).max(1) as u64 };
        let bytes = |run: Range<u64>| {
            let begin = run.start as usize * self.row_bytes;
            begin..self.part.map_or(run.end as usize * self.row_bytes, |part| begin + part)
        };
        rows.to_tell(together).into_iter().map(bytes).collect()
    }
}

/// What is taken of a graph.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Tensors that are told after every evaluation, also where nothing else is, because no later one has them: places
    /// of rows, which say whose they are, and values on their way into a V cache that has no rows.
    pub always: Vec<usize>,
    /// Tensors that are copied whole: masks, sinks, keys and values that are in no cache, and then queries.
    pub whole: Vec<usize>,
    /// Parts of tensors in `whole` that are wanted, in bytes, where not all of it is.
    pub parts: HashMap<usize, Vec<Range<usize>>>,
    /// Caches.
    pub caches: Vec<Cache>,
    /// Caches that the graph changes otherwise than row by row, as a context shift does.
    pub changed: Vec<CacheKey>,
}

/// One attention of a graph, and what it weighs.
struct Found {
    attention: Attention<*mut Tensor>,
    values: Option<*mut Tensor>,
}

/// Pins what has to stay until the evaluation is over.
pub fn pin(graph: GraphRef<'_>, wanted: &CompiledCapture) {
    let (nodes, written) = (HostNodes::of(graph), all_writes(graph));
    for Found { attention, values } in all(graph, wanted) {
        let Attention { q, k, mask, sinks, .. } = attention;
        let of_attention = [Some(q), Some(k), mask, sinks].into_iter().flatten().filter(|_| wanted.attention);
        for tensor in of_attention.chain(values) {
            keep(nodes, root(&nodes, tensor));
        }
        for write in [Some(k), values].into_iter().flatten().flat_map(|look| writes(&written, root(&nodes, look))) {
            keep(nodes, root(&nodes, if write.by_element { write.rows } else { write.places }));
        }
    }
}

/// Flags what gets its memory from the graph's allocator; caches and weights have theirs.
fn keep(nodes: HostNodes<'_>, tensor: *mut Tensor) {
    let tensor = nodes.tensor(tensor);
    if tensor.buffer().is_null() && tensor.data().is_null() {
        tensor.set_output(nodes.host);
    }
}

/// All attention of a graph in the layers that are wanted; with what it weighs if that is.
fn all(graph: GraphRef<'_>, wanted: &CompiledCapture) -> Vec<Found> {
    let nodes = HostNodes::of(graph);
    let all = || (0..graph.n_nodes).map(|i| graph.node(i).ptr());
    let layer = |tensor: *mut Tensor| layer(std::str::from_utf8(nodes.tensor(root(&nodes, tensor)).name()).ok()?);
    let found = all().filter_map(|node| Attention::ending(&nodes, node));
    let found = found.filter(|found| wanted.takes_layer(layer(found.k).or_else(|| layer(found.q))));
    let values = |node| wanted.values.then(|| values(&nodes, node, all())).flatten();
    found.map(|attention| Found { values: values(attention.node), attention }).collect()
}

/// An operator that writes into a cache.
struct Write {
    cache: *mut Tensor,
    node: *mut Tensor,
    rows: *mut Tensor,
    places: *mut Tensor,
    /// Each place is of one element, as in a V cache where flash attention is off: it has no rows.
    by_element: bool,
}

/// The operators that write rows of tensors. Each cache has few among many nodes: they are looked for once.
fn all_writes(graph: GraphRef<'_>) -> Vec<Write> {
    let nodes = HostNodes::of(graph);
    let write = |node: TensorRef<'_>| {
        let cache = Some(node.view_src()).filter(|cache| !cache.is_null() && nodes.op(node.ptr()) == SET_ROWS)?;
        let (rows, places) = (nodes.src(node.ptr(), 0)?, nodes.src(node.ptr(), 1)?);
        Some(Write { cache, node: node.ptr(), rows, places, by_element: node.ne()[0] == 1 })
    };
    (0..graph.n_nodes).filter_map(|i| write(graph.node(i))).collect()
}

/// Those that write into a cache.
fn writes(written: &[Write], cache: *mut Tensor) -> impl Iterator<Item = &Write> {
    written.iter().filter(move |write| write.cache == cache)
}

/// Looks for all that is to be taken of a graph that has been allocated. `kept` says where the bytes of a tensor are
/// after the evaluation, if anywhere; it may be another tensor where a scheduler has put copies.
pub fn taken(
    graph: GraphRef<'_>,
    wanted: &CompiledCapture,
    kept: impl Fn(*mut Tensor) -> Option<*mut Tensor>,
) -> Taken {
    let (nodes, written) = (HostNodes::of(graph), all_writes(graph));
    let mut taken = Taken::default();
    let add = |list: &mut Vec<usize>, tensor: *mut Tensor| {
        let tensor = kept(tensor).map(|t| t as usize)?;
        if !list.contains(&tensor) {
            list.push(tensor);
        }
        Some(tensor)
    };
    let (mut queries, mut sinks) = (vec![], vec![]);
    for Found { attention, values } in all(graph, wanted) {
        if wanted.attention {
            let whole = add(&mut queries, root(&nodes, attention.q));
            if let Some(whole) = whole.filter(|_| !wanted.capture.heads.is_all()) {
                let parts = of_heads(nodes.tensor(attention.q), &wanted.capture.heads);
                taken.parts.entry(whole).or_default().extend(parts);
            }
            if let Some(mask) = attention.mask {
                add(&mut taken.whole, root(&nodes, mask));
            }
            if let Some(of_heads) = attention.sinks {
                add(&mut sinks, root(&nodes, of_heads));
            }
        }
        for look in [Some(attention.k).filter(|_| wanted.attention), values].into_iter().flatten() {
            let source = root(&nodes, look);
            if nodes.op(source) != "NONE" {
                add(&mut queries, source);
                continue;
            }
            for write in writes(&written, source).filter(|write| write.by_element) {
                add(&mut taken.always, root(&nodes, write.rows));
            }
            let by_row = cache(graph, &written, look, source);
            let Some(cache) = by_row.or_else(|| transposed(graph, &written, look, source)) else { continue };
            match taken.caches.iter_mut().find(|c| c.key == cache.key) {
                Some(known) => known.seen.extend(cache.seen),
                None => taken.caches.push(cache),
            }
        }
        // Whose values a row has is what the places of its keys say.
        for write in writes(&written, root(&nodes, attention.k)).filter(|write| !write.by_element) {
            add(&mut taken.always, root(&nodes, write.places));
        }
    }
    taken.whole.extend(sinks);
    taken.whole.extend(queries);
    taken.changed = changed(graph);
    taken
}

/// The bytes of the wanted heads of queries `[n_embd_head, n_tokens, n_head, n_stream]` within what they are a view of.
fn of_heads(q: TensorRef<'_>, heads: &Ranges) -> Vec<Range<usize>> {
    let ([n_embd, n_tokens, n_head, n_stream], nb) = (q.ne().map(|n| n.max(0) as usize), q.nb().map(|b| b as usize));
    let mut parts: Vec<Range<usize>> = vec![];
    for (stream, token) in (0..n_stream).flat_map(|s| (0..n_tokens).map(move |t| (s, t))) {
        for head in (0..n_head).filter(|&h| heads.has(h as u64)) {
            let begin = q.view_offs() + token * nb[1] + head * nb[2] + stream * nb[3];
            match parts.last_mut() {
                Some(last) if last.end == begin => last.end += n_embd * nb[0],
                _ => parts.push(begin..begin + n_embd * nb[0]),
            }
        }
    }
    parts
}

/// A cache as attention looks at it, if its rows are written one by one.
fn cache(graph: GraphRef<'_>, written: &[Write], look: *mut Tensor, cache: *mut Tensor) -> Option<Cache> {
    let nodes = HostNodes::of(graph);
    let (look, tensor) = (nodes.tensor(look), nodes.tensor(cache));
    let written: Vec<&Write> = writes(written, cache).filter(|write| !write.by_element).collect();
    let row_bytes = nodes.tensor(written.first()?.node).nb()[1];
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
        part: None,
        n_rows,
        seen: (0..look.ne()[3]).map(stream).collect(),
        places: written.iter().map(|write| root(&nodes, write.places) as usize).collect(),
    })
}

/// A V cache as attention looks at it, `[n_kv, n_embd_head, n_head, n_stream]`, if it is written element by element.
fn transposed(graph: GraphRef<'_>, written: &[Write], look: *mut Tensor, cache: *mut Tensor) -> Option<Cache> {
    let nodes = HostNodes::of(graph);
    let (look, tensor) = (nodes.tensor(look), nodes.tensor(cache));
    writes(written, cache).find(|write| write.by_element)?;
    // SAFETY: the cache is a live tensor.
    let total = unsafe { (graph.host().ggml_nbytes)(cache) } as u64;
    let [n_kv, n_embd, n_head, n_stream] = look.ne().map(|n| n.max(0) as u64);
    let [element, row_bytes, of_head, of_stream] = look.nb();
    let part = n_kv.checked_mul(element)?;
    let fits = part > 0 && part <= row_bytes && row_bytes.checked_mul(n_embd) == Some(of_head);
    let n_rows = (fits && total.is_multiple_of(row_bytes)).then(|| total / row_bytes)?;
    let stream = |s: u64| {
        let begin = (look.view_offs() as u64 + s * of_stream) / row_bytes;
        begin.min(n_rows)..(begin + n_embd * n_head).min(n_rows)
    };
    Some(Cache {
        tensor: cache as usize,
        key: key(tensor)?,
        row_bytes: row_bytes as usize,
        part: Some(part as usize),
        n_rows,
        seen: (0..n_stream).map(stream).collect(),
        places: vec![],
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

/// Which cache a tensor is, or which tensor else that outlives graphs.
pub fn key(tensor: TensorRef<'_>) -> Option<CacheKey> {
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
