//! What the shim knows of the host's schedulers, backends and buffers, whether a collector is there or not.
//!
//! One lock holds it all. It is never held while the host's code runs, and fork handlers take it, so a child process
//! finds it in order.

use crate::buffers::Buffers;
use crate::cells::Cells;
use crate::graph::GraphRef;
use crate::host::{self, AbortCallback, Backend, Host, Reg, SetAbortCallback};
use crate::identity::Places;
use crate::inputs::Inputs;
use crate::op_clock::{OpClock, op_clock};
use ggscope_format::GraphId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

/// `GGML_BACKEND_DEVICE_TYPE_CPU`.
const DEVICE_CPU: i32 = 0;

/// Memory that was reserved while nobody wanted to capture anything.
pub const NOBODY: (u64, u32) = (u64::MAX, 0);

/// A backend that a scheduler uses.
#[derive(Clone)]
pub struct BackendInfo {
    /// The host's pointer.
    pub backend: usize,
    /// `ggml_backend_name`.
    pub name: String,
    /// Whether it computes before it returns, and calls the clock.
    pub cpu: bool,
}

impl BackendInfo {
    /// Whether waiting for it only waits until it was asked: ggml's RPC answers to reading, not to computing.
    pub fn only_sends(&self) -> bool {
        self.name.starts_with("RPC")
    }
}

/// A scheduler. llama.cpp makes one for each context, and sometimes a new one for the same context.
pub struct Scheduler {
    /// Number of the context that it computes for, from its first evaluation on.
    context: Option<u32>,
    /// Its backends; a run's device is an index into this list.
    pub backends: Arc<Vec<BackendInfo>>,
    /// The graph that was last allocated or evaluated, and its inputs, if they were looked for.
    pub inputs: Option<(usize, Inputs)>,
    /// What is known of the cells of its cache. `None` if batches say which sequences its tokens belong to.
    pub cells: Option<Cells>,
    /// The graph that was last evaluated, if it was not allocated anew since.
    pub last: Option<Arc<LastGraph>>,
    /// For which session, and what is captured in it, its memory was last reserved.
    pub reserved: (u64, u32),
}

/// The graph of the evaluation before.
pub struct LastGraph {
    /// The host's pointer.
    pub graph: usize,
    /// Where its nodes lie.
    pub places: Places,
    /// What it is called in the session.
    pub id: GraphId,
    /// The session, and what was captured in it.
    pub session: (u64, u32),
}

impl LastGraph {
    /// Whether the session computes it again. A graph that has no memory yet may be any.
    pub fn is(&self, graph: GraphRef<'_>, session: (u64, u32)) -> bool {
        let is_allocated = !graph.node(0).data().is_null();
        is_allocated && self.graph == graph.ptr() as usize && self.session == session && self.places.are_of(graph)
    }
}

impl Scheduler {
    /// Whether memory has to be reserved for a graph whose pins the scheduler's plan does not know, because they were not
    /// wanted yet when it was made: the allocator goes by its plan as long as the graph fits. With several backends that
    /// would put copies into the graph, which only the allocation itself may do. It is to be reserved only once.
    pub fn is_to_reserve(&mut self, pinned: (u64, u32)) -> bool {
        let is_due = pinned != NOBODY && self.reserved != pinned && self.backends.len() == 1;
        if is_due {
            self.reserved = pinned;
        }
        is_due
    }
}

/// What is known of one backend.
#[derive(Default)]
pub struct BackendState {
    clock: Option<Box<OpClock>>,
    /// The program's abort callback and its data's address.
    program: (AbortCallback, usize),
}

/// All of it.
#[derive(Default)]
pub struct Registry {
    schedulers: HashMap<usize, Scheduler>,
    backends: HashMap<usize, BackendState>,
    /// The functions that set abort callbacks, by registration.
    setters: HashMap<usize, SetAbortCallback>,
    /// Backend buffers.
    pub buffers: Buffers,
    /// Numbers and memories of llama.cpp's contexts that have evaluated something.
    contexts: HashMap<usize, Context>,
    n_contexts: u32,
}

/// A `llama_context`.
struct Context {
    number: u32,
    /// Its `llama_memory_t`, 0 if it has none.
    memory: usize,
}

/// The one registry of the process.
pub static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Runs `f` with the registry. Never call the host from inside.
pub fn with<T>(f: impl FnOnce(&mut Registry) -> T) -> T {
    f(REGISTRY.lock().get_or_insert_default())
}

impl Registry {
    /// The scheduler, with its number and its backends, made on first sight.
    pub fn scheduler(&mut self, key: usize, backends: impl FnOnce() -> Vec<BackendInfo>) -> &mut Scheduler {
        self.schedulers.entry(key).or_insert_with(|| Scheduler {
            context: None,
            backends: Arc::new(backends()),
            inputs: None,
            cells: Some(Cells::default()),
            last: None,
            reserved: NOBODY,
        })
    }

    /// Number of the context that a scheduler evaluates for: that of `owner`, the `llama_context`, if it is certain, else
    /// the one that was certain before, else a number of its own. Contexts are numbered in the order of their first
    /// evaluation. `memory` asks for the memory of a new context.
    pub fn context(&mut self, key: usize, owner: Option<(usize, usize)>) -> u32 {
        let next = self.n_contexts;
        let known = self.schedulers.get(&key).and_then(|s| s.context);
        let number = match owner {
            Some((owner, memory)) => self.contexts.entry(owner).or_insert(Context { number: next, memory }).number,
            None => known.unwrap_or(next),
        };
        if number == next {
            self.n_contexts += 1;
        }
        if let Some(scheduler) = self.schedulers.get_mut(&key) {
            scheduler.context = Some(number);
        }
        number
    }

