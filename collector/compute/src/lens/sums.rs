//! What is kept of a row's logits while tiles of them go by: the greatest, and sums beside it that are put right when a greater
//! one comes (the online softmax of Milakov and Gimelshein 2018); the largest ones in order; ranks. Loops are written so that
//! the compiler turns them into vector instructions.

use super::{Beside, Reduced};
use crate::curves::exp_below;
use multiversion::{multiversion, target::target_cfg_f};

/// Logits that are looked at side by side.
const LANES: usize = 16;

/// Sums that grow with every logit.
#[derive(Clone)]
pub(super) struct Sums {
    /// The greatest logit.
    most: f32,
    /// Σ exp(logit - most).
    exp: f64,
    /// Σ exp(logit - most) · (logit - most).
    weighted: f64,
    top: Vec<(u32, f32)>,
    above: Vec<u64>,
    not_finite: u64,
    /// The largest difference, the squares of differences, those of theirs.
    beside: (f32, f64, f64),
}

impl Sums {
    pub fn new(asked: usize) -> Sums {
        let (most, beside) = (f32::NEG_INFINITY, (0.0, 0.0, 0.0));
        Sums { most, exp: 0.0, weighted: 0.0, top: vec![], above: vec![0; asked], not_finite: 0, beside }
    }

    /// Measures the sums by another greatest logit.
    fn raise(&mut self, most: f32) {
        if most <= self.most {
            return;
        }
        if self.most > f32::NEG_INFINITY {
            let minus = f64::from(self.most) - f64::from(most);
            let factor = minus.exp();
            (self.exp, self.weighted) = (self.exp * factor, (self.weighted + self.exp * minus) * factor);
        }
        self.most = most;
    }

    /// Takes in logits of the tokens from `first` on. `asked`: tokens with their logits. `theirs`: logits to compare with.
    pub fn take(&mut self, first: usize, logits: &[f32], keep: usize, asked: &[(u32, f32)], theirs: Option<&[f32]>) {
        let (most, not_finite) = survey(logits);
        self.not_finite += not_finite;
        self.raise(most);
        if most > f32::NEG_INFINITY {
            let (exp, weighted) = exponentials(logits, self.most);
            self.exp += exp;
            self.weighted += weighted;
        }
        for (above, &(token, least)) in self.above.iter_mut().zip(asked) {
            // Its own logit, in another order of additions, is not above itself.
            let own = (token as usize).checked_sub(first).and_then(|i| logits.get(i));
            *above += greater(logits, least) - u64::from(own.is_some_and(|&own| own.is_finite() && own > least));
        }
        let mut from = 0;
        while let Some(chunk) = next_above(logits, from, self.least(keep)) {
            for (id, &logit) in (first + chunk..).zip(logits[chunk..].iter().take(LANES)) {
                if logit.is_finite() {
                    self.push(id as u32, logit, keep);
                }
            }
            from = chunk + LANES;
        }
        if let Some(theirs) = theirs {
            let finite = |v: f32| if v.is_finite() { f64::from(v) } else { 0.0 };
            for (&ours, &theirs) in logits.iter().zip(theirs) {
                let difference = finite(ours - theirs);
                self.beside.0 = self.beside.0.max(difference.abs() as f32);
                self.beside.1 += difference * difference;
                self.beside.2 += finite(theirs) * finite(theirs);
            }
        }
    }

    /// What a logit has to be above to be among the largest.
    fn least(&self, keep: usize) -> f32 {
        self.top.get(keep - 1).map_or(f32::NEG_INFINITY, |last| last.1)
    }

    fn push(&mut self, id: u32, logit: f32, keep: usize) {
        // Of equal ones the first stays ahead, as in llama.cpp's greedy sampling.
        let at = self.top.partition_point(|other| other.1 > logit || (other.1 == logit && other.0 < id));
        if at < keep {
            self.top.truncate(keep - 1);
            self.top.insert(at, (id, logit));
        }
    }

