//! How large a model would be in every type of ggml: `llama-quantize --pure TYPE`, which keeps some tensors as they are and
//! takes another type where rows do not fit a block. The rules are those of src/llama-quant.cpp.

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

/// The model in every type that weights can have, the smallest first.
pub fn as_types(tensors: &[Tensor], arch: &str) -> Vec<AsType> {
    let mut types: Vec<AsType> =
        GgmlType::all().filter(|t| is_for_weights(*t)).map(|t| as_type(tensors, arch, t)).collect();
    types.sort_by_key(|t| t.bytes);
    types
}

/// Types of whole numbers and of doubles are no way to store weights, and Q8_1 and Q8_K are what activations become.
fn is_for_weights(t: GgmlType) -> bool {
    let name = t.name();
    (t.is_quantized() && !matches!(name, "q8_1" | "q8_K")) || matches!(name, "f32" | "f16" | "bf16")
}

/// The model in one type.
pub fn as_type(tensors: &[Tensor], arch: &str, target: GgmlType) -> AsType {
    let (mut bytes, mut kept) = (0_u64, 0);
    let mut fallbacks: Vec<Fallback> = vec![];
    for t in tensors {
        let new = if may_quantise(t, arch) { fitting(target, t.row()) } else { None };
        let Some(new) = new else {
            bytes = bytes.saturating_add(t.size());
            kept += 1;
            continue;
        };
        bytes = bytes.saturating_add(new.nbytes(t.ne).unwrap_or(0));
        if new == target {
            continue;
        }
        match fallbacks.iter_mut().find(|f| f.type_name == new.name()) {
            Some(fallback) => fallback.tensors += 1,
            None => fallbacks.push(Fallback { type_name: new.name().to_owned(), tensors: 1 }),
        }
    }
    AsType { type_name: target.name().to_owned(), bits_per_weight: target.bits_per_weight(), bytes, kept, fallbacks }
}

/// The type that a tensor with rows of `row` gets where `target` is wanted (`tensor_type_fallback`).
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
        _ => "f16",
    };
    GgmlType::from_name(smaller).filter(fits).or_else(|| GgmlType::from_name("f16"))
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
    use crate::testing;

    #[test]
    fn rows_that_do_not_fit_a_block_get_the_type_that_llama_quantize_gives_them() {
        let name = |target: &str, row| fitting(GgmlType::from_name(target).unwrap(), row).unwrap().name();
        assert_eq!(name("q4_K", 256), "q4_K");
        assert_eq!((name("q4_K", 576), name("q6_K", 576), name("iq2_xs", 576)), ("q5_0", "q8_0", "iq4_nl"));
        assert_eq!((name("q4_K", 100), name("q4_0", 100), name("f16", 100)), ("f16", "f16", "f16"));
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
