//! Shortest paths: the lengths from a node to all others, one path, all of equal length, the k shortest.
//!
//! Breadth-first search without weights, Dijkstra's algorithm (1959) with them. Lengths may be 0 except where paths are
//! counted or enumerated.

mod several;

use crate::csr::Csr;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Weights};
pub use several::{Paths, all_shortest_paths, k_shortest_paths};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A way from one node to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The nodes, both ends included.
    pub nodes: Vec<NodeId>,
    /// Sum of the lengths of its edges.
    pub length: f64,
}

/// An entry of Dijkstra's heap: the nearest is the greatest, of equally near ones the one with the lower id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nearest {
    pub distance: f64,
    pub node: u32,
}

impl Ord for Nearest {
    fn cmp(&self, other: &Nearest) -> Ordering {
        other.distance.total_cmp(&self.distance).then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Nearest {
    fn partial_cmp(&self, other: &Nearest) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Nearest {
    fn eq(&self, other: &Nearest) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Nearest {}

/// The length of the shortest path from `source` to every node, infinite where there is none.
///
/// # Errors
/// [`Error::NoNode`].
pub fn distances(graph: &Graph, source: NodeId, lengths: Weights) -> Result<Vec<f64>, Error> {
    graph.check_node("the source", source)?;
    Ok(search(graph, source.0, None, lengths).0)
}

/// A shortest path, `None` if there is none. Of several the one whose nodes have the lower ids, from the target backwards.
///
/// # Errors
/// [`Error::NoNode`].
pub fn shortest_path(graph: &Graph, source: NodeId, target: NodeId, lengths: Weights) -> Result<Option<Path>, Error> {
    graph.check_node("the source", source)?;
    graph.check_node("the target", target)?;
    let (distance, before) = search(graph, source.0, Some(target.0), lengths);
    Ok(walk_back(source.0, target.0, distance[target.index()], &before))
}

fn walk_back(source: u32, target: u32, length: f64, before: &[u32]) -> Option<Path> {
    if length.is_infinite() {
        return None;
    }
    let mut nodes = vec![NodeId(target)];
    let mut node = target;
    while node != source {
        node = before[node as usize];
        nodes.push(NodeId(node));
    }
    nodes.reverse();
    Some(Path { nodes, length })
}

/// Distances from `source`, and for each node the one before it on a shortest path. Stops when `target` is reached.
fn search(graph: &Graph, source: u32, target: Option<u32>, lengths: Weights) -> (Vec<f64>, Vec<u32>) {
    match graph.outgoing().weights_if(lengths == Weights::Use) {
        None => breadth_first(graph.outgoing(), source, target),
        Some(_) => dijkstra(graph.outgoing(), true, source, target, |_, _| true),
    }
}

fn breadth_first(edges: &Csr, source: u32, target: Option<u32>) -> (Vec<f64>, Vec<u32>) {
    let mut distance = vec![f64::INFINITY; edges.nodes()];
    let mut before = vec![source; edges.nodes()];
    let mut queue = vec![source];
    distance[source as usize] = 0.0;
    let mut head = 0;
    while let Some(&node) = queue.get(head) {
        head += 1;
        if Some(node) == target {
            break;
        }
        for &to in edges.row(node as usize) {
            let next = distance[node as usize] + 1.0;
            if distance[to as usize].is_infinite() {
                distance[to as usize] = next;
                before[to as usize] = node;
                queue.push(to);
            } else if distance[to as usize] == next {
                before[to as usize] = before[to as usize].min(node);
            }
        }
    }
    (distance, before)
}

/// Goes only along edges that `open` lets through, each of length 1 without weights.
fn dijkstra(
    edges: &Csr,
    weights: bool,
    source: u32,
    target: Option<u32>,
    open: impl Fn(u32, u32) -> bool,
) -> (Vec<f64>, Vec<u32>) {
    let mut distance = vec![f64::INFINITY; edges.nodes()];
    let mut before = vec![source; edges.nodes()];
    let mut done = vec![false; edges.nodes()];
    let mut heap = BinaryHeap::from([Nearest { distance: 0.0, node: source }]);
    distance[source as usize] = 0.0;
    while let Some(Nearest { node, distance: here }) = heap.pop() {
        if std::mem::replace(&mut done[node as usize], true) {
            continue;
        }
        if Some(node) == target {
            break;
        }
        for (to, length) in edges.weighted_row(node as usize, weights) {
            let way = here + length;
            let best = &mut distance[to as usize];
            if done[to as usize] || !open(node, to) {
                continue;
            }
            if way < *best {
                *best = way;
                before[to as usize] = node;
                heap.push(Nearest { distance: way, node: to });
            } else if way == *best {
                before[to as usize] = before[to as usize].min(node);
            }
        }
    }
    (distance, before)
}
