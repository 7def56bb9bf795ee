//! The sessions that a server shows: traces that were named on the command line, and processes that are recorded here.
//! A request names a session by its number, never a file.

use super::problem::Problem;
use crate::query::cost::{Cost, costs};
use crate::query::memory::{Region, Wanted, memory};
use crate::query::table::{DEFAULT_MEMORY, Table};
use crate::trace::{Followed, Growing, State, Trace, TraceError, Watch};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use utoipa::ToSchema;

/// Times are read ahead so long after the first question.
const READ_AHEAD_AFTER: Duration = Duration::from_secs(1);

/// Where a session's trace comes from.
enum Source {
    /// A file; another process may be writing it.
    File(Followed),
    /// A recording of this process.
    Recording(Arc<Growing>),
}

/// A traced process, and the table of its evaluations.
pub(super) struct Session {
    pub id: String,
    /// Name of the file, without its folders.
    pub name: String,
    source: Source,
    /// As far as somebody has asked.
    table: Mutex<Option<Arc<Table>>>,
    /// Bytes of the trace that are kept in memory.
    memory: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A traced process in the list of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct SessionSummary {
    /// Number in the paths of other questions.
    pub id: String,
    /// Name of the trace file.
    pub name: String,
    /// Whether it is being recorded, was ended in order, or ends early.
    pub state: State,
    /// Whether the recording ended in order and all of the file is there.
    pub complete: bool,
    /// The traced process.
    pub pid: u32,
    /// Its command line.
    pub argv: Vec<String>,
    /// Path of its program.
    pub exe: String,
    /// Name of its first model.
    pub model: Option<String>,
    /// Layers of that model.
    pub n_layer: Option<u32>,
    /// How much is recorded: `graph`, `ops` or `tensors`.
    pub level: &'static str,
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
    /// Evaluations.
    pub evaluations: u64,
    /// Executed operators.
    pub operators: u64,
    /// Begin of the first evaluation, nanoseconds of `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// End of the last evaluation.
    pub last_ns: u64,
    /// Records that were lost.
    pub dropped_records: u64,
    /// When the process was attached, nanoseconds since 1970.
    pub started_ns: u64,
}

impl Session {
    fn new(id: usize, path: &Path, source: Source) -> Session {
        Session {
            id: id.to_string(),
            name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            source,
            table: Mutex::default(),
            memory: AtomicUsize::new(0),
        }
    }

    /// What there is now.
    pub(super) fn trace(&self) -> Arc<Trace> {
        match &self.source {
            Source::File(file) => file.trace(),
            Source::Recording(growing) => growing.trace(),
        }
    }

    pub(super) fn state(&self) -> State {
        match &self.source {
            Source::File(file) => file.state(),
            Source::Recording(growing) => growing.state(),
        }
    }

    /// Whether this process records it.
    pub(super) fn is_recorded_here(&self) -> bool {
        matches!(&self.source, Source::Recording(growing) if growing.state() == State::Live)
    }

    /// Whether its file has to be looked at to see whether it has grown.
    pub(super) fn is_followed(&self) -> bool {
        matches!(&self.source, Source::File(file) if !file.trace().complete())
    }

    /// Somebody looks on until the result is dropped.
    pub(super) fn watch(&self) -> Option<Watch> {
        match &self.source {
            Source::Recording(growing) => Some(growing.watch()),
            Source::File(_) => None,
        }
    }

    /// What there is now, and the table of it.
    pub(super) fn now(&self) -> (Arc<Trace>, Arc<Table>) {
        let mut kept = lock(&self.table);
        // Within the lock, so that the table never has more than the trace.
        let trace = self.trace();
        let table = match kept.take() {
            Some(table) if table.is_up_to_date(&trace) => table,
            Some(mut table) => {
                Arc::make_mut(&mut table).update(&trace);
                table
            }
            None => {
                let table = Arc::new(Table::new(&trace, self.memory.load(Ordering::Relaxed)));
                let (trace, ahead) = (Arc::clone(&trace), Table::clone(&table));
                // Whoever has asked is about to draw: that goes first.
                std::thread::spawn(move || {
                    std::thread::sleep(READ_AHEAD_AFTER);
                    ahead.read_ahead(&trace);
                });
                table
            }
        };
        *kept = Some(table.clone());
        (trace, table)
    }

