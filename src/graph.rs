//! From the host's `cgraph` to our record of it, once; and, every time, whether it still is the same graph.

use crate::abi::{FLAG_COMPUTE, FLAG_INPUT, FLAG_OUTPUT, Layout, TensorRef};
use crate::attention::{self, Taken};
use crate::buffers;
use crate::capture::{self, CompiledCapture, EMPTY_OPS};
use crate::host::{CGraph, Host, Tensor};
use crate::maps::{Mapping, Maps};
use crate::memory_writes::MemoryWrites;
use crate::registry::{self, BackendInfo};
use crate::statistics::Element;
use crate::structure::Tensors;
use ggscope_format::record::{Graph, MappedFile, Tensor as TensorRecord, TensorFlags, TensorType};
use ggscope_format::{Bytes, GraphId, TensorId};
use std::collections::{HashMap, HashSet};

/// A graph of the host, to be read.
#[derive(Clone, Copy)]
pub struct GraphRef<'a> {
    host: &'a Host,
    layout: &'a Layout,
    graph: *mut CGraph,
    /// Number of nodes.
    pub n_nodes: i32,
}

impl<'a> GraphRef<'a> {
    /// # Safety
    /// `graph` is live for as long as the value is used, and `layout` was proven on its host.
    pub unsafe fn new(host: &'a Host, layout: &'a Layout, graph: *mut CGraph) -> Self {
        // SAFETY: the graph is live.
        let n_nodes = unsafe { (host.ggml_graph_n_nodes)(graph) };
        GraphRef { host, layout, graph, n_nodes }
    }

    /// The host's ggml.
    pub fn host(self) -> &'a Host {
        self.host
    }

    /// How its tensors are laid out.
    pub fn layout(self) -> &'a Layout {
        self.layout
    }

    /// The host's pointer.
    pub fn ptr(self) -> *mut CGraph {
        self.graph
    }

    /// Node `i`.
    pub fn node(self, i: i32) -> TensorRef<'a> {
        debug_assert!((0..self.n_nodes).contains(&i));
        // SAFETY: the graph is live (promise of `new`) and has the node.
        unsafe { self.tensor((self.host.ggml_graph_node)(self.graph, i)) }
    }

    /// # Safety
    /// The tensor belongs to the graph.
    unsafe fn tensor(self, tensor: *mut Tensor) -> TensorRef<'a> {
        // SAFETY: promised by the caller.
        unsafe { TensorRef::new(tensor, self.layout) }
    }
}

/// What an evaluation needs to know of its graph.
pub struct GraphInfo {
    /// Name within the session.
    pub id: GraphId,
    /// Number of the node that a tensor is.
    pub index: HashMap<usize, u32>,
    /// Tensors whose values are wanted by name, and are there after the evaluation.
    pub captured: Vec<Captured>,
    /// Matrices of adapters, which are told once.
    pub once: Vec<Captured>,
    /// Tensors that hold chosen expert ids.
    pub experts: Vec<(TensorId, usize)>,
    /// What attention is computed from, if that is wanted.
    pub attention: Taken,
    /// Numbers of the tensors in it.
    pub attention_ids: HashMap<usize, TensorId>,
}

/// A tensor whose values are wanted by name.
pub struct Captured {
    /// Number in the graph.
    pub id: TensorId,
    /// The tensor of the host.
    pub tensor: usize,
    /// What its elements are, if they are floating-point numbers of their own.
    pub element: Option<Element>,
}

