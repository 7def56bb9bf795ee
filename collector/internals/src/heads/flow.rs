//! Attention flow: how much can flow at most from each token of the input, through the attention of all layers, to a token
//! after the last. Maximum flow by Dinic's algorithm (petgraph), once for each token.

use crate::attention::TokenRow;
use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, NodeIndex};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Edges that are searched at most.
pub const MAX_EDGES: usize = 200_000;
/// Capacities are whole numbers of these, so that the search ends.
const UNIT: f64 = 1e-7;

/// A token before some layer, and what it passes on to a token after it.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: u64,
    to: u64,
    share: f64,
}

/// The edges of one layer.
pub struct LayerEdges {
    edges: Vec<Edge>,
    room: usize,
    is_full: bool,
}

impl LayerEdges {
    /// A token's shares of the tokens that it sees.
    pub fn add(&mut self, row: &TokenRow<'_>, shares: &[f64]) {
        if self.edges.len() + shares.len() > self.room {
            self.is_full = true;
            return;
        }
        for (key, &share) in row.keys.iter().zip(shares) {
            if let Some(from) = key.token.filter(|_| share >= UNIT) {
                self.edges.push(Edge { from, to: row.token, share });
            }
        }
    }

    /// A token that stays as it is.
    pub fn keep(&mut self, token: u64) {
        if self.edges.len() < self.room {
            self.edges.push(Edge { from: token, to: token, share: 1.0 });
        } else {
            self.is_full = true;
        }
    }
}

/// The edges of all layers, the last layer first.
pub struct Layered {
    token: u64,
    layers: Option<Vec<Vec<Edge>>>,
    edges: usize,
}

impl Layered {
    /// To follow a token.
    pub fn new(token: u64) -> Layered {
        Layered { token, layers: Some(vec![]), edges: 0 }
    }

    /// The edges of the next lower layer.
    pub fn layer(&self) -> LayerEdges {
        let room = if self.layers.is_some() { MAX_EDGES - self.edges } else { 0 };
        LayerEdges { edges: vec![], room, is_full: false }
    }

    /// Puts a layer below the others.
    pub fn finish(&mut self, layer: LayerEdges) {
        if layer.is_full {
            self.layers = None;
        }
        if let Some(layers) = &mut self.layers {
            self.edges += layer.edges.len();
            layers.push(layer.edges);
        }
    }

    /// The maximum flow from each token of the input; `None` if there were too many edges.
    pub fn flows(&self) -> Option<BTreeMap<u64, f64>> {
        let layers = self.layers.as_ref()?;
        let mut graph: DiGraph<(), u32> = DiGraph::new();
        let mut nodes: BTreeMap<(usize, u64), NodeIndex> = BTreeMap::new();
        let mut node = |graph: &mut DiGraph<(), u32>, place| *nodes.entry(place).or_insert_with(|| graph.add_node(()));
        // Depth 0 is after the last layer.
        let top = node(&mut graph, (0, self.token));
        for (depth, edges) in layers.iter().enumerate() {
            for edge in edges {
                let (from, to) = (node(&mut graph, (depth + 1, edge.from)), node(&mut graph, (depth, edge.to)));
                graph.add_edge(from, to, (edge.share / UNIT).round() as u32);
            }
        }
        let inputs: Vec<(u64, NodeIndex)> =
            nodes.iter().filter(|(place, _)| place.0 == layers.len()).map(|(place, &node)| (place.1, node)).collect();
        let flow = |&(token, input): &(u64, NodeIndex)| (token, f64::from(dinics(&graph, input, top).0) * UNIT);
        Some(inputs.par_iter().map(flow).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(edges: &[(u64, u64, f64)]) -> LayerEdges {
        let edges = edges.iter().map(|&(from, to, share)| Edge { from, to, share }).collect();
        LayerEdges { edges, room: 0, is_full: false }
    }

    #[test]
    fn the_narrowest_place_bounds_what_flows() {
        let mut layered = Layered::new(2);
        // The last layer, then the first.
        layered.finish(layer(&[(0, 2, 0.2), (1, 2, 0.3), (2, 2, 0.5)]));
        layered.finish(layer(&[(0, 0, 1.0), (0, 1, 0.25), (1, 1, 0.75), (0, 2, 0.1), (1, 2, 0.1), (2, 2, 0.8)]));
        let flows = layered.flows().unwrap();
        // Token 0: 0.2 by itself, 0.25 by token 1, 0.1 by token 2. Token 1: 0.3 of its 0.75, and 0.1.
        for (token, flow) in [(0, 0.55), (1, 0.4), (2, 0.5)] {
            assert!((flows[&token] - flow).abs() < 1e-6, "{token}: {flows:?}");
        }
    }

    #[test]
    fn too_many_edges_are_refused() {
        let mut layered = Layered::new(0);
        let mut full = layered.layer();
        (0..=MAX_EDGES as u64).for_each(|token| full.keep(token));
        layered.finish(full);
        assert_eq!(layered.flows(), None);
    }
}
