//! The logit lens on a device: rows are prepared there; then, a tile of the matrix after the other, its numbers, the product by
//! cuBLAS, and what is kept of the logits. What goes over the bus is the matrix as it lies in the file, where kernels read its
//! encoding, and what is kept.

use super::backend::{Arguments, Backend, Buffer, Module, Product, THREADS, blocks, multiply, upload, zeros};
use crate::error::Error;
use crate::lens::{Head, Reduced, Rounding, Row, Step, reduced};
use crate::statistics::Encoding;

/// How much is on the device at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Floats of a tile of the matrix.
    pub tile: usize,
    /// Floats of the logits of all rows for a tile.
    pub logits: usize,
    /// Rows.
    pub rows: usize,
}

/// 256 MiB of each.
pub(crate) const SIZES: Sizes = Sizes { tile: 1 << 26, logits: 1 << 26, rows: 4096 };

/// No place among rows. As in lens.cu.
const NOBODY: u32 = u32::MAX;

/// Steps as kernels read them: what each does, two numbers and `n` weights of each.
struct Steps<B: Backend> {
    len: u32,
    kinds: Buffer<B, u32>,
    numbers: Buffer<B, f32>,
    weights: Buffer<B, f32>,
}

impl<B: Backend> Steps<B> {
    fn upload(device: &B, steps: &[Step], n: usize) -> Result<Steps<B>, Error> {
        let (mut kinds, mut numbers) = (vec![], vec![]);
        let mut weights = vec![0.0; steps.len() * n];
        for (at, step) in steps.iter().enumerate() {
            // As in lens.cu.
            let (kind, [first, second]) = match *step {
                Step::RmsNorm(eps) => (0, [eps, 0.0]),
                Step::LayerNorm(eps) => (1, [eps, 0.0]),
                Step::Mul(_) => (2, [0.0; 2]),
                Step::Add(_) => (3, [0.0; 2]),
                Step::Scale { by, add } => (4, [by, add]),
                Step::Tanh => (5, [0.0; 2]),
            };
            if let Step::Mul(by) | Step::Add(by) = step {
                weights[at * n..(at + 1) * n].copy_from_slice(by);
            }
            kinds.push(kind);
            numbers.extend([first, second]);
        }
        Ok(Steps {
            len: steps.len() as u32,
            kinds: upload(device, &kinds)?,
            numbers: upload(device, &numbers)?,
            weights: upload(device, &weights)?,
        })
    }

    /// Their number, kinds and numbers.
    fn put(&self, device: &B, arguments: Arguments) -> Arguments {
        arguments.u32(self.len).buffer(device, &self.kinds).buffer(device, &self.numbers)
    }
}

/// What [`crate::Compute::lens`] gives. Head and rows are checked.
pub(crate) fn reduce<B: Backend>(
    device: &B,
    head: &Head,
    rows: &[Row],
    keep: usize,
    sizes: Sizes,
) -> Result<Vec<Reduced>, Error> {
    let before = Steps::upload(device, &head.before, head.n_in)?;
    let after = Steps::upload(device, &head.after, 0)?;
    let mut all = vec![];
    for rows in rows.chunks(sizes.rows) {
        let x = prepared(device, head, &before, rows)?;
        all.extend(reduce_some(device, head, &after, &x, rows, keep, sizes)?);
    }
    Ok(all)
}

/// The rows behind the steps before the matrix, rounded.
fn prepared<B: Backend>(device: &B, head: &Head, before: &Steps<B>, rows: &[Row]) -> Result<Buffer<B, f32>, Error> {
    let x: Vec<f32> = rows.iter().flat_map(|row| row.state).copied().collect();
    let x = upload(device, &x)?;
    // As in lens.cu.
    let rounding = match head.rounding {
        Rounding::Exact => 0,
        Rounding::F16 => 1,
        Rounding::BF16 => 2,
        Rounding::Q8_0 => 3,
        Rounding::Q8_K => 4,
    };
    let arguments = before.put(device, Arguments::new().u32(head.n_in as u32)).buffer(device, &before.weights);
    let arguments = arguments.u32(rounding).buffer(device, &x);
    // SAFETY: the arguments of lens_prepare; a block for each row of `n_in` elements, and as many weights for each step.
    unsafe { device.launch(Module::Lens, "lens_prepare", rows.len() as u32, &arguments)? };
    Ok(x)
}

/// The logits of what is asked of each row, `asked` of each; rows that ask less have token 0 in the places left.
fn singles<B: Backend>(
    device: &B,
    head: &Head,
    after: &Steps<B>,
    x: &Buffer<B, f32>,
    ids: &[u32],
    asked: usize,
) -> Result<Buffer<B, f32>, Error> {
    let logits = zeros::<B, f32>(device, ids.len())?;
    if ids.is_empty() {
        return Ok(logits);
    }
    let rows: Vec<u32> = (0..ids.len()).map(|i| (i / asked) as u32).collect();
    let mut weights = vec![0.0; ids.len() * head.n_in];
    weights.chunks_exact_mut(head.n_in).zip(ids).for_each(|(w, &id)| head.numbers(id as usize, w));
    let bias: Vec<f32> = ids.iter().map(|&id| head.bias.map_or(0.0, |bias| bias[id as usize])).collect();
    let (rows, weights, bias) = (upload(device, &rows)?, upload(device, &weights)?, upload(device, &bias)?);
    let arguments = Arguments::new().u32(head.n_in as u32).buffer(device, &rows).buffer(device, x);
    let arguments = arguments.buffer(device, &weights).buffer(device, &bias);
    let arguments = after.put(device, arguments).buffer(device, &logits);
    // SAFETY: the arguments of lens_single; a block for each of `rows`, `bias` and `logits`, of rows that `x` has.
    unsafe { device.launch(Module::Lens, "lens_single", ids.len() as u32, &arguments)? };
    Ok(logits)
}

