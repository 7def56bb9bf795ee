//! The longest way through a graph without cycles: where nodes or edges have times, the critical path, which nothing that
//! is done beside it can shorten. In topological order (petgraph's), so it is linear.

use crate::error::{Error, check_weights};
use crate::graph::{Graph, NodeId, Weights};
use petgraph::algo::toposort;

/// The longest path.
#[derive(Clone, Debug, PartialEq)]
pub struct CriticalPath {
    /// Its nodes in order.
    pub nodes: Vec<NodeId>,
    /// Sum of the weights of its nodes and edges.
    pub length: f64,
    /// For every node the length of the longest path that ends there, its own weight included.
    pub finish: Vec<f64>,
}

/// The longest path of a directed graph without cycles. `times` has a weight for every node (0 if `None`); with
/// [`Weights::Use`] edges add theirs, with [`Weights::Ignore`] each adds 1 if there are no `times`, and nothing otherwise.
/// Of equally long paths the one through lower ids is taken, from its end backwards.
///
/// # Errors
/// [`Error::Undirected`], [`Error::Cycle`]; [`Error::Length`], [`Error::Weight`] and [`Error::Sum`] for bad times.
pub fn longest_path(graph: &Graph, times: Option<&[f64]>, weights: Weights) -> Result<CriticalPath, Error> {
    if !graph.is_directed() {
        return Err(Error::Undirected("a longest path"));
    }
    if let Some(times) = times {
        graph.check_length("times", times)?;
        check_weights("the time of node", "the times", times)?;
    }
    let order = toposort(graph, None).map_err(|cycle| Error::Cycle(cycle.node_id().0))?;
    let edge = |weight| match (weights, times) {
        (Weights::Use, _) => weight,
        (Weights::Ignore, None) => 1.0,
        (Weights::Ignore, Some(_)) => 0.0,
    };
    let nodes = graph.nodes();
    let mut finish = vec![0.0; nodes];
    let mut before: Vec<Option<u32>> = vec![None; nodes];
    for &NodeId(node) in &order {
        let mut ready = 0.0;
        for (from, weight) in graph.incoming().weighted_row(node as usize, true) {
            let arrives = finish[from as usize] + edge(weight);
            if arrives > ready || before[node as usize].is_none() {
                (ready, before[node as usize]) = (arrives, Some(from));
            }
        }
        finish[node as usize] = ready + times.map_or(0.0, |t| t[node as usize]);
        if finish[node as usize].is_infinite() {
            return Err(Error::Sum("the weights and times of a path"));
        }
    }
    let mut path = Vec::new();
    let mut end: Option<u32> = None;
    for node in 0..nodes as u32 {
        if end.is_none_or(|best| finish[node as usize] > finish[best as usize]) {
            end = Some(node);
        }
    }
    let length = end.map_or(0.0, |node| finish[node as usize]);
    while let Some(node) = end {
        path.push(NodeId(node));
        end = before[node as usize];
    }
    path.reverse();
    Ok(CriticalPath { nodes: path, length, finish })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Direction, Parallel};

    fn diamond() -> Graph {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)].map(|(a, b)| (NodeId(a), NodeId(b)));
        Graph::weighted(5, Direction::Directed, &edges, &[1.0, 5.0, 1.0, 1.0, 0.5], Parallel::Last).unwrap()
    }

    fn ids(path: &CriticalPath) -> Vec<u32> {
        path.nodes.iter().map(|node| node.0).collect()
    }

    #[test]
    fn the_critical_path_follows_the_times_of_nodes_or_edges() {
        let by_edges = longest_path(&diamond(), None, Weights::Use).unwrap();
        assert_eq!((ids(&by_edges), by_edges.length), (vec![0, 2, 3, 4], 6.5));
        let times = [1.0, 20.0, 1.0, 1.0, 1.0];
        let by_nodes = longest_path(&diamond(), Some(&times), Weights::Ignore).unwrap();
        assert_eq!((ids(&by_nodes), by_nodes.length), (vec![0, 1, 3, 4], 23.0));
        assert_eq!(by_nodes.finish, [1.0, 21.0, 2.0, 22.0, 23.0]);
        let hops = longest_path(&diamond(), None, Weights::Ignore).unwrap();
        assert_eq!((ids(&hops), hops.length), (vec![0, 1, 3, 4], 3.0));
    }

    #[test]
    fn a_cycle_and_an_undirected_graph_have_no_longest_path() {
        let edges = [(0, 1), (1, 2), (2, 1)].map(|(a, b)| (NodeId(a), NodeId(b)));
        let cyclic = Graph::unweighted(3, Direction::Directed, &edges).unwrap();
        assert!(matches!(longest_path(&cyclic, None, Weights::Ignore), Err(Error::Cycle(1 | 2))));
        let undirected = Graph::unweighted(3, Direction::Undirected, &edges[..2]).unwrap();
        assert!(matches!(longest_path(&undirected, None, Weights::Ignore), Err(Error::Undirected(_))));
        let empty = Graph::unweighted(0, Direction::Directed, &[]).unwrap();
        assert_eq!(longest_path(&empty, None, Weights::Ignore).unwrap().nodes, []);
        let one = Graph::unweighted(1, Direction::Directed, &[]).unwrap();
        assert_eq!(longest_path(&one, Some(&[2.5]), Weights::Use).unwrap().length, 2.5);
    }
}
