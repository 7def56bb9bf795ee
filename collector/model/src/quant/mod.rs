//! x
pub mod decode;
