//! A GGUF header as data that can be changed in any way, and written again. Not the reader of ggscope: that one is tested
//! with it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

pub const U8: u32 = 0;
pub const I8: u32 = 1;
pub const U16: u32 = 2;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const F32: u32 = 6;
pub const BOOL: u32 = 7;
pub const TEXT: u32 = 8;
pub const ARRAY: u32 = 9;
pub const U64: u32 = 10;
pub const F64: u32 = 12;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number or a truth value, with its type and its bytes.
    Scalar(u32, Vec<u8>),
    Text(Vec<u8>),
    /// Elements that are numbers, with their type, or texts.
    Array(u32, Vec<Value>),
}

/// Bytes of a number of this type.
fn width(kind: u32) -> usize {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    }
}

impl Value {
    /// A number as a value of any scalar type, cut to its range.
    pub fn number(kind: u32, number: f64) -> Value {
        let bytes = match kind {
            6 => (number as f32).to_le_bytes().to_vec(),
            7 => vec![u8::from(number != 0.0)],
            12 => number.to_le_bytes().to_vec(),
            0 => (number as u8).to_le_bytes().to_vec(),
            1 => (number as i8).to_le_bytes().to_vec(),
            2 => (number as u16).to_le_bytes().to_vec(),
            3 => (number as i16).to_le_bytes().to_vec(),
            4 => (number as u32).to_le_bytes().to_vec(),
            5 => (number as i32).to_le_bytes().to_vec(),
            10 => (number as u64).to_le_bytes().to_vec(),
            _ => (number as i64).to_le_bytes().to_vec(),
        };
        Value::Scalar(kind, bytes)
    }

    pub fn text(text: impl AsRef<[u8]>) -> Value {
        Value::Text(text.as_ref().to_vec())
    }

    pub fn numbers(kind: u32, numbers: &[f64]) -> Value {
        Value::Array(kind, numbers.iter().map(|&n| Value::number(kind, n)).collect())
    }

    pub fn texts<T: AsRef<[u8]>>(texts: &[T]) -> Value {
        Value::Array(TEXT, texts.iter().map(Value::text).collect())
    }

    pub fn kind(&self) -> u32 {
        match self {
            Value::Scalar(kind, _) => *kind,
            Value::Text(_) => TEXT,
            Value::Array(..) => ARRAY,
        }
    }

