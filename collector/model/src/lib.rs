//! What can be known of a model from its GGUF file alone: no trace, no running program, no server.

pub mod arch;
pub mod ggml;
pub mod gguf;
pub mod inspect;
pub mod mapped;
pub mod quant;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verdict;
