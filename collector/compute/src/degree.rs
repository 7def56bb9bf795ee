//! How many edges nodes have, and how many nodes have how many.

use crate::graph::{Graph, Weights};

/// The degrees of all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Degrees {
    /// Edges, or their weight, that end at each node.
    pub into: Vec<f64>,
    /// Edges, or their weight, that begin at each node.
    pub out: Vec<f64>,
    /// Both: the sum in a directed graph, either in an undirected one. A self loop counts twice.
    pub all: Vec<f64>,
}

/// In-degree, out-degree and degree of every node, as networkx counts them: in an undirected graph the three are the same.
pub fn degrees(graph: &Graph, weights: Weights) -> Degrees {
    let weights = weights == Weights::Use;
    let mut out = graph.outgoing().strengths(weights);
    if graph.is_directed() {
        let into = graph.incoming().strengths(weights);
        let all = into.iter().zip(&out).map(|(a, b)| a + b).collect();
        return Degrees { into, out, all };
    }
    for (node, sum) in out.iter_mut().enumerate() {
        if let Ok(place) = graph.outgoing().row(node).binary_search(&(node as u32)) {
            let at = graph.outgoing().offsets[node] + place;
            *sum += graph.outgoing().weights_if(weights).map_or(1.0, |w| w[at]);
        }
    }
    Degrees { into: out.clone(), all: out.clone(), out }
}

/// How many nodes have each value that occurs, in ascending order of the value.
pub fn distribution(degrees: &[f64]) -> Vec<(f64, usize)> {
    let mut sorted = degrees.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
}
