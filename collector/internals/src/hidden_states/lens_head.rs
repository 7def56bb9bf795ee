//! What the logit lens multiplies with: the final norm and the output matrix of the model's file, with the operations and
//! numbers that the recorded graph has for them. That the file is the model that ran is checked tensor by tensor.

use super::LayersError;
use super::evaluated::Evaluated;
use super::head::{Head, Step};
use crate::adapters::{Adapter, Matrices, Weights};
use crate::model_tensor::Used;
use ggscope_compute::{self as analytics, Encoding, Rounding, Values};
use ggscope_format::TensorId;
use ggscope_model::ggml::GgmlType;
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::Tensor;
use ggscope_trace::Trace;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_128;

/// Elements that share a scale where ggml multiplies with types of 256 elements (`QK_K`).
const QK_K: u64 = 256;

/// A model's way from hidden states to logits.
pub(super) struct LensHead<'m> {
    /// What is done before the matrix, with the weights of each step.
    before: Vec<(Step, Vec<f32>)>,
    /// The output matrix, `[n_in, n_out]`.
    matrix: Tensor<'m>,
    pub n_in: usize,
    pub n_out: usize,
    /// Adapters on the matrix.
    adapters: Vec<Weights>,
    /// A number for each row of the matrix.
    bias: Option<Vec<f32>>,
    /// Scales and caps behind it.
    after: Vec<Step>,
}

