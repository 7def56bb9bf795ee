//! A session that a server shows: where its trace comes from, what there is of it now, and the table of its evaluations.
//! Of a recording that has ended, what can be read back from its file is let go when nobody asks for it.

use super::kept_heads::KeptHeads;
use super::problem::Problem;
use super::summary::SessionSummary;
use ggscope_attach::Control;
use ggscope_format::EvalId;
use ggscope_internals::picture::Followers;
use ggscope_query::contexts::Contexts;
use ggscope_query::cost::{Cost, costs};
use ggscope_query::memory::{ReadFilter, memory};
use ggscope_query::table::Table;
use ggscope_trace::{Followed, Following, Growing, State, Totals, Trace, TraceError, Watch};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Times are read ahead so long after the first question.
const READ_AHEAD_AFTER: Duration = Duration::from_secs(1);
/// About how many bytes a graph takes that was looked at, and of how many that is kept.
const GRAPH_BYTES: usize = 512 << 10;
const KEPT_GRAPHS: usize = 64;
/// Attention of single layers keeps one in so many parts of the memory between two questions, that of all as much.
const PART_OF_FOLLOWERS: usize = 8;

/// Where a session's trace comes from.
enum Source {
    /// A file; another process may be writing it.
    File(Followed),
    /// A recording of this process.
    Recording(Arc<Growing>),
    /// A recording of this process that has ended, and its file while somebody asks for it.
    Ended(Box<Kept>),
}

/// What is kept of a recording that has ended.
struct Kept {
    summary: SessionSummary,
    totals: Totals,
    n_evaluations: u64,
    /// Device and number of the file, and its size.
    identity: (u64, u64, u64),
    trace: Option<Arc<Trace>>,
}

/// A viewer that follows a session; dropping it ends that.
pub(super) enum Watching {
    /// At a recording of this process.
    Live { _watch: Watch },
    /// At a file.
    File { _following: Following },
}

/// Sums for monitoring.
#[derive(Debug)]
pub(super) struct Sums {
    /// The contexts.
    pub contexts: Arc<Contexts>,
    /// Times by context, operator and layer.
    pub costs: Vec<Cost>,
    /// Bytes that were read, by context, memory and place.
    pub reads: BTreeMap<(u32, &'static str, String), u64>,
}

/// How far captured values are behind the newest token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Behind {
    /// The newest token that values have come of.
    pub token: u64,
    /// Tokens after it.
    pub tokens: u64,
}

/// A traced process, and the table of its evaluations.
pub(super) struct Session {
    pub id: String,
    /// Name of the file, without its folders.
    pub name: String,
    path: PathBuf,
    source: RwLock<Source>,
    control: Option<Arc<Control>>,
    /// As far as somebody has asked.
    table: Mutex<Option<Arc<Table>>>,
    /// What attention is computed with, as far as somebody has asked: of single layers, and of all together, which takes
    /// longer and is not to be waited for.
    followers: [Mutex<Followers>; 2],
    /// Its contexts, as far as somebody has asked.
    pub(super) known_contexts: Mutex<Arc<Contexts>>,
    /// Of so many evaluations.
    sums: Mutex<Option<(u64, Arc<Sums>)>>,
    /// Bytes of the trace that are kept in memory.
    memory: AtomicUsize,
    /// What its heads do, as somebody asked last.
    pub heads: KeptHeads,
    /// When somebody asked last.
    asked: Mutex<Instant>,
}

impl Session {
    /// A trace that was named on the command line.
    ///
    /// # Errors
    /// When it cannot be read or is not a trace.
    pub(super) fn open(id: usize, path: &Path) -> Result<Session, TraceError> {
        Ok(Session::new(id, path, Source::File(Followed::open(path)?)))
    }

    /// A process that is recorded here.
    pub(super) fn recorded(id: usize, growing: Arc<Growing>, control: Arc<Control>) -> Session {
        let path = growing.path().to_owned();
        Session { control: Some(control), ..Session::new(id, &path, Source::Recording(growing)) }
    }

    /// What changes the capture of a process that is recorded here and goes on.
    pub(super) fn control(&self) -> Option<&Control> {
        self.control.as_deref().filter(|_| self.is_recorded_here())
    }

    fn new(id: usize, path: &Path, source: Source) -> Session {
        Session {
            id: id.to_string(),
            name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            path: path.to_owned(),
            source: RwLock::new(source),
            control: None,
            table: Mutex::default(),
            followers: Default::default(),
            known_contexts: Mutex::default(),
            sums: Mutex::default(),
            memory: AtomicUsize::new(0),
            heads: KeptHeads::default(),
            asked: Mutex::new(Instant::now()),
        }
    }

