//! How far a model's tensors are from those of a model of higher precision.

use super::Tensor;
use super::difference::{Difference, Pair, Sums, in_order};
use super::stream::pieces;
use crate::gguf::{Gguf, GgufFile, TensorInfo};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// How a model differs from its reference.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorReport {
    /// Path of the model.
    pub file: String,
    /// Path of the reference.
    pub reference: String,
    /// All compared tensors as one.
    pub total: Difference,
    /// Each compared tensor, the largest relative error first.
    pub tensors: Vec<TensorError>,
    /// Tensors that were not compared, in the order of the model, then those that only the reference has.
    pub unmatched: Vec<Unmatched>,
}

/// A tensor that was not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unmatched {
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// How a tensor `x` differs from its reference `r`, over elements where both are finite.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TensorError {
    /// Name of the tensor.
    pub name: String,
    /// Name of its type.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// Name of the reference's type.
    pub reference_type: &'static str,
    /// Elements in each dimension.
    pub ne: [i64; 4],
    /// The difference.
    #[serde(flatten)]
    pub error: Difference,
    /// The element that differs most, in the order of the file.
    pub worst: Option<u64>,
}

/// Compares a model with its reference, matched by the names of tensors.
pub fn errors(model: &Gguf, reference: &Gguf) -> ErrorReport {
    // Of a name that is there twice, the first counts, as for llama.cpp.
    let mut there: HashMap<&str, (&GgufFile, &TensorInfo)> = HashMap::new();
    for (file, info) in reference.tensors() {
        there.entry(&info.name).or_insert((file, info));
    }
    let (mut tensors, mut unmatched, mut total) = (vec![], vec![], Sums::default());
    for (file, info) in model.tensors() {
        match compared(file, info, there.remove(info.name.as_str())) {
            Ok((tensor, sums)) => {
                tensors.push(tensor);
                total = total.and(&sums);
            }
            Err(reason) => unmatched.push(Unmatched { name: info.name.to_string(), reason }),
        }
    }
    tensors.sort_by(|a, b| badness(&b.error).total_cmp(&badness(&a.error)).then_with(|| a.name.cmp(&b.name)));
    let only_there = reference.tensors().map(|(_, info)| info).filter(|info| there.contains_key(info.name.as_str()));
    unmatched.extend(
        only_there.map(|info| Unmatched { name: info.name.to_string(), reason: "only the reference has it".into() }),
    );
    let path = |model: &Gguf| model.first().path().display().to_string();
    ErrorReport { file: path(model), reference: path(reference), total: total.error(), tensors, unmatched }
}

/// Compares one tensor with that of the same name in a reference.
///
/// # Errors
/// Why they cannot be compared.
pub fn tensor_error(tensor: &Tensor<'_>, reference: &Gguf) -> Result<TensorError, Unmatched> {
    let there = reference.tensors().find(|(_, info)| info.name == tensor.info.name);
    let compared = compared(tensor.file, tensor.info, there).map(|(error, _)| error);
    compared.map_err(|reason| Unmatched { name: tensor.info.name.to_string(), reason })
}

/// What the list is ordered by: a difference from nothing at all is the worst.
fn badness(error: &Difference) -> f64 {
    error.relative.unwrap_or(f64::INFINITY)
}

fn compared(
    file: &GgufFile,
    info: &TensorInfo,
    there: Option<(&GgufFile, &TensorInfo)>,
) -> Result<(TensorError, Sums), String> {
    let (reference_file, reference_info) = there.ok_or("the reference does not have it")?;
    if info.ne != reference_info.ne {
        return Err(format!("its shape is {:?}, the reference's is {:?}", info.ne, reference_info.ne));
    }
    let open = |file, info| Tensor::new(file, info).and_then(Tensor::dequantizable).map_err(|e| e.to_string());
    let (tensor, reference) = (open(file, info)?, open(reference_file, reference_info)?);
    let sums = difference(&tensor, &reference);
    tensor.still().and_then(|()| reference.still()).map_err(|e| e.to_string())?;
    let error = TensorError {
        name: info.name.to_string(),
        type_name: tensor.ty.name(),
        reference_type: reference.ty.name(),
        ne: info.ne,
        error: sums.error(),
        worst: (sums.max > 0.0).then_some(sums.worst),
    };
    Ok((error, sums))
}

