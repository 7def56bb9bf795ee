//! Communities on a device: Louvain's moving of nodes (Blondel and others, 2008), the part that goes through all edges again
//! and again. Communities become the nodes of a smaller graph; one that is small enough is left to the CPU's Leiden, which also
//! goes over the result once.

use super::backend::{Arguments, Backend, Module, blocks, offsets, upload, zeros};
use crate::community::{Communities, GAIN, Leiden, Level, compact, descend, tries};
use crate::error::Error;
use crate::graph::Graph;

/// Nodes of a coarser graph that is left to the CPU.
pub(crate) const SMALL: usize = 1 << 15;
/// Nodes move in so many classes, one after the other.
const CLASSES: u32 = 8;
const MAX_ROUNDS: u32 = 32;
/// One, as the whole number that kernels add. As in communities.cu.
const UNIT: f64 = (1_u64 << 60) as f64;

/// Communities of a modularity that is not lower than that of [`crate::leiden`] by more than 0.01. `small`: a coarser graph of
/// so many nodes is left to the CPU.
pub(crate) fn communities<B: Backend>(
    device: &B,
    graph: &Graph,
    options: &Leiden,
    small: usize,
) -> Result<Communities, Error> {
    options.check()?;
    let level = Level::new(graph, options.weights);
    let mut best: Option<(Vec<u32>, f64)> = None;
    for number in 0..tries(graph, options) {
        let mut random = fastrand::Rng::with_seed(options.seed.wrapping_add(number));
        let mut of: Vec<u32> = (0..graph.nodes() as u32).collect();
        let mut modularity = f64::NEG_INFINITY;
        for _ in 0..options.iterations {
            let next = climb(device, &level, of.clone(), options.resolution, small, &mut random)?;
            let reached = level.modularity(&next, options.resolution);
            if reached <= modularity + GAIN {
                break;
            }
            (of, modularity) = (next, reached);
        }
        // What moving many nodes at a time has missed.
        let last = descend(&level, of.clone(), options.resolution, &mut random);
        let reached = level.modularity(&last, options.resolution);
        if reached > modularity {
            (of, modularity) = (last, reached);
        }
        if best.as_ref().is_none_or(|(_, before)| modularity > *before) {
            best = Some((of, modularity));
        }
    }
    Communities::new(graph, &best.map_or_else(Vec::new, |(of, _)| of), options)
}

/// From a partition: moves nodes, then whole communities, then communities of communities, as long as that gains.
fn climb<B: Backend>(
    device: &B,
    level: &Level,
    mut of: Vec<u32>,
    resolution: f64,
    small: usize,
    random: &mut fastrand::Rng,
) -> Result<Vec<u32>, Error> {
    let mut node_of: Vec<u32> = (0..level.nodes() as u32).collect();
    let mut coarse: Option<Level> = None;
    loop {
        let here = coarse.as_ref().unwrap_or(level);
        if coarse.is_some() && here.nodes() <= small {
            of = descend(here, of, resolution, random);
            break;
        }
        of = move_nodes(device, here, &of, resolution, random.u32(..))?;
        let groups = compact(&mut of);
        if groups == here.nodes() {
            break;
        }
        node_of.iter_mut().for_each(|node| *node = of[*node as usize]);
        coarse = Some(here.aggregate(&of, groups));
        of = (0..groups as u32).collect();
    }
    Ok(node_of.iter().map(|&node| of[node as usize]).collect())
}

/// Moves nodes until hardly any moves: the community of each.
fn move_nodes<B: Backend>(
    device: &B,
    level: &Level,
    of: &[u32],
    resolution: f64,
    seed: u32,
) -> Result<Vec<u32>, Error> {
    let nodes = level.nodes();
    let fixed = |shares: &[f64]| shares.iter().map(|share| (share * UNIT) as u64).collect::<Vec<u64>>();
    let sums = |shares: &[f64]| {
        let mut sums = vec![0; nodes];
        of.iter().zip(fixed(shares)).for_each(|(&group, share)| sums[group as usize] += share);
        sums
    };
    let mut counts = vec![0_u32; nodes];
    of.iter().for_each(|&group| counts[group as usize] += 1);
    let row_offsets = upload(device, &offsets(&level.offsets))?;
    let (targets, weights) = (upload(device, &level.targets)?, upload(device, &level.weights)?);
    let (out, into) = (upload(device, &level.out)?, upload(device, &level.into)?);
    let (fixed_out, fixed_into) = (upload(device, &fixed(&level.out))?, upload(device, &fixed(&level.into))?);
    let (sum_out, sum_into) = (upload(device, &sums(&level.out))?, upload(device, &sums(&level.into))?);
    let (community, choice) = (upload(device, of)?, upload(device, of)?);
    let members = upload(device, &counts)?;
    let keys = zeros::<B, u32>(device, 2 * level.targets.len())?;
    let values = zeros::<B, f64>(device, 2 * level.targets.len())?;

    for round in 0..MAX_ROUNDS {
        let moved = zeros::<B, u32>(device, 1)?;
        for turn in 0..CLASSES {
            let choose = Arguments::new().u32(nodes as u32).u32(seed ^ round).u32(CLASSES).u32(turn).f64(resolution);
            let choose = choose.buffer(device, &row_offsets).buffer(device, &targets).buffer(device, &weights);
            let choose = choose.buffer(device, &out).buffer(device, &into).buffer(device, &community);
            let choose = choose.buffer(device, &sum_out).buffer(device, &sum_into);
            let choose = choose.buffer(device, &fixed_out).buffer(device, &fixed_into).buffer(device, &members);
            let choose = choose.buffer(device, &keys).buffer(device, &values).buffer(device, &choice);
            // SAFETY: the arguments of choose_community; `keys` and `values` have twice as many entries as there are edges,
            // all else one a node or edge. Communities are numbers of nodes.
            unsafe { device.launch(Module::Communities, "choose_community", blocks(nodes), &choose)? };
            let carry = Arguments::new().u32(nodes as u32).buffer(device, &choice);
            let carry = carry.buffer(device, &fixed_out).buffer(device, &fixed_into).buffer(device, &community);
            let carry = carry.buffer(device, &sum_out).buffer(device, &sum_into).buffer(device, &members);
            let carry = carry.buffer(device, &moved);
            // SAFETY: the arguments of move_to_community; one entry a node, `moved` has one.
            unsafe { device.launch(Module::Communities, "move_to_community", blocks(nodes), &carry)? };
        }
        if moved.download(device)?[0] as usize <= nodes / 1000 {
            break;
        }
    }
    community.download(device)
}
