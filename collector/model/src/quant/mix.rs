//! Which types a model is made of: in all, by part, by layer and tensor by tensor, with the exact bits that a weight takes
//! in the file. It reads the tensor table alone.

use crate::gguf::{Gguf, TensorInfo};
use crate::inspect::{Component, Role, Stack};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a model is made of.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Mix {
    /// Path of the file, of the first one if it was split.
    pub file: String,
    /// All of it.
    pub total: Share,
    /// By part of the model, in the order in which a token meets them.
    pub parts: Vec<PartMix>,
    /// By layer; first what belongs to none.
    pub layers: Vec<LayerMix>,
    /// Tensor by tensor, in the order of the file.
    pub tensors: Vec<TensorMix>,
}

/// Some of a model's tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Share {
    /// Number of tensors.
    pub tensors: u64,
    /// Number of their elements.
    pub elements: u64,
    /// Their bytes in the file; tensors of unknown type or broken shape are left out.
    pub bytes: u64,
    /// Bits that an element takes, scales included: none where the size of a tensor is unknown, or there is no element.
    pub bits_per_weight: Option<f64>,
    /// Their types, most bytes first.
    pub types: Vec<TypeShare>,
}

/// What is of one type.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TypeShare {
    /// Name of the type, as ggml prints it; its number if ggml does not know it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Number of tensors.
    pub tensors: u64,
    /// Number of their elements.
    pub elements: u64,
    /// Their bytes in the file.
    pub bytes: u64,
}

/// A part of a model.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PartMix {
    /// Which.
    pub component: Component,
    /// Its tensors.
    #[serde(flatten)]
    pub share: Share,
}

/// A layer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerMix {
    /// The stack that it is counted in.
    pub stack: Stack,
    /// Its number; none for tensors outside of layers.
    pub layer: Option<u32>,
    /// Its tensors.
    #[serde(flatten)]
    pub share: Share,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TensorMix {
    /// Name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Elements in each dimension, the length of a row first.
    pub ne: [i64; 4],
    /// Name of its type, as ggml prints it; its number if ggml does not know it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Number of elements.
    pub elements: u64,
    /// Bytes in the file: none if the type is unknown or does not fit the shape.
    pub bytes: Option<u64>,
    /// Bits that an element takes, scales included.
    pub bits_per_weight: Option<f64>,
    /// Offset of its first byte in its file in bytes.
    pub offset: u64,
}

impl TensorMix {
    /// The tensor with this entry.
    pub fn of(info: &TensorInfo) -> TensorMix {
        let bytes = info.nbytes();
        TensorMix {
            name: info.name.to_string(),
            role: Role::of(&info.name),
            ne: info.ne,
            type_name: info.type_name().map_or_else(|| format!("type {}", info.type_id), str::to_owned),
            elements: info.elements(),
            bytes,
            bits_per_weight: bytes.and_then(|bytes| bits(bytes, info.elements())),
            offset: info.offset,
        }
    }
}

fn bits(bytes: u64, elements: u64) -> Option<f64> {
    (elements > 0).then(|| bytes as f64 * 8.0 / elements as f64)
}

/// The mix of a model.
pub fn mix(model: &Gguf) -> Mix {
    let tensors: Vec<TensorMix> = model.tensors().map(|(_, info)| TensorMix::of(info)).collect();
    let mut parts: BTreeMap<usize, Vec<&TensorMix>> = BTreeMap::new();
    let mut layers: BTreeMap<(Option<u32>, Stack), Vec<&TensorMix>> = BTreeMap::new();
    for tensor in &tensors {
        let place = Component::ALL.iter().position(|c| *c == tensor.role.component).unwrap_or(Component::ALL.len() - 1);
        parts.entry(place).or_default().push(tensor);
        // What is outside of layers is one, whatever its stack.
        let stack = if tensor.role.layer.is_some() { tensor.role.stack } else { Stack::default() };
        layers.entry((tensor.role.layer, stack)).or_default().push(tensor);
    }
    let mut layers: Vec<LayerMix> = layers
        .into_iter()
        .map(|((layer, stack), tensors)| LayerMix { stack, layer, share: Share::of(tensors) })
        .collect();
    layers.sort_by_key(|l| (l.layer.is_some(), l.stack, l.layer));
    Mix {
        file: model.first().path().display().to_string(),
        total: Share::of(&tensors),
        parts: parts
            .into_iter()
            .map(|(place, tensors)| PartMix { component: Component::ALL[place], share: Share::of(tensors) })
            .collect(),
        layers,
        tensors,
    }
}

