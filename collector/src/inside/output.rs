//! What each head adds to the residual stream: its weighted values through its part of the output projection.

use super::attention::{Attention, InsideError};
use ggscope_model::gguf::Gguf;
use rayon::prelude::*;

/// Adds to an attention with weighted values how long each head's contribution is: the Euclidean norm of
/// W_o\[:, head\] · Σ weights · V, with the matrix W_o of the model's file, dequantised. Biases belong to no head.
///
/// # Errors
/// When the values are not there, or the file has no such matrix.
pub fn add_contributions(attention: &mut Attention, model: &Gguf) -> Result<(), InsideError> {
    let unknown = |why: String| InsideError::Unknown(attention.eval, attention.layer, why);
    let name = attention.output.clone().ok_or_else(|| {
        unknown("the results of its heads are changed before a matrix takes them: a head's share cannot be told".into())
    })?;
    let path = model.first().path().display();
    let (file, tensor) = model
        .tensors()
        .find(|(_, tensor)| tensor.name == name)
        .ok_or_else(|| unknown(format!("{path} has no tensor {name}: is it the model that was recorded?")))?;
    let bytes = file.weights(tensor).map_err(|e| unknown(format!("{name} in {path}: {e}")))?;
    let ty = tensor.ggml_type().filter(|ty| ty.can_dequantize());
    let ty = ty.ok_or_else(|| unknown(format!("{name} in {path} has a type that cannot be dequantised")))?;
    let n_in = usize::try_from(tensor.ne[0]).unwrap_or(0);
    let row_bytes = ty.row_size(n_in as u64).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let n_embd = attention.heads.iter().find_map(|head| head.weighted.as_ref()).map_or(0, Vec::len);
    let (Some(row_bytes), true) = (row_bytes, n_embd > 0 && n_embd.checked_mul(attention.n_head) == Some(n_in)) else {
        return Err(unknown(format!("{name} in {path} does not take what the heads give")));
    };
    let heads: Vec<(usize, &[f32])> =
        attention.heads.iter().filter_map(|head| Some((head.head, head.weighted.as_deref()?))).collect();
    let squares = bytes
        .par_chunks_exact(row_bytes)
        .map_init(
            || vec![0.0; n_in],
            |row, bytes| {
                if ty.dequantize(bytes, row).is_err() {
                    row.fill(f32::NAN);
                }
                let dot = |&(head, values): &(usize, &[f32])| {
                    let part = row[head * n_embd..].iter().zip(values);
                    let dot = part.fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b));
                    dot * dot
                };
                heads.iter().map(dot).collect::<Vec<f64>>()
            },
        )
        .reduce(|| vec![0.0; heads.len()], |a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect());
    let mut squares = squares.into_iter();
    for head in attention.heads.iter_mut().filter(|head| head.weighted.is_some()) {
        head.contribution = squares.next().map(|sum| sum.sqrt() as f32);
    }
    Ok(())
}
