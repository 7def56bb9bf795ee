//! The inner loops of attention, written so that the compiler turns them into vector instructions, and compiled several
//! times: which of the versions runs is decided by what the CPU can do. Every key's product is summed up in the order
//! of its elements, so that a result does not depend on how the work was cut into pieces.

use crate::curves::{add_product, exp_below};
use half::f16;
use multiversion::multiversion;
use multiversion::target::{match_target, target_cfg_f};

/// Rows that are multiplied side by side.
pub const LANES: usize = 16;
/// Queries that are multiplied with two blocks of rows in one go: their sums fit the registers, and are so many that no
/// multiplication waits for the one before it.
const QUERIES: usize = 3;
/// For up to so many queries, 16-bit floats are made wider where they are multiplied, so that the memory they come from is
/// waited for meanwhile; for more, once and before.
const FEW: usize = 8;

/// Elements of rows, `[LANES, n_embd, n_blocks]`.
#[derive(Clone, Copy, Debug)]
pub enum Panel<'a> {
    /// 16-bit floats.
    Halves(&'a [f16]),
    /// 32-bit floats.
    Floats(&'a [f32]),
}

/// Multiplies queries with blocks of [`LANES`] rows. `q` is `[n_embd, n_queries]`, and the products of query `r` with block `b`
/// go to `out[r * stride + b * LANES..]`. `buffer` is memory to work with.
pub fn products(q: &[f32], n_embd: usize, panel: Panel<'_>, out: &mut [f32], stride: usize, buffer: &mut Vec<f32>) {
    match panel {
        Panel::Floats(floats) => products_of_floats(q, n_embd, floats, out, stride),
        Panel::Halves(halves) if q.len() <= n_embd * FEW => products_of_halves(q, n_embd, halves, out, stride),
        Panel::Halves(halves) => {
            buffer.resize(halves.len(), 0.0);
            widen(halves, buffer);
            products_of_floats(q, n_embd, buffer, out, stride);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn products_of_floats(q: &[f32], n_embd: usize, panel: &[f32], out: &mut [f32], stride: usize) {
    let fma = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    all(q, n_embd, panel, out, stride, fma, |x: &[f32; LANES]| *x);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma+f16c",
    "x86_64+avx2+fma+f16c",
    "aarch64+neon"
))]
fn products_of_halves(q: &[f32], n_embd: usize, panel: &[f16], out: &mut [f32], stride: usize) {
    let fma = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let wide = |x: &[f16; LANES]| -> [f32; LANES] {
        match_target! {
            "x86_64+avx512f" => {
                bytemuck::cast(std::arch::x86_64::_mm512_cvtph_ps(bytemuck::cast(x.map(f16::to_bits))))
            }
            "x86_64+avx+f16c" => {
                let (low, high) = x.split_at(LANES / 2);
                let eight = |x: &[f16]| -> [f32; LANES / 2] {
                    let bits: [u16; LANES / 2] = std::array::from_fn(|i| x[i].to_bits());
                    bytemuck::cast(std::arch::x86_64::_mm256_cvtph_ps(bytemuck::cast(bits)))
                };
                bytemuck::cast([eight(low), eight(high)])
            }
            _ => x.map(f16::to_f32),
        }
    };
    all(q, n_embd, panel, out, stride, fma, wide);
}

/// Makes 32-bit floats of 16-bit ones, as many as there are of both. What the `half` crate has for this calls a function for
/// each eight numbers, which takes longer than the products.
#[multiversion(targets("x86_64+avx+f16c", "aarch64+neon"))]
pub fn widen(halves: &[f16], floats: &mut [f32]) {
    const EIGHT: usize = 8;
    let n = halves.len().min(floats.len()) / EIGHT * EIGHT;
    let (many, rest) = halves.split_at(n);
    for (eight, out) in many.as_chunks::<EIGHT>().0.iter().zip(floats.as_chunks_mut::<EIGHT>().0) {
        *out = match_target! {
            "x86_64+avx+f16c" => {
                bytemuck::cast(std::arch::x86_64::_mm256_cvtph_ps(bytemuck::cast(eight.map(f16::to_bits))))
            }
            _ => eight.map(f16::to_f32),
        };
    }
    rest.iter().zip(&mut floats[n..]).for_each(|(half, out)| *out = half.to_f32());
}

/// All products: of the last blocks, fewer at a time.
#[inline(always)]
fn all<T: Copy>(
    q: &[f32],
    n_embd: usize,
    panel: &[T],
    out: &mut [f32],
    stride: usize,
    fma: bool,
    wide: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
) {
    let mut done = 0;
    if q.len() == n_embd {
        done += blocks::<4, T>(q, n_embd, panel, out, stride, fma, wide);
    }
    done += blocks::<2, T>(q, n_embd, &panel[done * n_embd..], &mut out[done..], stride, fma, wide);
    blocks::<1, T>(q, n_embd, &panel[done * n_embd..], &mut out[done..], stride, fma, wide);
}

/// As many blocks as there are, `B` at a time. Returns how many rows that were.
#[inline(always)]
fn blocks<const B: usize, T: Copy>(
    q: &[f32],
    n_embd: usize,
    panel: &[T],
    out: &mut [f32],
    stride: usize,
    fma: bool,
    wide: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
) -> usize {
    let groups = panel.chunks_exact(n_embd * LANES * B);
    let n = groups.len() * B * LANES;
    for (b, group) in groups.enumerate() {
        for (i, q) in q.chunks(n_embd * QUERIES).enumerate() {
            let out = &mut out[i * QUERIES * stride + b * B * LANES..];
            match q.len() / n_embd {
                1 => put(dot::<B, 1, T>(q, n_embd, group, fma, wide), out, stride),
                2 => put(dot::<B, 2, T>(q, n_embd, group, fma, wide), out, stride),
                _ => put(dot::<B, QUERIES, T>(q, n_embd, group, fma, wide), out, stride),
            }
        }
    }
    n
}

#[inline(always)]
fn put<const B: usize, const R: usize>(sums: [[[f32; LANES]; R]; B], out: &mut [f32], stride: usize) {
    for (b, sums) in sums.iter().enumerate() {
        for (r, sums) in sums.iter().enumerate() {
            out[r * stride + b * LANES..][..LANES].copy_from_slice(sums);
        }
    }
}

#[inline(always)]
fn dot<const B: usize, const R: usize, T: Copy>(
    q: &[f32],
    n_embd: usize,
    group: &[T],
    fma: bool,
    wide: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
) -> [[[f32; LANES]; R]; B] {
    let keys: [&[[T; LANES]]; B] = std::array::from_fn(|b| &group.as_chunks::<LANES>().0[b * n_embd..(b + 1) * n_embd]);
    let queries: [&[f32]; R] = std::array::from_fn(|r| &q[r * n_embd..][..n_embd]);
    let mut sums = [[[0.0; LANES]; R]; B];
    for d in 0..n_embd {
        for b in 0..B {
            let keys = wide(&keys[b][d]);
            for r in 0..R {
                for lane in 0..LANES {
                    sums[b][r][lane] = add_product(fma, sums[b][r][lane], queries[r][d], keys[lane]);
                }
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
    fn every_half_is_as_wide_as_half_makes_it() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for part in [&all[..], &all[1..12], &all[..3], &[]] {
            let mut floats = vec![f32::NAN; part.len()];
            widen(part, &mut floats);
            assert!(part.iter().zip(&floats).all(|(half, x)| half.to_f32().to_bits() == x.to_bits()));
        }
    }

    #[test]
    fn products_are_sums_in_the_order_of_elements_however_many_there_are() {
        for (n_embd, n_queries, n_blocks) in [(1, 1, 1), (64, 3, 4), (80, 13, 3), (3, 6, 2), (64, 1, 7), (5, 4, 5)] {
            let q: Vec<f32> = (0..n_embd * n_queries).map(|i| (i as f32 * 0.37).sin()).collect();
            let panel: Vec<f32> = (0..n_embd * n_blocks * LANES).map(|i| (i as f32 * 0.73).cos()).collect();
            let stride = n_blocks * LANES + 5;
            let halves: Vec<f16> = panel.iter().map(|&x| f16::from_f32(x)).collect();
            let floats: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            let of = |panel: Panel<'_>| {
                let mut out = vec![f32::NAN; n_queries * stride];
                products(&q, n_embd, panel, &mut out, stride, &mut vec![]);
                out
            };
            let (out, panel) = (of(Panel::Floats(&floats)), floats.as_slice());
            let bits = |out: &[f32]| out.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&of(Panel::Halves(&halves))), bits(&out), "{n_embd} {n_queries} {n_blocks}");
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
