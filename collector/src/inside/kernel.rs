//! The inner loops of attention, written so that the compiler turns them into vector instructions, and compiled several
//! times: which of the versions runs is decided by what the CPU can do. Every key's product is summed up in the order
//! of its elements, so that a result does not depend on how the work was cut into pieces.

use ggscope_analytics::curves::{add_product, exp_below};
use multiversion::{multiversion, target::target_cfg_f};

/// Rows that are multiplied side by side.
pub const LANES: usize = 16;
/// Queries that are multiplied with a block of rows in one go: their sums fit the registers.
const QUERIES: usize = 6;

/// Multiplies queries with blocks of [`LANES`] rows. `q` is `[n_embd, n_queries]`, `panel` is `[LANES, n_embd, n_blocks]`,
/// and the products of query `r` with block `b` go to `out[r * stride + b * LANES..]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn products(q: &[f32], n_embd: usize, panel: &[f32], out: &mut [f32], stride: usize) {
    let fma = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    for (b, block) in panel.chunks_exact(n_embd * LANES).enumerate() {
        let mut first = 0;
        let mut rest = q;
        while !rest.is_empty() {
            let n = (rest.len() / n_embd).min(QUERIES);
            let (now, later) = rest.split_at(n * n_embd);
            let out = &mut out[first * stride + b * LANES..];
            match n {
                1 => put(dot::<1>(fma, now, n_embd, block), out, stride),
                2 => put(dot::<2>(fma, now, n_embd, block), out, stride),
                3 => put(dot::<3>(fma, now, n_embd, block), out, stride),
                4 => put(dot::<4>(fma, now, n_embd, block), out, stride),
                5 => put(dot::<5>(fma, now, n_embd, block), out, stride),
                _ => put(dot::<QUERIES>(fma, now, n_embd, block), out, stride),
            }
            (first, rest) = (first + n, later);
        }
    }
}

#[inline(always)]
fn put<const R: usize>(sums: [[f32; LANES]; R], out: &mut [f32], stride: usize) {
    for (r, sums) in sums.iter().enumerate() {
        out[r * stride..][..LANES].copy_from_slice(sums);
    }
}

#[inline(always)]
fn dot<const R: usize>(fma: bool, q: &[f32], n_embd: usize, block: &[f32]) -> [[f32; LANES]; R] {
    let keys = &block.as_chunks::<LANES>().0[..n_embd];
    let queries: [&[f32]; R] = std::array::from_fn(|r| &q[r * n_embd..][..n_embd]);
    let mut sums = [[0.0; LANES]; R];
    for d in 0..n_embd {
        for r in 0..R {
            let x = queries[r][d];
            for lane in 0..LANES {
                sums[r][lane] = add_product(fma, sums[r][lane], x, keys[d][lane]);
            }
        }
    }
    sums
}

/// Makes the softmax of a row in place, with a sink that takes a share, and returns that share. As
/// [`super::softmax::row`] does it, NaN and infinities included, within 1e-6.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn softmax(row: &mut [f32], sink: Option<f32>) -> Option<f32> {
    let fma = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
        }
    }
    let most = most.iter().chain(rest).chain(&sink).copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp_below(fma, chunk[lane], most);
            sums[lane] += chunk[lane];
        }
    }
    for x in rest.iter_mut() {
        *x = exp_below(fma, *x, most);
        sums[0] += *x;
    }
    let sink = sink.map(|sink| exp_below(fma, sink, most));
    let sum: f64 = sums.iter().chain(&sink).map(|&x| f64::from(x)).sum();
    if sum == 0.0 {
        return sink;
    }
    let share = (1.0 / sum) as f32;
    row.iter_mut().for_each(|x| *x *= share);
    sink.map(|sink| sink * share)
}

#[cfg(test)]
mod tests {
    use super::super::softmax;
    use super::*;

    #[test]
    fn products_are_sums_in_the_order_of_elements_however_many_there_are() {
        for (n_embd, n_queries, n_blocks) in [(1, 1, 1), (64, 3, 4), (80, 13, 3), (3, 6, 2)] {
            let q: Vec<f32> = (0..n_embd * n_queries).map(|i| (i as f32 * 0.37).sin()).collect();
            let panel: Vec<f32> = (0..n_embd * n_blocks * LANES).map(|i| (i as f32 * 0.73).cos()).collect();
            let stride = n_blocks * LANES + 5;
            let mut out = vec![f32::NAN; n_queries * stride];
            products(&q, n_embd, &panel, &mut out, stride);
            for (r, key) in (0..n_queries).flat_map(|r| (0..n_blocks * LANES).map(move |key| (r, key))) {
                let (block, lane) = (key / LANES, key % LANES);
                let sum = (0..n_embd).fold(0.0_f64, |sum, d| {
                    sum + f64::from(q[r * n_embd + d]) * f64::from(panel[(block * n_embd + d) * LANES + lane])
                });
                let found = out[r * stride + key];
                assert!((f64::from(found) - sum).abs() < 1e-4, "{found} is not {sum}");
            }
        }
    }

    #[test]
    fn the_softmax_is_the_one_that_shows_its_stages() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let long: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.7).sin() * 40.0).collect();
        let rows: [&[f32]; 9] = [
            &long,
            &[],
            &[0.0],
            &[-inf, 1.0, -inf],
            &[-inf; 20],
            &[nan, 1.0, 2.0],
            &[inf, 1.0, -inf],
            &[nan, -inf],
            &[1e30, -1e30, 3.0],
        ];
        for row in rows {
            for sink in [None, Some(0.5), Some(-inf)] {
                let wanted = softmax::row(row.to_vec(), &[], None, 1.0, sink);
                let mut weights = row.to_vec();
                let share = super::softmax(&mut weights, sink);
                let alike = |a: f32, b: f32| (a - b).abs() < 1e-6 || (a.is_nan() && b.is_nan());
                assert!(
                    weights.iter().zip(&wanted.weights).all(|(&a, &b)| alike(a, b)),
                    "{row:?}: {weights:?} is not {:?}",
                    wanted.weights
                );
                assert!(share.zip(wanted.sink).is_none_or(|(a, b)| alike(a, b)) && share.is_some() == sink.is_some());
            }
        }
    }
}
