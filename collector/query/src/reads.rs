//! How many bytes each operator of a graph reads, from files and from buffers, as [`super::memory`] counts them: all of
//! a source, the rows that GET_ROWS picks, the experts that were chosen; not the memory that it only writes to.

use super::dump::chosen_experts;
use super::memory::reads;
use ggscope_format::TensorId;
use ggscope_format::record::Evaluation;
use ggscope_trace::view::GraphView;

/// Bytes that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// From files.
    pub disk: u64,
    /// From buffers.
    pub buffer: u64,
}

impl Reads {
    /// All of them.
    pub fn total(self) -> u64 {
        self.disk.saturating_add(self.buffer)
    }

    /// Counts more in.
    pub fn add(&mut self, more: Reads) {
        self.disk = self.disk.saturating_add(more.disk);
        self.buffer = self.buffer.saturating_add(more.buffer);
    }

    fn of(view: &GraphView, from: TensorId, bytes: u64) -> Reads {
        if view.is_on_disk(from) { Reads { disk: bytes, buffer: 0 } } else { Reads { disk: 0, buffer: bytes } }
    }
}

/// What one node reads.
#[derive(Default)]
struct NodeReads {
    /// In every evaluation.
    always: Reads,
    /// Sources of which only chosen experts are read: source, dimension of the experts.
    routed: Vec<(TensorId, usize)>,
}

/// What the nodes of a graph read.
pub struct GraphReads(Vec<NodeReads>);

impl GraphReads {
    /// Works it out for all nodes.
    pub fn new(view: &GraphView) -> GraphReads {
        let graph = &view.stored.graph;
        let of_node = |id: TensorId| {
            let mut of_node = NodeReads::default();
            for read in reads(graph, id) {
                match read.experts {
                    Some(dim) => of_node.routed.push((read.from, dim)),
                    None => of_node.always.add(Reads::of(view, read.from, read.bytes)),
                }
            }
            of_node
        };
        GraphReads(graph.nodes().map(|(id, _)| of_node(id)).collect())
    }

    /// What a node read in an evaluation of the graph.
    pub fn of(&self, view: &GraphView, id: TensorId, evaluation: &Evaluation) -> Reads {
        let Some(node) = self.0.get(id.index()) else { return Reads::default() };
        let mut reads = node.always;
        let router = || view.router(&view.stored.graph.tensors[id.index()], &evaluation.experts);
        if let Some(router) = (!node.routed.is_empty()).then(router).flatten() {
            let all: Vec<usize> = (0..evaluation.n_tokens as usize).collect();
            let chosen = chosen_experts(router, &all, evaluation);
            for &(from, dim) in &node.routed {
                let slices = view.expert_slices(from, dim, &chosen);
                let bytes = slices.iter().fold(0, |sum: u64, slice| sum.saturating_add(slice.bytes));
                reads.add(Reads::of(view, from, bytes));
            }
        }
        reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{ReadFilter, memory};
    use crate::table::{DEFAULT_MEMORY, Table};
    use ggscope_trace::testing::{Shape, write};
    use ggscope_trace::view::GraphViews;
    use ggscope_trace::{Select, Trace};
    use std::ops::ControlFlow;

    #[test]
    fn the_bytes_of_all_operators_are_those_of_the_regions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, n_kv: 32, ..Shape::default() }, 5, 4).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let mut sum = Reads::default();
        let mut views = GraphViews::default();
        let mut plans = ggscope_trace::analysis::timing::Plans::default();
        trace.for_each_evaluation(&Select::default(), true, |row| {
            let view = views.of(&trace, row.evaluation.graph).unwrap();
            let reads = GraphReads::new(&view);
            let plan = plans.of(&view.stored.graph, &row.evaluation);
            plan.executed_nodes().for_each(|id| sum.add(reads.of(&view, id, &row.evaluation)));
            ControlFlow::Continue(())
        });
        let regions = memory(&trace, &Table::new(&trace, DEFAULT_MEMORY), &ReadFilter::default());
        let of = |memory: &str| regions.iter().filter(|r| r.memory == memory).map(|r| r.read_bytes).sum::<u64>();
        assert_eq!(sum, Reads { disk: of("DISK"), buffer: of("BUFFER") });
        assert!(sum.disk > 0 && sum.buffer > 0);
        assert_eq!(sum.total(), sum.disk + sum.buffer);
    }
}
