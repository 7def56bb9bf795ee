//! K-quants: super-blocks of 256 elements, whose sub-blocks have scales (and minimums) of 4 to 8 bits that share a 16-bit
//! one. Quants are packed by halves of 128 elements, several elements of equal place in a byte.

use super::{MAX_SUB_BLOCKS, Parts};
use crate::ggml::blocks::{half, pair};
use crate::ggml::sys;

impl Parts {
    pub(super) fn q2_k(&mut self, b: &sys::block_q2_K) {
        let (d, dmin) = pair!(b, d, dmin);
        self.sub_scales(d, b.scales.map(|code| i16::from(code & 0xf)), |d, code| d * code);
        self.sub_mins(dmin, b.scales.map(|code| i16::from(code >> 4)));
        for (i, q) in self.quants.iter_mut().enumerate() {
            *q = two_bits(&b.qs, i) as i8;
        }
    }

    pub(super) fn q3_k(&mut self, b: &sys::block_q3_K) {
        let codes = std::array::from_fn::<i16, 16, _>(|i| {
            let low = b.scales[i % 8] >> (4 * (i / 8)) & 0xf;
            let high = b.scales[8 + i % 4] >> (2 * (i / 4)) & 3;
            i16::from(low | high << 4) - 32
        });
        self.sub_scales(half(b.d), codes, |d, code| d * code);
        for (i, q) in self.quants.iter_mut().enumerate() {
            // A bit of hmask that is not set takes 4 away.
            let high = b.hmask[i % 32] >> (i / 32) & 1;
            *q = (two_bits(&b.qs, i) | high << 2) as i8 - 4;
        }
    }

    pub(super) fn q4_k(&mut self, b: &sys::block_q4_K) {
        let (d, dmin) = pair!(b, d, dmin);
        self.six_bit_scales(d, dmin, &b.scales);
        self.nibbles(&b.qs, 32, |q| q as i8);
    }

    pub(super) fn q5_k(&mut self, b: &sys::block_q5_K) {
        let (d, dmin) = pair!(b, d, dmin);
        self.six_bit_scales(d, dmin, &b.scales);
        self.nibbles(&b.qs, 32, |q| q as i8);
        for (i, q) in self.quants.iter_mut().enumerate() {
            *q |= ((b.qh[i % 32] >> (i / 32) & 1) << 4) as i8;
        }
    }

    pub(super) fn q6_k(&mut self, b: &sys::block_q6_K) {
        self.sub_scales(half(b.d), b.scales.map(i16::from), |d, code| d * code);
        for (i, q) in self.quants.iter_mut().enumerate() {
            let (part, quarter) = (i / 128, i % 128 / 32);
            let low = b.ql[part * 64 + i % 64] >> (4 * (quarter / 2)) & 0xf;
            let high = b.qh[part * 32 + i % 32] >> (2 * quarter) & 3;
            *q = (low | high << 4) as i8 - 32;
        }
    }

    fn sub_mins<const N: usize>(&mut self, dmin: f32, codes: [i16; N]) {
        self.dmin = Some(dmin);
        let (mut padded, mut mins) = ([0; MAX_SUB_BLOCKS], [0.0; MAX_SUB_BLOCKS]);
        padded[..N].copy_from_slice(&codes);
        for (min, code) in mins.iter_mut().zip(codes) {
            *min = -(dmin * f32::from(code));
        }
        (self.min_codes, self.mins) = (Some(padded), Some(mins));
    }

    /// Eight scales and eight minimums of 6 bits in 12 bytes (`get_scale_min_k4`).
    fn six_bit_scales(&mut self, d: f32, dmin: f32, packed: &[u8; 12]) {
        let code = |i: usize, minimum: bool| {
            let first = if minimum { 4 } else { 0 };
            if i < 4 {
                return i16::from(packed[first + i] & 63);
            }
            let low = packed[i + 4] >> first & 0xf;
            i16::from(low | packed[first + i - 4] >> 6 << 4)
        };
        self.sub_scales(d, std::array::from_fn::<i16, 8, _>(|i| code(i, false)), |d, code| d * code);
        self.sub_mins(dmin, std::array::from_fn::<i16, 8, _>(|i| code(i, true)));
    }
}

/// Quant `i` of 2 bits: a byte has those of elements 32 apart, of each half of 128.
fn two_bits(qs: &[u8; 64], i: usize) -> u8 {
    qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3
}
