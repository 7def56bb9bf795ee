//! One number for every token and layer: what a heatmap shows.

use super::LayersError;
use super::lens::Lens;
use super::part::Part;
use super::run::{Cell, Run};
use ggscope_query::dump::Phase;
use ggscope_trace::Trace;
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

    /// Whether statistics do not say it.
    fn needs_values(self) -> bool {
        matches!(self, Measure::Outliers | Measure::Massive | Measure::Cosine)
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
            Measure::Attention => cell.share(Part::mixes_tokens),
            Measure::FeedForward => cell.share(Part::is_feed_forward),
            Measure::NonFinite => Some((h.nan + h.inf) as f32),
            Measure::Entropy | Measure::Answer => None,
        }
    }
}

/// A row of a heatmap.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = layers::MatrixRow)]
pub struct MatrixRow {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// What it is part of; null if only the lens was asked.
    #[schema(value_type = Phase)]
    pub phase: Option<Phase>,
    /// A number for each of [`TokenMatrix::layers`]; null where there is none.
    pub values: Vec<Option<f32>>,
}

/// One number for every token and layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenMatrix {
    /// The context that computed the tokens.
    pub context: u32,
    /// What the numbers are.
    pub measure: &'static str,
    /// Layers; null for what goes into the first.
    pub layers: Vec<Option<u32>>,
    /// Tokens.
    pub rows: Vec<MatrixRow>,
}

/// A measure of the cells of a trace's run.
///
/// # Errors
/// When it needs values, and the run has statistics in their place.
pub fn of_run(trace: &Trace, run: &Run, measure: Measure) -> Result<TokenMatrix, LayersError> {
    if measure.needs_values() && !run.has_values {
        return Err(LayersError::without_values(trace));
    }
    let rows = run.tokens.iter().map(|t| MatrixRow {
        token: t.token,
        text: t.text.clone(),
        phase: Some(t.phase),
        values: t.cells.iter().map(|cell| cell.as_ref().and_then(|c| measure.of(c))).collect(),
    });
    Ok(TokenMatrix { context: run.context, measure: measure.name(), layers: run.places.clone(), rows: rows.collect() })
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
    let context = lenses.first().map_or(0, |lens| lens.context);
    TokenMatrix { context, measure: measure.name(), rows: lenses.iter().map(row).collect(), layers }
}

#[cfg(test)]
mod tests {
    use super::super::run::run;
    use super::super::testing::{statistics, values};
    use super::*;
    use ggscope_format::capture::Capture;

    fn first(trace: &Trace, measure: Measure) -> Result<Vec<Option<f32>>, LayersError> {
        of_run(trace, &run(trace, None, None).unwrap(), measure).map(|found| found.rows[0].values.clone())
    }

    #[test]
    fn a_cell_without_a_finite_element_has_no_number() {
        let recorded = values(Capture::named(["layers"]), &[("embd", 2.0), ("l_out-0", f32::NAN)]);
        for measure in [Measure::Norm, Measure::Mean, Measure::Rms, Measure::Largest, Measure::Outliers] {
            let found = first(&recorded.trace, measure).unwrap();
            assert!(found[0].is_some() && found[1..].iter().all(Option::is_none), "{measure:?}: {found:?}");
        }
        assert_eq!(first(&recorded.trace, Measure::NonFinite).unwrap()[..2], [Some(0.0), Some(576.0)]);
    }

    #[test]
    fn what_statistics_do_not_say_is_refused() {
        let recorded = statistics(&[("embd", 2.0), ("l_out-0", 3.0)]);
        assert_eq!(first(&recorded.trace, Measure::Mean).unwrap(), [Some(2.0), Some(3.0), None, None]);
        for measure in [Measure::Outliers, Measure::Massive, Measure::Cosine] {
            let error = first(&recorded.trace, measure).unwrap_err();
            assert!(matches!(error, LayersError::OnlyStatistics(_)), "{measure:?}: {error}");
        }
    }
}
