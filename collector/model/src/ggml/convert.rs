//! Rows of a type to floats and back, by ggml's own code. ggml trusts its callers and aborts the process where they are
//! wrong; everything it asserts is checked here first, so any bytes and any numbers may come.

use super::{GgmlType, sys};
use std::borrow::Cow;

/// ggml counts the elements of a row in `int`s.
const MOST_IN_A_ROW: usize = 1 << 30;
/// Elements that one call to ggml dequantises: a multiple of every block size.
const CHUNK: usize = 1 << 14;
/// The strictest alignment of any block or scalar, in bytes.
const ALIGNMENT: usize = 8;
/// Magnitudes below are taken as 0 when quantising: ggml divides by the largest of a block.
const SMALLEST: f32 = 1e-30;
/// Magnitudes above cannot be quantised: scales are 16-bit floats, and sums of squares must stay finite.
const LARGEST: f32 = 65_504.0;

/// Why a row cannot be converted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConvertError {
    /// ggml cannot turn this type into floats.
    #[error("ggml has no way to dequantise {0}")]
    NotDequantizable(GgmlType),
    /// ggml cannot turn floats into this type.
    #[error("ggml has no way to quantise to {0}")]
    NotQuantizable(GgmlType),
    /// The number of bytes does not belong to the number of elements.
    #[error("{bytes} bytes are not {elements} elements of {ty} ({} bytes for {} elements)", ty.type_size(), ty.block_size())]
    Size {
        /// Type of the elements.
        ty: GgmlType,
        /// Bytes that were given.
        bytes: usize,
        /// Elements that were asked for.
        elements: usize,
    },
    /// The elements make no whole number of rows, or a row no whole number of blocks.
    #[error("{elements} elements cannot be rows of {row} in {ty}, whose blocks have {}", ty.block_size())]
    Rows {
        /// Type of the elements.
        ty: GgmlType,
        /// Elements that were given.
        elements: usize,
        /// Elements in a row.
        row: usize,
    },
    /// A number that no quantised type can hold.
    #[error("element {at} is {value}: only magnitudes up to {LARGEST} can be quantised")]
    OutOfRange {
        /// Its index.
        at: usize,
        /// The number.
        value: f32,
    },
}

impl GgmlType {
    /// Whether [`dequantize`](GgmlType::dequantize) takes this type.
    pub fn can_dequantize(self) -> bool {
        self.traits().to_float.is_some() || self.0 == sys::GGML_TYPE_Q8_K || scalar(self.0).is_some()
    }

    /// Whether [`quantize`](GgmlType::quantize) makes this type.
    pub fn can_quantize(self) -> bool {
        // What ggml can read back it can make; its intermediate types (q8_1, q8_K) it makes by other functions.
        self.traits().to_float.is_some() || self == GgmlType::F32
    }

