//! The measures on a device: kernels in `kernels/*.cu`, and what launches them. A [`backend::Backend`] is where they run: a GPU
//! ([`cuda`]), or, in tests, the CPU that emulates one (`host`); the launching code is the same.

mod attention;
#[cfg(test)]
mod attention_tests;
mod backend;
mod betweenness;
mod blas;
mod busy;
mod cache;
mod communities;
mod cuda;
mod divergence;
#[cfg(any(test, feature = "testing"))]
mod emulated;
mod lens;
#[cfg(test)]
mod lens_tests;
mod library;
mod nvrtc;
mod pagerank;
mod statistics;
#[cfg(test)]
mod tests;

pub(crate) use attention::{Resident, attention};
pub(crate) use betweenness::betweenness;
pub(crate) use communities::{SMALL, communities};
pub(crate) use cuda::{Cuda, free_device};
pub(crate) use divergence::divergences;
#[cfg(any(test, feature = "testing"))]
pub(crate) use emulated::Emulated;
pub(crate) use lens::{SIZES, reduce};
pub(crate) use pagerank::pagerank;
pub(crate) use statistics::distribution_of;