    fn set_memory(&self, memory: usize) {
        let kept = lock(&self.table);
        self.memory.store(memory, Ordering::Relaxed);
        if let Some(table) = &*kept {
            table.set_memory(memory);
        }
    }

    /// Times by operator and layer, and what was read.
    pub(super) fn costs(&self) -> (Vec<Cost>, Vec<Region>) {
        let (trace, table) = self.now();
        (costs(&trace, &table), memory(&trace, &table, &Wanted::default()))
    }

    pub(super) fn summary(&self) -> SessionSummary {
        // Before the trace: one that has ended since is shown as live with all that it has, not the other way round.
        let state = self.state();
        let trace = self.trace();
        let (recording, totals) = (trace.recording(), trace.totals());
        SessionSummary {
            id: self.id.clone(),
            name: self.name.clone(),
            state,
            complete: trace.complete(),
            pid: recording.hello.pid,
            argv: recording.hello.argv.clone(),
            exe: recording.hello.exe.clone(),
            model: trace.model().map(|m| m.name.clone()),
            n_layer: trace.model().map(|m| m.n_layer),
            level: recording.level.name(),
            tokens: totals.prompt_tokens.saturating_add(totals.generated_tokens),
            prompt_tokens: totals.prompt_tokens,
            generated_tokens: totals.generated_tokens,
            evaluations: totals.evaluations,
            operators: totals.operators,
            first_ns: totals.first_ns,
            last_ns: totals.last_ns,
            dropped_records: totals.dropped_records,
            started_ns: recording.hello.realtime_ns,
        }
    }
}

/// The sessions of a server.
pub struct Sessions {
    list: RwLock<Vec<Arc<Session>>>,
    /// GGUF files whose residency may be asked for, whatever is recorded.
    models: Vec<PathBuf>,
    /// Bytes of all traces together that are kept in memory.
    memory: usize,
    /// Counts changes of the list and of what is recorded here.
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions {
            list: RwLock::default(),
            models: vec![],
            memory: DEFAULT_MEMORY,
            changes: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Sessions {
    /// Opens traces; their numbers are their places in `paths`. Those that other processes are writing grow.
    ///
    /// # Errors
    /// When a file cannot be read or is not a trace.
    pub fn open(paths: &[PathBuf]) -> Result<Sessions, TraceError> {
        let open = |(number, path): (usize, &PathBuf)| {
            Ok(Arc::new(Session::new(number, path, Source::File(Followed::open(path)?))))
        };
        let list = paths.iter().enumerate().map(open).collect::<Result<_, TraceError>>()?;
        Ok(Sessions { list: RwLock::new(list), ..Sessions::default() }.with_memory(DEFAULT_MEMORY))
    }

    /// Lets viewers ask which parts of these GGUF files are in memory.
    pub fn with_models(self, models: Vec<PathBuf>) -> Sessions {
        Sessions { models, ..self }
    }

    /// Keeps up to about `memory` bytes of all traces together in memory; the rest is read back from the files.
    pub fn with_memory(self, memory: usize) -> Sessions {
        let sessions = Sessions { memory, ..self };
        sessions.share_memory();
        sessions
    }

    /// Gives each session the same part of the memory.
    fn share_memory(&self) {
        let all = self.all();
        all.iter().for_each(|session| session.set_memory(self.memory / all.len()));
    }

    /// Adds a process that is recorded here. It stays in the list when it has ended.
    pub fn add(&self, growing: Arc<Growing>) {
        let changes = self.changes.clone();
        growing.on_change(move || changes.send_modify(|n| *n = n.wrapping_add(1)));
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let path = growing.path().to_owned();
        let session = Session::new(list.len(), &path, Source::Recording(growing));
        list.push(Arc::new(session));
        drop(list);
        self.share_memory();
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn get(&self, id: &str) -> Result<Arc<Session>, Problem> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|s| s.id == id).cloned().ok_or_else(|| {
            Problem::missing("id", format!("there is no session {id}"), "/api/v1/sessions lists those that there are")
        })
    }

    /// GGUF files whose residency may be asked for.
    pub(super) fn models(&self) -> &[PathBuf] {
        &self.models
    }

    /// Notices changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What was found wrong with the traces so far, with their names.
    pub fn warnings(&self) -> Vec<String> {
        let of =
            |s: &Arc<Session>| s.trace().warnings().into_iter().map(|w| format!("{}: {w}", s.name)).collect::<Vec<_>>();
        self.all().iter().flat_map(of).collect()
    }
}
