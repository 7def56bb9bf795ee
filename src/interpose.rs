//! Every symbol of the host that the shim touches, in one list. All are C functions of pointers and scalars.
//!
//! Each hook calls the host's own function exactly once, with what the program passed, and returns what it returned.
//! What the shim does around that call is wrapped in [`ours`]: it neither calls itself nor unwinds into the host.

use crate::evaluation::{self, Target};
use crate::graph::GraphRef;
use crate::host::{AbortCallback, Backend, Buffer, BufferType, CGraph, Device, Host, Reg, Sched, Tensor};
use crate::registry::{self, NOBODY};
use crate::session::{self, Session};
use crate::{async_runs, buffers, capture, clock, inputs, stderr};
use ggscope_format::BufferId;
use ggscope_format::record::{BufferEvent, Record};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });

/// Runs the shim's own code: not from within itself, without unwinding, and only on a ggml that has all that it needs.
/// `None` when it did not run to its end; a panic ends the tracing, not the host.
pub fn ours<T>(f: impl FnOnce() -> T) -> Option<T> {
    if INSIDE.try_with(|i| i.replace(true)).unwrap_or(true) {
        return None;
    }
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        if Host::is_incomplete() {
            // Says why, if anybody listens.
            session::current();
            return None;
        }
        Some(f())
    }));
    let _ = INSIDE.try_with(|i| i.set(false));
    if result.is_err() {
        session::refuse("internal error, please report it");
    }
    result.ok().flatten()
}

/// The host's functions. Without them a hook cannot do its work, and the program would not have been started without
/// the library that has them; `fallback` is what the hook then returns.
macro_rules! host_or {
    ($($fallback:expr)?) => {
        match Host::get() {
            Ok(host) => host,
            Err(reason) => {
                stderr::say(&format!("cannot pass on a call of ggml: {reason}"));
                return $($fallback)?;
            }
        }
    };
}

/// Defines the hooks under the names that the linker looks for.
macro_rules! interpose {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As the function of ggml that it stands for.
            #[cfg_attr(not(feature = "static-wrap"), unsafe(export_name = stringify!($name)))]
            #[cfg_attr(feature = "static-wrap", unsafe(export_name = concat!("__wrap_", stringify!($name))))]
            pub unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? $body
        )*
    };
}

