//! What attention takes of a graph: which captured tensors, how they are shaped, and what is done to a product. Worked out
//! once for a graph, and a reason where it cannot be.

use crate::adapters::Adapter;
use crate::attention::cache_rows::Shape;
use crate::model_tensor::Used;
use ggscope_compute::attention::Step;
use ggscope_format::attention::{Attention as Found, FLASH_ATTN_EXT, SET_ROWS, root, values};
use ggscope_format::record::{Graph, Tensor, TensorFlags};
use ggscope_format::structure::Plain;
use ggscope_format::{BufferId, TensorId};
use ggscope_model::ggml::GgmlType;
use ggscope_query::GraphView;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// No model has more heads.
const MOST_HEADS: usize = 1 << 16;

/// A cache, whatever graph it is in: its buffer and its address.
pub type CacheKey = (BufferId, u64);

/// A tensor as a look at bytes that were captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// The tensor that has the bytes.
    pub root: TensorId,
    /// Where in them it begins.
    pub offset: u64,
    /// Elements in each dimension.
    pub ne: [usize; 4],
    /// Strides in bytes.
    pub nb: [u64; 4],
}

impl Look {
    fn new(graph: &Graph, id: TensorId) -> Option<Look> {
        let t = graph.tensor(id)?;
        let size = |n: i64| usize::try_from(n).unwrap_or(0);
        Some(Look { root: root(graph, id), offset: t.view.map_or(0, |v| v.1), ne: t.ne.map(size), nb: t.nb })
    }

    /// Where the element at these places in the last three dimensions begins.
    pub fn offset_of(&self, places: [usize; 3]) -> Option<u64> {
        let mut steps = places.iter().zip(&self.nb[1..]);
        steps.try_fold(self.offset, |at, (&i, &nb)| at.checked_add(nb.checked_mul(i as u64)?))
    }

    /// `n` bytes of that element and those behind it.
    pub fn at<'b>(&self, bytes: &'b [u8], places: [usize; 3], n: usize) -> Option<&'b [u8]> {
        let at = usize::try_from(self.offset_of(places)?).ok()?;
        bytes.get(at..at.checked_add(n)?)
    }
}

/// Where rows come from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A cache, and the row that the first stream begins with.
    Cache(CacheKey),
    /// The evaluation's own result: there is no cache.
    Own,
}

/// What attention weighs.
#[derive(Clone, Copy, Debug)]
pub struct ValuesPlan {
    /// `[n_embd_head, n_kv, n_head_kv, n_stream]`; with the first two exchanged if `by_element`.
    pub look: Look,
    /// How the heads lie in a row.
    pub shape: Shape,
    /// Where rows come from.
    pub source: Source,
    /// Elements of a row do not lie side by side.
    pub by_element: bool,
    /// Of a cache that is transposed: the 32-bit floats that were written into it, `[n_embd_head, n_head_kv, n_tokens]`.
    pub written: Option<TensorId>,
}

/// The attention of one layer.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// The layer.
    pub layer: u32,
    /// The node that ends it.
    pub node: TensorId,
    /// `FLASH_ATTN_EXT` or `SOFT_MAX`.
    pub op: String,
    /// Queries, `[n_embd_head, tokens of a stream, n_head, n_stream]`.
    pub q: Look,
    /// Keys, `[n_embd_head, n_kv, n_head_kv, n_stream]`.
    pub k: Look,
    /// How the heads of keys lie in a row.
    pub k_shape: Shape,
    /// Where the keys come from.
    pub k_source: Source,
    /// Mask, `[n_kv, tokens of a stream, heads, streams]`, and whether it is of 16-bit floats.
    pub mask: Option<(Look, bool)>,
    /// One logit a head.
    pub sinks: Option<TensorId>,
    /// What is done to a product.
    pub steps: Vec<Step>,
    /// Largest ALiBi bias.
    pub max_bias: f32,
    /// What is weighed, if that is wanted.
    pub values: Option<Result<ValuesPlan, String>>,
    /// What takes the heads' results, if that is one matrix.
    pub output: Option<Output>,
}

/// The matrix that takes the results of all heads, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The matrix.
    pub matrix: Used,
    /// Elements that a Walsh-Hadamard matrix turns together before, as llama.cpp does where a cache of values is quantised:
    /// values were turned before they were rounded.
    pub turned: Option<usize>,
    /// Adapters on the matrix.
    pub adapters: Vec<Adapter>,
}

impl LayerPlan {
    /// Tokens of a stream.
    pub fn per_stream(&self) -> usize {
        self.q.ne[1]
    }

    /// Heads of the queries.
    pub fn n_head(&self) -> usize {
        self.q.ne[2]
    }

    /// Heads of the keys.
    pub fn n_head_kv(&self) -> usize {
        self.k.ne[2]
    }

