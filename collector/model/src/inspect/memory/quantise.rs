//! How large a model would be in other types: `llama-quantize --allow-requantize --pure TYPE`, which keeps some tensors as
//! they are and takes another type where rows do not fit a block. Types that it cannot make are left out. The rules are
//! those of src/llama-quant.cpp.

use super::super::facts::Tensor;
use crate::ggml::GgmlType;
use serde::Serialize;
use utoipa::ToSchema;

/// A model as it would be in one type.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AsType {
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Bits that an element of this type takes.
    pub bits_per_weight: f64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Tensors that stay as they are: norms, biases, routers, small ones.
    pub kept: u64,
    /// Tensors whose rows do not fit, with the type that they get instead.
    pub fallbacks: Vec<Fallback>,
    /// llama-quantize wants an importance matrix for it.
    pub needs_imatrix: bool,
}

/// Tensors that get another type.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Fallback {
    /// The type that they get.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How many there are.
    pub tensors: u64,
}

/// Types that llama-quantize makes (`llama_ftype_get_default_type`). The vendored release is compared with it in the tests.
#[rustfmt::skip]
const MADE: [&str; 27] = [
    "bf16", "f16", "f32", "iq1_m", "iq1_s", "iq2_s", "iq2_xs", "iq2_xxs", "iq3_s", "iq3_xxs", "iq4_nl", "iq4_xs", "mxfp4",
    "q1_0", "q2_0", "q2_K", "q3_K", "q4_0", "q4_1", "q4_K", "q5_0", "q5_1", "q5_K", "q6_K", "q8_0", "tq1_0", "tq2_0",
];

/// The model in every type that llama-quantize can give it, the smallest first.
pub fn as_types(tensors: &[Tensor], arch: &str) -> Vec<AsType> {
    let mut types: Vec<AsType> =
        MADE.iter().filter_map(|name| as_type(tensors, arch, GgmlType::from_name(name)?)).collect();
    types.sort_by_key(|t| t.bytes);
    types
}

/// The model in one type; `None` if llama-quantize fails at it.
fn as_type(tensors: &[Tensor], arch: &str, target: GgmlType) -> Option<AsType> {
    let (mut bytes, mut kept, mut needs_imatrix) = (0_u64, 0, false);
    let mut fallbacks: Vec<Fallback> = vec![];
    for t in tensors {
        if !may_quantise(t, arch) {
            bytes = bytes.saturating_add(t.size());
            kept += 1;
            continue;
        }
        let new = fitting(target, t.row())?;
        if !may_convert(t, new) {
            return None;
        }
        needs_imatrix |= wants_imatrix(t, new);
        bytes = bytes.saturating_add(new.nbytes(t.ne).unwrap_or(0));
        if new == target {
            continue;
        }
        match fallbacks.iter_mut().find(|f| f.type_name == new.name()) {
            Some(fallback) => fallback.tensors += 1,
            None => fallbacks.push(Fallback { type_name: new.name().to_owned(), tensors: 1 }),
        }
    }
    let (type_name, bits_per_weight) = (target.name().to_owned(), target.bits_per_weight());
    Some(AsType { type_name, bits_per_weight, bytes, kept, fallbacks, needs_imatrix })
}

/// The type that a tensor with rows of `row` gets where `target` is wanted (`tensor_type_fallback`); `None` where
/// llama-quantize has none for it.
fn fitting(target: GgmlType, row: u64) -> Option<GgmlType> {
    let fits = |t: &GgmlType| row.is_multiple_of(t.block_size());
    if fits(&target) {
        return Some(target);
    }
    let smaller = match target.name() {
        "iq1_s" | "iq1_m" | "iq2_xxs" | "iq2_xs" | "iq2_s" | "iq3_xxs" | "iq3_s" | "iq4_xs" => "iq4_nl",
        "q2_0" | "q2_K" | "q3_K" | "tq1_0" | "tq2_0" => "q4_0",
        "q4_K" => "q5_0",
        "q5_K" => "q5_1",
        "q6_K" => "q8_0",
        _ if target.block_size() <= 32 => "f16",
        _ => return None,
    };
    GgmlType::from_name(smaller).filter(fits).or_else(|| GgmlType::from_name("f16"))
}

/// Whether the values of a tensor can be read, where another type is wanted (`llama_tensor_dequantize_impl`).
fn may_convert(t: &Tensor, new: GgmlType) -> bool {
    GgmlType::from_name(&t.type_name).is_some_and(|is| is == new || is.can_quantize())
}

/// Whether a tensor becomes too coarse without knowing which of its columns matter (`tensor_requires_imatrix`).
fn wants_imatrix(t: &Tensor, new: GgmlType) -> bool {
    !matches!(t.name.as_str(), "token_embd.weight" | "per_layer_token_embd.weight" | "output.weight")
        && matches!(new.name(), "iq3_xxs" | "iq2_xxs" | "iq2_xs" | "iq2_s" | "iq1_m" | "iq1_s")
}

