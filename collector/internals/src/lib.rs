//! Inside the run: what a model looked at while it answered, computed again from what was captured of the traced
//! process itself. Nothing of the model's file is needed, but for what a head adds to the residual stream.

mod adapters;
mod aligned;
mod arrivals;
mod attention;
mod differ;
pub mod estimate;
mod evaluated;
pub mod experts;
pub mod heads;
mod kernel;
mod layer;
pub mod layers;
mod limits;
#[cfg(test)]
mod made;
mod on_gpu;
mod output;
mod owners;
pub mod picture;
mod plan;
mod rows;
mod softmax;
mod tile;
mod transposed;
mod used;
mod walk;

pub use aligned::Parted;
pub use attention::{Attention, HeadRow, InsideError, Key, Vectors, attention};
pub use differ::{AttentionAgainst, HeadDifference, TokenDifference, against};
pub use limits::{first_layer, said as captures_said};
pub use output::add_contributions;
pub use walk::{KeyRef, Span, TokenRow, Walked, Walker, for_each_row, for_each_row_on};

/// What is said of a token that a recording of so many does not have.
pub fn no_token(token: u64, n_tokens: u64) -> String {
    match n_tokens.checked_sub(1) {
        Some(last) => format!("there is no token {token}: the last one is {last}"),
        None => "there are no tokens: nothing that was computed takes token ids".into(),
    }
}
