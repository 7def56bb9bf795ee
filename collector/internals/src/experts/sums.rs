//! What is counted while the choices of a run go by, in one pass: by layer, and the order of reads for caches. Memory is
//! bounded: layers and pairs by [`MAX_LAYERS`] and [`Room`], reads by [`MAX_ACCESSES`].

use super::cache::{LruHits, best_hits, next_uses};
use super::choices::{Choice, MAX_EXPERTS, Routed};
use super::load::{Count, divergence};
use super::pairs::{Matrix, Room};
use super::{
    CacheSize, CacheStudy, ExpertBytes, ExpertPairs, ExpertReport, FromLayer, FromToken, LayerExperts, WeightSource,
};
use ggscope_format::capture::{CaptureChange, Set};
use ggscope_query::dump::Phase;
use ggscope_trace::Trace;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Layers that are counted.
const MAX_LAYERS: usize = 1024;
/// Reads of experts that caches are tried with: 4 bytes each are kept, and 20 while they are tried.
const MAX_ACCESSES: usize = 1 << 23;
/// Pairs that are told of a layer.
const TOP: usize = 10;
/// Contexts whose last tokens are remembered.
const MAX_CONTEXTS: usize = 64;

/// The choices of the last evaluation of a context in a layer: position and experts.
type Last = Vec<(i32, Vec<i32>)>;

struct RoutedLayer {
    n_experts: usize,
    per_token: usize,
    expert_bytes: u64,
    phases: [Count; Phase::COUNT],
    /// Sum of the heaviest experts' shares, and tokens that have one.
    heaviest: (f64, u64),
    together: Matrix,
    /// The layer before and how many experts it has.
    from_layer: Option<((u32, usize), Matrix)>,
    from_token: Matrix,
    last: BTreeMap<u32, Last>,
    /// Its place among the keys of reads.
    slot: usize,
}

#[derive(Default)]
pub(super) struct Sums {
    layers: BTreeMap<u32, RoutedLayer>,
    room: Room,
    accesses: Vec<u32>,
    left_out: u64,
    read: u64,
    evaluations: u64,
    without_choice: u64,
    tokens: [u64; Phase::COUNT],
    last_token: Option<u64>,
    weights: Option<WeightSource>,
    /// The evaluation that is going by, its context and position in the file, and what its layer before chose.
    now: Option<Now>,
}

struct Now {
    eval: (u64, u64),
    layer: u32,
    n_experts: usize,
    /// By token of the evaluation.
    chosen: BTreeMap<usize, Vec<i32>>,
    /// Whether each token was counted.
    counted: Vec<bool>,
}

impl Sums {
    pub fn add(&mut self, trace: &Trace, routed: &Routed<'_>) {
        let eval = (routed.row.evaluation.eval.0, routed.row.first_token);
        let is_new = self.now.as_ref().is_none_or(|now| now.eval != eval);
        if is_new {
            let counted = vec![false; routed.row.phases.len()];
            self.now = Some(Now { eval, layer: u32::MAX, n_experts: 0, chosen: BTreeMap::new(), counted });
            *if routed.uses_all() { &mut self.without_choice } else { &mut self.evaluations } += 1;
        }
        if routed.uses_all() {
            return;
        }
        let router = routed.router;
        let slot = self.layers.len();
        if !self.layers.contains_key(&router.layer) && slot >= MAX_LAYERS {
            trace.warn(format!("layer {} is left out: {MAX_LAYERS} layers are counted", router.layer));
            return;
        }
        let layer = self.layers.entry(router.layer).or_insert_with(|| RoutedLayer::new(router.n_experts, slot));
        if layer.n_experts != router.n_experts {
            trace.warn(format!(
                "layer {} has {} experts and {} in another graph, of another model: only the first is counted",
                router.layer, layer.n_experts, router.n_experts
            ));
            return;
        }
        layer.per_token = layer.per_token.max(routed.n_used);
        layer.expert_bytes = layer.expert_bytes.max(router.expert_bytes);
        if let Some((_, stage, is_final)) = &routed.weights {
            self.weights.get_or_insert_with(|| WeightSource { tensor: (*stage).to_owned(), is_final: *is_final });
        }
        let mut read = vec![false; router.n_experts];
        let mut chosen = BTreeMap::new();
        if let Some(now) = &mut self.now {
            for choice in routed.choices() {
                if !std::mem::replace(&mut now.counted[choice.index], true) {
                    self.tokens[choice.phase as usize] += 1;
                    self.last_token = self.last_token.max(Some(choice.token));
                }
                layer.count(&mut self.room, &choice);
                let before = now.chosen.get(&choice.index).filter(|_| now.layer < router.layer);
                layer.moved(&mut self.room, (now.layer, now.n_experts), before, choice.experts);
                choice.experts.iter().for_each(|&id| read[id as usize] = true);
                chosen.insert(choice.index, choice.experts.to_vec());
            }
            (now.layer, now.n_experts, now.chosen) = (router.layer, router.n_experts, chosen);
        }
        layer.followed(&mut self.room, routed);
        let keys = read.iter().enumerate().filter(|(_, read)| **read).map(|(id, _)| layer.slot * MAX_EXPERTS + id);
        for key in keys {
            self.read = self.read.saturating_add(router.expert_bytes);
            if self.accesses.len() < MAX_ACCESSES {
                self.accesses.push(key as u32);
            } else {
                self.left_out += 1;
            }
        }
    }

