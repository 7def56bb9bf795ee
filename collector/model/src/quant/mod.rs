//! What quantisation did to a model: the blocks as they are in the file, distributions of what they store, the mix of
//! types by layer and part, and how far each tensor is from one of higher precision. It reads weights from the mapped
//! file a piece at a time, on all cores; whole dequantised tensors are never in memory.

mod block;
pub mod decode;
mod difference;
mod distribution;
mod every_type;
mod levels;
mod mix;
mod reference;
mod scheme;
mod stream;
mod tensor;
#[cfg(test)]
mod testing;

pub use block::{Block, GridPoint, SubBlock, block};
pub use difference::Difference;
pub use distribution::{BINS, Distribution, Histogram, QUANTILES, Quantile};
pub use every_type::{TypeError, every_type};
pub use levels::{Level, Levels};
pub use mix::{LayerMix, Mix, PartMix, Share, TensorMix, TypeShare, mix};
pub use reference::{ErrorReport, TensorError, Unmatched, errors, tensor_error};
pub use scheme::Scheme;
pub use tensor::{BlockDistributions, Tensor, TensorReport, report};

use crate::ggml::{ConvertError, GgmlType};
use crate::gguf::NoWeights;
use std::path::PathBuf;

/// Why a question about a tensor has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantError {
    /// The model has no tensor with the name.
    #[error("{path} has no tensor {name}{}", nearest_names(nearest))]
    NoSuchTensor {
        /// The name.
        name: String,
        /// The model's file.
        path: PathBuf,
        /// Names that it has and that look like it, most alike first.
        nearest: Vec<String>,
    },
    /// The bytes of the tensor are not there.
    #[error(transparent)]
    Weights(#[from] NoWeights),
    /// The type has no blocks.
    #[error("the tensor {tensor} is {ty}, which has no blocks: every element stands for itself")]
    NoBlocks {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        ty: GgmlType,
    },
    /// There are not that many blocks.
    #[error("the tensor {tensor} has no block {index}: it has {blocks}, counted from 0")]
    NoSuchBlock {
        /// Name of the tensor.
        tensor: String,
        /// The block that was asked for.
        index: u64,
        /// How many it has.
        blocks: u64,
    },
    /// ggml cannot convert the tensor.
    #[error("cannot look into the tensor {tensor}: {source}")]
    Convert {
        /// Name of the tensor.
        tensor: String,
        /// Why.
        source: ConvertError,
    },
}

fn nearest_names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [most @ .., last] => format!("; did you mean {} or {last}?", most.join(", ")),
    }
}
