//! What can be known of a model from its GGUF file alone: no trace, no running program, no server.

pub mod ggml;
pub mod gguf;
