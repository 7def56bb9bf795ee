//! The logit lens: what the model would answer if it ended behind each layer. The final norm and the output matrix are
//! applied to the hidden states of every layer (nostalgebraist 2020, "interpreting GPT: the logit lens").

use super::LayersError;
use super::evaluated::{Evaluated, Streams};
use super::following::Following;
use super::kept::{Answer, KeptLenses};
use super::lens_head::LensHead;
use super::lens_heads::{LensHeads, WithoutLens};
use super::rows::Captured;
use crate::no_token;
use ggscope_compute::{Compute, Reduced, Row};
use ggscope_format::record::Evaluation;
use ggscope_model::gguf::{Gguf, Vocab};
use ggscope_query::contexts::Contexts;
use ggscope_trace::Trace;
use serde::Serialize;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use utoipa::ToSchema;
use xxhash_rust::xxh3::Xxh3;

/// Reasons that are kept for which tokens have no lens.
const MOST_REASONS: usize = 100;

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
    /// How many tokens are more likely: 0 is the first.
    pub rank: u64,
    /// Its logit.
    pub logit: f32,
}

/// What the model would answer behind one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LensRow {
    /// The layer; null for what goes into the first.
    pub layer: Option<u32>,
    /// The most likely tokens; none if no logit is finite.
    pub top: Vec<Candidate>,
    /// Entropy of all probabilities, in bits; null if no logit is finite.
    pub entropy: Option<f32>,
    /// The token that is most likely at the end; null if there is none, or its logit is not finite here.
    pub answer: Option<Likely>,
    /// The token that came next in the recording; null if it is not known, or its logit is not finite here.
    pub next: Option<Likely>,
    /// Logits that are NaN or infinite, which have no probability.
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

/// Why the last row is not that of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// llama.cpp computes the last layer only for tokens that have an output row.
    NotComputed,
    /// The last layer was not captured.
    NotCaptured,
    /// What was captured of it is lost.
    Lost,
}

/// The lens of one token.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Lens {
    /// The context that computed it.
    pub context: u32,
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// The token that is most likely at the end; null if no logit is finite there.
    pub answer: Option<Candidate>,
    /// Whether the end is that of the last layer.
    pub complete: bool,
    /// Why it is not; null if it is.
    pub incomplete: Option<Incomplete>,
    /// The token that came next in the recording; null if it is not known, or its logit is not finite at the end.
    pub next: Option<Candidate>,
    /// Place among `rows`, from 0, of the first that has the answer on top: no number of a layer. Null without an answer.
    pub first_on_top: Option<usize>,
    /// Place among `rows`, from 0, of the first from which on the answer stays on top. Null without an answer.
    pub settled: Option<usize>,
    /// What goes into the first layer, then each layer, as far as captured.
    pub rows: Vec<LensRow>,
    /// Our logits at the end beside llama.cpp's own; null if `result_output` was not captured, or without an answer.
    pub check: Option<Check>,
    /// Where it was computed.
    pub computed: String,
}

/// How lenses are computed.
pub struct LensOptions<'a> {
    /// Candidates in each layer.
    pub keep: usize,
    /// Multiplications that it may take.
    pub most: u64,
    /// On which device.
    pub compute: &'a Compute,
    /// What was found before is not computed again.
    pub kept: Option<&'a KeptLenses>,
}

/// A token whose lens is wanted.
struct WantedLens {
    context: u32,
    /// Number of the lens head that its states go through.
    lens_head: usize,
    token: u64,
    id: Option<i32>,
    incomplete: Option<Incomplete>,
    /// The token that came next, if it is known and has a logit.
    next: Option<u32>,
    layers: Vec<Option<u32>>,
    /// The hidden state at the end of each layer; none where the answer was there already.
    states: Vec<Vec<f32>>,
    /// What llama.cpp computed, at the end of the last layer.
    logits: Option<Vec<f32>>,
    /// Of all that the answer follows from.
    key: u128,
    answer: Option<Arc<Answer>>,
}

