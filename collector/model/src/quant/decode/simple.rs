//! Types whose blocks have one scale, or one for each sub-block as it is: the first generation (`q4_0` and kin), ternary
//! ones, 4-bit floats, and 4-bit quants that index a table of values.

use super::Parts;
use crate::ggml::blocks::{e8m0_half, fp4_values, half, iq4nl_values, pair, ue4m3_half};
use crate::ggml::sys;

impl Parts {
    pub(super) fn q1_0(&mut self, b: &sys::block_q1_0) {
        self.one_scale(half(b.d));
        for (i, q) in self.quants[..self.elements].iter_mut().enumerate() {
            *q = if b.qs[i / 8] >> (i % 8) & 1 == 1 { 1 } else { -1 };
        }
    }

    pub(super) fn q2_0(&mut self, b: &sys::block_q2_0) {
        self.one_scale(half(b.d));
        for (i, q) in self.quants[..self.elements].iter_mut().enumerate() {
            *q = (b.qs[i / 4] >> (2 * (i % 4)) & 3) as i8 - 1;
        }
    }

    pub(super) fn q4_0(&mut self, b: &sys::block_q4_0) {
        self.one_scale(half(b.d));
        self.nibbles(&b.qs, 16, |q| q as i8 - 8);
    }

    pub(super) fn q4_1(&mut self, b: &sys::block_q4_1) {
        let (d, m) = pair!(b, d, m);
        self.scale_and_min(d, m);
        self.nibbles(&b.qs, 16, |q| q as i8);
    }

    pub(super) fn q5_0(&mut self, b: &sys::block_q5_0) {
        self.one_scale(half(b.d));
        self.nibbles(&b.qs, 16, |q| q as i8);
        self.fifth_bits(b.qh);
        self.quants[..32].iter_mut().for_each(|q| *q -= 16);
    }

    pub(super) fn q5_1(&mut self, b: &sys::block_q5_1) {
        let (d, m) = pair!(b, d, m);
        self.scale_and_min(d, m);
        self.nibbles(&b.qs, 16, |q| q as i8);
        self.fifth_bits(b.qh);
    }

    pub(super) fn q8_0(&mut self, b: &sys::block_q8_0) {
        self.one_scale(half(b.d));
        self.quants[..32].copy_from_slice(&b.qs);
    }

    pub(super) fn q8_1(&mut self, b: &sys::block_q8_1) {
        self.one_scale(pair!(b, d, s).0);
        self.quants[..32].copy_from_slice(&b.qs);
    }

    pub(super) fn q8_k(&mut self, b: &sys::block_q8_K) {
        self.one_scale(b.d);
        self.quants.copy_from_slice(&b.qs);
    }

    pub(super) fn mxfp4(&mut self, b: &sys::block_mxfp4) {
        self.one_scale(e8m0_half(b.e));
        self.nibbles(&b.qs, 16, |q| fp4_values()[usize::from(q)]);
    }

    pub(super) fn nvfp4(&mut self, b: &sys::block_nvfp4) {
        self.sub_scales(1.0, b.d.map(i16::from), |_, code| ue4m3_half(code as u8));
        // There is no scale above those of the sub-blocks.
        self.d = None;
        self.nibbles(&b.qs, 8, |q| fp4_values()[usize::from(q)]);
    }

    /// Five digits of base 3 in a byte, as the fraction byte/256 (`qs`: 32 bytes, then 16); four in a byte of `qh`.
    pub(super) fn tq1_0(&mut self, b: &sys::block_tq1_0) {
        const POW3: [u8; 5] = [1, 3, 9, 27, 81];
        self.one_scale(half(b.d));
        let runs = [(&b.qs[..32], 5), (&b.qs[32..], 5), (&b.qh[..], 4)];
        let digits = runs.iter().flat_map(|&(bytes, n)| {
            POW3[..n].iter().flat_map(move |&power| {
                bytes.iter().map(move |byte| ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as i8 - 1)
            })
        });
        self.quants.iter_mut().zip(digits).for_each(|(q, digit)| *q = digit);
    }

    pub(super) fn tq2_0(&mut self, b: &sys::block_tq2_0) {
        self.one_scale(half(b.d));
        for (i, q) in self.quants.iter_mut().enumerate() {
            *q = (b.qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3) as i8 - 1;
        }
    }

    pub(super) fn iq4_nl(&mut self, b: &sys::block_iq4_nl) {
        self.one_scale(half(b.d));
        self.nibbles(&b.qs, 16, |q| iq4nl_values()[usize::from(q)]);
    }

    pub(super) fn iq4_xs(&mut self, b: &sys::block_iq4_xs) {
        let codes = std::array::from_fn::<i16, 8, _>(|i| {
            let low = b.scales_l[i / 2] >> (4 * (i % 2)) & 0xf;
            let high = b.scales_h >> (2 * i) & 3;
            (i16::from(low) | (high << 4) as i16) - 32
        });
        self.sub_scales(half(b.d), codes, |d, code| d * code);
        self.nibbles(&b.qs, 16, |q| iq4nl_values()[usize::from(q)]);
    }

    fn scale_and_min(&mut self, d: f32, m: f32) {
        self.one_scale(d);
        self.dmin = Some(m);
        self.mins = Some([m; super::MAX_SUB_BLOCKS]);
    }

    /// The highest of five bits, of elements in their order.
    fn fifth_bits(&mut self, qh: [u8; 4]) {
        let qh = u32::from_le_bytes(qh);
        for (i, q) in self.quants[..32].iter_mut().enumerate() {
            *q |= ((qh >> i & 1) << 4) as i8;
        }
    }
}
