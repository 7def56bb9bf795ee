//! Inside the run: what a model looked at while it answered, computed again from what was captured of the traced
//! process itself. Nothing of the model's file is needed.

mod attention;
mod keys;
mod softmax;

pub use attention::{Attention, HeadRow, InsideError, Key, attention};
