//! Hidden states through all layers, from what was captured of the residual stream: how large they are, what attention and
//! feed-forward add, what the norms change; what the model would answer at each layer (the logit lens); and where the
//! states of two runs part. `docs/layers.md` has the formulas.

mod against;
mod evaluated;
mod following;
mod head;
mod kept;
mod lens;
mod lens_head;
mod lens_heads;
mod matrix;
mod measure;
mod origin;
mod part;
mod rows;
mod run;
mod stream;
mod summary;
#[cfg(test)]
mod testing;
mod units;

pub use against::{Against, LayerError, TokenError, against};
pub use kept::KeptLenses;
pub use lens::{Candidate, Check, Incomplete, Lens, LensOptions, LensRow, Likely, lens};
pub use lens_heads::WithoutLens;
pub use matrix::{MatrixRow, Measure, TokenMatrix, of_lenses, of_run};
pub use measure::{Element, Hidden, MASSIVE_LEAST, MASSIVE_TIMES, OUTLIER_DEVIATIONS};
pub use origin::{AdapterMatrix, Origin};
pub use part::Part;
pub use run::{Addition, Cell, Normed, Run, TokenRow, context, contexts, run};
pub use stream::Stack;
pub use summary::{Layers, Lost, Massive, NormSummary, PartSummary, Rules, Spread, StateSummary, layers};
pub use units::UnitCounts;

use ggscope_model::quant::QuantError;
use ggscope_trace::{Trace, TraceError};

/// What to record for it.
pub const HOW_TO_RECORD: &str = "record with `ggscope record --capture layers,logits -- PROGRAM`";

/// Why there is nothing to say of hidden states.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The trace has none.
    #[error("{0} has no hidden states: {HOW_TO_RECORD}")]
    NotCaptured(String),
    /// They were to be captured, and are not there: of which trace, and why.
    #[error("{0} has no hidden states of these tokens: {1}")]
    Absent(String, String),
    /// The trace has statistics in their place.
    #[error("{0} has only statistics of hidden states, and this needs their values: record without --capture-stats")]
    OnlyStatistics(String),
    /// No graph has layers that can be told.
    #[error("{0} has no graph with layers: no residual stream was found in what the program computed")]
    NoStream(String),
    /// No such token or layer. The first part is `token`, `tokens` or `layer`.
    #[error("{1}")]
    Missing(&'static str, String),
    /// The model's file and the trace do not fit each other, or it has no output matrix.
    #[error("no logit lens: {0}")]
    Model(String),
    /// A tensor of the model's file cannot be read.
    #[error(transparent)]
    Weights(#[from] QuantError),
    /// The lens of so many tokens takes longer than it may.
    #[error("the lens of these tokens takes {work} multiplications, and {most} are the most")]
    TooMuch {
        /// Multiplications.
        work: u64,
        /// How many there may be.
        most: u64,
    },
    /// Two traces are not of the same text or of models of the same shape.
    #[error("{0}")]
    Unlike(String),
    /// A GPU that was asked for is not there, or gave up.
    #[error(transparent)]
    Device(#[from] ggscope_compute::Error),
    /// The trace is damaged.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

impl LayersError {
    /// The trace that lacks what was asked for.
    pub fn lacking(&self) -> Option<&str> {
        match self {
            LayersError::NotCaptured(path) | LayersError::OnlyStatistics(path) | LayersError::NoStream(path) => {
                Some(path)
            }
            _ => None,
        }
    }

    /// What to say of a trace without the values of hidden states.
    fn without_values(trace: &Trace) -> LayersError {
        let path = trace.path().display().to_string();
        if trace.has_statistics() { LayersError::OnlyStatistics(path) } else { LayersError::NotCaptured(path) }
    }
}
