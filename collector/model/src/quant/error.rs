//! How far a model's tensors are from those of a model of higher precision, and how far one would be in every type.

use super::stream::{PIECE, pieces};
use super::{QuantError, Tensor};
use crate::ggml::{ConvertError, GgmlType};
use crate::gguf::{Gguf, GgufFile, TensorInfo};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::OnceLock;
use utoipa::ToSchema;

/// How a model differs from its reference.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ErrorReport {
    /// Path of the model.
    pub file: String,
    /// Path of the reference.
    pub reference: String,
    /// All compared tensors as one.
    pub total: TotalError,
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
    pub error: TotalError,
    /// The element that differs most, in the order of the file.
    pub worst: Option<u64>,
}

/// What a row of one type would be like in another.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TypeError {
    /// Name of the type.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// Bits that an element would take.
    pub bits_per_weight: f64,
    /// The difference; none if it cannot be made.
    #[serde(flatten)]
    pub error: Option<TotalError>,
    /// Why it cannot be made.
    pub reason: Option<String>,
}

/// The size of a difference between `x` and its reference `r`, over elements where both are finite.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TotalError {
    /// Elements.
    pub elements: u64,
    /// Elements that are not finite here or there, and are left out below.
    pub not_finite: u64,
    /// Elements that are equal.
    pub equal: u64,
    /// Root of the mean square of `x − r`.
    pub rmse: f64,
    /// `rmse` by the root mean square of `r`; none where `r` is 0 and `x` is not.
    pub relative: Option<f64>,
    /// Signal to quantisation noise: `10·log10(Σr² / Σ(x−r)²)` in dB; none if one of them is 0.
    pub sqnr_db: Option<f64>,
    /// `Σx·r / √(Σx²·Σr²)`; none if one is 0.
    pub cosine: Option<f64>,
    /// Mean of `x − r`.
    pub bias: f64,
    /// The largest `|x − r|`.
    pub max: f32,
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
            Err(reason) => unmatched.push(Unmatched { name: info.name.clone(), reason }),
        }
    }
    tensors.sort_by(|a, b| badness(&b.error).total_cmp(&badness(&a.error)).then_with(|| a.name.cmp(&b.name)));
    let only_there = reference.tensors().map(|(_, info)| info).filter(|info| there.contains_key(info.name.as_str()));
    unmatched.extend(
        only_there.map(|info| Unmatched { name: info.name.clone(), reason: "only the reference has it".into() }),
    );
    let path = |model: &Gguf| model.first().path().display().to_string();
    ErrorReport { file: path(model), reference: path(reference), total: total.error(), tensors, unmatched }
}

