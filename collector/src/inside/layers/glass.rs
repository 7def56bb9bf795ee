//! What the logit lens is ground from: the final norm and the output matrix of the model's file, with the operations and
//! numbers that the recorded graph has for them. That the file is the model that ran is checked tensor by tensor.

use super::LayersError;
use super::evaluated::Evaluated;
use super::head::{Head, Step};
use super::measure::dot;
use super::project::Output;
use ggscope_format::TensorId;
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::Tensor;

/// A model's way from hidden states to logits.
pub(super) struct Glass<'m> {
    /// What is done before the matrix, with the weights of each step.
    before: Vec<(Step, Vec<f32>)>,
    pub output: Output<'m>,
}

impl<'m> Glass<'m> {
    /// Takes `head` of the evaluation's graph with the weights of `model`.
    ///
    /// # Errors
    /// When the model is not the one that ran, or does something behind its last layer that is not known.
    pub fn new(evaluated: &Evaluated, head: &Head, model: &'m Gguf) -> Result<Glass<'m>, LayersError> {
        let row = |id: TensorId| -> Result<Vec<f32>, LayersError> {
            let tensor = same(evaluated, model, id)?;
            let mut out = vec![];
            let read = tensor.dequantize(0..tensor.elements(), &mut out);
            read.map_err(|e| LayersError::Model(format!("{}: {e}", evaluated.name(id))))?;
            Ok(out)
        };
        let (mut before, mut output) = (vec![], None::<Output<'m>>);
        for step in &head.steps {
            match (&mut output, step) {
                (None, &Step::Matrix(id)) => output = Some(matrix(evaluated, model, id)?),
                (None, &(Step::Mul(id) | Step::Add(id))) => before.push((step.clone(), row(id)?)),
                (None, _) => before.push((step.clone(), vec![])),
                (Some(output), &Step::Add(id)) if output.bias.is_none() && output.after.is_empty() => {
                    output.bias = Some(row(id)?);
                }
                (Some(output), Step::Scale { .. } | Step::Tanh) => output.after.push(step.clone()),
                (Some(_), _) => {
                    return Err(LayersError::Model(format!("what follows the output matrix is not known: {step:?}")));
                }
            }
        }
        let output = output.ok_or_else(|| LayersError::Model("the model has no output matrix".into()))?;
        Ok(Glass { before, output })
    }

    /// A hidden state as the output matrix takes it.
    ///
    /// # Errors
    /// When it has another number of elements.
    pub fn normed(&self, x: &[f32]) -> Result<Vec<f32>, LayersError> {
        let mut x = x.to_vec();
        for (step, by) in &self.before {
            apply(step, by, &mut x)?;
        }
        if x.len() != self.output.n_in {
            let (n, m) = (x.len(), self.output.n_in);
            return Err(LayersError::Model(format!(
                "hidden states have {n} elements, and the output matrix takes {m}"
            )));
        }
        Ok(x)
    }
}

/// Does one step before the output matrix, as ggml's CPU backend does it.
fn apply(step: &Step, by: &[f32], x: &mut [f32]) -> Result<(), LayersError> {
    let n = x.len() as f64;
    match *step {
        Step::RmsNorm(eps) => {
            let mean = (dot(x, x) / n) as f32;
            let scale = 1.0 / (mean + eps).sqrt();
            x.iter_mut().for_each(|v| *v *= scale);
        }
        Step::LayerNorm(eps) => {
            let mean = (x.iter().map(|&v| f64::from(v)).sum::<f64>() / n) as f32;
            x.iter_mut().for_each(|v| *v -= mean);
            let scale = 1.0 / ((dot(x, x) / n) as f32 + eps).sqrt();
            x.iter_mut().for_each(|v| *v *= scale);
        }
        Step::Mul(_) | Step::Add(_) if by.len() != x.len() => {
            return Err(LayersError::Model(format!(
                "the final norm has {} weights for {} elements",
                by.len(),
                x.len()
            )));
        }
        Step::Mul(_) => x.iter_mut().zip(by).for_each(|(v, w)| *v *= w),
        Step::Add(_) => x.iter_mut().zip(by).for_each(|(v, w)| *v += w),
        Step::Scale { by, add } => x.iter_mut().for_each(|v| *v = *v * by + add),
        Step::Tanh => x.iter_mut().for_each(|v| *v = v.tanh()),
        // The first one ends what comes before it.
        Step::Matrix(_) => {}
    }
    Ok(())
}

fn matrix<'m>(evaluated: &Evaluated, model: &'m Gguf, id: TensorId) -> Result<Output<'m>, LayersError> {
    let tensor = same(evaluated, model, id)?;
    let [n_in, n_out, a, b] = tensor.info.ne.map(|ne| usize::try_from(ne).unwrap_or(0));
    if n_in == 0 || n_out == 0 || u32::try_from(n_out).is_err() || (a, b) != (1, 1) {
        return Err(LayersError::Model(format!("{} is no matrix", evaluated.name(id))));
    }
    Ok(Output { ty: tensor.ty, bytes: tensor.bytes(), n_in, n_out, bias: None, after: vec![] })
}

/// A tensor of the model's file that the graph used, if it is the same there: name, shape, type, and the place in the file
/// where the graph knows it.
fn same<'m>(evaluated: &Evaluated, model: &'m Gguf, id: TensorId) -> Result<Tensor<'m>, LayersError> {
    let used = evaluated.view.stored.graph.tensor(id);
    let used = used.ok_or_else(|| LayersError::Model("a tensor is not in its graph".into()))?;
    let tensor = Tensor::find(model, &used.name)?.dequantizable()?;
    let dtype = evaluated.view.dtype(used);
    let offset = evaluated.view.stored.origin(id).map(|o| o.1);
    let info = tensor.info;
    if info.ne != used.ne || tensor.ty.name() != dtype || offset.is_some_and(|o| o != info.offset) {
        let place = |offset: Option<u64>| offset.map_or(String::new(), |o| format!(" at byte {o}"));
        return Err(LayersError::Model(format!(
            "{} is not the model that ran: its {} is {} {:?}{}, and the run used {dtype} {:?}{}",
            model.first().path().display(),
            used.name,
            tensor.ty,
            info.ne,
            place(Some(info.offset)),
            used.ne,
            place(offset)
        )));
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_are_those_of_ggml() {
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let mut x = [3.0, 4.0];
        apply(&Step::RmsNorm(0.0), &[], &mut x).unwrap();
        assert!(close(&x, &[3.0 / 12.5_f32.sqrt(), 4.0 / 12.5_f32.sqrt()]), "{x:?}");
        let mut x = [1.0, 3.0];
        apply(&Step::LayerNorm(3.0), &[], &mut x).unwrap();
        assert!(close(&x, &[-0.5, 0.5]), "{x:?}");
        apply(&Step::Mul(TensorId(0)), &[2.0, 4.0], &mut x).unwrap();
        apply(&Step::Add(TensorId(0)), &[1.0, 1.0], &mut x).unwrap();
        assert!(close(&x, &[0.0, 3.0]), "{x:?}");
        assert!(apply(&Step::Mul(TensorId(0)), &[1.0], &mut x).is_err());
    }
}
