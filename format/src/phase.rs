//! What each token of an evaluation is part of, as the collector finds it out and the file keeps it.

use serde::{Deserialize, Serialize};

/// What a token is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenPhase {
    /// It is not known: the program feeds several sequences, and which token belongs to which could not be found out.
    #[default]
    Unknown,
    /// A prompt: the program has the token from elsewhere.
    Prompt,
    /// An answer: the token was sampled from the output of the token before it in its sequence.
    Generate,
}
