//! Every token in every layer, in numbers.

use super::LayersError;
use super::evaluated::{Evaluated, Streams};
use super::measure::{Hidden, cosine, dot, norm};
use super::origin::Origin;
use super::part::Part;
use super::rows::{Captured, Rows};
use super::stream::{Added, From, Norm, Point, Stack, Stream};
use super::units::{Seen, UnitCounts};
use crate::no_token;
use ggscope_format::TensorId;
use ggscope_format::capture::Ranges;
use ggscope_query::asked::{Asked, LeftOut};
use ggscope_query::contexts::of_tokens;
use ggscope_query::dump::Phase;
use ggscope_trace::Trace;
use rayon::prelude::*;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use utoipa::ToSchema;

/// What one part added to a token's stream in one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Addition {
    /// What it is.
    #[serde(flatten, serialize_with = "shared")]
    #[schema(value_type = Origin)]
    pub origin: Arc<Origin>,
    /// Norm of what it added; null where nothing of it is finite.
    pub norm: Option<f32>,
    /// That norm by the norm of the stream before; null where one of both is not known, or the stream is zero.
    pub share: Option<f32>,
    /// Cosine between what it added and the stream before; absent if only statistics were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
}

fn shared<S: Serializer>(origin: &Arc<Origin>, serializer: S) -> Result<S::Ok, S::Error> {
    origin.as_ref().serialize(serializer)
}

/// What a norm did to a token's stream.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Normed {
    /// The norm's output, without the layer: `attn_norm`.
    pub tensor: String,
    /// Root mean square of what goes in; null where nothing of it is finite.
    pub rms_in: Option<f32>,
    /// Root mean square of what comes out; null where nothing of it is finite.
    pub rms_out: Option<f32>,
    /// Cosine between both: 1 if it only scales. Absent if only statistics were recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f32>,
}

/// One token in one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Cell {
    /// The hidden state that leaves the layer.
    #[serde(flatten)]
    pub hidden: Hidden,
    /// Cosine with the hidden state that entered the layer.
    pub cosine: Option<f32>,
    /// What was added in the layer, in order.
    pub added: Vec<Addition>,
    /// Norms of the layer, in order.
    pub normed: Vec<Normed>,
}

impl Cell {
    /// The largest share of the parts of a kind.
    pub fn share(&self, is: fn(Part) -> bool) -> Option<f32> {
        self.added.iter().filter(|a| is(a.origin.part)).filter_map(|a| a.share).reduce(f32::max)
    }
}

/// One token in all layers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenRow {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its id, if it was recorded.
    pub id: Option<i32>,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Its evaluation.
    pub eval: u64,
    /// What it is part of.
    pub phase: Phase,
    /// One for each of the places of [`Run::places`]; null where the token has no row, or nothing was captured.
    pub cells: Vec<Option<Cell>>,
}

/// Every token in every layer.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The context that computed the tokens.
    pub context: u32,
    /// The other contexts of the recording that compute layers.
    pub other_contexts: Vec<u32>,
    /// The places of the stream: `None` is what goes into the first layer, then the ends of layers.
    pub places: Vec<Option<u32>>,
    /// The stack of each place, of an encoder-decoder model.
    pub stacks: Vec<Option<Stack>>,
    /// Names of the tensors at the places.
    pub names: Vec<String>,
    /// Elements of a hidden state.
    pub n_embd: usize,
    /// The tokens.
    pub tokens: Vec<TokenRow>,
    /// Whether there are values, and not only statistics.
    pub has_values: bool,
    /// Mean cosine between any two places, over tokens.
    pub similarity: Vec<Vec<Option<f32>>>,
    /// Hidden units of feed-forward networks, by place.
    pub units: Vec<Option<UnitCounts>>,
    /// Elements of the hidden state, by place.
    pub elements: Vec<Option<UnitCounts>>,
    /// Names of tensors that would say more and that nobody asked for, with `*` for the layer.
    pub missing: Vec<String>,
    /// The layers that were captured, if others were left out.
    pub captured_layers: Option<Ranges>,
    /// What was lost, with how often.
    pub lost: Vec<(String, u64)>,
}

/// Goes through all tokens of a context, or those of a range: of the context that is named, else of that of the tokens, else
/// of the usual one.
///
/// # Errors
/// When nothing of the stream was captured, there is no such context or token, or the trace is damaged.
pub fn run(trace: &Trace, context: Option<u32>, tokens: Option<Range<u64>>) -> Result<Run, LayersError> {
    let mut streams = Streams::default();
    let context = streams.context(trace, context, tokens.as_ref())?;
    let mut all = Gathered { asked: Asked::of(trace), ..Gathered::default() };
    streams.for_each(trace, Some(context), tokens.as_ref(), |evaluated| {
        all.take(trace, evaluated, tokens.as_ref());
        Ok(ControlFlow::Continue(()))
    })?;
    let other_contexts = streams.contexts(trace)?.into_iter().filter(|&other| other != context).collect();
    Ok(Run { context, other_contexts, ..all.finish(trace, tokens)? })
}

