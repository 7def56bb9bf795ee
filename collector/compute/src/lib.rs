//! Graph analytics on the CPU and on CUDA: numbers about nodes and edges, whatever these stand for.
//!
//! A [`Graph`] is built from an edge list that is checked once; the measures are functions of it, and [`Compute`] runs
//! the heavy ones on a GPU where that pays. What each computes, with
//! its source and how it compares with networkx, is in `docs/analytics.md`. No measure depends on the number of threads.

pub mod attention;
mod betweenness;
mod community;
mod components;
mod compute;
mod cores;
mod csr;
pub mod curves;
mod dag;
mod degree;
pub mod divergence;
mod error;
mod gpu;
mod graph;
mod lens;
pub mod machine;
mod pagerank;
mod paths;
mod statistics;
mod tensor_distribution;
mod top;
mod user_device;
mod visit;

pub use betweenness::{Betweenness, Centrality, Sources, betweenness};
pub use community::{Communities, CommunityId, Leiden, leiden, modularity};
pub use components::{ComponentId, Components, strong_components, weak_components};
pub use compute::{Compute, Device, Ran};
pub use cores::core_numbers;
pub use dag::{CriticalPath, longest_path};
pub use degree::{Degrees, degrees, distribution};
pub use error::Error;
pub use graph::{Direction, Graph, NodeId, Parallel, Weights};
pub use lens::{Adapter, Beside, Head, Reduced, Rounding, Row, Step};
pub use pagerank::{PageRank, Ranks, pagerank};
pub use paths::{Path, Paths, all_shortest_paths, distances, k_shortest_paths, shortest_path};
pub use statistics::{Dequantize, Distribution, DistributionOptions, Encoding, MAX_BINS, Values, distribution_of};
pub use tensor_distribution::tensor_distribution;
pub use top::top;
pub use user_device::open_device;
