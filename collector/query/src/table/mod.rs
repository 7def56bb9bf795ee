//! The table of a trace's evaluations: what is needed to find, count and order executions of operators without
//! reading the file again. One header an evaluation, what evaluations of one kind have in common once, and a bounded
//! cache of what was read from the file. A table grows with its trace; a clone shares all but its youngest part.

mod cache;
mod chosen;
mod header;
mod order;
mod pages;
mod plan;
mod ranks;
mod times;

pub(crate) use chosen::Selection;
pub use header::Header;
pub(crate) use order::Place;
pub(crate) use pages::find;
pub(crate) use plan::{Layout, NONE, PlanInfo, Plans, Routed};
pub(crate) use ranks::Ranks;
pub(crate) use times::{Piece, Slice};

use super::dump::{Filter, run_ends};
use super::leaves::KnownLeaves;
use super::memory::ReadRegions;
use cache::Cache;
use ggscope_format::columns::Row;
use ggscope_format::{GraphId, TensorId};
use ggscope_trace::view::GraphView;
use ggscope_trace::{Trace, TraceError};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use times::TimeBlock;

/// Bytes that a table keeps of what it read, if nothing else is said.
pub const DEFAULT_MEMORY: usize = 512 << 20;

/// Evaluations that are read and kept together.
pub(crate) const BLOCK: usize = 256;
/// Tensors of the graphs whose views are kept, at most; and about how many bytes one takes.
const KEPT_TENSORS: usize = 1 << 18;
const TENSOR_BYTES: usize = 512;

/// The evaluations of a trace.
#[derive(Clone)]
pub struct Table {
    blocks: Vec<Arc<Vec<Header>>>,
    len: usize,
    rows: u64,
    /// The trace's number of the evaluation after the last.
    next: u64,
    /// How many contexts were known to draft: it corrects phases.
    drafting: usize,
    plans: Arc<Plans>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("evaluations", &self.len).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// What was read and may be read again: the same for all clones of a table.
struct Shared {
    /// Bytes that are kept, about.
    memory: AtomicUsize,
    times: Cache<TimeBlock>,
    rows: Cache<Vec<Row>>,
    views: Mutex<Views>,
    /// Tensors of the views that are kept, if there is more than one.
    tensors: AtomicUsize,
    /// How many ranks are kept.
    kept_ranks: AtomicUsize,
    ranks: Mutex<Vec<(String, Arc<Ranks>)>>,
    regions: Mutex<ReadRegions>,
    leaves: Mutex<KnownLeaves>,
    ends: Mutex<Option<AsOf<RunEnds>>>,
}

/// What a trace said when it had so many bytes and evaluations.
type AsOf<T> = ((u64, u64), Arc<T>);

/// When the host saw runs end, by evaluation and run.
pub(crate) type RunEnds = HashMap<(u64, u32), u64>;

#[derive(Default)]
struct Views {
    of: HashMap<GraphId, (Arc<GraphView>, u64)>,
    tensors: usize,
    clock: u64,
}

impl Table {
    /// The table of all evaluations of `trace` so far, which keeps up to about `memory` bytes of what it reads.
    pub fn new(trace: &Trace, memory: usize) -> Table {
        let mut table = Table {
            blocks: vec![],
            len: 0,
            rows: 0,
            next: 0,
            drafting: trace.drafting().len(),
            plans: Arc::default(),
            shared: Arc::new(Shared {
                times: Cache::new(0),
                rows: Cache::new(0),
                views: Mutex::default(),
                memory: AtomicUsize::new(memory),
                tensors: AtomicUsize::new(0),
                kept_ranks: AtomicUsize::new(0),
                ranks: Mutex::default(),
                regions: Mutex::default(),
                leaves: Mutex::default(),
                ends: Mutex::default(),
            }),
        };
        table.set_memory(memory);
        table.update(trace);
        table
    }

    /// Keeps up to about `memory` bytes of what it reads from now on, together with its clones.
    pub fn set_memory(&self, memory: usize) {
        self.shared.memory.store(memory, Ordering::Relaxed);
        let part = memory / 16;
        self.shared.times.set_limit(part * 12);
        self.shared.rows.set_limit(part * 2);
        self.shared.tensors.store((part / TENSOR_BYTES).min(KEPT_TENSORS), Ordering::Relaxed);
        self.shared.kept_ranks.store((part / ranks::BYTES).min(ranks::KEPT), Ordering::Relaxed);
        self.shared.ranks.lock().truncate(part / ranks::BYTES);
    }

