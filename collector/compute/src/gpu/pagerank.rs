//! PageRank on a device: the iteration of `crate::pagerank`, a sum and a check of 16 bytes after each.

use super::backend::{Arguments, Backend, Module, blocks, offsets, upload, zeros};
use crate::error::Error;
use crate::graph::Graph;
use crate::pagerank::{PageRank, Prepared, Ranks};

/// Rows from this length on are summed by a whole block. As in pagerank.cu.
const HEAVY: usize = 512;

/// PageRank of every node, as [`crate::pagerank`] gives it: no rank differs by more than 1e-12 at the same number of
/// iterations, as only the order of additions differs.
pub(crate) fn pagerank<B: Backend>(device: &B, graph: &Graph, options: &PageRank) -> Result<Ranks, Error> {
    let how = Prepared::new(graph, options)?;
    let nodes = graph.nodes();
    if nodes == 0 {
        return Ok(Ranks { scores: Vec::new(), iterations: 0, change: 0.0 });
    }
    let edges = graph.incoming();
    let heavy: Vec<u32> = (0..nodes as u32).filter(|&node| edges.range(node as usize).len() >= HEAVY).collect();
    let vector = |values: &Option<Vec<f64>>| values.as_ref().map(|values| upload(device, values)).transpose();

    let grid = blocks(nodes);
    let offsets = upload(device, &offsets(&edges.offsets))?;
    let sources = upload(device, &edges.targets)?;
    let weights = edges.weights_if(how.weights).map(|weights| upload(device, weights)).transpose()?;
    let (jump, dangling) = (vector(&how.jump)?, vector(&how.dangling)?);
    let inverse = upload(device, &how.inverse)?;
    let heavy_list = upload(device, &heavy)?;
    let scores = upload(device, &vec![1.0 / nodes as f64; nodes])?;
    let mut gives = zeros::<B, f64>(device, nodes)?;
    let mut next = zeros::<B, f64>(device, nodes)?;
    let partial = zeros::<B, f64>(device, 2 * grid as usize)?;

    let begin = Arguments::new().u32(nodes as u32).buffer(device, &scores).buffer(device, &inverse);
    let begin = begin.buffer(device, &gives).buffer(device, &partial);
    // SAFETY: the arguments of pagerank_begin; vectors have `nodes` entries, `partial` more than one a block.
    unsafe { device.launch(Module::PageRank, "pagerank_begin", grid, &begin)? };
    let mass: f64 = partial.download(device)?[..grid as usize].iter().sum();
    // The change, and the mass of dangling nodes.
    let totals = upload(device, &[0.0, mass])?;

    let mut change = 0.0;
    for iteration in 1..=how.max_iterations {
        if !heavy.is_empty() {
            let arguments = Arguments::new().buffer(device, &heavy_list).buffer(device, &offsets);
            let arguments = arguments.buffer(device, &sources).optional(device, &weights);
            let arguments = arguments.buffer(device, &gives).buffer(device, &next);
            // SAFETY: the arguments of pagerank_heavy; a block for each entry of the list, whose entries are nodes.
            unsafe { device.launch(Module::PageRank, "pagerank_heavy", heavy.len() as u32, &arguments)? };
        }
        let arguments = Arguments::new().u32(nodes as u32).f64(how.damping).buffer(device, &offsets);
        let arguments = arguments.buffer(device, &sources).optional(device, &weights).buffer(device, &inverse);
        let arguments = arguments.optional(device, &jump).optional(device, &dangling).buffer(device, &gives);
        let arguments = arguments.buffer(device, &totals).buffer(device, &scores).buffer(device, &next);
        let arguments = arguments.buffer(device, &partial);
        // SAFETY: the arguments of pagerank_step; vectors have `nodes` entries, `totals` 2, `partial` 2 a block, and the
        // graph's rows are checked.
        unsafe { device.launch(Module::PageRank, "pagerank_step", grid, &arguments)? };
        let arguments = Arguments::new().u32(grid).buffer(device, &partial).buffer(device, &totals);
        // SAFETY: the arguments of pagerank_total; two blocks, of `grid` entries of `partial` each.
        unsafe { device.launch(Module::PageRank, "pagerank_total", 2, &arguments)? };
        std::mem::swap(&mut gives, &mut next);
        change = totals.download(device)?[0];
        if change < how.wanted {
            return Ok(Ranks { scores: scores.download(device)?, iterations: iteration, change });
        }
    }
    Err(Error::NotConverged { iterations: how.max_iterations, change, wanted: how.wanted })
}
