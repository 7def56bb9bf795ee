//! One evaluation, from the moment the program asks for it to the record on the ring.
//!
//! What happens in between is kept on the thread that asked, in memory that is used again for the next evaluation.

use crate::async_runs::{self, AsyncRun};
use crate::attention::{self, Taken};
use crate::capture::{self, CompiledCapture};
use crate::clock::{self, Ticks};
use crate::graph::{self, GraphInfo, GraphRef};
use crate::host::{Backend, CGraph, Sched, Tensor};
use crate::identity::{self, Places, Setting};
use crate::inputs;
use crate::llama::call;
use crate::llama::split;
use crate::op_clock::OpClock;
use crate::registry::{self, BackendInfo, LastGraph};
use crate::sequences;
use crate::session::{self, Running, Session};
use crate::tokens;
use crate::values::{self, ValueMemory, Writer};
use ggscope_format::TensorId;
use ggscope_format::record::{Evaluation, Graph, MemoryChange, Record, Run, RunEnd};
use ggscope_format::session::Level;
use std::cell::RefCell;
use std::sync::Arc;

/// Who was asked to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A scheduler.
    Sched(Sched),
    /// A backend, without a scheduler.
    Backend(Backend),
}

impl Target {
    /// The address of the scheduler or the backend.
    pub fn key(self) -> usize {
        match self {
            Target::Sched(p) | Target::Backend(p) => p as usize,
        }
    }
}

struct Active {
    session: Arc<Session>,
    wanted: Arc<CompiledCapture>,
    /// Whether values of this evaluation are wanted.
    taken: bool,
    generation: u64,
    target: Target,
    graph: *mut CGraph,
    info: Arc<GraphInfo>,
    backends: Arc<Vec<BackendInfo>>,
    definition: Option<Graph>,
    begin: Ticks,
    faults: (i64, i64),
    /// Begin and end of each run, and where its ticks end in `ticks`.
    runs: Vec<(Ticks, Ticks, usize)>,
    /// All clock calls of all runs.
    ticks: Vec<Ticks>,
    /// The last run that something was copied from; see [`copied`].
    copied: Option<usize>,
    record: Evaluation,
    /// The last field, so that everything else of the evaluation is over when the collector hears of it.
    _running: Running,
}

/// Memory that is kept from one evaluation to the next.
#[derive(Default)]
struct Memory {
    record: Evaluation,
    runs: Vec<(Ticks, Ticks, usize)>,
    ticks: Vec<Ticks>,
    /// Ids of the evaluation's tokens.
    ids: Vec<i32>,
    encoded: Vec<u8>,
    values: ValueMemory,
}

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Whether the thread is inside an evaluation.
pub fn is_active() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// The program asks for an evaluation. Returns whether one begins that [`end`] has to end.
///
/// # Safety
/// `graph` and `target` are live, and stay so until [`end`].
pub unsafe fn begin(target: Target, graph: *mut CGraph) -> bool {
    if is_active() {
        return false;
    }
    let Some(session) = session::current() else { return false };
    // SAFETY: promised by the caller.
    let active = unsafe { prepare(session, target, graph) };
    ACTIVE.set(active);
    is_active()
}

