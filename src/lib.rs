//! The shim: what runs inside somebody else's process.
//!
//! It stands between a program and ggml (`LD_PRELOAD`, or linked before ggml), watches graphs being computed and
//! writes what it sees to shared memory. It never changes what the program computes, never waits for the collector
//! and never ends the program: every hook falls back to the plain call when anything is not as expected.
//!
//! [`interpose`] names every symbol that is touched; [`host`] finds the real ones; [`abi`] proves the layout of
//! ggml's tensors; [`evaluation`] follows one run of a graph.

// Our declarations of ggml's functions have `c_void` where bindgen's, used as a check only, have opaque structs.
#![cfg_attr(feature = "static-wrap", allow(clashing_extern_declarations))]

#[cfg(not(target_os = "linux"))]
compile_error!("ggscope works on Linux only: it needs LD_PRELOAD, /proc and POSIX shared memory as Linux has them");

pub mod abi;
pub mod async_runs;
pub mod attention;
pub mod buffers;
pub mod caches;
pub mod capture;
pub mod cells;
pub mod choices;
pub mod clock;
pub mod evaluation;
pub mod fork;
pub mod graph;
pub mod host;
pub mod identity;
pub mod inputs;
pub mod interpose;
pub mod linked;
pub mod llama;
pub mod maps;
pub mod memory_writes;
pub mod op_clock;
pub mod registry;
pub mod sampling;
pub mod sequences;
pub mod session;
pub mod statistics;
pub mod stderr;
pub mod structure;
pub mod tokens;
pub mod values;

/// Types and functions of the vendored ggml headers. Used at compile time only: to check our declarations.
#[allow(missing_docs, non_camel_case_types, non_upper_case_globals, non_snake_case, dead_code, clippy::all)]
mod ggml {
    include!(concat!(env!("OUT_DIR"), "/ggml.rs"));
}
