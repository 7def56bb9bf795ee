//! Lets petgraph's algorithms walk our graph, so that those that are linear and iterative there are used as they are.

use crate::graph::{Graph, NodeId};
use fixedbitset::FixedBitSet;
use petgraph::Direction as Way;
use petgraph::visit::{
    GraphBase, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCount, NodeIndexable, VisitMap, Visitable,
};

/// The nodes that a walk has seen.
pub struct Seen(FixedBitSet);

impl VisitMap<NodeId> for Seen {
    fn visit(&mut self, node: NodeId) -> bool {
        !self.0.put(node.index())
    }

    fn is_visited(&self, node: &NodeId) -> bool {
        self.0.contains(node.index())
    }

    fn unvisit(&mut self, node: NodeId) -> bool {
        let seen = self.0.contains(node.index());
        self.0.set(node.index(), false);
        seen
    }
}

impl GraphBase for Graph {
    type NodeId = NodeId;
    type EdgeId = usize;
}

impl Visitable for Graph {
    type Map = Seen;

    fn visit_map(&self) -> Seen {
        Seen(FixedBitSet::with_capacity(self.nodes()))
    }

    fn reset_map(&self, map: &mut Seen) {
        map.0.clear();
    }
}

impl NodeCount for Graph {
    fn node_count(&self) -> usize {
        self.nodes()
    }
}

impl NodeIndexable for Graph {
    fn node_bound(&self) -> usize {
        self.nodes()
    }

    fn to_index(&self, node: NodeId) -> usize {
        node.index()
    }

    fn from_index(&self, index: usize) -> NodeId {
        NodeId(index as u32)
    }
}

/// Ids read from a row.
pub struct Row<'a>(std::slice::Iter<'a, u32>);

impl Iterator for Row<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        self.0.next().map(|&node| NodeId(node))
    }
}

impl<'a> IntoNeighbors for &'a Graph {
    type Neighbors = Row<'a>;

    fn neighbors(self, node: NodeId) -> Row<'a> {
        Row(self.outgoing().row(node.index()).iter())
    }
}

impl<'a> IntoNeighborsDirected for &'a Graph {
    type NeighborsDirected = Row<'a>;

    fn neighbors_directed(self, node: NodeId, way: Way) -> Row<'a> {
        match way {
            Way::Outgoing => self.neighbors(node),
            Way::Incoming => Row(self.incoming().row(node.index()).iter()),
        }
    }
}

impl IntoNodeIdentifiers for &Graph {
    type NodeIdentifiers = std::iter::Map<std::ops::Range<u32>, fn(u32) -> NodeId>;

    fn node_identifiers(self) -> Self::NodeIdentifiers {
        (0..self.nodes() as u32).map(NodeId)
    }
}