/// What the list is ordered by: a difference from nothing at all is the worst.
fn badness(error: &TotalError) -> f64 {
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
    let error = TensorError {
        name: info.name.clone(),
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

/// Sums by piece, added in the order of the file, so that threads change nothing.
fn in_order(mut sums: Vec<(u64, Sums)>) -> Sums {
    sums.sort_unstable_by_key(|(piece, _)| *piece);
    sums.iter().fold(Sums::default(), |all, (_, sums)| all.and(sums))
}

/// How far `tensor` would be from itself, or from `reference`, in every type that ggml can make. Types that need an
/// importance matrix are made as if all elements were equally important. The codebooks of ggml take seconds to prepare.
///
/// # Errors
/// When the tensor cannot be dequantised.
pub fn every_type(tensor: &Tensor<'_>) -> Result<Vec<TypeError>, QuantError> {
    let tensor = tensor.dequantizable()?;
    let mut types: Vec<TypeError> = GgmlType::all()
        .filter(|ty| ty.can_quantize())
        .map(|ty| {
            let made = requantized(&tensor, ty);
            let (error, reason) = match made {
                Ok(sums) => (Some(sums.error()), None),
                Err(e) => (None, Some(e.to_string())),
            };
            TypeError { type_name: ty.name(), bits_per_weight: ty.bits_per_weight(), error, reason }
        })
        .collect();
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

#[derive(Default)]
struct Pair {
    x: Vec<f32>,
    r: Vec<f32>,
    sums: Vec<(u64, Sums)>,
}

/// What is summed up of a difference.
#[derive(Clone, Debug, Default)]
struct Sums {
    elements: u64,
    finite: u64,
    equal: u64,
    error: f64,
    error_squares: f64,
    squares: f64,
    reference_squares: f64,
    products: f64,
    max: f32,
    worst: u64,
}

impl Sums {
    /// Of the elements from number `first`.
    fn of(x: &[f32], r: &[f32], first: u64) -> Sums {
        let mut sums = Sums { elements: x.len() as u64, ..Sums::default() };
        for ((&x, &r), at) in x.iter().zip(r).zip(first..) {
            sums.equal += u64::from(x == r);
            if !(x.is_finite() && r.is_finite()) {
                continue;
            }
            sums.finite += 1;
            let (wide_x, wide_r) = (f64::from(x), f64::from(r));
            let error = wide_x - wide_r;
            sums.error += error;
            sums.error_squares += error * error;
            sums.squares += wide_x * wide_x;
            sums.reference_squares += wide_r * wide_r;
            sums.products += wide_x * wide_r;
            if error.abs() as f32 > sums.max {
                (sums.max, sums.worst) = (error.abs() as f32, at);
            }
        }
        sums
    }

    fn and(self, other: &Sums) -> Sums {
        let (max, worst) = if other.max > self.max { (other.max, other.worst) } else { (self.max, self.worst) };
        Sums {
            elements: self.elements + other.elements,
            finite: self.finite + other.finite,
            equal: self.equal + other.equal,
            error: self.error + other.error,
            error_squares: self.error_squares + other.error_squares,
            squares: self.squares + other.squares,
            reference_squares: self.reference_squares + other.reference_squares,
            products: self.products + other.products,
            max,
            worst,
        }
    }

    fn error(&self) -> TotalError {
        let n = self.finite.max(1) as f64;
        let ratio = |a: f64, b: f64| (b > 0.0).then_some(a / b);
        let both = self.error_squares > 0.0 && self.reference_squares > 0.0;
        TotalError {
            elements: self.elements,
            not_finite: self.elements - self.finite,
            equal: self.equal,
            rmse: (self.error_squares / n).sqrt(),
            relative: match self.error_squares {
                0.0 => Some(0.0),
                squares => ratio(squares, self.reference_squares).map(f64::sqrt),
            },
            sqnr_db: both.then(|| 10.0 * (self.reference_squares / self.error_squares).log10()),
            cosine: ratio(self.products, (self.squares * self.reference_squares).sqrt()),
            bias: self.error / n,
            max: self.max,
        }
    }
}

const _: () = assert!(PIECE.is_multiple_of(super::decode::MAX_ELEMENTS));

#[cfg(test)]
mod tests {
    use super::super::testing::{ModelFile, q4_k};
    use super::*;
    use crate::ggml::testing::Noise;

    #[test]
    fn the_error_is_that_of_the_definition() {
        let (r, x) = ([3.0_f32, -4.0, 0.0, 1.0], [3.0_f32, -3.0, 0.5, 1.0]);
        let error = Sums::of(&x, &r, 100).error();
        let (noise, signal) = (1.25_f64, 26.0_f64);
        assert_eq!((error.elements, error.equal, error.not_finite, error.max), (4, 2, 0, 1.0));
        assert_eq!(error.rmse, (noise / 4.0).sqrt());
        assert_eq!(error.relative, Some((noise / signal).sqrt()));
        assert!((error.sqnr_db.unwrap() - 10.0 * (signal / noise).log10()).abs() < 1e-12);
        assert!((error.cosine.unwrap() - 22.0 / (19.25_f64 * 26.0).sqrt()).abs() < 1e-12);
        assert_eq!((error.bias, Sums::of(&x, &r, 100).worst), (1.5 / 4.0, 101));
    }

    #[test]
    fn nothing_infinite_or_zero_makes_the_error_no_number() {
        let error = Sums::of(&[1.0, f32::NAN, f32::INFINITY], &[1.0, 1.0, 1.0], 0).error();
        assert_eq!((error.not_finite, error.rmse, error.relative, error.sqnr_db), (2, 0.0, Some(0.0), None));
        let zeros = Sums::of(&[1.0], &[0.0], 0).error();
        assert_eq!((zeros.rmse, zeros.relative, zeros.sqnr_db, zeros.cosine), (1.0, None, None, None));
        let same = Sums::of(&[0.0], &[0.0], 0).error();
        assert_eq!((same.relative, same.cosine), (Some(0.0), None));
        assert_eq!(Sums::default().error().rmse, 0.0);
    }

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
