//! The attention of one evaluation, layer after layer: cut into tiles, computed when they are many, handed on row by row.

use crate::attention::layer::{Lacks, LayerState, Seen, Showing};
use crate::attention::on_gpu::{Marker, OnGpu};
use crate::attention::row::{KeyRef, TokenRow, Walked};
use crate::attention::tile::MeasuredHeads;
use crate::attention::tile::{TOKENS, Tile, compute};
use ggscope_format::columns::Row;
use ggscope_query::causes::Causes;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// What is done with a row. Where a GPU measured it, what it found comes with it.
pub trait Each: FnMut(&TokenRow<'_>, Option<&MeasuredHeads>) -> ControlFlow<()> {}

impl<F: FnMut(&TokenRow<'_>, Option<&MeasuredHeads>) -> ControlFlow<()>> Each for F {}

/// Weights that are computed before they are handed on: 16 MiB.
const FLOATS: usize = 4 << 20;
/// Reasons that are kept.
const REASONS: usize = 1000;

/// What masks show, so that layers with the same one read it once.
#[derive(Default)]
struct Shown {
    known: HashMap<Showing, Arc<Seen>>,
    /// Numbers in them: no more than [`FLOATS`].
    numbers: usize,
}

impl Shown {
    /// As [`LayerState::seen`].
    fn seen(&mut self, layer: &LayerState<'_>, i: usize, stream: usize) -> Result<Arc<Seen>, Lacks> {
        let showing = layer.showing(i, stream);
        let seen = match self.known.get(&showing) {
            Some(seen) => seen.clone(),
            None => {
                let seen = Arc::new(layer.shown(i, stream)?);
                let numbers = self.numbers + 1 + seen.some.as_ref().map_or(0, Vec::len) + seen.bias.len();
                if numbers <= FLOATS {
                    self.known.insert(showing, seen.clone());
                    self.numbers = numbers;
                }
                seen
            }
        };
        layer.has(&seen, stream)?;
        Ok(seen)
    }
}

/// An evaluation whose attention is being computed.
pub struct AttentionEvaluation<'a, 'w> {
    row: &'a Row,
    /// What the trace knows of what it lacks.
    causes: Arc<Causes>,
    walked: &'w mut Walked,
    /// Where a GPU may compute it.
    on_gpu: Option<&'w mut OnGpu>,
    /// What keys are to a token, if a GPU is to measure rows.
    marker: Option<&'w Marker<'w>>,
    tiles: Vec<Tile<'a>>,
    /// Weights of the tiles.
    floats: usize,
    shown: Shown,
    /// The layer and stream whose keys were put together last.
    keys: Option<(Arc<LayerState<'a>>, usize, Arc<Vec<KeyRef>>)>,
    computed: bool,
}

impl<'a, 'w> AttentionEvaluation<'a, 'w> {
    /// Before the first layer.
    pub fn new(
        (row, causes): (&'a Row, Arc<Causes>),
        walked: &'w mut Walked,
        on_gpu: Option<&'w mut OnGpu>,
        marker: Option<&'w Marker<'w>>,
    ) -> Self {
        AttentionEvaluation {
            row,
            causes,
            walked,
            on_gpu,
            marker,
            tiles: vec![],
            floats: 0,
            shown: Shown::default(),
            keys: None,
            computed: false,
        }
    }

    /// Whether any row was computed.
    pub fn computed(&self) -> bool {
        self.computed
    }

    /// Counts tokens of a layer that was not captured.
    pub fn leave_out(&mut self, n: u64) {
        self.walked.uncaptured += n;
    }

    /// Counts tokens of a layer that cannot be computed.
    pub fn refuse(&mut self, layer: u32, why: String, n: u64) {
        let refused = &mut self.walked.refused;
        match refused.iter().position(|known| known.0 == layer && known.1 == why) {
            Some(known) => refused[known].2 += n,
            None if refused.len() < REASONS => refused.push((layer, why, n)),
            None => {}
        }
    }

    /// Computes a layer, as tiles that wait until they are many.
    pub fn layer(&mut self, layer: LayerState<'a>, tokens: &Range<usize>, f: &mut impl Each) -> ControlFlow<()> {
        let plan = layer.plan;
        let layer = Arc::new(layer);
        let (number, per_stream, n_head) = (plan.layer, plan.per_stream(), plan.n_head());
        for stream in tokens.start / per_stream..tokens.end.div_ceil(per_stream) {
            let begin = tokens.start.saturating_sub(stream * per_stream);
            let end = (tokens.end - stream * per_stream).min(per_stream);
            let mut keys: Option<Arc<Vec<KeyRef>>> = None;
            let mut waiting: Vec<Arc<Seen>> = vec![];
            for i in begin..end {
                match self.shown.seen(&layer, i, stream) {
                    Ok(seen) => waiting.push(seen),
                    Err(why) => {
                        self.refuse(number, why.said(&self.causes, self.row), 1);
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

    /// The keys of a stream: mostly those of the layer before.
    fn keys_of(&mut self, layer: &Arc<LayerState<'a>>, stream: usize) -> Arc<Vec<KeyRef>> {
        if let Some((before, of, keys)) = &self.keys
            && *of == stream
            && layer.has_keys_of(before, stream)
        {
            return keys.clone();
        }
        let keys = Arc::new(layer.keys(stream, self.row.first_token));
        self.keys = Some((layer.clone(), stream, keys.clone()));
        keys
    }

    /// Makes a tile of the tokens before `end`.
    fn tile(
        &mut self,
        layer: &Arc<LayerState<'a>>,
        stream: usize,
        keys: &mut Option<Arc<Vec<KeyRef>>>,
        end: usize,
        waiting: &mut Vec<Arc<Seen>>,
    ) {
        if waiting.is_empty() {
            return;
        }
        let keys = keys.get_or_insert_with(|| self.keys_of(layer, stream));
        let tile = Tile::new(layer.clone(), stream, keys.clone(), end - waiting.len(), std::mem::take(waiting));
        self.floats += tile.weights.len();
        self.tiles.push(tile);
    }

    /// Computes the tiles that wait and hands on what comes out.
    pub fn hand_on(&mut self, f: &mut impl Each) -> ControlFlow<()> {
        let mut tiles = std::mem::take(&mut self.tiles);
        self.floats = 0;
        match &mut self.on_gpu {
            None => compute(&mut tiles),
            Some(on_gpu) => on_gpu.compute(&mut tiles, self.row.first_token, self.marker, self.walked)?,
        }
        for tile in &tiles {
            let plan = tile.layer.plan;
            let (n_head, n_head_kv) = (plan.n_head(), plan.n_head_kv());
            let (mut weights, mut sinks) = (tile.weights.as_slice(), tile.sinks.as_slice());
            let mut looked = tile.looked.iter();
            for (i, seen) in (tile.first..).zip(&tile.seen) {
                let (own, rest) = weights.split_at(seen.len() * n_head);
                let (own_sinks, rest_sinks) = sinks.split_at(if sinks.is_empty() { 0 } else { n_head });
                (weights, sinks) = (rest, rest_sinks);
                let row = TokenRow {
                    token: self.row.first_token + (tile.stream * plan.per_stream() + i) as u64,
                    eval: self.row.evaluation.eval,
                    context: self.row.evaluation.context,
                    layer: plan.layer,
                    n_head,
                    n_head_kv,
                    keys: &tile.keys_of(seen),
                    weights: own,
                    sinks: own_sinks,
                };
                self.walked.rows += 1;
                self.computed = true;
                f(&row, looked.next())?;
            }
        }
        ControlFlow::Continue(())
    }
}
