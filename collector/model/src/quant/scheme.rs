//! How a type's blocks become numbers, said in words: the formula, how many sub-blocks, which quants there can be.

use super::decode::Parts;
use crate::ggml::{GgmlType, blocks, sys};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// How the blocks of a type become numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Scheme {
    /// Elements of a block.
    pub elements: u64,
    /// Size of a block in bytes.
    pub bytes: u64,
    /// Sub-blocks of a block, each with a scale of its own.
    pub sub_blocks: u64,
    /// The value `x` of an element by its quant `q`, after `dequantize_row_*` in ggml-quants.c. `d` and `dmin` belong to
    /// the block, `s` and `m` are the stored scale and minimum of its sub-block.
    pub formula: &'static str,
    /// Every quant that an element can have, as it is multiplied.
    #[serde(skip)]
    pub levels: Vec<i8>,
}

impl Scheme {
    /// The scheme of a quantised type.
    pub fn of(ty: GgmlType) -> Option<Scheme> {
        let mut parts = Parts::default();
        if !parts.fill(ty, &vec![0; ty.type_size() as usize]) {
            return None;
        }
        Some(Scheme {
            elements: ty.block_size(),
            bytes: ty.type_size(),
            sub_blocks: parts.sub_blocks as u64,
            formula: formula(ty),
            levels: levels(ty).into_iter().collect(),
        })
    }
}

fn formula(ty: GgmlType) -> &'static str {
    match ty.id() {
        sys::GGML_TYPE_Q4_1 | sys::GGML_TYPE_Q5_1 => "x = d·q + dmin",
        sys::GGML_TYPE_Q2_K | sys::GGML_TYPE_Q4_K | sys::GGML_TYPE_Q5_K => "x = d·s·q − dmin·m",
        sys::GGML_TYPE_Q3_K | sys::GGML_TYPE_Q6_K => "x = d·s·q",
        sys::GGML_TYPE_IQ4_NL => "x = d·q, q of 16 fixed values",
        sys::GGML_TYPE_IQ4_XS => "x = d·s·q, q of 16 fixed values",
        sys::GGML_TYPE_MXFP4 => "x = d·q, d = 2^(e−127)/2 of E8M0, q = 2·E2M1",
        sys::GGML_TYPE_NVFP4 => "x = s·q, s = UE4M3/2, q = 2·E2M1",
        sys::GGML_TYPE_IQ2_XXS | sys::GGML_TYPE_IQ2_XS | sys::GGML_TYPE_IQ2_S => "x = d·(½+s)/4·q, q = ±grid",
        sys::GGML_TYPE_IQ3_XXS => "x = d·(½+s)/2·q, q = ±grid",
        sys::GGML_TYPE_IQ3_S => "x = d·(1+2s)·q, q = ±grid",
        sys::GGML_TYPE_IQ1_S | sys::GGML_TYPE_IQ1_M => "x = d·(2s+1)·(q ± ⅛), q of a grid",
        _ => "x = d·q",
    }
}

fn levels(ty: GgmlType) -> BTreeSet<i8> {
    match ty.id() {
        sys::GGML_TYPE_Q1_0 => [-1, 1].into(),
        sys::GGML_TYPE_TQ1_0 => (-1..=1).collect(),
        sys::GGML_TYPE_Q2_0 | sys::GGML_TYPE_TQ2_0 => (-1..=2).collect(),
        sys::GGML_TYPE_Q2_K => (0..=3).collect(),
        sys::GGML_TYPE_Q3_K => (-4..=3).collect(),
        sys::GGML_TYPE_Q4_0 => (-8..=7).collect(),
        sys::GGML_TYPE_Q4_1 | sys::GGML_TYPE_Q4_K => (0..=15).collect(),
        sys::GGML_TYPE_Q5_0 => (-16..=15).collect(),
        sys::GGML_TYPE_Q5_1 | sys::GGML_TYPE_Q5_K => (0..=31).collect(),
        sys::GGML_TYPE_Q6_K => (-32..=31).collect(),
        sys::GGML_TYPE_IQ4_NL | sys::GGML_TYPE_IQ4_XS => blocks::iq4nl_values().iter().copied().collect(),
        sys::GGML_TYPE_MXFP4 | sys::GGML_TYPE_NVFP4 => blocks::fp4_values().iter().copied().collect(),
        sys::GGML_TYPE_IQ1_S | sys::GGML_TYPE_IQ1_M => {
            blocks::iq1s_grid().iter().flat_map(|p| p.to_le_bytes()).map(|byte| byte as i8).collect()
        }
        sys::GGML_TYPE_IQ2_XXS => both_signs(blocks::iq2xxs_grid().iter().flat_map(|p| p.to_le_bytes())),
        sys::GGML_TYPE_IQ2_XS => both_signs(blocks::iq2xs_grid().iter().flat_map(|p| p.to_le_bytes())),
        sys::GGML_TYPE_IQ2_S => both_signs(blocks::iq2s_grid().iter().flat_map(|p| p.to_le_bytes())),
        sys::GGML_TYPE_IQ3_XXS => both_signs(blocks::iq3xxs_grid().iter().flat_map(|p| p.to_le_bytes())),
        sys::GGML_TYPE_IQ3_S => both_signs(blocks::iq3s_grid().iter().flat_map(|p| p.to_le_bytes())),
        _ => (i8::MIN..=i8::MAX).collect(),
    }
}

fn both_signs(magnitudes: impl Iterator<Item = u8>) -> BTreeSet<i8> {
    magnitudes.flat_map(|byte| [byte as i8, -(byte as i8)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ggml::testing::Noise;

    #[test]
    fn every_quant_of_any_bytes_is_one_of_the_levels_and_every_level_occurs() {
        let mut parts = Parts::default();
        for ty in GgmlType::all().filter(|ty| ty.is_quantized()) {
            let scheme = Scheme::of(ty).unwrap();
            let mut seen = BTreeSet::new();
            for block in Noise::new(5).bytes(2000 * ty.type_size() as usize).chunks_exact(ty.type_size() as usize) {
                parts.fill(ty, block);
                seen.extend(&parts.quants[..parts.elements]);
            }
            assert_eq!(seen.into_iter().collect::<Vec<i8>>(), scheme.levels, "{ty}");
        }
        assert_eq!(Scheme::of(GgmlType::F16), None);
    }

    #[test]
    fn a_scheme_says_what_a_block_is_made_of() {
        let q4_k = Scheme::of(GgmlType::from_name("q4_K").unwrap()).unwrap();
        assert_eq!((q4_k.elements, q4_k.bytes, q4_k.sub_blocks, q4_k.levels.len()), (256, 144, 8, 16));
        assert_eq!(q4_k.formula, "x = d·s·q − dmin·m");
    }
}
