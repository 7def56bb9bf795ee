//! Whether a graph of the host is one that the session already has a number for. Two graphs are the same only if all
//! that the record of a graph is made from is equal: a hash finds the candidate, and comparing the bytes decides.

use crate::abi::TensorRef;
use crate::graph::GraphRef;
use crate::host::Tensor;
use ggscope_format::GraphId;
use std::cell::RefCell;
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

/// Where the nodes of a graph lie, with what is cheap to look at: equal as long as the program computes the graph that it
/// allocated last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places(Vec<Place>);

/// Data address, operator and rows of a node.
type Place = (usize, i32, i64);

fn place(node: TensorRef<'_>) -> Place {
    (node.data() as usize, node.op(), node.ne()[1])
}

impl Places {
    /// The places of a graph's nodes.
    pub fn of(graph: GraphRef<'_>) -> Places {
        Places((0..graph.n_nodes).map(|i| place(graph.node(i))).collect())
    }

    /// Whether the graph's nodes are there.
    pub fn are_of(&self, graph: GraphRef<'_>) -> bool {
        let known = self.0.iter().enumerate();
        self.0.len() == graph.n_nodes as usize && known.into_iter().all(|(i, p)| *p == place(graph.node(i as i32)))
    }
}

/// What a graph is besides its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Who computes it.
    pub context: u32,
    /// Which buffers there are: see [`crate::buffers::Buffers::epoch`].
    pub epoch: u64,
    /// What is captured: see [`crate::capture::CompiledCapture::number`].
    pub wanted: u32,
}

/// All that makes a graph what it is in this process.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    hash: u128,
    bytes: &'a [u8],
}

thread_local!(static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

/// Runs `f` with the identity of a graph: operators with their parameters, shapes, sources, names and addresses.
pub fn identify<T>(graph: GraphRef<'_>, setting: Setting, f: impl FnOnce(Identity<'_>) -> T) -> T {
    BYTES.with_borrow_mut(|bytes| {
        bytes.clear();
        words(bytes, [setting.context.into(), setting.epoch, setting.wanted.into(), graph.n_nodes as u64]);
        (0..graph.n_nodes).for_each(|i| node(bytes, graph, graph.node(i)));
        f(Identity { hash: xxh3_128(bytes), bytes })
    })
}

fn words<const N: usize>(bytes: &mut Vec<u8>, words: [u64; N]) {
    bytes.extend_from_slice(words.map(u64::to_le_bytes).as_flattened());
}

fn node(bytes: &mut Vec<u8>, graph: GraphRef<'_>, node: TensorRef<'_>) {
    tensor(bytes, node);
    let n_params = (0..graph.layout().n_op_params).rev().find(|&p| node.op_param(p) != 0).map_or(0, |p| p + 1);
    let sources = node.sources();
    let n_sources = sources.size_hint().0;
    words(bytes, [node.view_src() as u64, node.view_offs() as u64, (n_params as u64) << 32 | n_sources as u64]);
    (0..n_params).for_each(|p| bytes.extend_from_slice(&node.op_param(p).to_le_bytes()));
    for source in sources {
        words(bytes, [source as u64]);
        if source.is_null() {
            continue;
        }
        // SAFETY: a source of a live node is live.
        let source = unsafe { TensorRef::new(source as *mut Tensor, graph.layout()) };
        // Operator 0 is NONE in every release. A leaf is nowhere else.
        if source.op() == 0 {
            tensor(bytes, source);
        }
    }
}

fn tensor(bytes: &mut Vec<u8>, t: TensorRef<'_>) {
    let (ne, nb, name) = (t.ne(), t.nb(), t.name());
    let kind = u64::from(t.op() as u32) << 32 | u64::from(t.dtype() as u32);
    let flags = u64::from(t.flags() as u32) << 32 | name.len() as u64;
    let [n0, n1, n2, n3] = ne.map(|n| n as u64);
    let [b0, b1, b2, b3] = nb;
    let (ptr, data, buffer) = (t.ptr() as u64, t.data() as u64, t.buffer() as u64);
    words(bytes, [ptr, data, buffer, kind, flags, n0, n1, n2, n3, b0, b1, b2, b3]);
    bytes.extend_from_slice(name);
}

/// The bytes of an identity, and the number of the graph.
type Known = (Box<[u8]>, GraphId);

/// Numbers of graphs.
#[derive(Default)]
pub struct Identities {
    by_hash: HashMap<u128, Vec<Known>>,
    bytes: usize,
}

impl Identities {
    /// The number of the graph, if it has one.
    pub fn get(&self, identity: Identity<'_>) -> Option<GraphId> {
        let candidates = self.by_hash.get(&identity.hash)?;
        candidates.iter().find(|(bytes, _)| **bytes == *identity.bytes).map(|&(_, id)| id)
    }

    /// Numbers a graph that has none.
    pub fn insert(&mut self, identity: Identity<'_>, id: GraphId) {
        self.bytes += identity.bytes.len();
        self.by_hash.entry(identity.hash).or_default().push((identity.bytes.into(), id));
    }

    /// How many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all graphs.
    pub fn clear(&mut self) {
        *self = Identities::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_whose_hashes_collide_keep_their_own_numbers() {
        let (first, second) = (Identity { hash: 7, bytes: b"first" }, Identity { hash: 7, bytes: b"other" });
        let mut known = Identities::default();
        known.insert(first, GraphId(0));
        assert_eq!((known.get(first), known.get(second)), (Some(GraphId(0)), None));
        known.insert(second, GraphId(1));
        assert_eq!((known.get(first), known.get(second)), (Some(GraphId(0)), Some(GraphId(1))));
        assert_eq!(known.bytes(), 10);
    }
}
