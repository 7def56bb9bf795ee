//! Every tensor of a model with its role and sizes: what the sums over parameters, bytes and work are made from.

use super::role::Role;
use crate::gguf::Gguf;
use serde::Serialize;
use utoipa::ToSchema;

/// One tensor of the file.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Dimensions, the length of a row first.
    pub shape: Vec<i64>,
    /// Type, as ggml prints it; `type 99` if it is unknown.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Number of its file, where a model has several.
    pub file: u32,
    /// Offset of its first byte in that file.
    pub offset: u64,
    /// Size in bytes, if the type is known.
    pub bytes: Option<u64>,
    /// Elements.
    pub elements: u64,
    /// What it is for.
    pub role: Role,
    /// The shape as ggml has it.
    #[serde(skip)]
    pub(crate) ne: [i64; 4],
}

impl Tensor {
    /// All tensors of a model, in the order of its files.
    pub fn all(model: &Gguf) -> Vec<Tensor> {
        let files = model.files().iter().enumerate();
        let tensors = files.flat_map(|(i, file)| file.header().tensors.iter().map(move |t| (i as u32, t)));
        let facts = tensors.map(|(file, t)| Tensor {
            name: t.name.to_string(),
            shape: t.shape().to_vec(),
            type_name: t.type_name().map_or_else(|| format!("type {}", t.type_id), str::to_owned),
            file,
            offset: t.offset,
            bytes: t.nbytes(),
            elements: t.elements(),
            role: Role::of(t.name.as_c_str()),
            ne: t.ne,
        });
        facts.collect()
    }

    /// Elements of one row.
    pub(crate) fn row(&self) -> u64 {
        u64::try_from(self.ne[0]).unwrap_or(0)
    }

    /// Size in bytes, 0 if unknown.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.unwrap_or(0)
    }
}