    /// Takes in what was kept of the logits that follow.
    pub fn merge(mut self, other: Sums, keep: usize) -> Sums {
        let mut other = other;
        self.raise(other.most);
        other.raise(self.most);
        self.exp += other.exp;
        self.weighted += other.weighted;
        self.not_finite += other.not_finite;
        self.above.iter_mut().zip(other.above).for_each(|(a, b)| *a += b);
        other.top.into_iter().for_each(|(id, logit)| self.push(id, logit, keep));
        let (apart, squares, lengths) = other.beside;
        self.beside = (self.beside.0.max(apart), self.beside.1 + squares, self.beside.2 + lengths);
        self
    }

    pub fn reduced(self, asked: &[(u32, f32)], compared: bool) -> Reduced {
        let asked = asked.iter().zip(self.above).map(|(a, above)| (a.1, above)).collect();
        let beside = compared.then_some(self.beside);
        reduced(self.most, [self.exp, self.weighted], self.top, asked, self.not_finite, beside)
    }
}

/// What follows from the sums.
pub(crate) fn reduced(
    most: f32,
    [exp, weighted]: [f64; 2],
    top: Vec<(u32, f32)>,
    asked: Vec<(f32, u64)>,
    not_finite: u64,
    beside: Option<(f32, f64, f64)>,
) -> Reduced {
    // With no finite logit there is no softmax.
    let entropy = if exp > 0.0 { (exp.ln() - weighted / exp) / std::f64::consts::LN_2 } else { 0.0 };
    let beside = beside.map(|(largest_difference, squares, lengths)| Beside {
        largest_difference,
        relative_error: (lengths > 0.0).then(|| (squares / lengths).sqrt() as f32),
    });
    Reduced { top, log_sum: f64::from(most) + exp.ln(), entropy: entropy.max(0.0), asked, not_finite, beside }
}

/// The greatest finite logit, and how many are not finite.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn survey(logits: &[f32]) -> (f32, u64) {
    let (mut most, mut odd) = ([f32::NEG_INFINITY; LANES], [0_u32; LANES]);
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let finite = chunk[lane].abs() <= f32::MAX;
            most[lane] = if finite && chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            odd[lane] += u32::from(!finite);
        }
    }
    for &logit in rest {
        let finite = logit.is_finite();
        most[0] = if finite { most[0].max(logit) } else { most[0] };
        odd[0] += u32::from(!finite);
    }
    (most.into_iter().fold(f32::NEG_INFINITY, f32::max), odd.into_iter().map(u64::from).sum())
}

/// Σ exp(logit - most) and Σ exp(logit - most) · (logit - most) of the finite ones.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn exponentials(logits: &[f32], most: f32) -> (f64, f64) {
    let fma = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    let (mut exps, mut weighted) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let finite = chunk[lane].abs() <= f32::MAX;
            let logit = if finite { chunk[lane] } else { f32::NEG_INFINITY };
            let exp = exp_below(fma, logit, most);
            exps[lane] += exp;
            weighted[lane] += if finite { exp * (chunk[lane] - most) } else { 0.0 };
        }
    }
    for &logit in rest.iter().filter(|logit| logit.is_finite()) {
        let exp = exp_below(fma, logit, most);
        exps[0] += exp;
        weighted[0] += exp * (logit - most);
    }
    let sum = |lanes: [f32; LANES]| lanes.into_iter().map(f64::from).sum();
    (sum(exps), sum(weighted))
}

/// How many finite logits are above one.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn greater(logits: &[f32], least: f32) -> u64 {
    let mut counts = [0_u32; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            counts[lane] += u32::from(chunk[lane] > least && chunk[lane] < f32::INFINITY);
        }
    }
    counts[0] += rest.iter().filter(|&&logit| logit > least && logit < f32::INFINITY).count() as u32;
    counts.into_iter().map(u64::from).sum()
}

/// Where the next logits begin, from `from` on, of which one is finite and above `least`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn next_above(logits: &[f32], from: usize, least: f32) -> Option<usize> {
    let above = |logit: f32| logit > least && logit < f32::INFINITY;
    let (chunks, rest) = logits.get(from..)?.as_chunks::<LANES>();
    let found = chunks.iter().position(|chunk| chunk.iter().fold(false, |any, &logit| any | above(logit)));
    let last = || rest.iter().any(|&logit| above(logit)).then_some(chunks.len());
    found.or_else(last).map(|chunk| from + chunk * LANES)
}