/// The context that a question about hidden states is about: as [`run`] chooses it.
///
/// # Errors
/// When there is no such context, none has layers, or the trace is damaged.
pub fn context(trace: &Trace, named: Option<u32>, tokens: Option<&Range<u64>>) -> Result<u32, LayersError> {
    Streams::default().context(trace, named, tokens)
}

/// The contexts that compute layers and have tokens, or those of a range.
///
/// # Errors
/// When there are none, or the trace is damaged.
pub fn contexts(trace: &Trace, tokens: Option<&Range<u64>>) -> Result<Vec<u32>, LayersError> {
    let layered = Streams::default().contexts(trace)?;
    let of = of_tokens(trace, tokens.unwrap_or(&(0..u64::MAX)));
    Ok(layered.into_iter().filter(|context| of.contains(context)).collect())
}

/// What is gathered while going through.
#[derive(Default)]
struct Gathered {
    run: Run,
    /// Sums of cosines and how many, for each pair of places.
    cosines: BTreeMap<(usize, usize), (f64, u64)>,
    units: BTreeMap<usize, Seen>,
    elements: BTreeMap<usize, Seen>,
    asked: Asked,
    missing: BTreeSet<String>,
    lacks_layers: bool,
    lost: BTreeMap<String, u64>,
    any: bool,
    /// Why the first evaluation without hidden states has none.
    without: Option<LayersError>,
}

/// All rows of an evaluation that are needed.
struct AllRows {
    /// Of points of the stream.
    points: Vec<Option<Rows>>,
    /// Of what was added, by point and part.
    parts: Vec<Vec<Option<Rows>>>,
    /// Of the outputs of norms.
    norms: Vec<Option<Rows>>,
}

impl Gathered {
    fn rows(&mut self, evaluated: &Evaluated, id: TensorId, selected: bool) -> Option<Rows> {
        match evaluated.captured(id, selected) {
            Captured::Rows(rows) => {
                self.any = true;
                Some(rows)
            }
            Captured::Nothing => {
                let name = evaluated.name(id);
                match self.asked.left_out(evaluated.row.evaluation.eval, name, id, &evaluated.stream.chosen) {
                    LeftOut::Name => drop(self.missing.insert(without_layer(name, "*"))),
                    LeftOut::Layer => self.lacks_layers = true,
                    LeftOut::Otherwise => {}
                }
                None
            }
            Captured::Lost(why) => {
                *self.lost.entry(why).or_default() += 1;
                None
            }
        }
    }

    /// The place with this layer of this stack, which comes into being with it: graphs of one model have the same.
    fn place(&mut self, stack: Option<Stack>, layer: Option<u32>, name: &str) -> usize {
        let mut known = self.run.stacks.iter().zip(&self.run.places);
        known.position(|of| of == (&stack, &layer)).unwrap_or_else(|| {
            self.run.stacks.push(stack);
            self.run.places.push(layer);
            self.run.names.push(name.to_owned());
            self.run.places.len() - 1
        })
    }