/// Whether llama-quantize touches the tensor at all (`tensor_allows_quantization`).
fn may_quantise(t: &Tensor, arch: &str) -> bool {
    /// Parts of names of tensors that are small or fragile.
    const KEPT: [&str; 37] = [
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
        ".position_embd",
        "sam.pos_embd",
        "sam.neck.",
        "sam.net_",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "a.rvq.codebook",
        "mm.a.code_embd",
        // Not parts but whole names: nothing else contains them.
        "position_embd.weight",
        "token_types.weight",
    ];
    const KEPT_IN_GLM5: [&str; 14] = [
        "hc_",
        "indexer.attn_q_b",
        "indexer.attn_k",
        "indexer.proj",
        "indexer_compressor_gate",
        "indexer_compressor_ape",
        "ssm_f_a.weight",
        "ssm_f_b.weight",
        "ssm_g_a.weight",
        "ssm_g_b.weight",
        "ssm_beta.weight",
        "attn_kv_a_mqa.weight",
        "attn_k_b.weight",
        "attn_v_b.weight",
    ];
    let dimensions = t.ne.iter().rposition(|&n| n > 1).map_or(1, |last| last + 1);
    let has = |parts: &[&str]| parts.iter().any(|part| t.name.contains(part));
    dimensions >= 2 && t.name.ends_with("weight") && !has(&KEPT) && !(arch == "glm5-next" && has(&KEPT_IN_GLM5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::vendored;
    use crate::testing;

    #[test]
    fn rows_that_do_not_fit_a_block_get_the_type_that_llama_quantize_gives_them() {
        let name = |target: &str, row| fitting(GgmlType::from_name(target).unwrap(), row).unwrap().name();
        assert_eq!(name("q4_K", 256), "q4_K");
        assert_eq!((name("q4_K", 576), name("q6_K", 576), name("iq2_xs", 576)), ("q5_0", "q8_0", "iq4_nl"));
        assert_eq!((name("q4_K", 100), name("q4_0", 100), name("f16", 100)), ("f16", "f16", "f16"));
        assert_eq!((name("mxfp4", 100), name("q1_0", 256), name("q2_0", 96)), ("f16", "q1_0", "q4_0"));
        assert_eq!(fitting(GgmlType::from_name("q1_0").unwrap(), 96), None, "llama-quantize fails at it");
    }

    #[test]
    fn the_types_made_are_those_of_the_vendored_llama_quantize() {
        let mut theirs: Vec<&str> = vendored::default_types().iter().map(|t| t.name()).collect();
        theirs.sort_unstable();
        theirs.dedup();
        assert_eq!(MADE.to_vec(), theirs);
    }

    #[test]
    fn types_that_cannot_be_made_are_not_offered() {
        let made = |row: u64| {
            let mut f = testing::Fixture::new("llama");
            f.tensor("blk.0.attn_q.weight", testing::Dtype::F32, &[row, 4]);
            as_types(&Tensor::all(&f.model()), "llama").into_iter().map(|t| t.type_name).collect::<Vec<_>>()
        };
        let whole = made(256);
        assert!(whole.contains(&"q1_0".to_owned()) && !whole.contains(&"nvfp4".to_owned()), "{whole:?}");
        let broken = made(96);
        assert!(!broken.contains(&"q1_0".to_owned()) && broken.len() == whole.len() - 1, "{broken:?}");
    }

    #[test]
    fn coarse_types_want_an_importance_matrix_unless_all_fall_back() {
        let wants = |row: u64, name: &str| {
            let mut f = testing::Fixture::new("llama");
            f.tensor(name, testing::Dtype::F32, &[row, 4]);
            let types = as_types(&Tensor::all(&f.model()), "llama");
            types.into_iter().filter(|t| t.needs_imatrix).map(|t| t.type_name).collect::<Vec<_>>()
        };
        assert_eq!(wants(256, "blk.0.attn_q.weight").len(), 6);
        assert!(wants(96, "blk.0.attn_q.weight").is_empty() && wants(256, "token_embd.weight").is_empty());
    }

    #[test]
    fn norms_biases_and_routers_stay_and_matrices_change() {
        let tensors = Tensor::all(&testing::gpt_oss().model());
        let kept: Vec<&str> = tensors.iter().filter(|t| !may_quantise(t, "gpt-oss")).map(|t| t.name.as_str()).collect();
        for name in ["blk.0.ffn_gate_inp.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.bias"] {
            assert!(kept.contains(&name), "{name}");
        }
        for name in ["blk.0.ffn_up_exps.weight", "blk.0.attn_q.weight", "token_embd.weight"] {
            assert!(!kept.contains(&name), "{name}");
        }
        let all = as_types(&tensors, "gpt-oss");
        assert!(all.is_sorted_by_key(|t| t.bytes) && all.len() >= 25, "{}", all.len());
        let mxfp4 = all.iter().find(|t| t.type_name == "mxfp4").unwrap();
        assert!((mxfp4.bytes as f64 * 8.0 / 20.9e9 - 4.25).abs() < 0.1, "{}", mxfp4.bytes);
    }
}
