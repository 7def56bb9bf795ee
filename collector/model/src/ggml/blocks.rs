//! ggml's own block structs (ggml-common.h) read from bytes, and the tables that their fields point into. The layouts are
//! what bindgen read in the vendored header, so a field here is where ggml has it.

use super::sys;

/// A block struct of ggml.
///
/// # Safety
/// It consists of integers and floats alone, without padding, so that any bytes are a valid one.
pub(crate) unsafe trait BlockStruct: Copy {}

/// The block that `bytes`, of just its size, hold.
pub(crate) fn read<B: BlockStruct>(bytes: &[u8]) -> B {
    assert_eq!(bytes.len(), size_of::<B>());
    // SAFETY: the bytes are there, need no alignment, and any of them are a valid block.
    unsafe { bytes.as_ptr().cast::<B>().read_unaligned() }
}

macro_rules! block_structs {
    ($($block:ident)*) => {
        // SAFETY: arrays of and single integers and floats; ggml-common.h asserts of each that its size is the sum of
        // its fields' sizes. The unions in some are two views of the same four bytes.
        $(unsafe impl BlockStruct for sys::$block {})*
    };
}

block_structs! {
    block_q1_0 block_q2_0 block_q4_0 block_q4_1 block_q5_0 block_q5_1 block_q8_0 block_q8_1 block_mxfp4 block_nvfp4
    block_q2_K block_q3_K block_q4_K block_q5_K block_q6_K block_q8_K block_tq1_0 block_tq2_0 block_iq2_xxs
    block_iq2_xs block_iq2_s block_iq3_xxs block_iq3_s block_iq1_s block_iq1_m block_iq4_nl block_iq4_xs
}

/// Two 16-bit floats of a block that ggml also views as one number.
macro_rules! pair {
    ($block:expr, $first:ident, $second:ident) => {{
        // SAFETY: the union's members are plain numbers of the same size: either may be read.
        let pair = unsafe { $block.__bindgen_anon_1.__bindgen_anon_1 };
        ($crate::ggml::blocks::half(pair.$first), $crate::ggml::blocks::half(pair.$second))
    }};
}
pub(crate) use pair;

/// A 16-bit float's value.
pub(crate) fn half(bits: sys::ggml_half) -> f32 {
    half::f16::from_bits(bits).to_f32()
}

/// Half of the scale that an mxfp4 block's exponent stands for (E8M0, OCP Microscaling Formats v1.0).
pub(crate) fn e8m0_half(e: u8) -> f32 {
    // SAFETY: computes with its argument alone; all of a byte's values are meant.
    unsafe { sys::ggscope_e8m0_half(e) }
}

/// Half of the scale that a byte of an nvfp4 block stands for (unsigned E4M3).
pub(crate) fn ue4m3_half(d: u8) -> f32 {
    // SAFETY: computes with its argument alone; all of a byte's values are meant.
    unsafe { sys::ggscope_ue4m3_half(d) }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $static:ident, $type:ty;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name() -> &'static $type {
            // SAFETY: a constant pointer to a constant array of ggml's, of this size: the C compiler has checked that.
            unsafe { &*sys::$static }
        }
    )*};
}

tables! {
    /// Points of iq1_s and iq1_m: eight entries of -1, 0 or 1, a byte each.
    iq1s_grid: ggscope_iq1s_grid, [u64; 2048];
    /// Points of iq2_xxs: eight magnitudes, a byte each; likewise the next two.
    iq2xxs_grid: ggscope_iq2xxs_grid, [u64; 256];
    /// Points of iq2_xs.
    iq2xs_grid: ggscope_iq2xs_grid, [u64; 512];
    /// Points of iq2_s.
    iq2s_grid: ggscope_iq2s_grid, [u64; 1024];
    /// Points of iq3_xxs: four magnitudes, a byte each.
    iq3xxs_grid: ggscope_iq3xxs_grid, [u32; 256];
    /// Points of iq3_s.
    iq3s_grid: ggscope_iq3s_grid, [u32; 512];
    /// Signs of eight quants, a bit each, by their 7-bit index.
    signs: ggscope_ksigns_iq2xs, [u8; 128];
    /// Values of the quants of iq4_nl and iq4_xs.
    iq4nl_values: ggscope_kvalues_iq4nl, [i8; 16];
    /// Values of the quants of mxfp4 and nvfp4, twice those of E2M1.
    fp4_values: ggscope_kvalues_fp4, [i8; 16];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ggml::GgmlType;

    #[test]
    fn halves_are_what_ggml_makes_of_them() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut expected = vec![0.0; 1 << 16];
        GgmlType::F16.dequantize(&all, &mut expected).unwrap();
        for (bits, expected) in (0..=u16::MAX).zip(expected) {
            assert!(half(bits).to_bits() == expected.to_bits() || half(bits).is_nan() && expected.is_nan(), "{bits:x}");
        }
    }

    #[test]
    fn blocks_are_as_large_as_ggml_says() {
        let size = |name| GgmlType::from_name(name).unwrap().type_size() as usize;
        assert_eq!(size("q4_K"), size_of::<sys::block_q4_K>());
        assert_eq!(size("iq1_m"), size_of::<sys::block_iq1_m>());
        assert_eq!(read::<sys::block_q8_0>(&[7; 34]).qs, [7; 32]);
    }
}
