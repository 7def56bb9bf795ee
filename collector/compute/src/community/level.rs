//! The graph as the search for communities sees it: symmetric, with the weight of a node's own edges apart, and all weights
//! divided by their sum. A directed edge of weight w is half of w each way; what chance would put between two nodes
//! keeps the two directions apart, as networkx's louvain does.

use crate::graph::{Graph, Weights};
use rayon::prelude::*;

/// Edges and strengths of nodes, or of groups of nodes that count as one.
#[derive(Debug)]
pub(crate) struct Level {
    pub offsets: Vec<usize>,
    pub targets: Vec<u32>,
    /// Of the edge to another node and the one back: half their sum.
    pub weights: Vec<f64>,
    /// Weight of the edges of a node to itself, both ways.
    pub own: Vec<f64>,
    /// Weight of all edges that begin at a node.
    pub out: Vec<f64>,
    /// Weight of all edges that end at a node.
    pub into: Vec<f64>,
}

impl Level {
    pub fn new(graph: &Graph, weights: Weights) -> Level {
        let use_weights = weights == Weights::Use;
        let directed = graph.is_directed();
        let (out, into) = (graph.outgoing(), graph.incoming());
        let total: f64 = out.strengths(use_weights).iter().sum();
        // An undirected self loop is one entry, but two ends.
        let loops: f64 = (0..graph.nodes())
            .filter(|_| !directed)
            .filter_map(|v| out.weighted_row(v, use_weights).find(|&(to, _)| to as usize == v))
            .map(|(_, weight)| weight)
            .sum();
        let all = total + loops;
        let unit = if all > 0.0 { all } else { 1.0 };
        let half = if directed { 0.5 } else { 1.0 };
        let rows: Vec<(Vec<(u32, f64)>, f64)> = (0..graph.nodes())
            .into_par_iter()
            .with_min_len(256)
            .map(|node| {
                let mut row: Vec<(u32, f64)> = out.weighted_row(node, use_weights).collect();
                if directed {
                    row = add_sorted(&row, into.weighted_row(node, use_weights));
                }
                let mut own = 0.0;
                row.retain_mut(|(to, weight)| {
                    *weight = *weight / unit * half;
                    if *to as usize == node {
                        own = if directed { *weight } else { 2.0 * *weight };
                    }
                    *to as usize != node && *weight > 0.0
                });
                (row, own)
            })
            .collect();
        let own: Vec<f64> = rows.iter().map(|(_, own)| *own).collect();
        let share = |strengths: Vec<f64>| -> Vec<f64> { strengths.into_iter().map(|s| s / unit).collect() };
        let (out, into) = if directed {
            (share(out.strengths(use_weights)), share(into.strengths(use_weights)))
        } else {
            let ends: Vec<f64> =
                share(out.strengths(use_weights)).iter().zip(&own).map(|(sum, own)| sum + own / 2.0).collect();
            (ends.clone(), ends)
        };
        let mut level = Level { offsets: vec![0], targets: Vec::new(), weights: Vec::new(), own, out, into };
        for (row, _) in &rows {
            level.push_row(row.iter().copied());
        }
        level
    }

    fn push_row(&mut self, row: impl Iterator<Item = (u32, f64)>) {
        for (to, weight) in row {
            self.targets.push(to);
            self.weights.push(weight);
        }
        self.offsets.push(self.targets.len());
    }

    pub fn nodes(&self) -> usize {
        self.own.len()
    }

    /// The edges of a node to others.
    pub fn row(&self, node: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.offsets[node]..self.offsets[node + 1];
        self.targets[range.clone()].iter().map(|&to| to as usize).zip(self.weights[range].iter().copied())
    }

    /// What chance would put between a node and a group of the strengths `out` and `into`, as `weights` count it.
    pub fn chance(&self, node: usize, out: f64, into: f64) -> f64 {
        (self.out[node] * into + self.into[node] * out) / 2.0
    }

