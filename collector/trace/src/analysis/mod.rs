//! What follows from a graph and its evaluations: layers, what leaves are for, which time belongs to which operator,
//! and which tokens are
//! answers, of which requests. Nothing here reads a file or guesses: what cannot be told is `None`.

pub mod layers;
pub mod leaves;
pub mod requests;
mod sequence;
pub mod timing;