/// What is to be recorded of an evaluation that begins; `None` if nothing.
///
/// # Safety
/// The graph and the target are live, and the host is about to compute the graph.
unsafe fn prepare(session: Arc<Session>, target: Target, graph: *mut CGraph) -> Option<Active> {
    let host = session.host;
    // SAFETY: the graph is live.
    let graph = unsafe { GraphRef::new(host, session.layout, graph) };
    if graph.n_nodes <= 0 {
        return None;
    }
    let (wanted, running) = session.begin();
    let describe_backend = || match target {
        // SAFETY: the backend is live.
        Target::Backend(backend) => unsafe { registry::describe(host, &[backend]) },
        Target::Sched(_) => vec![],
    };
    let described = registry::with(|r| !r.is_known(target.key())).then(describe_backend).unwrap_or_default();
    let (backends, inputs, last, epoch) = registry::with(|r| {
        let epoch = r.buffers.epoch();
        let scheduler = r.scheduler(target.key(), || described);
        (scheduler.backends.clone(), scheduler.inputs, scheduler.last.clone(), epoch)
    });
    let captured = (session.number, wanted.number);
    let is_allocated_anew = last.is_none() && matches!(target, Target::Sched(_));
    // Only a scheduler says when its graph is built anew.
    let same = last.filter(|last| matches!(target, Target::Sched(_)) && last.is(graph, captured));
    // They are those of this graph if it was allocated since the last evaluation, or is that one's.
    let inputs = inputs.filter(|(of, _)| *of == graph.ptr() as usize && (same.is_some() || is_allocated_anew));
    let inputs = inputs.map_or_else(|| inputs::inputs(graph), |(_, inputs)| inputs);
    let Memory { mut record, mut runs, mut ticks, mut ids, .. } = take_memory();
    record.clear();
    runs.clear();
    ticks.clear();
    // SAFETY: the inputs were found in this graph, whose tensors live.
    unsafe { tokens::read_tokens(&session, inputs, &mut record, &mut ids) };
    let (n_tokens, positions) = (record.n_tokens as usize, &record.positions[..]);
    let found = call::find(split::Inputs { n_tokens, ids: &ids, positions });
    found.note(&mut record);
    // SAFETY: as above.
    let changes = unsafe { sequences::find(&session, target, inputs, &mut record) };
    if session.tokens {
        record.tokens.extend_from_slice(&ids);
    }
    MEMORY.with_borrow_mut(|memory| memory.ids = ids);
    // SAFETY: the context is that of the call that the thread is in.
    let context = unsafe { sequences::context(target, &found) };
    for op in changes {
        session.push(&Record::Memory(MemoryChange { before: running.eval, context, op }));
    }
    if session.level >= Level::Ops {
        // SAFETY: the backends belong to the live target, which has not begun to compute.
        unsafe { registry::install_clocks(host, &backends) };
    }
    let known = same.as_ref().and_then(|last| session.known_graph(last.id));
    let (info, definition) = match known {
        Some(info) => (info, None),
        None => {
            let setting = Setting { context, epoch, wanted: wanted.number };
            identity::identify(graph, setting, |identity| {
                session.graph(identity, |id| graph::describe(graph, id, context, &backends, &wanted))
            })
        }
    };
    let last = same.filter(|last| last.id == info.id).unwrap_or_else(|| {
        let (graph, places) = (graph.ptr() as usize, Places::of(graph));
        Arc::new(LastGraph { graph, places, id: info.id, session: captured })
    });
    registry::with(|r| {
        if let Some(scheduler) = r.known(target.key()) {
            scheduler.inputs = Some((graph.ptr() as usize, inputs));
            scheduler.last = Some(last);
        }
    });
    record.eval = running.eval;
    record.graph = info.id;
    record.context = context;
    record.thread = thread_id();
    let taken = session.pace.lock().wants(&wanted.capture, &record);
    for clock in backends.iter().filter_map(|b| registry::with(|r| r.clock(b.backend))) {
        // SAFETY: the clock lives as long as its backend; the backend has not begun to compute.
        unsafe { &*clock }.arm(graph.n_nodes as usize);
    }
    Some(Active {
        wanted,
        taken,
        generation: crate::fork::generation(),
        target,
        graph: graph.ptr(),
        info,
        backends,
        definition,
        faults: page_faults(),
        runs,
        ticks,
        copied: None,
        record,
        begin: clock::now(),
        session,
        _running: running,
    })
}

/// A backend is about to compute a part of the graph.
pub struct RunToken {
    first: u32,
    n_nodes: u32,
    device: u16,
    clock: Option<*const OpClock>,
    begin: Ticks,
}

