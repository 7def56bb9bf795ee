//! Inside the run: what a model looked at while it answered, computed again from what was captured of the traced
//! process itself. Nothing of the model's file is needed.

mod arrivals;
mod attention;
mod kernel;
mod layer;
mod plan;
mod rows;
mod softmax;
mod tile;
mod walk;

pub use attention::{Attention, HeadRow, InsideError, Key, attention};
pub use walk::{KeyRef, Span, TokenRow, Walked, Walker, for_each_row};
