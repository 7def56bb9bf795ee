//! Captured tensors: their pieces put together, and decoded where a type has numbers of its own. Quantised types stay
//! bytes; dequantising them is ggml's business.

use super::GraphView;
use ggscope_format::TensorId;
use ggscope_format::record::{MAX_DIMS, Tensor, Value};
use half::{bf16, f16};
use serde::Serialize;
use utoipa::ToSchema;

/// The value of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CapturedValue {
    /// Type in the traced process.
    #[serde(rename = "type")]
    pub dtype: String,
    /// Elements in each dimension.
    pub ne: [i64; MAX_DIMS],
    /// The elements, the first dimension fastest; NaN and infinities are null in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<f64>>,
    /// The bytes, for a type without numbers of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// How many bytes are missing, because pieces were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_bytes: Option<u64>,
}

/// Puts together the pieces of one tensor. `None` if there are none.
pub fn assemble(view: &GraphView, id: TensorId, pieces: &[Value]) -> Option<CapturedValue> {
    let tensor = view.stored.graph.tensor(id)?;
    let (bytes, total) = joined(id, pieces)?;
    let dtype = view.dtype(tensor).to_owned();
    let mut value = CapturedValue { dtype, ne: tensor.ne, data: None, hex: None, missing_bytes: None };
    if (bytes.len() as u64) < total {
        value.missing_bytes = Some(total - bytes.len() as u64);
        return Some(value);
    }
    value.data = numbers(tensor, &value.dtype, &bytes);
    if value.data.is_none() {
        value.hex = Some(bytes.iter().map(|b| format!("{b:02x}")).collect());
    }
    Some(value)
}

/// The bytes of a tensor up to the first that is missing, and how many it has. `None` if there are none.
pub fn joined(id: TensorId, pieces: &[Value]) -> Option<(Vec<u8>, u64)> {
    let mut pieces: Vec<&Value> = pieces.iter().filter(|v| v.tensor == id).collect();
    pieces.sort_by_key(|v| v.offset);
    let total = pieces.first()?.total.0;
    let mut bytes = vec![];
    for piece in pieces {
        if piece.offset == bytes.len() as u64 {
            bytes.extend_from_slice(&piece.bytes);
        }
    }
    Some((bytes, total))
}

/// Bytes of an element, and what they mean.
type Decoder = (usize, fn(&[u8]) -> f64);

fn decoder(dtype: &str) -> Option<Decoder> {
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        std::array::from_fn(|i| bytes[i])
    }
    Some(match dtype {
        "f32" => (4, |b| f64::from(f32::from_le_bytes(array(b)))),
        "f64" => (8, |b| f64::from_le_bytes(array(b))),
        "f16" => (2, |b| f16::from_le_bytes(array(b)).to_f64()),
        "bf16" => (2, |b| bf16::from_le_bytes(array(b)).to_f64()),
        "i8" => (1, |b| f64::from(b[0] as i8)),
        "i16" => (2, |b| f64::from(i16::from_le_bytes(array(b)))),
        "i32" => (4, |b| f64::from(i32::from_le_bytes(array(b)))),
        _ => return None,
    })
}

/// The elements of a tensor whose bytes lie as its strides say. `None` if the type has no numbers or the strides lead
/// outside.
fn numbers(tensor: &Tensor, dtype: &str, bytes: &[u8]) -> Option<Vec<f64>> {
    let (size, decode) = decoder(dtype)?;
    let n = tensor.ne.iter().try_fold(1_usize, |n, &ne| n.checked_mul(usize::try_from(ne).ok()?))?;
    if n > bytes.len() / size {
        return None;
    }
    let mut data = Vec::with_capacity(n);
    let [n0, n1, n2, n3] = tensor.ne;
    for (i3, i2, i1) in (0..n3).flat_map(|c| (0..n2).flat_map(move |b| (0..n1).map(move |a| (c, b, a)))) {
        for i0 in 0..n0 {
            let at = [i0, i1, i2, i3]
                .iter()
                .zip(tensor.nb)
                .try_fold(0_u64, |at, (&i, nb)| at.checked_add(nb.checked_mul(i as u64)?))?;
            let at = usize::try_from(at).ok()?;
            data.push(decode(bytes.get(at..at.checked_add(size)?)?));
        }
    }
    Some(data)
}

impl CapturedValue {
    /// A few elements from both ends, for people.
    pub fn preview(&self) -> String {
        if let Some(missing) = self.missing_bytes {
            return format!("{missing} bytes are missing");
        }
        let Some(data) = &self.data else {
            let hex = self.hex.as_deref().unwrap_or_default();
            return hex.chars().take(32).chain("…".chars()).collect();
        };
        let shown = |part: &[f64]| part.iter().map(|x| format!("{x:.4}")).collect::<Vec<_>>().join(" ");
        match data.len() {
            0..=6 => shown(data),
            n => format!("{} … {}", shown(&data[..3]), shown(&data[n - 3..])),
        }
    }
}
