//! What the program asks of llama.cpp: which tokens of which sequences, in which context.
//!
//! ggml's graphs do not say which sequence a token belongs to; the batch that the program passes to llama.cpp does.
//! [`hooks`] sees the calls, [`ext`] and [`by_value`] read the two kinds of batches, [`split`] finds the tokens of an
//! evaluation among those of the batch, and [`call`] keeps what the current call of a thread is about. Nothing that is
//! read here is used unless the graph's own inputs agree with it.

pub mod by_value;
pub mod call;
pub mod entry;
pub mod ext;
#[cfg(not(feature = "static-wrap"))]
pub mod hooks;
#[cfg(not(feature = "static-wrap"))]
pub mod memory;
pub mod split;
#[cfg(not(feature = "static-wrap"))]
pub mod symbols;
