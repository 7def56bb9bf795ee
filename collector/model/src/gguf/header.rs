//! The header of one GGUF file, parsed from its bytes: what stands before the weights.
//!
//! ```text
//! magic "GGUF" · version u32 · tensors u64 · pairs u64 · pairs (key, type u32, value) ·
//! tensor infos (name, dimensions u32, ne u64…, type u32, offset u64) · padding · weights
//! ```

use super::MAGIC;
use super::value::{Scalar, Value};
use crate::ggml::GgmlType;
use std::collections::HashMap;
use std::ops::Range;

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const DEFAULT_ALIGNMENT: u64 = 32;

/// Bytes that are not a GGUF header.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in the file in bytes.
    pub at: u64,
    /// What is wrong there.
    pub what: String,
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// Elements in each dimension; missing ones are 1.
    pub ne: [i64; 4],
    /// Number of its `ggml_type`.
    pub type_id: u32,
    /// Offset of its first byte in the file.
    pub offset: u64,
}

impl TensorInfo {
    /// Its type, if the vendored ggml knows it.
    pub fn ggml_type(&self) -> Option<GgmlType> {
        GgmlType::from_id(self.type_id)
    }

    /// Name of its type, as ggml prints it, if it is known.
    pub fn type_name(&self) -> Option<&'static str> {
        self.ggml_type().map(GgmlType::name)
    }

    /// Number of its elements.
    pub fn elements(&self) -> u64 {
        // `Reader::tensor` has checked that the product does not overflow and that no dimension is negative.
        self.ne.iter().product::<i64>() as u64
    }

    /// Its size in the file in bytes: `None` if its type is unknown, its rows are no whole blocks, or it overflows.
    pub fn nbytes(&self) -> Option<u64> {
        self.ggml_type()?.nbytes(self.ne)
    }
}

/// What a GGUF file says about itself.
#[derive(Debug, Default)]
pub struct Header {
    /// Every tensor, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    metadata: HashMap<String, Value>,
}

impl Header {
    /// Reads the header of a file that consists of `bytes`.
    ///
    /// # Errors
    /// When it is cut or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut r = Reader { bytes, at: 0 };
        let magic = r.take(4, "the magic number")?;
        if magic != MAGIC {
            return Err(Malformed { at: 0, what: format!("not a GGUF file: it begins with {magic:02x?}") });
        }
        let version = r.u32("the version")?;
        if !(2..=3).contains(&version) {
            let hint = if version.swap_bytes() <= 3 { " (a big-endian file?)" } else { "" };
            return Err(Malformed { at: 4, what: format!("GGUF version {version}{hint}; versions 2 and 3 are known") });
        }
        let n_tensors = r.u64("the number of tensors")?;
        let n_pairs = r.u64("the number of metadata pairs")?;
        // Nothing is reserved for these counts: each pair and tensor costs bytes of the file, so a wrong count ends at
        // the end of the file.
        let mut header = Header::default();
        for _ in 0..n_pairs {
            let at = r.at;
            let key = r.string("a metadata key")?;
            let value = r.value()?;
            if header.metadata.insert(key.clone(), value).is_some() {
                return Err(Malformed { at: at as u64, what: format!("the key {key} is there twice") });
            }
        }
        for _ in 0..n_tensors {
            let tensor = r.tensor()?;
            header.tensors.push(tensor);
        }
        header.place_tensors(r.at as u64, bytes.len() as u64)?;
        Ok(header)
    }

    /// The metadata value with the key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Turns offsets in the weights, which begin after `end` at the next multiple of the alignment, into offsets in the
    /// file.
    fn place_tensors(&mut self, end: u64, file_bytes: u64) -> Result<(), Malformed> {
        let alignment = match self.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(value) => value
                .integer()
                .filter(|n| n.is_power_of_two() && *n <= 1 << 30)
                .ok_or_else(|| Malformed { at: end, what: format!("general.alignment is {value:?}") })?,
        };
        let data = end.next_multiple_of(alignment);
        for t in &mut self.tensors {
            let place = data.checked_add(t.offset).filter(|&place| place < file_bytes);
            t.offset = place.ok_or_else(|| Malformed {
                at: end,
                what: format!(
                    "the tensor {} should lie {} bytes after byte {data}, but the file has {file_bytes} bytes",
                    t.name, t.offset
                ),
            })?;
        }
        Ok(())
    }
}