interpose! {
    /// Learns which backends a context has.
    fn ggml_backend_sched_new(
        backends: *mut Backend, bufts: *mut BufferType, n_backends: c_int, graph_size: usize, parallel: bool, op_offload: bool,
    ) -> Sched {
        let host = host_or!(std::ptr::null_mut());
        // SAFETY: the program's own call.
        let sched = unsafe { (host.ggml_backend_sched_new)(backends, bufts, n_backends, graph_size, parallel, op_offload) };
        if !sched.is_null() && !backends.is_null() && n_backends > 0 {
            ours(|| {
                // SAFETY: the scheduler was made of these live backends.
                let list = unsafe { std::slice::from_raw_parts(backends, n_backends as usize) };
                // SAFETY: as above.
                let described = unsafe { registry::describe(host, list) };
                registry::with(|r| {
                    r.forget_scheduler(sched as usize);
                    r.scheduler(sched as usize, || described);
                });
                session::current();
            });
        }
        sched
    }

    /// Forgets the context.
    fn ggml_backend_sched_free(sched: Sched) {
        let host = host_or!();
        ours(|| registry::with(|r| r.forget_scheduler(sched as usize)));
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_sched_free)(sched) }
    }

    /// Pins what is to be read later, so that memory is reserved for it.
    fn ggml_backend_sched_reserve(sched: Sched, graph: *mut CGraph) -> bool {
        let host = host_or!(false);
        // SAFETY: the program's own arguments.
        ours(|| unsafe { pin(graph) }.inspect(|(_, pinned)| reserved(sched, *pinned)));
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_sched_reserve)(sched, graph) }
    }

    /// Pins what is to be read later, so that the estimate counts it. Not wrapped in static links, where a release
    /// that lacks it could not be linked.
    #[cfg(not(feature = "static-wrap"))]
    fn ggml_backend_sched_reserve_size(sched: Sched, graph: *mut CGraph, sizes: *mut usize) {
        let host = host_or!();
        // SAFETY: the program's own arguments.
        ours(|| drop(unsafe { pin(graph) }));
        if let Some(reserve_size) = host.ggml_backend_sched_reserve_size {
            // SAFETY: the program's own call.
            unsafe { reserve_size(sched, graph, sizes) }
        }
    }

    /// Pins what is to be read later, and finds the inputs before copies take their place.
    fn ggml_backend_sched_alloc_graph(sched: Sched, graph: *mut CGraph) -> bool {
        let host = host_or!(false);
        let is_due = ours(|| {
            // SAFETY: the program's own arguments.
            let pinned = unsafe { pin(graph) };
            let inputs = pinned.as_ref().map(|(session, _)| {
                // SAFETY: the graph is live.
                inputs::inputs(unsafe { GraphRef::new(host, session.layout, graph) })
            });
            registry::with(|r| {
                let scheduler = r.known(sched as usize)?;
                scheduler.last = None;
                scheduler.inputs = inputs.map(|inputs| (graph as usize, inputs));
                Some(scheduler.is_to_reserve(pinned?.1))
            })
        });
        if is_due.flatten() == Some(true) {
            // SAFETY: the program's own arguments, which it is about to allocate; with one backend, nothing of the graph
            // is changed.
            unsafe { (host.ggml_backend_sched_reserve)(sched, graph) };
        }
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_sched_alloc_graph)(sched, graph) }
    }

    /// An evaluation that waits for its end.
    fn ggml_backend_sched_graph_compute(sched: Sched, graph: *mut CGraph) -> c_int {
        let host = host_or!(-1);
        // SAFETY: the program's own call and arguments.
        unsafe { evaluate(Target::Sched(sched), graph, || (host.ggml_backend_sched_graph_compute)(sched, graph)) }
    }

    /// An evaluation.
    fn ggml_backend_sched_graph_compute_async(sched: Sched, graph: *mut CGraph) -> c_int {
        let host = host_or!(-1);
        // SAFETY: the program's own call and arguments.
        unsafe { evaluate(Target::Sched(sched), graph, || (host.ggml_backend_sched_graph_compute_async)(sched, graph)) }
    }

    /// A backend computes, on its own or for a scheduler, and waits.
    fn ggml_backend_graph_compute(backend: Backend, graph: *mut CGraph) -> c_int {
        let host = host_or!(-1);
        // SAFETY: the program's own call and arguments. The run is seen when this calls the function below.
        unsafe { evaluate(Target::Backend(backend), graph, || (host.ggml_backend_graph_compute)(backend, graph)) }
    }

    /// A backend computes, on its own or for a scheduler.
    fn ggml_backend_graph_compute_async(backend: Backend, graph: *mut CGraph) -> c_int {
        let host = host_or!(-1);
        let run = || {
            // SAFETY: the program's own call and arguments; the token is ended after its backend returned.
            unsafe {
                let token = ours(|| evaluation::begin_run(backend, graph)).flatten();
                let status = (host.ggml_backend_graph_compute_async)(backend, graph);
                if let Some(token) = token {
                    ours(|| evaluation::end_run(token));
                }
                status
            }
        };
        // SAFETY: as above. Inside a scheduler's evaluation this begins none of its own.
        unsafe { evaluate(Target::Backend(backend), graph, run) }
    }

    /// The program waits for all backends of a scheduler. In most builds this calls the function below for each.
    fn ggml_backend_sched_synchronize(sched: Sched) {
        let host = host_or!();
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_sched_synchronize)(sched) };
        ours(|| {
            let backends = registry::with(|r| r.known(sched as usize).map(|s| s.backends.clone()));
            backends.iter().flat_map(|b| b.iter()).for_each(|b| async_runs::synchronized(b.backend as Backend));
        });
    }

    /// The program waits for a backend.
    fn ggml_backend_synchronize(backend: Backend) {
        let host = host_or!();
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_synchronize)(backend) };
        ours(|| async_runs::synchronized(backend));
    }

    /// A scheduler takes what a device computed to another device.
    fn ggml_backend_tensor_copy(src: *mut Tensor, dst: *mut Tensor) {
        let host = host_or!();
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_tensor_copy)(src, dst) };
        ours(|| {
            evaluation::copied(src);
            // SAFETY: the program's own, live tensor.
            unsafe { evaluation::overwritten(dst, 0, (host.ggml_nbytes)(dst)) }
        });
    }

    /// The program fills a tensor: a cache, when it restores a sequence that it has saved.
    fn ggml_backend_tensor_set(tensor: *mut Tensor, data: *const c_void, offset: usize, size: usize) {
        let host = host_or!();
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_tensor_set)(tensor, data, offset, size) };
        // SAFETY: the program's own, live tensor.
        ours(|| unsafe { evaluation::overwritten(tensor, offset, size) });
    }

    /// Forgets the backend before its address can be another's; its clock goes after it.
    fn ggml_backend_free(backend: Backend) {
        let host = host_or!();
        let state = ours(|| {
            async_runs::forget(backend);
            registry::with(|r| r.take_backend(backend))
        });
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_free)(backend) };
        drop(state);
    }

    /// Hands out our way to set an abort callback, so that the program's own one keeps being asked.
    fn ggml_backend_reg_get_proc_address(reg: Reg, name: *const c_char) -> *mut c_void {
        let host = host_or!(std::ptr::null_mut());
        // SAFETY: the program's own call.
        let found = unsafe { (host.ggml_backend_reg_get_proc_address)(reg, name) };
        // SAFETY: the program passed a string.
        let is_setter = !name.is_null() && unsafe { CStr::from_ptr(name) } == c"ggml_backend_set_abort_callback";
        if is_setter && !found.is_null() { set_abort_callback as *mut c_void } else { found }
    }

    /// The same, as older releases of llama.cpp do it before every evaluation. Not wrapped in static links, whose backends
    /// are asked for the setter.
    #[cfg(not(feature = "static-wrap"))]
    fn ggml_backend_cpu_set_abort_callback(backend: Backend, callback: AbortCallback, data: *mut c_void) {
        // SAFETY: the program's own arguments.
        unsafe { set_abort_callback(backend, callback, data) }
    }

    /// A buffer comes.
    fn ggml_backend_buft_alloc_buffer(buft: BufferType, size: usize) -> Buffer {
        let host = host_or!(std::ptr::null_mut());
        // SAFETY: the program's own call.
        let buffer = unsafe { (host.ggml_backend_buft_alloc_buffer)(buft, size) };
        // SAFETY: the buffer was just allocated.
        ours(|| unsafe { allocated(host, buffer) });
        buffer
    }

    /// A buffer comes that is a part of the program's own memory, such as a mapped file.
    fn ggml_backend_dev_buffer_from_host_ptr(device: Device, ptr: *mut c_void, size: usize, max_tensor_size: usize) -> Buffer {
        let host = host_or!(std::ptr::null_mut());
        // SAFETY: the program's own call.
        let buffer = unsafe { (host.ggml_backend_dev_buffer_from_host_ptr)(device, ptr, size, max_tensor_size) };
        // SAFETY: the buffer was just made.
        ours(|| unsafe { allocated(host, buffer) });
        buffer
    }

    /// A buffer goes.
    fn ggml_backend_buffer_free(buffer: Buffer) {
        let host = host_or!();
        if !buffer.is_null() {
            // SAFETY: the program is about to free it, so it is live.
            ours(|| unsafe { released(host, buffer) });
        }
        // SAFETY: the program's own call.
        unsafe { (host.ggml_backend_buffer_free)(buffer) }
    }
}

