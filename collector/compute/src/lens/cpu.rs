//! The logit lens on the CPU: the matrix is turned into numbers a tile at a time on all cores, each tile once for up to
//! [`ROWS`] rows, and what comes out of the product is reduced at once.

use super::sums::Sums;
use super::{Head, Reduced, Row, Step, prepare};
use rayon::prelude::*;

/// Floats of a tile: the more columns, the less the rows are packed again for the product.
const TILE: usize = 1 << 20;
/// Rows that are multiplied at a time.
const ROWS: usize = 1024;

/// So many parts at most are reduced on their own, whatever the number of threads, so that it changes no sum.
const PARTS: usize = 64;

/// Reduces the logits of every row.
pub(super) fn reduce(head: &Head, rows: &[Row], keep: usize) -> Vec<Reduced> {
    let width = head.width();
    let mut x = vec![0.0; width * rows.len()];
    x.par_chunks_mut(width).zip(rows).for_each(|(x, row)| {
        let (x, mut narrow) = x.split_at_mut(head.n_in);
        x.copy_from_slice(row.state);
        head.before.iter().for_each(|step| prepare::apply(step, x));
        for adapter in &head.adapters {
            let (of_this, rest) = narrow.split_at_mut(adapter.rank);
            multiply(adapter.a, x, head.n_in, of_this);
            of_this.iter_mut().for_each(|n| *n *= adapter.scale);
            narrow = rest;
        }
        prepare::round(head.rounding, x);
    });
    let parts = x.chunks(ROWS * width).zip(rows.chunks(ROWS));
    parts.flat_map(|(x, rows)| reduce_some(head, x, rows, keep)).collect()
}

fn reduce_some(head: &Head, x: &[f32], rows: &[Row], keep: usize) -> Vec<Reduced> {
    let of_asked = |(x, row): (&[f32], &Row)| -> Vec<(u32, f32)> {
        row.asked.iter().map(|&id| (id, head.single(x, id as usize))).collect()
    };
    let width = head.width();
    let asked: Vec<_> = x.par_chunks(width).zip(rows).map(of_asked).collect();
    let tile = (TILE / width).min(head.n_out.div_ceil(PARTS / 2)).clamp(16, 4096);
    let tiles = head.n_out.div_ceil(tile);
    let some = tiles.div_ceil(PARTS);
    let part = |(weights, logits): &mut (Vec<f32>, Vec<f32>), part: usize| {
        let mut sums: Vec<Sums> = asked.iter().map(|a| Sums::new(a.len())).collect();
        for i in part * some..tiles.min((part + 1) * some) {
            let first = i * tile;
            let columns = tile.min(head.n_out - first);
            weights.resize(columns * width, 0.0);
            logits.resize(columns * rows.len(), 0.0);
            head.columns(first, weights);
            multiply(weights, x, width, logits);
            let each = sums.iter_mut().zip(logits.chunks_exact_mut(columns)).zip(rows).zip(&asked);
            for (((sums, logits), row), asked) in each {
                head.finish(first, logits);
                sums.take(first, logits, keep, asked, row.theirs.map(|t| &t[first..first + columns]));
            }
        }
        sums
    };
    let parts = (0..tiles.div_ceil(some)).into_par_iter().map_init(Default::default, part);
    let parts: Vec<Vec<Sums>> = parts.collect();
    let merge = |a: Vec<Sums>, b: Vec<Sums>| a.into_iter().zip(b).map(|(a, b)| a.merge(b, keep)).collect();
    let sums = parts.into_iter().reduce(merge).unwrap_or_default();
    let each = sums.into_iter().zip(&asked).zip(rows);
    each.map(|((sums, asked), row)| sums.reduced(asked, row.theirs.is_some())).collect()
}

