//! The k-core decomposition: how deep in the dense part of the graph a node sits.
//!
//! Batagelj and Zaveršnik, "An O(m) Algorithm for Cores Decomposition of Networks", 2003.

use crate::graph::Graph;

/// The core number of every node: the largest k such that the node is in a subgraph in which every node has at least k
/// edges. In a directed graph edges of both directions count, as in networkx; self loops are left out (networkx refuses
/// graphs that have them).
pub fn core_numbers(graph: &Graph) -> Vec<u32> {
    let (out, into) = (graph.outgoing(), graph.incoming());
    let neighbours = |node: usize| {
        let back: &[u32] = if graph.is_directed() { into.row(node) } else { &[] };
        out.row(node).iter().chain(back).map(|&to| to as usize).filter(move |&to| to != node)
    };
    let nodes = graph.nodes();
    let mut core: Vec<usize> = (0..nodes).map(|node| neighbours(node).count()).collect();

    // Nodes by degree; `start[d]` is where those of degree d begin.
    let mut start = vec![0; core.iter().max().map_or(1, |most| most + 2)];
    for &degree in &core {
        start[degree + 1] += 1;
    }
    for d in 1..start.len() {
        start[d] += start[d - 1];
    }
    let mut next = start.clone();
    let (mut order, mut place) = (vec![0; nodes], vec![0; nodes]);
    for (node, &degree) in core.iter().enumerate() {
        place[node] = next[degree];
        order[next[degree]] = node;
        next[degree] += 1;
    }

    // The node of the least degree goes; each of its neighbours moves one bin down, by changing places with the first
    // node of its bin.
    for i in 0..nodes {
        let node = order[i];
        for other in neighbours(node) {
            let degree = core[other];
            if degree > core[node] {
                let first = start[degree];
                let swapped = order[first];
                order.swap(place[other], first);
                place[swapped] = place[other];
                place[other] = first;
                start[degree] += 1;
                core[other] -= 1;
            }
        }
    }
    core.into_iter().map(|k| k as u32).collect()
}