    /// Whether the memory of a context is not known yet.
    pub fn is_new_context(&self, owner: usize) -> bool {
        !self.contexts.contains_key(&owner)
    }

    /// Number of the context that has this address, or whose memory has it.
    pub fn context_of_owner(&self, owner: usize) -> Option<u32> {
        let by_memory = || self.contexts.values().find(|c| owner != 0 && c.memory == owner);
        self.contexts.get(&owner).or_else(by_memory).map(|context| context.number)
    }

    /// A context is about to be freed.
    pub fn forget_context(&mut self, owner: usize) {
        self.contexts.remove(&owner);
    }

    /// The scheduler, if it is known.
    pub fn known(&mut self, key: usize) -> Option<&mut Scheduler> {
        self.schedulers.get_mut(&key)
    }

    /// Whether the scheduler is known.
    pub fn is_known(&self, key: usize) -> bool {
        self.schedulers.contains_key(&key)
    }

    /// A scheduler or a backend that was used like one is gone.
    pub fn forget_scheduler(&mut self, key: usize) {
        self.schedulers.remove(&key);
    }

    /// Forgets a backend that the program is about to free. As soon as it is free, another thread can be given a backend at
    /// the same address, so this comes first; the backend itself may call its clock until then, so what is returned is to
    /// be dropped afterwards.
    #[must_use = "the backend may call its clock until it is freed"]
    pub fn take_backend(&mut self, backend: Backend) -> Option<BackendState> {
        self.forget_scheduler(backend as usize);
        self.backends.remove(&(backend as usize))
    }

    /// The clock of a backend, if one is installed. It stays valid until the backend is freed.
    pub fn clock(&self, backend: usize) -> Option<*const OpClock> {
        self.backends.get(&backend)?.clock.as_deref().map(std::ptr::from_ref)
    }

    /// The program sets its abort callback. Returns what the backend is to be given.
    pub fn program_sets_abort_callback(
        &mut self,
        backend: Backend,
        callback: AbortCallback,
        data: *mut c_void,
    ) -> (AbortCallback, *mut c_void) {
        let state = self.backends.entry(backend as usize).or_default();
        state.program = (callback, data as usize);
        match &state.clock {
            None => (callback, data),
            Some(clock) => {
                clock.set_program_callback(callback, data);
                (Some(op_clock), std::ptr::from_ref(&**clock).cast_mut().cast())
            }
        }
    }

    /// Makes the clock of a backend that has none. Returns what the backend is to be given.
    fn make_clock(&mut self, backend: usize) -> Option<*mut c_void> {
        let state = self.backends.entry(backend).or_default();
        if state.clock.is_some() {
            return None;
        }
        let (callback, data) = state.program;
        let clock = state.clock.insert(OpClock::new(callback, data as *mut c_void));
        Some(std::ptr::from_ref(&**clock).cast_mut().cast())
    }
}

/// Asks the host about backends.
///
/// # Safety
/// The backends are live.
pub unsafe fn describe(host: &Host, backends: &[Backend]) -> Vec<BackendInfo> {
    let describe = |&backend: &Backend| {
        // SAFETY: the backend is live.
        unsafe {
            let device = (host.ggml_backend_get_device)(backend);
            BackendInfo {
                backend: backend as usize,
                name: crate::host::text((host.ggml_backend_name)(backend)),
                cpu: !device.is_null() && (host.ggml_backend_dev_type)(device) == DEVICE_CPU,
            }
        }
    };
    backends.iter().map(describe).collect()
}

/// Installs the operator clock on the CPU backends that have none yet.
///
/// # Safety
/// The backends are live and none of them is computing.
pub unsafe fn install_clocks(host: &Host, backends: &[BackendInfo]) {
    for info in backends.iter().filter(|b| b.cpu && with(|r| r.clock(b.backend)).is_none()) {
        // SAFETY: the backend is live.
        let Some(set) = (unsafe { real_setter(host, info.backend as Backend) }) else { continue };
        if let Some(clock) = with(|r| r.make_clock(info.backend)) {
            // SAFETY: the setter is the backend's own; the clock is dropped only when the backend is freed.
            unsafe { set(info.backend as Backend, Some(op_clock), clock) };
        }
    }
}

/// The backend's own function to set its abort callback.
///
/// # Safety
/// The backend is live.
pub unsafe fn real_setter(host: &Host, backend: Backend) -> Option<SetAbortCallback> {
    // SAFETY: the backend is live; its device and registration live as long as the process.
    let (reg, found) = unsafe {
        let device = (host.ggml_backend_get_device)(backend);
        let reg: Reg = if device.is_null() { return None } else { (host.ggml_backend_dev_backend_reg)(device) };
        (reg, (host.ggml_backend_reg_get_proc_address)(reg, c"ggml_backend_set_abort_callback".as_ptr()))
    };
    let known = with(|r| r.setters.get(&(reg as usize)).copied());
    known.or_else(|| {
        let setter = host::cpu_setter(reg, found)?;
        with(|r| r.setters.insert(reg as usize, setter));
        Some(setter)
    })
}
