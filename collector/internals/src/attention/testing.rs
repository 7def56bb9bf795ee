//! An evaluation made by hand, for tests: every token is one of the cache too, with what a model, its cache and its mask can be.

use crate::attention::cache_rows::{Rows, Shape};
use crate::attention::evaluated::AttentionEvaluation;
use crate::attention::layer::{Caches, LayerState, Whole};
use crate::attention::on_gpu::{Marker, OnGpu};
use crate::attention::owners::Owners;
use crate::attention::plan::{CacheKey, LayerPlan, Look, Source};
use crate::attention::row::{TokenRow, Walked};
use crate::attention::tile::MeasuredHeads;
use ggscope_compute::Compute;
use ggscope_compute::attention::Step;
use ggscope_format::columns::Row;
use ggscope_format::record::{Evaluation, Value};
use ggscope_format::{Bytes, TensorId, TokenPhase};
use ggscope_model::ggml::GgmlType;
use ggscope_query::values::Stretches;
use half::f16;
use std::ops::ControlFlow;
use std::sync::Arc;

const Q: TensorId = TensorId(1);
const MASK: TensorId = TensorId(2);
const SINKS: TensorId = TensorId(3);
const K: TensorId = TensorId(4);

/// What there is of it.
#[derive(Clone)]
pub struct SyntheticRun {
    /// What it shows.
    pub name: &'static str,
    /// Type of the cache.
    pub ty: &'static str,
    /// Elements of a head.
    pub n_embd: usize,
    /// Heads of the queries, and of the keys.
    pub n_head: (usize, usize),
    /// Tokens, and keys.
    pub n: usize,
    /// How many keys back a token sees.
    pub window: usize,
    /// What is done to products.
    pub steps: Vec<Step>,
    /// Largest ALiBi bias.
    pub max_bias: f32,
    /// Whether heads have sinks.
    pub sinks: bool,
    /// Whether the mask is of 16-bit floats.
    pub half_mask: bool,
    /// Whether every second token is of another sequence.
    pub two: bool,
    /// A token that sees nothing.
    pub blind: Option<usize>,
    /// An element of token 5's query.
    pub odd: Option<f32>,
    /// Layers, all alike but for their numbers.
    pub layers: Vec<u32>,
}

impl Default for SyntheticRun {
    fn default() -> SyntheticRun {
        SyntheticRun {
            name: "plain",
            ty: "f16",
            n_embd: 32,
            n_head: (4, 2),
            n: 40,
            window: usize::MAX,
            steps: vec![Step::Scale { by: 0.3, add: 0.0 }],
            max_bias: 0.0,
            sinks: false,
            half_mask: true,
            two: false,
            blind: None,
            odd: None,
            layers: vec![0],
        }
    }
}

fn bytes(floats: impl IntoIterator<Item = f32>) -> Vec<u8> {
    floats.into_iter().flat_map(f32::to_le_bytes).collect()
}

impl SyntheticRun {
    /// Numbers between -2 and 2 without a pattern, other ones for each seed.
    fn numbers(seed: u64, n: usize) -> Vec<f32> {
        let mut random = ggscope_trace::testing::Random(seed * 977 + 5);
        (0..n).map(|_| random.below(4001) as f32 / 1000.0 - 2.0).collect()
    }

    fn look(root: TensorId, ne: [usize; 4], size: u64) -> Look {
        let nb = [size, size * ne[0] as u64, size * (ne[0] * ne[1]) as u64, size * (ne[0] * ne[1] * ne[2]) as u64];
        Look { root, offset: 0, ne, nb }
    }

    fn plan(&self, layer: u32) -> (LayerPlan, CacheKey) {
        let ty = GgmlType::from_name(self.ty).unwrap();
        let head = ty.row_size(self.n_embd as u64).unwrap() as usize;
        let (n_head, n_head_kv) = self.n_head;
        let shape =
            Shape { row_bytes: head * n_head_kv, ty, n_embd: self.n_embd, n_head: n_head_kv, first: 0, stride: head };
        let key = (Default::default(), u64::from(layer));
        let mask_size = if self.half_mask { 2 } else { 4 };
        let plan = LayerPlan {
            layer,
            node: TensorId(9),
            op: "SOFT_MAX".into(),
            q: SyntheticRun::look(Q, [self.n_embd, self.n, n_head, 1], 4),
            k: SyntheticRun::look(K, [self.n_embd, self.n, n_head_kv, 1], 1),
            k_shape: shape,
            k_source: Source::Cache(key),
            mask: Some((SyntheticRun::look(MASK, [self.n, self.n, 1, 1], mask_size), self.half_mask)),
            sinks: self.sinks.then_some(SINKS),
            steps: self.steps.clone(),
            max_bias: self.max_bias,
            values: None,
            output: None,
        };
        (plan, key)
    }

