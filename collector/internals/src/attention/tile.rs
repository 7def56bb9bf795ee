//! The attention of some tokens of a layer, computed side by side: no more scores are in memory than belong to them.

use crate::attention::cache_rows::PAGE;
use crate::attention::layer::{LayerState, Seen};
use crate::attention::row::KeyRef;
use crate::tokens::Marks;
use ggscope_compute::attention::Measured;
use ggscope_compute::attention::Step;
use ggscope_compute::attention::kernel::{products, softmax};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// What a GPU measured of the rows of a token, one a head.
#[derive(Clone, Debug)]
pub struct MeasuredHeads {
    /// What its keys are to it.
    pub marks: Option<Marks>,
    /// The sums; none without marks.
    pub heads: Vec<Measured>,
}

/// Tokens of a tile.
pub const TOKENS: usize = 16;

/// Some tokens of a stream.
pub struct Tile<'a> {
    /// The layer.
    pub layer: Arc<LayerState<'a>>,
    /// The stream.
    pub stream: usize,
    /// The keys of the stream.
    pub keys: Arc<Vec<KeyRef>>,
    /// Number of the first in its stream, and what each sees.
    pub first: usize,
    /// See `first`.
    pub seen: Vec<Arc<Seen>>,
    /// `[n_seen, n_head]` for each token.
    pub weights: Vec<f32>,
    /// `[n_head]` for each token; empty without sinks.
    pub sinks: Vec<f32>,
    /// What was measured of each token, if a GPU did that.
    pub looked: Vec<MeasuredHeads>,
}

/// What one head of the keys is multiplied with.
struct Job<'t> {
    layer: &'t LayerState<'t>,
    stream: usize,
    kv_head: usize,
    tokens: Vec<Token<'t>>,
}

struct Token<'t> {
    i: usize,
    seen: &'t Seen,
    /// `[n_seen, heads of the group]`.
    weights: &'t mut [f32],
    /// `[heads of the group]`, or empty.
    sinks: &'t mut [f32],
}

impl<'a> Tile<'a> {
    /// A tile that is to be computed.
    pub fn new(
        layer: Arc<LayerState<'a>>,
        stream: usize,
        keys: Arc<Vec<KeyRef>>,
        first: usize,
        seen: Vec<Arc<Seen>>,
    ) -> Self {
        let n_head = layer.plan.n_head();
        let weights = vec![0.0; seen.iter().map(|seen| seen.len() * n_head).sum()];
        let sinks = vec![0.0; if layer.plan.sinks.is_some() { seen.len() * n_head } else { 0 }];
        Tile { layer, stream, keys, first, seen, weights, sinks, looked: vec![] }
    }

    /// The keys that a token of it sees.
    pub fn keys_of(&self, seen: &Seen) -> Cow<'_, [KeyRef]> {
        match seen.some {
            None => Cow::Borrowed(&self.keys[seen.range.clone()]),
            Some(_) => Cow::Owned(seen.each().map(|j| self.keys[j]).collect()),
        }
    }

    fn jobs(&mut self) -> Vec<Job<'_>> {
        let (layer, stream) = (&*self.layer, self.stream);
        let n_head_kv = layer.plan.n_head_kv();
        let group = layer.plan.n_head() / n_head_kv;
        let mut jobs: Vec<Job<'_>> =
            (0..n_head_kv).map(|kv_head| Job { layer, stream, kv_head, tokens: vec![] }).collect();
        let (mut weights, mut sinks) = (self.weights.as_mut_slice(), self.sinks.as_mut_slice());
        let n_sinks = if sinks.is_empty() { 0 } else { group };
        for (i, seen) in (self.first..).zip(&self.seen) {
            for job in &mut jobs {
                let (own, rest) = weights.split_at_mut(seen.len() * group);
                let (own_sinks, rest_sinks) = sinks.split_at_mut(n_sinks);
                job.tokens.push(Token { i, seen, weights: own, sinks: own_sinks });
                (weights, sinks) = (rest, rest_sinks);
            }
        }
        jobs
    }
}

/// Memory of a thread.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    scores: Vec<f32>,
    buffer: Vec<f32>,
}

