//! The header of one GGUF file, parsed from its bytes: what stands before the weights.
//!
//! ```text
//! magic "GGUF" · version u32 · tensors u64 · pairs u64 · pairs (key, type u32, value) ·
//! tensor infos (name, dimensions u32, ne u64…, type u32, offset u64) · padding · weights
//! ```
//!
//! A header is read as far as it goes, and everything that is wrong with it is a finding; see `findings`.

use super::cursor::{Cursor, Malformed};
use super::findings::{Finding, Findings};
use super::holes::Holes;
use super::layout;
use super::name::Name;
use super::value::{Scalar, Value};
use super::{MAGIC, foreign};
use crate::ggml::GgmlType;
use std::collections::HashMap;
use std::ops::Range;

const DEFAULT_ALIGNMENT: u64 = 32;
/// The fewest bytes of a pair: a key without a character, a type, a value of one byte.
const LEAST_PAIR: usize = 8 + 4 + 1;
/// The fewest bytes of an entry of the tensor table: a name without a character, no dimensions, a type, an offset.
const LEAST_TENSOR: usize = 8 + 4 + 4 + 8;
/// Keys that llama.cpp refuses, after which reading ends: they cost memory and say nothing.
const MOST_UNUSABLE: usize = 64;
/// Names that are longer do not fit into a `ggml_tensor` (`GGML_MAX_NAME`).
const MAX_NAME: usize = 63;

/// One key of the metadata and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The key.
    pub key: Name,
    /// Offset of the pair in the file in bytes.
    pub at: u64,
    /// Number of the value's `gguf_type`.
    pub kind: u32,
    /// Offset of the value in bytes, after its type.
    pub value_at: u64,
    /// The value.
    pub value: Value,
}

impl Pair {
    /// Name of the type of a value that is no array and no string.
    pub fn scalar_name(&self) -> &'static str {
        Scalar::from_gguf(self.kind).map_or("string", Scalar::name)
    }

    /// Name of the value's type; of an array without that of its elements.
    pub fn type_name(&self) -> &'static str {
        match self.value {
            Value::Strings { .. } | Value::Arrays { .. } | Value::Scalars { .. } => "array",
            _ => self.scalar_name(),
        }
    }

    /// The value in a few words; of an array, what is in it.
    pub fn brief(&self) -> String {
        match &self.value {
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            // A number of 32 bits is not more exact than it is.
            Value::Float(n) if self.kind == Scalar::F32 as u32 => (*n as f32).to_string(),
            Value::Float(n) => n.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Text(text) => text.to_string(),
            Value::Strings { count, .. } => format!("{count} strings"),
            Value::Arrays { count, .. } => format!("{count} arrays"),
            Value::Scalars { kind, count, .. } => format!("{count} {}", kind.name()),
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name.
    pub name: Name,
    /// Elements in each dimension; missing ones are 1.
    pub ne: [i64; 4],
    /// Dimensions that the file gives.
    pub n_dims: u32,
    /// Number of its `ggml_type`.
    pub type_id: u32,
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Offset of its entry in the tensor table in bytes.
    pub at: u64,
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

    /// Number of its elements; 0 if a dimension is negative, the largest number if they are more than can be.
    pub fn elements(&self) -> u64 {
        self.ne.iter().fold(1, |n: u64, &e| n.saturating_mul(u64::try_from(e).unwrap_or(0)))
    }

    /// Its size in the file in bytes: `None` if its type is unknown, its rows are no whole blocks, or it overflows.
    pub fn nbytes(&self) -> Option<u64> {
        self.ggml_type()?.nbytes(self.ne)
    }

    /// Its dimensions as the file gives them, at least one.
    pub fn shape(&self) -> &[i64] {
        &self.ne[..(self.n_dims as usize).clamp(1, 4)]
    }
}

/// What a GGUF file says about itself.
#[derive(Debug, Default)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// The metadata, in the order of the file.
    pub pairs: Vec<Pair>,
    /// Every tensor, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// Tensors begin at multiples of this many bytes.
    pub alignment: u64,
    /// Offset of the first byte after the tensor table.
    pub end: u64,
    /// Offset of the first weights.
    pub data: u64,
    /// Bytes of the file that were read: all arrays of `pairs` lie in them.
    pub(super) read: usize,
    /// Whether all of it could be read.
    pub complete: bool,
    /// Indices of `pairs` by key.
    by_key: Vec<u32>,
}

