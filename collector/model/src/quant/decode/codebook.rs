//! Codebook types (iq1, iq2, iq3): quants come four or eight at a time as points of a fixed grid, most with their signs
//! kept apart. The scale of a sub-block is an odd multiple of a fraction of `d`.

use super::{Parts, Point};
use crate::ggml::blocks::{half, iq1s_grid, iq2s_grid, iq2xs_grid, iq2xxs_grid, iq3s_grid, iq3xxs_grid, signs};
use crate::ggml::sys;

/// How far iq1 moves its quants (`IQ1S_DELTA`, `IQ1M_DELTA`).
const SHIFT: f32 = 0.125;

impl Parts {
    pub(super) fn iq1_s(&mut self, b: &sys::block_iq1_s) {
        self.sub_scales(half(b.d), b.qh.map(|qh| (qh >> 12 & 7) as i16), |d, code| d * (2.0 * code + 1.0));
        for i in 0..32 {
            let qh = b.qh[i / 4];
            let index = u16::from(b.qs[i]) | (qh >> (3 * (i % 4)) & 7) << 8;
            self.ternary_point(i, index, qh & 0x8000 != 0);
        }
    }

    pub(super) fn iq1_m(&mut self, b: &sys::block_iq1_m) {
        let words: [u16; 4] = std::array::from_fn(|i| u16::from_le_bytes([b.scales[2 * i], b.scales[2 * i + 1]]));
        // The four bits that the scales leave of each word are the super-block's scale.
        let d = words.iter().enumerate().fold(0, |d, (i, word)| d | word >> 12 << (4 * i));
        let codes = std::array::from_fn::<i16, 16, _>(|i| (words[i / 4] >> (3 * (i % 4)) & 7) as i16);
        self.sub_scales(half(d), codes, |d, code| d * (2.0 * code + 1.0));
        for i in 0..32 {
            let high = b.qh[i / 2] >> (4 * (i % 2));
            let index = u16::from(b.qs[i]) | u16::from(high & 7) << 8;
            self.ternary_point(i, index, high & 8 != 0);
        }
    }

    pub(super) fn iq2_xxs(&mut self, b: &sys::block_iq2_xxs) {
        // Of 32 elements: four bytes of indices; then four times 7 bits of signs, and 4 bits of scale.
        let word = |i: usize| u32::from(b.qs[4 * i + 2]) | u32::from(b.qs[4 * i + 3]) << 16;
        let codes = std::array::from_fn::<i16, 8, _>(|i| (word(i) >> 28) as i16);
        self.sub_scales(half(b.d), codes, |d, code| d * (0.5 + code) * 0.25);
        for i in 0..32 {
            let index = b.qs[i / 4 * 4 + i % 4 / 2] >> (8 * (i % 2)) & 0xff;
            let signs = signs()[(word(i / 4) >> (7 * (i % 4)) & 127) as usize];
            self.signed_point(i, index, iq2xxs_grid()[usize::from(index)].to_le_bytes(), signs);
        }
    }

    pub(super) fn iq2_xs(&mut self, b: &sys::block_iq2_xs) {
        self.sixteen_scales(half(b.d), &b.scales);
        for i in 0..32 {
            let index = b.qs[i] & 511;
            let signs = signs()[usize::from(b.qs[i] >> 9)];
            self.signed_point(i, index, iq2xs_grid()[usize::from(index)].to_le_bytes(), signs);
        }
    }

    pub(super) fn iq2_s(&mut self, b: &sys::block_iq2_s) {
        self.sixteen_scales(half(b.d), &b.scales);
        for i in 0..32 {
            let high = u16::from(b.qh[i / 4] >> (2 * (i % 4)) & 3);
            let index = u16::from(b.qs[i]) | high << 8;
            self.signed_point(i, index, iq2s_grid()[usize::from(index)].to_le_bytes(), b.qs[32 + i]);
        }
    }

    pub(super) fn iq3_xxs(&mut self, b: &sys::block_iq3_xxs) {
        let word = |i: usize| u32::from_le_bytes(std::array::from_fn(|byte| b.qs[64 + 4 * i + byte]));
        let codes = std::array::from_fn::<i16, 8, _>(|i| (word(i) >> 28) as i16);
        self.sub_scales(half(b.d), codes, |d, code| d * (0.5 + code) * 0.5);
        for i in 0..64 {
            let index = u16::from(b.qs[i]);
            let signs = signs()[(word(i / 8) >> (7 * (i % 8 / 2)) & 127) as usize];
            let signs = signs >> (4 * (i % 2)) & 0xf;
            self.signed_point(i, index, iq3xxs_grid()[usize::from(index)].to_le_bytes(), signs);
        }
    }

    pub(super) fn iq3_s(&mut self, b: &sys::block_iq3_s) {
        let codes = std::array::from_fn::<i16, 8, _>(|i| i16::from(b.scales[i / 2] >> (4 * (i % 2)) & 0xf));
        self.sub_scales(half(b.d), codes, |d, code| d * (1.0 + 2.0 * code));
        for i in 0..64 {
            let high = u16::from(b.qh[i / 8] >> (i % 8) & 1);
            let index = u16::from(b.qs[i]) | high << 8;
            let signs = b.signs[i / 2] >> (4 * (i % 2)) & 0xf;
            self.signed_point(i, index, iq3s_grid()[usize::from(index)].to_le_bytes(), signs);
        }
    }

    /// Scales of 4 bits of iq2_xs and iq2_s, two in a byte.
    fn sixteen_scales(&mut self, d: f32, scales: &[u8; 8]) {
        let codes = std::array::from_fn::<i16, 16, _>(|i| i16::from(scales[i / 2] >> (4 * (i % 2)) & 0xf));
        self.sub_scales(d, codes, |d, code| d * (0.5 + code) * 0.25);
    }

    /// Point `i`, of `N` magnitudes, with its signs.
    fn signed_point<const N: usize>(&mut self, i: usize, index: u16, magnitudes: [u8; N], signs: u8) {
        self.points = self.elements / N;
        self.grid[i] = Point { index, signs: Some(signs), shift: None };
        for (bit, magnitude) in magnitudes.into_iter().enumerate() {
            let magnitude = magnitude as i8;
            self.quants[i * N + bit] = if signs >> bit & 1 == 1 { -magnitude } else { magnitude };
        }
    }

    /// Point `i` of iq1, whose eight quants are -1, 0 or 1.
    fn ternary_point(&mut self, i: usize, index: u16, down: bool) {
        self.points = 32;
        self.grid[i] = Point { index, signs: None, shift: Some(if down { -SHIFT } else { SHIFT }) };
        let quants = iq1s_grid()[usize::from(index)].to_le_bytes().map(|byte| byte as i8);
        self.quants[8 * i..8 * i + 8].copy_from_slice(&quants);
    }
}
