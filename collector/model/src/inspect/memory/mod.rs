//! What a model needs of memory: its weights as they are and as they would be in other types, the caches, the buffers for
//! computing, and what fits into a given memory.

mod cache;
mod compute;
mod plan;
mod quantise;
mod weights;

pub use cache::{CACHE_TYPES, CachePart, CacheTypeError, Caches, Context};
pub use compute::compute_buffer;
pub use plan::{Memory, Offload};
pub use quantise::{AsType, as_types};
pub use weights::{ComponentBytes, TypeBytes, Weights};
