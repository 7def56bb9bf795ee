//! Distribution of a tensor's values on a device, which reads the encoded blocks themselves: what goes over the bus is what
//! lies in the file. Pieces of it, if it is large.

use super::backend::{Arguments, Backend, Module, THREADS, blocks, upload, zeros};
use crate::error::Error;
use crate::statistics::{Distribution, DistributionOptions, Encoding, HALVES, Plan, Survey};

/// Values of a piece: a multiple of every block, and few enough for 32-bit counters.
const PIECE: usize = 1 << 28;

/// Blocks of threads for so many values: the same on every device, so that sums are too.
fn grid(count: u64) -> u32 {
    blocks(count.min(1024 * u64::from(THREADS)) as usize)
}

/// What [`crate::distribution_of`] gives: all counts, extremes and quantiles the same, mean and deviation up to the order of
/// additions (1e-12 and, as squares cancel, 1e-7 of the largest value). `bytes` holds at least `count` values.
pub(crate) fn distribution_of<B: Backend>(
    device: &B,
    encoding: Encoding,
    bytes: &[u8],
    count: usize,
    wanted: &DistributionOptions,
) -> Result<Distribution, Error> {
    wanted.check()?;
    let (values, size) = encoding.block();
    let pieces = || {
        (0..count.div_ceil(PIECE)).map(|piece| {
            let first = piece * PIECE;
            let last = count.min(first + PIECE);
            (&bytes[first / values * size..last.div_ceil(values) * size], (last - first) as u64)
        })
    };
    let mut survey = Survey::none();
    for (bytes, count) in pieces() {
        survey.add(&survey_piece(device, encoding, bytes, count)?);
    }
    let plan = wanted.plan(&survey);
    let (mut bins, mut lower) = (vec![0; plan.bins], vec![0; plan.slot_count * HALVES]);
    for (bytes, count) in pieces() {
        let (some_bins, some_lower) = detail_piece(device, encoding, bytes, count, &plan)?;
        bins.iter_mut().zip(some_bins).for_each(|(all, some)| *all += some);
        lower.iter_mut().zip(some_lower).for_each(|(all, some)| *all += u64::from(some));
    }
    Ok(survey.finish(&plan, bins, &lower))
}

fn survey_piece<B: Backend>(device: &B, encoding: Encoding, bytes: &[u8], count: u64) -> Result<Survey, Error> {
    let grid = grid(count);
    let bytes = upload(device, bytes)?;
    let counts = zeros::<B, u64>(device, 4)?;
    let limits = upload(device, &[u32::MAX, 0])?;
    let partial = zeros::<B, f64>(device, 2 * grid as usize)?;
    let upper = zeros::<B, u32>(device, HALVES)?;
    let arguments = Arguments::new().u32(encoding as u32).buffer(device, &bytes).u64(count).buffer(device, &counts);
    let arguments = arguments.buffer(device, &limits).buffer(device, &partial).buffer(device, &upper);
    // SAFETY: the arguments of survey; `bytes` holds `count` values, `partial` two a block, `upper` one a 16-bit number.
    unsafe { device.launch(Module::Statistics, "survey", grid, &arguments)? };
    let counts = counts.download(device)?;
    let partial = partial.download(device)?;
    let (sums, squares) = partial.split_at(grid as usize);
    let limits = limits.download(device)?;
    Ok(Survey {
        count: counts[0],
        nan: counts[1],
        infinite: [counts[2], counts[3]],
        limits: [limits[0], limits[1]],
        sum: sums.iter().sum(),
        squares: squares.iter().sum(),
        upper: upper.download(device)?.into_iter().map(u64::from).collect(),
    })
}

fn detail_piece<B: Backend>(
    device: &B,
    encoding: Encoding,
    bytes: &[u8],
    count: u64,
    plan: &Plan,
) -> Result<(Vec<u64>, Vec<u32>), Error> {
    let bytes = upload(device, bytes)?;
    let bins = zeros::<B, u64>(device, plan.bins)?;
    let slots = upload(device, &plan.slots)?;
    let lower = zeros::<B, u32>(device, plan.slot_count * HALVES)?;
    let arguments = Arguments::new().u32(encoding as u32).buffer(device, &bytes).u64(count).f64(plan.lowest);
    let arguments = arguments.f64(plan.width).u32(plan.bins as u32).buffer(device, &bins);
    let arguments = arguments.buffer(device, &slots).buffer(device, &lower);
    // SAFETY: the arguments of detail; `bytes` holds `count` values, there are at most 1,024 bins (checked), `slots` has one
    // entry a 16-bit number and `lower` 65,536 for each slot that it names.
    unsafe { device.launch(Module::Statistics, "detail", grid(count), &arguments)? };
    Ok((bins.download(device)?, lower.download(device)?))
}
