//! Communities on a device: Louvain's moving of nodes (Blondel and others, 2008), the part that goes through all edges again
//! and again. Communities become the nodes of a smaller graph; one that is small enough is left to the CPU's Leiden.

use super::backend::{Arguments, Backend, Module, blocks, offsets, upload, zeros};
use crate::community::{Communities, Leiden, Level, compact, descend};
use crate::error::Error;
use crate::graph::Graph;

/// Nodes of a graph that is left to the CPU.
pub(crate) const SMALL: usize = 1 << 15;
/// Nodes move in so many classes, one after the other.
const CLASSES: u32 = 8;
const MAX_ROUNDS: u32 = 32;
/// One, as the whole number that kernels add. As in communities.cu.
const UNIT: f64 = (1_u64 << 60) as f64;

/// Communities of a modularity that is not lower than that of [`crate::leiden`] by more than 0.01. Those that the device
/// has found may fall apart in parts that nothing connects, as Louvain's do. `small`: nodes of a graph that is left to the CPU.
pub(crate) fn communities<B: Backend>(
    device: &B,
    graph: &Graph,
    options: &Leiden,
    small: usize,
) -> Result<Communities, Error> {
    options.check()?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut level = Level::new(graph, options.weights);
    let mut of: Vec<u32> = (0..graph.nodes() as u32).collect();
    while level.nodes() > small.max(1) {
        let mut parts = move_nodes(device, &level, options.resolution, random.u32(..))?;
        let groups = compact(&mut parts);
        if groups == level.nodes() {
            break;
        }
        of.iter_mut().for_each(|node| *node = parts[*node as usize]);
        level = level.aggregate(&parts, groups);
    }
    let start = (0..level.nodes() as u32).collect();
    let last = descend(&level, start, options.resolution, &mut random);
    of.iter_mut().for_each(|node| *node = last[*node as usize]);
    Communities::new(graph, &of, options)
}

/// Moves nodes until hardly any moves: the community of each.
fn move_nodes<B: Backend>(device: &B, level: &Level, resolution: f64, seed: u32) -> Result<Vec<u32>, Error> {
    let nodes = level.nodes();
    let fixed = |shares: &[f64]| shares.iter().map(|share| (share * UNIT) as u64).collect::<Vec<u64>>();
    let alone: Vec<u32> = (0..nodes as u32).collect();
    let row_offsets = upload(device, &offsets(&level.offsets))?;
    let (targets, weights) = (upload(device, &level.targets)?, upload(device, &level.weights)?);
    let (out, into) = (upload(device, &level.out)?, upload(device, &level.into)?);
    let (fixed_out, fixed_into) = (upload(device, &fixed(&level.out))?, upload(device, &fixed(&level.into))?);
    let (sum_out, sum_into) = (upload(device, &fixed(&level.out))?, upload(device, &fixed(&level.into))?);
    let (community, choice) = (upload(device, &alone)?, upload(device, &alone)?);
    let members = upload(device, &vec![1_u32; nodes])?;
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