/// What a program gets that asks a registration for `ggml_backend_set_abort_callback`.
///
/// # Safety
/// As of ggml's function of this name: the backend is live, and the callback may be called with `data` until another is set.
unsafe extern "C" fn set_abort_callback(backend: Backend, callback: AbortCallback, data: *mut c_void) {
    let host = host_or!();
    // SAFETY: the program passes a live backend.
    let Some(set) = (unsafe { registry::real_setter(host, backend) }) else { return };
    let given = ours(|| registry::with(|r| r.program_sets_abort_callback(backend, callback, data)));
    let (callback, data) = given.unwrap_or((callback, data));
    // SAFETY: the backend's own setter, with the program's callback or with the clock that asks it.
    unsafe { set(backend, callback, data) }
}

/// Runs `compute`, and records it as an evaluation unless one is going on already.
///
/// # Safety
/// `target` and `graph` are live until `compute` has returned.
unsafe fn evaluate(target: Target, graph: *mut CGraph, compute: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: promised by the caller.
    let began = ours(|| unsafe { evaluation::begin(target, graph) }).unwrap_or(false);
    let status = compute();
    if began {
        // SAFETY: promised by the caller.
        ours(|| unsafe { evaluation::end(status) });
    }
    status
}

/// # Safety
/// The graph is live and its allocation is still to come.
unsafe fn pin(graph: *mut CGraph) -> Option<(Arc<Session>, (u64, u32))> {
    let session = session::current()?;
    let wanted = session.wanted();
    // SAFETY: promised by the caller.
    unsafe { capture::pin(session.host, session.layout, graph, &wanted) };
    let pinned = if wanted.is_empty() { NOBODY } else { (session.number, wanted.number) };
    Some((session, pinned))
}

