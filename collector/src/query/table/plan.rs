//! What evaluations that were computed alike have in common. A program computes few kinds of evaluations many times:
//! what is worked out for a kind is worked out once, and questions are answered for kinds times evaluations.

use crate::analysis::timing::{Execution, Plan};
use crate::query::memory;
use crate::query::view::GraphView;
use ggscope_format::record::Evaluation;
use ggscope_format::{GraphId, TensorId};
use std::collections::HashMap;
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
    /// Names of its sources, and where they end in [`Layout::sources`].
    pub source_end: Vec<u32>,
    /// Names of the sources of all places: numbers of texts.
    pub sources: Vec<u32>,
    /// The places with a time of their own, in order: the columns of its durations.
    pub timed: Vec<u32>,
    /// Column of each place, or [`NONE`].
    pub column: Vec<u32>,
}

impl Layout {
    /// Names of the sources of a place.
    pub fn sources_of(&self, place: usize) -> &[u32] {
        let begin = place.checked_sub(1).map_or(0, |before| self.source_end[before] as usize);
        &self.sources[begin..self.source_end[place] as usize]
    }

    /// Executed nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
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
    /// Bytes that each place reads, without those of chosen experts.
    pub bytes: Vec<u64>,
    /// All of them that lie in files.
    pub disk_bytes: u64,
    /// All of them that lie in buffers.
    pub buffer_bytes: u64,
    /// Reads that depend on the evaluation.
    pub routed: Vec<Routed>,
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
        let nodes = &self.layouts[layout as usize].nodes;
        let mut info = PlanInfo {
            graph: view.stored.graph.graph,
            layout,
            bytes: Vec::with_capacity(nodes.len()),
            disk_bytes: 0,
            buffer_bytes: 0,
            routed: vec![],
        };
        for (place, &node) in nodes.iter().enumerate() {
            let mut bytes = 0_u64;
            for read in memory::reads(&view.stored.graph, TensorId(node)) {
                match read.experts {
                    Some(dim) => info.routed.push(Routed { place: place as u32, source: read.source, dim }),
                    None => {
                        bytes = bytes.saturating_add(read.bytes);
                        let disk = view.is_on_disk(read.from);
                        let sum = if disk { &mut info.disk_bytes } else { &mut info.buffer_bytes };
                        *sum = sum.saturating_add(read.bytes);
                    }
                }
            }
            info.bytes.push(bytes);
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

    /// The number of a text.
    pub fn text_number(&self, text: &str) -> Option<u32> {
        self.known_texts.get(text).copied()
    }
}
