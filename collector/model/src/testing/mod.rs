//! Writes GGUF files for tests: metadata and tensor table are real, weights are a hole in a sparse file. So a model of
//! any size can be inspected, if not run, for the price of its header. `models` has ready-made architectures.

mod exercise;
mod models;

pub use exercise::exercise;
pub use models::*;

use crate::ggml::GgmlType;
use crate::gguf::Gguf;
use crate::inspect::{Component, Role};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const ALIGNMENT: u64 = 32;

/// A metadata value to write.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are GGUF's own")]
pub enum Put {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    /// A string that need not be UTF-8.
    Bytes(Vec<u8>),
    U64(u64),
    I64(i64),
    F64(f64),
    /// Elements of one type; the number is GGUF's for it.
    Array(u32, Vec<Put>),
}

impl Put {
    fn kind(&self) -> u32 {
        match self {
            Put::U8(_) => 0,
            Put::I8(_) => 1,
            Put::U16(_) => 2,
            Put::I16(_) => 3,
            Put::U32(_) => 4,
            Put::I32(_) => 5,
            Put::F32(_) => 6,
            Put::Bool(_) => 7,
            Put::Text(_) | Put::Bytes(_) => 8,
            Put::Array(..) => 9,
            Put::U64(_) => 10,
            Put::I64(_) => 11,
            Put::F64(_) => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Put::U8(v) => out.push(*v),
            Put::I8(v) => out.extend(v.to_le_bytes()),
            Put::U16(v) => out.extend(v.to_le_bytes()),
            Put::I16(v) => out.extend(v.to_le_bytes()),
            Put::U32(v) => out.extend(v.to_le_bytes()),
            Put::I32(v) => out.extend(v.to_le_bytes()),
            Put::F32(v) => out.extend(v.to_le_bytes()),
            Put::Bool(v) => out.push(u8::from(*v)),
            Put::Text(v) => put_text(out, v.as_bytes()),
            Put::Bytes(v) => put_text(out, v),
            Put::U64(v) => out.extend(v.to_le_bytes()),
            Put::I64(v) => out.extend(v.to_le_bytes()),
            Put::F64(v) => out.extend(v.to_le_bytes()),
            Put::Array(kind, values) => {
                out.extend(kind.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|v| v.write(out));
            }
        }
    }
}

impl From<u32> for Put {
    fn from(v: u32) -> Put {
        Put::U32(v)
    }
}

impl From<f32> for Put {
    fn from(v: f32) -> Put {
        Put::F32(v)
    }
}

impl From<bool> for Put {
    fn from(v: bool) -> Put {
        Put::Bool(v)
    }
}

impl From<&str> for Put {
    fn from(v: &str) -> Put {
        Put::Text(v.to_owned())
    }
}

impl From<Vec<u32>> for Put {
    fn from(values: Vec<u32>) -> Put {
        Put::Array(4, values.into_iter().map(Put::U32).collect())
    }
}

impl From<Vec<bool>> for Put {
    fn from(values: Vec<bool>) -> Put {
        Put::Array(7, values.into_iter().map(Put::Bool).collect())
    }
}

impl From<Vec<i32>> for Put {
    fn from(values: Vec<i32>) -> Put {
        Put::Array(5, values.into_iter().map(Put::I32).collect())
    }
}

impl From<Vec<f32>> for Put {
    fn from(values: Vec<f32>) -> Put {
        Put::Array(6, values.into_iter().map(Put::F32).collect())
    }
}

impl From<Vec<Vec<u8>>> for Put {
    fn from(values: Vec<Vec<u8>>) -> Put {
        Put::Array(8, values.into_iter().map(Put::Bytes).collect())
    }
}

impl From<Vec<String>> for Put {
    fn from(values: Vec<String>) -> Put {
        Put::Array(8, values.into_iter().map(Put::Text).collect())
    }
}

/// Types of tensors that fixtures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are ggml's own")]
pub enum Dtype {
    F32,
    F16,
    Q4_0,
    Q8_0,
    Q4K,
    Q6K,
}

impl Dtype {
    /// The type.
    pub fn ggml(self) -> GgmlType {
        let name = match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Q4_0 => "q4_0",
            Dtype::Q8_0 => "q8_0",
            Dtype::Q4K => "q4_K",
            Dtype::Q6K => "q6_K",
        };
        GgmlType::from_name(name).expect("a type that ggml has")
    }
}

/// One entry of the tensor table, as it will stand in the file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Dimensions.
    pub ne: Vec<u64>,
    /// Number of the type.
    pub type_id: u32,
    /// Offset in the weights in bytes.
    pub offset: u64,
}

/// Collects metadata and tensors in the order in which they will stand in the file.
#[derive(Clone, Debug, Default)]
pub struct Fixture {
    arch: String,
    metadata: Vec<(String, Put)>,
    tensors: Vec<Entry>,
    weights: u64,
}

impl Fixture {
    /// A model of an architecture, without tensors yet.
    pub fn new(arch: &str) -> Fixture {
        let mut fixture = Fixture { arch: arch.to_owned(), ..Fixture::default() };
        fixture.general("general.architecture", arch);
        fixture
    }

    /// Adds a key with its full name.
    pub fn general(&mut self, key: &str, value: impl Into<Put>) -> &mut Fixture {
        self.metadata.push((key.to_owned(), value.into()));
        self
    }

