//! The graph that all measures are of: nodes from 0, edges sorted by where they begin and end, optional weights.
//!
//! It is simple, as networkx's `Graph` and `DiGraph` are: between two nodes there is at most one edge in each direction.
//! Of several in the list the unweighted graph keeps one; the weighted one has a rule for their weights ([`Parallel`]).
//! Self loops are edges like others.

use crate::csr::Csr;
use crate::error::{Error, check_weights};
use std::sync::OnceLock;

/// A node: its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NodeId(pub u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Whether an edge goes one way or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From its first node to its second.
    Directed,
    /// Both ways: (a, b) and (b, a) are the same edge.
    Undirected,
}

/// What several edges between the same two nodes become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// One edge with the sum of their weights: what networkx makes of a multigraph where weights are strengths
    /// (PageRank, degree, communities).
    Sum,
    /// One edge with the least weight: what networkx makes of a multigraph where weights are lengths.
    Min,
    /// The last one: what `add_edge` of networkx's `Graph` and `DiGraph` does.
    Last,
}

/// Whether a measure takes the weights into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Weights {
    /// Each edge counts as 1: networkx's `weight=None`.
    #[default]
    Ignore,
    /// As the graph has them; each edge counts as 1 if it has none: networkx's `weight="weight"`.
    Use,
}

/// A directed or undirected graph in compressed sparse rows: 4 bytes an edge and direction, 12 with weights.
#[derive(Debug)]
pub struct Graph {
    direction: Direction,
    edges: usize,
    out: Csr,
    /// Edges by where they end; made when first asked for. Not used of undirected graphs, where it is the same.
    into: OnceLock<Csr>,
}

impl Graph {
    /// A graph of `nodes` nodes and these edges, each counting as 1; one that is named twice is there once.
    ///
    /// # Errors
    /// [`Error::TooManyNodes`], [`Error::NoSuchNode`].
    pub fn unweighted(nodes: usize, direction: Direction, edges: &[(NodeId, NodeId)]) -> Result<Graph, Error> {
        check_ends(nodes, edges)?;
        Ok(Graph::of(direction, Csr::unweighted(nodes, edges, direction == Direction::Undirected)))
    }

    /// A graph of `nodes` nodes and these edges with a weight each; `parallel` says what an edge weighs that is named twice.
    ///
    /// # Errors
    /// [`Error::TooManyNodes`], [`Error::NoSuchNode`], [`Error::Length`]; [`Error::Weight`] and [`Error::Sum`] if
    /// weights are not numbers to calculate with.
    pub fn weighted(
        nodes: usize,
        direction: Direction,
        edges: &[(NodeId, NodeId)],
        weights: &[f64],
        parallel: Parallel,
    ) -> Result<Graph, Error> {
        check_ends(nodes, edges)?;
        if weights.len() != edges.len() {
            let (given, wanted) = (weights.len(), edges.len());
            return Err(Error::Length { what: "weights", given, wanted, of: "edges" });
        }
        // Measures of undirected graphs see every edge twice.
        if !(2.0 * check_weights("the weight of edge", "the weights", weights)?).is_finite() {
            return Err(Error::Sum("the weights"));
        }
        Ok(Graph::of(direction, Csr::weighted(nodes, edges, weights, direction == Direction::Undirected, parallel)))
    }

    fn of(direction: Direction, out: Csr) -> Graph {
        let arcs = out.targets.len();
        let edges = match direction {
            Direction::Directed => arcs,
            Direction::Undirected => {
                let loops = (0..out.nodes()).filter(|&v| out.row(v).binary_search(&(v as u32)).is_ok()).count();
                (arcs + loops) / 2
            }
        };
        Graph { direction, edges, out, into: OnceLock::new() }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.out.nodes()
    }

    /// Number of edges: each once, also in an undirected graph.
    pub fn edges(&self) -> usize {
        self.edges
    }

    /// Whether edges go one way or both.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether edges have weights of their own.
    pub fn has_weights(&self) -> bool {
        self.out.weights.is_some()
    }