    /// Takes the evaluations that `trace` has and the table has not. It has to be the table's own trace.
    pub fn update(&mut self, trace: &Trace) {
        if self.drafting != trace.drafting().len() {
            *self = Table::new(trace, self.shared.memory.load(Ordering::Relaxed));
            return;
        }
        trace.for_each_evaluation_from(self.next, false, |at, row| {
            self.push(trace, at, &row);
            ControlFlow::Continue(())
        });
        // Those that are damaged are not looked at again.
        self.next = self.next.max(trace.n_evaluations());
    }

    /// Whether `trace` has nothing that the table has not.
    pub fn is_up_to_date(&self, trace: &Trace) -> bool {
        self.next >= trace.n_evaluations() && self.drafting == trace.drafting().len()
    }

    fn push(&mut self, trace: &Trace, at: u64, row: &Row) {
        let e = &row.evaluation;
        let mut header = Header::new(at, row);
        header.first_row = self.rows;
        header.plan = self.plans.known(e).unwrap_or_else(|| match self.view(trace, e.graph) {
            Ok(view) => Arc::make_mut(&mut self.plans).add(&view, e),
            Err(error) => {
                trace.warn(format!("evaluations are without operators: {error}"));
                NONE
            }
        });
        if let Some(plan) = self.plans.all().get(header.plan as usize).cloned() {
            header.operators = self.layout(plan.layout).len() as u32;
            header.untimed = plan.untimed;
            (header.disk_bytes, header.buffer_bytes) = (plan.disk_bytes, plan.buffer_bytes);
            if let (false, Ok(view)) = (plan.routed.is_empty(), self.view(trace, e.graph)) {
                self.for_each_expert_read(&view, &plan, row, |read| {
                    let sum =
                        if view.is_on_disk(read.from) { &mut header.disk_bytes } else { &mut header.buffer_bytes };
                    *sum = sum.saturating_add(read.slice.bytes);
                });
            }
        } else if self.plans.is_full() {
            trace.warn("operators of some evaluations are left out: there are too many kinds of evaluations".into());
        }
        self.rows += u64::from(header.operators);
        if self.len.is_multiple_of(BLOCK) {
            self.blocks.push(Arc::new(Vec::with_capacity(BLOCK)));
        }
        let last = self.blocks.last_mut().expect("a block was pushed before the first evaluation");
        Arc::make_mut(last).push(header);
        self.len += 1;
        self.next = at.saturating_add(1);
    }

    /// Bytes of what it keeps of every evaluation.
    pub fn header_bytes(&self) -> usize {
        self.len * size_of::<Header>()
    }

    /// Evaluations.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The contexts of which the filter lets evaluations through, ascending.
    pub fn contexts(&self, filter: &Filter) -> Vec<u32> {
        let mut found: Vec<u32> = vec![];
        for (_, header) in self.headers(0) {
            if let Err(at) = found.binary_search(&header.context)
                && header.choose(filter).is_some()
            {
                found.insert(at, header.context);
            }
        }
        found
    }

    /// Whether nothing was evaluated.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Executions of operators.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// An evaluation by its ordinal in the order of arrival.
    pub fn header(&self, seq: usize) -> Option<&Header> {
        self.blocks.get(seq / BLOCK)?.get(seq % BLOCK)
    }

    /// The evaluations with their ordinals, from `seq` on.
    pub fn headers(&self, seq: usize) -> impl Iterator<Item = (usize, &Header)> {
        let of_block = |(block, headers)| {
            let numbered = move |(i, header)| (block * BLOCK + i, header);
            <[Header]>::iter(headers).enumerate().map(numbered)
        };
        let blocks = self.blocks.iter().map(|b| b.as_slice()).enumerate().skip(seq / BLOCK);
        blocks.flat_map(of_block).skip(seq % BLOCK)
    }

    /// The ordinal of the evaluation with the shim's number `eval`; of several the first.
    pub fn find(&self, eval: u64) -> Option<usize> {
        // As a rule evaluations come in the order of their numbers, none missing.
        let guess = usize::try_from(eval).ok().filter(|&seq| self.header(seq).is_some_and(|h| h.eval == eval));
        guess.or_else(|| self.headers(0).find(|(_, h)| h.eval == eval).map(|(seq, _)| seq))
    }

    pub(crate) fn plans(&self) -> &Plans {
        &self.plans
    }

    pub(crate) fn plan(&self, header: &Header) -> Option<&PlanInfo> {
        self.plans.all().get(header.plan as usize).map(Arc::as_ref)
    }

