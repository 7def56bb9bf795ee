//! Compressed sparse rows: the edges of node `v` are `targets[offsets[v]..offsets[v + 1]]`, in ascending order, each target
//! once. Built by counting, scattering and sorting each row, so that no edge list is ever sorted as a whole.

use crate::graph::{NodeId, Parallel};
use rayon::prelude::*;

#[derive(Clone, Debug)]
pub(crate) struct Csr {
    pub offsets: Vec<usize>,
    pub targets: Vec<u32>,
    /// One an edge, in the order of `targets`.
    pub weights: Option<Vec<f64>>,
}

impl Csr {
    pub fn nodes(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn range(&self, node: usize) -> std::ops::Range<usize> {
        self.offsets[node]..self.offsets[node + 1]
    }

    pub fn row(&self, node: usize) -> &[u32] {
        &self.targets[self.range(node)]
    }

    /// The weights, if there are any and they are wanted.
    pub fn weights_if(&self, wanted: bool) -> Option<&[f64]> {
        self.weights.as_deref().filter(|_| wanted)
    }

    /// The edges of a node with their weights, 1 where there are none.
    pub fn weighted_row(&self, node: usize, wanted: bool) -> impl Iterator<Item = (u32, f64)> + '_ {
        let range = self.range(node);
        let weights = self.weights_if(wanted).map(|all| &all[range.clone()]);
        self.targets[range].iter().enumerate().map(move |(i, &to)| (to, weights.map_or(1.0, |w| w[i])))
    }

    /// Sum of the weights of each node's edges.
    pub fn strengths(&self, weights: bool) -> Vec<f64> {
        match self.weights_if(weights) {
            None => self.offsets.windows(2).map(|w| (w[1] - w[0]) as f64).collect(),
            Some(all) => (0..self.nodes())
                .into_par_iter()
                .map(|v| all[self.range(v)].iter().fold(0.0, |sum, w| sum + w))
                .collect(),
        }
    }

    /// `both`: each edge is in the rows of both of its nodes (a self loop once).
    pub fn unweighted(nodes: usize, edges: &[(NodeId, NodeId)], both: bool) -> Csr {
        let (offsets, targets) = scatter(nodes, edges, both, |_, to| to);
        let (offsets, targets) = sort_and_merge(offsets, targets, |row| {
            row.sort_unstable();
            merge(row, |kept, next| kept == next, |_, _| ())
        });
        Csr { offsets, targets, weights: None }
    }

    pub fn weighted(nodes: usize, edges: &[(NodeId, NodeId)], weights: &[f64], both: bool, rule: Parallel) -> Csr {
        let (offsets, entries) = scatter(nodes, edges, both, |edge, to| (to, weights[edge]));
        let (offsets, entries) = sort_and_merge(offsets, entries, |row| {
            // Stable: parallel edges stay in the order of the list.
            row.sort_by_key(|&(to, _)| to);
            merge(
                row,
                |kept, next| kept.0 == next.0,
                |kept, next| match rule {
                    Parallel::Sum => kept.1 += next.1,
                    Parallel::Min => kept.1 = kept.1.min(next.1),
                    Parallel::Last => kept.1 = next.1,
                },
            )
        });
        let (targets, weights) = entries.into_iter().unzip();
        Csr { offsets, targets, weights: Some(weights) }
    }

    /// The edges by where they end. Rows come out sorted, as sources are gone through in ascending order.
    pub fn transposed(&self) -> Csr {
        let mut offsets = vec![0; self.offsets.len()];
        for &to in &self.targets {
            offsets[to as usize + 1] += 1;
        }
        accumulate(&mut offsets);
        let mut next = offsets.clone();
        let mut targets = vec![0; self.targets.len()];
        let mut weights = self.weights.as_ref().map(|_| vec![0.0; self.targets.len()]);
        for from in 0..self.nodes() {
            for edge in self.range(from) {
                let place = &mut next[self.targets[edge] as usize];
                targets[*place] = from as u32;
                if let (Some(to), Some(all)) = (&mut weights, &self.weights) {
                    to[*place] = all[edge];
                }
                *place += 1;
            }
        }
        Csr { offsets, targets, weights }
    }
}

fn accumulate(offsets: &mut [usize]) {
    let mut sum = 0;
    for offset in offsets {
        sum += *offset;
        *offset = sum;
    }
}

/// Puts an entry for each edge into the row of its node, in the order of the list.
fn scatter<T: Copy + Default>(
    nodes: usize,
    edges: &[(NodeId, NodeId)],
    both: bool,
    entry: impl Fn(usize, u32) -> T,
) -> (Vec<usize>, Vec<T>) {
    let mut offsets = vec![0; nodes + 1];
    for &(a, b) in edges {
        offsets[a.index() + 1] += 1;
        if both && a != b {
            offsets[b.index() + 1] += 1;
        }
    }
    accumulate(&mut offsets);
    let mut next = offsets.clone();
    let mut entries = vec![T::default(); offsets[nodes]];
    let mut put = |row: NodeId, entry| {
        let place = &mut next[row.index()];
        entries[*place] = entry;
        *place += 1;
    };
    for (edge, &(a, b)) in edges.iter().enumerate() {
        put(a, entry(edge, b.0));
        if both && a != b {
            put(b, entry(edge, a.0));
        }
    }
    (offsets, entries)
}

/// Sorts each row and closes the gaps that merging leaves.
fn sort_and_merge<T: Copy + Send>(
    mut offsets: Vec<usize>,
    mut entries: Vec<T>,
    each: impl Fn(&mut [T]) -> usize + Send + Sync,
) -> (Vec<usize>, Vec<T>) {
    let mut rows = Vec::with_capacity(offsets.len() - 1);
    let mut rest = &mut entries[..];
    for w in offsets.windows(2) {
        let (row, after) = rest.split_at_mut(w[1] - w[0]);
        rows.push(row);
        rest = after;
    }
    let kept: Vec<usize> = rows.into_par_iter().with_min_len(256).map(each).collect();
    let mut end = 0;
    for (row, &count) in kept.iter().enumerate() {
        let start = offsets[row];
        entries.copy_within(start..start + count, end);
        offsets[row] = end;
        end += count;
    }
    if let Some(last) = offsets.last_mut() {
        *last = end;
    }
    entries.truncate(end);
    (offsets, entries)
}

/// Merges neighbours that are `same` and returns how many are left.
fn merge<T: Copy>(row: &mut [T], same: impl Fn(&T, &T) -> bool, join: impl Fn(&mut T, &T)) -> usize {
    let mut kept = 0;
    for i in 0..row.len() {
        let next = row[i];
        if kept > 0 && same(&row[kept - 1], &next) {
            join(&mut row[kept - 1], &next);
        } else {
            row[kept] = next;
            kept += 1;
        }
    }
    kept
}
