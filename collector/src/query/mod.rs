//! The questions that a trace answers. The functions here return data; the command line prints it, and whoever else
//! shows a trace asks the same functions.

pub mod dump;
pub mod info;
pub mod leaves;
pub mod range;
mod values;
mod view;

pub use values::CapturedValue;
pub use view::{ExpertSlice, GraphView, Place};
