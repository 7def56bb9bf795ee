//! The attention of a whole recording in one pass: caches are kept as the run had them and moved on evaluation by
//! evaluation, and every captured value is read once. Memory is that of the caches and of a few tiles of scores, however
//! long the recording is.

use super::arrivals::Arrivals;
use super::attention::{InsideError, captured};
use super::layer::{Caches, Layer, Seen, Whole};
use super::plan::{Plan, Source};
use super::rows::Rows;
use super::tile::{TOKENS, Tile, compute};
use crate::query::GraphView;
use crate::trace::{Select, Trace};
use ggscope_format::columns::Row;
use ggscope_format::record::Value;
use ggscope_format::{EvalId, GraphId};
use std::collections::HashMap;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

/// Graphs whose plans are kept.
const KEPT: usize = 256;
/// Weights that are computed before they are handed on: 16 MiB.
const FLOATS: usize = 4 << 20;
/// Reasons that are kept.
const REASONS: usize = 1000;

/// Which attention is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Tokens, counted from 0 through the session.
    pub tokens: Range<u64>,
    /// Layers; all if `None`.
    pub layers: Option<RangeInclusive<u32>>,
}

/// A key that a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Row of the K cache; without a cache, the number of the token in the evaluation.
    pub cell: u64,
    /// Number of its token within the session, if it is known.
    pub token: Option<u64>,
}

/// The attention of one token in one layer.
#[derive(Clone, Copy, Debug)]
pub struct TokenRow<'a> {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its evaluation.
    pub eval: EvalId,
    /// The layer.
    pub layer: u32,
    /// Heads.
    pub n_head: usize,
    /// Heads of the keys, each of which as many heads share.
    pub n_head_kv: usize,
    /// What the mask lets the token see, in the order of the cache.
    pub keys: &'a [KeyRef],
    /// `[n_keys, n_head]`: the keys of a head lie side by side. NaN for a head whose queries were not captured.
    pub weights: &'a [f32],
    /// Share of each head's sink, `[n_head]`; empty without sinks.
    pub sinks: &'a [f32],
}

/// What was computed, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Tokens with attention.
    pub tokens: u64,
    /// Rows: a token in a layer.
    pub rows: u64,
    /// Layer, why it could not be computed, for how many tokens.
    pub refused: Vec<(u32, String, u64)>,
}

/// Calls `f` for every token of the span and every layer, evaluation by evaluation and layer by layer, until it breaks.
///
/// # Errors
/// When the trace has no captures of attention. What was lost is in the result.
pub fn for_each_row(
    trace: &Trace,
    span: &Span,
    mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
) -> Result<Walked, InsideError> {
    captured(trace)?;
    let mut walker = Walker::new(span.layers.clone());
    trace.for_each_evaluation(&Select::default(), false, |row| {
        if row.first_token >= span.tokens.end {
            return ControlFlow::Break(());
        }
        walker.advance(trace, &row, &span.tokens, &mut f)
    });
    Ok(walker.walked)
}

/// The state of all caches after an evaluation. Of one recording, evaluations are to be given in the order of the file.
#[derive(Default)]
pub struct Walker {
    layers: Option<RangeInclusive<u32>>,
    plans: Plans,
    arrivals: Arrivals,
    caches: Caches,
    whole: Whole,
    walked: Walked,
}

#[derive(Default)]
struct Plans(HashMap<GraphId, Option<Arc<Plan>>>);

impl Plans {
    fn of(&mut self, trace: &Trace, graph: GraphId, layers: Option<&RangeInclusive<u32>>) -> Option<Arc<Plan>> {
        if self.0.len() >= KEPT && !self.0.contains_key(&graph) {
            self.0.clear();
        }
        let plan = || match trace.graph(graph) {
            Ok(stored) => Some(Arc::new(Plan::of(&GraphView::new(stored), layers))),
            Err(error) => {
                trace.warn(format!("attention is left out: {error}"));
                None
            }
        };
        self.0.entry(graph).or_insert_with(plan).clone()
    }
}

impl Walker {
    /// Before the first evaluation. Of other layers than these nothing is kept.
    pub fn new(layers: Option<RangeInclusive<u32>>) -> Walker {
        Walker { layers, ..Walker::default() }
    }

    /// What was computed so far, and what could not be.
    pub fn walked(&self) -> &Walked {
        &self.walked
    }

