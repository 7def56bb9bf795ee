//! How far a tensor would be from itself in every type that ggml can make.

use super::difference::{Difference, Pair, Sums, in_order};
use super::stream::pieces;
use super::{QuantError, Tensor};
use crate::ggml::{ConvertError, GgmlType};
use serde::Serialize;
use std::sync::OnceLock;
use utoipa::ToSchema;

/// What a tensor would be like in a type.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TypeError {
    /// Name of the type.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// Bits that an element would take.
    pub bits_per_weight: f64,
    /// The difference; none if it cannot be made.
    #[serde(flatten)]
    pub error: Option<Difference>,
    /// Why it cannot be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far `tensor` would be from itself in every type that ggml can make. Types that need an
/// importance matrix are made as if all elements were equally important. The codebooks of ggml take seconds to prepare.
///
/// # Errors
/// When the tensor cannot be dequantised, or its file changes meanwhile.
pub fn every_type(tensor: &Tensor<'_>) -> Result<Vec<TypeError>, QuantError> {
    let tensor = tensor.dequantizable()?;
    let mut types: Vec<TypeError> = GgmlType::all()
        .filter(|ty| ty.can_quantize())
        .map(|ty| {
            let (error, reason) = match requantized(&tensor, ty) {
                Ok(sums) => (Some(sums.error()), None),
                Err(ConvertError::Rows { row, .. }) => {
                    (None, Some(format!("rows of {row} are no whole blocks of {}", ty.block_size())))
                }
                Err(e) => (None, Some(e.to_string())),
            };
            TypeError { type_name: ty.name(), bits_per_weight: ty.bits_per_weight(), error, reason }
        })
        .collect();
    tensor.still()?;
    types.sort_by(|a, b| a.bits_per_weight.total_cmp(&b.bits_per_weight).then_with(|| a.type_name.cmp(b.type_name)));
    Ok(types)
}

fn requantized(tensor: &Tensor<'_>, ty: GgmlType) -> Result<Sums, ConvertError> {
    let row = usize::try_from(tensor.info.ne[0]).unwrap_or(0);
    if ty.row_size(row as u64).is_none() {
        return Err(ConvertError::Rows { ty, elements: row, row });
    }
    // Blocks of a row are quantised on their own, so a piece may begin and end inside one.
    let failed = OnceLock::new();
    let states = pieces(tensor.elements(), Pair::default, |state, piece, range| {
        if failed.get().is_some() {
            return;
        }
        let first = range.start;
        let made = tensor.dequantize(range, &mut state.r).and_then(|()| {
            let bytes = ty.quantize(&state.r, state.r.len())?;
            state.x.resize(state.r.len(), 0.0);
            ty.dequantize(&bytes, &mut state.x)
        });
        match made {
            Ok(()) => state.sums.push((piece, Sums::of(&state.x, &state.r, first))),
            Err(error) => drop(failed.set(error)),
        }
    });
    match failed.into_inner() {
        Some(error) => Err(error),
        None => Ok(in_order(states.into_iter().flat_map(|state| state.sums).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ModelFile, q4_k};
    use super::*;
    use crate::ggml::testing::Noise;

    #[test]
    fn a_tensor_in_another_type_is_what_quantising_its_rows_gives() {
        let values = Noise::new(6).normals(512 * 300);
        let mut file = ModelFile::new();
        file.quantized("w", GgmlType::F32, &[512, 300], &values).quantized("narrow", GgmlType::F32, &[32], &[1.0; 32]);
        file.raw("nan", GgmlType::F32.id(), &[256], [f32::NAN.to_le_bytes(); 256].concat());
        let model = file.open();
        let open = |name| Tensor::find(&model, name).unwrap();
        let mut x = vec![0.0; values.len()];
        q4_k().dequantize(&q4_k().quantize(&values, 512).unwrap(), &mut x).unwrap();
        let (found, expected) = (requantized(&open("w"), q4_k()).unwrap(), Sums::of(&x, &values, 0));
        assert!((found.error().rmse - expected.error().rmse).abs() < 1e-12);
        assert_eq!((found.max, found.worst, found.equal), (expected.max, expected.worst, expected.equal));
        assert_eq!(requantized(&open("w"), GgmlType::F32).unwrap().equal, 512 * 300);
        let error = requantized(&open("narrow"), q4_k()).unwrap_err().to_string();
        assert_eq!(error, "32 elements cannot be rows of 32 in q4_K, whose blocks have 256");
        let error = requantized(&open("nan"), q4_k()).unwrap_err().to_string();
        assert!(error.starts_with("element 0 is NaN"), "{error}");
    }
}