    /// Where the edges of a node lead, in ascending order. Panics if there is no such node.
    pub fn successors(&self, node: NodeId) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.out.row(node.index()).iter().map(|&to| NodeId(to))
    }

    /// Where the edges to a node come from, in ascending order. Panics if there is no such node.
    pub fn predecessors(&self, node: NodeId) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.incoming().row(node.index()).iter().map(|&from| NodeId(from))
    }

    pub(crate) fn is_directed(&self) -> bool {
        self.direction == Direction::Directed
    }

    pub(crate) fn outgoing(&self) -> &Csr {
        &self.out
    }

    pub(crate) fn incoming(&self) -> &Csr {
        match self.direction {
            Direction::Undirected => &self.out,
            Direction::Directed => self.into.get_or_init(|| self.out.transposed()),
        }
    }

    pub(crate) fn check_node(&self, what: &'static str, node: NodeId) -> Result<(), Error> {
        if node.index() < self.nodes() {
            return Ok(());
        }
        Err(Error::NoNode { what, node: node.0, nodes: self.nodes() })
    }

    /// An entry for every node?
    pub(crate) fn check_length(&self, what: &'static str, list: &[impl Sized]) -> Result<(), Error> {
        let (given, wanted) = (list.len(), self.nodes());
        if given == wanted { Ok(()) } else { Err(Error::Length { what, given, wanted, of: "nodes" }) }
    }
}

fn check_ends(nodes: usize, edges: &[(NodeId, NodeId)]) -> Result<(), Error> {
    if nodes >= u32::MAX as usize {
        return Err(Error::TooManyNodes(nodes));
    }
    let outside = |node: NodeId| node.index() >= nodes;
    match edges.iter().position(|&(a, b)| outside(a) || outside(b)) {
        None => Ok(()),
        Some(edge) => {
            let (a, b) = edges[edge];
            Err(Error::NoSuchNode { edge, node: if outside(a) { a.0 } else { b.0 }, nodes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [(u32, u32); 5] = [(2, 0), (0, 1), (1, 1), (0, 1), (1, 0)];

    fn edges() -> Vec<(NodeId, NodeId)> {
        EDGES.map(|(a, b)| (NodeId(a), NodeId(b))).to_vec()
    }

    fn rows(graph: &Graph) -> Vec<Vec<u32>> {
        (0..graph.nodes()).map(|v| graph.successors(NodeId(v as u32)).map(|to| to.0).collect()).collect()
    }

    #[test]
    fn an_edge_that_is_named_twice_is_there_once() {
        let directed = Graph::unweighted(4, Direction::Directed, &edges()).unwrap();
        assert_eq!(rows(&directed), [vec![1], vec![0, 1], vec![0], vec![]]);
        assert_eq!(directed.edges(), 4);
        let before: Vec<_> = directed.predecessors(NodeId(1)).collect();
        assert_eq!(before, [NodeId(0), NodeId(1)]);
        let undirected = Graph::unweighted(4, Direction::Undirected, &edges()).unwrap();
        assert_eq!(rows(&undirected), [vec![1, 2], vec![0, 1], vec![0], vec![]]);
        assert_eq!(undirected.edges(), 3);
    }

    #[test]
    fn weights_of_parallel_edges_follow_the_rule() {
        let weights = [5.0, 3.0, 7.0, 1.0, 2.0];
        let of = |direction, rule| {
            let graph = Graph::weighted(4, direction, &edges(), &weights, rule).unwrap();
            graph.outgoing().weights.clone().unwrap()
        };
        assert_eq!(of(Direction::Directed, Parallel::Sum), [4.0, 2.0, 7.0, 5.0]);
        assert_eq!(of(Direction::Directed, Parallel::Min), [1.0, 2.0, 7.0, 5.0]);
        assert_eq!(of(Direction::Directed, Parallel::Last), [1.0, 2.0, 7.0, 5.0]);
        assert_eq!(of(Direction::Undirected, Parallel::Sum), [6.0, 5.0, 6.0, 7.0, 5.0]);
        assert_eq!(of(Direction::Undirected, Parallel::Last), [2.0, 5.0, 2.0, 7.0, 5.0]);
    }

    #[test]
    fn bad_edges_and_weights_are_named() {
        let far = Graph::unweighted(2, Direction::Directed, &edges()).unwrap_err();
        assert_eq!(far, Error::NoSuchNode { edge: 0, node: 2, nodes: 2 });
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e-310] {
            let weights = [1.0, 1.0, bad, 1.0, 1.0];
            let error = Graph::weighted(3, Direction::Directed, &edges(), &weights, Parallel::Sum).unwrap_err();
            assert!(matches!(error, Error::Weight { index: 2, .. }), "{bad}: {error}");
        }
        let huge = Graph::weighted(3, Direction::Directed, &edges(), &[f64::MAX; 5], Parallel::Sum).unwrap_err();
        assert_eq!(huge, Error::Sum("the weights"));
        let short = Graph::weighted(3, Direction::Directed, &edges(), &[1.0], Parallel::Sum).unwrap_err();
        assert_eq!(short.to_string(), "weights: 1 values for 5 edges");
        assert!(Graph::unweighted(0, Direction::Directed, &[]).is_ok());
        assert!(Graph::unweighted(usize::MAX, Direction::Directed, &[]).is_err());
    }
}
