//! The functions of llama.cpp that the shim stands in front of. All are optional: a program that does not call them, or
//! reaches them in another way, runs as before.
//!
//! Each hook is entered through a few instructions that add the caller's return address as one more argument, so that
//! the call goes on to the copy of llama.cpp that it was meant for ([`crate::llama::symbols`]). A function that takes a
//! struct by value is never called from here: the stack stays as the caller left it, for any size of the struct,
//! and the hook jumps on after it has looked.

use crate::interpose::ours;
use crate::llama::by_value::Head;
use crate::llama::entry::Entry;
use crate::llama::symbols::Symbol;
use crate::llama::{call, ext, memory};
use crate::registry;
use ggscope_format::record::MemoryOp;
use std::ffi::{c_int, c_void};

/// The call cannot be passed on, because no library has the function: what llama.cpp returns for a failure.
const FAILED: i32 = -1;

/// Where a call goes on whose function no library has.
extern "C" fn absent() -> i32 {
    FAILED
}

/// Defines hooks of functions of pointers and scalars. `$last` is the register of the argument after the last.
macro_rules! hooks {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?, $x86:literal, $arm:literal, $(else $fallback:expr,)? |$real:ident, $caller:ident| $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As the function of llama.cpp that it stands for.
            #[unsafe(naked)]
            #[unsafe(export_name = stringify!($name))]
            pub unsafe extern "C" fn $name() {
                unsafe extern "C" fn inner($($arg: $ty,)* $caller: *const c_void) $(-> $ret)? {
                    static REAL: Symbol = Symbol::new(concat!(stringify!($name), "\0"));
                    let found = REAL.find($caller);
                    if found.is_null() {
                        return $($fallback)?;
                    }
                    // SAFETY: the function of this name has this signature in every release that has it: pointers and
                    // scalars only.
                    let $real = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($ty),*) $(-> $ret)?>(found) };
                    $body
                }
                #[cfg(target_arch = "x86_64")]
                std::arch::naked_asm!("endbr64", concat!("mov ", $x86, ", [rsp]"), "jmp {inner}", inner = sym inner);
                #[cfg(target_arch = "aarch64")]
                std::arch::naked_asm!("bti c", concat!("mov ", $arm, ", x30"), "b {inner}", inner = sym inner);
            }
        )*
    };
}