    fn take(&mut self, trace: &Trace, evaluated: &Evaluated, tokens: Option<&Range<u64>>) {
        let stream = evaluated.stream.clone();
        let points = (0..stream.points.len()).map(|i| {
            let point = &stream.points[i];
            self.rows(evaluated, point.tensor, point.selected)
        });
        let points: Vec<_> = points.collect();
        if !self.any && self.without.is_none() {
            self.without = Some(evaluated.without_states(trace));
        }
        let has_values = points.iter().flatten().any(|rows| !rows.data.is_empty());
        self.run.has_values |= has_values;
        let parts = stream.points.iter().map(|p| self.parts(evaluated, p, has_values)).collect();
        let norms = stream.norms.iter().map(|n| self.rows(evaluated, n.output, n.selected));
        let norms: Vec<_> = norms.collect();
        let rows = AllRows { points, parts, norms };
        let ends = stream.layer_ends();
        let place_of = |&i: &usize| {
            let point = &stream.points[i];
            self.place(stream.stack, point.layer, evaluated.name(point.tensor))
        };
        let places: Vec<usize> = ends.iter().map(place_of).collect();
        let wanted = evaluated.wanted(tokens);
        if let Some(rows) = rows.points.iter().flatten().next() {
            self.run.n_embd = rows.n;
        }
        let cells: Vec<Vec<Option<Cell>>> = wanted
            .par_iter()
            .map(|&i| ends.iter().map(|&end| cell(evaluated, &rows, &ends, end, i)).collect())
            .collect();
        self.similar(&rows, &ends, &places, &wanted);
        self.see(evaluated, &stream, &rows, (&ends, &places), &wanted);
        let texts = trace.texts_of(evaluated.row.evaluation.graph, &evaluated.row.evaluation.tokens);
        for (&i, of_ends) in wanted.iter().zip(cells) {
            let mut cells = vec![None; self.run.places.len()];
            for (&place, cell) in places.iter().zip(of_ends) {
                cells[place] = cell;
            }
            let id = evaluated.row.evaluation.tokens.get(i).copied();
            self.run.tokens.push(TokenRow {
                token: evaluated.row.first_token + i as u64,
                id,
                text: id.and_then(|id| texts.get(&id)).map(|t| String::from_utf8_lossy(t).into_owned()),
                eval: evaluated.row.evaluation.eval.0,
                phase: Phase::of(evaluated.row.phases.get(i).copied().unwrap_or_default()),
                cells,
            });
        }
    }

    /// What was added at a point. One part alone need not be captured: it is what the point is more than the one before.
    /// Statistics have no differences, so of those it has to be.
    fn parts(&mut self, evaluated: &Evaluated, point: &Point, has_values: bool) -> Vec<Option<Rows>> {
        let From::Added(parts) = &point.from else { return vec![] };
        let is_difference = |part: &Added| part.rest || (parts.len() == 1 && has_values);
        let mut rows = |part: &Added| {
            let selected = point.selected && !part.before_choice;
            if is_difference(part) { None } else { self.rows(evaluated, part.tensor, selected) }
        };
        parts.iter().map(&mut rows).collect()
    }

    fn similar(&mut self, rows: &AllRows, ends: &[usize], places: &[usize], wanted: &[usize]) {
        let of_token = |&i: &usize| -> Vec<((usize, usize), f64)> {
            let states: Vec<Option<&[f32]>> =
                ends.iter().map(|&end| rows.points[end].as_ref().and_then(|r| r.token(i))).collect();
            let norms: Vec<f64> = states.iter().map(|s| s.and_then(norm).unwrap_or(0.0)).collect();
            let mut found = vec![];
            for a in 0..states.len() {
                for b in a..states.len() {
                    if let (Some(x), Some(y)) = (states[a], states[b])
                        && norms[a] * norms[b] > 0.0
                    {
                        let cosine = if a == b { 1.0 } else { dot(x, y) / (norms[a] * norms[b]) };
                        found.push(((places[a], places[b]), cosine));
                    }
                }
            }
            found
        };
        // A few tokens at a time: what is found of one has a number for each pair of layers.
        for some in wanted.chunks(64) {
            let found: Vec<_> = some.par_iter().flat_map_iter(of_token).collect();
            for (pair, cosine) in found {
                let sum = self.cosines.entry(pair).or_default();
                (sum.0, sum.1) = (sum.0 + cosine, sum.1 + 1);
            }
        }
    }

    /// Takes in units: elements of the stream, and those of feed-forward networks.
    fn see(
        &mut self,
        evaluated: &Evaluated,
        stream: &Stream,
        rows: &AllRows,
        (ends, places): (&[usize], &[usize]),
        wanted: &[usize],
    ) {
        for (&end, &place) in ends.iter().zip(places) {
            let seen = self.elements.entry(place).or_default();
            let states = wanted.iter().filter_map(|&i| rows.points[end].as_ref()?.token(i));
            states.for_each(|state| seen.activation(state));
        }
        for units in &stream.units {
            let Some(at) = ends.iter().position(|&end| stream.points[end].layer == Some(units.layer)) else { continue };
            let selected = stream.points[ends[at]].selected;
            let activation = self.rows(evaluated, units.activation, selected);
            let gate = units.gate.and_then(|(id, gate)| Some((self.rows(evaluated, id, selected)?, gate)));
            let seen = self.units.entry(places[at]).or_default();
            for &i in wanted {
                if let Some(x) = activation.as_ref().and_then(|r| r.token(i)) {
                    seen.activation(x);
                }
                if let Some((x, gate)) = gate.as_ref().and_then(|(r, gate)| Some((r.token(i)?, *gate))) {
                    seen.gate(x, gate);
                }
            }
        }
    }

