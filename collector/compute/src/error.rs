//! What can be wrong with a graph or a question about it, in words that say what to change.

/// Why a graph could not be built or a measure not computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Node ids are 32 bits.
    #[error("a graph of {0} nodes: at most 4,294,967,294 are possible")]
    TooManyNodes(usize),
    /// An edge names a node that is not there.
    #[error("edge {edge} names node {node}, but the graph has only {nodes} nodes (ids count from 0)")]
    NoSuchNode {
        /// Place of the edge in the list, from 0.
        edge: usize,
        /// The node that it names.
        node: u32,
        /// How many there are.
        nodes: usize,
    },
    /// A question names a node that is not there.
    #[error("{what} is node {node}, but the graph has only {nodes} nodes (ids count from 0)")]
    NoNode {
        /// What the node was meant as.
        what: &'static str,
        /// The node that was asked for.
        node: u32,
        /// How many there are.
        nodes: usize,
    },
    /// A list that must have an entry for every node or edge has not.
    #[error("{what}: {given} values for {wanted} {of}")]
    Length {
        /// The list.
        what: &'static str,
        /// Entries that it has.
        given: usize,
        /// Entries that it must have.
        wanted: usize,
        /// What it has an entry for.
        of: &'static str,
    },
    /// NaN, infinite, negative, or so small that its inverse is infinite.
    #[error("{what} {index} is {value}: it must be 0 or a positive number from 2.3e-308 on")]
    Weight {
        /// The list that it stands in.
        what: &'static str,
        /// Place in the list, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// Weights whose sum is no number.
    #[error("the sum of {0} is too large for a 64-bit number: divide all of them by the same number")]
    Sum(&'static str),
    /// All weights of a distribution are zero.
    #[error("{0}: all are 0, at least one must be positive")]
    NothingPositive(&'static str),
    /// Lengths of zero make infinitely many shortest paths.
    #[error(
        "the edge from {from} to {to} has length 0: shortest paths can only be counted where all lengths are positive"
    )]
    ZeroLength {
        /// Where the edge begins.
        from: u32,
        /// Where it ends.
        to: u32,
    },
    /// A parameter is out of its range.
    #[error("{name} is {value}: {wanted}")]
    Option {
        /// The parameter.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The power iteration did not reach its tolerance.
    #[error(
        "PageRank did not converge: after {iterations} iterations the ranks still change by {change:e}, wanted {wanted:e}; allow more iterations or a larger tolerance"
    )]
    NotConverged {
        /// Iterations that were made.
        iterations: u32,
        /// Sum over all nodes of the last change.
        change: f64,
        /// What that sum must be below: nodes times tolerance.
        wanted: f64,
    },
    /// A longest path exists only where there are no cycles.
    #[error("the graph has a cycle through node {0}: a longest path exists only in a graph without cycles")]
    Cycle(u32),
    /// A GPU was asked for that cannot be used.
    #[error("{asked} was asked for, but {reason}")]
    NoDevice {
        /// What was asked for.
        asked: String,
        /// What was looked for and not found.
        reason: String,
    },
    /// CUDA gave up.
    #[error("{device}: {doing}: {reason}")]
    Cuda {
        /// The device.
        device: String,
        /// What was being done.
        doing: String,
        /// What CUDA says.
        reason: String,
    },
    /// Kernels could not be compiled.
    #[error("cannot compile {file} for CUDA: {reason}")]
    Compile {
        /// The file of kernels.
        file: &'static str,
        /// What the compiler says, or why there is none.
        reason: String,
    },
    /// Directed graphs only.
    #[error("{0} is defined for directed graphs only")]
    Undirected(&'static str),
}

/// Checks weights: 0 or positive, finite, no subnormal numbers (their inverse is infinite), and a finite sum.
pub(crate) fn check_weights(what: &'static str, list: &'static str, weights: &[f64]) -> Result<f64, Error> {
    let bad = |w: &f64| !(*w == 0.0 || (w.is_normal() && *w > 0.0));
    if let Some(index) = weights.iter().position(bad) {
        return Err(Error::Weight { what, index, value: weights[index] });
    }
    let sum: f64 = weights.iter().sum();
    if sum.is_finite() { Ok(sum) } else { Err(Error::Sum(list)) }
}

pub(crate) fn option(name: &'static str, value: impl ToString, wanted: &'static str) -> Error {
    Error::Option { name, value: value.to_string(), wanted }
}