/// Reads the whole graph.
pub fn describe(
    graph: GraphRef<'_>,
    id: GraphId,
    context: u32,
    backends: &[BackendInfo],
    wanted: &CompiledCapture,
) -> (Graph, GraphInfo) {
    let mut d = Description::new(graph, Tensors::of(graph));
    let maps = Maps::of_self();
    let remains = MemoryWrites::of(graph);
    let kept = |tensor| {
        // SAFETY: a tensor of the graph.
        d.kept(tensor).filter(|&kept| remains.has(unsafe { graph.tensor(kept) }))
    };
    let taken = if wanted.of_caches() { attention::taken(graph, wanted, kept) } else { Taken::default() };
    let mut pinned: HashSet<usize> = taken.whole.iter().chain(&taken.always).copied().collect();
    let chosen = wanted.chosen(graph);
    let is_captured = |i: i32| {
        let node = graph.node(i);
        (chosen.takes(&wanted.capture, i as u32) || wanted.takes(graph.layout, node)) && remains.has(node)
    };
    let captured: Vec<i32> = (0..graph.n_nodes).filter(|&i| is_captured(i)).collect();
    pinned.extend(captured.iter().map(|&i| graph.node(i).ptr() as usize));
    let tensors = (0..d.tensors.list.len()).map(|i| d.record(i, &maps, &pinned)).collect();
    let once = chosen.adapters().map(|id| Captured {
        id: TensorId(id),
        tensor: d.tensors.list[id as usize] as usize,
        element: None,
    });
    let once = once.collect();
    let of_attention = taken.whole.iter().chain(&taken.always).chain(taken.caches.iter().map(|c| &c.tensor));
    let attention_ids = of_attention.filter_map(|&t| Some((t, TensorId(*d.tensors.ids.get(&t)?)))).collect();
    let mut info = GraphInfo {
        id,
        index: HashMap::new(),
        captured: vec![],
        once,
        experts: vec![],
        attention: taken,
        attention_ids,
    };
    for i in 0..graph.n_nodes {
        let node = graph.node(i);
        info.index.insert(node.ptr() as usize, i as u32);
        if captured.binary_search(&i).is_ok() {
            // SAFETY: the number is a tensor's type, so the host knows it; the name is a constant of the host.
            let name = unsafe { std::ffi::CStr::from_ptr((graph.host.ggml_type_name)(node.dtype())) };
            let element = Element::named(name.to_bytes());
            info.captured.push(Captured { id: TensorId(i as u32), tensor: node.ptr() as usize, element });
        }
        // SAFETY: a node of the graph.
        if unsafe { capture::is_expert_product(graph.host, node) } {
            let id = d.tensors.id(node.src(2));
            let id = id.filter(|id| !info.experts.iter().any(|(t, _)| t.0 == *id));
            let found = id.and_then(|id| Some((id, d.kept_ids(id)?)));
            // SAFETY: a tensor of the graph.
            let remain = |ids: usize| remains.has(unsafe { graph.tensor(ids as *mut Tensor) });
            if let Some((id, ids)) = found.filter(|found| remain(found.1)) {
                info.experts.push((TensorId(id), ids));
            }
        }
    }
    let record = Graph {
        graph: id,
        context,
        n_nodes: graph.n_nodes as u32,
        tensors,
        ops: d.ops,
        types: d.types,
        buffers: d.buffers,
        files: d.files,
        devices: backends.iter().map(|b| b.name.clone()).collect(),
    };
    (record, info)
}

struct Description<'a> {
    graph: GraphRef<'a>,
    tensors: Tensors,
    ops: Vec<String>,
    types: Vec<TensorType>,
    type_ids: HashMap<i32, u16>,
    buffers: Vec<ggscope_format::record::Buffer>,
    buffer_ids: HashMap<usize, u16>,
    files: Vec<MappedFile>,
}

impl<'a> Description<'a> {
    fn new(graph: GraphRef<'a>, tensors: Tensors) -> Self {
        Description {
            graph,
            tensors,
            ops: vec![],
            types: vec![],
            type_ids: HashMap::new(),
            buffers: vec![],
            buffer_ids: HashMap::new(),
            files: vec![],
        }
    }

    /// Where the expert ids are that a product takes as tensor `id`: there, if it is a node, which is pinned. The
    /// scheduler's copy for another device (`CPU#ffn_moe_topk-3#0`) is overwritten before the evaluation ends: then
    /// they are in the node that it is a copy of.
    fn kept_ids(&self, id: u32) -> Option<usize> {
        let n_nodes = self.graph.n_nodes as usize;
        if (id as usize) < n_nodes {
            return Some(self.tensors.list[id as usize] as usize);
        }
        // SAFETY: the tensors belong to the graph.
        let name = |i: usize| unsafe { self.graph.tensor(self.tensors.list[i]) }.name();
        let copy = name(id as usize);
        let (from, to) = (copy.iter().position(|&b| b == b'#')?, copy.iter().rposition(|&b| b == b'#')?);
        let original = copy.get(from + 1..to)?;
        let mut found = (0..n_nodes).filter(|&i| name(i) == original);
        // A name that two nodes have says nothing.
        found.next().filter(|_| found.next().is_none()).map(|i| self.tensors.list[i] as usize)
    }

    /// Where a tensor's bytes are when the evaluation is over: nowhere, if the scheduler's copy is of no node.
    fn kept(&self, tensor: *mut Tensor) -> Option<*mut Tensor> {
        // SAFETY: the tensor belongs to the graph.
        if !unsafe { self.graph.tensor(tensor) }.name().contains(&b'#') {
            return Some(tensor);
        }
        self.kept_ids(*self.tensors.ids.get(&(tensor as usize))?).map(|t| t as *mut Tensor)
    }

