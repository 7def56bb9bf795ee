//! GGUF files that are no models: importance matrices, control vectors, adapters, projectors, vocabularies, and what else
//! `general.type` names. What is in them, and whether the part of llama.cpp that reads such a file takes it.

mod rules;

use super::families;
use crate::gguf::{Finding, Gguf, Header, Severity, Value};
use serde::Serialize;
use utoipa::ToSchema;

/// What a GGUF file is that is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// How much each column of the weights matters, for llama-quantize (`--imatrix`).
    ImportanceMatrix,
    /// Vectors that are added between layers (`--control-vector`).
    ControlVector,
    /// Differences to the weights of a model (`--lora`).
    Adapter,
    /// An encoder of images or sound (`--mmproj`).
    Projector,
    /// A tokenizer without weights.
    Vocabulary,
    /// Something that neither llama.cpp nor ggscope knows.
    Other,
}

impl FileKind {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::ImportanceMatrix => "importance matrix",
            FileKind::ControlVector => "control vector",
            FileKind::Adapter => "adapter",
            FileKind::Projector => "projector for images or sound",
            FileKind::Vocabulary => "vocabulary without weights",
            FileKind::Other => "unknown kind of file",
        }
    }

    /// What the tensors of a model file are for; `None` if it is a model.
    pub fn of(model: &Gguf) -> Option<FileKind> {
        let header = model.first().header();
        let general = header.get("general.type").and_then(Value::text);
        let has = |name: &str| model.tensors().any(|(_, t)| t.name == name);
        match (general, model.architecture()) {
            (Some("imatrix"), _) => Some(FileKind::ImportanceMatrix),
            (None, "") if header.get("imatrix.chunk_count").is_some() => Some(FileKind::ImportanceMatrix),
            (_, "controlvector") => Some(FileKind::ControlVector),
            (Some("adapter"), _) => Some(FileKind::Adapter),
            (Some("mmproj" | "clip-vision"), _) | (_, "clip") => Some(FileKind::Projector),
            _ if header.complete
                && model.tensors().next().is_none()
                && header.get("tokenizer.ggml.model").is_some() =>
            {
                Some(FileKind::Vocabulary)
            }
            (Some("model") | None, _) => None,
            // llama.cpp does not look at the word, so what has the parts of a model is one.
            (Some(_), arch) if families::is_known(arch) || has("token_embd.weight") => None,
            (Some(_), _) => Some(FileKind::Other),
        }
    }
}

/// One fact of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// In words.
    pub value: String,
}

/// What is in a file that is no model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Contents {
    /// What it is.
    pub kind: FileKind,
    /// `general.type`, if the file says it.
    pub general_type: Option<String>,
    /// What it holds.
    pub facts: Vec<Fact>,
}

impl Contents {
    /// What is in the file; `None` if it is a model.
    pub fn of(model: &Gguf) -> Option<Contents> {
        let kind = FileKind::of(model)?;
        let header = model.first().header();
        let facts = match kind {
            FileKind::ImportanceMatrix => importance_matrix(model),
            FileKind::ControlVector => control_vector(model),
            FileKind::Adapter => adapter(model),
            FileKind::Projector => projector(model),
            FileKind::Vocabulary => said(header, &[("architecture", "general.architecture")]),
            FileKind::Other => said(header, &[("type", "general.type"), ("architecture", "general.architecture")]),
        };
        let general_type = header.get("general.type").and_then(Value::text).map(str::to_owned);
        Some(Contents { kind, general_type, facts })
    }
}

/// What llama.cpp refuses of a file that is no model.
pub fn check(model: &Gguf, kind: FileKind) -> Vec<Finding> {
    let refused = match kind {
        FileKind::ImportanceMatrix => rules::importance_matrix(model),
        FileKind::ControlVector => rules::control_vector(model),
        FileKind::Adapter => rules::adapter(model),
        FileKind::Projector | FileKind::Vocabulary => None,
        FileKind::Other => {
            let what = "llama.cpp knows no such file: `general.type` names none of its kinds";
            Some((model.first().header().pair("general.type").map_or(0, |pair| pair.value_at), what.to_owned()))
        }
    };
    refused.into_iter().map(|(at, what)| Finding { severity: Severity::Refused, file: None, at, what }).collect()
}