impl Head<'_> {
    /// Rows of the matrix from number `first` on, as many as fit.
    pub(crate) fn numbers(&self, first: usize, out: &mut [f32]) {
        self.matrix.fill(first * self.n_in, out);
    }

    /// Elements of a prepared row: those that the matrix takes, then those that the second matrices of adapters take.
    fn width(&self) -> usize {
        self.n_in + self.adapters.iter().map(|adapter| adapter.rank).sum::<usize>()
    }

    /// Rows of the matrix from number `first` on, each followed by those of adapters.
    fn columns(&self, first: usize, out: &mut [f32]) {
        if self.adapters.is_empty() {
            return self.numbers(first, out);
        }
        let mut own = vec![0.0; out.len() / self.width() * self.n_in];
        self.numbers(first, &mut own);
        for (i, (out, own)) in out.chunks_exact_mut(self.width()).zip(own.chunks_exact(self.n_in)).enumerate() {
            let (matrix, mut narrow) = out.split_at_mut(self.n_in);
            matrix.copy_from_slice(own);
            for adapter in &self.adapters {
                let (of_this, rest) = narrow.split_at_mut(adapter.rank);
                of_this.copy_from_slice(&adapter.b[(first + i) * adapter.rank..][..adapter.rank]);
                narrow = rest;
            }
        }
    }

    /// One logit of a prepared row.
    fn single(&self, x: &[f32], id: usize) -> f32 {
        let mut weights = vec![0.0; self.width()];
        self.columns(id, &mut weights);
        let sum: f64 = x.iter().zip(&weights).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let mut logit = [sum as f32];
        self.finish(id, &mut logit);
        logit[0]
    }

    /// What is done to the logits from number `first` on behind the matrix.
    fn finish(&self, first: usize, logits: &mut [f32]) {
        if let Some(bias) = self.bias {
            logits.iter_mut().zip(&bias[first..]).for_each(|(l, b)| *l += b);
        }
        for step in &self.after {
            match *step {
                Step::Scale { by, add } => logits.iter_mut().for_each(|l| *l = *l * by + add),
                _ => logits.iter_mut().for_each(|l| *l = l.tanh()),
            }
        }
    }
}