hooks! {
    /// A batch is made.
    fn llama_batch_ext_init(context: usize) -> usize, "rsi", "x1", else 0, |real, caller| {
        // SAFETY: the program's own call.
        let batch = unsafe { real(context) };
        ours(|| ext::made(batch));
        batch
    }

    /// A batch is freed.
    fn llama_batch_ext_free(batch: usize), "rsi", "x1", |real, caller| {
        ours(|| ext::freed(batch));
        // SAFETY: the program's own call.
        unsafe { real(batch) }
    }

    /// A batch is emptied.
    fn llama_batch_ext_clear(batch: usize), "rsi", "x1", |real, caller| {
        // SAFETY: the program's own call.
        unsafe { real(batch) };
        ours(|| ext::cleared(batch));
    }

    /// A token without an id is added.
    fn llama_batch_ext_add(batch: usize, sequence: i32) -> i32, "rdx", "x2", else FAILED, |real, caller| {
        // SAFETY: the program's own call.
        let place = unsafe { real(batch, sequence) };
        ours(|| if place >= 0 { ext::added(batch, Some(place), Entry::of(sequence)) });
        place
    }

    /// A token is added.
    fn llama_batch_ext_add_token(batch: usize, sequence: i32, id: i32) -> i32, "rcx", "x3", else FAILED, |real, caller| {
        // SAFETY: the program's own call.
        let place = unsafe { real(batch, sequence, id) };
        ours(|| if place >= 0 { ext::added(batch, Some(place), Entry { id: Some(id), ..Entry::of(sequence) }) });
        place
    }

    /// A token is added to another sequence.
    fn llama_batch_ext_add_seq(batch: usize, place: i32, sequence: i32) -> bool, "rcx", "x3", else false, |real, caller| {
        // SAFETY: the program's own call.
        let done = unsafe { real(batch, place, sequence) };
        ours(|| if done { ext::changed(batch, place, |e| e.add_sequence(sequence)) });
        done
    }

    /// A token gets its position.
    fn llama_batch_ext_set_pos(batch: usize, place: i32, position: *const i32) -> bool, "rcx", "x3", else false, |real, caller| {
        // SAFETY: the program's own call.
        let done = unsafe { real(batch, place, position) };
        // SAFETY: llama.cpp has just read the position, or has refused it.
        ours(|| if done { let position = unsafe { *position }; ext::changed(batch, place, |e| e.position = Some(position)) });
        done
    }

    /// The program asks for a token's logits, or does not.
    fn llama_batch_ext_set_output_logits(batch: usize, place: i32, value: bool) -> bool, "rcx", "x3", else false, |real, caller| {
        // SAFETY: the program's own call.
        let done = unsafe { real(batch, place, value) };
        ours(|| if done { ext::changed(batch, place, |e| e.is_output = value) });
        done
    }

    /// The program asks for a token's embedding, or does not.
    fn llama_batch_ext_set_output_embd(batch: usize, place: i32, value: bool) -> bool, "rcx", "x3", else false, |real, caller| {
        // SAFETY: the program's own call.
        let done = unsafe { real(batch, place, value) };
        ours(|| if done { ext::changed(batch, place, |e| e.is_output = value) });
        done
    }

    /// A batch is evaluated.
    fn llama_process(context: usize, kind: c_int, batch: usize) -> i32, "rcx", "x3", else FAILED, |real, caller| {
        ours(|| call::begin(context, batch, caller as usize));
        // SAFETY: the program's own call.
        let status = unsafe { real(context, kind, batch) };
        ours(call::end);
        status
    }

    /// A context is freed.
    fn llama_free(context: usize), "rsi", "x1", |real, caller| {
        // Before it is freed: afterwards another thread may get its address for a new one.
        ours(|| registry::with(|r| r.forget_context(context)));
        // SAFETY: the program's own call.
        unsafe { real(context) }
    }

    /// All sequences are forgotten.
    fn llama_memory_clear(owner: usize, data: bool), "rdx", "x2", |real, caller| {
        // SAFETY: the program's own call.
        unsafe { real(owner, data) };
        ours(|| memory::changed(owner, MemoryOp::Clear));
    }

    /// All sequences but one are forgotten.
    fn llama_memory_seq_keep(owner: usize, sequence: i32), "rdx", "x2", |real, caller| {
        // SAFETY: the program's own call.
        unsafe { real(owner, sequence) };
        ours(|| memory::changed(owner, MemoryOp::Keep { sequence }));
    }

    /// Positions of a sequence are divided.
    fn llama_memory_seq_div(owner: usize, sequence: i32, begin: i32, end: i32, by: c_int), "r9", "x5", |real, caller| {
        // SAFETY: the program's own call.
        unsafe { real(owner, sequence, begin, end, by) };
        ours(|| memory::changed(owner, MemoryOp::Divide { sequence, positions: (begin, end), by }));
    }

    /// A saved sequence is restored.
    fn llama_state_seq_set_data(context: usize, data: usize, size: usize, sequence: i32) -> usize, "r8", "x4", else 0, |real, caller| {
        // SAFETY: the program's own call.
        let read = unsafe { real(context, data, size, sequence) };
        ours(|| memory::changed(context, MemoryOp::Restore { sequence }));
        read
    }

    /// A saved sequence is restored.
    fn llama_state_seq_set_data_ext(context: usize, data: usize, size: usize, sequence: i32, flags: u32) -> usize, "r9", "x5", else 0, |real, caller| {
        // SAFETY: the program's own call.
        let read = unsafe { real(context, data, size, sequence, flags) };
        ours(|| memory::changed(context, MemoryOp::Restore { sequence }));
        read
    }

    /// A saved context is restored.
    fn llama_state_set_data(context: usize, data: usize, size: usize) -> usize, "rcx", "x3", else 0, |real, caller| {
        // SAFETY: the program's own call.
        let read = unsafe { real(context, data, size) };
        ours(|| memory::changed(context, MemoryOp::Restore { sequence: -1 }));
        read
    }

    /// Older releases: all sequences are forgotten.
    fn llama_kv_self_clear(context: usize), "rsi", "x1", |real, caller| {
        // SAFETY: the program's own call.
        unsafe { real(context) };
        ours(|| memory::changed(context, MemoryOp::Clear));
    }

    /// Before those: all sequences are forgotten.
    fn llama_kv_cache_clear(context: usize), "rsi", "x1", |real, caller| {
        // SAFETY: the program's own call.
        unsafe { real(context) };
        ours(|| memory::changed(context, MemoryOp::Clear));
    }
}

