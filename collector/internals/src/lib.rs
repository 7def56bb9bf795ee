//! What happened inside a model during a run: attention, heads, hidden states and experts, computed from what was captured
//! of the traced process itself. Only what a head adds to the residual stream needs the model's file.

mod adapters;
mod aligned;
mod arrivals;
pub mod attention;
pub mod estimate;
pub mod experts;
pub mod heads;
pub mod hidden_states;
mod model_tensor;
pub mod picture;
mod tokens;

pub use aligned::Parted;

/// The error text for a token number that a recording of `n_tokens` tokens does not have.
pub fn no_token(token: u64, n_tokens: u64) -> String {
    match n_tokens.checked_sub(1) {
        Some(last) => format!("there is no token {token}: the last one is {last}"),
        None => "there are no tokens: nothing that was computed takes token ids".into(),
    }
}