    pub(crate) fn layout(&self, number: u32) -> &Layout {
        &self.plans.layouts()[number as usize]
    }

    pub(crate) fn text(&self, number: u32) -> &str {
        self.plans.texts().get(number as usize).map_or("?", Arc::as_ref)
    }

    /// When the host saw runs end.
    pub(crate) fn ends(&self, trace: &Trace) -> Arc<RunEnds> {
        let now = (trace.totals().file_bytes, trace.totals().evaluations);
        let mut kept = self.shared.ends.lock();
        match kept.as_ref().filter(|(when, _)| *when == now) {
            Some((_, ends)) => Arc::clone(ends),
            None => Arc::clone(&kept.insert((now, Arc::new(run_ends(trace)))).1),
        }
    }

    pub(super) fn regions(&self) -> MutexGuard<'_, ReadRegions> {
        self.shared.regions.lock()
    }

    pub(super) fn leaves(&self) -> MutexGuard<'_, KnownLeaves> {
        self.shared.leaves.lock()
    }

    /// The view of a graph.
    ///
    /// # Errors
    /// When the trace does not have the graph, or it is damaged.
    pub(crate) fn view(&self, trace: &Trace, id: GraphId) -> Result<Arc<GraphView>, TraceError> {
        let mut views = self.shared.views.lock();
        views.clock += 1;
        let now = views.clock;
        if let Some((view, used)) = views.of.get_mut(&id) {
            *used = now;
            return Ok(Arc::clone(view));
        }
        drop(views);
        let view = Arc::new(GraphView::new(trace.graph(id)?));
        let mut views = self.shared.views.lock();
        views.tensors += view.stored.graph.tensors.len();
        views.of.insert(id, (Arc::clone(&view), now));
        let kept = self.shared.tensors.load(Ordering::Relaxed);
        while views.tensors > kept && views.of.len() > 1 {
            let Some(oldest) = views.of.iter().min_by_key(|(_, (_, used))| *used).map(|(&id, _)| id) else { break };
            let dropped = views.of.remove(&oldest).map_or(0, |(view, _)| view.stored.graph.tensors.len());
            views.tensors = views.tensors.saturating_sub(dropped);
        }
        Ok(view)
    }

    /// The evaluations of a block as they are in the file, without times.
    fn rows_of(&self, trace: &Trace, block: usize) -> Arc<Vec<Row>> {
        let headers = &self.blocks[block];
        let wanted = headers.len();
        if let Some(rows) = self.shared.rows.get(block, |rows| rows.len() >= wanted) {
            return rows;
        }
        let mut rows: Vec<Row> = Vec::with_capacity(wanted);
        trace.for_each_evaluation_from(headers[0].at, false, |at, row| {
            if headers.get(rows.len()).is_some_and(|h| h.at == at) {
                rows.push(row);
            }
            if rows.len() < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let bytes = rows.iter().map(row_bytes).sum();
        self.shared.rows.put(block, rows, bytes, true)
    }

    /// Calls `f` with evaluations as they are in the file, without times; `seqs` have to ascend.
    pub(crate) fn for_each_row(
        &self,
        trace: &Trace,
        seqs: impl Iterator<Item = usize>,
        mut f: impl FnMut(usize, &Row),
    ) {
        let mut of_block: Option<(usize, Arc<Vec<Row>>)> = None;
        for seq in seqs.filter(|&seq| seq < self.len) {
            let block = seq / BLOCK;
            let rows = match &of_block {
                Some((known, rows)) if *known == block => rows,
                _ => &of_block.insert((block, self.rows_of(trace, block))).1,
            };
            if let Some(row) = rows.get(seq % BLOCK) {
                f(seq, row);
            }
        }
    }

    /// Reads times into the cache until all are there or it is full: what a server does once after opening.
    pub fn read_ahead(&self, trace: &Trace) {
        for block in 0..self.blocks.len() {
            if self.shared.times.is_full() {
                return;
            }
            self.times_of(trace, block, false);
        }
    }
}

/// About how many bytes an evaluation takes in memory.
fn row_bytes(row: &Row) -> usize {
    let e = &row.evaluation;
    let words = ggscope_trace::words(e);
    let experts: usize = e.experts.iter().map(|x| x.ids.len() + 10).sum();
    size_of::<Row>() + 9 * row.phases.len() + 4 * (words + experts) + 40 * e.runs.len()
}

/// A place of a graph as the id of its tensor.
pub(crate) fn node(layout: &Layout, place: u32) -> TensorId {
    TensorId(layout.nodes[place as usize])
}
