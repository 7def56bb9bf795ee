//! A graph as columns: a model repeats itself layer after layer, so each property of all tensors, stored as the
//! difference from what the tensors before suggest, is nearly periodic and zstd finds that. Later graphs of a session
//! differ little from earlier ones; [`pack`] stores them with an earlier one's columns as zstd's dictionary.

use super::{MAX_CHUNK_BYTES, ModelId, StoredGraph};
use ggscope_format::record::{
    Buffer, Graph, MAX_DIMS, MappedFile, RecordError, Tensor, TensorFlags, TensorType, decode, encode,
};
use ggscope_format::{Bytes, GraphId, TensorId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Slow and small: graphs are few.
const LEVEL: i32 = 19;

#[derive(Default, Serialize, Deserialize)]
struct Columns {
    graph: GraphId,
    context: u32,
    n_nodes: u32,
    ops: Vec<String>,
    types: Vec<TensorType>,
    buffers: Vec<Buffer>,
    files: Vec<MappedFile>,
    devices: Vec<String>,
    model: Option<ModelId>,
    /// What stands around the numbers in names: `Qcur-7` has `["Qcur-", ""]`.
    patterns: Vec<Vec<String>>,
    /// Distinct `op_params`.
    params: Vec<Vec<i32>>,
    // One entry a tensor from here on, if nothing else is said.
    pattern: Vec<u32>,
    /// One a number in a name: the difference from the same number in the name before of the same pattern.
    number: Vec<i64>,
    op: Vec<u16>,
    dtype: Vec<u16>,
    flags: Vec<u8>,
    /// Four columns, one after the other.
    ne: Vec<i64>,
    /// Four columns: difference from the stride of a tensor without gaps.
    nb: Vec<i64>,
    /// Difference from what `ne` and `nb` say.
    bytes: Vec<i64>,
    n_src: Vec<u32>,
    /// One a source; see [`Links`].
    src: Vec<u64>,
    /// As a source; 0 for a tensor that is no view.
    view: Vec<u64>,
    /// One a view.
    view_offset: Vec<u64>,
    /// Difference from the address before in the same buffer; of a view, from where the viewed tensor puts it.
    addr: Vec<i64>,
    /// Index + 1, 0 for none.
    buffer: Vec<u32>,
    /// Index + 1, 0 for none.
    file: Vec<u32>,
    /// One a mapped tensor: difference from the offset before.
    file_offset: Vec<i64>,
    param: Vec<u32>,
    /// One an origin: difference from the tensor before.
    origin_tensor: Vec<u32>,
    origin_file: Vec<u16>,
    /// Difference from the offset before.
    origin_offset: Vec<i64>,
}

/// Content of a Graph chunk.
#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    graph: GraphId,
    /// The graph whose columns are the dictionary.
    base: Option<GraphId>,
    /// Length of the columns in bytes.
    len: u64,
    /// The columns, one zstd frame.
    #[serde(borrow)]
    frame: &'a [u8],
}

/// Codes of references to tensors. A reference to a node counts back from the tensor that refers; a reference to the
/// leaf after the last one seen is 0, because leaves lie in the order of first use; other leaves are absolute.
#[derive(Default)]
struct Links {
    n_nodes: u64,
    next_leaf: u64,
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

impl Links {
    fn code(&mut self, from: usize, to: TensorId) -> u64 {
        let target = u64::from(to.0);
        if target < self.n_nodes {
            return 1 + 3 * zigzag(from as i64 - target as i64);
        }
        let leaf = target - self.n_nodes;
        if leaf == self.next_leaf {
            self.next_leaf += 1;
            return 2;
        }
        self.next_leaf = self.next_leaf.max(leaf + 1);
        3 + 3 * leaf
    }