/// `out[i][j] = weights[j] · x[i]`, all rows of `n` elements and stored one after the other.
pub(crate) fn multiply(weights: &[f32], x: &[f32], n: usize, out: &mut [f32]) {
    let (rows, columns) = (x.len() / n, weights.len() / n);
    assert!(rows * n == x.len() && columns * n == weights.len() && rows * columns == out.len());
    let (n_stride, columns_stride) = (n as isize, columns as isize);
    // SAFETY: x is [n, rows] with stride n between rows, weights transposed is [columns, n] with stride 1 between rows and
    // n between columns, out is [columns, rows]: with the lengths just checked all elements lie inside, and out, which is
    // borrowed mutably, overlaps neither.
    unsafe {
        matrixmultiply::sgemm(
            rows,
            n,
            columns,
            1.0,
            x.as_ptr(),
            n_stride,
            1,
            weights.as_ptr(),
            1,
            n_stride,
            0.0,
            out.as_mut_ptr(),
            columns_stride,
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Adapter, Rounding};
    use super::*;
    use crate::statistics::Values;

    fn head(weights: &[f32], n_in: usize) -> Head<'_> {
        Head {
            before: vec![],
            rounding: Rounding::Exact,
            matrix: Values::F32(weights),
            n_in,
            n_out: weights.len() / n_in,
            adapters: vec![],
            bias: None,
            after: vec![],
        }
    }

    fn row<'a>(state: &'a [f32], asked: &'a [u32]) -> Row<'a> {
        Row { state, asked, theirs: None }
    }

    #[test]
    fn a_row_becomes_the_softmax_of_the_textbook() {
        // ln 1, ln 2, ln 5 as logits: shares of 1/8, 2/8, 5/8.
        let weights = [1.0_f32.ln(), 0.0, 2.0_f32.ln(), 0.0, 5.0_f32.ln(), 0.0];
        let theirs = [0.0, 2.0_f32.ln(), 5.0_f32.ln() + 0.5];
        let rows = [Row { theirs: Some(&theirs), ..row(&[1.0, 7.0], &[1]) }];
        let reduced = reduce(&head(&weights, 2), &rows, 2).remove(0);
        assert_eq!(reduced.top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1]);
        assert!((reduced.p(reduced.top[0].1) - 0.625).abs() < 1e-6);
        let entropy: f64 = [0.125_f64, 0.25, 0.625].iter().map(|p| -p * p.log2()).sum();
        assert!((reduced.entropy - entropy).abs() < 1e-6, "{} bits", reduced.entropy);
        assert_eq!(reduced.asked[0].1, 1, "one is more likely");
        let beside = reduced.beside.unwrap();
        let relative = 0.5 / theirs.iter().map(|t| t * t).sum::<f32>().sqrt();
        assert!((beside.largest_difference - 0.5).abs() < 1e-6, "{beside:?}");
        assert!((beside.relative_error.unwrap() - relative).abs() < 1e-6, "{beside:?}");
    }

    #[test]
    fn an_adapter_adds_its_own_product_to_the_matrix_s() {
        // W = identity of 3 by 2; a · x = x0 + x1; b = (1, 0, -1); scale 0.5.
        let weights = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let adapter = Adapter { a: &[1.0, 1.0], b: &[1.0, 0.0, -1.0], rank: 1, scale: 0.5 };
        let adapted = Head { adapters: vec![adapter, adapter], ..head(&weights, 2) };
        let reduced = reduce(&adapted, &[row(&[2.0, 5.0], &[0, 1, 2])], 3).remove(0);
        assert_eq!(reduced.asked.iter().map(|a| a.0).collect::<Vec<_>>(), [2.0 + 7.0, 5.0, -7.0]);
        assert_eq!(reduced.top, [(0, 9.0), (1, 5.0), (2, -7.0)]);
    }

    #[test]
    fn tiles_threads_and_blocks_of_rows_change_nothing() {
        let mut random = fastrand::Rng::with_seed(7);
        let (n_in, n_out, n) = (64, 10_007, ROWS + 3);
        let weights: Vec<f32> = (0..n_in * n_out).map(|_| random.f32() * 2.0 - 1.0).collect();
        let x: Vec<f32> = (0..n_in * n).map(|_| random.f32() * 2.0 - 1.0).collect();
        let asked: Vec<[u32; 1]> = (0..n).map(|i| [(i * 9) as u32]).collect();
        let rows: Vec<Row> = x.chunks(n_in).zip(&asked).map(|(x, asked)| row(x, asked)).collect();
        let reduced = reduce(&head(&weights, n_in), &rows, 3);
        assert_eq!(reduced.len(), n);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| reduce(&head(&weights, n_in), &rows, 3)), reduced, "to the last bit");
        for i in [0, 1, ROWS, n - 1] {
            let x = &x[i * n_in..(i + 1) * n_in];
            let dot = |w: &[f32]| w.iter().zip(x).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let logits: Vec<f64> = weights.chunks_exact(n_in).map(dot).collect();
            let log_sum = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
            let entropy: f64 = logits.iter().map(|l| -(l - log_sum).exp() * (l - log_sum) / 2.0_f64.ln()).sum();
            let mut order: Vec<usize> = (0..n_out).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let r = &reduced[i];
            assert!((r.log_sum - log_sum).abs() < 1e-4 && (r.entropy - entropy).abs() < 1e-4);
            assert_eq!(r.top.iter().map(|t| t.0 as usize).collect::<Vec<_>>(), order[..3]);
            assert_eq!(order[r.asked[0].1 as usize], i * 9);
        }
    }

    #[test]
    fn caps_scales_and_biases_follow_the_matrix() {
        let cap = vec![Step::Scale { by: 0.1, add: 0.0 }, Step::Tanh, Step::Scale { by: 10.0, add: 0.0 }];
        let capped = Head { bias: Some(&[0.0, 1.0]), after: cap, ..head(&[100.0, 1.0], 1) };
        let reduced = reduce(&capped, &[row(&[1.0], &[0, 1])], 2).remove(0);
        let [(first, _), (second, _)] = reduced.asked[..] else { panic!("two were asked for") };
        assert!((first - 10.0).abs() < 1e-4 && (second - 10.0 * 0.2_f32.tanh()).abs() < 1e-5, "{reduced:?}");
        assert_eq!(reduced.top.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_the_others_keep_their_shares() {
        let weights = [1.0, f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
        let reduced = reduce(&head(&weights, 1), &[row(&[1.0], &[1, 2])], 9).remove(0);
        assert_eq!((reduced.not_finite, &reduced.top[..]), (3, &[(0, 1.0), (2, 1.0)][..]));
        assert!((reduced.p(1.0) - 0.5).abs() < 1e-6 && (reduced.entropy - 1.0).abs() < 1e-6);
        assert!(reduced.p(reduced.asked[0].0) == 0.0 && reduced.asked[1].1 == 0);
        let nothing = reduce(&head(&weights, 1), &[row(&[f32::NAN], &[0])], 1).remove(0);
        assert_eq!((nothing.not_finite, nothing.entropy, nothing.p(f32::NAN)), (5, 0.0, 0.0));
        assert!(nothing.top.is_empty());
    }

    #[test]
    fn of_equal_logits_the_first_stay_ahead_in_every_tile() {
        let weights = vec![1.0; 40_000];
        let reduced = reduce(&head(&weights, 1), &[row(&[2.0], &[39_999])], 3).remove(0);
        assert_eq!(reduced.top, [(0, 2.0), (1, 2.0), (2, 2.0)]);
        assert_eq!(reduced.asked[0], (2.0, 0));
        assert!((reduced.entropy - 40_000_f64.log2()).abs() < 1e-4);
    }
}
