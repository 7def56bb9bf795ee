//! A minimal writer of GGUF version 3 for fixtures: key-value metadata and tensors with an alignment of 32 bytes.
//! Weights come from a seeded generator, so that a fixture has the same bytes on every machine.
//! The format is described in `ggml/include/gguf.h`.

use std::fs;
use std::path::Path;

use half::f16;

const ALIGNMENT: usize = 32;
/// Elements in one Q4_0 block.
const Q4_0_BLOCK: usize = 32;

/// A metadata value.
pub enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    TextArray(Vec<String>),
    I32Array(Vec<i32>),
    F32Array(Vec<f32>),
}

/// How a tensor's elements are stored; the number is ggml's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
}

struct Tensor {
    name: String,
    ne: Vec<u64>,
    tensor_type: TensorType,
    bytes: Vec<u8>,
}

/// Collects metadata and tensors in the order in which they will stand in the file.
#[derive(Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

impl GgufWriter {
    /// Adds one metadata entry.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.metadata.push((key.into(), value));
        self
    }

    /// Adds a tensor. `ne` is ggml's order: the length of a row comes first. Q4_0 needs rows of whole 32-element blocks.
    pub fn tensor(&mut self, name: &str, tensor_type: TensorType, ne: &[u64], values: &[f32]) {
        let elements: u64 = ne.iter().product();
        assert_eq!(elements, values.len() as u64, "{name}: shape and values differ");
        let bytes = match tensor_type {
            TensorType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TensorType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
            TensorType::Q4_0 => {
                assert_eq!(ne[0] as usize % Q4_0_BLOCK, 0, "{name}: rows of broken blocks");
                values.chunks_exact(Q4_0_BLOCK).flat_map(q4_0_block).collect()
            }
        };
        self.tensors.push(Tensor { name: name.into(), ne: ne.into(), tensor_type, bytes });
    }

    /// Writes the file, replacing one that is there.
    pub fn write(&self, path: &Path) {
        let mut out = Vec::new();
        out.extend(b"GGUF");
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut out, &tensor.name);
            out.extend((tensor.ne.len() as u32).to_le_bytes());
            out.extend(tensor.ne.iter().flat_map(|n| n.to_le_bytes()));
            out.extend((tensor.tensor_type as u32).to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend(&tensor.bytes);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        fs::write(path, out).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    const U32: u32 = 4;
    const I32: u32 = 5;
    const F32: u32 = 6;
    const BOOL: u32 = 7;
    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;

    let array = |out: &mut Vec<u8>, element: u32, length: usize| {
        out.extend(ARRAY.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend((length as u64).to_le_bytes());
    };
    match value {
        Value::U32(v) => {
            out.extend(U32.to_le_bytes());
            out.extend(v.to_le_bytes());
        }
        Value::F32(v) => {
            out.extend(F32.to_le_bytes());
            out.extend(v.to_le_bytes());
        }
        Value::Bool(v) => {
            out.extend(BOOL.to_le_bytes());
            out.push(u8::from(*v));
        }
        Value::Text(v) => {
            out.extend(TEXT.to_le_bytes());
            put_text(out, v);
        }
        Value::TextArray(all) => {
            array(out, TEXT, all.len());
            all.iter().for_each(|v| put_text(out, v));
        }
        Value::I32Array(all) => {
            array(out, I32, all.len());
            out.extend(all.iter().flat_map(|v| v.to_le_bytes()));
        }
        Value::F32Array(all) => {
            array(out, F32, all.len());
            out.extend(all.iter().flat_map(|v| v.to_le_bytes()));
        }
    }
}

/// One block as ggml's `quantize_row_q4_0_ref` lays it out: an F16 scale, then 16 bytes with elements i and i+16.
fn q4_0_block(block: &[f32]) -> [u8; 18] {
    let extreme = block.iter().fold(0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let scale = extreme / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let quantized = |v: f32| ((v * inverse + 8.5) as u8).min(15);
    let mut out = [0; 18];
    out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (i, byte) in out[2..].iter_mut().enumerate() {
        *byte = quantized(block[i]) | quantized(block[i + Q4_0_BLOCK / 2]) << 4;
    }
    out
}

/// A seeded generator of weights (SplitMix64): the same numbers on every machine and in every release.
pub struct Weights {
    state: u64,
}

impl Weights {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// `n` values, evenly spread over -`limit` to `limit`.
    pub fn uniform(&mut self, n: usize, limit: f32) -> Vec<f32> {
        (0..n).map(|_| self.unit() * limit).collect()
    }

    /// Weights of a matrix with rows of `n_in`, scaled so that an input of variance 1 gives an output of variance 1.
    pub fn matrix(&mut self, n_in: u64, n_rows: u64) -> Vec<f32> {
        self.uniform((n_in * n_rows) as usize, (3.0 / n_in as f32).sqrt())
    }

    fn unit(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits fill a float's mantissa.
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
