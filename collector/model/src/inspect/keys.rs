//! Metadata of one architecture, read as llama.cpp reads it: `<architecture>.<suffix>`, one value or one for each layer.
//! A key that is missing or of another kind is `None`; lists are read up to the most layers that llama.cpp takes.

use crate::gguf::{GgufFile, Value};

/// The most layers that llama.cpp takes (`LLAMA_MAX_LAYERS`).
pub const MAX_LAYERS: u32 = 512;

/// The keys of a file's architecture.
pub struct Keys<'a> {
    file: &'a GgufFile,
    arch: &'a str,
}

impl<'a> Keys<'a> {
    /// The keys of `file` that begin with `arch`.
    pub fn new(file: &'a GgufFile, arch: &'a str) -> Keys<'a> {
        Keys { file, arch }
    }

    /// The architecture.
    pub fn arch(&self) -> &'a str {
        self.arch
    }

    /// The file that they are in.
    pub fn file(&self) -> &'a GgufFile {
        self.file
    }

    /// The value of `<architecture>.<suffix>`.
    pub fn get(&self, suffix: &str) -> Option<&'a Value> {
        self.file.header().get(&format!("{}.{suffix}", self.arch))
    }

    /// A number that counts something and is no list.
    pub fn count(&self, suffix: &str) -> Option<u32> {
        self.get(suffix)?.integer().and_then(|n| u32::try_from(n).ok())
    }

    /// A number, whole or not, that is one.
    pub fn float(&self, suffix: &str) -> Option<f64> {
        self.get(suffix)?.number().filter(|n| n.is_finite())
    }

    /// A text.
    pub fn text(&self, suffix: &str) -> Option<&'a str> {
        self.get(suffix)?.text()
    }

    /// A truth value.
    pub fn flag(&self, suffix: &str) -> Option<bool> {
        match *self.get(suffix)? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The numbers of a list.
    pub fn list(&self, suffix: &str) -> Option<Vec<u32>> {
        let Value::Scalars { .. } = self.get(suffix)? else { return None };
        let values = self.file.scalars(&format!("{}.{suffix}", self.arch), MAX_LAYERS as usize)?;
        let count = |value: &Value| match *value {
            Value::Bool(value) => u32::from(value),
            ref number => number.integer().and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        };
        Some(values.iter().map(count).collect())
    }

    /// One number for each of `layers` layers: those of a list, or the same one for all.
    pub fn per_layer(&self, suffix: &str, layers: u32) -> Option<Vec<u32>> {
        let layers = layers as usize;
        let mut values = match self.count(suffix) {
            Some(value) => vec![value; layers],
            None => self.list(suffix)?,
        };
        values.resize(layers, 0);
        Some(values)
    }
}
