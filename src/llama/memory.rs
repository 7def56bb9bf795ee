//! What a program does to the memory of a context, between its evaluations.

use crate::llama::symbols::Symbol;
use crate::registry;
use crate::session;
use ggscope_format::record::{MemoryChange, MemoryOp, Record};
use std::ffi::c_void;

static GET_MEMORY: Symbol = Symbol::new("llama_get_memory\0");

/// The memory of a context; 0 if it has none or the release has no such function.
///
/// # Safety
/// `context` is a live `llama_context`.
pub unsafe fn of_context(context: usize, caller: *const c_void) -> usize {
    let found = GET_MEMORY.find(caller);
    if found.is_null() {
        return 0;
    }
    // SAFETY: in every release that has it, the function takes a context and returns a pointer.
    let get = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(usize) -> usize>(found) };
    // SAFETY: promised by the caller.
    unsafe { get(context) }
}

/// The memory of a context has changed. `owner` is the context or its memory, whichever the program named.
pub fn changed(owner: usize, op: MemoryOp) {
    // Before its first evaluation a context has no number, and its memory is empty.
    let Some(context) = registry::with(|r| r.context_of_owner(owner)) else { return };
    if let Some(session) = session::current() {
        session.push(&Record::Memory(MemoryChange { before: session.next_eval(), context, op }));
    }
}
