//! The Leiden algorithm: Traag, Waltman and van Eck, "From Louvain to Leiden: guaranteeing well-connected communities",
//! 2019. Louvain's moving of single nodes, but what is made one node for the next round are not communities but their
//! well-connected parts, so that a community can never fall apart.
//!
//! One thread a try, and all draws from one seed: the same graph and options give the same communities everywhere. A node of the
//! refinement joins the best part, not one drawn by how good it is: fewer draws, the guarantee of connectedness stays.

use super::level::{Level, Near, members};
use super::{Communities, Leiden};
use crate::error::Error;
use crate::graph::Graph;
use rayon::prelude::*;
use std::collections::VecDeque;

/// A gain of modularity below this is rounding, not gain.
pub(crate) const GAIN: f64 = 1e-14;

/// Edges in all that are gone through by tries after the first.
const TRIED_EDGES: usize = 10_000_000;

/// Communities of high modularity.
///
/// # Errors
/// [`Error::Option`] if the resolution is negative or no number, or nothing is to be tried.
pub fn leiden(graph: &Graph, options: &Leiden) -> Result<Communities, Error> {
    options.check()?;
    let level = Level::new(graph, options.weights);
    let best = (0..tries(graph, options))
        .into_par_iter()
        .map(|number| attempt(&level, options, number))
        .reduce_with(|best, next| if next.1 > best.1 { next } else { best });
    Communities::new(graph, &best.map_or_else(Vec::new, |(of, _)| of), options)
}

/// How often to begin from nothing.
pub(crate) fn tries(graph: &Graph, options: &Leiden) -> u64 {
    u64::from(options.tries).min((TRIED_EDGES / graph.edges().max(1)) as u64).max(1)
}

/// From every node alone to where nothing gets better: the communities and their modularity.
fn attempt(level: &Level, options: &Leiden, number: u64) -> (Vec<u32>, f64) {
    let mut of: Vec<u32> = (0..level.nodes() as u32).collect();
    let mut random = fastrand::Rng::with_seed(options.seed.wrapping_add(number));
    let mut best = level.modularity(&of, options.resolution);
    for _ in 0..options.iterations {
        let next = descend(level, of.clone(), options.resolution, &mut random);
        let modularity = level.modularity(&next, options.resolution);
        if modularity <= best + GAIN {
            break;
        }
        (of, best) = (next, modularity);
    }
    (of, best)
}

/// Moves, refines and makes one node of each part, until nothing moves any more.
pub(crate) fn descend(level: &Level, mut of: Vec<u32>, resolution: f64, random: &mut fastrand::Rng) -> Vec<u32> {
    // Which node of the current level each node of the graph has become part of.
    let mut part_of: Vec<u32> = (0..level.nodes() as u32).collect();
    let mut coarse: Option<Level> = None;
    loop {
        let level = coarse.as_ref().unwrap_or(level);
        move_nodes(level, &mut of, resolution, random);
        let groups = compact(&mut of);
        if groups == level.nodes() {
            break;
        }
        let (part, parts) = refine(level, &of, groups, resolution, random);
        if parts == level.nodes() {
            break;
        }
        let mut of_part = vec![0; parts];
        part.iter().zip(&of).for_each(|(&part, &group)| of_part[part as usize] = group);
        part_of.iter_mut().for_each(|node| *node = part[*node as usize]);
        of = of_part;
        coarse = Some(level.aggregate(&part, parts));
    }
    part_of.iter().map(|&node| of[node as usize]).collect()
}

/// Numbers groups from 0 in the order of their first nodes, and counts them.
pub(crate) fn compact(of: &mut [u32]) -> usize {
    let mut numbers = vec![u32::MAX; of.iter().max().map_or(0, |&most| most as usize + 1)];
    let mut groups = 0;
    for group in of {
        let number = &mut numbers[*group as usize];
        if *number == u32::MAX {
            *number = groups;
            groups += 1;
        }
        *group = *number;
    }
    groups as usize
}

/// Strengths of groups.
struct Sums {
    out: Vec<f64>,
    into: Vec<f64>,
    count: Vec<u32>,
}

impl Sums {
    fn new(level: &Level, of: &[u32]) -> Sums {
        let nodes = level.nodes();
        let mut sums = Sums { out: vec![0.0; nodes], into: vec![0.0; nodes], count: vec![0; nodes] };
        of.iter().enumerate().for_each(|(node, &group)| sums.add(level, node, group as usize));
        sums
    }

    fn add(&mut self, level: &Level, node: usize, group: usize) {
        self.out[group] += level.out[node];
        self.into[group] += level.into[node];
        self.count[group] += 1;
    }