    /// The stream of keys that a stream of queries looks at.
    pub fn k_stream(&self, stream: usize) -> usize {
        stream * self.k.ne[3] / self.q.ne[3]
    }

    /// The row of a stream of keys that is its first.
    pub fn first_row(&self, k_stream: usize) -> u64 {
        match self.k_source {
            Source::Cache(_) => {
                let offset = self.k.offset.saturating_add(self.k.nb[3].saturating_mul(k_stream as u64));
                offset / self.k_shape.row_bytes as u64
            }
            Source::Own => (k_stream * self.k.ne[1]) as u64,
        }
    }
}

/// All attention of a graph.
#[derive(Debug, Default)]
pub struct Plan {
    /// The scheduler that computes the graph.
    pub context: u32,
    /// The layers that were asked for and have attention, in order, or why it cannot be computed.
    pub layers: Vec<(u32, Result<LayerPlan, String>)>,
    /// All layers that have attention.
    pub all: Vec<u32>,
    /// The tensors that are caches whose rows the graph writes.
    pub caches: HashMap<TensorId, CacheKey>,
    /// The tensors that are caches of values, transposed.
    pub transposed: HashSet<TensorId>,
    /// The tensors that say which rows of keys it writes.
    pub places: HashMap<TensorId, Vec<CacheKey>>,
    /// The tensors that are needed as they are.
    pub whole: HashSet<TensorId>,
}

impl Plan {
    /// Looks at a graph, for certain layers or all, and for what is weighed if `values` are wanted.
    pub fn of(view: &GraphView, layers: Option<&RangeInclusive<u32>>, values: bool) -> Plan {
        let graph = &view.stored.graph;
        let mut plan = Plan { context: graph.context, ..Plan::default() };
        for (node, found) in graph.nodes().filter_map(|(id, _)| Some((id, Found::ending(graph, id)?))) {
            let Some(layer) = view.layers.layer(node).filter(|layer| !plan.all.contains(layer)) else { continue };
            plan.all.push(layer);
            if layers.is_some_and(|layers| !layers.contains(&layer)) {
                continue;
            }
            let planned = of_layer(view, layer, &found, values);
            if let Ok(known) = &planned {
                plan.needs(graph, known);
            }
            plan.layers.push((layer, planned));
        }
        plan
    }

    /// Heads of a layer; 0 if it was not asked for, or cannot be computed.
    pub fn n_head(&self, layer: u32) -> usize {
        let found = self.layers.iter().find(|of| of.0 == layer).and_then(|of| of.1.as_ref().ok());
        found.map_or(0, LayerPlan::n_head)
    }

    /// The caches that the graph writes, in each shape that it sees in them.
    pub fn shapes(&self) -> impl Iterator<Item = (CacheKey, Shape)> {
        let layers = self.layers.iter().filter_map(|(_, layer)| layer.as_ref().ok());
        layers.flat_map(|layer| {
            let values = layer.values.as_ref().and_then(|values| values.as_ref().ok());
            let both = [Some((layer.k_source, layer.k_shape)), values.map(|v| (v.source, v.shape))];
            both.into_iter().flatten().filter_map(|(source, shape)| match source {
                Source::Cache(key) => Some((key, shape)),
                Source::Own => None,
            })
        })
    }

    fn needs(&mut self, graph: &Graph, layer: &LayerPlan) {
        self.whole.insert(layer.q.root);
        self.whole.extend(layer.mask.map(|mask| mask.0.root));
        self.whole.extend(layer.sinks);
        match layer.k_source {
            Source::Own => {
                self.whole.insert(layer.k.root);
            }
            Source::Cache(key) => {
                self.caches.insert(layer.k.root, key);
                for write in writes(graph, layer.k.root) {
                    let Some(places) = write.src.get(1).copied().flatten() else { continue };
                    let caches = self.places.entry(root(graph, places)).or_default();
                    if !caches.contains(&key) {
                        caches.push(key);
                    }
                }
            }
        }
        let Some(Ok(values)) = layer.values else { return };
        match (values.source, values.written) {
            (_, Some(written)) => {
                self.whole.insert(written);
                self.transposed.insert(values.look.root);
            }
            (Source::Own, None) => {
                self.whole.insert(values.look.root);
            }
            (Source::Cache(key), None) => {
                self.caches.insert(values.look.root, key);
            }
        }
    }
}

/// The operators that write rows into a cache.
fn writes(graph: &Graph, cache: TensorId) -> impl Iterator<Item = &Tensor> {
    graph.nodes().map(|(_, t)| t).filter(move |t| t.view.map(|v| v.0) == Some(cache) && graph.op(t) == SET_ROWS)
}

