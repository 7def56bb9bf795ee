//! Which nodes hang together: weakly (some way, whatever the direction of edges) and strongly (there and back).
//! petgraph does the work: union-find for the one, Kosaraju's two walks, which need no recursion, for the other.

use crate::graph::Graph;
use petgraph::algo::kosaraju_scc;
use petgraph::unionfind::UnionFind;

/// A component: its number, from 0. The largest component is 0; of equally large ones the one with the lowest node comes
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub u32);

/// A partition of the nodes into components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// The component of each node.
    pub of: Vec<ComponentId>,
    /// Number of nodes of each component, largest first.
    pub sizes: Vec<usize>,
}

/// Components of nodes that edges connect, whatever their direction.
pub fn weak_components(graph: &Graph) -> Components {
    let mut sets = UnionFind::<u32>::new(graph.nodes());
    for node in 0..graph.nodes() {
        for &to in graph.outgoing().row(node) {
            sets.union(node as u32, to);
        }
    }
    let (of, sizes) = number(&sets.into_labeling());
    Components { of: of.into_iter().map(ComponentId).collect(), sizes }
}

/// Components in which each node can be reached from each other. In an undirected graph these are the connected ones.
pub fn strong_components(graph: &Graph) -> Components {
    let mut labels = vec![0; graph.nodes()];
    for (label, members) in kosaraju_scc(graph).iter().enumerate() {
        for node in members {
            labels[node.index()] = label as u32;
        }
    }
    let (of, sizes) = number(&labels);
    Components { of: of.into_iter().map(ComponentId).collect(), sizes }
}

/// Numbers the parts of a partition by size, largest first, and of equally large ones by their lowest node. `labels`
/// are any numbers below the number of nodes. Gives each node's new number, and the sizes.
pub(crate) fn number(labels: &[u32]) -> (Vec<u32>, Vec<usize>) {
    let mut sizes = vec![0_usize; labels.len()];
    let mut firsts = Vec::new();
    for &label in labels {
        if sizes[label as usize] == 0 {
            firsts.push(label);
        }
        sizes[label as usize] += 1;
    }
    // Stable: in the order of the first nodes where sizes are equal.
    firsts.sort_by_key(|&label| std::cmp::Reverse(sizes[label as usize]));
    let mut numbers = vec![0; labels.len()];
    for (number, &label) in firsts.iter().enumerate() {
        numbers[label as usize] = number as u32;
    }
    let sizes = firsts.iter().map(|&label| sizes[label as usize]).collect();
    (labels.iter().map(|&label| numbers[label as usize]).collect(), sizes)
}
