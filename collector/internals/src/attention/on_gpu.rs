//! Tiles of attention on a GPU, if it is for one: what the kernels are to read is put together here, from the caches as they
//! are, and what comes back goes to the tiles. Otherwise the CPU computes them.

use crate::attention::cache_rows::PAGE;
use crate::attention::row::{KeyRef, Walked};
use crate::attention::tile::{MeasuredHeads, Tile, compute};
use crate::tokens::Marks;
use ggscope_compute::attention::{self, Batch, Keys, LayerInputs, Pass, Weights};
use ggscope_compute::{Compute, Error};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// What keys are to a token, given its number in the session. `None` if its rows are not measured.
pub type Marker<'m> = dyn Fn(u64, &[KeyRef]) -> Option<Marks> + Sync + 'm;

/// A pass that may be computed on a GPU.
pub struct OnGpu {
    pass: Pass,
    /// Why it had to end.
    pub failed: Option<Error>,
}

impl OnGpu {
    /// Before the first tile.
    pub fn new(device: Arc<Compute>) -> OnGpu {
        OnGpu { pass: Pass::new(device), failed: None }
    }

    /// Computes tiles, and says where. Breaks if a GPU fails that was asked for.
    pub fn compute(
        &mut self,
        tiles: &mut [Tile<'_>],
        first_token: u64,
        marker: Option<&Marker<'_>>,
        walked: &mut Walked,
    ) -> ControlFlow<()> {
        let begin = Instant::now();
        let products = tiles.iter().map(|tile| (tile.weights.len() * tile.layer.plan.q.ne[0]) as u64).sum();
        let mut marks: Vec<Vec<Option<Marks>>> = vec![];
        let found = self.pass.attention(products, || {
            let given: Vec<Given> = tiles.par_iter().map(|tile| Given::of(tile, first_token, marker)).collect();
            let batch = batch(tiles, &given);
            marks = given.into_iter().map(|given| given.marks).collect();
            batch
        });
        let ran = match found {
            Ok((Some(found), ran)) => {
                take(tiles, marks, &found);
                ran
            }
            Ok((None, ran)) => {
                compute(tiles);
                ran
            }
            Err(error) => {
                self.failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        walked.on(ran, begin.elapsed());
        ControlFlow::Continue(())
    }
}

/// What is put together for each tile by itself.
struct Given {
    /// `[n_embd, n_head]` for each token.
    queries: Vec<f32>,
    /// For each token.
    marks: Vec<Option<Marks>>,
}

impl Given {
    fn of(tile: &Tile<'_>, first_token: u64, marker: Option<&Marker<'_>>) -> Given {
        let plan = tile.layer.plan;
        let tokens = || (tile.first..).zip(&tile.seen);
        let rows = tokens().flat_map(|(i, _)| (0..plan.n_head()).map(move |head| (i, head)));
        let query = |(i, head)| tile.layer.multiplied(i, tile.stream, head);
        let queries = rows.flat_map(|row| query(row).unwrap_or_else(|| vec![f32::NAN; plan.q.ne[0]])).collect();
        let token = |i: usize| first_token + (tile.stream * plan.per_stream() + i) as u64;
        let marks = tokens().map(|(i, seen)| marker.and_then(|marker| marker(token(i), &tile.keys_of(seen))));
        Given { queries, marks: marks.collect() }
    }
}

fn batch<'t>(tiles: &'t [Tile<'_>], given: &[Given]) -> Batch<'t> {
    let mut batch = Batch::default();
    for (tile, given) in tiles.iter().zip(given) {
        let (layer, plan) = (&tile.layer, tile.layer.plan);
        let heads = 0..plan.n_head();
        batch.layer(LayerInputs {
            keys: keys(tile),
            n_head: plan.n_head(),
            steps: plan.steps.clone(),
            slopes: heads.clone().map(|head| layer.slope(head)).collect(),
            sinks: heads.filter_map(|head| layer.sink(head)).collect(),
        });
        let queries = given.queries.chunks_exact(plan.q.ne[0] * plan.n_head());
        for ((seen, queries), marks) in tile.seen.iter().zip(queries).zip(&given.marks) {
            let keys = match &seen.some {
                None => attention::Seen::Range { first: seen.range.start, n: seen.range.len() },
                Some(some) => attention::Seen::List(some),
            };
            batch.token(keys, &seen.bias, queries, marks.as_ref().map(Marks::of_keys));
        }
    }
    batch
}

/// The pages that the tokens of a tile look at.
fn keys<'t>(tile: &'t Tile<'_>) -> Keys<'t> {
    let (rows, plan) = (&tile.layer.rows, tile.layer.plan);
    let first_row = plan.first_row(plan.k_stream(tile.stream));
    let ranges = || tile.seen.iter().filter(|seen| seen.len() > 0).map(|seen| &seen.range);
    let begin = first_row + ranges().map(|range| range.start).min().unwrap_or(0) as u64;
    let end = first_row + ranges().map(|range| range.end).max().unwrap_or(0) as u64;
    let (first, origin) = (first_row / PAGE, (first_row % PAGE) as usize);
    let page = |page: u64| if page < begin / PAGE { None } else { rows.page(page) };
    Keys {
        id: rows.id,
        again: tile.layer.is_cached(),
        n_embd: plan.k.ne[0],
        n_head: plan.n_head_kv(),
        first: (first, origin),
        pages: (first..end.div_ceil(PAGE)).map(page).collect(),
    }
}

/// Gives tiles what was found of them.
fn take(tiles: &mut [Tile<'_>], marks: Vec<Vec<Option<Marks>>>, found: &Weights) {
    let (mut weights, mut sinks, mut measured) = (&found.weights[..], &found.sinks[..], &found.measured[..]);
    for (tile, marks) in tiles.iter_mut().zip(marks) {
        let (own, rest) = weights.split_at(tile.weights.len());
        tile.weights.copy_from_slice(own);
        let (own_sinks, rest_sinks) = sinks.split_at(tile.sinks.len());
        tile.sinks.copy_from_slice(own_sinks);
        (weights, sinks) = (rest, rest_sinks);
        let n_head = tile.layer.plan.n_head();
        for marks in marks {
            let (own, rest) = measured.split_at(if marks.is_some() { n_head } else { 0 });
            measured = rest;
            tile.looked.push(MeasuredHeads { marks, heads: own.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::testing::SyntheticRun;
    use ggscope_compute::attention::Step::{Scale, Tanh};
    use ggscope_compute::{Device, Ran};

    /// What a token has in a layer.
    type Row = (u64, u32, Vec<KeyRef>, Vec<f32>, Vec<f32>);

    fn rows(made: &SyntheticRun, device: Option<Arc<Compute>>) -> (Vec<Row>, Walked) {
        let mut all = vec![];
        let walked = made.compute(device, None, |row, looked| {
            assert!(looked.is_none_or(|looked| looked.heads.is_empty()), "nobody asked for measures");
            all.push((row.token, row.layer, row.keys.to_vec(), row.weights.to_vec(), row.sinks.to_vec()));
        });
        (all, walked)
    }

    fn cases() -> Vec<SyntheticRun> {
        let plain = SyntheticRun::default();
        let cap = vec![Scale { by: 0.02, add: 0.0 }, Tanh, Scale { by: 5.0, add: 0.0 }];
        vec![
            plain.clone(),
            SyntheticRun { name: "one token", n: 1, ..plain.clone() },
            SyntheticRun { name: "many keys", n: 300, n_head: (3, 1), ..plain.clone() },
            SyntheticRun { name: "several layers", layers: vec![0, 3, 7], ..plain.clone() },
            SyntheticRun { name: "f32 keys and mask", ty: "f32", half_mask: false, n_embd: 67, ..plain.clone() },
            SyntheticRun { name: "bf16 keys", ty: "bf16", ..plain.clone() },
            SyntheticRun { name: "q8_0 keys", ty: "q8_0", n_embd: 64, ..plain.clone() },
            SyntheticRun { name: "q4_0 keys", ty: "q4_0", n_embd: 64, ..plain.clone() },
            SyntheticRun { name: "sliding window, soft cap", window: 9, steps: cap, ..plain.clone() },
            SyntheticRun { name: "ALiBi", max_bias: 8.0, n_head: (6, 6), ..plain.clone() },
            SyntheticRun { name: "sinks", sinks: true, blind: Some(3), ..plain.clone() },
            SyntheticRun { name: "two sequences", two: true, ..plain.clone() },
            SyntheticRun { name: "NaN in a query", odd: Some(f32::NAN), sinks: true, ..plain.clone() },
            SyntheticRun { name: "infinity in a query", odd: Some(f32::INFINITY), blind: Some(0), ..plain },
        ]
    }

    #[test]
    fn attention_on_an_emulated_gpu_is_that_of_the_cpu() {
        for device in [false, true].map(|backwards| Arc::new(Compute::emulated(backwards))) {
            for made in cases() {
                let (cpu, nowhere) = rows(&made, None);
                let (gpu, walked) = rows(&made, Some(device.clone()));
                assert_eq!(cpu.len(), made.n * made.layers.len(), "{}", made.name);
                assert_eq!((nowhere.ran.len(), gpu.len()), (0, cpu.len()), "{}", made.name);
                assert!(matches!(&walked.ran[..], [(Ran::Cuda(on), _)] if on == "emulated"), "{:?}", walked.ran);
                for (ours, theirs) in gpu.iter().zip(&cpu) {
                    assert_eq!((ours.0, ours.1, &ours.2), (theirs.0, theirs.1, &theirs.2), "{}", made.name);
                    for (a, b) in [(&ours.3, &theirs.3), (&ours.4, &theirs.4)] {
                        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5 || (a.is_nan() && b.is_nan());
                        assert!(a.len() == b.len() && a.iter().zip(b).all(near), "{}: {a:?} is not {b:?}", made.name);
                    }
                }
            }
        }
    }

    #[test]
    fn the_cpu_computes_what_is_too_little_for_a_gpu_and_says_so() {
        let device = Arc::new(Compute::open(Device::Auto, &[], None).unwrap());
        let (cpu, _) = rows(&SyntheticRun::default(), None);
        let (auto, walked) = rows(&SyntheticRun::default(), Some(device));
        assert_eq!(auto, cpu);
        let [took] = &walked.took("attention")[..] else { panic!("{:?}", walked.ran) };
        assert_eq!(took.on, "cpu (104960 multiplications: too few to pay for the trip to a GPU)");
    }
}
