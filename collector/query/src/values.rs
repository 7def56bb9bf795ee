//! Captured tensors: their pieces put together, and decoded where a type has numbers of its own; or statistics of them.
//! Quantised types stay bytes; dequantising them is ggml's business.

use super::GraphView;
use ggscope_format::record::{MAX_DIMS, Statistics, Tensor, Value};
use ggscope_format::{EvalId, TensorId};
use ggscope_trace::Trace;
use half::{bf16, f16};
use serde::Serialize;
use std::collections::BTreeMap;
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

/// Statistics of a tensor, in place of its value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TensorStatistics {
    /// Of each row, `ne[0]` elements: for `[n_embd, n_tokens]` each token's.
    pub rows: Vec<RowOfStatistics>,
    /// Exponent of the first of `counts`.
    pub first_exponent: i32,
    /// `counts[i]`: finite elements of all rows with 2^(first_exponent + i) ≤ |x| < 2^(first_exponent + i + 1).
    pub counts: Vec<u64>,
}

/// Statistics of a row. Least, greatest, mean and root of the mean square are of the finite elements; null without any.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct RowOfStatistics {
    /// The least.
    pub min: f32,
    /// The greatest.
    pub max: f32,
    /// The mean.
    pub mean: f32,
    /// The root of the mean of the squares.
    pub rms: f32,
    /// Elements that are zero.
    pub zeros: u32,
    /// Elements that are not a number.
    pub nans: u32,
    /// Elements that are infinite.
    pub infs: u32,
}

impl From<&Statistics> for TensorStatistics {
    fn from(of: &Statistics) -> TensorStatistics {
        let rows = of.rows.iter().map(|r| RowOfStatistics {
            min: r.min,
            max: r.max,
            mean: r.mean,
            rms: r.rms,
            zeros: r.zeros,
            nans: r.nans,
            infs: r.infs,
        });
        let (first_exponent, counts) = (of.histogram.first, of.histogram.counts.clone());
        TensorStatistics { rows: rows.collect(), first_exponent, counts }
    }
}

impl TensorStatistics {
    /// All rows in a few words, for people.
    pub fn preview(&self) -> String {
        let number = |x: f32| format!("{x:.4}");
        let of_all = |of: fn(&RowOfStatistics) -> f32, than: fn(f32, f32) -> f32| {
            self.rows.iter().map(of).fold(f32::NAN, |all, x| if all.is_nan() { x } else { than(all, x) })
        };
        let squares = self.rows.iter().map(|r| f64::from(r.rms).powi(2)).filter(|x| x.is_finite());
        let rms = (squares.clone().sum::<f64>() / squares.count() as f64).sqrt() as f32;
        let (min, max) = (number(of_all(|r| r.min, f32::min)), number(of_all(|r| r.max, f32::max)));
        let mut text = format!("{min} to {max}, RMS {}", number(rms));
        type Count = fn(&RowOfStatistics) -> u32;
        let counts: [(Count, &str); 3] = [(|r| r.zeros, "zeros"), (|r| r.nans, "NaN"), (|r| r.infs, "infinite")];
        for (of, name) in counts {
            let n: u64 = self.rows.iter().map(|row| u64::from(of(row))).sum();
            if n > 0 {
                text.push_str(&format!(", {n} {name}"));
            }
        }
        text
    }
}

impl TensorStatistics {
    /// Row by row, for people.
    pub fn in_full(&self) -> String {
        let row = |r: &RowOfStatistics| {
            let RowOfStatistics { min, max, mean, rms, zeros, nans, infs, .. } = r;
            format!("{min} to {max}, mean {mean}, RMS {rms}, {zeros} zeros, {nans} NaN, {infs} infinite")
        };
        self.rows.iter().map(row).collect::<Vec<_>>().join("; ")
    }
}

/// What was captured in an evaluation.
#[derive(Debug, Default)]
pub struct Captured {
    values: Vec<Value>,
    statistics: Vec<Statistics>,
}

