//! Reads what the host `generate --eval-callback GLOB FILE` wrote: the values that llama.cpp's own eval callback saw,
//! to compare ours with, bit for bit.

use std::fs;
use std::path::Path;

/// One tensor as the eval callback saw it, in the order of the computation. Names are not unique.
#[derive(Debug, Clone, PartialEq)]
pub struct DumpedTensor {
    pub name: String,
    /// The number of the `ggml_type` enum: 0 is F32, 1 F16, 26 I32.
    pub ggml_type: u32,
    pub ne: [i64; 4],
    /// Rows one after the other, without gaps.
    pub bytes: Vec<u8>,
}

impl DumpedTensor {
    /// The values of an I32 tensor (expert ids, token ids).
    pub fn as_i32(&self) -> Vec<i32> {
        assert_eq!(self.ggml_type, 26, "{} is not I32", self.name);
        self.bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

/// Reads the whole dump; panics if it is cut.
pub fn read_eval_dump(path: &Path) -> Vec<DumpedTensor> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let mut rest = Cursor { rest: &bytes, path };
    let mut tensors = Vec::new();
    while !rest.rest.is_empty() {
        let name_length = u32::from_le_bytes(rest.array()) as usize;
        let name = String::from_utf8_lossy(rest.take(name_length)).into_owned();
        let ggml_type = u32::from_le_bytes(rest.array());
        let ne = [(); 4].map(|()| i64::from_le_bytes(rest.array()));
        let n_bytes = u64::from_le_bytes(rest.array()) as usize;
        let bytes = rest.take(n_bytes).to_vec();
        tensors.push(DumpedTensor { name, ggml_type, ne, bytes });
    }
    tensors
}

struct Cursor<'a> {
    rest: &'a [u8],
    path: &'a Path,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) =
            self.rest.split_at_checked(n).unwrap_or_else(|| panic!("{} is cut inside a tensor", self.path.display()));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("take returns what it was asked for")
    }
}
