//! What the sets `layers` and `logits` take of a graph, found once for each graph: programs that build their graph anew for
//! every token build the same one each time, and looking through it takes longer than looking whether it is the same.
//!
//! A graph is one that is known only if all that its structure is found in is equal, compared tensor by tensor. Nothing is
//! hashed, so nothing can collide. Where tensors lie in memory and how long their views are offset is not looked at: it
//! says nothing about what feeds what.

use crate::abi::{FLAG_INPUT, TensorRef};
use crate::graph::GraphRef;
use crate::host::Tensor;
use crate::structure::{self, Tensors};
use ggscope_format::structure::Chosen;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Graphs that are kept, at most; those that were used last. Contexts take turns, and each has a few shapes of its graph.
const MOST_GRAPHS: usize = 16;
/// Bytes that are kept, at most.
const MOST_BYTES: usize = 8 << 20;

/// What was found in graphs.
#[derive(Debug, Default)]
pub struct Choices {
    /// The graph that was used last is the first.
    known: Mutex<Vec<Arc<Known>>>,
    looked_through: AtomicU64,
}

/// A graph that was looked through: all that its structure was found in.
#[derive(Debug)]
struct Known {
    n_nodes: usize,
    /// Its nodes in the order of execution, then what they lead to in the order in which that was come upon.
    tensors: Vec<KnownTensor>,
    /// Sources of all tensors, one after the other.
    sources: Vec<usize>,
    /// Names of all tensors, one after the other.
    names: Vec<u8>,
    chosen: Arc<Chosen>,
}

/// One tensor of it.
#[derive(Debug)]
struct KnownTensor {
    /// The tensor of the host. Never read by this: only a graph that leads to it makes it a live one.
    address: usize,
    /// Where the name of its operator is: a constant of the host.
    op: usize,
    view: usize,
    input: bool,
    ne: [i64; 4],
    /// Where its sources and its name end.
    sources: usize,
    name: usize,
}

impl Choices {
    /// What is taken of a graph.
    pub fn of(&self, graph: GraphRef<'_>) -> Arc<Chosen> {
        let known = self.known.lock().clone();
        if let Some(known) = known.iter().find(|known| known.is(graph)) {
            self.used(known);
            return known.chosen.clone();
        }
        self.looked_through.fetch_add(1, Ordering::Relaxed);
        let tensors = Tensors::of(graph);
        let chosen = Arc::new(Chosen::of(&structure::plain(graph, &tensors)));
        if let Some(known) = Known::of(graph, &tensors, chosen.clone()) {
            self.used(&Arc::new(known));
        }
        chosen
    }

    /// How many graphs were looked through so far.
    pub fn looked_through(&self) -> u64 {
        self.looked_through.load(Ordering::Relaxed)
    }

    /// Bytes that known graphs take.
    pub fn bytes(&self) -> usize {
        self.known.lock().iter().map(|known| known.bytes()).sum()
    }

    /// Puts a graph before the others, and forgets those that are too many.
    fn used(&self, known: &Arc<Known>) {
        let mut all = self.known.lock();
        if all.first().is_some_and(|first| Arc::ptr_eq(first, known)) {
            return;
        }
        all.retain(|other| !Arc::ptr_eq(other, known));
        all.insert(0, known.clone());
        let mut bytes = 0;
        let fits = all.iter().take(MOST_GRAPHS).take_while(|known| {
            bytes += known.bytes();
            bytes <= MOST_BYTES
        });
        let fits = fits.count();
        all.truncate(fits);
    }
}

impl Known {
    /// Of a graph; `None` if it has a node twice, as no graph of ggml has.
    fn of(graph: GraphRef<'_>, tensors: &Tensors, chosen: Arc<Chosen>) -> Option<Known> {
        let n_nodes = graph.n_nodes.max(0) as usize;
        let is_node = |i: usize| tensors.list.get(i) == Some(&graph.node(i as i32).ptr());
        if !(0..n_nodes).all(is_node) {
            return None;
        }
        let mut known = Known { n_nodes, tensors: vec![], sources: vec![], names: vec![], chosen };
        known.tensors.reserve_exact(tensors.list.len());
        for &tensor in &tensors.list {
            // SAFETY: a tensor of the live graph.
            let tensor = unsafe { TensorRef::new(tensor, graph.layout()) };
            known.sources.extend(tensor.sources().map(|source| source as usize));
            known.names.extend_from_slice(tensor.name());
            known.tensors.push(KnownTensor {
                address: tensor.ptr() as usize,
                op: op(graph, tensor),
                view: tensor.view_src() as usize,
                input: tensor.flags() & FLAG_INPUT != 0,
                ne: tensor.ne(),
                sources: known.sources.len(),
                name: known.names.len(),
            });
        }
        known.sources.shrink_to_fit();
        known.names.shrink_to_fit();
        Some(known)
    }

    /// Whether a graph is this one.
    fn is(&self, graph: GraphRef<'_>) -> bool {
        if graph.n_nodes.max(0) as usize != self.n_nodes {
            return false;
        }
        let (mut sources, mut name) = (0, 0);
        self.tensors.iter().enumerate().all(|(i, known)| {
            if i < self.n_nodes && graph.node(i as i32).ptr() as usize != known.address {
                return false;
            }
            // SAFETY: a node of the live graph; or what a tensor before it leads to there, too, since that one is equal.
            let tensor = unsafe { TensorRef::new(known.address as *mut Tensor, graph.layout()) };
            let of_sources = &self.sources[sources..known.sources];
            let of_name = &self.names[name..known.name];
            (sources, name) = (known.sources, known.name);
            op(graph, tensor) == known.op
                && tensor.ne() == known.ne
                && tensor.view_src() as usize == known.view
                && (tensor.flags() & FLAG_INPUT != 0) == known.input
                && tensor.sources().map(|source| source as usize).eq(of_sources.iter().copied())
                && tensor.name() == of_name
        })
    }

    fn bytes(&self) -> usize {
        self.tensors.len() * size_of::<KnownTensor>() + self.sources.len() * size_of::<usize>() + self.names.len()
    }
}

/// What names a tensor's operator. Of operators that stand for several, such as `UNARY`, each has its own.
fn op(graph: GraphRef<'_>, tensor: TensorRef<'_>) -> usize {
    // SAFETY: a tensor of the live graph.
    unsafe { (graph.host().ggml_op_desc)(tensor.ptr()) as usize }
}