impl<'m> LensHead<'m> {
    /// Takes `head` of the evaluation's graph with the weights of `model`.
    ///
    /// # Errors
    /// When the model is not the one that ran, or does something behind its last layer that is not known.
    pub fn new(evaluated: &Evaluated, head: &Head, model: &'m Gguf) -> Result<LensHead<'m>, LayersError> {
        let row = |id: TensorId| -> Result<Vec<f32>, LayersError> {
            let tensor = same(evaluated, model, id)?;
            let mut out = vec![];
            let read = tensor.dequantize(0..tensor.elements(), &mut out);
            read.map_err(|e| LayersError::Model(format!("{}: {e}", evaluated.name(id))))?;
            tensor.still()?;
            Ok(out)
        };
        let (mut before, mut lens_head) = (vec![], None::<LensHead<'m>>);
        for step in &head.steps {
            match (&mut lens_head, step) {
                (None, &Step::Matrix(id)) => {
                    lens_head = Some(LensHead::of(evaluated, model, id, std::mem::take(&mut before))?)
                }
                (None, &(Step::Mul(id) | Step::Add(id))) => before.push((step.clone(), row(id)?)),
                (None, _) => before.push((step.clone(), vec![])),
                // Their numbers come from the trace: see `adapt`.
                (Some(lens_head), Step::Adapter(_)) if lens_head.bias.is_none() && lens_head.after.is_empty() => {}
                (Some(lens_head), &Step::Add(id)) if lens_head.bias.is_none() && lens_head.after.is_empty() => {
                    lens_head.bias = Some(row(id)?);
                }
                (Some(lens_head), Step::Scale { .. } | Step::Tanh) => lens_head.after.push(step.clone()),
                (Some(_), _) => {
                    return Err(LayersError::Model(format!("what follows the output matrix is not known: {step:?}")));
                }
            }
        }
        lens_head.ok_or_else(|| LayersError::Model("the model has no output matrix".into()))
    }

    fn of(
        evaluated: &Evaluated,
        model: &'m Gguf,
        id: TensorId,
        before: Vec<(Step, Vec<f32>)>,
    ) -> Result<LensHead<'m>, LayersError> {
        let matrix = same(evaluated, model, id)?;
        let [n_in, n_out, a, b] = matrix.info.ne.map(|ne| usize::try_from(ne).unwrap_or(0));
        if n_in == 0 || n_out == 0 || u32::try_from(n_out).is_err() || (a, b) != (1, 1) {
            return Err(LayersError::Model(format!("{} is no matrix", evaluated.name(id))));
        }
        Ok(LensHead { before, matrix, n_in, n_out, adapters: vec![], bias: None, after: vec![] })
    }

    /// Takes the adapters that the run added to the matrix, from the trace. `known` are matrices that were read already.
    ///
    /// # Errors
    /// When the trace does not have their numbers.
    pub fn adapt(
        &mut self,
        trace: &Trace,
        known: &mut Matrices,
        evaluated: &Evaluated,
        head: &Head,
    ) -> Result<(), LayersError> {
        for step in &head.steps {
            let Step::Adapter(found) = step else { continue };
            let adapter =
                Adapter::of(&evaluated.view, found).ok_or("an adapter on the output matrix is not in its graph");
            let weights = adapter.map_err(str::to_owned).and_then(|a| a.weights(trace, known, self.n_in, self.n_out));
            self.adapters.push(weights.map_err(LayersError::Model)?);
        }
        Ok(())
    }

    /// Whether another does the same with the same numbers: that of another graph of the same model.
    pub fn is_like(&self, other: &LensHead<'_>) -> bool {
        let alike = |a: &Step, b: &Step| match (a, b) {
            (Step::Mul(_), Step::Mul(_)) | (Step::Add(_), Step::Add(_)) => true,
            _ => a == b,
        };
        let before = |a: &(Step, Vec<f32>), b: &(Step, Vec<f32>)| alike(&a.0, &b.0) && a.1 == b.1;
        let (a, b) = (self.matrix.info, other.matrix.info);
        (&a.name, a.offset, a.ne, self.matrix.path()) == (&b.name, b.offset, b.ne, other.matrix.path())
            && self.before.len() == other.before.len()
            && self.before.iter().zip(&other.before).all(|(a, b)| before(a, b))
            && (&self.bias, &self.after, &self.adapters) == (&other.bias, &other.after, &other.adapters)
    }

    /// What tells it from others.
    pub fn name(&self) -> String {
        let (path, info) = (self.matrix.path().display(), self.matrix.info);
        let steps: Vec<&Step> = self.before.iter().map(|b| &b.0).collect();
        let stamp = self.matrix.stamp();
        let bits = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let of_adapter = |a: &Weights| (a.scale, xxh3_128(&bits(&a.a)), xxh3_128(&bits(&a.b)));
        let adapters: Vec<_> = self.adapters.iter().map(of_adapter).collect();
        format!("{path} {stamp:?} {} {} {:?} {steps:?} {:?} {adapters:?}", info.name, info.offset, info.ne, self.after)
    }

    /// Multiplications that a hidden state takes.
    pub fn work(&self) -> u64 {
        (self.n_in as u64).saturating_mul(self.n_out as u64)
    }

    /// Whether a hidden state is what the steps begin with.
    ///
    /// # Errors
    /// When it has another number of elements than the matrix or the norm takes.
    pub fn fits(&self, x: &[f32]) -> Result<(), LayersError> {
        let (n, m) = (x.len(), self.n_in);
        if n != m {
            return Err(LayersError::Model(format!(
                "hidden states have {n} elements, and the output matrix takes {m}"
            )));
        }
        let weights = self.before.iter().find(|(_, by)| !by.is_empty() && by.len() != n);
        let wrong = weights.map(|(_, by)| format!("the final norm has {} weights for {n} elements", by.len()));
        wrong.map_or(Ok(()), |wrong| Err(LayersError::Model(wrong)))
    }

    /// Does something with it as what is computed with.
    ///
    /// # Errors
    /// When the model's file has changed since it was opened.
    pub fn with_head<T>(&self, f: impl FnOnce(&analytics::Head) -> T) -> Result<T, LayersError> {
        let ty = self.matrix.ty;
        let place = |element: usize| element / ty.block_size() as usize * ty.type_size() as usize;
        let dequantize = |range: Range<usize>, out: &mut [f32]| {
            let bytes = &self.matrix.bytes()[place(range.start)..place(range.end)];
            // Its type is one of those that ggml can turn into numbers, and its rows are whole blocks.
            if ty.dequantize(bytes, out).is_err() {
                out.fill(f32::NAN);
            }
        };
        let before = self.before.iter().filter_map(|(step, by)| in_numbers(step, by));
        let done = f(&analytics::Head {
            before: before.collect(),
            rounding: rounding(ty),
            matrix: Values::Encoded {
                count: self.n_in * self.n_out,
                bytes: self.matrix.bytes(),
                encoding: Encoding::from_ggml(ty.id()),
                dequantize: &dequantize,
            },
            n_in: self.n_in,
            n_out: self.n_out,
            adapters: self.adapters.iter().map(in_analytics).collect(),
            bias: self.bias.as_deref(),
            after: self.after.iter().filter_map(|step| in_numbers(step, &[])).collect(),
        });
        self.matrix.still()?;
        Ok(done)
    }
}

/// A step with its weights; the matrix is none.
fn in_numbers<'a>(step: &Step, by: &'a [f32]) -> Option<analytics::Step<'a>> {
    Some(match *step {
        Step::RmsNorm(eps) => analytics::Step::RmsNorm(eps),
        Step::LayerNorm(eps) => analytics::Step::LayerNorm(eps),
        Step::Mul(_) => analytics::Step::Mul(by),
        Step::Add(_) => analytics::Step::Add(by),
        Step::Scale { by, add } => analytics::Step::Scale { by, add },
        Step::Tanh => analytics::Step::Tanh,
        Step::Matrix(_) | Step::Adapter(_) => return None,
    })
}

fn in_analytics(adapter: &Weights) -> analytics::Adapter<'_> {
    analytics::Adapter { a: &adapter.a, b: &adapter.b, rank: adapter.rank, scale: adapter.scale }
}