/// The scheduler's memory is being reserved for what is pinned so.
fn reserved(sched: Sched, pinned: (u64, u32)) {
    registry::with(|r| {
        if let Some(scheduler) = r.known(sched as usize) {
            scheduler.reserved = pinned;
        }
    });
}

/// # Safety
/// `buffer` is null or live.
unsafe fn allocated(host: &Host, buffer: Buffer) {
    // SAFETY: promised by the caller.
    if buffer.is_null() || unsafe { is_probe(host, buffer) } {
        return;
    }
    let id = registry::with(|r| {
        r.buffers.changed();
        r.buffers.id(buffer)
    });
    // SAFETY: promised by the caller.
    unsafe { report(host, buffer, id, true) };
}

/// # Safety
/// `buffer` is live.
unsafe fn released(host: &Host, buffer: Buffer) {
    // SAFETY: promised by the caller.
    let is_probe = unsafe { is_probe(host, buffer) };
    // Before it is free and another buffer can be at its address.
    let forgotten = registry::with(|r| (!is_probe || r.buffers.is_known(buffer)).then(|| r.buffers.forget(buffer)));
    if let Some(id) = forgotten.filter(|_| !is_probe) {
        // SAFETY: promised by the caller.
        unsafe { report(host, buffer, id, false) };
    }
}

/// llama.cpp makes buffers without memory to ask what a backend supports. They hold nothing and are no events.
///
/// # Safety
/// `buffer` is live.
unsafe fn is_probe(host: &Host, buffer: Buffer) -> bool {
    // SAFETY: promised by the caller.
    unsafe { (host.ggml_backend_buffer_get_size)(buffer) == 0 }
}

/// # Safety
/// `buffer` is live.
unsafe fn report(host: &Host, buffer: Buffer, id: BufferId, allocated: bool) {
    if let Some(session) = session::current() {
        // SAFETY: promised by the caller.
        let buffer = unsafe { buffers::describe(host, buffer, id) };
        session.push(&Record::Buffer(BufferEvent { time: clock::monotonic(), allocated, buffer }));
    }
}