/// Defines the hooks that every generation of llama.cpp has under other names. `owner` is the memory of a context, or the
/// context itself in older releases.
macro_rules! sequence_hooks {
    ($($remove:ident, $copy:ident, $shift:ident;)*) => {
        hooks! {
            $(
                /// Positions of a sequence are forgotten.
                fn $remove(owner: usize, sequence: i32, begin: i32, end: i32) -> bool, "r8", "x4", else false, |real, caller| {
                    // SAFETY: the program's own call.
                    let done = unsafe { real(owner, sequence, begin, end) };
                    ours(|| if done { memory::changed(owner, MemoryOp::Remove { sequence, positions: (begin, end) }) });
                    done
                }

                /// A sequence gets positions of another.
                fn $copy(owner: usize, from: i32, to: i32, begin: i32, end: i32), "r9", "x5", |real, caller| {
                    // SAFETY: the program's own call.
                    unsafe { real(owner, from, to, begin, end) };
                    ours(|| memory::changed(owner, MemoryOp::Copy { from, to, positions: (begin, end) }));
                }

                /// Positions of a sequence are moved.
                fn $shift(owner: usize, sequence: i32, begin: i32, end: i32, by: i32), "r9", "x5", |real, caller| {
                    // SAFETY: the program's own call.
                    unsafe { real(owner, sequence, begin, end, by) };
                    ours(|| memory::changed(owner, MemoryOp::Shift { sequence, positions: (begin, end), by }));
                }
            )*
        }
    };
}

sequence_hooks! {
    llama_memory_seq_rm, llama_memory_seq_cp, llama_memory_seq_add;
    llama_kv_self_seq_rm, llama_kv_self_seq_cp, llama_kv_self_seq_add;
    llama_kv_cache_seq_rm, llama_kv_cache_seq_cp, llama_kv_cache_seq_add;
}

/// Defines hooks of functions that take a struct by value: `look` gets the first two arguments, where the struct begins,
/// and the return address; the function itself then finds all registers and the stack as the caller left them.
macro_rules! by_value {
    ($($(#[$doc:meta])* fn $name:ident, struct in $arm_struct:literal, $look:path;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As the function of llama.cpp that it stands for.
            #[unsafe(naked)]
            #[unsafe(export_name = stringify!($name))]
            pub unsafe extern "C" fn $name() {
                unsafe extern "C" fn inner(first: usize, second: usize, batch: usize, caller: *const c_void) -> *const c_void {
                    static REAL: Symbol = Symbol::new(concat!(stringify!($name), "\0"));
                    let found = REAL.find(caller);
                    ours(|| $look(first, second, batch, caller as usize));
                    if found.is_null() { absent as *const c_void } else { found }
                }
                // The System V ABI passes a struct of more than 16 bytes in the caller's stack, above the return address.
                // Seven words are pushed, so that the stack is aligned to 16 bytes at the call.
                #[cfg(target_arch = "x86_64")]
                std::arch::naked_asm!(
                    "endbr64",
                    "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
                    "lea rdx, [rsp + 64]",
                    "mov rcx, [rsp + 56]",
                    "call {inner}",
                    "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                    "jmp rax",
                    inner = sym inner
                );
                // AAPCS64 passes a pointer to a copy of it.
                #[cfg(target_arch = "aarch64")]
                std::arch::naked_asm!(
                    "bti c",
                    "stp x29, x30, [sp, #-80]!",
                    "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]",
                    concat!("mov x2, ", $arm_struct),
                    "mov x3, x30",
                    "bl {inner}",
                    "mov x16, x0",
                    "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]", "ldp x6, x7, [sp, #64]",
                    "ldp x29, x30, [sp], #80",
                    "br x16",
                    inner = sym inner
                );
            }
        )*
    };
}

by_value! {
    /// A batch of an older kind is decoded.
    fn llama_decode, struct in "x1", evaluates;
    /// A batch of an older kind is encoded.
    fn llama_encode, struct in "x1", evaluates;
    /// An embedding is added to a batch. Where it was added is seen with the next call that names a place.
    fn llama_batch_ext_add_embd, struct in "x2", adds_embedding;
}

fn evaluates(context: usize, _second: usize, batch: usize, caller: usize) {
    call::begin_by_value(context, Head::read(batch), caller);
}

fn adds_embedding(batch: usize, sequence: usize, _embedding: usize, _caller: usize) {
    ext::added(batch, None, Entry::of(sequence as i32));
}
