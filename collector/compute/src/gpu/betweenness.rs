//! Betweenness on a device: each block searches from its own sources (`kernels/betweenness.cu`). Unweighted graphs only.

use super::backend::{Arguments, Backend, Module, blocks, offsets, upload, zeros};
use crate::betweenness::{Betweenness, Centrality, choose, rescale};
use crate::error::Error;
use crate::graph::Graph;

/// Memory for all blocks. Not that of the device: the number of blocks, and with it the order of additions, depends on the
/// graph alone.
const MEMORY: usize = 2 << 30;
/// Bytes that a block needs for each node.
const NODE_BYTES: usize = 8 + 8 + 4 + 4 + 4 + 8;
const MAX_BLOCKS: usize = 512;

/// Betweenness of every node, as [`crate::betweenness`] gives it without lengths, up to the order of additions: within
/// 1e-12, relative to the largest. `None` if there are more shortest paths than a 64-bit number can hold: the CPU's wide
/// numbers are needed then.
pub(crate) fn betweenness<B: Backend>(
    device: &B,
    graph: &Graph,
    options: &Betweenness,
) -> Result<Option<Centrality>, Error> {
    let chosen = choose(graph, options.sources)?;
    let nodes = graph.nodes();
    let sources: Vec<u32> = match &chosen {
        None => (0..nodes as u32).collect(),
        Some(list) => list.iter().map(|node| node.0).collect(),
    };
    if nodes == 0 {
        return Ok(Some(Centrality { scores: Vec::new(), sources: 0 }));
    }
    let slots = (MEMORY / (NODE_BYTES * nodes)).clamp(1, MAX_BLOCKS).min(sources.len());
    let (out, into) = (graph.outgoing(), graph.incoming());
    let list = upload(device, &sources)?;
    let (out_offsets, out_targets) = (upload(device, &offsets(&out.offsets))?, upload(device, &out.targets)?);
    let (in_offsets, in_sources) = (upload(device, &offsets(&into.offsets))?, upload(device, &into.targets)?);
    let paths = zeros::<B, f64>(device, slots * nodes)?;
    let depends = zeros::<B, f64>(device, slots * nodes)?;
    let steps = zeros::<B, u32>(device, slots * nodes)?;
    let order = zeros::<B, u32>(device, slots * nodes)?;
    let starts = zeros::<B, u32>(device, slots * (nodes + 2))?;
    let sums = zeros::<B, f64>(device, slots * nodes)?;
    let overflow = zeros::<B, u32>(device, 1)?;
    let total = zeros::<B, f64>(device, nodes)?;

    // One source a block at a time: no launch takes so long that a screen on the same GPU would freeze.
    for first in (0..sources.len()).step_by(slots) {
        let end = sources.len().min(first + slots);
        let arguments = Arguments::new().u32(nodes as u32).u32(first as u32).u32(end as u32).buffer(device, &list);
        let arguments = arguments.buffer(device, &out_offsets).buffer(device, &out_targets);
        let arguments = arguments.buffer(device, &in_offsets).buffer(device, &in_sources);
        let arguments = arguments.u32(u32::from(options.endpoints)).buffer(device, &paths).buffer(device, &depends);
        let arguments = arguments.buffer(device, &steps).buffer(device, &order).buffer(device, &starts);
        let arguments = arguments.buffer(device, &sums).buffer(device, &overflow);
        // SAFETY: the arguments of brandes; each of the `slots` blocks has `nodes` entries of every array (of `starts` two
        // more: one for each level, one after the last, and one that stays empty), sources are nodes, rows are checked.
        unsafe { device.launch(Module::Betweenness, "brandes", slots as u32, &arguments)? };
    }
    if overflow.download(device)?[0] != 0 {
        return Ok(None);
    }
    let arguments = Arguments::new().u32(nodes as u32).u32(slots as u32).buffer(device, &sums).buffer(device, &total);
    // SAFETY: the arguments of brandes_total; `sums` has `slots` times `nodes` entries, `total` has `nodes`.
    unsafe { device.launch(Module::Betweenness, "brandes_total", blocks(nodes), &arguments)? };
    let mut scores = total.download(device)?;
    rescale(&mut scores, graph, options, chosen.as_deref());
    Ok(Some(Centrality { scores, sources: sources.len() }))
}