fn of_layer(view: &GraphView, layer: u32, found: &Found<TensorId>, with_values: bool) -> Result<LayerPlan, String> {
    let graph = &view.stored.graph;
    let lacks = || "a tensor is not in its graph".to_owned();
    let look = |id| Look::new(graph, id).ok_or_else(lacks);
    let (q, k) = (look(found.q)?, look(found.k)?);
    let is_f32 = |id| graph.tensor(id).is_some_and(|t| view.dtype(t) == "f32");
    let fits = q.ne.iter().chain(&k.ne).all(|&n| n > 0)
        && q.ne[2] <= MOST_HEADS
        && q.ne[0] == k.ne[0]
        && q.ne[2].is_multiple_of(k.ne[2])
        && q.ne[3].is_multiple_of(k.ne[3])
        && is_f32(found.q);
    if !fits {
        return Err("its queries and keys have shapes that do not fit each other".into());
    }
    let mask = match found.mask {
        None => None,
        Some(id) => {
            let (mask, dtype) = (look(id)?, graph.tensor(id).map_or("?", |t| view.dtype(t)));
            if mask.ne[0] != k.ne[1] || mask.ne[2] == 0 || mask.ne[3] == 0 || !matches!(dtype, "f16" | "f32") {
                return Err("its mask has a shape that does not fit its keys".into());
            }
            Some((mask, dtype == "f16"))
        }
    };
    let (k_source, k_shape) = rows_of(view, found.k, &k)?;
    let (steps, max_bias) = rule(graph, found)?;
    let op = graph.tensor(found.node).map_or("?", |t| graph.op(t)).to_owned();
    let sinks = found.sinks.map(|sinks| root(graph, sinks));
    let values = with_values.then(|| values_of(view, found.node, &k));
    let output = output_of(view, found.node);
    let node = found.node;
    Ok(LayerPlan { layer, node, op, q, k, k_shape, k_source, mask, sinks, steps, max_bias, values, output })
}

/// What an attention weighs, whose keys are `k`.
fn values_of(view: &GraphView, node: TensorId, k: &Look) -> Result<ValuesPlan, String> {
    let graph = &view.stored.graph;
    let id = values(graph, node, graph.nodes().map(|(id, _)| id)).ok_or("its values are not in its graph")?;
    let look = Look::new(graph, id).ok_or("its values are not in its graph")?;
    let is_flash = graph.tensor(node).map(|t| graph.op(t)) == Some(FLASH_ATTN_EXT);
    let [a, b, n_head, n_stream] = look.ne;
    let (n_embd, n_kv) = if is_flash { (a, b) } else { (b, a) };
    if n_kv != k.ne[1] || n_head != k.ne[2] || n_stream != k.ne[3] || n_embd == 0 {
        return Err("its keys and values have shapes that do not fit each other".into());
    }
    let turned = Look { ne: [n_embd, n_kv, n_head, n_stream], ..look };
    if is_flash {
        let (source, shape) = rows_of(view, id, &turned)?;
        return Ok(ValuesPlan { look, shape, source, by_element: false, written: None });
    }
    let ty = graph.tensor(id).and_then(|t| GgmlType::from_name(view.dtype(t)));
    let ty = ty.filter(|ty| [GgmlType::F16, GgmlType::F32].contains(ty));
    let ty = ty.ok_or("its values have a type whose elements cannot stand alone")?;
    let stride = ty.row_size(n_embd as u64).map_or(0, |bytes| bytes as usize);
    let shape = Shape { row_bytes: stride.saturating_mul(n_head), ty, n_embd, n_head, first: 0, stride };
    shape.head_bytes().ok_or("its values have a shape that cannot be")?;
    let root_of = graph.tensor(look.root);
    if root_of.is_some_and(|t| graph.op(t) != "NONE") {
        return Ok(ValuesPlan { look, shape, source: Source::Own, by_element: true, written: None });
    }
    let place = root_of.and_then(|t| Some((graph.buffers.get(usize::from(t.buffer?))?.id, t.addr)));
    let unknown = "how the graph writes its V cache is not known: only SET_ROWS is";
    let write = writes(graph, look.root).find(|t| t.ne[0] == 1).ok_or(unknown)?;
    let source = write.src.first().copied().flatten().map(|source| root(graph, source)).ok_or(unknown)?;
    let is_plain = |t: &Tensor| view.dtype(t) == "f32" && t.flags.has(TensorFlags::CONTIGUOUS);
    let written = graph.tensor(source).filter(|t| is_plain(t)).map(|_| source).ok_or(unknown)?;
    let source = Source::Cache(place.ok_or(unknown)?);
    Ok(ValuesPlan { look, shape, source, by_element: true, written: Some(written) })
}