    fn target(&mut self, from: usize, code: u64) -> Option<TensorId> {
        let rest = code.checked_sub(1)?;
        let target = match rest % 3 {
            0 => u64::try_from((from as i64).checked_sub(unzigzag(rest / 3))?).ok()?,
            kind => {
                let leaf = if kind == 1 { self.next_leaf } else { rest / 3 };
                self.next_leaf = self.next_leaf.max(leaf.checked_add(1)?);
                self.n_nodes.checked_add(leaf)?
            }
        };
        u32::try_from(target).ok().map(TensorId)
    }
}

/// Strides of a tensor without gaps, following `nb[0]`.
fn packed_stride(dtype: &TensorType, ne: &[i64; MAX_DIMS], nb: &[u64; MAX_DIMS], dim: usize) -> u64 {
    match dim {
        0 => u64::from(dtype.type_size),
        1 => nb[0].wrapping_mul(ne[0] as u64 / u64::from(dtype.block_size.max(1))),
        _ => nb[dim - 1].wrapping_mul(ne[dim - 1] as u64),
    }
}

/// `ggml_nbytes`.
fn spanned_bytes(dtype: &TensorType, ne: &[i64; MAX_DIMS], nb: &[u64; MAX_DIMS]) -> u64 {
    if ne.contains(&0) {
        return 0;
    }
    let row = match dtype.block_size {
        0 | 1 => u64::from(dtype.type_size).wrapping_add((ne[0] as u64 - 1).wrapping_mul(nb[0])),
        block => (ne[0] as u64).wrapping_mul(nb[0]) / u64::from(block),
    };
    (1..MAX_DIMS).fold(row, |sum, d| sum.wrapping_add((ne[d] as u64).wrapping_sub(1).wrapping_mul(nb[d])))
}

/// Cuts a name into what stands around its numbers, and the numbers.
fn split_name(name: &str) -> (Vec<String>, Vec<i64>) {
    let (mut around, mut numbers) = (vec![String::new()], vec![]);
    let mut rest = name;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let len = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        let digits = &rest[at..at + len];
        let last = around.last_mut().expect("one part at least");
        last.push_str(&rest[..at]);
        // Only a number that prints as it was read; `007` and forty digits stay text.
        match digits.parse::<i64>() {
            Ok(number) if number.to_string() == digits => {
                numbers.push(number);
                around.push(String::new());
            }
            _ => last.push_str(digits),
        }
        rest = &rest[at + len..];
    }
    around.last_mut().expect("one part at least").push_str(rest);
    (around, numbers)
}

fn index_of<T: Clone + Eq + std::hash::Hash>(known: &mut HashMap<T, u32>, list: &mut Vec<T>, item: T) -> u32 {
    *known.entry(item).or_insert_with_key(|item| {
        list.push(item.clone());
        list.len() as u32 - 1
    })
}

/// Sorts out where addresses are expected: after the one before in the same buffer.
#[derive(Default)]
struct Addresses(HashMap<Option<u16>, u64>);

impl Addresses {
    fn expected(&self, buffers: &[Buffer], buffer: Option<u16>) -> u64 {
        let base = || buffer.and_then(|b| buffers.get(usize::from(b))).map_or(0, |b| b.base);
        self.0.get(&buffer).copied().unwrap_or_else(base)
    }
}

/// The columns of `stored`.
pub fn encode_graph(stored: &StoredGraph) -> Vec<u8> {
    let g = &stored.graph;
    let mut c = Columns {
        graph: g.graph,
        context: g.context,
        n_nodes: g.n_nodes,
        ops: g.ops.clone(),
        types: g.types.clone(),
        buffers: g.buffers.clone(),
        files: g.files.clone(),
        devices: g.devices.clone(),
        model: stored.model,
        ..Default::default()
    };
    let (mut patterns, mut params) = (HashMap::new(), HashMap::new());
    let mut last_numbers: HashMap<(u32, usize), i64> = HashMap::new();
    let mut links = Links { n_nodes: u64::from(g.n_nodes), next_leaf: 0 };
    let mut addresses = Addresses::default();
    let mut last_file_offset = 0_u64;
    for (i, t) in g.tensors.iter().enumerate() {
        let (around, numbers) = split_name(&t.name);
        let pattern = index_of(&mut patterns, &mut c.patterns, around);
        c.pattern.push(pattern);
        for (k, number) in numbers.into_iter().enumerate() {
            let last = last_numbers.entry((pattern, k)).or_default();
            c.number.push(number.wrapping_sub(*last));
            *last = number;
        }
        c.op.push(t.op);
        c.dtype.push(t.dtype);
        c.flags.push(t.flags.0);
        let dtype = &g.types[usize::from(t.dtype)];
        c.bytes.push(t.bytes.0.wrapping_sub(spanned_bytes(dtype, &t.ne, &t.nb)) as i64);
        c.n_src.push(t.src.len() as u32);
        c.src.extend(t.src.iter().map(|s| s.map_or(0, |s| links.code(i, s))));
        c.view.push(t.view.map_or(0, |(v, _)| links.code(i, v)));
        c.view_offset.extend(t.view.map(|(_, offset)| offset));
        let expected = match t.view {
            Some((root, offset)) => g.tensors[root.index()].addr.wrapping_add(offset),
            None => addresses.expected(&g.buffers, t.buffer),
        };
        c.addr.push(t.addr.wrapping_sub(expected) as i64);
        if t.view.is_none() {
            addresses.0.insert(t.buffer, t.addr);
        }
        c.buffer.push(t.buffer.map_or(0, |b| u32::from(b) + 1));
        c.file.push(t.mapped.map_or(0, |(f, _)| u32::from(f) + 1));
        if let Some((_, offset)) = t.mapped {
            c.file_offset.push(offset.wrapping_sub(last_file_offset) as i64);
            last_file_offset = offset;
        }
        c.param.push(index_of(&mut params, &mut c.params, t.op_params.clone()));
    }
    for d in 0..MAX_DIMS {
        c.ne.extend(g.tensors.iter().map(|t| t.ne[d]));
        c.nb.extend(g.tensors.iter().map(|t| {
            let stride = packed_stride(&g.types[usize::from(t.dtype)], &t.ne, &t.nb, d);
            t.nb[d].wrapping_sub(stride) as i64
        }));
    }
    let (mut last_tensor, mut last_offset) = (0_u32, 0_u64);
    for &(tensor, file, offset) in &stored.origins {
        c.origin_tensor.push(tensor.0.wrapping_sub(last_tensor));
        c.origin_file.push(file);
        c.origin_offset.push(offset.wrapping_sub(last_offset) as i64);
        (last_tensor, last_offset) = (tensor.0, offset);
    }
    let mut out = vec![];
    encode(&c, &mut out);
    out
}