    fn mask(&self) -> Vec<u8> {
        let bias = |i: usize, j: usize| {
            let is_seen = j <= i && i - j < self.window && self.blind != Some(i) && !(self.two && (i - j) % 2 == 1);
            let far = if self.max_bias > 0.0 { -((i - j.min(i)) as f32) } else { 0.0 };
            if is_seen { far } else { f32::NEG_INFINITY }
        };
        let all = (0..self.n).flat_map(|i| (0..self.n).map(move |j| bias(i, j)));
        if self.half_mask { all.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect() } else { bytes(all) }
    }

    fn caches(&self, plan: &LayerPlan, key: CacheKey, caches: &mut Caches) {
        let row =
            |j: usize| SyntheticRun::numbers(100 + 31 * u64::from(plan.layer) + j as u64, self.n_embd * self.n_head.1);
        let mut rows = Rows::new(plan.k_shape).unwrap();
        let mut owners = Owners::default();
        rows.begin();
        owners.begin();
        for j in 0..self.n {
            let floats = row(j);
            let bytes = match self.ty {
                "f32" => bytes(floats),
                _ => plan.k_shape.ty.quantize(&floats, self.n_embd).unwrap(),
            };
            rows.take((j * plan.k_shape.row_bytes) as u64, &bytes);
            owners.place(j as u64, Some(j as u64));
        }
        owners.end(rows.told());
        caches.rows.insert(key, vec![rows]);
        caches.owners.insert(key, owners);
    }

    /// Computes all of it, on a device if there is one, and calls `f` for every row.
    pub fn compute(
        &self,
        device: Option<Arc<Compute>>,
        marker: Option<&Marker<'_>>,
        mut f: impl FnMut(&TokenRow<'_>, Option<&MeasuredHeads>),
    ) -> Walked {
        let mut whole = Whole::default();
        let mut put = |tensor: TensorId, bytes: Vec<u8>| {
            let mut all = Stretches::default();
            all.add(Value { tensor, total: Bytes(bytes.len() as u64), bytes, ..Value::default() });
            whole.insert(tensor, all);
        };
        let mut queries = SyntheticRun::numbers(7, self.n_embd * self.n * self.n_head.0);
        if let Some(odd) = self.odd {
            queries[5 * self.n_embd + 1] = odd;
        }
        put(Q, bytes(queries));
        put(MASK, self.mask());
        put(SINKS, bytes((0..self.n_head.0).map(|head| head as f32 / 2.0)));
        let plans: Vec<_> = self.layers.iter().map(|&layer| self.plan(layer)).collect();
        let mut caches = Caches::default();
        plans.iter().for_each(|(plan, key)| self.caches(plan, *key, &mut caches));
        let evaluation = Evaluation { n_tokens: self.n as u32, ..Evaluation::default() };
        let row =
            Row { evaluation, phases: vec![TokenPhase::Prompt; self.n], requests: vec![None; self.n], first_token: 0 };
        let (mut walked, mut on_gpu) = (Walked::default(), device.map(OnGpu::new));
        let mut evaluated = AttentionEvaluation::new((&row, Arc::default()), &mut walked, on_gpu.as_mut(), marker);
        let mut each = |row: &TokenRow<'_>, looked: Option<&MeasuredHeads>| {
            f(row, looked);
            ControlFlow::Continue(())
        };
        for (plan, _) in &plans {
            let layer = LayerState::new(plan, self.n, &whole, &caches).unwrap();
            assert!(evaluated.layer(layer, &(0..self.n), &mut each).is_continue());
        }
        assert!(evaluated.hand_on(&mut each).is_continue());
        walked.tokens = self.n as u64;
        walked
    }
}
