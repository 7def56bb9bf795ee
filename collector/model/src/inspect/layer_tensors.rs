//! The tensors of a model by layer and part, to ask whether a layer has one and of which shape.

use super::role::{Component, Kind, Role, Stack};
use crate::gguf::Gguf;
use std::collections::{BTreeSet, HashMap};

/// Shapes of the weights of a model.
pub struct LayerTensors<'a> {
    by_name: HashMap<&'a str, [i64; 4]>,
    norms: BTreeSet<String>,
    numbered: HashMap<(Stack, u32), u32>,
}

impl<'a> LayerTensors<'a> {
    /// All of them.
    pub fn of(model: &'a Gguf) -> LayerTensors<'a> {
        let mut tensors = LayerTensors { by_name: HashMap::new(), norms: BTreeSet::new(), numbered: HashMap::new() };
        for (_, tensor) in model.tensors() {
            tensors.by_name.insert(tensor.name.as_c_str(), tensor.ne);
            let role = Role::of(tensor.name.as_c_str());
            let Some(layer) = role.layer else { continue };
            if role.component == Component::Norm && role.kind == Kind::Weight && tensors.norms.len() < 64 {
                tensors.norms.insert(role.part);
            } else if role.expert.is_some() && role.part == "ffn_down" && role.kind == Kind::Weight {
                *tensors.numbered.entry((role.stack, layer)).or_default() += 1;
            }
        }
        tensors
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether a tensor with this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Shape of the tensor with this name.
    pub fn shape(&self, name: &str) -> Option<[i64; 4]> {
        self.by_name.get(name).copied()
    }

    /// Shape of a part of a layer: its weight, or the tensor without an ending.
    pub fn part(&self, stack: Stack, layer: u32, part: &str) -> Option<[i64; 4]> {
        let start = match stack {
            Stack::Model => "",
            Stack::Encoder => "enc.",
            Stack::Decoder => "dec.",
            Stack::Vision => "v.",
            Stack::Audio => "a.",
            Stack::Projector => "mm.",
        };
        let name = format!("{start}blk.{layer}.{part}");
        self.shape(&format!("{name}.weight")).or_else(|| self.shape(&name))
    }

    /// Experts of a layer that have tensors of their own.
    pub fn numbered_experts(&self, stack: Stack, layer: u32) -> u32 {
        self.numbered.get(&(stack, layer)).copied().unwrap_or(0)
    }

    /// Names of the norms that layers have.
    pub fn norms(&self) -> Vec<String> {
        self.norms.iter().cloned().collect()
    }
}