    /// Turns the blocks in `bytes` into `out.len()` floats, bit for bit as ggml does. Integers and 64-bit floats become
    /// the nearest float.
    ///
    /// # Errors
    /// When `bytes` is not just as long as that many elements, or ggml cannot dequantise the type.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) -> Result<(), ConvertError> {
        if self.row_size(out.len() as u64) != Some(bytes.len() as u64) {
            return Err(ConvertError::Size { ty: self, bytes: bytes.len(), elements: out.len() });
        }
        if let Some(scalar) = scalar(self.0) {
            scalar(bytes, out);
            return Ok(());
        }
        if !self.can_dequantize() {
            return Err(ConvertError::NotDequantizable(self));
        }
        let chunk_bytes = self.row_size(CHUNK as u64).expect("a chunk is whole blocks of any type") as usize;
        let mut copy = vec![];
        for (bytes, out) in bytes.chunks(chunk_bytes).zip(out.chunks_mut(CHUNK)) {
            self.dequantize_chunk(aligned(bytes, &mut copy), out);
        }
        Ok(())
    }

    /// `bytes` is aligned and is just as long as `out.len()` elements, at most [`CHUNK`].
    fn dequantize_chunk(self, bytes: &[u8], out: &mut [f32]) {
        assert!(bytes.as_ptr().addr().is_multiple_of(ALIGNMENT));
        assert_eq!(self.row_size(out.len() as u64), Some(bytes.len() as u64));
        let elements = out.len() as i64;
        match self.traits().to_float {
            // SAFETY: the function reads whole blocks of this type, `elements` in all, and writes as many floats; both
            // are there, the bytes are aligned for any block, and `elements` fits the `int`s it counts in. Any bytes
            // are valid: quants and grid indices are masked to the size of their tables.
            Some(to_float) => unsafe { to_float(bytes.as_ptr().cast(), out.as_mut_ptr(), elements) },
            None => {
                assert_eq!(self.0, sys::GGML_TYPE_Q8_K);
                // SAFETY: as above; q8_K has its function in ggml, only not in the table.
                unsafe { sys::dequantize_row_q8_K(bytes.as_ptr().cast(), out.as_mut_ptr(), elements) }
            }
        }
    }

    /// Turns rows of `row` floats each into blocks, bit for bit as llama-quantize does without an importance matrix.
    /// The types that need one (`iq1_s`, `iq2_xxs`, `iq2_xs`) are made as if all weights were equally important.
    /// Magnitudes under 1e-30 count as 0.
    ///
    /// # Errors
    /// When ggml cannot make the type, the rows are no whole blocks, or a value is NaN or beyond ±65504.
    pub fn quantize(self, values: &[f32], row: usize) -> Result<Vec<u8>, ConvertError> {
        if !self.can_quantize() {
            return Err(ConvertError::NotQuantizable(self));
        }
        let rows_error = ConvertError::Rows { ty: self, elements: values.len(), row };
        if row == 0 || row > MOST_IN_A_ROW || !values.len().is_multiple_of(row) {
            return Err(rows_error);
        }
        let rows = values.len() / row;
        let row_bytes = self.row_size(row as u64).and_then(|n| usize::try_from(n).ok());
        let Some(bytes) = row_bytes.and_then(|n| n.checked_mul(rows)) else { return Err(rows_error) };
        if let Some(at) = values.iter().position(|v| v.is_nan() || v.abs() > LARGEST) {
            return Err(ConvertError::OutOfRange { at, value: values[at] });
        }
        let values = without_tiny(values);
        // SAFETY: asks a constant of a type below GGML_TYPE_COUNT.
        let importance = unsafe { sys::ggml_quantize_requires_imatrix(self.0) }.then(|| vec![1.0_f32; row]);
        let imatrix = importance.as_ref().map_or(std::ptr::null(), |weights| weights.as_ptr());
        // Blocks are up to 8-byte aligned.
        let mut out = vec![0_u64; bytes.div_ceil(8)];
        // SAFETY: `values` has `rows * row` floats, `out` has room for as many elements and is aligned for any block;
        // the importance is there where the type needs it. Asserted by ggml and checked above: the type can be made, the
        // row is whole blocks, the values are finite. ggml's tables are made under its lock, so threads may call this.
        let written = unsafe {
            sys::ggml_quantize_chunk(
                self.0,
                values.as_ptr(),
                out.as_mut_ptr().cast(),
                0,
                rows as i64,
                row as i64,
                imatrix,
            )
        };
        assert_eq!(written, bytes);
        Ok(out.iter().flat_map(|word| word.to_ne_bytes()).take(bytes).collect())
    }
}

/// `bytes` themselves if they are aligned for every block, else a copy of them in `copy`.
fn aligned<'a>(bytes: &'a [u8], copy: &'a mut Vec<u64>) -> &'a [u8] {
    if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        return bytes;
    }
    copy.clear();
    copy.extend(bytes.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    }));
    // SAFETY: the words are initialised, any of their bytes may be read, and they stay borrowed as long as the slice.
    let all = unsafe { std::slice::from_raw_parts(copy.as_ptr().cast::<u8>(), 8 * copy.len()) };
    &all[..bytes.len()]
}

/// The values with those too small to divide by made 0.
fn without_tiny(values: &[f32]) -> Cow<'_, [f32]> {
    let tiny = |v: f32| v != 0.0 && v.abs() < SMALLEST;
    if !values.iter().any(|&v| tiny(v)) {
        return Cow::Borrowed(values);
    }
    Cow::Owned(values.iter().map(|&v| if tiny(v) { 0.0 } else { v }).collect())
}

/// Reads bytes as numbers, as many as there is room for.
type ReadNumbers = fn(&[u8], &mut [f32]);

