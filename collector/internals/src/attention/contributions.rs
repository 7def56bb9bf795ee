//! What each head adds to the residual stream: its weighted values through its part of the output projection.

use crate::adapters::{Matrices, Weights};
use crate::attention::token::Attention;
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::Tensor;
use ggscope_trace::Trace;
use rayon::prelude::*;

/// Adds to an attention with weighted values how long each head's contribution is: the Euclidean norm of
/// W_o\[:, head\] · Σ weights · V, with the matrix W_o of the model's file, dequantised, and with the adapters that the run added
/// to it. Biases belong to no head.
///
/// # Errors
/// When the values are not there, the file's matrix is not the one that the run used, or the trace has an adapter without its
/// numbers; in words for the user.
pub fn add_contributions(attention: &mut Attention, trace: &Trace, model: &Gguf) -> Result<(), String> {
    let used = attention
        .matrix
        .as_ref()
        .ok_or("the results of its heads are changed before a matrix takes them: a head's share cannot be told")?;
    let find = || Tensor::find(model, &used.name)?.dequantizable();
    let tensor = find().map_err(|error| error.to_string())?;
    used.check(&tensor)?;
    let (ty, n_in) = (tensor.ty, usize::try_from(tensor.info.ne[0]).unwrap_or(0));
    let row_bytes = ty.row_size(n_in as u64).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let n_embd = attention.heads.iter().find_map(|head| head.weighted.as_ref()).map_or(0, Vec::len);
    let (Some(row_bytes), true) = (row_bytes, n_embd > 0 && n_embd.checked_mul(attention.n_head) == Some(n_in)) else {
        return Err(format!("{} in {} does not take what the heads give", used.name, tensor.path().display()));
    };
    let n_out = usize::try_from(tensor.info.ne[1]).unwrap_or(0);
    let mut known = Matrices::default();
    let adapters = attention.adapters.iter().map(|adapter| adapter.weights(trace, &mut known, n_in, n_out));
    let adapters = adapters.collect::<Result<Vec<Weights>, String>>()?;
    let heads: Vec<(usize, Vec<f32>, Vec<f64>)> = attention
        .heads
        .iter()
        .filter_map(|head| {
            let mut values = head.weighted.clone()?;
            if let Some(n) = attention.turned {
                values.chunks_exact_mut(n).for_each(turn);
            }
            let narrow = adapters.iter().flat_map(|adapter| narrowed(adapter, n_in, head.head * n_embd, &values));
            let narrow = narrow.collect();
            Some((head.head, values, narrow))
        })
        .collect();
    let squares = tensor
        .bytes()
        .par_chunks_exact(row_bytes)
        .enumerate()
        .map_init(
            || vec![0.0; n_in],
            |row, (i, bytes)| {
                if ty.dequantize(bytes, row).is_err() {
                    row.fill(f32::NAN);
                }
                let of_adapters: Vec<f32> = adapters
                    .iter()
                    .flat_map(|adapter| &adapter.b[i * adapter.rank..][..adapter.rank])
                    .copied()
                    .collect();
                let dot = |(head, values, narrow): &(usize, Vec<f32>, Vec<f64>)| {
                    let part = row[head * n_embd..].iter().zip(values);
                    let dot = part.fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b));
                    let added = of_adapters.iter().zip(narrow).fold(0.0, |sum, (b, x)| sum + f64::from(*b) * x);
                    (dot + added) * (dot + added)
                };
                heads.iter().map(dot).collect::<Vec<f64>>()
            },
        )
        .reduce(|| vec![0.0; heads.len()], |a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect());
    tensor.still().map_err(|error| error.to_string())?;
    let mut squares = squares.into_iter();
    for head in attention.heads.iter_mut().filter(|head| head.weighted.is_some()) {
        head.contribution = squares.next().map(|sum| sum.sqrt() as f32);
    }
    Ok(())
}

/// What an adapter's first matrix gives of one head's values, which begin at `first` of what it takes.
fn narrowed(adapter: &Weights, n_in: usize, first: usize, values: &[f32]) -> Vec<f64> {
    let dot =
        |row: &[f32]| row[first..].iter().zip(values).fold(0.0, |sum, (a, x)| sum + f64::from(*a) * f64::from(*x));
    adapter.a.chunks_exact(n_in).map(|row| dot(row) * f64::from(adapter.scale)).collect()
}

/// Multiplies with the orthonormal Walsh-Hadamard matrix of as many rows, a power of two, in place (Fino and Algazi, *Unified
/// matrix treatment of the fast Walsh-Hadamard transform*, 1976).
fn turn(values: &mut [f32]) {
    let mut step = 1;
    while step < values.len() {
        for pair in values.chunks_exact_mut(2 * step) {
            let (a, b) = pair.split_at_mut(step);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        step *= 2;
    }
    let by = (values.len() as f32).sqrt().recip();
    values.iter_mut().for_each(|x| *x *= by);
}

#[cfg(test)]
mod tests {
    use super::turn;

    #[test]
    fn turning_is_the_product_with_the_matrix_of_signs_and_turning_twice_is_nothing() {
        let values: Vec<f32> = (0..16).map(|i| (i * i % 7) as f32 - 2.5).collect();
        let mut turned = values.clone();
        turn(&mut turned);
        for (i, &found) in turned.iter().enumerate() {
            let sign = |j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            let sum: f32 = values.iter().enumerate().map(|(j, x)| sign(j) * x).sum();
            assert!((found - sum / 4.0).abs() < 1e-5);
        }
        turn(&mut turned);
        assert!(values.iter().zip(&turned).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