    fn finish(self, trace: &Trace, tokens: Option<Range<u64>>) -> Result<Run, LayersError> {
        let Gathered { mut run, cosines, units, elements, asked, missing, lacks_layers, lost, any, without } = self;
        if run.tokens.is_empty() {
            let error = no_token(tokens.map_or(0, |tokens| tokens.start), trace.totals().tokens());
            return Err(LayersError::Missing("tokens", error));
        }
        if !any && lost.is_empty() {
            return Err(without.unwrap_or_else(|| LayersError::without_values(trace)));
        }
        let n = run.places.len();
        run.similarity = vec![vec![None; n]; n];
        for ((a, b), (sum, count)) in cosines {
            let mean = Some((sum / count as f64) as f32);
            (run.similarity[a][b], run.similarity[b][a]) = (mean, mean);
        }
        let counts = |seen: BTreeMap<usize, Seen>| (0..n).map(|i| seen.get(&i).and_then(Seen::counts)).collect();
        (run.units, run.elements) = (counts(units), counts(elements));
        run.missing = missing.into_iter().collect();
        run.captured_layers = asked.layers().filter(|_| lacks_layers);
        run.lost = lost.into_iter().collect();
        Ok(run)
    }
}

/// A name with something else in place of its layer: `l_out-*` for `l_out-3`.
pub(super) fn without_layer(name: &str, with: &str) -> String {
    match name.rsplit_once('-') {
        Some((base, layer)) if !layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit()) => match with {
            "" => base.to_owned(),
            _ => format!("{base}-{with}"),
        },
        _ => name.to_owned(),
    }
}

/// One token at the end of a layer.
fn cell(evaluated: &Evaluated, rows: &AllRows, ends: &[usize], end: usize, token: usize) -> Option<Cell> {
    let stream = &evaluated.stream;
    let point = |i: usize| rows.points.get(i)?.as_ref();
    let state = |i: usize| point(i)?.token(token);
    let hidden = point(end)?.hidden(token)?;
    let place = ends.iter().position(|&e| e == end)?;
    let before = place.checked_sub(1).map(|i| ends[i]);
    let first = before.map_or(end, |b| b + 1);
    let mut added = vec![];
    for at in first.max(1)..=end {
        let From::Added(parts) = &stream.points[at].from else { continue };
        let Some(stream_before) = point(at - 1).and_then(|r| r.size(token)) else { continue };
        let own = |i: usize| rows.parts[at][i].as_ref();
        let values =
            |i: usize| own(i)?.token(token).map(|x| x.iter().map(|x| x * parts[i].scale).collect::<Vec<f32>>());
        for (i, part) in parts.iter().enumerate() {
            // What the other parts leave of the difference, if all of them are known.
            let difference = || {
                let mut rest: Vec<f32> = state(at)?.iter().zip(state(at - 1)?).map(|(to, from)| to - from).collect();
                for other in (0..parts.len()).filter(|&other| other != i) {
                    rest.iter_mut().zip(values(other)?).for_each(|(rest, other)| *rest -= other);
                }
                Some(rest)
            };
            let values = values(i).or_else(difference);
            let length = match (&values, own(i).and_then(|r| r.size(token))) {
                (Some(values), _) => norm(values).map(|length| length as f32),
                (None, Some(own)) => own.norm.map(|norm| norm * part.scale.abs()),
                (None, None) => continue,
            };
            let cosine = values.as_ref().and_then(|values| cosine(values, state(at - 1)?));
            let before = stream_before.norm.filter(|&before| before > 0.0);
            let share = length.zip(before).map(|(length, before)| length / before);
            added.push(Addition { origin: part.origin.clone(), norm: length, share, cosine });
        }
    }
    let layer = stream.points[end].layer;
    let is_last = end + 1 == stream.points.len();
    let normed = |(norm, output): (&Norm, &Option<Rows>)| {
        let (from, to) = (point(norm.point)?, output.as_ref()?);
        let cosine = from.token(token).zip(to.token(token)).and_then(|(a, b)| cosine(a, b));
        let (rms_in, rms_out) = (from.size(token)?.rms, to.size(token)?.rms);
        let tensor = without_layer(evaluated.name(norm.output), "");
        (if norm.layer.is_some() { norm.layer == layer } else { is_last }).then_some(Normed {
            tensor,
            rms_in,
            rms_out,
            cosine,
        })
    };
    Some(Cell {
        hidden,
        cosine: before.and_then(state).zip(state(end)).and_then(|(b, here)| cosine(b, here)),
        added,
        normed: stream.norms.iter().zip(&rows.norms).filter_map(normed).collect(),
    })
}
