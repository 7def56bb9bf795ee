//! Values of tensors on the ring and in the file: pieces of their bytes, or statistics in their place.

use crate::ids::{Bytes, EvalId, GraphId, TensorId};
use crate::record::{Record, encode};
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

/// How a piece travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As the bytes lie in the host.
    #[default]
    Host,
    /// Of `f32` numbers the nearest `f16`: half the bytes.
    F16,
}

/// A piece of a captured tensor's bytes, as they lie in the host (strides as in the graph).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The evaluation.
    pub eval: EvalId,
    /// The graph.
    pub graph: GraphId,
    /// The tensor.
    pub tensor: TensorId,
    /// Where in the tensor the piece begins, in bytes of the host.
    pub offset: u64,
    /// Size of the whole tensor in bytes of the host.
    pub total: Bytes,
    /// How the piece travels.
    pub encoding: Encoding,
    /// The piece.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl Value {
    /// Writes the beginning of the record of a piece of `len` bytes: the bytes themselves are all that follows.
    pub fn encode_head(self, len: usize, out: &mut Vec<u8>) {
        debug_assert!(self.bytes.is_empty());
        encode(&Record::Value(self), out);
        // The last byte is the length of no bytes.
        out.pop();
        encode(&len, out);
    }

    /// The piece with the bytes that lay in the host, or, of one that travelled as `f16`, with those of the rounded
    /// numbers in the host's type.
    pub fn in_host_bytes(mut self) -> Value {
        if self.encoding == Encoding::F16 {
            let halves: Vec<half::f16> =
                self.bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b)).collect();
            let mut numbers = vec![0_f32; halves.len()];
            halves.convert_to_f32_slice(&mut numbers);
            self.bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            self.encoding = Encoding::Host;
        }
        self
    }
}

/// What is known of a tensor after one evaluation, in place of its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The evaluation.
    pub eval: EvalId,
    /// The graph.
    pub graph: GraphId,
    /// The tensor.
    pub tensor: TensorId,
    /// Of each row, that is of each `ne[0]` elements side by side: of a tensor `[n_embd, n_tokens]` each token's.
    pub rows: Vec<RowStatistics>,
    /// Of all rows together.
    pub histogram: Histogram,
}

impl Statistics {
    /// About how many bytes the record takes.
    pub fn travels(&self) -> u64 {
        16 + Statistics::ROW_BYTES * self.rows.len() as u64 + 2 * self.histogram.counts.len() as u64
    }

    /// About how many bytes a row takes.
    pub const ROW_BYTES: u64 = 20;
}

/// Statistics of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowStatistics {
    /// The least finite element; NaN if there is none.
    pub min: f32,
    /// The greatest finite element; NaN if there is none.
    pub max: f32,
    /// The mean of the finite elements; NaN if there are none.
    pub mean: f32,
    /// The root of the mean of their squares; NaN if there are none.
    pub rms: f32,
    /// Elements that are zero.
    pub zeros: u32,
    /// Elements that are not a number.
    pub nans: u32,
    /// Elements that are infinite, of either sign.
    pub infs: u32,
}

/// How large the finite elements are that are not zero, by powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Exponent of the first bin.
    pub first: i32,
    /// `counts[i]`: elements with 2^(first + i) ≤ |x| < 2^(first + i + 1). What is below 2^-126 counts as 2^-127. The
    /// first and the last count are not 0.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Of the number of elements for each biased exponent of `f32` from one on: 0 is for those below 2^-126, and 254 the
    /// last.
    pub fn of_exponents(from: usize, counts: &[u64]) -> Histogram {
        let Some(first) = counts.iter().position(|&n| n > 0) else { return Histogram::default() };
        let last = counts.iter().rposition(|&n| n > 0).unwrap_or(first);
        Histogram { first: (from + first) as i32 - 127, counts: counts[first..=last].to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(encoding: Encoding, bytes: Vec<u8>) -> Value {
        let (eval, graph, tensor) = (EvalId(300), GraphId(2), TensorId(77_000));
        Value { eval, graph, tensor, offset: 1 << 40, total: Bytes(9_999), encoding, bytes }
    }

    #[test]
    fn head_and_bytes_are_the_record() {
        for len in [0, 1, 127, 128, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut parts = vec![];
            value(Encoding::F16, vec![]).encode_head(len, &mut parts);
            parts.extend_from_slice(&bytes);
            let mut whole = vec![];
            Record::Value(value(Encoding::F16, bytes)).encode(&mut whole);
            assert_eq!(parts, whole, "{len}");
        }
    }

    #[test]
    fn halves_become_the_hosts_numbers_again() {
        let halves = [1.5, -0.25, f32::INFINITY].map(half::f16::from_f32);
        let travelled = value(Encoding::F16, halves.iter().flat_map(|h| h.to_le_bytes()).collect());
        let back = travelled.in_host_bytes();
        let expected: Vec<u8> = [1.5, -0.25, f32::INFINITY].iter().flat_map(|n: &f32| n.to_le_bytes()).collect();
        assert_eq!((back.encoding, back.bytes), (Encoding::Host, expected));
        let as_it_was = value(Encoding::Host, vec![1, 2, 3]);
        assert_eq!(as_it_was.clone().in_host_bytes(), as_it_was);
    }

    #[test]
    fn a_histogram_has_no_empty_ends() {
        let mut counts = [0; 255];
        assert_eq!(Histogram::of_exponents(0, &counts), Histogram::default());
        (counts[0], counts[127], counts[128]) = (2, 3, 4);
        let histogram = Histogram::of_exponents(0, &counts);
        assert_eq!((histogram.first, histogram.counts.len()), (-127, 129));
        counts[0] = 0;
        assert_eq!(Histogram::of_exponents(0, &counts), Histogram { first: 0, counts: vec![3, 4] });
        assert_eq!(Histogram::of_exponents(100, &counts[100..130]), Histogram { first: 0, counts: vec![3, 4] });
    }
}