/// What [`encode_graph`] wrote, validated.
///
/// # Errors
/// When the bytes do not decode or contradict themselves.
pub fn decode_graph(bytes: &[u8]) -> Result<StoredGraph, RecordError> {
    let bad = |what: &str| RecordError::Invalid(format!("columns of a graph: {what}"));
    let c: Columns = decode(bytes)?;
    let n = c.pattern.len();
    let per_tensor = [c.op.len(), c.dtype.len(), c.flags.len(), c.bytes.len(), c.n_src.len(), c.view.len()];
    let per_tensor_too = [c.addr.len(), c.buffer.len(), c.file.len(), c.param.len(), c.ne.len() / 4, c.nb.len() / 4];
    if per_tensor.iter().chain(&per_tensor_too).any(|&len| len != n) || c.n_nodes as usize > n {
        return Err(bad("their lengths differ"));
    }
    if c.origin_tensor.len() != c.origin_file.len() || c.origin_tensor.len() != c.origin_offset.len() {
        return Err(bad("the lengths of the origins differ"));
    }
    let mut links = Links { n_nodes: u64::from(c.n_nodes), next_leaf: 0 };
    let (mut number, mut src) = (c.number.iter(), c.src.iter());
    let (mut view_offset, mut file_offset) = (c.view_offset.iter(), c.file_offset.iter());
    let mut last_numbers: HashMap<(u32, usize), i64> = HashMap::new();
    let mut last_file_offset = 0_u64;
    let mut copied_bytes = 0;
    let mut tensors = Vec::with_capacity(n);
    for i in 0..n {
        let around = c.patterns.get(c.pattern[i] as usize).ok_or_else(|| bad("unknown pattern of a name"))?;
        let mut name = around.first().cloned().unwrap_or_default();
        for (k, part) in around.iter().skip(1).enumerate() {
            let last = last_numbers.entry((c.pattern[i], k)).or_default();
            *last = last.wrapping_add(*number.next().ok_or_else(|| bad("too few numbers in names"))?);
            name.push_str(&last.to_string());
            name.push_str(part);
        }
        let op_params = c.params.get(c.param[i] as usize).ok_or_else(|| bad("unknown parameters"))?.clone();
        // Few patterns and parameters could stand for many long names: memory stays bounded.
        copied_bytes += name.len() + op_params.len() * 4;
        if copied_bytes > MAX_CHUNK_BYTES {
            return Err(bad("names and parameters unpack to too much"));
        }
        let dtype = c.types.get(usize::from(c.dtype[i])).ok_or_else(|| bad("unknown type"))?;
        let ne = std::array::from_fn(|d| c.ne[d * n + i]);
        let mut nb = [0; MAX_DIMS];
        for d in 0..MAX_DIMS {
            nb[d] = packed_stride(dtype, &ne, &nb, d).wrapping_add(c.nb[d * n + i] as u64);
        }
        let mut link = |code: u64| links.target(i, code).ok_or_else(|| bad("a reference leads outside"));
        let mut sources = Vec::with_capacity(c.n_src[i].min(16) as usize);
        for _ in 0..c.n_src[i] {
            let code = *src.next().ok_or_else(|| bad("too few sources"))?;
            sources.push(if code == 0 { None } else { Some(link(code)?) });
        }
        let view = match c.view[i] {
            0 => None,
            code => Some((link(code)?, *view_offset.next().ok_or_else(|| bad("too few offsets of views"))?)),
        };
        let index = |plus_one: u32| match plus_one {
            0 => Ok(None),
            i => u16::try_from(i - 1).map(Some).map_err(|_| bad("unknown buffer or file")),
        };
        let mapped = match index(c.file[i])? {
            None => None,
            Some(file) => {
                let step = *file_offset.next().ok_or_else(|| bad("too few offsets in files"))?;
                last_file_offset = last_file_offset.wrapping_add(step as u64);
                Some((file, last_file_offset))
            }
        };
        tensors.push(Tensor {
            name,
            op: c.op[i],
            dtype: c.dtype[i],
            flags: TensorFlags(c.flags[i]),
            ne,
            nb,
            bytes: Bytes(
                if ne.iter().any(|&e| e < 0) { 0 } else { spanned_bytes(dtype, &ne, &nb) }
                    .wrapping_add(c.bytes[i] as u64),
            ),
            src: sources,
            view,
            addr: 0,
            buffer: index(c.buffer[i])?,
            mapped,
            op_params,
        });
    }
    place(&mut tensors, &c.buffers, &c.addr);
    let (mut last_tensor, mut last_offset) = (0_u32, 0_u64);
    let origins = (0..c.origin_tensor.len())
        .map(|i| {
            last_tensor = last_tensor.wrapping_add(c.origin_tensor[i]);
            last_offset = last_offset.wrapping_add(c.origin_offset[i] as u64);
            (TensorId(last_tensor), c.origin_file[i], last_offset)
        })
        .collect();
    let Columns { graph, context, n_nodes, ops, types, buffers, files, devices, model, .. } = c;
    let graph = Graph { graph, context, n_nodes, tensors, ops, types, buffers, files, devices };
    let stored = StoredGraph { graph, model, origins };
    stored.validate()?;
    Ok(stored)
}

