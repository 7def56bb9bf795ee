//! What evaluations that were computed alike have in common. A program computes few kinds of evaluations many times:
//! what is worked out for a kind is worked out once, and questions are answered for kinds times evaluations.

use crate::memory;
use ggscope_format::record::{BufferUsage, Evaluation};
use ggscope_format::{GraphId, TensorId};
use ggscope_trace::analysis::timing::{Execution, Plan};
use ggscope_trace::view::GraphView;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Stands for no slot, no layer, no run, no plan.
pub(crate) const NONE: u32 = u32::MAX;

/// Operators of all plans together; a hostile file has more, and they are left out.
const MAX_OPERATORS: usize = 1 << 23;

/// The executed nodes of a graph with what does not depend on its shapes, so that graphs that differ in shapes only
/// have one layout. A place is a number of an executed node among the executed ones.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    /// Node by place, ascending.
    pub nodes: Vec<u32>,
    /// Number of its duration within the evaluation, or [`NONE`].
    pub slot: Vec<u32>,
    /// The place that has its time, or [`NONE`].
    pub fused: Vec<u32>,
    /// The run that computed it, or [`NONE`].
    pub run: Vec<u32>,
    /// Kind of operator: number of a text of [`Plans`].
    pub op: Vec<u32>,
    /// Name: number of a text.
    pub name: Vec<u32>,
    /// Layer, or [`NONE`].
    pub layer: Vec<u32>,
    /// Whether it reads from files.
    pub disk: Vec<bool>,
    /// Whether it reads from buffers.
    pub buffer: Vec<bool>,
    /// Where its reads end in [`Layout::reads`].
    read_end: Vec<u32>,
    /// What all places read, one place after the other.
    pub reads: Vec<ReadOf>,
    /// Where its sources end in [`Layout::sources`].
    source_end: Vec<u32>,
    /// Names of the sources of all places: numbers of texts.
    sources: Vec<u32>,
    /// The places with a time of their own, in order: the columns of its durations.
    pub timed: Vec<u32>,
    /// Column of each place, or [`NONE`].
    pub column: Vec<u32>,
}

/// A source that a place reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadOf {
    /// Name of the tensor, or of the leaf that it is a look at: number of a text.
    pub name: u32,
    /// Whether it is a leaf.
    pub leaf: bool,
    /// Whether its bytes are in a file.
    pub disk: bool,
    /// Whether only chosen experts are read.
    pub routed: bool,
}

impl Layout {
    /// Names of the sources of a place.
    pub fn sources_of(&self, place: usize) -> &[u32] {
        &self.sources[between(&self.source_end, place)]
    }

    /// What a place reads: numbers of [`Layout::reads`].
    pub fn reads_of(&self, place: usize) -> Range<usize> {
        between(&self.read_end, place)
    }

    /// Executed nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}

fn between(ends: &[u32], place: usize) -> Range<usize> {
    let begin = place.checked_sub(1).map_or(0, |before| ends[before] as usize);
    begin..ends[place] as usize
}

/// A source of which only chosen experts are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed {
    /// The place that reads it.
    pub place: u32,
    /// Which of its sources.
    pub source: usize,
    /// Dimension of the experts.
    pub dim: usize,
}

/// Evaluations of one graph that were cut into the same runs.
#[derive(Debug)]
pub(crate) struct PlanInfo {
    /// The graph.
    pub graph: GraphId,
    /// Number of its layout.
    pub layout: u32,
    /// Bytes of each of the layout's reads, 0 of chosen experts.
    pub bytes: Vec<u64>,
    /// All of them that lie in files.
    pub disk_bytes: u64,
    /// All of them that lie in buffers.
    pub buffer_bytes: u64,
    /// Reads that depend on the evaluation.
    pub routed: Vec<Routed>,
    /// Operators that have no time, neither one of their own nor one that they share.
    pub untimed: u32,
}

/// What decides how times belong to nodes.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    graph: GraphId,
    ended: (bool, bool),
    runs: Vec<(TensorId, u32, u32, bool)>,
}

impl Key {
    fn of(e: &Evaluation) -> Key {
        let runs = e.runs.iter().map(|r| (r.first, r.n_nodes, r.n_calls, r.clocked)).collect();
        Key { graph: e.graph, ended: (e.status == 0, e.status == 1), runs }
    }
}

/// All kinds of evaluations of a table.
#[derive(Clone, Default)]
pub(crate) struct Plans {
    plans: Vec<Arc<PlanInfo>>,
    layouts: Vec<Arc<Layout>>,
    texts: Vec<Arc<str>>,
    known_plans: HashMap<Key, u32>,
    known_layouts: HashMap<Arc<Layout>, u32>,
    known_texts: HashMap<Arc<str>, u32>,
    /// Layer and bytes of each weight, by context and name.
    weights: HashMap<(u32, u32), (Option<u32>, u64)>,
    operators: usize,
}

impl Plans {
    /// The plan of an evaluation that is like one before.
    pub fn known(&self, e: &Evaluation) -> Option<u32> {
        self.known_plans.get(&Key::of(e)).copied()
    }