    /// The number, or the first of several; 0 for a text.
    pub fn as_number(&self) -> f64 {
        match self {
            Value::Scalar(6, bytes) => f32::from_le_bytes(bytes[..].try_into().unwrap()).into(),
            Value::Scalar(12, bytes) => f64::from_le_bytes(bytes[..].try_into().unwrap()),
            Value::Scalar(kind, bytes) => {
                let mut wide = [if matches!(kind, 1 | 3 | 5) && bytes[bytes.len() - 1] > 127 { 255 } else { 0 }; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(wide) as f64
            }
            Value::Array(_, all) => all.first().map_or(0.0, Value::as_number),
            Value::Text(_) => 0.0,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Scalar(_, bytes) => out.extend(bytes),
            Value::Text(text) => put_text(out, text),
            Value::Array(kind, all) => {
                out.extend(kind.to_le_bytes());
                out.extend((all.len() as u64).to_le_bytes());
                all.iter().for_each(|value| value.write(out));
            }
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

/// An entry of the tensor table; its place follows from those before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub ne: Vec<i64>,
    pub kind: u32,
}

impl Tensor {
    /// Elements in a block and bytes of it, for the types that mutations use.
    fn block(&self) -> (u64, u64) {
        match self.kind {
            1 | 30 => (1, 2),
            2 => (32, 18),
            3 => (32, 20),
            8 => (32, 34),
            12 => (256, 144),
            14 => (256, 210),
            24 => (1, 1),
            27 | 28 => (1, 8),
            _ => (1, 4),
        }
    }

    fn bytes(&self) -> u64 {
        let (elements, bytes) = self.block();
        let all = self.ne.iter().fold(1_u64, |n, &e| n.saturating_mul(u64::try_from(e).unwrap_or(0)));
        (all / elements).saturating_mul(bytes)
    }
}

/// A header, and how it is spoiled when it is written.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub keys: Vec<(Vec<u8>, Value)>,
    pub tensors: Vec<Tensor>,
    /// Tensors begin at multiples of it.
    pub alignment: u64,
    /// Bytes that a tensor lies after its place.
    pub shifted: Option<(usize, i64)>,
    /// Bytes that are missing at the end.
    pub cut: u64,
    /// A bit of the header that is turned around.
    pub flipped: Option<(usize, u32)>,
    pub version: u32,
}

impl Model {
    /// The header in `bytes`, which has to be in order.
    pub fn parse(bytes: &[u8]) -> Model {
        let mut r = Reader(bytes, 4);
        let version = r.u32();
        let (tensors, keys) = (r.u64(), r.u64());
        let keys = (0..keys).map(|_| (r.text(), r.kind_and_value())).collect();
        let tensor = |r: &mut Reader| {
            let name = r.text();
            let dimensions = r.u32();
            let ne = (0..dimensions).map(|_| r.u64() as i64).collect();
            let kind = r.u32();
            r.u64();
            Tensor { name, ne, kind }
        };
        let tensors = (0..tensors).map(|_| tensor(&mut r)).collect();
        Model { keys, tensors, alignment: 32, version, ..Model::default() }
    }

    pub fn get(&mut self, key: &str) -> Option<&mut Value> {
        self.keys.iter_mut().find(|(k, _)| k == key.as_bytes()).map(|(_, value)| value)
    }

    /// Sets a key, or adds it.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.get(key) {
            Some(there) => *there = value,
            None => self.keys.push((key.as_bytes().to_vec(), value)),
        }
    }

    pub fn drop_key(&mut self, key: &str) {
        self.keys.retain(|(k, _)| k != key.as_bytes());
    }

    pub fn architecture(&mut self) -> String {
        match self.get("general.architecture") {
            Some(Value::Text(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => String::new(),
        }
    }

    /// Writes the file; its weights are a hole.
    pub fn write(&self, path: &Path) {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            put_text(&mut out, key);
            out.extend(value.kind().to_le_bytes());
            value.write(&mut out);
        }
        let mut place = 0_u64;
        for (i, t) in self.tensors.iter().enumerate() {
            put_text(&mut out, &t.name);
            out.extend((t.ne.len() as u32).to_le_bytes());
            t.ne.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(t.kind.to_le_bytes());
            let shift = self.shifted.filter(|(which, _)| *which == i).map_or(0, |(_, bytes)| bytes);
            out.extend(place.wrapping_add_signed(shift).to_le_bytes());
            place = place.saturating_add(t.bytes()).checked_next_multiple_of(self.alignment).unwrap_or(place);
        }
        out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        if let Some((byte, bit)) = self.flipped {
            let byte = byte % out.len();
            out[byte] ^= 1 << bit;
        }
        let bytes = (out.len() as u64).saturating_add(place).min(1 << 40).saturating_sub(self.cut);
        let written = File::create(path).and_then(|mut file| {
            file.write_all(&out)?;
            file.set_len(bytes)
        });
        written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }
}

struct Reader<'a>(&'a [u8], usize);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> &[u8] {
        self.1 += n;
        &self.0[self.1 - n..self.1]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> Vec<u8> {
        let n = self.u64() as usize;
        self.take(n).to_vec()
    }

    fn kind_and_value(&mut self) -> Value {
        let kind = self.u32();
        self.value(kind)
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            TEXT => Value::Text(self.text()),
            ARRAY => {
                let kind = self.u32();
                let n = self.u64();
                Value::Array(kind, (0..n).map(|_| self.value(kind)).collect())
            }
            _ => Value::Scalar(kind, self.take(width(kind)).to_vec()),
        }
    }
}
