//! The attention of a run, computed again from its queries, its K caches and its masks: of one token in one layer with every
//! stage, or of a whole recording in one pass, on the CPU or on a GPU.

mod against;
pub(crate) mod cache_rows;
mod contributions;
pub(crate) mod error;
mod evaluated;
mod layer;
pub(crate) mod limits;
mod on_gpu;
mod owners;
mod plan;
pub(crate) mod row;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tile;
pub(crate) mod token;
mod transposed;
pub(crate) mod walk;

pub use against::{AttentionAgainst, HeadDifference, TokenDifference, against};
pub use contributions::add_contributions;
pub use error::AttentionError;
pub use limits::{first_layer, said as captures_said};
pub use row::{KeyRef, Span, TokenRow, Walked};
pub use token::{Attention, HeadRow, Key, Vectors, attention};
pub use walk::{Walker, for_each_row, for_each_row_on};