/// Begins a run, if the thread is inside an evaluation and the nodes belong to its graph.
///
/// # Safety
/// `backend` and `part` are live.
pub unsafe fn begin_run(backend: Backend, part: *mut CGraph) -> Option<RunToken> {
    ACTIVE.with_borrow(|active| {
        let active = active.as_ref()?;
        // SAFETY: the graph is live.
        let part = unsafe { GraphRef::new(active.session.host, active.session.layout, part) };
        if part.n_nodes <= 0 {
            return None;
        }
        let first = *active.info.index.get(&(part.node(0).ptr() as usize))?;
        let last = *active.info.index.get(&(part.node(part.n_nodes - 1).ptr() as usize))?;
        if last.checked_sub(first)? + 1 != part.n_nodes as u32 {
            return None;
        }
        let device = active.backends.iter().position(|b| b.backend == backend as usize)? as u16;
        let clock = registry::with(|r| r.clock(backend as usize)).filter(|_| active.session.level >= Level::Ops);
        if let Some(clock) = clock {
            // SAFETY: the clock lives as long as its backend, which has not begun to compute.
            unsafe { &*clock }.arm(part.n_nodes as usize);
        }
        Some(RunToken { first, n_nodes: part.n_nodes as u32, device, clock, begin: clock::now() })
    })
}

/// The backend has returned.
///
/// # Safety
/// `token` comes from [`begin_run`] for a backend that is still live.
pub unsafe fn end_run(token: RunToken) {
    let end = clock::now();
    ACTIVE.with_borrow_mut(|active| {
        let Some(active) = active else { return };
        let calls = active.ticks.len();
        // SAFETY: the clock lives as long as its backend.
        let noted = token.clock.and_then(|clock| unsafe { &*clock }.times().map(|t| active.ticks.extend(t)));
        let n_calls = (active.ticks.len() - calls) as u32;
        active.runs.push((token.begin, end, active.ticks.len()));
        active.record.runs.push(Run {
            first: TensorId(token.first),
            n_nodes: token.n_nodes,
            device: token.device,
            clocked: noted.is_some() && n_calls > 0,
            n_calls,
            ..Run::default()
        });
        if !active.backends[usize::from(token.device)].cpu {
            let run = active.record.runs.len() as u32 - 1;
            let backend = active.backends[usize::from(token.device)].backend;
            async_runs::add(AsyncRun { backend, session: active.session.clone(), eval: active.record.eval, run });
        }
    });
}

/// The evaluation has ended, successfully or not: writes it.
///
/// # Safety
/// What was given to [`begin`] is still live.
pub unsafe fn end(status: i32) {
    let end = clock::now();
    let Some(mut active) = ACTIVE.take() else { return };
    if active.generation != crate::fork::generation() {
        // A fork lies between: the session, and this evaluation, are the parent's.
        std::mem::forget(active);
        return;
    }
    if active.record.runs.is_empty() {
        // SAFETY: promised by the caller.
        unsafe { whole_run(&mut active, end) };
    }
    let rate = active.session.conversion.rate();
    let record = &mut active.record;
    record.status = status;
    record.start = rate.at(active.begin);
    record.end = rate.at(end).max(record.start);
    let faults = page_faults();
    record.minor_faults = (faults.0 - active.faults.0).clamp(0, u32::MAX.into()) as u32;
    record.major_faults = (faults.1 - active.faults.1).clamp(0, u32::MAX.into()) as u32;
    let mut from = 0;
    for (run, &(begin, end, to)) in record.runs.iter_mut().zip(&active.runs) {
        run.start = rate.between(active.begin, begin);
        run.duration = rate.between(begin, end);
        rate.durations(begin, &active.ticks[from..to], &mut record.durations);
        from = to;
    }
    let mut waited = None;
    if status == 0 {
        // SAFETY: promised by the caller.
        waited = unsafe { wait_for_devices(&active) };
        // SAFETY: as above; the computation of what is read has ended.
        unsafe { tokens::read_experts(&active.session, &active.wanted, &active.info, &mut active.record) };
    }
    let backends = active.backends.clone();
    // SAFETY: as above.
    unsafe { write(active, status == 0) };
    if let Some(ended) = waited {
        backends.iter().for_each(|b| async_runs::ended_at(b.backend as Backend, ended));
    }
}