    fn id(&self, tensor: *mut Tensor) -> Option<TensorId> {
        (!tensor.is_null()).then(|| TensorId(self.tensors.ids[&(tensor as usize)]))
    }

    fn record(&mut self, i: usize, maps: &Maps, kept: &HashSet<usize>) -> TensorRecord {
        let GraphRef { host, layout, .. } = self.graph;
        // SAFETY: the tensor belongs to the graph.
        let t = unsafe { self.graph.tensor(self.tensors.list[i]) };
        // SAFETY: the tensor is live; ggml's own accessors.
        let (op, bytes, contiguous) = unsafe {
            let op = crate::host::text((host.ggml_op_desc)(t.ptr()));
            (op, (host.ggml_nbytes)(t.ptr()) as u64, (host.ggml_is_contiguous)(t.ptr()))
        };
        let is_node = i < self.graph.n_nodes as usize;
        let skipped = layout.marks_computed && t.flags() & FLAG_COMPUTE == 0;
        let computed = is_node && !skipped && !EMPTY_OPS.contains(&op.as_str());
        let pinned = is_node && kept.contains(&(t.ptr() as usize));
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(t.flags() & FLAG_INPUT != 0, TensorFlags::INPUT)
            | flag(t.flags() & FLAG_OUTPUT != 0, TensorFlags::OUTPUT)
            | flag(computed, TensorFlags::COMPUTED)
            | flag(pinned, TensorFlags::PINNED)
            | flag(contiguous, TensorFlags::CONTIGUOUS);
        let view = (!t.view_src().is_null()).then(|| self.root_of_view(t)).flatten();
        let addr = t.data() as u64;
        let mapped = maps.find(addr).map(|(mapping, offset)| {
            let Mapping { path, device, inode, .. } = mapping.clone();
            (position(&mut self.files, MappedFile { path, device, inode }), offset)
        });
        let n_params = (0..layout.n_op_params).rev().find(|&p| t.op_param(p) != 0).map_or(0, |p| p + 1);
        TensorRecord {
            name: String::from_utf8_lossy(t.name()).into_owned(),
            op: position(&mut self.ops, op),
            dtype: self.dtype(t.dtype()),
            flags: TensorFlags(flags),
            ne: t.ne(),
            nb: t.nb(),
            bytes: Bytes(bytes),
            src: t.sources().map(|s| self.id(s)).collect(),
            view,
            addr,
            buffer: self.buffer(t),
            mapped,
            op_params: (0..n_params).map(|p| t.op_param(p)).collect(),
        }
    }

    /// ggml makes views of views point at the first source; should a host not, the offsets are added up here.
    fn root_of_view(&self, t: TensorRef<'_>) -> Option<(TensorId, u64)> {
        let (mut root, mut offset) = (t.view_src(), t.view_offs() as u64);
        for _ in 0..16 {
            // SAFETY: the source of a view belongs to the graph.
            let next = unsafe { self.graph.tensor(root) };
            if next.view_src().is_null() {
                return Some((self.id(root)?, offset));
            }
            (root, offset) = (next.view_src(), offset + next.view_offs() as u64);
        }
        None
    }

    fn dtype(&mut self, dtype: i32) -> u16 {
        let host = self.graph.host;
        let types = &mut self.types;
        *self.type_ids.entry(dtype).or_insert_with(|| {
            // SAFETY: the number is a tensor's type, so the host knows it.
            let ty = unsafe {
                TensorType {
                    name: crate::host::text((host.ggml_type_name)(dtype)),
                    block_size: (host.ggml_blck_size)(dtype) as u32,
                    type_size: (host.ggml_type_size)(dtype) as u32,
                }
            };
            types.push(ty);
            types.len() as u16 - 1
        })
    }

    fn buffer(&mut self, t: TensorRef<'_>) -> Option<u16> {
        let mut buffer = t.buffer();
        if buffer.is_null() && !t.view_src().is_null() {
            // SAFETY: the source of a view belongs to the graph.
            buffer = unsafe { self.graph.tensor(t.view_src()) }.buffer();
        }
        if buffer.is_null() {
            return None;
        }
        let (host, buffers) = (self.graph.host, &mut self.buffers);
        Some(*self.buffer_ids.entry(buffer as usize).or_insert_with(|| {
            let id = registry::with(|r| r.buffers.id(buffer));
            // SAFETY: the buffer of a live tensor.
            buffers.push(unsafe { buffers::describe(host, buffer, id) });
            buffers.len() as u16 - 1
        }))
    }
}

fn position<T: PartialEq>(list: &mut Vec<T>, item: T) -> u16 {
    let found = list.iter().position(|x| *x == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    });
    found as u16
}