/// The lens of each of some tokens, by its own graph, and the tokens that have none though others have. Without tokens, of the
/// last of the context that is named, or of the usual one.
///
/// # Errors
/// When it takes too much, or nothing of the stream was captured, there is no such context, the model is another one or has no
/// output matrix, or the trace is damaged; when a GPU that was asked for fails.
pub fn lens(
    trace: &Trace,
    model: &Gguf,
    context: Option<u32>,
    tokens: Option<Range<u64>>,
    how: &LensOptions,
) -> Result<(Vec<Lens>, Vec<WithoutLens>), LayersError> {
    let all = trace.totals().tokens();
    let mut streams = Streams::default();
    let chosen = streams.context(trace, context, tokens.as_ref())?;
    let context = if tokens.is_some() { context } else { Some(chosen) };
    let tokens = tokens.unwrap_or_else(|| {
        let last = Contexts::of(trace).get(chosen).and_then(|context| context.last_token);
        last.map_or(all..all, |last| last..last + 1)
    });
    let following = Following::of(trace, &tokens);
    let mut heads = LensHeads::new(model);
    let (mut any, mut wanted, mut work) = (false, vec![], 0_u64);
    let (mut without, mut absent): (Vec<(WithoutLens, LayersError)>, Option<LayersError>) = Default::default();
    streams.for_each(trace, context, Some(&tokens), |evaluated| {
        any = true;
        let before = wanted.len();
        let taken = heads.of(trace, evaluated).and_then(|lens_head| {
            let (lens_head, number) = (&heads.all[lens_head], lens_head);
            take(evaluated, (lens_head, number), &tokens, &following, how, &mut wanted)?;
            Ok(lens_head.work())
        });
        match taken {
            Ok(each) => {
                if wanted.len() == before {
                    absent.get_or_insert_with(|| evaluated.without_states(trace));
                }
                let states: u64 = wanted[before..].iter().map(|w: &WantedLens| w.states.len() as u64).sum();
                work = work.saturating_add(states.saturating_mul(each));
                if work > how.most {
                    return Err(LayersError::TooMuch { work, most: how.most });
                }
            }
            Err(error @ (LayersError::Model(_) | LayersError::Weights(_))) => {
                wanted.truncate(before);
                let (context, why) = (evaluated.row.evaluation.context, error.to_string());
                let n = evaluated.wanted(Some(&tokens)).len() as u64;
                match without.iter().position(|(w, _)| w.context == context && w.why == why) {
                    Some(known) => without[known].0.tokens += n,
                    None if without.len() < MOST_REASONS => {
                        without.push((WithoutLens { context, tokens: n, why }, error));
                    }
                    None => {}
                }
            }
            Err(error) => return Err(error),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if !any {
        return Err(LayersError::Missing("token", no_token(tokens.start, all)));
    }
    if wanted.is_empty() {
        let error = without.into_iter().next().map(|(_, error)| error).or(absent);
        return Err(error.unwrap_or_else(|| LayersError::without_values(trace)));
    }
    for (number, lens_head) in heads.all.iter().enumerate() {
        compute_lenses(lens_head, wanted.iter_mut().filter(|w| w.lens_head == number), how)?;
    }
    let vocab = model.vocab();
    let lenses = wanted.iter().filter_map(|w| told(w, vocab.as_ref())).collect();
    Ok((lenses, without.into_iter().map(|(without, _)| without).collect()))
}

/// Takes the hidden states of an evaluation's tokens.
fn take(
    evaluated: &Evaluated,
    (lens_head, number): (&LensHead, usize),
    tokens: &Range<u64>,
    following: &Following,
    how: &LensOptions,
    out: &mut Vec<WantedLens>,
) -> Result<(), LayersError> {
    let ends = evaluated.stream.layer_ends();
    let rows: Vec<_> = ends.iter().map(|&end| (evaluated.stream.points[end].layer, evaluated.point(end))).collect();
    let head = evaluated.stream.head.as_ref();
    let logits = head.map(|head| evaluated.captured(head.logits, true));
    let head_name = lens_head.name();
    for i in evaluated.wanted(Some(tokens)) {
        let captured = rows.iter().filter_map(|(layer, c)| Some((*layer, c.rows()?.token(i)?)));
        let (layers, states): (Vec<_>, Vec<&[f32]>) = captured.unzip();
        if states.is_empty() {
            continue;
        }
        states.iter().try_for_each(|x| lens_head.fits(x))?;
        let evaluation = &evaluated.row.evaluation;
        let token = evaluated.row.first_token + i as u64;
        let position = evaluation.positions.get(i).copied();
        let next = following.after(token, evaluation.context, position).filter(|&id| (id as usize) < lens_head.n_out);
        let incomplete = ends.last().zip(rows.last()).and_then(|(&end, (_, captured))| {
            incomplete(evaluation, evaluated.stream.points[end].selected, captured, i)
        });
        let logits = logits.as_ref().filter(|_| incomplete.is_none()).and_then(|c| c.rows()?.token(i));
        let logits = logits.filter(|l| l.len() == lens_head.n_out);
        let key = key(&head_name, how.keep, next, &states, logits);
        let answer = how.kept.and_then(|kept| kept.get(key));
        let known = answer.is_some();
        out.push(WantedLens {
            context: evaluation.context,
            lens_head: number,
            token,
            id: evaluation.tokens.get(i).copied(),
            incomplete,
            next,
            layers,
            states: if known { vec![] } else { states.into_iter().map(<[f32]>::to_vec).collect() },
            logits: logits.filter(|_| !known).map(<[f32]>::to_vec),
            key,
            answer,
        });
    }
    Ok(())
}

/// Why a token has no state behind the last layer; `None` if it has one.
fn incomplete(evaluation: &Evaluation, selected: bool, last: &Captured, token: usize) -> Option<Incomplete> {
    let has_output = |outputs: &Vec<i32>| outputs.iter().any(|&o| usize::try_from(o) == Ok(token));
    if selected && !evaluation.outputs.as_ref().is_none_or(has_output) {
        return Some(Incomplete::NotComputed);
    }
    match last {
        Captured::Rows(rows) if rows.token(token).is_some() => None,
        Captured::Rows(_) | Captured::Nothing => Some(Incomplete::NotCaptured),
        Captured::Lost(_) => Some(Incomplete::Lost),
    }
}

/// A hash of all that an answer follows from.
fn key(lens_head: &str, keep: usize, next: Option<u32>, states: &[&[f32]], logits: Option<&[f32]>) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(format!("{lens_head} {keep} {next:?} {} {:?}", states.len(), logits.map(<[f32]>::len)).as_bytes());
    let mut bytes = vec![];
    for numbers in states.iter().copied().chain(logits) {
        bytes.clear();
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        hash.update(&bytes);
    }
    hash.digest128()
}

/// Computes what is not known yet: the last states first, as the answer shows there, and how likely it was before is asked then.
fn compute_lenses<'w>(
    lens_head: &LensHead,
    wanted: impl Iterator<Item = &'w mut WantedLens>,
    how: &LensOptions,
) -> Result<(), LayersError> {
    let mut unknown: Vec<&mut WantedLens> = wanted.filter(|w| w.answer.is_none()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let ends: Vec<Row> = unknown
        .iter()
        .map(|w| Row { state: w.states.last().map_or(&[], Vec::as_slice), asked: &[], theirs: w.logits.as_deref() })
        .collect();
    let (ends, _) = lens_head.with_head(|head| how.compute.lens(head, &ends, 1))??;
    let asked: Vec<Vec<u32>> =
        unknown.iter().zip(&ends).map(|(w, end)| [first(end), w.next].into_iter().flatten().collect()).collect();
    let rows: Vec<Row> = unknown
        .iter()
        .zip(&asked)
        .flat_map(|(w, asked)| w.states.iter().map(move |state| Row { state, asked, theirs: None }))
        .collect();
    let (rows, ran) = lens_head.with_head(|head| how.compute.lens(head, &rows, how.keep))??;
    let mut rows = rows.into_iter();
    for (w, end) in unknown.iter_mut().zip(ends) {
        let rows = rows.by_ref().take(w.states.len()).collect();
        let same_top = w.logits.as_deref().and_then(top).zip(first(&end)).map(|(theirs, ours)| theirs == ours);
        let answer = Arc::new(Answer { end, rows, same_top, computed: ran.to_string() });
        if let Some(kept) = how.kept {
            kept.put(w.key, answer.clone());
        }
        w.answer = Some(answer);
    }
    Ok(())
}

/// The most likely token, if a logit is finite.
fn first(reduced: &Reduced) -> Option<u32> {
    reduced.top.first().map(|top| top.0)
}

/// The token with the largest logit, the first of equal ones.
fn top(logits: &[f32]) -> Option<u32> {
    let finite = (0_u32..).zip(logits).filter(|(_, logit)| logit.is_finite());
    finite.reduce(|top, next| if next.1 > top.1 { next } else { top }).map(|top| top.0)
}

/// What was found of a token, in words of the vocabulary.
fn told(w: &WantedLens, vocab: Option<&Vocab>) -> Option<Lens> {
    let answer = w.answer.as_deref()?;
    let text = |id: u32| {
        let text = vocab.and_then(|v| v.text(i32::try_from(id).ok()?));
        text.map(|t| String::from_utf8_lossy(&t).into_owned())
    };
    let candidate =
        |reduced: &Reduced, id: u32, logit: f32| Candidate { id, text: text(id), logit, p: reduced.p(logit) };
    let id = first(&answer.end);
    let place_of_next = usize::from(id.is_some());
    let likely = |r: &Reduced, i: usize| {
        let &(logit, rank) = r.asked.get(i)?;
        logit.is_finite().then(|| Likely { p: r.p(logit), rank, logit })
    };
    let row = |(&layer, r): (&Option<u32>, &Reduced)| LensRow {
        layer,
        top: r.top.iter().map(|&(id, logit)| candidate(r, id, logit)).collect(),
        entropy: (!r.top.is_empty()).then_some(r.entropy as f32),
        answer: id.and_then(|_| likely(r, 0)),
        next: likely(r, place_of_next),
        nan: r.not_finite,
    };
    let rows: Vec<LensRow> = w.layers.iter().zip(&answer.rows).map(row).collect();
    let (end, last) = (answer.rows.last()?, rows.last()?);
    let is_on_top = |r: &LensRow| id.is_some() && r.top.first().map(|t| t.id) == id;
    let settled = rows.iter().rposition(|r| !is_on_top(r)).map_or(0, |i| i + 1).min(rows.len() - 1);
    let check = answer.end.beside.and_then(|beside| {
        Some(Check {
            same_top: answer.same_top?,
            largest_difference: beside.largest_difference,
            relative_error: beside.relative_error?,
        })
    });
    Some(Lens {
        context: w.context,
        token: w.token,
        text: w.id.and_then(|id| text(u32::try_from(id).ok()?)),
        answer: id.zip(last.answer).map(|(id, likely)| candidate(end, id, likely.logit)),
        complete: w.incomplete.is_none(),
        incomplete: w.incomplete,
        next: w.next.zip(last.next).map(|(id, next)| candidate(end, id, next.logit)),
        first_on_top: id.map(|_| rows.iter().position(is_on_top).unwrap_or(settled)),
        settled: id.map(|_| settled),
        rows,
        check,
        computed: answer.computed.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hidden_states::rows::Rows;

    fn reduced(logits: &[f32], asked: &[u32]) -> Reduced {
        let finite: Vec<f32> = logits.iter().copied().filter(|l| l.is_finite()).collect();
        let rank = |logit: f32| finite.iter().filter(|&&l| l > logit).count() as u64;
        Reduced {
            top: top(logits).map(|id| (id, logits[id as usize])).into_iter().collect(),
            log_sum: finite.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln(),
            asked: asked.iter().map(|&id| (logits[id as usize], rank(logits[id as usize]))).collect(),
            not_finite: (logits.len() - finite.len()) as u64,
            ..Reduced::default()
        }
    }

    /// What is told of the logits behind each layer, with token 1 as what came next.
    fn lens_of(layers: &[[f32; 3]]) -> Lens {
        let end = reduced(layers.last().unwrap(), &[]);
        let asked: Vec<u32> = [first(&end), Some(1)].into_iter().flatten().collect();
        let rows = layers.iter().map(|logits| reduced(logits, &asked)).collect();
        let w = WantedLens {
            context: 0,
            lens_head: 0,
            token: 7,
            id: None,
            incomplete: None,
            next: Some(1),
            layers: (0..layers.len() as u32).map(Some).collect(),
            states: vec![],
            logits: None,
            key: 0,
            answer: Some(Arc::new(Answer { end, rows, same_top: None, computed: "cpu".into() })),
        };
        told(&w, None).unwrap()
    }

    const NAN: [f32; 3] = [f32::NAN; 3];

    #[test]
    fn the_answer_is_what_is_on_top_at_the_end() {
        let lens = lens_of(&[[0.0, 9.0, 9.5], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 9.0, 0.0]]);
        assert_eq!(lens.answer.map(|a| a.id), Some(1));
        assert_eq!((lens.first_on_top, lens.settled), (Some(2), Some(2)));
        assert_eq!(lens.rows[0].answer.map(|a| a.rank), Some(1));
        assert_eq!(lens.rows[0].answer, lens.rows[0].next, "it came");
    }

    #[test]
    fn where_no_logit_is_finite_at_the_end_there_is_no_answer() {
        let lens = lens_of(&[[0.0, 9.0, 0.0], NAN, NAN]);
        assert_eq!((lens.answer, lens.next), (None, None));
        assert_eq!((lens.first_on_top, lens.settled), (None, None));
        assert_eq!((lens.rows[0].answer, lens.rows[0].next.map(|n| n.rank)), (None, Some(0)));
    }

    #[test]
    fn a_layer_without_a_finite_logit_has_no_entropy_and_no_ranks() {
        let lens = lens_of(&[NAN, [0.0, 9.0, f32::INFINITY]]);
        assert_eq!((lens.rows[0].entropy, lens.rows[0].answer, lens.rows[0].next), (None, None, None));
        assert_eq!((lens.rows[0].nan, lens.rows[1].nan), (3, 1));
        assert_eq!((lens.answer.map(|a| a.id), lens.settled), (Some(1), Some(1)));
    }

    #[test]
    fn why_the_end_is_not_the_last_layers_is_told_apart() {
        let evaluation = Evaluation { n_tokens: 2, outputs: Some(vec![1]), ..Evaluation::default() };
        let rows = Rows { n: 1, data: vec![0.5], statistics: vec![], of_token: vec![None, Some(0)] };
        let of = |last: &Captured, token| incomplete(&evaluation, true, last, token);
        assert_eq!(of(&Captured::Rows(rows.clone()), 1), None);
        assert_eq!(of(&Captured::Rows(rows), 0), Some(Incomplete::NotComputed));
        assert_eq!(of(&Captured::Nothing, 0), Some(Incomplete::NotComputed));
        assert_eq!(of(&Captured::Nothing, 1), Some(Incomplete::NotCaptured));
        assert_eq!(of(&Captured::Lost(String::new()), 1), Some(Incomplete::Lost));
    }
}
