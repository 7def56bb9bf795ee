//! The bytes of a tensor in the mapped file. The header may say anything, so they are given out only if they are there.

use super::{GgufFile, TensorInfo};
use std::path::PathBuf;

/// Why the bytes of a tensor cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWeights {
    /// A type that the vendored ggml does not know: how many bytes it takes is unknown, too.
    #[error("cannot read the tensor {tensor} of {path}: its type {type_id} is none that ggml knows")]
    UnknownType {
        /// Name of the tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// Number of the type.
        type_id: u32,
    },
    /// Rows that end inside a block, or a size that overflows.
    #[error(
        "cannot read the tensor {tensor} of {path}: rows of {row} are no whole blocks of {type_name}, or it overflows"
    )]
    Shape {
        /// Name of the tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// Elements in a row.
        row: i64,
        /// Name of the type.
        type_name: &'static str,
    },
    /// Another program wrote to the file, cut it, or it cannot be read any more.
    #[error("cannot read the tensor {tensor} of {path}: the file has changed since it was opened; open it again")]
    Changed {
        /// Name of the tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
    },
    /// The file ends before the tensor does.
    #[error(
        "cannot read the tensor {tensor} of {path}: it should have {bytes} bytes from byte {offset}, but the file has \
         {file_bytes}; was it copied or downloaded completely?"
    )]
    PastEnd {
        /// Name of the tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// Offset of its first byte in the file.
        offset: u64,
        /// Its size in bytes.
        bytes: u64,
        /// Size of the file in bytes.
        file_bytes: u64,
    },
}

impl GgufFile {
    /// The bytes of `tensor`, which must be one of this file's: rows one after the other, each of whole blocks.
    ///
    /// # Errors
    /// When its type is unknown, its shape does not fit its type, the file ends before it, or has changed. It may change
    /// while the bytes are read: see [`GgufFile::still`].
    pub fn weights(&self, tensor: &TensorInfo) -> Result<&[u8], NoWeights> {
        let (name, path) = (|| tensor.name.to_string(), || self.path.clone());
        let Some(ty) = tensor.ggml_type() else {
            return Err(NoWeights::UnknownType { tensor: name(), path: path(), type_id: tensor.type_id });
        };
        let Some(bytes) = ty.nbytes(tensor.ne) else {
            let (row, type_name) = (tensor.ne[0], ty.name());
            return Err(NoWeights::Shape { tensor: name(), path: path(), row, type_name });
        };
        self.still(tensor)?;
        let place = |at: u64| usize::try_from(at).ok();
        let end = tensor.offset.checked_add(bytes);
        let range = place(tensor.offset).zip(end.and_then(place)).map(|(from, to)| from..to);
        range.and_then(|range| self.content.get(range)).ok_or_else(|| NoWeights::PastEnd {
            tensor: name(),
            path: path(),
            offset: tensor.offset,
            bytes,
            file_bytes: self.bytes(),
        })
    }

    /// Whether what was read of `tensor` until now was what the file had when it was opened.
    ///
    /// # Errors
    /// When it may not have been.
    pub fn still(&self, tensor: &TensorInfo) -> Result<(), NoWeights> {
        match self.unchanged() {
            true => Ok(()),
            false => Err(NoWeights::Changed { tensor: tensor.name.to_string(), path: self.path.clone() }),
        }
    }
}