/// A tile of the matrix as numbers: from its bytes, where kernels read its encoding.
fn numbers<B: Backend>(device: &B, head: &Head, first: usize, columns: usize) -> Result<Buffer<B, f32>, Error> {
    let count = columns * head.n_in;
    let encoded = head.matrix.encoded().filter(|(encoding, _)| {
        let values = encoding.block().0;
        head.n_in.is_multiple_of(values) && *encoding != Encoding::F32
    });
    let Some((encoding, bytes)) = encoded else {
        let mut values = vec![0.0; count];
        head.numbers(first, &mut values);
        return upload(device, &values);
    };
    let (values, size) = encoding.block();
    let row = head.n_in / values * size;
    let bytes = upload(device, &bytes[first * row..(first + columns) * row])?;
    let out = zeros::<B, f32>(device, count)?;
    let arguments = Arguments::new().u32(encoding as u32).buffer(device, &bytes);
    let arguments = arguments.u64(count as u64).buffer(device, &out);
    let grid = blocks(count.min(4096 * THREADS as usize));
    // SAFETY: the arguments of lens_numbers; `bytes` holds `count` values, and `out` has room for them.
    unsafe { device.launch(Module::Lens, "lens_numbers", grid, &arguments)? };
    Ok(out)
}

fn reduce_some<B: Backend>(
    device: &B,
    head: &Head,
    after: &Steps<B>,
    x: &Buffer<B, f32>,
    rows: &[Row],
    keep: usize,
    sizes: Sizes,
) -> Result<Vec<Reduced>, Error> {
    let n = rows.len();
    let asked = rows.iter().map(|row| row.asked.len()).max().unwrap_or(0);
    let padded = |row: &Row| (0..asked).map(|a| row.asked.get(a).copied().unwrap_or(0)).collect::<Vec<u32>>();
    let ids: Vec<u32> = rows.iter().flat_map(padded).collect();
    let known = singles(device, head, after, x, &ids, asked)?;
    let ids = upload(device, &ids)?;
    let bias = head.bias.map(|bias| upload(device, bias)).transpose()?;
    let most = upload(device, &vec![f32::NEG_INFINITY; n])?;
    let (sums, beside) = (zeros::<B, f64>(device, 2 * n)?, zeros::<B, f64>(device, 3 * n)?);
    let (left, above) = (zeros::<B, u64>(device, n)?, zeros::<B, u64>(device, n * asked)?);
    let tops = zeros::<B, u32>(device, n)?;
    let (tokens, largest) = (zeros::<B, u32>(device, n * keep)?, zeros::<B, f32>(device, n * keep)?);
    let compared: Vec<&[f32]> = rows.iter().filter_map(|row| row.theirs).collect();
    let mut place = 0..;
    let places: Vec<u32> = rows.iter().map(|row| row.theirs.and_then(|_| place.next()).unwrap_or(NOBODY)).collect();
    let places = upload(device, &places)?;

    let tile = (sizes.tile / head.n_in).min(sizes.logits / n).clamp(1, head.n_out);
    let mut logits = zeros::<B, f32>(device, tile * n)?;
    for first in (0..head.n_out).step_by(tile) {
        let columns = tile.min(head.n_out - first);
        let weights = numbers(device, head, first, columns)?;
        multiply(device, Product { columns, rows: n, inner: head.n_in }, &weights, x, &mut logits)?;
        let theirs: Vec<f32> = compared.iter().flat_map(|t| &t[first..first + columns]).copied().collect();
        let theirs = upload(device, &theirs)?;
        let arguments = Arguments::new().u32(first as u32).u32(columns as u32).buffer(device, &logits);
        let arguments = after.put(device, arguments.optional(device, &bias)).u32(keep as u32).u32(asked as u32);
        let arguments = arguments.buffer(device, &ids).buffer(device, &known).buffer(device, &most);
        let arguments = arguments.buffer(device, &sums).buffer(device, &left).buffer(device, &tops);
        let arguments = arguments.buffer(device, &tokens).buffer(device, &largest).buffer(device, &above);
        let arguments = arguments.buffer(device, &places).buffer(device, &theirs).buffer(device, &beside);
        // SAFETY: the arguments of lens_reduce; a block for each of the n rows, for which all have entries as lens.cu says;
        // `theirs` has a row of `columns` for each place.
        unsafe { device.launch(Module::Lens, "lens_reduce", n as u32, &arguments)? };
    }
    let (most, sums, left) = (most.download(device)?, sums.download(device)?, left.download(device)?);
    let (tops, tokens, largest) = (tops.download(device)?, tokens.download(device)?, largest.download(device)?);
    let (known, above, beside) = (known.download(device)?, above.download(device)?, beside.download(device)?);
    let of_row = |(r, row): (usize, &Row)| {
        let top = r * keep..r * keep + tops[r] as usize;
        let top = tokens[top.clone()].iter().copied().zip(largest[top].iter().copied()).collect();
        let of_asked = |a: usize| (known[r * asked + a], above[r * asked + a]);
        let beside = row.theirs.map(|_| (beside[3 * r] as f32, beside[3 * r + 1], beside[3 * r + 2]));
        reduced(
            most[r],
            [sums[2 * r], sums[2 * r + 1]],
            top,
            (0..row.asked.len()).map(of_asked).collect(),
            left[r],
            beside,
        )
    };
    Ok(rows.iter().enumerate().map(of_row).collect())
}
