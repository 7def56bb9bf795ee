//! The sessions that a server shows: traces that were named on the command line, and processes that are recorded here.
//! A request names a session by its number, never a file. However many there are, what they take in memory is bounded.

use super::model_store::Models;
use super::problem::Problem;
use super::session::Session;
use ggscope_attach::Control;
use ggscope_compute::open_device;
use ggscope_compute::{Compute, Device, Error};
use ggscope_query::table::DEFAULT_MEMORY;
use ggscope_trace::{Growing, TraceError};
use parking_lot::RwLock;
use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A recording that has ended is let go when nobody has asked for it for so long.
const IDLE: Duration = Duration::from_secs(60);
/// Recordings that have ended have one in so many parts of the memory for what is not a cache.
const PART_OF_ENDED: usize = 4;
/// Notices that are kept.
const MAX_NOTICES: usize = 20;

/// The sessions of a server.
pub struct Sessions {
    list: RwLock<Vec<Arc<Session>>>,
    /// GGUF files that may be asked about.
    models: Models,
    /// Those of them that were named by the user.
    named: Vec<PathBuf>,
    /// Where analyses are computed.
    device: Device,
    /// Bytes of all traces together that are kept in memory.
    memory: usize,
    /// What a viewer should know besides: programs that are not recorded, and why.
    notices: RwLock<Vec<String>>,
    /// Counts changes of the list and of what is recorded here.
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions {
            list: RwLock::default(),
            models: Models::default(),
            named: vec![],
            device: Device::Auto,
            memory: DEFAULT_MEMORY,
            notices: RwLock::default(),
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
        let open = |(number, path): (usize, &PathBuf)| Ok(Arc::new(Session::open(number, path)?));
        let list = paths.iter().enumerate().map(open).collect::<Result<_, TraceError>>()?;
        Ok(Sessions { list: RwLock::new(list), ..Sessions::default() }.with_memory(DEFAULT_MEMORY))
    }

    /// Lets viewers ask about these GGUF files, and which parts of them are in memory.
    pub fn with_models(self, named: Vec<PathBuf>) -> Sessions {
        self.models.add(named.iter().cloned());
        Sessions { named, ..self }
    }

    /// Computes analyses on this device.
    pub fn with_device(self, device: Device) -> Sessions {
        Sessions { device, ..self }
    }

    /// Opens that device. With `auto`, no GPU that a process uses which is recorded here.
    ///
    /// # Errors
    /// When a GPU was asked for that is not there.
    pub(super) fn compute(&self) -> Result<Compute, Error> {
        let recorded = self.all().into_iter().filter(|session| session.is_recorded_here());
        let traced: Vec<u32> = recorded.filter_map(|s| Some(s.trace().ok()?.recording().hello.pid)).collect();
        open_device(self.device, &traced)
    }

    /// Keeps up to about `memory` bytes of all traces together in memory; the rest is read back from the files.
    pub fn with_memory(self, memory: usize) -> Sessions {
        let sessions = Sessions { memory, ..self };
        sessions.make_room();
        sessions
    }

    /// Makes room: lets go of recordings that have ended and that nobody asks for, and of those that were asked for the
    /// longest ago if all together take more than their part of the memory. The rest of the memory is shared alike by
    /// those that are left.
    pub(super) fn make_room(&self) {
        let mut held: Vec<(Instant, usize, Arc<Session>)> = vec![];
        let mut others = 0;
        for session in self.all() {
            match session.held() {
                0 => others += usize::from(!session.is_released()),
                bytes => held.push((session.asked(), bytes, session)),
            }
        }
        held.sort_by_key(|h| Reverse(h.0));
        let (mut open, mut sum) = (0, 0_usize);
        for (place, (asked, bytes, session)) in held.iter().enumerate() {
            sum = sum.saturating_add(*bytes);
            // The one that was asked for last is about to be asked for again.
            if asked.elapsed() > IDLE || (place > 0 && sum > self.memory / PART_OF_ENDED) {
                session.release();
            } else {
                open += 1;
            }
        }
        let rest = self.memory - sum.min(self.memory / PART_OF_ENDED);
        self.all().iter().for_each(|session| session.set_memory(rest / (open + others).max(1)));
    }

    /// Adds a process that is recorded here; `control` changes what is captured of it. It stays in the list when it has ended.
    pub fn add(&self, growing: Arc<Growing>, control: Arc<Control>) {
        let changes = self.changes.clone();
        growing.on_change(move || changes.send_modify(|n| *n = n.wrapping_add(1)));
        let mut list = self.list.write();
        let session = Session::recorded(list.len(), growing, control);
        list.push(Arc::new(session));
        drop(list);
        self.make_room();
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.list.read().clone()
    }

    pub(super) fn get(&self, id: &str) -> Result<Arc<Session>, Problem> {
        let list = self.list.read();
        let found = list.iter().find(|s| s.id == id).cloned().ok_or_else(|| {
            Problem::missing("id", format!("there is no session {id}"), "/api/v1/sessions lists those that there are")
        });
        drop(list);
        let session = found?;
        session.is_asked_for();
        if session.is_released() {
            self.make_room();
        }
        Ok(session)
    }

    /// Tells viewers of something that concerns no session.
    pub fn notice(&self, text: String) {
        let mut notices = self.notices.write();
        if notices.len() >= MAX_NOTICES {
            notices.remove(0);
        }
        notices.push(text);
        drop(notices);
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(super) fn notices(&self) -> Vec<String> {
        self.notices.read().clone()
    }

    /// The models that may be asked about.
    pub(super) fn models(&self) -> &Models {
        &self.models
    }

    /// GGUF files that the user has named.
    pub(super) fn named_models(&self) -> &[PathBuf] {
        &self.named
    }

    /// Notices changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What was found wrong with the traces so far, with their names.
    pub fn warnings(&self) -> Vec<String> {
        let of = |s: &Arc<Session>| s.warnings().into_iter().map(|w| format!("{}: {w}", s.name)).collect::<Vec<_>>();
        self.all().iter().flat_map(of).collect()
    }
}
