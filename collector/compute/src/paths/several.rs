//! More than one path: all that are equally short, and the k shortest (Yen, "Finding the K Shortest Loopless Paths in a
//! Network", 1971). Both are bounded by how many are asked for, as there may be exponentially many.

use super::{Path, dijkstra, search, walk_back};
use crate::csr::Csr;
use crate::error::{Error, option};
use crate::graph::{Graph, NodeId, Weights};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

/// Several paths between two nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Paths {
    /// The paths, shortest first.
    pub paths: Vec<Path>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// All shortest paths from `source` to `target`, at most `limit` of them, in ascending order of their nodes' ids, from
/// the target backwards.
///
/// # Errors
/// [`Error::NoNode`]; [`Error::ZeroLength`] if lengths are used and one is 0; [`Error::Option`] if `limit` is 0.
pub fn all_shortest_paths(
    graph: &Graph,
    source: NodeId,
    target: NodeId,
    lengths: Weights,
    limit: usize,
) -> Result<Paths, Error> {
    check(graph, source, target, limit)?;
    let (out, into) = (graph.outgoing(), graph.incoming());
    if lengths == Weights::Use {
        for from in 0..graph.nodes() {
            if let Some((to, _)) = out.weighted_row(from, true).find(|&(_, length)| length == 0.0) {
                return Err(Error::ZeroLength { from: from as u32, to });
            }
        }
    }
    let distance = &search(graph, source.0, Some(target.0), lengths).0;
    let mut found = Paths { paths: Vec::new(), more: false };
    let length = distance[target.index()];
    if length.is_infinite() {
        return Ok(found);
    }
    // The nodes that come right before one on a shortest path to it. Every one of them leads back to the source.
    let before = |node: u32| {
        let row = into.weighted_row(node as usize, lengths == Weights::Use);
        let here = distance[node as usize];
        row.filter(move |&(from, length)| {
            let there = distance[from as usize];
            there < here && there + length == here
        })
        .map(|(from, _)| from)
    };
    let mut nodes = vec![target.0];
    let mut open = vec![before(target.0)];
    while let Some(choices) = open.last_mut() {
        if nodes.last() == Some(&source.0) {
            if found.paths.len() == limit {
                found.more = true;
                break;
            }
            let nodes = nodes.iter().rev().map(|&node| NodeId(node)).collect();
            found.paths.push(Path { nodes, length });
        } else if let Some(from) = choices.next() {
            nodes.push(from);
            open.push(before(from));
            continue;
        }
        open.pop();
        nodes.pop();
    }
    Ok(found)
}

fn check(graph: &Graph, source: NodeId, target: NodeId, limit: usize) -> Result<(), Error> {
    graph.check_node("the source", source)?;
    graph.check_node("the target", target)?;
    if limit == 0 {
        return Err(option("limit", limit, "ask for at least one path"));
    }
    Ok(())
}

/// The `k` shortest paths from `source` to `target` that visit no node twice, shortest first; of equally long ones the one
/// whose nodes have the lower ids comes first. Takes one search for every node of each path.
///
/// # Errors
/// [`Error::NoNode`]; [`Error::Option`] if `k` is 0.
pub fn k_shortest_paths(
    graph: &Graph,
    source: NodeId,
    target: NodeId,
    lengths: Weights,
    k: usize,
) -> Result<Paths, Error> {
    check(graph, source, target, k)?;
    let edges = graph.outgoing();
    let weights = lengths == Weights::Use;
    let mut found = Paths { paths: Vec::new(), more: false };
    let mut candidates = BTreeSet::new();
    if let Some(first) = way(edges, weights, source.0, target.0, &[], &HashSet::new()) {
        candidates.insert(Candidate::new(edges, weights, first));
    }
    while let Some(Candidate { length, nodes }) = candidates.pop_first() {
        if found.paths.len() == k {
            found.more = true;
            break;
        }
        // Everything that leaves this path at one of its nodes, where no path that was found before left it.
        for spur in 0..nodes.len() - 1 {
            let (root, node) = (&nodes[..spur], nodes[spur]);
            let taken = found.paths.iter().filter(|path| path.nodes.starts_with(&nodes[..=spur]));
            let mut shut: HashSet<u32> = taken.filter_map(|path| Some(path.nodes.get(spur + 1)?.0)).collect();
            shut.insert(nodes[spur + 1].0);
            if let Some(rest) = way(edges, weights, node.0, target.0, root, &shut) {
                let nodes = root.iter().copied().chain(rest).collect();
                candidates.insert(Candidate::new(edges, weights, nodes));
            }
        }
        found.paths.push(Path { nodes, length });
    }
    Ok(found)
}

/// A shortest way that avoids the nodes `without` and does not begin with a step to one of `shut`.
fn way(
    edges: &Csr,
    weights: bool,
    source: u32,
    target: u32,
    without: &[NodeId],
    shut: &HashSet<u32>,
) -> Option<Vec<NodeId>> {
    let without: HashSet<u32> = without.iter().map(|node| node.0).collect();
    let open = |from, to| !(without.contains(&to) || from == source && shut.contains(&to));
    let (distance, before) = dijkstra(edges, weights, source, Some(target), open);
    Some(walk_back(source, target, distance[target as usize], &before)?.nodes)
}

/// A path, ordered by length, then by nodes.
struct Candidate {
    length: f64,
    nodes: Vec<NodeId>,
}

impl Candidate {
    fn new(edges: &Csr, weights: bool, nodes: Vec<NodeId>) -> Candidate {
        let length = |pair: &[NodeId]| {
            let step = edges.weighted_row(pair[0].index(), weights).find(|&(to, _)| to == pair[1].0);
            step.map_or(f64::INFINITY, |(_, length)| length)
        };
        Candidate { length: nodes.windows(2).map(length).fold(0.0, |sum, step| sum + step), nodes }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.length.total_cmp(&other.length).then_with(|| self.nodes.cmp(&other.nodes))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