    /// Which experts of a layer went together.
    pub fn pairs(mut self, layer: u32) -> Option<ExpertPairs> {
        let RoutedLayer { together, from_layer, from_token, .. } = self.layers.remove(&layer)?;
        let before = from_layer.as_ref().map(|((layer, _), _)| *layer);
        let from_layer = from_layer.map_or(vec![], |(_, matrix)| matrix.counts());
        Some(ExpertPairs {
            context: 0,
            layer,
            together: together.counts(),
            before,
            from_layer,
            from_token: from_token.counts(),
        })
    }

    /// The report, with caches of so many experts a layer if they are asked for.
    pub fn report(self, trace: &Trace, sizes: Option<&[u32]>) -> ExpertReport {
        if self.room.is_short {
            trace.warn("pairs of experts of some layers are not counted: together they take too much memory".into());
        }
        let caches = sizes.map(|sizes| self.caches(sizes));
        let mut bytes = ExpertBytes {
            read: self.read,
            file: trace.model().map(|m| m.file_bytes).filter(|&b| b > 0),
            ..ExpertBytes::default()
        };
        let layers = self.layers.into_iter().map(|(number, layer)| layer.report(number, &mut bytes)).collect();
        bytes.needed = bytes.file.and_then(|file| file.checked_sub(bytes.all - bytes.used));
        let are_statistics = |change: &CaptureChange| change.capture.statistics && change.capture.has(Set::Experts);
        ExpertReport {
            context: 0,
            other_contexts: vec![],
            evaluations: self.evaluations,
            without_choice: self.without_choice,
            prompt_tokens: self.tokens[Phase::Prompt as usize],
            generated_tokens: self.tokens[Phase::Generate as usize],
            last_token: self.last_token,
            only_statistics: self.weights.is_none() && trace.captures().iter().any(are_statistics),
            weights: self.weights,
            bytes,
            layers,
            caches,
        }
    }

    fn caches(&self, wanted: &[u32]) -> CacheStudy {
        let n_layers = self.layers.len();
        let n_keys = n_layers * MAX_EXPERTS;
        let n_experts = self.layers.values().map(|l| l.n_experts).max().unwrap_or(0);
        let per_token = self.layers.values().map(|l| l.per_token).max().unwrap_or(0);
        let all: (u64, u64) = self.layers.values().fold((0, 0), |(bytes, count), l| {
            (bytes.saturating_add(l.expert_bytes.saturating_mul(l.n_experts as u64)), count + l.n_experts as u64)
        });
        let mut of_layer: Vec<Vec<u32>> = vec![vec![]; n_layers];
        for &key in &self.accesses {
            of_layer[key as usize / MAX_EXPERTS].push(key % MAX_EXPERTS as u32);
        }
        let lru = LruHits::new(&self.accesses, n_keys);
        let layer_lru: Vec<LruHits> = of_layer.par_iter().map(|of| LruHits::new(of, MAX_EXPERTS)).collect();
        let next = next_uses(&self.accesses, n_keys);
        let layer_next: Vec<Vec<u32>> = of_layer.par_iter().map(|of| next_uses(of, MAX_EXPERTS)).collect();
        let size = |per_layer: usize| {
            let experts = self.layers.values().map(|l| per_layer.min(l.n_experts)).sum::<usize>();
            let layers = of_layer.par_iter().zip(&layer_next);
            CacheSize {
                per_layer: per_layer as u32,
                experts: experts as u64,
                bytes: (all.0 as f64 / all.1.max(1) as f64 * experts as f64).round() as u64,
                lru: lru.of(experts),
                best: best_hits(&self.accesses, &next, n_keys, experts),
                layer_lru: layer_lru.iter().map(|l| l.of(per_layer)).sum(),
                layer_best: layers.map(|(of, next)| best_hits(of, next, MAX_EXPERTS, per_layer)).sum(),
            }
        };
        let mut seen = vec![false; n_keys];
        self.accesses.iter().for_each(|&key| seen[key as usize] = true);
        CacheStudy {
            accesses: self.accesses.len() as u64,
            left_out: self.left_out,
            distinct: seen.iter().filter(|&&s| s).count() as u64,
            sizes: sizes(n_experts, per_token, wanted).into_par_iter().map(size).collect(),
        }
    }
}

