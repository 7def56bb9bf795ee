//! What bindgen makes of `ffi/ggml_rows.h`: ggml's own numbers, block layouts, tables and functions.
#![allow(dead_code, non_camel_case_types, non_upper_case_globals, missing_docs, clippy::all)]
#![allow(clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/ggml.rs"));
