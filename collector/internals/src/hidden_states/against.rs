//! Where one run's hidden states leave those of another: the same text through the same model in two quantisations. Tokens
//! are paired by their numbers and must have the same ids; where answers part, the comparison ends.

use super::LayersError;
use super::evaluated::{Evaluated, Streams};
use super::measure::{cosine, median, not_finite, relative_error};
use super::rows::Captured;
use super::summary::Spread;
use crate::aligned::{Parted, common, ours_of, tokens_of};
use crate::no_token;
use ggscope_trace::Trace;
use rayon::prelude::*;
use serde::Serialize;
use std::ops::{ControlFlow, Range};
use utoipa::ToSchema;

/// How far one token is off in all layers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenError {
    /// The token.
    pub token: u64,
    /// Its id.
    pub id: i32,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// ‖h - reference‖ / ‖reference‖ at each place; null where one of both has no row, or no element is finite in both.
    pub errors: Vec<Option<f32>>,
}

/// How far hidden states are off at the end of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerError {
    /// The layer; null for what goes into the first.
    pub layer: Option<u32>,
    /// Tokens that were compared.
    pub tokens: u64,
    /// ‖h - reference‖ / ‖reference‖ over tokens.
    pub error: Option<Spread>,
    /// Median cosine with the reference.
    pub cosine: Option<f32>,
    /// Elements, of all tokens, that are NaN or infinite in one of both: they are left out of everything else.
    pub not_finite: u64,
    /// The token that is farthest off.
    pub worst: Option<u64>,
}

/// Hidden states beside those of a reference.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Against {
    /// The context that was compared.
    pub context: u32,
    /// The reference's file.
    pub reference: String,
    /// The context of the reference.
    pub reference_context: u32,
    /// Tokens that were compared.
    pub tokens: u64,
    /// Where the runs part, if they do before one of them ends.
    pub diverges: Option<Parted>,
    /// What goes into the first layer, then each layer.
    pub layers: Vec<LayerError>,
    /// The layer in which the error grows most: the median over tokens that have an error before and behind it. Null if it
    /// grows in none.
    pub steepest: Option<u32>,
    /// Each token.
    pub by_token: Vec<TokenError>,
}

/// The hidden states of some tokens at the ends of layers: layers, then for each token its rows.
type States = (Vec<Option<u32>>, Vec<(u64, TokenStates)>);

/// The rows of a token at the ends of layers.
type TokenStates = Vec<Option<Vec<f32>>>;
/// A token, and its state at the end of each layer beside that of the reference.
type Off = (u64, Vec<Option<Pair>>);

/// Two states of one token.
#[derive(Clone, Copy, Debug)]
struct Pair {
    error: Option<f32>,
    cosine: Option<f32>,
    not_finite: usize,
}

fn states(evaluated: &Evaluated, tokens: &Range<u64>) -> States {
    let ends = evaluated.stream.layer_ends();
    let places = ends.iter().map(|&end| evaluated.stream.points[end].layer).collect();
    let rows: Vec<Captured> = ends.iter().map(|&end| evaluated.point(end)).collect();
    let of_token = |i: usize| {
        let states = rows.iter().map(|c| Some(c.rows()?.token(i)?.to_vec())).collect();
        (evaluated.row.first_token + i as u64, states)
    };
    (places, evaluated.wanted(Some(tokens)).into_iter().map(of_token).collect())
}