fn difference(tensor: &Tensor<'_>, reference: &Tensor<'_>) -> Sums {
    let states = pieces(tensor.elements(), Pair::default, |state, piece, range| {
        let first = range.start;
        let whole = "both can be dequantised, and a piece is whole blocks of either";
        tensor.dequantize(range.clone(), &mut state.x).expect(whole);
        reference.dequantize(range, &mut state.r).expect(whole);
        state.sums.push((piece, Sums::of(&state.x, &state.r, first)));
    });
    in_order(states.into_iter().flat_map(|state| state.sums).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ModelFile, q4_k};
    use super::*;
    use crate::ggml::GgmlType;
    use crate::ggml::testing::Noise;

    #[test]
    fn tensors_are_matched_by_name_and_shape_and_the_worst_comes_first() {
        let of = |name: &str| GgmlType::from_name(name).unwrap();
        let values = Noise::new(3).normals(256 * 400);
        let ne: &[u64] = &[256, 400];
        let (mut model, mut reference) = (ModelFile::new(), ModelFile::new());
        reference
            .quantized("a", GgmlType::F16, ne, &values)
            .quantized("b", GgmlType::F16, ne, &values)
            .quantized("norm", GgmlType::F32, &[4], &[1.0; 4])
            .quantized("turned", GgmlType::F16, &[512, 200], &values)
            .quantized("left over", GgmlType::F32, &[1], &[1.0])
            .quantized("odd", GgmlType::F32, &[32], &[1.0; 32]);
        model
            .quantized("a", of("q8_0"), ne, &values)
            .quantized("b", q4_k(), ne, &values)
            .quantized("norm", GgmlType::F32, &[4], &[1.0; 4])
            .quantized("turned", of("q8_0"), ne, &values)
            .quantized("new", GgmlType::F32, &[1], &[1.0])
            .raw("odd", of("q8_1").id(), &[32], vec![0; 36]);
        let report = errors(&model.open(), &reference.open());
        let found: Vec<(&str, &str, &str)> =
            report.tensors.iter().map(|t| (t.name.as_str(), t.type_name, t.reference_type)).collect();
        assert_eq!(found, [("b", "q4_K", "f16"), ("a", "q8_0", "f16"), ("norm", "f32", "f32")]);
        let relative: Vec<f64> = report.tensors.iter().map(|t| t.error.relative.unwrap()).collect();
        assert!((0.05..0.1).contains(&relative[0]) && (0.001..0.01).contains(&relative[1]), "{relative:?}");
        assert_eq!((relative[2], report.tensors[2].worst, report.tensors[2].error.equal), (0.0, None, 4));
        assert_eq!(report.total.elements, 2 * 256 * 400 + 4);
        let reasons: Vec<(&str, &str)> =
            report.unmatched.iter().map(|u| (u.name.as_str(), u.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                ("turned", "its shape is [256, 400, 1, 1], the reference's is [512, 200, 1, 1]"),
                ("new", "the reference does not have it"),
                ("odd", "cannot look into the tensor odd: ggml has no way to dequantise q8_1"),
                ("left over", "only the reference has it"),
            ]
        );
    }

    #[test]
    fn errors_do_not_depend_on_the_number_of_threads() {
        let values = Noise::new(5).normals(256 * 1000);
        let (mut model, mut reference) = (ModelFile::new(), ModelFile::new());
        reference.quantized("w", GgmlType::F32, &[256, 1000], &values);
        model.quantized("w", q4_k(), &[256, 1000], &values);
        let (model, reference) = (model.open(), reference.open());
        let expected = errors(&model, &reference);
        for threads in [1, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| errors(&model, &reference)), expected);
        }
    }
}
