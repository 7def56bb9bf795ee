//! How much each two heads differ, on a GPU where that pays: the Jensen-Shannon divergence of their rows, averaged over tokens
//! (Lin, "Divergence measures based on the Shannon entropy", 1991). The CPU's implementation is the collector's.

use crate::compute::{Compute, Place, Ran};
use crate::error::Error;
use crate::gpu;

/// Logarithms from which on a GPU is used without being asked for: about a second of two cores. An estimate, never measured
/// on a GPU.
const LOGARITHMS: u64 = 600_000_000;

/// All heads' distributions for one token over the same outcomes.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Outcomes.
    pub n: usize,
    /// `[n, heads]`, NaN where a head has no row.
    pub weights: &'a [f32],
}

/// Where among all pairs (0, 1), (0, 2), … (1, 2), … of `n` the pair of `a` and `b` is; `a` is less than `b`.
pub(crate) fn place(n: usize, a: usize, b: usize) -> usize {
    a * (2 * n - a - 1) / 2 + b - a - 1
}

impl Compute {
    /// Mean divergence, in nats, of each two of `heads` heads: (0, 1), (0, 2), … (1, 2), …; NaN where no token has rows of
    /// both. `on_cpu` computes it there; on a GPU it is within 1e-5 of that.
    ///
    /// # Errors
    /// [`Error::Cuda`] and [`Error::Compile`] if a GPU was asked for; [`Error::Option`] if a token has not `n` weights a head.
    pub fn divergences(
        &self,
        heads: usize,
        tokens: &[Rows],
        on_cpu: impl FnOnce() -> Vec<f32>,
    ) -> Result<(Vec<f32>, Ran), Error> {
        if let Some(rows) = tokens.iter().find(|rows| rows.n.checked_mul(heads) != Some(rows.weights.len())) {
            let value = format!("{} for {} outcomes", rows.weights.len(), rows.n);
            return Err(Error::Option { name: "weights", value, wanted: "every head has one for each outcome" });
        }
        let pairs = (heads * heads.saturating_sub(1) / 2) as u64;
        let logarithms = tokens.iter().map(|rows| pairs * rows.n as u64).sum();
        let (found, ran) = match self.place(logarithms, LOGARITHMS, "logarithms") {
            Err(why) => return Ok((on_cpu(), Ran::Cpu(why))),
            Ok(Place::Cuda(cuda)) => (gpu::divergences(cuda, heads, tokens), Ran::Cuda(cuda.name.clone())),
            #[cfg(any(test, feature = "testing"))]
            Ok(Place::Emulated(host)) => (gpu::divergences(&*host, heads, tokens), Ran::Cuda("emulated".into())),
        };
        match self.or_cpu(found)? {
            Ok(pairs) => Ok((pairs, ran)),
            Err(why) => Ok((on_cpu(), Ran::Cpu(why))),
        }
    }
}