    /// Moves on to an evaluation, and calls `f` for those of its tokens that are wanted, until it breaks.
    pub fn advance(
        &mut self,
        trace: &Trace,
        row: &Row,
        tokens: &Range<u64>,
        mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(plan) = self.move_on(trace, row) else { return ControlFlow::Continue(()) };
        let n_tokens = row.evaluation.n_tokens as usize;
        let at = |token: u64| (token.max(row.first_token) - row.first_token).min(n_tokens as u64) as usize;
        let wanted = at(tokens.start)..at(tokens.end);
        if wanted.is_empty() || plan.layers.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut evaluated = Evaluated { row, walked: &mut self.walked, tiles: vec![], floats: 0, computed: false };
        let mut flow = ControlFlow::Continue(());
        for (layer, planned) in &plan.layers {
            let found =
                planned.as_ref().map_err(Clone::clone).and_then(|p| Layer::new(p, n_tokens, &self.whole, &self.caches));
            flow = match found {
                Ok(found) => evaluated.layer(found, &wanted, &mut f),
                Err(why) => {
                    evaluated.refuse(*layer, why, wanted.len() as u64);
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                break;
            }
        }
        if flow.is_continue() {
            flow = evaluated.hand_on(&mut f);
        }
        if evaluated.computed {
            self.walked.tokens += wanted.len() as u64;
        }
        flow
    }

    /// A layer of the evaluation that was moved on to last.
    ///
    /// # Errors
    /// Says what is missing.
    pub(super) fn layer<'a>(
        &'a self,
        plan: &'a Plan,
        layer: u32,
        n_tokens: usize,
    ) -> Option<Result<Layer<'a>, String>> {
        let (_, planned) = plan.layers.iter().find(|(number, _)| *number == layer)?;
        Some(planned.as_ref().map_err(Clone::clone).and_then(|p| Layer::new(p, n_tokens, &self.whole, &self.caches)))
    }

    /// Takes what was captured up to an evaluation. `None` if its graph cannot be read.
    pub(super) fn move_on(&mut self, trace: &Trace, row: &Row) -> Option<Arc<Plan>> {
        let Walker { plans, arrivals, layers, .. } = self;
        let (eval, layers) = (row.evaluation.eval, layers.as_ref());
        let plan = plans.of(trace, row.evaluation.graph, layers)?;
        let values = arrivals.up_to(trace, eval, plan.context, |value| {
            let plan = plans.of(trace, value.graph, layers)?;
            let is_wanted = plan.caches.contains_key(&value.tensor)
                || plan.places.contains_key(&value.tensor)
                || plan.whole.contains(&value.tensor);
            is_wanted.then_some(plan.context)
        });
        self.whole.clear();
        let (own, earlier): (Vec<Value>, Vec<Value>) = values.into_iter().partition(|value| value.eval == eval);
        // Of evaluations that were lost themselves.
        for value in earlier.chunk_by(|a, b| a.eval == b.eval) {
            if let Some(plan) = self.plans.of(trace, value[0].graph, self.layers.as_ref()) {
                self.take(&plan, value.to_vec(), None);
            }
        }
        self.take(&plan, own, Some(row.first_token));
        Some(plan)
    }

    /// Takes the values of one evaluation, whose tokens are counted from `first_token` on if that is known.
    fn take(&mut self, plan: &Plan, values: Vec<Value>, first_token: Option<u64>) {
        for (_, layer) in &plan.layers {
            if let Ok(layer) = layer
                && let Source::Cache(key) = layer.k_source
            {
                let all = self.caches.entry(key).or_default();
                if all.iter().all(|rows| rows.shape != layer.k_shape) {
                    all.extend(Rows::new(layer.k_shape));
                }
            }
        }
        self.rows_of(plan).for_each(Rows::begin);
        for value in values {
            if let Some(key) = plan.caches.get(&value.tensor) {
                let all = self.caches.get_mut(key).into_iter().flatten();
                all.for_each(|rows| rows.take(value.offset, &value.bytes));
            }
            if let Some(keys) = plan.places.get(&value.tensor) {
                // No release that has the operator writes other places than `i64`.
                let places = value.bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b));
                for (i, place) in (value.offset / 8..).zip(places) {
                    let token = first_token.and_then(|first| first.checked_add(i));
                    for key in keys {
                        let all = self.caches.get_mut(key).into_iter().flatten();
                        all.for_each(|rows| rows.place(place, token));
                    }
                }
            }
            if first_token.is_some() && plan.whole.contains(&value.tensor) {
                self.whole.entry(value.tensor).or_default().add(value);
            }
        }
        self.rows_of(plan).for_each(Rows::end);
    }

    /// The rows of the caches that a graph writes.
    fn rows_of(&mut self, plan: &Plan) -> impl Iterator<Item = &mut Rows> {
        self.caches.iter_mut().filter(|(key, _)| plan.caches.values().any(|k| k == *key)).flat_map(|(_, all)| all)
    }
}