/// Sizes of caches that are tried, in experts a layer: those that are wanted, or what one token needs and parts of all.
fn sizes(n_experts: usize, per_token: usize, wanted: &[u32]) -> Vec<usize> {
    let usual = [1, 2, 3, 4, 6, 8].map(|eighths| n_experts * eighths / 8).into_iter().chain([per_token]);
    let mut sizes: Vec<usize> = match wanted {
        [] => usual.filter(|&n| n > 0).collect(),
        // A layer holds no more than all.
        _ => wanted.iter().map(|&n| (n as usize).min(n_experts)).collect(),
    };
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl RoutedLayer {
    fn new(n_experts: usize, slot: usize) -> RoutedLayer {
        RoutedLayer {
            n_experts,
            per_token: 0,
            expert_bytes: 0,
            phases: std::array::from_fn(|_| Count::new(n_experts)),
            heaviest: (0.0, 0),
            together: Matrix::default(),
            from_layer: None,
            from_token: Matrix::default(),
            last: BTreeMap::new(),
            slot,
        }
    }

    fn count(&mut self, room: &mut Room, choice: &Choice<'_>) {
        self.phases[choice.phase as usize].add(choice.experts, choice.weights);
        self.together.add(room, (self.n_experts, self.n_experts), choice.experts, choice.experts);
        if let Some(weights) = choice.weights {
            let sum: f32 = weights.iter().sum();
            let share = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max) / sum;
            if share.is_finite() {
                self.heaviest = (self.heaviest.0 + f64::from(share), self.heaviest.1 + 1);
            }
        }
    }

    /// Counts what a token's layer before, of so many experts, chose with what this one chose.
    fn moved(&mut self, room: &mut Room, before: (u32, usize), chosen: Option<&Vec<i32>>, experts: &[i32]) {
        let Some(chosen) = chosen else { return };
        let (from, matrix) = self.from_layer.get_or_insert_with(|| (before, Matrix::default()));
        // Another model may have its layers in another order.
        if *from == before {
            matrix.add(room, (before.1, self.n_experts), chosen, experts);
        }
    }

    /// Counts what tokens chose with what those at the position before them chose, in the same evaluation or the last one
    /// of the context. Where two tokens are at that position, nobody knows which of them it was.
    fn followed(&mut self, room: &mut Room, routed: &Routed<'_>) {
        let e = &routed.row.evaluation;
        if self.last.len() >= MAX_CONTEXTS && !self.last.contains_key(&e.context) {
            self.last.clear();
        }
        let last = self.last.remove(&e.context).unwrap_or_default();
        let mut now: Last = vec![];
        for choice in routed.choices() {
            let Some(&pos) = e.positions.get(choice.index) else { continue };
            let beside = now.last().filter(|n| n.0.checked_add(1) == Some(pos));
            let mut earlier = last.iter().filter(|l| l.0.checked_add(1) == Some(pos));
            let before = match (beside, earlier.next(), earlier.next()) {
                (Some(beside), None, _) => Some(beside),
                (None, Some(earlier), None) => Some(earlier),
                _ => None,
            };
            if let Some((_, before)) = before {
                self.from_token.add(room, (self.n_experts, self.n_experts), before, choice.experts);
            }
            now.push((pos, choice.experts.to_vec()));
        }
        // Only the last of tokens that follow each other can have a successor in a later evaluation.
        let ends = |i: usize| now.get(i + 1).is_none_or(|next| now[i].0.checked_add(1) != Some(next.0));
        let kept: Last = (0..now.len()).filter(|&i| ends(i)).map(|i| now[i].clone()).collect();
        self.last.insert(e.context, kept);
    }

    fn report(self, number: u32, bytes: &mut ExpertBytes) -> LayerExperts {
        let [prompt, generate, _] = &self.phases;
        let both = prompt.plus(generate);
        let of = |count: &Count| self.expert_bytes.saturating_mul(count.load.iter().filter(|&&l| l > 0).count() as u64);
        let sum = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        sum(&mut bytes.all, self.expert_bytes.saturating_mul(self.n_experts as u64));
        sum(&mut bytes.used, of(&both));
        sum(&mut bytes.prompt, of(prompt));
        sum(&mut bytes.generate, of(generate));
        let kept = self.from_token.kept();
        LayerExperts {
            layer: number,
            experts: self.n_experts as u32,
            per_token: self.per_token as u32,
            expert_bytes: self.expert_bytes,
            all: both.load(),
            prompt: prompt.load(),
            generate: generate.load(),
            divergence: divergence(prompt, generate),
            heaviest: (self.heaviest.1 > 0).then(|| self.heaviest.0 / self.heaviest.1 as f64),
            together: self.together.top(TOP, true),
            from_layer: self.from_layer.map(|((layer, _), matrix)| FromLayer { layer, top: matrix.top(TOP, false) }),
            from_token: FromToken {
                tokens: self.from_token.tokens,
                kept: kept.map(|k| k.0),
                by_chance: kept.map(|k| k.1),
                top: self.from_token.top(TOP, false),
            },
        }
    }
}
