//! One number for every token and layer: what a heatmap shows.

use super::lens::Lens;
use super::run::{Cell, Run};
use super::stream::Part;
use crate::query::dump::Phase;
use serde::Serialize;
use utoipa::ToSchema;

/// What a heatmap shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Norm of the hidden state.
    Norm,
    /// Mean of its elements.
    Mean,
    /// Its root mean square.
    Rms,
    /// Its largest magnitude.
    Largest,
    /// Its outliers.
    Outliers,
    /// Its massive activations.
    Massive,
    /// Cosine with what entered the layer.
    Cosine,
    /// Share of what attention, or a recurrent block, added.
    Attention,
    /// Share of what feed-forward added.
    FeedForward,
    /// NaN and infinities.
    NonFinite,
    /// Entropy of the logit lens, in bits.
    Entropy,
    /// Probability of the final answer in the logit lens.
    Answer,
}

impl Measure {
    /// All, with their names.
    pub const ALL: [(&'static str, Measure); 12] = [
        ("norm", Measure::Norm),
        ("mean", Measure::Mean),
        ("rms", Measure::Rms),
        ("largest", Measure::Largest),
        ("outliers", Measure::Outliers),
        ("massive", Measure::Massive),
        ("cosine", Measure::Cosine),
        ("attention", Measure::Attention),
        ("feed_forward", Measure::FeedForward),
        ("nonfinite", Measure::NonFinite),
        ("entropy", Measure::Entropy),
        ("answer", Measure::Answer),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Measure::ALL.iter().find(|m| m.1 == self).map_or("?", |m| m.0)
    }

    /// Whether it is of the logit lens, which needs the model.
    pub fn is_of_lens(self) -> bool {
        matches!(self, Measure::Entropy | Measure::Answer)
    }

    fn of(self, cell: &Cell) -> Option<f32> {
        let h = &cell.hidden;
        match self {
            Measure::Norm => h.norm,
            Measure::Mean => h.mean,
            Measure::Rms => h.rms,
            Measure::Largest => h.largest.map(|l| l.value.abs()),
            Measure::Outliers => h.outliers.map(|n| n as f32),
            Measure::Massive => h.massive.as_ref().map(|m| m.len() as f32),
            Measure::Cosine => cell.cosine,
            Measure::Attention => cell.share(|p| p != Part::FeedForward),
            Measure::FeedForward => cell.share(|p| p == Part::FeedForward),
            Measure::NonFinite => Some((h.nan + h.inf) as f32),
            Measure::Entropy | Measure::Answer => None,
        }
    }
}

/// A row of a heatmap.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MatrixRow {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// What it is part of; null if only the lens was asked.
    pub phase: Option<Phase>,
    /// A number for each of [`TokenMatrix::layers`]; null where there is none.
    pub values: Vec<Option<f32>>,
}

/// One number for every token and layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenMatrix {
    /// What the numbers are.
    pub measure: &'static str,
    /// Layers; null for what goes into the first.
    pub layers: Vec<Option<u32>>,
    /// Tokens.
    pub rows: Vec<MatrixRow>,
}

/// A measure of the cells of a run.
pub fn of_run(run: &Run, measure: Measure) -> TokenMatrix {
    let rows = run.tokens.iter().map(|t| MatrixRow {
        token: t.token,
        text: t.text.clone(),
        phase: Some(t.phase),
        values: t.cells.iter().map(|cell| cell.as_ref().and_then(|c| measure.of(c))).collect(),
    });
    TokenMatrix { measure: measure.name(), layers: run.places.clone(), rows: rows.collect() }
}

/// A measure of lenses.
pub fn of_lenses(lenses: &[Lens], measure: Measure) -> TokenMatrix {
    let most = lenses.iter().max_by_key(|l| l.rows.len());
    let layers: Vec<Option<u32>> = most.map_or(vec![], |l| l.rows.iter().map(|r| r.layer).collect());
    let row = |lens: &Lens| {
        let of = |layer: &Option<u32>| {
            let row = lens.rows.iter().find(|r| r.layer == *layer)?;
            if measure == Measure::Entropy { row.entropy } else { row.answer.map(|a| a.p) }
        };
        MatrixRow { token: lens.token, text: lens.text.clone(), phase: None, values: layers.iter().map(of).collect() }
    };
    TokenMatrix { measure: measure.name(), rows: lenses.iter().map(row).collect(), layers }
}
