//! What the end-to-end tests share: host programs compiled on demand, tiny GGUF models that llama.cpp really runs,
//! and a client for llama-server. Include it with `mod support;`.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod eval_dump;
pub mod gguf_writer;
pub mod hosts;
pub mod server;
pub mod tiny_attention;
pub mod tiny_mamba;
pub mod tiny_model;
pub mod vendored;