    fn remove(&mut self, level: &Level, node: usize, group: usize) {
        self.count[group] -= 1;
        if self.count[group] == 0 {
            (self.out[group], self.into[group]) = (0.0, 0.0);
        } else {
            self.out[group] -= level.out[node];
            self.into[group] -= level.into[node];
        }
    }
}

/// Moves each node to the community where it adds most, and looks again only at those whose neighbours have moved.
fn move_nodes(level: &Level, of: &mut [u32], resolution: f64, random: &mut fastrand::Rng) {
    let nodes = level.nodes();
    let mut sums = Sums::new(level, of);
    let mut empty: Vec<u32> = (0..nodes as u32).filter(|&group| sums.count[group as usize] == 0).collect();
    let mut order: Vec<u32> = (0..nodes as u32).collect();
    random.shuffle(&mut order);
    let mut queue = VecDeque::from(order);
    let mut queued = vec![true; nodes];
    let mut near = Near::new(nodes);
    while let Some(node) = queue.pop_front() {
        let node = node as usize;
        queued[node] = false;
        let from = of[node] as usize;
        for (to, weight) in level.row(node) {
            near.add(of[to] as usize, weight);
        }
        sums.remove(level, node, from);
        let gain =
            |group: usize, weight: f64| weight - resolution * level.chance(node, sums.out[group], sums.into[group]);
        let mut best = (from, gain(from, near.of(from)) + GAIN);
        for (group, weight) in near.drain() {
            let gained = gain(group as usize, weight);
            if gained > best.1 {
                best = (group as usize, gained);
            }
        }
        // On its own it gains nothing and loses nothing.
        if best.1 < 0.0
            && sums.count[from] > 0
            && let Some(&alone) = empty.last()
        {
            best = (alone as usize, 0.0);
        }
        let to = best.0;
        if to != from {
            if sums.count[to] == 0 {
                empty.pop();
            }
            if sums.count[from] == 0 {
                empty.push(from as u32);
            }
            of[node] = to as u32;
            for (other, _) in level.row(node) {
                if of[other] as usize != to && !std::mem::replace(&mut queued[other], true) {
                    queue.push_back(other as u32);
                }
            }
        }
        sums.add(level, node, to);
    }
}

/// Divides each community into parts that are well connected inside it. Gives each node's part, and how many there are.
fn refine(level: &Level, of: &[u32], groups: usize, resolution: f64, random: &mut fastrand::Rng) -> (Vec<u32>, usize) {
    let nodes = level.nodes();
    let mut part: Vec<u32> = (0..nodes as u32).collect();
    let whole = {
        let mut whole = (vec![0.0; groups], vec![0.0; groups]);
        for (node, &group) in of.iter().enumerate() {
            whole.0[group as usize] += level.out[node];
            whole.1[group as usize] += level.into[node];
        }
        whole
    };
    let mut sums = Sums::new(level, &part);
    // Of each part, the weight of edges to the rest of its community.
    let mut outward: Vec<f64> = (0..nodes)
        .map(|node| level.row(node).filter(|&(to, _)| of[to] == of[node]).map(|(_, weight)| weight).sum())
        .collect();
    let (starts, mut order) = members(of, groups);
    for group in 0..groups {
        random.shuffle(&mut order[starts[group]..starts[group + 1]]);
    }
    let mut near = Near::new(nodes);
    for &node in &order {
        let node = node as usize;
        let group = of[node] as usize;
        let (out, into) = (whole.0[group], whole.1[group]);
        // Well connected: more to the rest of the community than chance would put there.
        let well = |sums: &Sums, outward: f64, part: usize| {
            let (o, i) = (sums.out[part], sums.into[part]);
            outward >= resolution * (o * (into - i) + i * (out - o)) / 2.0
        };
        if sums.count[part[node] as usize] != 1 || part[node] as usize != node || !well(&sums, outward[node], node) {
            continue;
        }
        for (to, weight) in level.row(node) {
            if of[to] as usize == group {
                near.add(part[to] as usize, weight);
            }
        }
        let mut best = (node, GAIN, 0.0);
        for (candidate, weight) in near.drain() {
            let at = candidate as usize;
            let gained = weight - resolution * level.chance(node, sums.out[at], sums.into[at]);
            if gained > best.1 && well(&sums, outward[at], at) {
                best = (at, gained, weight);
            }
        }
        let (to, _, weight) = best;
        if to != node {
            sums.remove(level, node, node);
            sums.add(level, node, to);
            outward[to] += outward[node] - 2.0 * weight;
            part[node] = to as u32;
        }
    }
    let parts = compact(&mut part);
    (part, parts)
}