/// Computes tiles, on all cores.
pub fn compute(tiles: &mut [Tile<'_>]) {
    let mut jobs: Vec<Job<'_>> = tiles.iter_mut().flat_map(Tile::jobs).collect();
    jobs.par_iter_mut().for_each_init(Scratch::default, |scratch, job| job.run(scratch));
}

impl Job<'_> {
    fn run(&mut self, Scratch { queries, scores, buffer }: &mut Scratch) {
        let (layer, plan) = (self.layer, self.layer.plan);
        let group = plan.n_head() / plan.n_head_kv();
        let heads = self.kv_head * group..(self.kv_head + 1) * group;
        queries.clear();
        for (token, head) in self.tokens.iter().flat_map(|token| heads.clone().map(move |head| (token, head))) {
            let query = layer.multiplied(token.i, self.stream, head);
            queries.extend(query.unwrap_or_else(|| vec![f32::NAN; plan.q.ne[0]]));
        }
        let first_row = plan.first_row(plan.k_stream(self.stream));
        let ranges = || self.tokens.iter().filter(|t| t.seen.len() > 0).map(|token| &token.seen.range);
        let begin = first_row + ranges().map(|range| range.start).min().unwrap_or(0) as u64;
        let end = first_row + ranges().map(|range| range.end).max().unwrap_or(0) as u64;
        let pages = begin / PAGE..end.div_ceil(PAGE);
        let stride = (pages.end.saturating_sub(pages.start) * PAGE) as usize;
        scores.resize(stride * group * self.tokens.len(), 0.0);
        for (n, page) in pages.clone().enumerate() {
            if let Some(panel) = layer.rows.panel(page, self.kv_head) {
                products(queries, plan.q.ne[0], panel, &mut scores[n * PAGE as usize..], stride, buffer);
            }
        }
        // Where in a row of scores the first key of the stream would be.
        let origin = first_row.wrapping_sub(pages.start * PAGE) as usize;
        let mut scores = scores.chunks_exact(stride.max(1));
        for token in &mut self.tokens {
            let n = token.seen.len();
            for (at, head) in heads.clone().enumerate() {
                let (Some(scores), Some(row)) = (scores.next(), token.weights.get_mut(at * n..(at + 1) * n)) else {
                    continue;
                };
                gather(scores, origin, token.seen, row);
                step(row, &plan.steps);
                if let Some(bias) = token.seen.bias_of(head) {
                    add(row, bias, layer.slope(head));
                }
                let share = softmax(row, layer.sink(head));
                if let Some((to, share)) = token.sinks.get_mut(at).zip(share) {
                    *to = share;
                }
            }
        }
    }
}

/// The products of one token's query with the keys that it sees.
pub fn products_of(layer: &LayerState<'_>, i: usize, stream: usize, head: usize, seen: &Seen) -> Vec<f32> {
    let plan = layer.plan;
    let kv_head = head / (plan.n_head() / plan.n_head_kv());
    let first_row = plan.first_row(plan.k_stream(stream));
    let row = |j: usize| first_row.saturating_add(j as u64);
    let query = layer.multiplied(i, stream, head).unwrap_or_default();
    let (mut buffer, mut scores, mut at) = (vec![], [0.0; PAGE as usize], None);
    let product = |j: usize| {
        let page = row(j) / PAGE;
        if at != Some(page) {
            scores = [0.0; PAGE as usize];
            if let Some(panel) = layer.rows.panel(page, kv_head) {
                products(&query, plan.q.ne[0], panel, &mut scores, PAGE as usize, &mut buffer);
            }
            at = Some(page);
        }
        scores[(row(j) % PAGE) as usize]
    };
    seen.each().map(product).collect()
}

/// The scores of the keys that are seen.
fn gather(scores: &[f32], origin: usize, seen: &Seen, out: &mut [f32]) {
    if seen.some.is_none() {
        let begin = origin.wrapping_add(seen.range.start);
        out.copy_from_slice(&scores[begin..begin + out.len()]);
    } else {
        seen.each().zip(out).for_each(|(j, out)| *out = scores[origin.wrapping_add(j)]);
    }
}

fn step(row: &mut [f32], steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Scale { by, add } => row.iter_mut().for_each(|x| *x = *x * by + add),
            Step::Tanh => row.iter_mut().for_each(|x| *x = x.tanh()),
        }
    }
}

/// Adds the mask, as [`ggscope_compute::attention::softmax::row`] does.
fn add(row: &mut [f32], bias: &[f32], slope: f32) {
    for (x, &bias) in row.iter_mut().zip(bias) {
        *x = if bias == f32::NEG_INFINITY { bias } else { *x + slope * bias };
    }
}
