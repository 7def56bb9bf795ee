//! Rows times a model's output matrix, which is dequantised a tile at a time on all cores: neither the whole matrix nor the
//! logits of all rows are ever in memory. What is kept of a row's logits are the largest, their softmax's normaliser and
//! entropy, and the ranks of tokens that were asked for.

use super::LayersError;
use super::head::Step;
use crate::inside::softmax::rounded;
use ggscope_model::ggml::GgmlType;
use rayon::prelude::*;

/// Floats of a tile: small enough for a core's cache.
const TILE: usize = 1 << 17;
/// Rows that are multiplied at a time.
const ROWS: usize = 512;
/// Elements that share a scale where ggml multiplies with types of 256 elements (`QK_K`).
const QK_K: usize = 256;

/// The output matrix, `[n_in, n_out]`, as it lies in the file, and what follows it.
pub(super) struct Output<'m> {
    pub ty: GgmlType,
    pub bytes: &'m [u8],
    pub n_in: usize,
    pub n_out: usize,
    /// A number for each row of the matrix.
    pub bias: Option<Vec<f32>>,
    /// Scales and caps behind it.
    pub after: Vec<Step>,
}

/// What is kept of the logits of one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reduced {
    /// The largest logits, largest first.
    pub top: Vec<(u32, f32)>,
    /// ln Σ exp(logit).
    pub log_sum: f64,
    /// Entropy of the softmax in bits.
    pub entropy: f64,
    /// For each token that was asked for: its logit, and how many have a larger one.
    pub wanted: Vec<(f32, u64)>,
    /// Logits that are NaN.
    pub nan: u64,
}

impl Reduced {
    /// Share of a logit in the softmax.
    pub fn p(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum).exp() as f32
    }
}

/// Sums that grow with every logit.
#[derive(Clone)]
struct Sums {
    max: f32,
    exp: f64,
    /// Σ exp(logit - max) · logit.
    weighted: f64,
    top: Vec<(u32, f32)>,
    above: Vec<u64>,
    nan: u64,
}

impl Sums {
    fn new(wanted: usize) -> Sums {
        Sums { max: f32::NEG_INFINITY, exp: 0.0, weighted: 0.0, top: vec![], above: vec![0; wanted], nan: 0 }
    }

    fn rescale(&mut self, max: f32) {
        if max > self.max {
            let factor = if self.max == f32::NEG_INFINITY { 0.0 } else { f64::from(self.max - max).exp() };
            (self.exp, self.weighted, self.max) = (self.exp * factor, self.weighted * factor, max);
        }
    }

    /// Takes in logits of the tokens from `first` on.
    fn take(&mut self, first: usize, logits: &[f32], keep: usize, wanted: &[(u32, f32)]) {
        self.rescale(logits.iter().copied().filter(|l| !l.is_nan()).fold(f32::NEG_INFINITY, f32::max));
        for (id, &logit) in (first as u32..).zip(logits) {
            if logit.is_nan() {
                self.nan += 1;
                continue;
            }
            let exp = f64::from((logit - self.max).exp());
            self.exp += exp;
            if exp > 0.0 {
                self.weighted += exp * f64::from(logit);
            }
            for (above, &(token, least)) in self.above.iter_mut().zip(wanted) {
                *above += u64::from(logit > least && id != token);
            }
            self.push(id, logit, keep);
        }
    }

    fn push(&mut self, id: u32, logit: f32, keep: usize) {
        if self.top.len() < keep || self.top.last().is_some_and(|last| logit > last.1) {
            // Of equal ones the first stays ahead, as in llama.cpp's greedy sampling.
            let at = self.top.partition_point(|other| other.1 > logit || (other.1 == logit && other.0 < id));
            self.top.insert(at, (id, logit));
            self.top.truncate(keep);
        }
    }

    fn merge(mut self, other: Sums, keep: usize) -> Sums {
        self.rescale(other.max);
        let factor = if other.max == f32::NEG_INFINITY { 0.0 } else { f64::from(other.max - self.max).exp() };
        self.exp += other.exp * factor;
        self.weighted += other.weighted * factor;
        self.nan += other.nan;
        self.above.iter_mut().zip(other.above).for_each(|(a, b)| *a += b);
        other.top.into_iter().for_each(|(id, logit)| self.push(id, logit, keep));
        self
    }

    fn reduced(self, wanted: &[(u32, f32)]) -> Reduced {
        let log_sum = f64::from(self.max) + self.exp.ln();
        let entropy = ((log_sum - self.weighted / self.exp) / std::f64::consts::LN_2).max(0.0);
        let wanted = wanted.iter().zip(self.above).map(|(w, above)| (w.1, above)).collect();
        Reduced { top: self.top, log_sum, entropy, wanted, nan: self.nan }
    }
}