/// How ggml's CPU backend rounds what it multiplies with a matrix of a type (`vec_dot_type`).
fn rounding(ty: GgmlType) -> Rounding {
    match ty.name() {
        "f32" => Rounding::Exact,
        "f16" => Rounding::F16,
        "bf16" => Rounding::BF16,
        // The 8-bit types that ggml takes here differ in nothing that a product shows.
        _ if ty.block_size() == QK_K => Rounding::Q8_K,
        _ => Rounding::Q8_0,
    }
}

/// A tensor of the model's file that the graph used, if it is the same there.
fn same<'m>(evaluated: &Evaluated, model: &'m Gguf, id: TensorId) -> Result<Tensor<'m>, LayersError> {
    let used = Used::of(&evaluated.view, id);
    let used = used.ok_or_else(|| LayersError::Model("a tensor is not in its graph".into()))?;
    let tensor = Tensor::find(model, &used.name)?.dequantizable()?;
    used.check(&tensor).map_err(LayersError::Model)?;
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_compute::attention::softmax::rounded;
    use ggscope_compute::{Compute, Device, Head, Row};

    /// What a row is rounded to: its logits by the unit matrix.
    fn by_unit_matrix(row: &[f32], rounding: Rounding) -> Vec<f32> {
        let n = row.len();
        let unit: Vec<f32> = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
        let (before, after, matrix) = (vec![], vec![], Values::F32(&unit));
        let head = Head { before, rounding, matrix, n_in: n, n_out: n, adapters: vec![], bias: None, after };
        let all: Vec<u32> = (0..n as u32).collect();
        let rows = [Row { state: row, asked: &all, theirs: None }];
        let (found, _) = Compute::open(Device::Cpu, &[], None).unwrap().lens(&head, &rows, 1).unwrap();
        found[0].asked.iter().map(|a| a.0).collect()
    }

    #[test]
    fn rows_are_rounded_to_the_last_bit_as_ggml_does_it_for_the_type_of_the_matrix() {
        let row: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin() * 10.0_f32.powi(i % 7 - 3)).collect();
        for name in ["f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q8_0", "iq4_nl"] {
            let ty = GgmlType::from_name(name).unwrap();
            let mut theirs = row.clone();
            rounded(&mut theirs, ty);
            let ours = by_unit_matrix(&row, rounding(ty));
            let same = ours.iter().zip(&theirs).all(|(a, b)| a == b);
            assert!(same, "{name}: {ours:?} is not {theirs:?}");
        }
        assert_eq!(rounding(GgmlType::from_name("q6_K").unwrap()), Rounding::Q8_K);
    }

    #[test]
    fn a_gpu_finds_in_ggml_s_own_blocks_what_the_cpu_finds() {
        let (n_in, n_out) = (512, 300);
        let numbers = |n: usize, by: f32| (0..n).map(|i| (i as f32 * by).sin()).collect::<Vec<f32>>();
        let (state, gain) = (numbers(n_in, 0.7), numbers(n_in, 0.3));
        for name in ["q4_K", "q6_K", "q5_K", "q8_0", "q5_1", "f16"] {
            let ty = GgmlType::from_name(name).unwrap();
            let bytes = ty.quantize(&numbers(n_in * n_out, 0.013), n_in).unwrap();
            let row = n_in / ty.block_size() as usize * ty.type_size() as usize;
            let dequantize = |range: Range<usize>, out: &mut [f32]| {
                ty.dequantize(&bytes[range.start / n_in * row..range.end / n_in * row], out).unwrap();
            };
            let encoding = Encoding::from_ggml(ty.id());
            let matrix = Values::Encoded { count: n_in * n_out, bytes: &bytes, encoding, dequantize: &dequantize };
            let before = vec![analytics::Step::RmsNorm(1e-5), analytics::Step::Mul(&gain)];
            let head = Head {
                before,
                rounding: rounding(ty),
                matrix,
                n_in,
                n_out,
                adapters: vec![],
                bias: None,
                after: vec![],
            };
            let rows = [Row { state: &state, asked: &[7], theirs: None }];
            let find = |compute: &Compute| compute.lens(&head, &rows, 5).unwrap();
            let (cpu, _) = find(&Compute::open(Device::Cpu, &[], None).unwrap());
            let (gpu, ran) = find(&Compute::emulated(false));
            assert_eq!(ran.to_string(), "emulated");
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-4 * cpu[0].top[0].1.abs();
            assert!(gpu[0].top.iter().zip(&cpu[0].top).all(|(a, b)| a.0 == b.0 && near(a.1, b.1)), "{name}");
            assert!((gpu[0].entropy - cpu[0].entropy).abs() < 1e-3 && near(gpu[0].asked[0].0, cpu[0].asked[0].0));
        }
    }
}
