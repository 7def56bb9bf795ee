//! What a model is called, and what kind of model it is, in words.

use ggscope_model::inspect::{Architecture, Inspection, ModelKind};
use std::path::Path;

/// What a model is called beside others: its file's name.
pub(super) fn name(model: &Inspection) -> String {
    let path = model.files.paths.first().map_or("", String::as_str);
    let name = Path::new(path).file_name().map_or(path.into(), |f| f.to_string_lossy());
    name.trim_end_matches(".gguf").to_owned()
}

/// `llama, decoder`.
pub(super) fn kind(a: &Architecture) -> String {
    let kind = match a.kind {
        ModelKind::Decoder => "decoder",
        ModelKind::Encoder => "encoder",
        ModelKind::EncoderDecoder => "encoder and decoder",
        ModelKind::Recurrent => "recurrent decoder",
        ModelKind::Hybrid => "hybrid decoder",
        ModelKind::Diffusion => "diffusion model",
        ModelKind::Projector => "projector for images or sound",
        ModelKind::Adapter => "adapter",
        ModelKind::VocabularyOnly => "vocabulary only",
        ModelKind::Unknown => "unknown kind of model",
    };
    let name = if a.name.is_empty() { "no architecture" } else { &a.name };
    format!("{name}, {kind}")
}