/// The matrix that the results of all heads, side by side, are multiplied with, if nothing else is done to them before than
/// to turn them.
fn output_of(view: &GraphView, node: TensorId) -> Option<Output> {
    /// `GGML_HINT_SRC0_IS_HADAMARD`, the second parameter of a product.
    const HADAMARD: Option<&i32> = Some(&1);
    let graph = &view.stored.graph;
    let is_look = |op: &str| matches!(op, "VIEW" | "RESHAPE" | "PERMUTE" | "TRANSPOSE" | "CONT");
    let weighs = |t: &Tensor| graph.op(t) == "MUL_MAT" && t.src.get(1) == Some(&Some(node));
    let is_flash = graph.tensor(node).map(|t| graph.op(t)) == Some(FLASH_ATTN_EXT);
    let weighed = if is_flash { node } else { graph.nodes().find(|(_, t)| weighs(t))?.0 };
    let (mut at, mut turned) = (weighed, None);
    for (id, tensor) in graph.nodes().skip_while(|(id, _)| *id <= weighed) {
        if is_look(graph.op(tensor)) && tensor.src.first() == Some(&Some(at)) {
            at = id;
        } else if graph.op(tensor) == "MUL_MAT" && tensor.src.get(1) == Some(&Some(at)) {
            let weight = tensor.src.first().copied().flatten()?;
            let matrix = graph.tensor(weight)?;
            if graph.op(matrix) != "NONE" {
                return None;
            }
            if matrix.flags.has(TensorFlags::INPUT) && tensor.op_params.get(1) == HADAMARD && turned.is_none() {
                turned = Some(usize::try_from(matrix.ne[0]).ok().filter(|n| n.is_power_of_two())?);
                at = id;
                continue;
            }
            let on_matrix = Plain::from(graph).adapters_of(id.0);
            let adapters = on_matrix.iter().map(|found| Adapter::of(view, found)).collect::<Option<_>>()?;
            return Some(Output { matrix: Used::of(view, weight)?, turned, adapters });
        } else if tensor.src.contains(&Some(at)) {
            return None;
        }
    }
    None
}

/// Where the rows of a look at keys or values come from, and how heads lie in them.
fn rows_of(view: &GraphView, id: TensorId, look: &Look) -> Result<(Source, Shape), String> {
    let graph = &view.stored.graph;
    let dtype = graph.tensor(id).map_or("?", |t| view.dtype(t));
    let ty = GgmlType::from_name(dtype).ok_or_else(|| format!("keys have type {dtype}"))?;
    let [n_embd, _, n_head, _] = look.ne;
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let tensor = graph.tensor(look.root);
    let (source, shape) = if tensor.is_some_and(|t| graph.op(t) != "NONE") {
        let head = ty.row_size(n_embd as u64).map_or(0, size);
        let row_bytes = head.saturating_mul(n_head);
        (Source::Own, Shape { row_bytes, ty, n_embd, n_head, first: 0, stride: head })
    } else {
        let row_bytes = writes(graph, look.root).next().map(|t| t.nb[1]).filter(|&bytes| bytes > 0);
        let place = tensor.and_then(|t| Some((graph.buffers.get(usize::from(t.buffer?))?.id, t.addr)));
        let (Some(row_bytes), Some(place)) = (row_bytes.filter(|&bytes| bytes == look.nb[1]), place) else {
            return Err("how the graph writes its K cache is not known: only SET_ROWS is".into());
        };
        let (row_bytes, first, stride) = (size(row_bytes), size(look.offset % row_bytes), size(look.nb[2]));
        (Source::Cache(place), Shape { row_bytes, ty, n_embd, n_head, first, stride })
    };
    shape.head_bytes().ok_or("its heads do not lie within the rows of its keys")?;
    Ok((source, shape))
}

/// What is done to a product, and the largest ALiBi bias.
fn rule(graph: &Graph, found: &Found<TensorId>) -> Result<(Vec<Step>, f32), String> {
    let param = |id: TensorId, i: usize| {
        graph.tensor(id).and_then(|t| t.op_params.get(i)).map_or(0.0, |&bits| f32::from_bits(bits as u32))
    };
    let by = |by| Step::Scale { by, add: 0.0 };
    let node = found.node;
    let (scale, max_bias) = (param(node, 0), param(node, 1));
    if graph.tensor(node).map(|t| graph.op(t)) == Some(FLASH_ATTN_EXT) {
        let cap = param(node, 2);
        let steps = if cap == 0.0 { vec![by(scale)] } else { vec![by(scale / cap), Step::Tanh, by(cap)] };
        return Ok((steps, max_bias));
    }
    let mut steps = vec![];
    for &id in &found.between {
        steps.push(match graph.tensor(id).map(|t| graph.op(t)) {
            Some("SCALE") => Step::Scale { by: param(id, 0), add: param(id, 1) },
            Some("TANH") => Step::Tanh,
            _ => return Err("the model adds a bias of its own to its products, which is not captured".into()),
        });
    }
    steps.push(by(scale));
    Ok((steps, max_bias))
}