    fn source(&self) -> RwLockReadGuard<'_, Source> {
        self.source.read()
    }

    /// What there is now.
    ///
    /// # Errors
    /// When the file of a recording that has ended is not there any more.
    pub(super) fn trace(&self) -> Result<Arc<Trace>, Problem> {
        match &*self.source() {
            Source::File(file) => return Ok(file.trace()),
            Source::Recording(growing) => return Ok(growing.trace()),
            Source::Ended(kept) => {
                if let Some(trace) = &kept.trace {
                    return Ok(trace.clone());
                }
            }
        }
        let mut source = self.source.write();
        match &mut *source {
            Source::Ended(kept) => match &kept.trace {
                Some(trace) => Ok(trace.clone()),
                None => Ok(kept.trace.insert(self.reopen(kept.identity)?).clone()),
            },
            Source::File(file) => Ok(file.trace()),
            Source::Recording(growing) => Ok(growing.trace()),
        }
    }

    /// Opens the file of a recording that has ended, if it is still the same.
    fn reopen(&self, recorded: (u64, u64, u64)) -> Result<Arc<Trace>, Problem> {
        let gone = |why: String| {
            let error = format!("the trace of session {} is not what was recorded any more: {why}", self.id);
            Problem::missing(
                "id",
                error,
                "its file was moved, replaced or removed: put it back, or open it where it is",
            )
        };
        let trace = Trace::open(&self.path).map_err(|error| gone(error.to_string()))?;
        match identity(&self.path) {
            Some(now) if now == recorded => Ok(Arc::new(trace)),
            _ => Err(gone(format!("{} is another file", self.path.display()))),
        }
    }

    pub(super) fn state(&self) -> State {
        match &*self.source() {
            Source::File(file) => file.state(),
            Source::Recording(growing) => growing.state(),
            Source::Ended(kept) => kept.summary.state,
        }
    }

    /// Whether this process records it.
    pub(super) fn is_recorded_here(&self) -> bool {
        matches!(&*self.source(), Source::Recording(growing) if growing.state() == State::Live)
    }

    /// Whether its file has to be looked at to see whether it has grown.
    pub(super) fn is_followed(&self) -> bool {
        matches!(&*self.source(), Source::File(file) if !file.trace().complete())
    }

    /// Somebody looks on until the result is dropped; `None` if there is nothing more to see.
    pub(super) fn watch(&self) -> Option<Watching> {
        match &*self.source() {
            Source::Recording(growing) if growing.state() == State::Live => {
                Some(Watching::Live { _watch: growing.watch() })
            }
            Source::File(file) if !file.trace().complete() => Some(Watching::File { _following: file.follow() }),
            _ => None,
        }
    }

    /// Evaluations so far.
    pub(super) fn n_evaluations(&self) -> u64 {
        match &*self.source() {
            Source::File(file) => file.trace().n_evaluations(),
            Source::Recording(growing) => growing.trace().n_evaluations(),
            Source::Ended(kept) => kept.n_evaluations,
        }
    }

    /// Sums so far.
    pub(super) fn totals(&self) -> Totals {
        match &*self.source() {
            Source::File(file) => file.trace().totals().clone(),
            Source::Recording(growing) => growing.trace().totals().clone(),
            Source::Ended(kept) => kept.totals.clone(),
        }
    }

    /// What was found wrong with the trace so far.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.trace().map_or(vec![], |trace| trace.warnings())
    }

    /// What there is now, and the table of it.
    ///
    /// # Errors
    /// As [`Session::trace`].
    pub(super) fn now(&self) -> Result<(Arc<Trace>, Arc<Table>), Problem> {
        let mut kept = self.table.lock();
        // Within the lock, so that the table never has more than the trace.
        let trace = self.trace()?;
        let table = match kept.take() {
            Some(table) if table.is_up_to_date(&trace) => table,
            Some(mut table) => {
                Arc::make_mut(&mut table).update(&trace);
                table
            }
            None => {
                let table = Arc::new(Table::new(&trace, self.memory.load(Ordering::Relaxed)));
                let (trace, ahead) = (Arc::downgrade(&trace), Table::clone(&table));
                // Whoever has asked is about to draw: that goes first.
                std::thread::spawn(move || {
                    std::thread::sleep(READ_AHEAD_AFTER);
                    if let Some(trace) = trace.upgrade() {
                        ahead.read_ahead(&trace);
                    }
                });
                table
            }
        };
        *kept = Some(table.clone());
        Ok((trace, table))
    }

    /// How far captured values are behind the newest token; `None` if none have come, or nothing is captured any more.
    ///
    /// # Errors
    /// As [`Session::trace`].
    pub(super) fn behind(&self) -> Result<Option<Behind>, Problem> {
        let (trace, table) = self.now()?;
        if trace.captures().last().is_none_or(|change| change.capture.is_empty()) {
            return Ok(None);
        }
        let last = |eval: EvalId| table.header(table.find(eval.0)?)?.last_token();
        let Some(token) = trace.captured_until().and_then(last) else { return Ok(None) };
        let totals = trace.totals();
        let end = totals.tokens();
        Ok(Some(Behind { token, tokens: end.saturating_sub(token.saturating_add(1)) }))
    }

    pub(super) fn set_memory(&self, memory: usize) {
        let kept = self.table.lock();
        self.memory.store(memory, Ordering::Relaxed);
        if let Some(table) = &*kept {
            table.set_memory(memory);
        }
        drop(kept);
        // Whoever computes takes up the new limit afterwards.
        for followers in &self.followers {
            if let Some(mut followers) = followers.try_lock() {
                followers.set_limit(memory / PART_OF_FOLLOWERS);
            }
        }
    }

    /// What attention of single layers is computed with, or of all together: for one question at a time.
    pub(super) fn followers(&self, all: bool) -> MutexGuard<'_, Followers> {
        let mut followers = self.followers[usize::from(all)].lock();
        followers.set_limit(self.memory.load(Ordering::Relaxed) / PART_OF_FOLLOWERS);
        followers
    }

    /// Somebody asks for it.
    pub(super) fn is_asked_for(&self) {
        *self.asked.lock() = Instant::now();
    }

    /// Since when nobody has asked for it.
    pub(super) fn asked(&self) -> Instant {
        *self.asked.lock()
    }

    /// Whether it is a recording that has ended and is not in memory.
    pub(super) fn is_released(&self) -> bool {
        matches!(&*self.source(), Source::Ended(kept) if kept.trace.is_none())
    }

    /// About how many bytes are in memory of a recording that has ended, without what its table has read; 0 if it goes
    /// on, or is released.
    pub(super) fn held(&self) -> usize {
        let trace = match &*self.source() {
            Source::Recording(growing) if growing.state() != State::Live => growing.trace(),
            Source::Ended(kept) => match &kept.trace {
                Some(trace) => trace.clone(),
                None => return 0,
            },
            _ => return 0,
        };
        let headers = self.table.lock().as_ref().map_or(0, |table| table.header_bytes());
        let file = usize::try_from(trace.totals().file_bytes).unwrap_or(usize::MAX);
        file.saturating_add(headers + trace.graphs().take(KEPT_GRAPHS).count() * GRAPH_BYTES)
    }

    /// Lets go of a recording that has ended: what is asked for later is read from its file.
    pub(super) fn release(&self) {
        self.followers.iter().for_each(|followers| *followers.lock() = Followers::default());
        let mut table = self.table.lock();
        let mut source = self.source.write();
        let growing = match &mut *source {
            Source::File(_) => return,
            Source::Ended(kept) => {
                (kept.trace, *table) = (None, None);
                return;
            }
            Source::Recording(growing) => growing,
        };
        let (state, trace) = (growing.state(), growing.trace());
        let Some(identity) = identity(&self.path).filter(|_| state != State::Live) else { return };
        let kept = Kept {
            summary: self.summary_of(state, &trace),
            totals: trace.totals().clone(),
            n_evaluations: trace.n_evaluations(),
            identity,
            trace: None,
        };
        (*source, *table) = (Source::Ended(Box::new(kept)), None);
    }

    /// Sums for monitoring. They outlive what they were made from.
    ///
    /// # Errors
    /// As [`Session::trace`].
    pub(super) fn sums(&self) -> Result<Arc<Sums>, Problem> {
        let now = self.n_evaluations();
        let known = |kept: &Option<(u64, Arc<Sums>)>| kept.as_ref().filter(|k| k.0 == now).map(|k| k.1.clone());
        if let Some(sums) = known(&self.sums.lock()) {
            return Ok(sums);
        }
        let was_released = self.is_released();
        let (trace, table) = if was_released {
            // Nobody but us wants it in memory.
            let trace = self.trace()?;
            (trace.clone(), Arc::new(Table::new(&trace, 0)))
        } else {
            self.now()?
        };
        let contexts = self.contexts(&trace);
        let mut reads = BTreeMap::new();
        for context in contexts.iter().map(|context| context.context) {
            for region in memory(&trace, &table, &ReadFilter { context: Some(context), ..ReadFilter::default() }) {
                let sum: &mut u64 = reads.entry((context, region.memory, region.place)).or_default();
                *sum = sum.saturating_add(region.read_bytes);
            }
        }
        let sums = Arc::new(Sums { contexts, costs: costs(&trace, &table), reads });
        *self.sums.lock() = Some((now, sums.clone()));
        if was_released {
            self.release();
        }
        Ok(sums)
    }

    pub(super) fn summary(&self) -> SessionSummary {
        match &*self.source() {
            Source::Ended(kept) => kept.summary.clone(),
            // The state before the trace: one that has ended since is shown as live with all that it has, not the other
            // way round.
            Source::File(file) => {
                let state = file.state();
                self.summary_of(state, &file.trace())
            }
            Source::Recording(growing) => {
                let state = growing.state();
                self.summary_of(state, &growing.trace())
            }
        }
    }

    fn summary_of(&self, state: State, trace: &Trace) -> SessionSummary {
        SessionSummary::of((&self.id, &self.name), self.control.is_some(), state, trace)
    }
}

/// Device and number of a file, and its size.
fn identity(path: &Path) -> Option<(u64, u64, u64)> {
    path.metadata().ok().map(|of| (of.dev(), of.ino(), of.len()))
}