/// Values of the keys that the file has.
fn said(header: &Header, keys: &[(&str, &str)]) -> Vec<Fact> {
    let fact = |(name, key): &(&str, &str)| {
        let value = header.pair(key)?.brief();
        Some(Fact { name: (*name).to_owned(), value })
    };
    keys.iter().filter_map(fact).collect()
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.to_owned(), value: value.into() }
}

/// `1 tensor`, `2 tensors`.
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn importance_matrix(model: &Gguf) -> Vec<Fact> {
    let file = model.first();
    let datasets = file.first_strings("imatrix.datasets", 4).into_iter().map(|s| crate::gguf::shown(s).into_owned());
    let mut facts = vec![];
    let datasets: Vec<String> = datasets.collect();
    if !datasets.is_empty() {
        facts.push(fact("datasets", datasets.join(", ")));
    }
    facts.extend(said(file.header(), &[("chunks", "imatrix.chunk_count"), ("chunk size", "imatrix.chunk_size")]));
    let sums = model.tensors().filter_map(|(_, t)| Some((t.name.strip_suffix(".in_sum2")?, t.elements())));
    let (tensors, columns) = sums.fold((0, 0_u64), |(n, all), (_, columns)| (n + 1, all.saturating_add(columns)));
    facts.push(fact("covers", format!("{} with {columns} columns", count(tensors, "tensor"))));
    facts
}

fn control_vector(model: &Gguf) -> Vec<Fact> {
    let mut layers: Vec<i64> = model.tensors().filter_map(|(_, t)| rules::direction(t.name.bytes())).collect();
    layers.sort_unstable();
    layers.dedup();
    let header = model.first().header();
    let mut facts = said(header, &[("made for", "controlvector.model_hint"), ("layers", "controlvector.layer_count")]);
    if let (Some(first), Some(last)) = (layers.first(), layers.last()) {
        let size = model.tensors().next().map_or(0, |(_, t)| t.elements());
        let what = count(layers.len(), "vector");
        facts.push(fact("directions", format!("{what} of {size} values, for layers {first} to {last}")));
    }
    facts
}

fn adapter(model: &Gguf) -> Vec<Fact> {
    let file = model.first();
    let mut facts = said(
        file.header(),
        &[
            ("adapter", "adapter.type"),
            ("made for", "general.architecture"),
            ("base", "general.base_model.0.name"),
            ("alpha", "adapter.lora.alpha"),
            ("task", "adapter.lora.task_name"),
            ("prefix", "adapter.lora.prompt_prefix"),
        ],
    );
    if let Some(Value::Scalars { count, .. }) = file.header().get("adapter.alora.invocation_tokens") {
        facts.push(fact("invoked by", format!("{count} tokens")));
    }
    let pairs = model.tensors().filter(|(_, t)| t.name.ends_with(".lora_b"));
    let mut ranks: Vec<i64> =
        pairs.map(|(_, t)| if t.name.contains("token_embd") { t.ne[1] } else { t.ne[0] }).collect();
    let matrices = ranks.len();
    ranks.sort_unstable();
    ranks.dedup();
    let ranks: Vec<String> = ranks.iter().take(4).map(i64::to_string).collect();
    facts.push(fact("changes", format!("{} of rank {}", count(matrices, "tensor"), ranks.join(", "))));
    facts
}

fn projector(model: &Gguf) -> Vec<Fact> {
    let header = model.first().header();
    let mut facts = said(
        header,
        &[
            ("projector", "clip.projector_type"),
            ("for images", "clip.vision.projector_type"),
            ("for sound", "clip.audio.projector_type"),
            ("image size", "clip.vision.image_size"),
            ("patch size", "clip.vision.patch_size"),
            ("mel bins", "clip.audio.num_mel_bins"),
        ],
    );
    for (name, part) in [("image", "vision"), ("sound", "audio")] {
        let number = |key: &str| header.get(&format!("clip.{part}.{key}")).and_then(Value::integer);
        if let (Some(layers), Some(hidden)) = (number("block_count"), number("embedding_length")) {
            let to = number("projection_dim").map_or(String::new(), |n| format!(", projected to {n}"));
            facts.push(fact(&format!("{name} layers"), format!("{layers} of hidden size {hidden}{to}")));
        }
    }
    facts
}

#[cfg(test)]
mod tests;
