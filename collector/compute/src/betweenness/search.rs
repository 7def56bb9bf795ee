//! The shortest paths from one source: how many lead to each node, and what share of them goes through each.

use super::count::{Count, Wide};
use crate::csr::Csr;
use crate::graph::Graph;
use crate::paths::Nearest;
use std::collections::BinaryHeap;

const FAR: u32 = u32::MAX;

/// Searches from one source after the other; its memory is used again.
pub(crate) struct Search<'a> {
    edges: &'a Csr,
    lengths: Option<&'a [f64]>,
    endpoints: bool,
    /// Nodes in the order in which they were reached for good.
    order: Vec<u32>,
    /// Place of each node in `order`.
    place: Vec<u32>,
    /// Steps from the source, without lengths.
    steps: Vec<u32>,
    /// Length of the shortest way from the source, with lengths.
    distance: Vec<f64>,
    heap: BinaryHeap<Nearest>,
    paths: Vec<f64>,
    wide: Vec<Wide>,
    /// For each node what share of the paths to all others goes through it.
    depends: Vec<f64>,
}

impl<'a> Search<'a> {
    pub fn new(graph: &'a Graph, lengths: Option<&'a [f64]>, endpoints: bool) -> Search<'a> {
        let nodes = graph.nodes();
        let (of_steps, of_lengths) = if lengths.is_some() { (0, nodes) } else { (nodes, 0) };
        Search {
            edges: graph.outgoing(),
            lengths,
            endpoints,
            order: Vec::with_capacity(nodes),
            place: vec![FAR; of_lengths],
            steps: vec![FAR; of_steps],
            distance: vec![f64::INFINITY; of_lengths],
            heap: BinaryHeap::new(),
            paths: vec![0.0; nodes],
            wide: Vec::new(),
            depends: vec![0.0; nodes],
        }
    }

    /// Adds to `sums` what the shortest paths from `source` give each node.
    pub fn from(&mut self, source: u32, sums: &mut [f64]) {
        let mut paths = std::mem::take(&mut self.paths);
        let fits = self.search(source, &mut paths);
        if fits {
            self.accumulate(source, &paths, sums);
        }
        self.forget(&mut paths);
        self.paths = paths;
        if !fits {
            let mut wide = std::mem::take(&mut self.wide);
            wide.resize(self.paths.len(), Wide::ZERO);
            self.search(source, &mut wide);
            self.accumulate(source, &wide, sums);
            self.forget(&mut wide);
            self.wide = wide;
        }
    }

    /// False if a number of paths is too large.
    fn search<C: Count>(&mut self, source: u32, paths: &mut [C]) -> bool {
        paths[source as usize] = C::ONE;
        match self.lengths {
            None => self.breadth_first(source, paths),
            Some(lengths) => self.dijkstra(source, lengths, paths),
        }
        !self.order.iter().any(|&node| paths[node as usize].overflowed())
    }

    fn breadth_first<C: Count>(&mut self, source: u32, paths: &mut [C]) {
        self.steps[source as usize] = 0;
        self.order.push(source);
        let mut head = 0;
        while let Some(&node) = self.order.get(head) {
            head += 1;
            let next = self.steps[node as usize] + 1;
            let here = paths[node as usize];
            for &to in self.edges.row(node as usize) {
                let at = &mut self.steps[to as usize];
                if *at == FAR {
                    *at = next;
                    self.order.push(to);
                    paths[to as usize] = here;
                } else if *at == next {
                    paths[to as usize] = paths[to as usize].add(here);
                }
            }
        }
    }

    fn dijkstra<C: Count>(&mut self, source: u32, lengths: &[f64], paths: &mut [C]) {
        self.distance[source as usize] = 0.0;
        self.heap.push(Nearest { distance: 0.0, node: source });
        while let Some(Nearest { node, distance }) = self.heap.pop() {
            if self.place[node as usize] != FAR {
                continue;
            }
            self.place[node as usize] = self.order.len() as u32;
            self.order.push(node);
            let here = paths[node as usize];
            for edge in self.edges.range(node as usize) {
                let to = self.edges.targets[edge] as usize;
                if self.place[to] != FAR {
                    continue;
                }
                let way = distance + lengths[edge];
                if way < self.distance[to] {
                    self.distance[to] = way;
                    self.heap.push(Nearest { distance: way, node: to as u32 });
                    paths[to] = here;
                } else if way == self.distance[to] {
                    paths[to] = paths[to].add(here);
                }
            }
        }
    }

    /// From the farthest node back to the source: a node's share is, for each node after it, the share of the paths that
    /// came through it, of all that goes on from there.
    fn accumulate<C: Count>(&mut self, source: u32, paths: &[C], sums: &mut [f64]) {
        for &node in self.order.iter().rev() {
            let at = node as usize;
            let mut depends = 0.0;
            match self.lengths {
                None => {
                    let next = self.steps[at] + 1;
                    for &to in self.edges.row(at) {
                        if self.steps[to as usize] == next {
                            depends += paths[to as usize].share(paths[at]) * (1.0 + self.depends[to as usize]);
                        }
                    }
                }
                Some(lengths) => {
                    for edge in self.edges.range(at) {
                        let to = self.edges.targets[edge] as usize;
                        // The same sum as in the search, so equal to the last bit.
                        if self.place[to] > self.place[at] && self.distance[at] + lengths[edge] == self.distance[to] {
                            depends += paths[to].share(paths[at]) * (1.0 + self.depends[to]);
                        }
                    }
                }
            }
            self.depends[at] = depends;
            if node != source {
                sums[at] += depends + if self.endpoints { 1.0 } else { 0.0 };
            }
        }
        if self.endpoints {
            sums[source as usize] += (self.order.len() - 1) as f64;
        }
    }

    fn forget<C: Count>(&mut self, paths: &mut [C]) {
        for &node in &self.order {
            let at = node as usize;
            paths[at] = C::ZERO;
            self.depends[at] = 0.0;
            match self.lengths {
                None => self.steps[at] = FAR,
                Some(_) => (self.place[at], self.distance[at]) = (FAR, f64::INFINITY),
            }
        }
        self.order.clear();
    }
}