/// An evaluation whose attention is being computed.
struct Evaluated<'a, 'w> {
    row: &'a Row,
    walked: &'w mut Walked,
    tiles: Vec<Tile<'a>>,
    /// Weights of the tiles.
    floats: usize,
    computed: bool,
}

impl<'a> Evaluated<'a, '_> {
    fn refuse(&mut self, layer: u32, why: String, n: u64) {
        let refused = &mut self.walked.refused;
        match refused.iter().position(|known| known.0 == layer && known.1 == why) {
            Some(known) => refused[known].2 += n,
            None if refused.len() < REASONS => refused.push((layer, why, n)),
            None => {}
        }
    }

    /// Computes a layer, as tiles that wait until they are many.
    fn layer(
        &mut self,
        layer: Layer<'a>,
        tokens: &Range<usize>,
        f: &mut impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let plan = layer.plan;
        let layer = Arc::new(layer);
        let (number, per_stream, n_head) = (plan.layer, plan.per_stream(), plan.n_head());
        for stream in tokens.start / per_stream..tokens.end.div_ceil(per_stream) {
            let begin = tokens.start.saturating_sub(stream * per_stream);
            let end = (tokens.end - stream * per_stream).min(per_stream);
            let mut keys: Option<Arc<Vec<KeyRef>>> = None;
            let mut waiting: Vec<Seen> = vec![];
            for i in begin..end {
                match layer.seen(i, stream) {
                    Ok(seen) => waiting.push(seen),
                    Err(why) => {
                        self.refuse(number, why, 1);
                        self.tile(&layer, stream, &mut keys, i, &mut waiting);
                    }
                }
                if waiting.len() == TOKENS || i + 1 == end {
                    self.tile(&layer, stream, &mut keys, i + 1, &mut waiting);
                }
                if self.floats > FLOATS.saturating_sub(TOKENS * n_head * layer.plan.k.ne[1].min(FLOATS)) {
                    self.hand_on(f)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Makes a tile of the tokens before `end`.
    fn tile(
        &mut self,
        layer: &Arc<Layer<'a>>,
        stream: usize,
        keys: &mut Option<Arc<Vec<KeyRef>>>,
        end: usize,
        waiting: &mut Vec<Seen>,
    ) {
        if waiting.is_empty() {
            return;
        }
        let keys = keys.get_or_insert_with(|| Arc::new(layer.keys(stream, self.row.first_token)));
        let tile = Tile::new(layer.clone(), stream, keys.clone(), end - waiting.len(), std::mem::take(waiting));
        self.floats += tile.weights.len();
        self.tiles.push(tile);
    }

    /// Computes the tiles that wait and hands on what comes out.
    fn hand_on(&mut self, f: &mut impl FnMut(&TokenRow<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut tiles = std::mem::take(&mut self.tiles);
        self.floats = 0;
        compute(&mut tiles);
        for tile in &tiles {
            let plan = tile.layer.plan;
            let (n_head, n_head_kv) = (plan.n_head(), plan.n_head_kv());
            let (mut weights, mut sinks) = (tile.weights.as_slice(), tile.sinks.as_slice());
            for (i, seen) in (tile.first..).zip(&tile.seen) {
                let (own, rest) = weights.split_at(seen.len() * n_head);
                let (own_sinks, rest_sinks) = sinks.split_at(if sinks.is_empty() { 0 } else { n_head });
                (weights, sinks) = (rest, rest_sinks);
                let some: Vec<KeyRef> = match seen.some {
                    None => vec![],
                    Some(_) => seen.each().map(|j| tile.keys[j]).collect(),
                };
                let row = TokenRow {
                    token: self.row.first_token + (tile.stream * plan.per_stream() + i) as u64,
                    eval: self.row.evaluation.eval,
                    layer: plan.layer,
                    n_head,
                    n_head_kv,
                    keys: if seen.some.is_some() { &some } else { &tile.keys[seen.range.clone()] },
                    weights: own,
                    sinks: own_sinks,
                };
                self.walked.rows += 1;
                self.computed = true;
                f(&row)?;
            }
        }
        ControlFlow::Continue(())
    }
}
