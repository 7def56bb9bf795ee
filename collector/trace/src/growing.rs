//! A trace that is being written in this process, for readers of the same process: the writer shows what it has taken,
//! whether it is in the file yet or not, and a reader takes a state of it as a [`Trace`]. The writer holds the lock for
//! as long as it takes to add what is new; a reader only to copy some references.

use super::index::{IndexEntry, OperatorTotal, Totals};
use super::reader::{Contents, Shared, map, open_file};
use super::{Ending, Model, Recording, Remark, State, Texts, Trace, TraceError};
use ggscope_format::columns::Row;
use ggscope_format::record::BufferEvent;
use ggscope_model::mapped::Mapped;
use parking_lot::Mutex;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

type Listener = Box<dyn Fn() + Send + Sync>;

/// A trace that grows.
pub struct Growing {
    path: PathBuf,
    shown: Mutex<Shown>,
    taken: Mutex<Taken>,
    shared: Arc<Shared>,
    listener: OnceLock<Listener>,
    watchers: AtomicUsize,
}

/// What the writer has shown.
#[derive(Default)]
struct Shown {
    contents: Contents,
    /// Counts the changes.
    version: u64,
    /// Nothing more will come.
    over: bool,
}

/// The state that was taken last.
struct Taken {
    /// To map it again; `None` when it will not grow any more.
    file: Option<File>,
    map: Arc<Mapped>,
    version: u64,
    trace: Weak<Trace>,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growing").field("path", &self.path).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Growing {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether more can come, and if not, how it ended.
    pub fn state(&self) -> State {
        let shown = self.shown.lock();
        match (shown.over, shown.contents.complete) {
            (false, _) => State::Live,
            (true, true) => State::Ended,
            (true, false) => State::Cut,
        }
    }

    /// What there is now.
    pub fn trace(&self) -> Arc<Trace> {
        let mut taken = self.taken.lock();
        let (contents, version, over) = {
            let shown = self.shown.lock();
            if let Some(trace) = taken.trace.upgrade().filter(|_| taken.version == shown.version) {
                return trace;
            }
            (shown.contents.clone(), shown.version, shown.over)
        };
        if let Some(file) = taken.file.as_ref().filter(|_| contents.totals.file_bytes > taken.map.len() as u64) {
            // Without a new map, what is behind the old one is left out with a warning.
            taken.map = map(&self.path, file).unwrap_or_else(|_| taken.map.clone());
        }
        if over {
            taken.file = None;
        }
        let trace = Arc::new(Trace::new(self.path.clone(), taken.map.clone(), contents, self.shared.clone()));
        (taken.version, taken.trace) = (version, Arc::downgrade(&trace));
        trace
    }

    /// Calls `listener` after every change from now on, on the writer's thread: it has to return at once. The first
    /// caller's listener stays.
    pub fn on_change(&self, listener: impl Fn() + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// Somebody looks on until the result is dropped: what happens is worth being shown soon.
    pub fn watch(self: &Arc<Growing>) -> Watch {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watch(self.clone())
    }

    /// Whether somebody looks on.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        {
            let mut shown = self.shown.lock();
            change(&mut shown);
            shown.version += 1;
        }
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }
}

/// Somebody looks on.
#[derive(Debug)]
pub struct Watch(Arc<Growing>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The writer's side: shows what is new. When it goes, the trace is over.
#[derive(Default)]
pub(super) struct Display {
    growing: Option<Arc<Growing>>,
    /// How much of each list is shown already and has not changed since.
    pub same: Same,
    evaluations: u64,
}

/// Items at the beginning of lists.
#[derive(Default)]
pub(super) struct Same {
    pub chunks: usize,
    pub rows: usize,
    pub texts: usize,
    pub buffers: usize,
    pub remarks: usize,
}

/// What a writer has.
pub(super) struct Now<'a> {
    pub totals: &'a Totals,
    pub operators: &'a dyn Fn() -> Vec<OperatorTotal>,
    pub models: &'a [Model],
    pub chunks: &'a [IndexEntry],
    pub rows: &'a [Arc<Row>],
    pub texts: &'a Texts,
    pub buffers: &'a [BufferEvent],
    pub remarks: &'a [Remark],
    pub ending: Option<Ending>,
    pub complete: bool,
}

impl Display {
    /// Begins to show.
    pub fn begin(&mut self, path: &Path, recording: &Arc<Recording>) -> Result<Arc<Growing>, TraceError> {
        let file = open_file(path)?;
        let map = map(path, &file)?;
        let taken = Taken { file: Some(file), map, version: 0, trace: Weak::new() };
        let contents = Contents { recording: recording.clone(), ..Contents::default() };
        let growing = Arc::new(Growing {
            path: path.to_owned(),
            shown: Mutex::new(Shown { contents, ..Shown::default() }),
            taken: Mutex::new(taken),
            shared: Arc::default(),
            listener: OnceLock::new(),
            watchers: AtomicUsize::new(0),
        });
        (self.same, self.evaluations) = (Same::default(), 0);
        self.growing = Some(growing.clone());
        Ok(growing)
    }

    /// Whether anybody has what is shown.
    pub fn is_seen(&self) -> bool {
        self.growing.as_ref().is_some_and(|growing| Arc::strong_count(growing) > 1)
    }

    /// Whether somebody looks on.
    pub fn is_watched(&self) -> bool {
        self.growing.as_ref().is_some_and(|growing| growing.is_watched())
    }

    /// Shows what there is now.
    pub fn update(&mut self, now: &Now<'_>) {
        let Some(growing) = self.growing.as_ref().filter(|_| self.is_seen()) else { return };
        let operators = (self.evaluations != now.totals.evaluations || now.complete).then(|| (now.operators)());
        self.evaluations = now.totals.evaluations;
        let same = &mut self.same;
        growing.show(|shown| {
            let contents = &mut shown.contents;
            contents.add_chunks(&now.chunks[same.chunks..]);
            same.chunks = now.chunks.len();
            contents.totals.clone_from(now.totals);
            (contents.complete, contents.ending) = (now.complete, now.ending);
            if let Some(operators) = operators {
                contents.operators = Arc::new(operators);
            }
            if contents.models.len() != now.models.len() {
                contents.models = Arc::new(now.models.to_vec());
            }
            follow(&mut contents.pending.rows, now.rows, &mut same.rows);
            follow(&mut contents.pending.texts, now.texts, &mut same.texts);
            follow(&mut contents.pending.buffers, now.buffers, &mut same.buffers);
            follow(&mut contents.pending.remarks, now.remarks, &mut same.remarks);
        });
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(growing) = &self.growing {
            growing.show(|shown| shown.over = true);
        }
    }
}

/// Makes `shown` what `own` is; the first `same` items are so already.
fn follow<T: Clone>(shown: &mut Arc<Vec<T>>, own: &[T], same: &mut usize) {
    if shown.len() == own.len() && *same == own.len() {
        return;
    }
    if *same == 0 {
        *shown = Arc::new(own.to_vec());
    } else {
        let shown = Arc::make_mut(shown);
        shown.truncate(*same);
        shown.extend_from_slice(&own[*same..]);
    }
    *same = own.len();
}

#[cfg(test)]
#[path = "growing_tests.rs"]
mod tests;