impl Header {
    /// Reads the header of a file that consists of `bytes`.
    ///
    /// # Errors
    /// When it is cut or contradicts itself. What only llama.cpp would refuse is none: a newer one may not.
    pub(super) fn parse(bytes: &[u8], holes: &Holes) -> Result<Header, Malformed> {
        let (header, findings) = Header::read(bytes, holes);
        match findings.contradiction() {
            Some(malformed) => Err(malformed.clone()),
            None => Ok(header),
        }
    }

    /// Reads as much of the header as there is, with all that is wrong with the file.
    pub(super) fn examine(bytes: &[u8], holes: &Holes) -> (Header, Vec<Finding>) {
        let (header, findings) = Header::read(bytes, holes);
        (header, findings.into_list())
    }

    fn read(bytes: &[u8], holes: &Holes) -> (Header, Findings) {
        let mut header = Header { alignment: DEFAULT_ALIGNMENT, ..Header::default() };
        let mut findings = Findings::default();
        let mut cursor = Cursor::new(bytes, 0, holes);
        match header.read_all(&mut cursor, &mut findings) {
            Ok(()) => header.complete = true,
            Err(Malformed { at, what }) => findings.damaged(at, what),
        }
        header.read = cursor.at;
        (header, findings)
    }

    fn read_all(&mut self, r: &mut Cursor, findings: &mut Findings) -> Result<(), Malformed> {
        if r.bytes.is_empty() {
            return Err(Malformed { at: 0, what: "the file is empty".into() });
        }
        if !r.bytes.starts_with(&MAGIC) {
            return Err(Malformed { at: 0, what: foreign::describe(r.bytes) });
        }
        r.at = MAGIC.len();
        self.version = r.u32("the version")?;
        if !(2..=3).contains(&self.version) {
            return Err(Malformed { at: 4, what: unknown_version(self.version) });
        }
        let tensors_at = r.at as u64;
        let n_tensors = r.u64("the number of tensors")?;
        let n_pairs = r.count("the number of metadata pairs", LEAST_PAIR)?;
        self.read_pairs(r, n_pairs, findings)?;
        self.read_alignment(r.at as u64, findings);
        let room = (r.left() / LEAST_TENSOR) as u64;
        if n_tensors > room {
            let left = r.left();
            let what =
                format!("the number of tensors is {n_tensors}, but the {left} bytes left have room for {room} at most");
            return Err(Malformed { at: tensors_at, what });
        }
        for _ in 0..n_tensors {
            let tensor = read_tensor(r, findings)?;
            self.tensors.push(tensor);
        }
        self.end = r.at as u64;
        self.data = self.end.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX);
        layout::place(self, r.bytes.len() as u64, findings);
        Ok(())
    }

    /// The metadata value with the key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pair(key).map(|pair| &pair.value)
    }

    /// The metadata pair with the key, as llama.cpp finds it: a key ends at its first NUL, and the first of equal ones counts.
    pub fn pair(&self, key: &str) -> Option<&Pair> {
        let key_of = |i: &u32| self.pairs[*i as usize].key.c_bytes();
        let first = self.by_key.partition_point(|i| key_of(i) < key.as_bytes());
        self.by_key.get(first).filter(|i| key_of(i) == key.as_bytes()).map(|&i| &self.pairs[i as usize])
    }

    /// The metadata is read, and what is read before damage can be found.
    fn read_pairs(&mut self, r: &mut Cursor, count: u64, findings: &mut Findings) -> Result<(), Malformed> {
        let mut first: HashMap<&[u8], u64> = HashMap::new();
        let mut unusable = 0;
        let mut read = || {
            for _ in 0..count {
                let start = r.at;
                let at = start as u64;
                let bytes = r.string("a metadata key")?;
                let key = Name::of(bytes);
                let kind = r.u32("the type of a value")?;
                let value_at = r.at as u64;
                let value = r.value(kind)?;
                r.spend(start)?;
                if key.is_empty() {
                    unusable += 1;
                    findings.refused(at, "a metadata key without a character".into());
                } else if let Some(before) = first.get(bytes) {
                    unusable += 1;
                    findings.contradicts(at, format!("the key {key} is there twice (first at byte {before})"));
                } else {
                    first.insert(bytes, at);
                }
                if unusable > MOST_UNUSABLE {
                    let what = format!("more than {MOST_UNUSABLE} keys are empty or there twice: this is no metadata");
                    return Err(Malformed { at, what });
                }
                if !key.is_utf8() {
                    findings.notice(at, format!("the key {key} is not UTF-8"));
                }
                if matches!(value, Value::Arrays { .. }) {
                    findings.refused(value_at, format!("the value of {key} is an array of arrays"));
                }
                self.pairs.push(Pair { key, at, kind, value_at, value });
            }
            Ok(())
        };
        let done = read();
        // Equal keys stay in the order of the file, so that the first one counts.
        self.by_key = (0..self.pairs.len() as u32).collect();
        self.by_key.sort_by(|&a, &b| self.pairs[a as usize].key.c_bytes().cmp(self.pairs[b as usize].key.c_bytes()));
        done
    }

    fn read_alignment(&mut self, end: u64, findings: &mut Findings) {
        let Some(pair) = self.pair("general.alignment") else { return };
        let wrong = match pair.value {
            _ if pair.kind != Scalar::U32 as u32 => format!("is of type {}, not u32", pair.type_name()),
            Value::Unsigned(n) if n.is_power_of_two() && n <= 1 << 31 => {
                self.alignment = n;
                return;
            }
            _ => format!("is {}, which is no power of two up to 2^31", pair.brief()),
        };
        findings.contradicts(pair.value_at.min(end), format!("general.alignment {wrong}"));
    }
}