impl Output<'_> {
    fn row_bytes(&self) -> usize {
        self.ty.row_size(self.n_in as u64).unwrap_or(0) as usize
    }

    /// Rows as the matrix is multiplied with them: rounded to the type that ggml's CPU backend takes for it.
    fn rounded(&self, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        for row in x.chunks_exact_mut(self.n_in) {
            if self.ty.block_size() == QK_K as u64 {
                row.chunks_exact_mut(QK_K).for_each(round_to_q8_k);
            } else {
                rounded(row, self.ty);
            }
        }
        x
    }

    /// The logits of some tokens for one row.
    fn some(&self, x: &[f32], tokens: &[u32]) -> Result<Vec<f32>, LayersError> {
        let mut weights = vec![0.0; self.n_in];
        let mut of = |&token: &u32| {
            self.dequantise(token as usize, &mut weights)?;
            let mut logit = [super::measure::dot(&weights, x) as f32];
            self.finish(token as usize, &mut logit);
            Ok(logit[0])
        };
        tokens.iter().map(&mut of).collect()
    }

    /// Rows of the matrix from number `first` on, as many as fit.
    fn dequantise(&self, first: usize, out: &mut [f32]) -> Result<(), LayersError> {
        let bytes = self.row_bytes();
        let end = first + out.len() / self.n_in;
        let some = self.bytes.get(first * bytes..end * bytes);
        let some = some.ok_or_else(|| LayersError::Model("its output matrix is smaller than its shape says".into()))?;
        self.ty.dequantize(some, out).map_err(|e| LayersError::Model(e.to_string()))
    }

    /// What is done to the logits of the tokens from `first` on behind the matrix.
    fn finish(&self, first: usize, logits: &mut [f32]) {
        if let Some(bias) = &self.bias {
            logits.iter_mut().zip(&bias[first.min(bias.len())..]).for_each(|(l, b)| *l += b);
        }
        for step in &self.after {
            match *step {
                Step::Scale { by, add } => logits.iter_mut().for_each(|l| *l = *l * by + add),
                Step::Tanh => logits.iter_mut().for_each(|l| *l = l.tanh()),
                _ => {}
            }
        }
    }

    /// All logits of one row: for a comparison with llama.cpp's own.
    pub fn all(&self, x: &[f32]) -> Result<Vec<f32>, LayersError> {
        let x = self.rounded(x);
        let mut logits = vec![0.0; self.n_out];
        let tile = self.tile();
        logits.par_chunks_mut(tile).enumerate().try_for_each(|(i, out)| {
            let mut weights = vec![0.0; out.len() * self.n_in];
            self.dequantise(i * tile, &mut weights)?;
            multiply(&weights, &x, self.n_in, out);
            self.finish(i * tile, out);
            Ok::<(), LayersError>(())
        })?;
        Ok(logits)
    }

    fn tile(&self) -> usize {
        (TILE / self.n_in.max(1)).clamp(16, 4096)
    }

    /// Reduces the logits of every row of `x`, `[n_in, n]`, to the `keep` largest, and what is wanted for each row.
    pub fn reduce(&self, x: &[f32], keep: usize, wanted: &[Vec<u32>]) -> Result<Vec<Reduced>, LayersError> {
        let x = self.rounded(x);
        let mut all = vec![];
        for (x, wanted) in x.chunks(ROWS * self.n_in).zip(wanted.chunks(ROWS)) {
            all.extend(self.reduce_some(x, keep, wanted)?);
        }
        Ok(all)
    }

    fn reduce_some(&self, x: &[f32], keep: usize, wanted: &[Vec<u32>]) -> Result<Vec<Reduced>, LayersError> {
        let with_logits = |(x, tokens): (&[f32], &Vec<u32>)| {
            let logits = self.some(x, tokens)?;
            Ok(tokens.iter().copied().zip(logits).collect())
        };
        let wanted: Vec<Vec<(u32, f32)>> =
            x.par_chunks(self.n_in).zip(wanted).map(with_logits).collect::<Result<_, LayersError>>()?;
        let (n, tile) = (wanted.len(), self.tile());
        let new = || wanted.iter().map(|w| Sums::new(w.len())).collect::<Vec<Sums>>();
        let take = |mut sums: Vec<Sums>, i: usize| -> Result<Vec<Sums>, LayersError> {
            let rows = tile.min(self.n_out - i * tile);
            let mut weights = vec![0.0; rows * self.n_in];
            self.dequantise(i * tile, &mut weights)?;
            let mut logits = vec![0.0; rows * n];
            multiply(&weights, x, self.n_in, &mut logits);
            for ((sums, logits), wanted) in sums.iter_mut().zip(logits.chunks_exact_mut(rows)).zip(&wanted) {
                self.finish(i * tile, logits);
                sums.take(i * tile, logits, keep, wanted);
            }
            Ok(sums)
        };
        let merge = |a: Vec<Sums>, b: Vec<Sums>| Ok(a.into_iter().zip(b).map(|(a, b)| a.merge(b, keep)).collect());
        let tiles = self.n_out.div_ceil(tile);
        let sums = (0..tiles).into_par_iter().try_fold(new, take).try_reduce(new, merge)?;
        Ok(sums.into_iter().zip(&wanted).map(|(sums, wanted)| sums.reduced(wanted)).collect())
    }
}

