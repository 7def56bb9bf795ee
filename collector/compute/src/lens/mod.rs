//! The arithmetic of the logit lens: rows through a norm and a large matrix to logits, of which only what is asked is kept: the
//! largest, the softmax's normaliser and entropy, ranks. Neither the whole matrix as numbers nor the logits of all rows are
//! ever in memory. On the CPU, or on a GPU with cuBLAS.

mod cpu;
mod prepare;
mod sums;

use crate::compute::{Compute, Place, Ran};
use crate::error::{Error, option};
use crate::gpu;
use crate::statistics::Values;
#[cfg(any(test, feature = "testing"))]
pub(crate) use cpu::multiply;
pub(crate) use sums::reduced;

/// Products that are worth the trip to a GPU. An estimate: the CPU takes about a second for them.
const PRODUCTS: u64 = 40_000_000_000;

/// One operation on a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
    /// x / sqrt(mean(x²) + eps).
    RmsNorm(f32),
    /// (x - mean) / sqrt(variance + eps).
    LayerNorm(f32),
    /// Element by element, by these.
    Mul(&'a [f32]),
    /// Element by element, these.
    Add(&'a [f32]),
    /// `x * by + add`.
    Scale {
        /// Factor.
        by: f32,
        /// Summand.
        add: f32,
    },
    /// Between two scalings it is a soft cap.
    Tanh,
}

/// How a row is rounded before the product: as ggml's CPU backend does it for the type of the matrix (`vec_dot_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum Rounding {
    /// Not at all.
    Exact,
    /// To half precision.
    F16,
    /// To bfloat16.
    BF16,
    /// To 8 bits, of 32 elements with a scale in half precision. A row with NaN or infinities stays.
    Q8_0,
    /// To 8 bits, of 256 elements with a scale. Elements beside an infinity stay.
    Q8_K,
}

/// `scale · b · (a · x)`, x being a row that is not rounded: a LoRA adapter on the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapter<'a> {
    /// `[n_in, rank]`.
    pub a: &'a [f32],
    /// `[rank, n_out]`.
    pub b: &'a [f32],
    /// Columns of `a`, and elements of a row of `b`.
    pub rank: usize,
    /// Factor.
    pub scale: f32,
}

/// From rows to logits.
pub struct Head<'a> {
    /// What is done before the matrix.
    pub before: Vec<Step<'a>>,
    /// How rows are rounded then.
    pub rounding: Rounding,
    /// The matrix, `[n_in, n_out]`.
    pub matrix: Values<'a>,
    /// Elements of a row.
    pub n_in: usize,
    /// Logits of a row.
    pub n_out: usize,
    /// Products with narrow matrices that are added to the matrix's.
    pub adapters: Vec<Adapter<'a>>,
    /// A number for each logit.
    pub bias: Option<&'a [f32]>,
    /// What is done to logits: [`Step::Scale`] and [`Step::Tanh`].
    pub after: Vec<Step<'a>>,
}

/// A row, and what is asked of its logits.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its elements.
    pub state: &'a [f32],
    /// Of these its logits and ranks are wanted.
    pub asked: &'a [u32],
    /// Logits that somebody else computed, to be compared.
    pub theirs: Option<&'a [f32]>,
}

/// What is kept of the logits of one row. Those that are NaN or infinite are left out of everything but their number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reduced {
    /// The largest logits with their numbers, largest first; of equal ones the first.
    pub top: Vec<(u32, f32)>,
    /// ln Σ exp(logit).
    pub log_sum: f64,
    /// Entropy of the softmax in bits.
    pub entropy: f64,
    /// For each that was asked for: its logit, and how many are larger.
    pub asked: Vec<(f32, u64)>,
    /// Logits that are NaN or infinite.
    pub not_finite: u64,
    /// Beside the logits that somebody else computed.
    pub beside: Option<Beside>,
}

/// Logits beside those that somebody else computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// The largest difference.
    pub largest_difference: f32,
    /// Root of the sum of squares of differences, by that of theirs; null if theirs are all 0.
    pub relative_error: Option<f32>,
}

