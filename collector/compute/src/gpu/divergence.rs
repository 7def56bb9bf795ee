//! Divergence of each two heads on a device: their rows go there once, and every block compares 16 heads with 16.

use super::backend::{Arguments, Backend, Module, THREADS, upload, zeros};
use crate::divergence::{Rows, place};
use crate::error::Error;

/// Heads on each side of a tile; known to divergence.cu.
const TILE: usize = 16;
/// Weights that are there at once.
const FLOATS: usize = 64 << 20;

/// See [`crate::Compute::divergences`].
pub(crate) fn divergences<B: Backend>(device: &B, heads: usize, tokens: &[Rows]) -> Result<Vec<f32>, Error> {
    let starts: Vec<usize> = (0..heads).step_by(TILE).collect();
    let tiles: Vec<[u32; 2]> = starts
        .iter()
        .flat_map(|&a| starts.iter().filter(move |&&b| b >= a).map(move |&b| [a as u32, b as u32]))
        .collect();
    let mut of = vec![f32::NAN; heads * heads.saturating_sub(1) / 2];
    if tiles.is_empty() {
        return Ok(of);
    }
    let threads = THREADS as usize;
    let sums = zeros::<B, f64>(device, tiles.len() * threads)?;
    let counts = zeros::<B, u32>(device, tiles.len() * threads)?;
    let on_device = upload(device, &tiles)?;
    let mut rest = tokens;
    while !rest.is_empty() {
        let mut floats = 0;
        let fit = rest.iter().take_while(|rows| {
            floats += rows.weights.len();
            floats <= FLOATS
        });
        let (now, later) = rest.split_at(fit.count().max(1));
        rest = later;
        let mut places = vec![];
        let mut weights: Vec<f32> = vec![];
        for rows in now {
            places.push([weights.len() as u64, rows.n as u64]);
            weights.extend_from_slice(rows.weights);
        }
        let (places, weights) = (upload(device, &places)?, upload(device, &weights)?);
        let entropies = zeros::<B, f32>(device, now.len() * heads)?;
        let arguments = Arguments::new().buffer(device, &places).u32(heads as u32).buffer(device, &weights);
        // SAFETY: the arguments of entropies, with a block for each row; every token has `n` weights a head (checked).
        unsafe {
            let arguments = arguments.buffer(device, &entropies);
            device.launch(Module::Divergence, "entropies", (now.len() * heads) as u32, &arguments)?;
        };
        let arguments = Arguments::new().buffer(device, &places).u32(now.len() as u32).u32(heads as u32);
        let arguments = arguments.buffer(device, &weights).buffer(device, &entropies).buffer(device, &on_device);
        let arguments = arguments.buffer(device, &sums).buffer(device, &counts);
        // SAFETY: the arguments of diverge, with a tile a block, and a sum and a count for each of its threads.
        unsafe { device.launch(Module::Divergence, "diverge", tiles.len() as u32, &arguments)? };
    }
    let (sums, counts) = (sums.download(device)?, counts.download(device)?);
    for (i, (sum, count)) in sums.iter().zip(&counts).enumerate() {
        let [first_a, first_b] = tiles[i / threads].map(|first| first as usize);
        let (a, b) = (first_a + i % threads / TILE, first_b + i % TILE);
        if a < b && b < heads {
            of[place(heads, a, b)] = (sum / f64::from(*count)) as f32;
        }
    }
    Ok(of)
}