/// Compares the hidden states of a run with those of a reference, of one context each: the one that is named, else that of the
/// tokens, else the usual one; of the reference, if none is named, the one of the same number, else the usual one.
///
/// # Errors
/// When the texts differ, the models have other shapes, one of them has no hidden states or no token ids, or a trace is
/// damaged.
pub fn against(
    trace: &Trace,
    reference: &Trace,
    contexts: (Option<u32>, Option<u32>),
    tokens: Option<Range<u64>>,
) -> Result<Against, LayersError> {
    let n_tokens = trace.totals().tokens();
    if let Some(tokens) = tokens.as_ref().filter(|tokens| tokens.start >= n_tokens) {
        return Err(LayersError::Missing("tokens", no_token(tokens.start, n_tokens)));
    }
    let (mut ours, mut theirs) = (Streams::default(), Streams::default());
    let here = ours.context(trace, contexts.0, tokens.as_ref())?;
    // Tokens of another context than the usual one choose it as its name does.
    let chosen = contexts
        .0
        .or_else(|| Some(here).filter(|&here| ours.context(trace, None, None).is_ok_and(|usual| usual != here)));
    let same_number = chosen.filter(|here| theirs.contexts(reference).is_ok_and(|all| all.contains(here)));
    let there = theirs.context(reference, contexts.1.or(same_number), None)?;
    let known = |trace: &Trace, context| tokens_of(trace, context).map_err(LayersError::Unlike);
    let (a, b) = (known(trace, here)?, known(reference, there)?);
    let (n, diverges) = common(trace, reference, &a, &b).map_err(LayersError::Unlike)?;
    let shared = a[..n].first().map_or(0, |t| t.token)..a[..n].last().map_or(0, |t| t.token + 1);
    let span = tokens.map_or(shared.clone(), |t| t.start.max(shared.start)..t.end.min(shared.end));
    if span.is_empty() {
        let (path, Range { start, end }) = (reference.path().display(), shared);
        let what = match end.checked_sub(1).filter(|&last| last >= start) {
            Some(last) => format!("these tokens are not those of {path}: the runs share tokens {start} to {last}"),
            None => format!("the runs share no token with {path}"),
        };
        return Err(LayersError::Missing("tokens", what));
    }
    let of_ours = ours_of(&a[..n], &b[..n]);
    let mut places: Vec<Option<u32>> = vec![];
    let mut found: Vec<Off> = vec![];
    ours.for_each(trace, Some(here), Some(&span), |evaluated| {
        let (layers, states_here) = states(evaluated, &span);
        let theirs_of = |token: u64| Some(b[a[..n].binary_search_by_key(&token, |k| k.token).ok()?].token);
        let last = states_here.last().and_then(|last| theirs_of(last.0));
        let Some(range) = states_here.first().and_then(|first| Some(theirs_of(first.0)?..last? + 1)) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut states_there: Vec<(u64, TokenStates)> = vec![];
        theirs.for_each(reference, Some(there), Some(&range), |other| {
            let (other_layers, states) = states(other, &range);
            if other_layers != layers {
                return Err(shapes(
                    trace,
                    reference,
                    layers.len(),
                    other_layers.len(),
                    "places in the residual stream",
                ));
            }
            states_there.extend(states.into_iter().filter_map(|(token, of)| Some((*of_ours.get(&token)?, of))));
            Ok(ControlFlow::Continue(()))
        })?;
        if places.is_empty() {
            places = layers;
        }
        let pairs: Vec<_> = states_here
            .iter()
            .filter_map(|(token, h)| {
                let at = states_there.binary_search_by_key(token, |t| t.0).ok()?;
                Some((*token, h, &states_there[at].1))
            })
            .collect();
        if let Some((x, y)) = pairs.iter().flat_map(|p| p.1.iter().flatten().zip(p.2.iter().flatten())).next()
            && x.len() != y.len()
        {
            return Err(shapes(trace, reference, x.len(), y.len(), "elements in a hidden state"));
        }
        let measured = |&(token, h, r): &(u64, &TokenStates, &TokenStates)| {
            let of = |(h, r): (&Option<Vec<f32>>, &Option<Vec<f32>>)| {
                let (h, r) = (h.as_ref()?, r.as_ref()?);
                Some(Pair { error: relative_error(h, r), cosine: cosine(h, r), not_finite: not_finite(h, r) })
            };
            (token, h.iter().zip(r).map(of).collect())
        };
        found.extend(pairs.par_iter().map(measured).collect::<Vec<_>>());
        Ok(ControlFlow::Continue(()))
    })?;
    if !found.iter().any(|(_, of)| of.iter().any(Option::is_some)) {
        let named = if ours.has_values { reference } else { trace };
        return Err(LayersError::without_values(named));
    }
    let by_token = found.iter().filter_map(|(token, of)| {
        let known = a[..n].iter().find(|k| k.token == *token)?;
        Some(TokenError {
            token: *token,
            id: known.id,
            text: trace.text_of(known.graph, known.id),
            errors: of.iter().map(|pair| pair.and_then(|p| p.error)).collect(),
        })
    });
    let by_token: Vec<TokenError> = by_token.collect();
    let layers: Vec<LayerError> = (places.iter().enumerate()).map(|(i, layer)| of_layer(i, *layer, &found)).collect();
    let grown = (1..layers.len()).filter_map(|i| Some((layers[i].layer, growth(i, &found).filter(|&by| by > 0.0)?)));
    let steepest = grown.max_by(|x, y| x.1.total_cmp(&y.1)).and_then(|m| m.0);
    Ok(Against {
        context: here,
        reference_context: there,
        reference: reference.path().display().to_string(),
        tokens: by_token.len() as u64,
        diverges,
        layers,
        steepest,
        by_token,
    })
}