/// What is to be read from devices is there only when they have finished. Returns when that was, if it was waited for.
///
/// # Safety
/// The backends are live.
unsafe fn wait_for_devices(active: &Active) -> Option<Ticks> {
    let host = active.session.host;
    let is_on_device = |&addr: &usize| {
        // SAFETY: a tensor of the live graph.
        let buffer = unsafe { crate::abi::TensorRef::new(addr as *mut Tensor, active.session.layout) }.buffer();
        // SAFETY: the buffer of a live tensor.
        !buffer.is_null() && !unsafe { (host.ggml_backend_buffer_is_host)(buffer) }
    };
    if active.session.level < Level::Tensors && active.wanted.is_empty() {
        return None;
    }
    let mut devices = active.backends.iter().filter(|b| !b.cpu).peekable();
    devices.peek()?;
    let Taken { always, whole, .. } = &active.info.attention;
    let named = active.info.captured.iter().map(|c| c.tensor).chain(active.info.experts.iter().map(|e| e.1));
    let tensor = named.chain(always.iter().chain(whole).copied()).find(is_on_device)?;
    // SAFETY: promised by the caller.
    devices.for_each(|b| unsafe { (host.ggml_backend_synchronize)(b.backend as Backend) });
    // A device that only sends has finished when it answers.
    // SAFETY: a tensor of the live graph, and a captured one or expert ids are not empty.
    unsafe { capture::read(host, active.session.layout, tensor as *mut Tensor, 0, &mut [0]) };
    Some(clock::now())
}

/// The program has written bytes of a tensor itself. If it is a K or V cache, what the collector has of it is no longer so.
///
/// # Safety
/// The tensor is live.
pub unsafe fn overwritten(tensor: *mut Tensor, offset: usize, bytes: usize) {
    let Some(session) = session::of_caches() else { return };
    let mut caches = session.caches.lock();
    if !caches.is_empty() {
        // SAFETY: promised by the caller.
        let written = unsafe { attention::written(session.layout, tensor, offset, bytes) };
        written.into_iter().for_each(|(key, bytes)| caches.written(key, bytes));
    }
}

/// A tensor was copied. Inside an evaluation that tells the end of a run on a device that only sends.
pub fn copied(tensor: *mut Tensor) {
    ACTIVE.with_borrow_mut(|active| {
        let Some(active) = active.as_mut().filter(|a| a.backends.iter().any(|b| b.only_sends())) else { return };
        let Some(&node) = active.info.index.get(&(tensor as usize)) else { return };
        let computed = |r: &Run| (r.first.0..r.first.0 + r.n_nodes).contains(&node);
        let run = active.record.runs.iter().rposition(computed).filter(|&run| active.copied < Some(run));
        let Some(run) = run else { return };
        if active.backends[usize::from(active.record.runs[run].device)].only_sends() {
            active.copied = Some(run);
            let end = active.session.conversion.rate().at(clock::now());
            active.session.push(&Record::RunEnd(RunEnd { eval: active.record.eval, run: run as u32, end }));
        }
    });
}