fn unknown_version(version: u32) -> String {
    let swapped = version.swap_bytes();
    if version & 0xffff == 0 && (1..=3).contains(&swapped) {
        return format!(
            "a big-endian file (version {swapped}): neither ggscope nor llama.cpp reads it on this machine; \
             gguf-py's gguf_convert_endian.py turns it around"
        );
    }
    match version {
        1 => "GGUF version 1, whose counts have 32 bits: versions 2 and 3 are known; convert the model again".into(),
        _ => format!("GGUF version {version}; versions 2 and 3 are known"),
    }
}

/// What was read once is read again without a limit.
static NO_HOLES: Holes = Holes::NONE;

/// Where each of `count` strings that begin at `at` lies.
pub(super) fn string_ranges(bytes: &[u8], at: usize, count: u64) -> Result<Vec<Range<usize>>, Malformed> {
    let mut out = vec![];
    let mut r = Cursor::new(bytes, at, &NO_HOLES);
    for _ in 0..count {
        let len = r.string("a string of an array")?.len();
        out.push(r.at - len..r.at);
    }
    Ok(out)
}

fn read_tensor(r: &mut Cursor, findings: &mut Findings) -> Result<TensorInfo, Malformed> {
    let start = r.at;
    let at = start as u64;
    let name = Name::of(r.string("a tensor's name")?);
    let n_dims = r.u32("a tensor's number of dimensions")?;
    let mut ne = [1; 4];
    if n_dims as usize > ne.len() {
        findings.contradicts(at, format!("the tensor {name} has {n_dims} dimensions, and 4 are the most"));
    }
    for i in 0..n_dims as usize {
        let n = r.u64("a tensor's shape")? as i64;
        if let Some(e) = ne.get_mut(i) {
            *e = n;
        }
    }
    let type_id = r.u32("a tensor's type")?;
    let offset = r.u64("a tensor's offset")?;
    r.spend(start)?;
    let length = name.bytes().len();
    if length > MAX_NAME {
        findings.refused(at, format!("the name of tensor {name} has {length} bytes, and {MAX_NAME} are the most"));
    }
    if !name.is_utf8() {
        findings.notice(at, format!("the name of tensor {name} is not UTF-8"));
    }
    let elements = ne.iter().try_fold(1_i64, |n, &e| n.checked_mul(e).filter(|_| e >= 0));
    match elements {
        None => findings.contradicts(at, format!("the tensor {name} has the impossible shape {ne:?}")),
        Some(0) => findings.notice(at, format!("the tensor {name} has the shape {ne:?}: nothing is in it")),
        Some(_) => {}
    }
    Ok(TensorInfo { name, ne, n_dims, type_id, offset, at })
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