    /// One node for each group, `of` numbers the groups from 0 to `groups`.
    pub fn aggregate(&self, of: &[u32], groups: usize) -> Level {
        let sums = |values: &[f64]| {
            let mut sums = vec![0.0; groups];
            of.iter().zip(values).for_each(|(&group, value)| sums[group as usize] += value);
            sums
        };
        let (mut own, out, into) = (sums(&self.own), sums(&self.out), sums(&self.into));
        let (starts, members) = members(of, groups);
        let mut level = Level { offsets: vec![0], targets: Vec::new(), weights: Vec::new(), own: vec![], out, into };
        let mut near = Near::new(groups);
        for group in 0..groups {
            for &node in &members[starts[group]..starts[group + 1]] {
                for (to, weight) in self.row(node as usize) {
                    let to = of[to] as usize;
                    if to == group {
                        own[group] += weight;
                    } else {
                        near.add(to, weight);
                    }
                }
            }
            near.sort();
            level.push_row(near.drain());
        }
        level.own = own;
        level
    }

    pub fn modularity(&self, of: &[u32], resolution: f64) -> f64 {
        let groups = of.iter().max().map_or(0, |&most| most as usize + 1);
        let (mut inside, mut out, mut into) = (vec![0.0; groups], vec![0.0; groups], vec![0.0; groups]);
        for node in 0..self.nodes() {
            let group = of[node] as usize;
            out[group] += self.out[node];
            into[group] += self.into[node];
            inside[group] += self.own[node];
            inside[group] +=
                self.row(node).filter(|&(to, _)| of[to] as usize == group).map(|(_, weight)| weight).sum::<f64>();
        }
        let gain = |group: usize| inside[group] - resolution * out[group] * into[group];
        (0..groups).map(gain).fold(0.0, |sum, gain| sum + gain)
    }
}

/// The sum of two rows that are sorted by target.
fn add_sorted(row: &[(u32, f64)], other: impl Iterator<Item = (u32, f64)>) -> Vec<(u32, f64)> {
    let mut sum = Vec::with_capacity(row.len());
    let mut rest = row.iter().copied().peekable();
    for (to, weight) in other {
        while let Some(before) = rest.next_if(|&(at, _)| at < to) {
            sum.push(before);
        }
        let same = rest.next_if(|&(at, _)| at == to).map_or(0.0, |(_, weight)| weight);
        sum.push((to, weight + same));
    }
    sum.extend(rest);
    sum
}

/// The nodes of each group: those of group `g` are `members[starts[g]..starts[g + 1]]`, in ascending order.
pub(crate) fn members(of: &[u32], groups: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0; groups + 1];
    for &group in of {
        starts[group as usize + 1] += 1;
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut members = vec![0; of.len()];
    for (node, &group) in of.iter().enumerate() {
        members[next[group as usize]] = node as u32;
        next[group as usize] += 1;
    }
    (starts, members)
}

/// Weights to groups nearby: an array with a list of what is in it.
pub(crate) struct Near {
    weight: Vec<f64>,
    there: Vec<bool>,
    list: Vec<u32>,
}

impl Near {
    pub fn new(groups: usize) -> Near {
        Near { weight: vec![0.0; groups], there: vec![false; groups], list: Vec::new() }
    }

    pub fn add(&mut self, group: usize, weight: f64) {
        if !std::mem::replace(&mut self.there[group], true) {
            self.list.push(group as u32);
        }
        self.weight[group] += weight;
    }

    pub fn of(&self, group: usize) -> f64 {
        self.weight[group]
    }

    fn sort(&mut self) {
        self.list.sort_unstable();
    }

    /// What was added, in the order in which groups were first met; empty after that.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let Near { weight, there, list } = self;
        list.drain(..).map(|group| {
            there[group as usize] = false;
            (group, std::mem::take(&mut weight[group as usize]))
        })
    }
}