impl Captured {
    /// Reads it.
    pub fn of(trace: &Trace, eval: EvalId) -> Captured {
        Captured {
            values: if trace.has_values() { trace.values(eval) } else { vec![] },
            statistics: if trace.has_statistics() { trace.statistics(eval) } else { vec![] },
        }
    }

    /// Tensors of which something was captured.
    pub fn tensors(&self) -> impl Iterator<Item = TensorId> {
        self.values.iter().map(|v| v.tensor).chain(self.statistics.iter().map(|s| s.tensor))
    }

    /// The value of a tensor.
    pub fn value(&self, view: &GraphView, id: TensorId) -> Option<CapturedValue> {
        assemble(view, id, &self.values)
    }

    /// Statistics of a tensor.
    pub fn statistics(&self, id: TensorId) -> Option<TensorStatistics> {
        self.statistics.iter().find(|s| s.tensor == id).map(TensorStatistics::from)
    }
}

/// Puts together the pieces of one tensor. `None` if there are none.
fn assemble(view: &GraphView, id: TensorId, pieces: &[Value]) -> Option<CapturedValue> {
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

/// The bytes of a tensor that are there: stretches that lie apart, where only some heads were captured or a piece was lost.
#[derive(Clone, Debug, Default)]
pub struct Stretches {
    /// By where they begin.
    of: BTreeMap<u64, Vec<u8>>,
    total: u64,
}

impl Stretches {
    /// Adds a piece. Those of a tensor are to come in ascending order, as they were captured.
    pub fn add(&mut self, piece: Value) {
        self.total = piece.total.0;
        let last =
            self.of.last_entry().filter(|last| last.key().checked_add(last.get().len() as u64) == Some(piece.offset));
        match last {
            Some(mut last) => last.get_mut().extend_from_slice(&piece.bytes),
            None => drop(self.of.insert(piece.offset, piece.bytes)),
        }
    }

    /// `n` bytes from `offset` on, if all of them are there.
    pub fn get(&self, offset: u64, n: usize) -> Option<&[u8]> {
        let (begin, bytes) = self.of.range(..=offset).next_back()?;
        let at = usize::try_from(offset - begin).ok()?;
        bytes.get(at..at.checked_add(n)?)
    }

    /// The whole tensor, if all of it is there.
    pub fn whole(&self) -> Option<&[u8]> {
        self.get(0, usize::try_from(self.total).ok()?)
    }
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

    /// All elements, each as exact as it is, for people.
    pub fn in_full(&self) -> String {
        match (self.missing_bytes, &self.data) {
            (Some(missing), _) => format!("{missing} bytes are missing"),
            (None, Some(data)) => data.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
            (None, None) => self.hex.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::{Bytes, GraphId};

    #[test]
    fn stretches_have_what_was_captured_and_nothing_between() {
        let piece = |offset: u64, bytes: &[u8]| Value {
            tensor: TensorId(3),
            graph: GraphId(1),
            offset,
            total: Bytes(12),
            bytes: bytes.to_vec(),
            ..Value::default()
        };
        let of = |pieces: &[Value]| {
            let mut stretches = Stretches::default();
            pieces.iter().for_each(|piece| stretches.add(piece.clone()));
            stretches
        };
        let mut pieces = vec![piece(0, &[0, 1]), piece(2, &[2, 3]), piece(8, &[8, 9, 10, 11])];
        let stretches = of(&pieces);
        assert_eq!(stretches.get(1, 3), Some(&[1, 2, 3][..]));
        assert_eq!(stretches.get(9, 2), Some(&[9, 10][..]));
        assert!(stretches.get(3, 2).is_none() && stretches.get(5, 1).is_none() && stretches.get(11, 2).is_none());
        assert!(stretches.whole().is_none() && stretches.get(u64::MAX, 1).is_none());
        pieces.insert(2, piece(4, &[4, 5, 6, 7]));
        assert_eq!(of(&pieces).whole().unwrap().len(), 12);
        assert!(of(&[]).whole().is_none_or(<[u8]>::is_empty));
    }
}