    /// Works out the plan of an evaluation of the graph `view`; [`NONE`] when there are too many.
    pub fn add(&mut self, view: &GraphView, e: &Evaluation) -> u32 {
        if self.is_full() {
            return NONE;
        }
        let plan = Plan::new(&view.stored.graph, e);
        self.operators = self.operators.saturating_add(plan.executed() as usize + 1);
        self.add_weights(view);
        let layout = self.layout(view, &plan);
        let info = self.info(view, layout);
        self.plans.push(Arc::new(info));
        let number = self.plans.len() as u32 - 1;
        self.known_plans.insert(Key::of(e), number);
        number
    }

    /// Whether nothing is worked out any more, because there was too much.
    pub fn is_full(&self) -> bool {
        self.operators > MAX_OPERATORS
    }

    fn add_weights(&mut self, view: &GraphView) {
        let graph = &view.stored.graph;
        for (id, tensor) in graph.leaves() {
            let usage = tensor.buffer.and_then(|b| graph.buffers.get(usize::from(b))).map(|b| b.usage);
            if view.stored.origin(id).is_some() || usage == Some(BufferUsage::Weights) {
                let name = self.text(&tensor.name);
                self.weights.insert((graph.context, name), (view.layers.layer(id), tensor.bytes.0));
            }
        }
    }

    fn layout(&mut self, view: &GraphView, plan: &Plan) -> u32 {
        let graph = &view.stored.graph;
        let mut layout = Layout { nodes: plan.executed_nodes().map(|id| id.0).collect(), ..Layout::default() };
        for id in plan.executed_nodes() {
            let tensor = &graph.tensors[id.index()];
            let (slot, fused) = match plan.node(id) {
                Execution::Timed(slot) => (slot, NONE),
                Execution::Fused(with) => (NONE, layout.nodes.binary_search(&with.0).map_or(NONE, |at| at as u32)),
                Execution::Untimed | Execution::No => (NONE, NONE),
            };
            layout.slot.push(slot);
            layout.fused.push(fused);
            layout.run.push(plan.run(id).map_or(NONE, |run| run as u32));
            layout.op.push(self.text(graph.op(tensor)));
            layout.name.push(self.text(&tensor.name));
            layout.layer.push(view.layers.layer(id).unwrap_or(NONE));
            layout.disk.push(tensor.src.iter().flatten().any(|&s| view.is_on_disk(s)));
            layout.buffer.push(tensor.src.iter().flatten().any(|&s| !view.is_on_disk(s)));
            for source in tensor.src.iter().flatten().filter_map(|&s| graph.tensor(s)) {
                let name = self.text(&source.name);
                layout.sources.push(name);
            }
            layout.source_end.push(layout.sources.len() as u32);
            for read in memory::reads(graph, id) {
                let from = memory::looked_at(graph, read.from);
                let name = self.text(&graph.tensors[from.index()].name);
                let (leaf, disk) = (from.0 >= graph.n_nodes, view.is_on_disk(read.from));
                layout.reads.push(ReadOf { name, leaf, disk, routed: read.experts.is_some() });
            }
            layout.read_end.push(layout.reads.len() as u32);
            let place = layout.column.len() as u32;
            layout.column.push(if slot == NONE { NONE } else { layout.timed.len() as u32 });
            layout.timed.extend((slot != NONE).then_some(place));
        }
        if let Some(&known) = self.known_layouts.get(&layout) {
            return known;
        }
        let layout = Arc::new(layout);
        self.layouts.push(Arc::clone(&layout));
        let number = self.layouts.len() as u32 - 1;
        self.known_layouts.insert(layout, number);
        number
    }

    fn info(&self, view: &GraphView, layout: u32) -> PlanInfo {
        let Layout { nodes, slot, fused, .. } = &*self.layouts[layout as usize];
        let has_time = |(&slot, &fused): (&u32, &u32)| slot != NONE || fused != NONE;
        let mut info = PlanInfo {
            graph: view.stored.graph.graph,
            layout,
            bytes: Vec::with_capacity(nodes.len()),
            disk_bytes: 0,
            buffer_bytes: 0,
            routed: vec![],
            untimed: slot.iter().zip(fused).filter(|&place| !has_time(place)).count() as u32,
        };
        for (place, &node) in nodes.iter().enumerate() {
            for read in memory::reads(&view.stored.graph, TensorId(node)) {
                if let Some(dim) = read.experts {
                    info.routed.push(Routed { place: place as u32, source: read.source, dim });
                    info.bytes.push(0);
                    continue;
                }
                info.bytes.push(read.bytes);
                let disk = view.is_on_disk(read.from);
                let sum = if disk { &mut info.disk_bytes } else { &mut info.buffer_bytes };
                *sum = sum.saturating_add(read.bytes);
            }
        }
        info
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.known_texts.get(text) {
            return known;
        }
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        let number = self.texts.len() as u32 - 1;
        self.known_texts.insert(text, number);
        number
    }

    /// All plans; their numbers are their places.
    pub fn all(&self) -> &[Arc<PlanInfo>] {
        &self.plans
    }

    /// All layouts; their numbers are their places.
    pub fn layouts(&self) -> &[Arc<Layout>] {
        &self.layouts
    }

    /// The names of operators and tensors that layouts have numbers of.
    pub fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// Layer and size of every weight that a context's graphs have.
    pub fn weights(&self, context: u32) -> impl Iterator<Item = (Option<u32>, u64)> {
        self.weights.iter().filter(move |((own, _), _)| *own == context).map(|(_, of)| *of)
    }

    /// The number of a text.
    pub fn text_number(&self, text: &str) -> Option<u32> {
        self.known_texts.get(text).copied()
    }
}