/// `out[i][j] = weights[j] · x[i]`, all rows of `n` elements and stored one after the other.
fn multiply(weights: &[f32], x: &[f32], n: usize, out: &mut [f32]) {
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

/// Rounds 256 elements as `quantize_row_q8_K` does: to 127 steps of the largest magnitude. NaN stays.
fn round_to_q8_k(x: &mut [f32]) {
    let largest = x.iter().copied().fold(0.0_f32, |max, v| if v.abs() > max.abs() { v } else { max });
    if largest == 0.0 || !largest.is_finite() {
        return;
    }
    let inverse = -127.0 / largest;
    x.iter_mut().for_each(|v| *v = (*v * inverse).round_ties_even().min(127.0) / inverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn output(bytes: &[u8], n_in: usize, after: Vec<Step>) -> Output<'_> {
        Output { ty: GgmlType::F32, bytes, n_in, n_out: bytes.len() / 4 / n_in, bias: None, after }
    }

    #[test]
    fn a_row_becomes_the_softmax_of_the_textbook() {
        // ln 1, ln 2, ln 5 as logits: shares of 1/8, 2/8, 5/8.
        let weights = bytes(&[1.0_f32.ln(), 0.0, 2.0_f32.ln(), 0.0, 5.0_f32.ln(), 0.0]);
        let reduced = output(&weights, 2, vec![]).reduce(&[1.0, 7.0], 2, &[vec![1]]).unwrap().remove(0);
        assert_eq!(reduced.top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1]);
        assert!((reduced.p(reduced.top[0].1) - 0.625).abs() < 1e-6);
        let entropy: f64 = [0.125_f64, 0.25, 0.625].iter().map(|p| -p * p.log2()).sum();
        assert!((reduced.entropy - entropy).abs() < 1e-6, "{} bits", reduced.entropy);
        assert_eq!(reduced.wanted[0].1, 1, "one is more likely");
    }

    #[test]
    fn tiles_threads_and_blocks_of_rows_change_nothing() {
        let mut state = 7_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let (n_in, n_out, n) = (64, 10_000, ROWS + 3);
        let weights: Vec<f32> = (0..n_in * n_out).map(|_| random()).collect();
        let x: Vec<f32> = (0..n_in * n).map(|_| random()).collect();
        let raw = bytes(&weights);
        let output = output(&raw, n_in, vec![]);
        let wanted: Vec<Vec<u32>> = (0..n).map(|i| vec![(i * 17) as u32]).collect();
        let reduced = output.reduce(&x, 3, &wanted).unwrap();
        assert_eq!(reduced.len(), n);
        for i in [0, 1, ROWS, n - 1] {
            let x = &x[i * n_in..(i + 1) * n_in];
            let logits: Vec<f64> =
                weights.chunks_exact(n_in).map(|w| crate::inside::layers::measure::dot(w, x)).collect();
            let log_sum = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
            let entropy: f64 = logits.iter().map(|l| -(l - log_sum).exp() * (l - log_sum) / 2.0_f64.ln()).sum();
            let mut order: Vec<usize> = (0..n_out).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let r = &reduced[i];
            assert!((r.log_sum - log_sum).abs() < 1e-4 && (r.entropy - entropy).abs() < 1e-3);
            assert_eq!(r.top.iter().map(|t| t.0 as usize).collect::<Vec<_>>(), order[..3]);
            assert_eq!(order[r.wanted[0].1 as usize], i * 17);
            let all = output.all(x).unwrap();
            assert!(all.iter().zip(&logits).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4));
        }
    }

    #[test]
    fn caps_scales_and_biases_follow_the_matrix() {
        let weights = bytes(&[100.0, 1.0]);
        let cap = vec![Step::Scale { by: 0.1, add: 0.0 }, Step::Tanh, Step::Scale { by: 10.0, add: 0.0 }];
        let mut capped = output(&weights, 1, cap);
        capped.bias = Some(vec![0.0, 1.0]);
        let logits = capped.all(&[1.0]).unwrap();
        assert!((logits[0] - 10.0).abs() < 1e-4 && (logits[1] - 10.0 * 0.2_f32.tanh()).abs() < 1e-5, "{logits:?}");
    }

    #[test]
    fn nan_is_counted_and_the_others_keep_their_shares() {
        let weights = bytes(&[1.0, f32::NAN, 1.0]);
        let reduced = output(&weights, 1, vec![]).reduce(&[1.0], 3, &[vec![]]).unwrap().remove(0);
        assert_eq!((reduced.nan, reduced.top.len()), (1, 2));
        assert!((reduced.p(1.0) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn rounding_for_types_of_256_elements_keeps_127_steps() {
        let mut x: Vec<f32> = (0..256).map(|i| i as f32 / 3.0).collect();
        let exact = x.clone();
        round_to_q8_k(&mut x);
        let step = exact[255] / 127.0;
        assert!(x.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= step * 0.501));
        assert_ne!(x[1], exact[1]);
    }
}