/// In a linker-wrapped build the scheduler's calls of backends are not seen. If it had one split and one CPU backend
/// kept time, that was the run.
///
/// # Safety
/// The target of `active` is live.
unsafe fn whole_run(active: &mut Active, end: Ticks) {
    let Target::Sched(sched) = active.target else { return };
    // SAFETY: the scheduler is live.
    if unsafe { (active.session.host.ggml_backend_sched_get_n_splits)(sched) } != 1 {
        return;
    }
    let clock_of = |b: &BackendInfo| registry::with(|r| r.clock(b.backend));
    let timed = active.backends.iter().enumerate().filter_map(|(i, b)| Some((i, clock_of(b)?))).find_map(|(i, c)| {
        // SAFETY: the clock lives as long as its backend.
        let times: Vec<Ticks> = unsafe { &*c }.times()?.collect();
        (!times.is_empty()).then_some((i, times))
    });
    let Some((device, times)) = timed else { return };
    active.record.runs.push(Run {
        first: TensorId(0),
        n_nodes: active.info.index.len() as u32,
        device: device as u16,
        clocked: true,
        n_calls: times.len() as u32,
        ..Run::default()
    });
    active.ticks.extend(times);
    active.runs.push((active.begin, end, active.ticks.len()));
}

/// Writes an evaluation that has ended to a ring.
///
/// # Safety
/// The graph and the target of `active` are live, and their computation has ended.
unsafe fn write(mut active: Active, with_values: bool) {
    let session = active.session.clone();
    // SAFETY: promised by the caller.
    unsafe { values::note_written(&session, &active.info) };
    let Some(mut lease) = session.lease() else { return };
    let ring = lease.ring;
    MEMORY.with_borrow_mut(|memory| {
        let encoded = &mut memory.encoded;
        if !session.is_defined(active.info.id, ring) {
            let graph = active.definition.take().unwrap_or_else(|| {
                // SAFETY: the graph is still live.
                let graph = unsafe { GraphRef::new(session.host, session.layout, active.graph) };
                let (id, context) = (active.info.id, active.record.context);
                graph::describe(graph, id, context, &active.backends, &active.wanted).0
            });
            encoded.clear();
            Record::Graph(graph).encode(encoded);
            let defined = lease.producer().push(encoded);
            // Definitions are large and rare: do not keep their memory.
            encoded.clear();
            encoded.shrink_to(64 << 10);
            if !defined {
                // Nobody could read the evaluation either. The next one of this graph tries again.
                session.count_lost(ring);
                return;
            }
            session.define(active.info.id, ring);
        }
        let eval = active.record.eval;
        let record = Record::Evaluation(std::mem::take(&mut active.record));
        encoded.clear();
        record.encode(encoded);
        lease.producer().push(encoded);
        if with_values {
            let (info, capture, memory) = (&active.info, &active.wanted.capture, &mut memory.values);
            let mut values =
                Writer { session: &session, capture, eval, info, ring, producer: lease.producer(), memory };
            // SAFETY: the graph and its scheduler are still live.
            unsafe { values.write(active.taken) };
        }
        if let Record::Evaluation(record) = record {
            (memory.record, memory.runs, memory.ticks) = (record, active.runs, active.ticks);
        }
    });
}

/// Minor and major page faults of the process so far.
fn page_faults() -> (i64, i64) {
    // SAFETY: all-zero is a valid `rusage`, and the pointer is valid for writing.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        (usage.ru_minflt, usage.ru_majflt)
    }
}

/// The kernel's id of this thread.
fn thread_id() -> u32 {
    thread_local!(static ID: std::cell::Cell<(u64, u32)> = const { std::cell::Cell::new((u64::MAX, 0)) });
    let (generation, id) = ID.get();
    if generation == crate::fork::generation() {
        return id;
    }
    // SAFETY: no preconditions.
    let id = unsafe { libc::gettid() } as u32;
    ID.set((crate::fork::generation(), id));
    id
}

/// The parts of the thread's memory that an evaluation fills; what is used only while writing stays.
fn take_memory() -> Memory {
    MEMORY.with_borrow_mut(|m| Memory {
        record: std::mem::take(&mut m.record),
        runs: std::mem::take(&mut m.runs),
        ticks: std::mem::take(&mut m.ticks),
        ids: std::mem::take(&mut m.ids),
        ..Memory::default()
    })
}