/// Where each of `count` strings that begin at `at` lies.
pub(super) fn string_ranges(bytes: &[u8], at: usize, count: u64) -> Result<Vec<Range<usize>>, Malformed> {
    let mut r = Reader { bytes, at };
    let mut out = vec![];
    for _ in 0..count {
        let len = r.length("a string of an array")?;
        out.push(r.at..r.at + len);
        r.at += len;
    }
    Ok(out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn error<T>(&self, what: String) -> Result<T, Malformed> {
        Err(Malformed { at: self.at as u64, what })
    }

    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], Malformed> {
        if len > self.left() {
            return self.error(format!("the file ends inside {what} ({} of {len} bytes are there)", self.left()));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take(4, what)?.try_into().expect("4 bytes")))
    }

    fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8, what)?.try_into().expect("8 bytes")))
    }

    /// A length in bytes that the rest of the file has room for.
    fn length(&mut self, what: &str) -> Result<usize, Malformed> {
        let len = self.u64(what)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.left() => Ok(len),
            _ => self.error(format!("{what} of {len} bytes, but {} bytes are left", self.left())),
        }
    }

    fn string(&mut self, what: &str) -> Result<String, Malformed> {
        let len = self.length(what)?;
        Ok(String::from_utf8_lossy(self.take(len, what)?).into_owned())
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        let kind = self.u32("the type of a value")?;
        match kind {
            STRING => self.string("a string").map(Value::Text),
            ARRAY => self.array(),
            _ => match Scalar::from_gguf(kind) {
                Some(scalar) => Ok(scalar.read(self.take(scalar.bytes(), "a value")?)),
                None => self.error(format!("unknown type of value {kind}")),
            },
        }
    }

    fn array(&mut self) -> Result<Value, Malformed> {
        let kind = self.u32("the type of an array")?;
        let count = self.u64("the length of an array")?;
        let at = self.at;
        if kind == STRING {
            for _ in 0..count {
                let len = self.length("a string of an array")?;
                self.at += len;
            }
            return Ok(Value::Strings { at, count });
        }
        let Some(kind) = Scalar::from_gguf(kind) else {
            return self.error(format!("an array of elements of type {kind}"));
        };
        match usize::try_from(count).ok().and_then(|n| n.checked_mul(kind.bytes())) {
            Some(len) if len <= self.left() => self.at += len,
            _ => return self.error(format!("an array of {count} elements, but {} bytes are left", self.left())),
        }
        Ok(Value::Scalars { kind, at, count })
    }

    fn tensor(&mut self) -> Result<TensorInfo, Malformed> {
        let at = self.at;
        let name = self.string("a tensor's name")?;
        let n_dims = self.u32("a tensor's number of dimensions")?;
        let mut ne = [1; 4];
        if n_dims as usize > ne.len() {
            return Err(Malformed { at: at as u64, what: format!("the tensor {name} has {n_dims} dimensions") });
        }
        let mut elements = Some(1_i64);
        for e in &mut ne[..n_dims as usize] {
            *e = self.u64("a tensor's shape")? as i64;
            elements = elements.and_then(|n| n.checked_mul(*e)).filter(|_| *e >= 0);
        }
        if elements.is_none() {
            return Err(Malformed { at: at as u64, what: format!("the tensor {name} has the shape {ne:?}") });
        }
        let type_id = self.u32("a tensor's type")?;
        let offset = self.u64("a tensor's offset")?;
        Ok(TensorInfo { name, ne, type_id, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one pair of each sort and one tensor, as its pieces.
    fn pieces() -> Vec<Vec<u8>> {
        let string = |s: &str| [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat();
        vec![
            b"GGUF".to_vec(),
            3_u32.to_le_bytes().to_vec(),
            1_u64.to_le_bytes().to_vec(),
            3_u64.to_le_bytes().to_vec(),
            [string("a"), STRING.to_le_bytes().to_vec(), string("text")].concat(),
            [string("b"), 5_u32.to_le_bytes().to_vec(), (-3_i32).to_le_bytes().to_vec()].concat(),
            [string("c"), ARRAY.to_le_bytes().to_vec(), STRING.to_le_bytes().to_vec()].concat(),
            [&2_u64.to_le_bytes()[..], &string("x"), &string("yz")].concat(),
            [string("w"), 1_u32.to_le_bytes().to_vec(), 8_u64.to_le_bytes().to_vec()].concat(),
            [&0_u32.to_le_bytes()[..], &64_u64.to_le_bytes()].concat(),
        ]
    }

    fn file() -> Vec<u8> {
        let mut bytes = pieces().concat();
        bytes.resize(bytes.len().next_multiple_of(32) + 64 + 32, 0);
        bytes
    }

    #[test]
    fn a_header_says_what_was_written() {
        let bytes = file();
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.get("a").and_then(Value::text), Some("text"));
        assert_eq!(header.get("b"), Some(&Value::Signed(-3)));
        let Some(&Value::Strings { at, count }) = header.get("c") else { panic!("{:?}", header.get("c")) };
        let strings: Vec<&[u8]> = string_ranges(&bytes, at, count).unwrap().into_iter().map(|r| &bytes[r]).collect();
        assert_eq!(strings, [&b"x"[..], b"yz"]);
        let data = pieces().concat().len().next_multiple_of(32) as u64;
        assert_eq!(header.tensors, [TensorInfo { name: "w".into(), ne: [8, 1, 1, 1], type_id: 0, offset: data + 64 }]);
    }

    #[test]
    fn every_prefix_is_an_error() {
        let bytes = file();
        for len in 0..bytes.len() - 32 {
            assert!(Header::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn huge_counts_and_lengths_are_errors_and_cost_nothing() {
        let bytes = file();
        let header_bytes = pieces().concat().len();
        for at in 4..header_bytes - 7 {
            for huge in [1_u64 << 60, u64::MAX, 1 << 40] {
                let mut damaged = bytes.clone();
                damaged[at..at + 8].copy_from_slice(&huge.to_le_bytes());
                // Some places hold text, where any bytes will do; what counts is that it ends, soon and small.
                let _ = Header::parse(&damaged);
            }
        }
        for count_at in [8, 16] {
            let mut damaged = bytes.clone();
            damaged[count_at..count_at + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
            assert!(Header::parse(&damaged).is_err());
        }
    }

    #[test]
    fn an_error_names_the_byte_and_the_thing() {
        let mut pieces = pieces();
        pieces[4] = [&2_u64.to_le_bytes()[..], b"ab", &77_u32.to_le_bytes()].concat();
        let error = Header::parse(&pieces.concat()).unwrap_err();
        assert_eq!(error, Malformed { at: 24 + 8 + 2 + 4, what: "unknown type of value 77".into() });
    }
}