/// How to read a type of plain numbers that ggml has no conversion for.
fn scalar(id: sys::ggml_type) -> Option<ReadNumbers> {
    fn read<const N: usize>(bytes: &[u8], out: &mut [f32], number: fn([u8; N]) -> f32) {
        for (bytes, out) in bytes.as_chunks::<N>().0.iter().zip(out) {
            *out = number(*bytes);
        }
    }
    Some(match id {
        sys::GGML_TYPE_F32 => |bytes, out| read(bytes, out, f32::from_le_bytes),
        sys::GGML_TYPE_F64 => |bytes, out| read(bytes, out, |b| f64::from_le_bytes(b) as f32),
        sys::GGML_TYPE_I8 => |bytes, out| read(bytes, out, |b| f32::from(i8::from_le_bytes(b))),
        sys::GGML_TYPE_I16 => |bytes, out| read(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
        sys::GGML_TYPE_I32 => |bytes, out| read(bytes, out, |b| i32::from_le_bytes(b) as f32),
        sys::GGML_TYPE_I64 => |bytes, out| read(bytes, out, |b| i64::from_le_bytes(b) as f32),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Noise, kinds_of_rows};
    use super::*;

    const ELEMENTS: usize = 1024;

    fn dequantize(ty: GgmlType, bytes: &[u8], elements: usize) -> Vec<f32> {
        let mut out = vec![0.0; elements];
        ty.dequantize(bytes, &mut out).unwrap();
        out
    }

    // One test, so one process: ggml takes seconds to make the tables of each codebook type.
    #[test]
    fn every_type_that_can_be_made_is_read_back_near_and_no_finite_row_makes_ggml_abort() {
        let normals = Noise::new(7).normals(ELEMENTS);
        let mut made = 0;
        for ty in GgmlType::all().filter(|t| t.can_quantize()) {
            let bytes = ty.quantize(&normals, 256).unwrap();
            assert_eq!(Some(bytes.len() as u64), ty.row_size(ELEMENTS as u64));
            assert_eq!(ty.quantize(&normals, ELEMENTS).unwrap(), bytes, "{ty}: blocks depend on their row");
            let back = dequantize(ty, &bytes, ELEMENTS);
            let error: f32 = normals.iter().zip(&back).map(|(a, b)| (a - b) * (a - b)).sum();
            let power: f32 = normals.iter().map(|v| v * v).sum();
            assert!(error < 0.75 * power, "{ty}: relative error {}", error / power);
            for (kind, values) in kinds_of_rows(512) {
                let bytes = ty.quantize(&values, 512).unwrap_or_else(|e| panic!("{ty}, {kind}: {e}"));
                assert_eq!(dequantize(ty, &bytes, 512).len(), 512);
            }
            made += 1;
        }
        assert!(made >= 27, "only {made} types can be made");
    }

    #[test]
    fn any_bytes_of_any_alignment_give_the_same_floats() {
        for ty in GgmlType::all().filter(|t| t.can_dequantize()) {
            // Longer than a chunk.
            let elements = 3 * CHUNK + 256;
            let n = ty.row_size(elements as u64).unwrap() as usize;
            let bytes = Noise::new(3).bytes(n + 8);
            let bits = |bytes: &[u8]| dequantize(ty, bytes, elements).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let expected = bits(&bytes[..n]);
            for shift in 1..8 {
                let mut shifted = vec![0; n + shift];
                shifted[shift..].copy_from_slice(&bytes[..n]);
                assert_eq!(bits(&shifted[shift..]), expected, "{ty} at {shift}");
            }
        }
    }

    #[test]
    fn numbers_that_have_no_blocks_are_read_as_they_are() {
        let of = |name: &str, bytes: &[u8], n| dequantize(GgmlType::from_name(name).unwrap(), bytes, n);
        assert_eq!(of("f32", &[1.5_f32, -0.0].map(f32::to_le_bytes).concat(), 2), [1.5, -0.0]);
        assert_eq!(of("f64", &(-2.25_f64).to_le_bytes(), 1), [-2.25]);
        assert_eq!(of("i8", &[0xff, 5], 2), [-1.0, 5.0]);
        assert_eq!(of("i16", &(-300_i16).to_le_bytes(), 1), [-300.0]);
        assert_eq!(of("i32", &i32::MIN.to_le_bytes(), 1), [-2_147_483_648.0]);
        assert_eq!(of("i64", &(1_i64 << 40).to_le_bytes(), 1), [1_099_511_627_776.0]);
        assert_eq!(of("f16", &0x3c00_u16.to_le_bytes(), 1), [1.0]);
        assert_eq!(of("bf16", &0xbf80_u16.to_le_bytes(), 1), [-1.0]);
    }

    #[test]
    fn what_ggml_would_abort_on_is_an_error() {
        let q4_0 = GgmlType::from_name("q4_0").unwrap();
        let q8_1 = GgmlType::from_name("q8_1").unwrap();
        let mut out = [0.0; 32];
        assert_eq!(q8_1.dequantize(&[0; 36], &mut out), Err(ConvertError::NotDequantizable(q8_1)));
        for (bytes, elements) in [(17, 32), (19, 32), (18, 31), (0, 32), (18, 0)] {
            let error = q4_0.dequantize(&vec![0; bytes], &mut vec![0.0; elements]);
            assert_eq!(error, Err(ConvertError::Size { ty: q4_0, bytes, elements }));
        }
        assert_eq!(q8_1.quantize(&[0.0; 32], 32), Err(ConvertError::NotQuantizable(q8_1)));
        for row in [0, 31, 33, 64, usize::MAX] {
            assert!(matches!(q4_0.quantize(&[0.0; 32], row), Err(ConvertError::Rows { .. })), "{row}");
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -65_505.0] {
            let mut values = [0.0; 32];
            values[9] = value;
            assert!(matches!(q4_0.quantize(&values, 32), Err(ConvertError::OutOfRange { at: 9, .. })), "{value}");
        }
    }
}