/// By how much the error of a token grows at a place, in the median.
fn growth(place: usize, found: &[Off]) -> Option<f32> {
    let error = |of: &[Option<Pair>], place: usize| of.get(place).copied()??.error;
    median(found.iter().filter_map(|(_, of)| Some(error(of, place)? - error(of, place - 1)?)))
}

fn of_layer(place: usize, layer: Option<u32>, found: &[Off]) -> LayerError {
    let here: Vec<(u64, Pair)> = found.iter().filter_map(|(token, of)| Some((*token, (*of.get(place)?)?))).collect();
    let errors: Vec<(u64, f32)> = here.iter().filter_map(|(token, pair)| Some((*token, pair.error?))).collect();
    LayerError {
        layer,
        tokens: errors.len() as u64,
        error: Spread::of(errors.iter().map(|e| e.1)),
        cosine: median(here.iter().filter_map(|(_, pair)| pair.cosine)),
        not_finite: here.iter().map(|(_, pair)| pair.not_finite as u64).sum(),
        worst: errors.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|e| e.0),
    }
}

fn shapes(trace: &Trace, reference: &Trace, a: usize, b: usize, what: &str) -> LayersError {
    LayersError::Unlike(format!(
        "the models have other shapes: {} has {a} {what}, {} has {b}",
        trace.path().display(),
        reference.path().display()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::values;
    use super::*;
    use ggscope_format::capture::Capture;
    use ggscope_trace::testing_contexts::contexts;

    fn beside(ours: [f32; 4], theirs: [f32; 4]) -> Against {
        let recorded = |of: [f32; 4]| {
            let of: Vec<_> = ["embd", "l_out-0", "l_out-1", "l_out-2"].into_iter().zip(of).collect();
            values(Capture::named(["layers"]), &of)
        };
        against(&recorded(ours).trace, &recorded(theirs).trace, (None, None), None).unwrap()
    }

    #[test]
    fn states_without_a_finite_element_are_counted_and_have_no_error() {
        let found = beside([1.0, 1.5, f32::NAN, f32::INFINITY], [1.0; 4]);
        let errors: Vec<_> = found.layers.iter().map(|l| l.error.map(|e| e.median)).collect();
        assert_eq!(errors, [Some(0.0), Some(0.5), None, None]);
        assert_eq!(found.layers.iter().map(|l| l.tokens).collect::<Vec<_>>(), [3, 3, 0, 0]);
        assert_eq!(found.layers.iter().map(|l| l.not_finite).collect::<Vec<_>>(), [0, 0, 3 * 576, 576]);
        assert_eq!((found.layers[2].cosine, found.layers[2].worst), (None, None));
        assert_eq!(found.by_token[2].errors, [Some(0.0), Some(0.5), None, None]);
        assert_eq!(found.steepest, Some(0));
    }

    #[test]
    fn tokens_choose_their_context_in_both_runs() {
        let recorded = contexts(&[(0, 0, 3), (1, 0, 4)]);
        let of = |tokens| against(&recorded.trace, &recorded.trace, (None, None), tokens);
        let usual = of(None).unwrap().context;
        for (context, tokens) in [(0, 0..3), (1, 3..7), (0, 2..3)] {
            let found = of(Some(tokens.clone())).unwrap();
            assert_eq!((found.context, found.reference_context), (context, context), "{tokens:?}, usual {usual}");
            assert_eq!(found.tokens, tokens.end - tokens.start);
        }
        let error = of(Some(7..8)).unwrap_err().to_string();
        assert!(error.contains("there is no token 7"), "{error}");
    }

    #[test]
    fn an_error_that_grows_nowhere_grows_most_nowhere() {
        assert_eq!(beside([1.0, 1.0, f32::NAN, f32::NAN], [1.0, 1.0, f32::NAN, f32::NAN]).steepest, None);
        assert_eq!(beside([1.5, 1.25, 1.0, 1.0], [1.0; 4]).steepest, None);
    }
}
