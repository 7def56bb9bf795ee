//! Communities: parts of the graph with more edges inside than chance would put there.

mod leiden;
mod level;

use crate::components::number;
use crate::error::{Error, option};
use crate::graph::{Graph, Weights};
pub use leiden::leiden;
pub(crate) use leiden::{GAIN, compact, descend, tries};
pub(crate) use level::Level;
use petgraph::unionfind::UnionFind;

/// A community: its number, from 0. The largest is 0; of equally large ones the one with the lowest node comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommunityId(pub u32);

/// How to look for communities.
#[derive(Clone, Copy, Debug)]
pub struct Leiden {
    /// Below 1 for larger communities, above for smaller ones.
    pub resolution: f64,
    /// Whether heavy edges hold nodes together more firmly.
    pub weights: Weights,
    /// Of the order in which nodes are looked at. The same seed gives the same communities.
    pub seed: u64,
    /// How often to go on from what was found; ends before that when nothing gets better.
    pub iterations: u32,
    /// How often to begin from nothing, each time in another order; the best is kept. Of large graphs fewer: as many as
    /// make 10 million edges in all, at least one.
    pub tries: u32,
}

impl Default for Leiden {
    fn default() -> Self {
        Leiden { resolution: 1.0, weights: Weights::Use, seed: 0, iterations: 10, tries: 8 }
    }
}

impl Leiden {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_resolution(self.resolution)?;
        for (name, value) in [("iterations", self.iterations), ("tries", self.tries)] {
            if value == 0 {
                return Err(option(name, 0, "at least one is needed"));
            }
        }
        Ok(())
    }
}

fn check_resolution(resolution: f64) -> Result<(), Error> {
    if (0.0..=1e100).contains(&resolution) {
        return Ok(());
    }
    Err(option("resolution", resolution, "it must be 0 or a positive number, at most 1e100"))
}

/// A partition of the nodes. The nodes of a community are connected, whatever the direction of edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Communities {
    /// The community of each node.
    pub of: Vec<CommunityId>,
    /// Number of nodes of each community, largest first.
    pub sizes: Vec<usize>,
    /// Modularity of the partition, see [`modularity`].
    pub modularity: f64,
}

impl Communities {
    pub(crate) fn new(graph: &Graph, labels: &[u32], options: &Leiden) -> Result<Communities, Error> {
        let (of, sizes) = number(&connected(graph, labels));
        let of: Vec<CommunityId> = of.into_iter().map(CommunityId).collect();
        let modularity = modularity(graph, &of, options.weights, options.resolution)?;
        Ok(Communities { of, sizes, modularity })
    }
}

/// Divides communities into parts that edges connect. Chance would put edges between the parts and there are none: modularity
/// does not fall.
fn connected(graph: &Graph, labels: &[u32]) -> Vec<u32> {
    let mut sets = UnionFind::<u32>::new(graph.nodes());
    for (node, &label) in labels.iter().enumerate() {
        for &to in graph.outgoing().row(node).iter().filter(|&&to| labels[to as usize] == label) {
            sets.union(node as u32, to);
        }
    }
    sets.into_labeling()
}

/// Modularity of a partition: the share of edges inside communities, less the share that would be there if edges were
/// put between nodes by chance, each node keeping its degree; times `resolution` the latter.
///
/// Newman and Girvan 2004; for directed graphs Leicht and Newman 2008: Q = Σ over communities of
/// inside / m − resolution · out · in / m². In an undirected graph a self loop counts twice in a node's degree. 0 for a graph
/// without edges (networkx divides by zero). Communities may have any numbers below the number of nodes.
///
/// # Errors
/// [`Error::Length`] if not every node has a community; [`Error::Option`] for a bad resolution or community number.
pub fn modularity(graph: &Graph, of: &[CommunityId], weights: Weights, resolution: f64) -> Result<f64, Error> {
    check_resolution(resolution)?;
    graph.check_length("communities", of)?;
    if let Some(bad) = of.iter().find(|c| c.0 as usize >= of.len()) {
        return Err(option("community", bad.0, "it must be a number below the number of nodes"));
    }
    let labels: Vec<u32> = of.iter().map(|c| c.0).collect();
    Ok(Level::new(graph, weights).modularity(&labels, resolution))
}
