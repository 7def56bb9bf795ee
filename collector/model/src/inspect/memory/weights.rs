//! The weights of a model as they are in its file: by component, by type, by layer.

use super::super::facts::Tensor;
use super::super::role::{Component, Stack};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Tensors in a buffer begin at multiples of this many bytes (`TENSOR_ALIGNMENT` in ggml-impl.h).
pub(super) const TENSOR_ALIGNMENT: u64 = 32;

/// Weights of one component.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ComponentBytes {
    /// The part of the model.
    pub component: Component,
    /// Tensors.
    pub tensors: u64,
    /// Elements.
    pub parameters: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Weights of one type.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TypeBytes {
    /// The type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Tensors.
    pub tensors: u64,
    /// Elements.
    pub parameters: u64,
    /// Bytes.
    pub bytes: u64,
}

/// All weights.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Weights {
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Bits that an element takes on average.
    pub bits_per_weight: f64,
    /// Bytes of a buffer that the tensors are read into (`--no-mmap`), each aligned.
    pub loaded_bytes: u64,
    /// Bytes of the mapping that they stay in (the default): from the first tensor to the end of the last, file by file.
    pub mapped_bytes: u64,
    /// By component, in the order in which a token meets them.
    pub by_component: Vec<ComponentBytes>,
    /// By type, the largest share first.
    pub by_type: Vec<TypeBytes>,
    /// Bytes of each layer of the model's own stack.
    pub by_layer: Vec<u64>,
}

impl Weights {
    /// Sums over `tensors`; layers above `layers` belong to none.
    pub fn of(tensors: &[Tensor], layers: u32) -> Weights {
        let mut by_component: BTreeMap<Component, ComponentBytes> = BTreeMap::new();
        let mut by_type: BTreeMap<&str, TypeBytes> = BTreeMap::new();
        let mut by_layer = vec![0_u64; layers as usize];
        let mut places: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        let (mut bytes, mut parameters, mut loaded_bytes) = (0_u64, 0_u64, 0_u64);
        for t in tensors {
            let (component, size) = (t.role.component, t.size());
            let zero = || ComponentBytes { component, tensors: 0, parameters: 0, bytes: 0 };
            let sum = by_component.entry(component).or_insert_with(zero);
            sum.tensors += 1;
            sum.parameters = sum.parameters.saturating_add(t.elements);
            sum.bytes = sum.bytes.saturating_add(size);
            let zero = || TypeBytes { type_name: t.type_name.clone(), tensors: 0, parameters: 0, bytes: 0 };
            let sum = by_type.entry(&t.type_name).or_insert_with(zero);
            sum.tensors += 1;
            sum.parameters = sum.parameters.saturating_add(t.elements);
            sum.bytes = sum.bytes.saturating_add(size);
            if let Some(layer) = t.role.layer.filter(|_| matches!(t.role.stack, Stack::Model | Stack::Encoder))
                && let Some(sum) = by_layer.get_mut(layer as usize)
            {
                *sum = sum.saturating_add(size);
            }
            bytes = bytes.saturating_add(size);
            parameters = parameters.saturating_add(t.elements);
            loaded_bytes = loaded_bytes.saturating_add(size.checked_next_multiple_of(TENSOR_ALIGNMENT).unwrap_or(size));
            let end = t.offset.saturating_add(size);
            let place = places.entry(t.file).or_insert((t.offset, end));
            *place = (place.0.min(t.offset), place.1.max(end));
        }
        let mut by_type: Vec<TypeBytes> = by_type.into_values().collect();
        by_type.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        Weights {
            bytes,
            parameters,
            bits_per_weight: if parameters == 0 { 0.0 } else { bytes as f64 * 8.0 / parameters as f64 },
            loaded_bytes,
            mapped_bytes: places.values().fold(0, |sum: u64, (start, end)| sum.saturating_add(end - start)),
            by_component: Component::ALL.iter().filter_map(|c| by_component.remove(c)).collect(),
            by_type,
            by_layer,
        }
    }
}