impl Reduced {
    /// Share of a logit in the softmax: 0 if it is not finite.
    pub fn p(&self, logit: f32) -> f32 {
        if logit.is_finite() { (f64::from(logit) - self.log_sum).exp() as f32 } else { 0.0 }
    }
}

impl Head<'_> {
    fn check(&self, rows: &[Row]) -> Result<(), Error> {
        let length = |what, given, wanted| match given == wanted {
            true => Ok(()),
            false => Err(Error::Length { what, given, wanted, of: "elements" }),
        };
        for step in &self.before {
            if let Step::Mul(by) | Step::Add(by) = step {
                length("weights of the norm", by.len(), self.n_in)?;
            }
        }
        if self.n_in == 0 || self.n_out == 0 || u32::try_from(self.n_out).is_err() {
            return Err(option("matrix", format!("{} × {}", self.n_in, self.n_out), "it must have elements"));
        }
        if self.after.iter().any(|step| !matches!(step, Step::Scale { .. } | Step::Tanh)) {
            return Err(option("after", format!("{:?}", self.after), "logits are only scaled and capped"));
        }
        length("matrix", self.matrix.len(), self.n_in * self.n_out)?;
        for adapter in &self.adapters {
            length("first matrix of an adapter", adapter.a.len(), adapter.rank.saturating_mul(self.n_in))?;
            length("second matrix of an adapter", adapter.b.len(), adapter.rank.saturating_mul(self.n_out))?;
        }
        length("bias", self.bias.map_or(self.n_out, <[f32]>::len), self.n_out)?;
        for row in rows {
            length("row", row.state.len(), self.n_in)?;
            length("logits to compare with", row.theirs.map_or(self.n_out, <[f32]>::len), self.n_out)?;
            if let Some(id) = row.asked.iter().find(|&&id| id as usize >= self.n_out) {
                return Err(option("asked", id, "it must be the number of a logit"));
            }
        }
        Ok(())
    }
}

impl Compute {
    /// Reduces the logits of rows to the `keep` largest (1 at least) and what is asked of each. On a GPU logits are within 1e-4
    /// of the largest one of the CPU's, as products are summed up in another order; what follows from them is the same formulas.
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::Option`] if head and rows do not fit; [`Error::Cuda`] and [`Error::Compile`] if a GPU was
    /// asked for.
    pub fn lens(&self, head: &Head, rows: &[Row], keep: usize) -> Result<(Vec<Reduced>, Ran), Error> {
        head.check(rows)?;
        let keep = keep.clamp(1, head.n_out);
        if !head.adapters.is_empty() {
            let why = "an adapter is added to the output matrix".into();
            return Ok((cpu::reduce(head, rows, keep), Ran::Cpu(why)));
        }
        let products = (rows.len() as u64).saturating_mul(head.n_in as u64).saturating_mul(head.n_out as u64);
        let (found, ran) = match self.place(products, PRODUCTS, "multiplications") {
            Err(why) => return Ok((cpu::reduce(head, rows, keep), Ran::Cpu(why))),
            Ok(Place::Cuda(cuda)) => (gpu::reduce(cuda, head, rows, keep, gpu::SIZES), Ran::Cuda(cuda.name.clone())),
            #[cfg(any(test, feature = "testing"))]
            Ok(Place::Emulated(host)) => {
                (gpu::reduce(&*host, head, rows, keep, gpu::SIZES), Ran::Cuda("emulated".into()))
            }
        };
        match self.or_cpu(found)? {
            Ok(reduced) => Ok((reduced, ran)),
            Err(why) => Ok((cpu::reduce(head, rows, keep), Ran::Cpu(why))),
        }
    }
}

/// On the CPU, for tests.
#[cfg(test)]
pub(crate) fn on_cpu(head: &Head, rows: &[Row], keep: usize) -> Vec<Reduced> {
    head.check(rows).unwrap();
    cpu::reduce(head, rows, keep)
}
