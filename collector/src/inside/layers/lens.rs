//! The logit lens: what the model would answer if it ended behind each layer. The final norm and the output matrix are
//! applied to the hidden states of every layer (nostalgebraist 2020, "interpreting GPT: the logit lens").

use super::LayersError;
use super::evaluated::{Evaluated, Streams};
use super::glass::Glass;
use super::project::Reduced;
use crate::trace::{Select, Trace};
use ggscope_model::gguf::{Gguf, Vocab};
use serde::Serialize;
use std::ops::{ControlFlow, Range};
use utoipa::ToSchema;

/// A token that could follow.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// Its text, if the model has texts.
    pub text: Option<String>,
    /// Its logit.
    pub logit: f32,
    /// Its probability.
    pub p: f32,
}

/// How likely a certain token is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Likely {
    /// Its probability.
    pub p: f32,
    /// How many tokens are more likely.
    pub rank: u64,
    /// Its logit.
    pub logit: f32,
}

/// What the model would answer behind one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LensRow {
    /// The layer; null for what goes into the first.
    pub layer: Option<u32>,
    /// The most likely tokens.
    pub top: Vec<Candidate>,
    /// Entropy of all probabilities, in bits.
    pub entropy: f32,
    /// The token that is most likely at the end.
    pub answer: Likely,
    /// The token that came next in the recording, if it is known.
    pub next: Option<Likely>,
    /// Logits that are NaN.
    pub nan: u64,
}

/// Our logits beside those that llama.cpp computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Check {
    /// Whether the same token is on top.
    pub same_top: bool,
    /// The largest difference of a logit.
    pub largest_difference: f32,
    /// The root mean square of the differences by that of the logits.
    pub relative_error: f32,
}

/// The lens of one token.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Lens {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// The token that is most likely at the end.
    pub answer: Candidate,
    /// Whether the end is that of the last layer. llama.cpp computes it only for tokens that have an output row.
    pub complete: bool,
    /// The token that came next in the recording, if it is known.
    pub next: Option<Candidate>,
    /// Place among `rows` of the first that has the answer on top.
    pub first_on_top: usize,
    /// Place among `rows` of the first from which on the answer stays on top.
    pub settled: usize,
    /// What goes into the first layer, then each layer, as far as captured.
    pub rows: Vec<LensRow>,
    /// Our logits at the end beside llama.cpp's own; null if `result_output` was not captured.
    pub check: Option<Check>,
}

/// A token whose lens is wanted.
struct Wanted {
    token: u64,
    id: Option<i32>,
    pos: Option<i32>,
    context: u32,
    complete: bool,
    /// Layers, and the hidden state at the end of each as the output matrix takes it.
    states: Vec<(Option<u32>, Vec<f32>)>,
    /// What llama.cpp computed.
    logits: Option<Vec<f32>>,
}