    /// Says that there is no vocabulary, unless there is one: llama.cpp then makes up as many tokens as the embedding has.
    pub fn loadable(&self) -> Fixture {
        let mut fixture = self.clone();
        let key = "tokenizer.ggml.model";
        if !fixture.metadata.iter().any(|(k, _)| k == key) {
            fixture.general(key, "no_vocab");
        }
        fixture
    }

    /// Adds a key of the architecture.
    pub fn set(&mut self, key: &str, value: impl Into<Put>) -> &mut Fixture {
        let key = format!("{}.{key}", self.arch);
        self.general(&key, value)
    }

    /// Adds a tensor after the ones before it. `ne` is ggml's order: the length of a row comes first.
    pub fn tensor(&mut self, name: &str, dtype: Dtype, ne: &[u64]) -> &mut Fixture {
        self.add(name, dtype.ggml(), ne)
    }

    fn add(&mut self, name: &str, kind: GgmlType, ne: &[u64]) -> &mut Fixture {
        let shape: [i64; 4] = std::array::from_fn(|i| ne.get(i).map_or(1, |&n| n as i64));
        let bytes = kind.nbytes(shape).unwrap_or_else(|| panic!("{name}: rows of broken blocks"));
        let offset = self.weights;
        self.weights += bytes.next_multiple_of(ALIGNMENT);
        self.entry(Entry { name: name.to_owned(), ne: ne.to_vec(), type_id: kind.id(), offset })
    }

    /// Adds an entry of the tensor table as it is, sensible or not.
    pub fn entry(&mut self, entry: Entry) -> &mut Fixture {
        self.tensors.push(entry);
        self
    }

    /// The same model with fewer layers.
    pub fn first_layers(&self, layers: u32) -> Fixture {
        self.reduced(layers, u32::MAX)
    }

    /// The same model with fewer layers and fewer experts.
    pub fn reduced(&self, layers: u32, experts: u32) -> Fixture {
        let mut small = Fixture { arch: self.arch.clone(), ..Fixture::default() };
        small.metadata = self.metadata.clone();
        for (key, value) in &mut small.metadata {
            match value {
                Put::U32(count) if key.ends_with("block_count") => *count = (*count).min(layers),
                Put::U32(count) if key.ends_with("expert_count") => *count = (*count).min(experts),
                Put::Array(4 | 7, list) if key.starts_with(&self.arch) => list.truncate(layers as usize),
                _ => {}
            }
        }
        for t in &self.tensors {
            let role = Role::of(&t.name);
            if role.layer.is_some_and(|layer| layer >= layers) {
                continue;
            }
            let mut ne = t.ne.clone();
            // The last dimension of a tensor of all experts counts them.
            if let Some(count) =
                ne.last_mut().filter(|_| matches!(role.component, Component::Experts | Component::Router))
            {
                *count = (*count).min(experts.into());
            }
            small.add(&t.name, GgmlType::from_id(t.type_id).expect("a type that ggml has"), &ne);
        }
        small
    }

    /// The bytes before the weights, with padding.
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"GGUF");
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut out, key.as_bytes());
            out.extend(value.kind().to_le_bytes());
            value.write(&mut out);
        }
        for tensor in &self.tensors {
            put_text(&mut out, tensor.name.as_bytes());
            out.extend((tensor.ne.len() as u32).to_le_bytes());
            out.extend(tensor.ne.iter().flat_map(|n| n.to_le_bytes()));
            out.extend(tensor.type_id.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        out
    }

    /// Bytes of all weights.
    pub fn weights(&self) -> u64 {
        self.weights
    }

    /// Writes the file; its weights are a hole.
    pub fn write(&self, path: &Path) {
        let header = self.header();
        let written = File::create(path).and_then(|mut file| {
            file.write_all(&header)?;
            file.set_len(header.len() as u64 + self.weights)
        });
        written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// The model as it is read from a file with these contents.
    pub fn model(&self) -> Gguf {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        self.write(file.path());
        Gguf::open(file.path()).expect("a model that was just written")
    }
}

/// Writes a model as `count` files into `dir`, as llama-gguf-split does: the metadata in the first one.
pub fn split(model: &Fixture, dir: &Path, count: u16) -> Vec<PathBuf> {
    let each = model.tensors.len().div_ceil(usize::from(count)).max(1);
    let mut tensors = model.tensors.chunks(each);
    let ends: Vec<u64> = model.tensors.iter().skip(1).map(|t| t.offset).chain([model.weights]).collect();
    let write = |no: u16| {
        let mut part = Fixture { arch: model.arch.clone(), ..Fixture::default() };
        if no == 0 {
            part.metadata.clone_from(&model.metadata);
        }
        part.general("split.no", Put::U16(no)).general("split.count", Put::U16(count));
        part.general("split.tensors.count", Put::I32(model.tensors.len() as i32));
        let own = tensors.next().unwrap_or_default();
        let first = own.first().map_or(0, |t| t.offset);
        part.tensors = own.iter().map(|t| Entry { offset: t.offset - first, ..t.clone() }).collect();
        let last = usize::from(no) * each + own.len();
        part.weights = if own.is_empty() { 0 } else { ends[last - 1] - first };
        let path = dir.join(format!("model-{:05}-of-{count:05}.gguf", no + 1));
        part.write(&path);
        path
    };
    (0..count).map(write).collect()
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}
