//! A block of any quantised type taken apart into what it stores: scales, minimums, quants, grid points. Put together
//! again by one formula these are, bit for bit, the numbers that ggml dequantises:
//!
//! ```text
//! value = scale[sub-block] · (quant + shift[grid point]) + min[sub-block]
//! ```
//!
//! where types without a shift or minimum leave that term out. Where each field lies follows ggml-quants.c
//! (`dequantize_row_*`), the structs are ggml-common.h's.

mod codebook;
mod k;
mod simple;
#[cfg(test)]
mod tests;

use crate::ggml::{GgmlType, blocks, sys};

/// Elements of the largest block (`QK_K`).
pub const MAX_ELEMENTS: usize = 256;
/// Sub-blocks of a block at most.
pub const MAX_SUB_BLOCKS: usize = 16;
/// Grid points of a block at most: iq3 has one for four quants.
const MAX_POINTS: usize = 64;

/// A point of a codebook's grid, which stands for four or eight quants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Its index in the grid.
    pub index: u16,
    /// Signs of its quants, one bit each, lowest first: where the type keeps them apart from the grid.
    pub signs: Option<u8>,
    /// What is added to its quants before they are scaled (iq1: an eighth, up or down).
    pub shift: Option<f32>,
}

/// The parts of one block. It is large, and made to be filled again and again.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Elements of the block.
    pub elements: usize,
    /// Sub-blocks, of equally many elements each; 1 if the block has one scale.
    pub sub_blocks: usize,
    /// The scale of the whole block, if it has one.
    pub d: Option<f32>,
    /// The scale of its minimums, or its one minimum.
    pub dmin: Option<f32>,
    /// What is stored of each sub-block's scale: the integer that the type's formula multiplies with `d`.
    pub scale_codes: Option<[i16; MAX_SUB_BLOCKS]>,
    /// What is stored of each sub-block's minimum, an integer to be multiplied with `dmin`.
    pub min_codes: Option<[i16; MAX_SUB_BLOCKS]>,
    /// Scale of each sub-block.
    pub scales: [f32; MAX_SUB_BLOCKS],
    /// What is added to each element of a sub-block: its least value, for quants that begin at 0.
    pub mins: Option<[f32; MAX_SUB_BLOCKS]>,
    /// The quant of each element, as it is multiplied.
    pub quants: [i8; MAX_ELEMENTS],
    /// Grid points, if it has any.
    pub points: usize,
    /// Each grid point.
    pub grid: [Point; MAX_POINTS],
}

impl Default for Parts {
    fn default() -> Parts {
        Parts {
            elements: 0,
            sub_blocks: 1,
            d: None,
            dmin: None,
            scale_codes: None,
            min_codes: None,
            scales: [0.0; MAX_SUB_BLOCKS],
            mins: None,
            quants: [0; MAX_ELEMENTS],
            points: 0,
            grid: [Point::default(); MAX_POINTS],
        }
    }
}

impl Parts {
    /// Takes the block apart that `bytes`, of just its size, hold. Of a type without blocks nothing is done.
    pub fn fill(&mut self, ty: GgmlType, bytes: &[u8]) -> bool {
        use blocks::read;
        let kept = (self.quants, self.grid);
        *self = Parts { elements: ty.block_size() as usize, quants: kept.0, grid: kept.1, ..Parts::default() };
        match ty.id() {
            sys::GGML_TYPE_Q1_0 => self.q1_0(&read(bytes)),
            sys::GGML_TYPE_Q2_0 => self.q2_0(&read(bytes)),
            sys::GGML_TYPE_Q4_0 => self.q4_0(&read(bytes)),
            sys::GGML_TYPE_Q4_1 => self.q4_1(&read(bytes)),
            sys::GGML_TYPE_Q5_0 => self.q5_0(&read(bytes)),
            sys::GGML_TYPE_Q5_1 => self.q5_1(&read(bytes)),
            sys::GGML_TYPE_Q8_0 => self.q8_0(&read(bytes)),
            sys::GGML_TYPE_Q8_1 => self.q8_1(&read(bytes)),
            sys::GGML_TYPE_Q8_K => self.q8_k(&read(bytes)),
            sys::GGML_TYPE_MXFP4 => self.mxfp4(&read(bytes)),
            sys::GGML_TYPE_NVFP4 => self.nvfp4(&read(bytes)),
            sys::GGML_TYPE_TQ1_0 => self.tq1_0(&read(bytes)),
            sys::GGML_TYPE_TQ2_0 => self.tq2_0(&read(bytes)),
            sys::GGML_TYPE_IQ4_NL => self.iq4_nl(&read(bytes)),
            sys::GGML_TYPE_IQ4_XS => self.iq4_xs(&read(bytes)),
            sys::GGML_TYPE_Q2_K => self.q2_k(&read(bytes)),
            sys::GGML_TYPE_Q3_K => self.q3_k(&read(bytes)),
            sys::GGML_TYPE_Q4_K => self.q4_k(&read(bytes)),
            sys::GGML_TYPE_Q5_K => self.q5_k(&read(bytes)),
            sys::GGML_TYPE_Q6_K => self.q6_k(&read(bytes)),
            sys::GGML_TYPE_IQ1_S => self.iq1_s(&read(bytes)),
            sys::GGML_TYPE_IQ1_M => self.iq1_m(&read(bytes)),
            sys::GGML_TYPE_IQ2_XXS => self.iq2_xxs(&read(bytes)),
            sys::GGML_TYPE_IQ2_XS => self.iq2_xs(&read(bytes)),
            sys::GGML_TYPE_IQ2_S => self.iq2_s(&read(bytes)),
            sys::GGML_TYPE_IQ3_XXS => self.iq3_xxs(&read(bytes)),
            sys::GGML_TYPE_IQ3_S => self.iq3_s(&read(bytes)),
            _ => return false,
        }
        true
    }

    /// The value of element `i`, by the formula.
    pub fn value(&self, i: usize) -> f32 {
        let sub_block = i * self.sub_blocks / self.elements;
        let mut quant = f32::from(self.quants[i]);
        if self.points > 0
            && let Some(shift) = self.grid[i * self.points / self.elements].shift
        {
            quant += shift;
        }
        let scaled = self.scales[sub_block] * quant;
        self.mins.map_or(scaled, |mins| scaled + mins[sub_block])
    }

    /// A block that is one sub-block with the scale `d`.
    fn one_scale(&mut self, d: f32) {
        self.d = Some(d);
        self.scales[0] = d;
    }

    /// A block with `codes` of sub-block scales and what each makes of `d`.
    fn sub_scales<const N: usize>(&mut self, d: f32, codes: [i16; N], scale: impl Fn(f32, f32) -> f32) {
        self.d = Some(d);
        self.sub_blocks = N;
        let mut padded = [0; MAX_SUB_BLOCKS];
        padded[..N].copy_from_slice(&codes);
        self.scale_codes = Some(padded);
        for (out, code) in self.scales.iter_mut().zip(codes) {
            *out = scale(d, f32::from(code));
        }
    }

    /// Quants of 4 bits as most types lay out each `2 * half` elements: low halves of `half` bytes, then high halves.
    fn nibbles(&mut self, bytes: &[u8], half: usize, quant: impl Fn(u8) -> i8) {
        for (bytes, out) in bytes.chunks_exact(half).zip(self.quants.chunks_exact_mut(2 * half)) {
            let (low, high) = out.split_at_mut(half);
            for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
                (*low, *high) = (quant(byte & 0xf), quant(byte >> 4));
            }
        }
    }
}