/// The lens of each of some tokens, with `keep` candidates in each layer, in up to `most` multiplications. Without tokens,
/// of the last.
///
/// # Errors
/// When it takes more, or nothing of the stream was captured, the model is another one or has no output matrix, or the trace is damaged.
pub fn lens(
    trace: &Trace,
    model: &Gguf,
    tokens: Option<Range<u64>>,
    keep: usize,
    most: u64,
) -> Result<Vec<Lens>, LayersError> {
    let last = (trace.totals().prompt_tokens + trace.totals().generated_tokens).saturating_sub(1);
    let tokens = tokens.unwrap_or(last..last.saturating_add(1));
    let (mut glass, mut any, mut wanted) = (None, false, vec![]);
    Streams::default().for_each(trace, Some(&tokens), |evaluated| {
        any = true;
        if glass.is_none() {
            let head = evaluated.stream.head.as_ref().ok_or_else(|| {
                let what = "the graph has no output matrix, or something behind its last layer that is not known";
                LayersError::Model(what.into())
            })?;
            glass = Some(Glass::new(evaluated, head, model)?);
        }
        if let Some(glass) = &glass {
            take(evaluated, glass, &tokens, &mut wanted)?;
            let states = wanted.iter().map(|w| w.states.len() as u64).sum::<u64>();
            let work = states.saturating_mul(glass.output.n_in as u64).saturating_mul(glass.output.n_out as u64);
            if work > most {
                return Err(LayersError::TooMuch { work, most });
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let Some(glass) = glass.filter(|_| any) else {
        let what = format!("there is no token {}: the last one is {last}", tokens.start);
        return Err(LayersError::Missing("token", what));
    };
    if wanted.is_empty() {
        return Err(LayersError::without_values(trace));
    }
    let vocab = model.vocab();
    let next = following(trace, &wanted);
    grind(&glass, vocab.as_ref(), &wanted, &next, keep.max(1))
}

/// Takes the hidden states of an evaluation's tokens.
fn take(evaluated: &Evaluated, glass: &Glass, tokens: &Range<u64>, out: &mut Vec<Wanted>) -> Result<(), LayersError> {
    let ends = evaluated.stream.layer_ends();
    let rows: Vec<_> = ends.iter().map(|&end| (evaluated.stream.points[end].layer, evaluated.point(end))).collect();
    let head = evaluated.stream.head.as_ref();
    let logits = head.map(|head| evaluated.captured(head.logits, true));
    for i in evaluated.wanted(Some(tokens)) {
        let captured = rows.iter().filter_map(|(layer, c)| Some((*layer, c.rows()?.token(i)?)));
        let states: Vec<_> =
            captured.map(|(layer, x)| Ok((layer, glass.normed(x)?))).collect::<Result<_, LayersError>>()?;
        if states.is_empty() {
            continue;
        }
        let evaluation = &evaluated.row.evaluation;
        out.push(Wanted {
            token: evaluated.row.first_token + i as u64,
            id: evaluation.tokens.get(i).copied(),
            pos: evaluation.positions.get(i).copied(),
            context: evaluation.context,
            complete: rows.last().is_some_and(|(_, c)| c.rows().is_some_and(|r| r.token(i).is_some())),
            states,
            logits: logits.as_ref().and_then(|c| Some(c.rows()?.token(i)?.to_vec())),
        });
    }
    Ok(())
}

/// The token that came after each, if it is in the recording: the next one in the context that has the next position.
fn following(trace: &Trace, wanted: &[Wanted]) -> Vec<Option<u32>> {
    let first = wanted.iter().map(|w| w.token).min().unwrap_or(0);
    let end = wanted.iter().map(|w| w.token).max().unwrap_or(0).saturating_add(2);
    let mut all: Vec<(u64, u32, i32, i32)> = vec![];
    trace.for_each_evaluation(&Select { tokens: Some(first..end), ..Select::default() }, false, |row| {
        let e = &row.evaluation;
        let tokens = e.tokens.iter().zip(&e.positions);
        all.extend((row.first_token..).zip(tokens).map(|(n, (&id, &pos))| (n, e.context, id, pos)));
        ControlFlow::Continue(())
    });
    let after = |w: &Wanted| {
        let next = all.iter().find(|(n, context, ..)| *n == w.token + 1 && *context == w.context)?;
        (w.pos?.checked_add(1) == Some(next.3)).then(|| u32::try_from(next.2).ok())?
    };
    wanted.iter().map(after).collect()
}

fn grind(
    glass: &Glass,
    vocab: Option<&Vocab>,
    wanted: &[Wanted],
    next: &[Option<u32>],
    keep: usize,
) -> Result<Vec<Lens>, LayersError> {
    let output = &glass.output;
    let text = |id: u32| {
        let text = vocab.and_then(|v| v.text(i32::try_from(id).ok()?));
        text.map(|t| String::from_utf8_lossy(&t).into_owned())
    };
    let candidate =
        |reduced: &Reduced, id: u32, logit: f32| Candidate { id, text: text(id), logit, p: reduced.p(logit) };
    // What the answer is shows at the end; how likely it was before is asked then.
    let ends: Vec<f32> = wanted.iter().filter_map(|w| w.states.last()).flat_map(|s| s.1.iter().copied()).collect();
    let ends = output.reduce(&ends, 1, &vec![vec![]; wanted.len()])?;
    let known = |id: &u32| (*id as usize) < output.n_out;
    let asked: Vec<Vec<u32>> = ends
        .iter()
        .zip(next)
        .map(|(end, next)| vec![end.top.first().map_or(0, |t| t.0), next.filter(known).unwrap_or(0)])
        .collect();
    let states: Vec<f32> = wanted.iter().flat_map(|w| w.states.iter().flat_map(|s| s.1.iter().copied())).collect();
    let asked_of_states: Vec<Vec<u32>> =
        wanted.iter().zip(&asked).flat_map(|(w, a)| vec![a.clone(); w.states.len()]).collect();
    let mut reduced = output.reduce(&states, keep, &asked_of_states)?.into_iter();
    let mut found = vec![];
    for ((w, asked), next) in wanted.iter().zip(&asked).zip(next) {
        let next = next.filter(known);
        let of_token: Vec<Reduced> = reduced.by_ref().take(w.states.len()).collect();
        let likely =
            |r: &Reduced, i: usize| Likely { p: r.p(r.wanted[i].0), rank: r.wanted[i].1, logit: r.wanted[i].0 };
        let row = |((layer, _), r): (&(Option<u32>, Vec<f32>), &Reduced)| LensRow {
            layer: *layer,
            top: r.top.iter().map(|&(id, logit)| candidate(r, id, logit)).collect(),
            entropy: r.entropy as f32,
            answer: likely(r, 0),
            next: next.map(|_| likely(r, 1)),
            nan: r.nan,
        };
        let rows: Vec<LensRow> = w.states.iter().zip(&of_token).map(row).collect();
        let Some(end) = of_token.last() else { continue };
        let is_on_top = |r: &LensRow| r.top.first().is_some_and(|t| t.id == asked[0]);
        let settled = rows.iter().rposition(|r| !is_on_top(r)).map_or(0, |i| i + 1);
        let check = match w.logits.as_ref().filter(|_| w.complete).zip(w.states.last()) {
            Some((theirs, (_, x))) => check(&output.all(x)?, theirs),
            None => None,
        };
        found.push(Lens {
            token: w.token,
            text: w.id.and_then(|id| text(u32::try_from(id).ok()?)),
            answer: candidate(end, asked[0], end.wanted[0].0),
            complete: w.complete,
            next: next.map(|id| candidate(end, id, end.wanted[1].0)),
            first_on_top: rows.iter().position(is_on_top).unwrap_or(settled),
            settled: settled.min(rows.len() - 1),
            rows,
            check,
        });
    }
    Ok(found)
}

fn check(ours: &[f32], theirs: &[f32]) -> Option<Check> {
    let top = |logits: &[f32]| (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    if ours.len() != theirs.len() {
        return None;
    }
    let largest_difference = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let relative_error = super::measure::relative_error(ours, theirs)?;
    Some(Check { same_top: top(ours) == top(theirs), largest_difference, relative_error })
}
