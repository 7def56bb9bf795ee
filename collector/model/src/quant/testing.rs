//! Model files with weights for the tests of this module.

use crate::ggml::GgmlType;
use crate::gguf::Gguf;
use crate::testing::{Entry, Fixture};
use std::path::Path;

/// A GGUF file that is made tensor by tensor.
pub struct ModelFile {
    fixture: Fixture,
    weights: Vec<u8>,
    file: tempfile::NamedTempFile,
}

impl ModelFile {
    pub fn new() -> ModelFile {
        let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
        ModelFile { fixture: Fixture::new("llama"), weights: vec![], file }
    }

    /// Adds a tensor with these values, quantised to `ty`.
    pub fn quantized(&mut self, name: &str, ty: GgmlType, ne: &[u64], values: &[f32]) -> &mut ModelFile {
        assert_eq!(ne.iter().product::<u64>(), values.len() as u64);
        let bytes = if values.is_empty() { vec![] } else { ty.quantize(values, ne[0] as usize).unwrap() };
        self.raw(name, ty.id(), ne, bytes)
    }

    /// Adds a tensor with these bytes.
    pub fn raw(&mut self, name: &str, type_id: u32, ne: &[u64], bytes: Vec<u8>) -> &mut ModelFile {
        self.weights.resize(self.weights.len().next_multiple_of(32), 0);
        let offset = self.weights.len() as u64;
        self.fixture.entry(Entry { name: name.to_owned(), ne: ne.to_vec(), type_id, offset });
        self.weights.extend(bytes);
        self
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes and opens it.
    pub fn open(&self) -> Gguf {
        std::fs::write(self.path(), [&self.fixture.header()[..], &self.weights].concat()).unwrap();
        Gguf::open(self.path()).unwrap()
    }
}

pub fn q4_k() -> GgmlType {
    GgmlType::from_name("q4_K").unwrap()
}