/// Sets the addresses: first of what is no view, then of the views.
fn place(tensors: &mut [Tensor], buffers: &[Buffer], steps: &[i64]) {
    let mut addresses = Addresses::default();
    for (t, &step) in tensors.iter_mut().zip(steps).filter(|(t, _)| t.view.is_none()) {
        t.addr = addresses.expected(buffers, t.buffer).wrapping_add(step as u64);
        addresses.0.insert(t.buffer, t.addr);
    }
    for i in 0..tensors.len() {
        if let Some((root, offset)) = tensors[i].view {
            let base = tensors.get(root.index()).map_or(0, |root| root.addr);
            tensors[i].addr = base.wrapping_add(offset).wrapping_add(steps[i] as u64);
        }
    }
}

/// The content of a Graph chunk for `columns`, with the columns of `base` as dictionary.
///
/// # Errors
/// When zstd has no memory.
pub fn pack(graph: GraphId, columns: &[u8], base: Option<(GraphId, &[u8])>) -> std::io::Result<Vec<u8>> {
    let dictionary = base.map_or(&[][..], |(_, columns)| columns);
    let frame = zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary)?.compress(columns)?;
    let mut out = vec![];
    encode(&Packed { graph, base: base.map(|b| b.0), len: columns.len() as u64, frame: &frame }, &mut out);
    Ok(out)
}

/// Which graph a content is of.
///
/// # Errors
/// When the bytes do not decode.
pub fn id_of(content: &[u8]) -> Result<GraphId, RecordError> {
    Ok(decode::<Packed>(content)?.graph)
}

/// Which graph's columns [`unpack`] needs for this content.
///
/// # Errors
/// When the bytes do not decode.
pub fn base_of(content: &[u8]) -> Result<Option<GraphId>, RecordError> {
    Ok(decode::<Packed>(content)?.base)
}

/// The columns that [`pack`] packed.
///
/// # Errors
/// When the bytes do not decode or unpack.
pub fn unpack(content: &[u8], base: &[u8]) -> Result<Vec<u8>, RecordError> {
    let packed: Packed = decode(content)?;
    let bad = |what: String| RecordError::Invalid(format!("graph {}: {what}", packed.graph));
    if packed.len > MAX_CHUNK_BYTES as u64 {
        return Err(bad(format!("its columns are said to be {} bytes", packed.len)));
    }
    let columns = zstd::bulk::Decompressor::with_dictionary(base)
        .and_then(|mut zstd| zstd.decompress(packed.frame, packed.len as usize))
        .map_err(|e| bad(format!("its columns do not unpack: {e}")))?;
    if columns.len() as u64 != packed.len {
        return Err(bad(format!("its columns are {} bytes, should be {}", columns.len(), packed.len)));
    }
    Ok(columns)
}
