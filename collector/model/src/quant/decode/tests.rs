//! The promise of `decode`: its parts, put together by its formula, are what ggml dequantises, for every type.

use super::*;
use crate::ggml::testing::{Noise, kinds_of_rows};

/// Checks the blocks in `bytes` against ggml.
fn assert_same_as_ggml(ty: GgmlType, bytes: &[u8], what: &str) {
    let n = ty.block_size() as usize;
    let mut values = vec![0.0; n];
    let mut parts = Parts::default();
    for (index, block) in bytes.chunks_exact(ty.type_size() as usize).enumerate() {
        ty.dequantize(block, &mut values).unwrap();
        assert!(parts.fill(ty, block), "{ty}");
        for (i, &expected) in values.iter().enumerate() {
            let value = parts.value(i);
            let same = value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
            assert!(same, "{ty}, {what}, block {index}, element {i}: {value} is not {expected}: {parts:?}");
        }
    }
}

fn quantized_types() -> impl Iterator<Item = GgmlType> {
    GgmlType::all().filter(|ty| ty.is_quantized())
}

#[test]
fn parts_of_any_bytes_are_bit_for_bit_what_ggml_dequantises() {
    let types: Vec<GgmlType> = quantized_types().filter(|ty| ty.can_dequantize()).collect();
    assert!(types.len() >= 26, "{types:?}");
    for ty in types {
        let bytes = Noise::new(u64::from(ty.id())).bytes(500 * ty.type_size() as usize);
        assert_same_as_ggml(ty, &bytes, "random bytes");
    }
}

#[test]
fn parts_of_quantised_rows_are_bit_for_bit_what_ggml_dequantises() {
    // Types that need an importance matrix take ggml seconds to prepare; for them random bytes must do.
    let slow = ["iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s"];
    for ty in quantized_types().filter(|ty| ty.can_quantize() && !slow.contains(&ty.name())) {
        for (kind, values) in kinds_of_rows(512) {
            assert_same_as_ggml(ty, &ty.quantize(&values, 512).unwrap(), kind);
        }
    }
}

#[test]
fn every_quantised_type_is_taken_apart_and_no_other() {
    let mut parts = Parts::default();
    for ty in GgmlType::all() {
        assert_eq!(parts.fill(ty, &vec![0; ty.type_size() as usize]), ty.is_quantized(), "{ty}");
    }
}

#[test]
fn quants_of_a_quantised_block_are_those_that_were_meant() {
    // 0, 1, …, 15 twice, in units of a sixteenth: q4_1 stores them as they are.
    let values: Vec<f32> = (0..32).map(|i| (i % 16) as f32 / 16.0 - 0.25).collect();
    let q4_1 = GgmlType::from_name("q4_1").unwrap();
    let mut parts = Parts::default();
    parts.fill(q4_1, &q4_1.quantize(&values, 32).unwrap());
    assert_eq!((parts.d, parts.dmin), (Some(0.0625), Some(-0.25)));
    assert!(parts.quants[..32].iter().zip(0..).all(|(&q, i)| q == i % 16), "{:?}", &parts.quants[..32]);
}