impl Share {
    fn of<'a>(tensors: impl IntoIterator<Item = &'a TensorMix>) -> Share {
        let mut share = Share::default();
        let mut types: BTreeMap<&str, TypeShare> = BTreeMap::new();
        let mut all_known = true;
        for tensor in tensors {
            let bytes = tensor.bytes.unwrap_or(0);
            all_known &= tensor.bytes.is_some();
            let of_type = types.entry(&tensor.type_name).or_insert_with(|| TypeShare {
                type_name: tensor.type_name.clone(),
                tensors: 0,
                elements: 0,
                bytes: 0,
            });
            // A header may claim any size for any number of tensors.
            for (count, more) in [
                (&mut share.tensors, 1),
                (&mut share.elements, tensor.elements),
                (&mut share.bytes, bytes),
                (&mut of_type.tensors, 1),
                (&mut of_type.elements, tensor.elements),
                (&mut of_type.bytes, bytes),
            ] {
                *count = count.saturating_add(more);
            }
        }
        share.bits_per_weight = bits(share.bytes, share.elements).filter(|_| all_known);
        share.types = types.into_values().collect();
        share.types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.type_name.cmp(&b.type_name)));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ModelFile, q4_k};
    use super::*;
    use crate::ggml::GgmlType;

    fn model() -> ModelFile {
        let mut file = ModelFile::new();
        let q8_0 = GgmlType::from_name("q8_0").unwrap();
        file.quantized("token_embd.weight", q8_0, &[256, 4], &[0.5; 1024])
            .quantized("blk.0.attn_q.weight", q4_k(), &[256, 2], &[0.5; 512])
            .quantized("blk.0.attn_norm.weight", GgmlType::F32, &[256], &[1.0; 256])
            .quantized("blk.1.attn_q.weight", q4_k(), &[256, 2], &[0.5; 512])
            .quantized("output_norm.weight", GgmlType::F32, &[256], &[1.0; 256]);
        file
    }

    #[test]
    fn bits_per_weight_are_exact() {
        let mix = mix(&model().open());
        let bits: Vec<Option<f64>> = mix.tensors.iter().map(|t| t.bits_per_weight).collect();
        assert_eq!(bits, [Some(8.5), Some(4.5), Some(32.0), Some(4.5), Some(32.0)]);
        let bytes = 1088 + 288 + 1024 + 288 + 1024;
        assert_eq!((mix.total.tensors, mix.total.elements, mix.total.bytes), (5, 2560, bytes));
        assert_eq!(mix.total.bits_per_weight, Some(bytes as f64 * 8.0 / 2560.0));
        let types: Vec<(&str, u64)> = mix.total.types.iter().map(|t| (t.type_name.as_str(), t.tensors)).collect();
        assert_eq!(types, [("f32", 2), ("q8_0", 1), ("q4_K", 2)]);
    }

    #[test]
    fn parts_and_layers_add_up_to_all() {
        let mix = mix(&model().open());
        let parts: Vec<(Component, u64)> = mix.parts.iter().map(|p| (p.component, p.share.tensors)).collect();
        assert_eq!(parts, [(Component::Embedding, 1), (Component::Norm, 2), (Component::Attention, 2)]);
        let layers: Vec<(Option<u32>, u64)> = mix.layers.iter().map(|l| (l.layer, l.share.bytes)).collect();
        assert_eq!(layers, [(None, 1088 + 1024), (Some(0), 288 + 1024), (Some(1), 288)]);
        assert_eq!(mix.parts.iter().map(|p| p.share.bytes).sum::<u64>(), mix.total.bytes);
    }

    #[test]
    fn a_type_that_is_unknown_is_named_by_its_number_and_its_size_is_not_guessed() {
        let mut file = model();
        file.raw("blk.1.ffn_up.weight", 99, &[256, 2], vec![0; 64]);
        let mix = mix(&file.open());
        let tensor = mix.tensors.last().unwrap();
        assert_eq!((tensor.type_name.as_str(), tensor.bytes, tensor.bits_per_weight), ("type 99", None, None));
        assert_eq!((mix.total.bits_per_weight, mix.total.bytes), (None, 3712));
    }
}
