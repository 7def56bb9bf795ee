//! Everything that is known of one model from its file: what `ggscope inspect` prints and the page shows.

use super::architecture::Architecture;
use super::contents::Contents;
use super::facts::Tensor;
use super::memory::{Context, Memory};
use super::parameters::Parameters;
use super::tokenizer::Tokenizer;
use super::work::Costs;
use crate::gguf::{Finding, Gguf, GgufError, GgufFile, Pair, Severity, Value, shown};
use crate::verdict;
use serde::Serialize;
use std::path::Path;
use utoipa::ToSchema;

/// Elements of an array that are shown, unless all are wanted.
const SOME: usize = 8;
/// Elements of all arrays together that are shown if all are wanted. No vocabulary has so many, but a file may claim them.
const MOST: usize = 1 << 22;

/// One key of the metadata.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Metadata {
    /// The key.
    pub key: String,
    /// Its type in the format's words, `array of u32` for arrays.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Offset of the pair in the first file in bytes.
    pub offset: u64,
    /// The value; of an array the first elements, or all of them if they are wanted.
    pub value: serde_json::Value,
    /// Number of elements of an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// The file, or the files that a model was split into.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Files {
    /// Path of each.
    pub paths: Vec<String>,
    /// Bytes of all.
    pub bytes: u64,
    /// Version of the format.
    pub version: u32,
    /// Bytes before the weights of the first file.
    pub header_bytes: u64,
    /// Tensors begin at multiples of this many bytes.
    pub alignment: u64,
    /// Keys of the metadata.
    pub keys: u64,
    /// Tensors.
    pub tensors: u64,
}

/// What is wanted beside the facts of the file itself.
#[derive(Clone, Copy, Debug)]
pub struct InspectOptions {
    /// The context to plan for.
    pub context: Context,
    /// Tokens of that context are the model's own, up to this many, unless they were given.
    pub context_of_model: Option<u32>,
    /// A memory to fit into, in bytes.
    pub vram: Option<u64>,
    /// All elements of arrays.
    pub all: bool,
}

/// Everything that is known of one model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Inspection {
    /// `general.name`, empty if the file has none.
    pub name: String,
    /// `general.size_label`, such as `8B`.
    pub size_label: Option<String>,
    /// The files.
    pub files: Files,
    /// Whether llama.cpp takes it.
    pub valid: bool,
    /// What is in the file, if it is no model.
    pub contents: Option<Contents>,
    /// The architecture.
    pub architecture: Architecture,
    /// The tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// Parameters.
    pub parameters: Parameters,
    /// Memory.
    pub memory: Memory,
    /// Operations and bytes of tokens.
    pub costs: Costs,
    /// The metadata in the order of the file.
    pub metadata: Vec<Metadata>,
    /// The tensors in the order of the files.
    pub tensors: Vec<Tensor>,
    /// What is wrong or odd, the worst first.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// Inspects the model that `path` belongs to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn of_path(path: &Path, wanted: &InspectOptions) -> Result<Inspection, GgufError> {
        let (model, findings) = verdict::examine(path)?;
        Ok(Inspection::of(&model, findings, wanted))
    }

    /// Inspects a model that was examined, with the findings of that. What llama.cpp refuses has no caches and no costs.
    pub fn of(model: &Gguf, findings: Vec<Finding>, wanted: &InspectOptions) -> Inspection {
        let (architecture, hp) = Architecture::of(model);
        let tensors = Tensor::all(model);
        let header = model.first().header();
        let valid = findings.iter().all(|f| f.severity == Severity::Notice);
        let contents = Contents::of(model);
        let runs = valid && contents.is_none();
        let mut context = wanted.context;
        if let Some(most) = wanted.context_of_model {
            context.tokens = if architecture.context > 0 { architecture.context.min(most) } else { most };
        }
        let text = |key: &str| header.get(key).and_then(Value::text).map(str::to_owned);
        Inspection {
            name: model.name().to_owned(),
            size_label: text("general.size_label"),
            files: files(model),
            valid,
            contents,
            tokenizer: Tokenizer::of(model),
            parameters: Parameters::of(&architecture, &hp, &tensors),
            memory: if runs {
                Memory::of(&architecture, &hp, &tensors, &context, wanted.vram)
            } else {
                Memory::of_weights(&hp, &tensors, &context)
            },
            costs: if runs {
                Costs::of(&architecture, &hp, &tensors, &context, &lengths(&architecture, &context))
            } else {
                Costs::default()
            },
            metadata: all_metadata(model.first(), wanted.all),
            architecture,
            tensors,
            findings,
        }
    }
}

/// Lengths of sequences to show: steps of eight up to the context that the model was trained on, and the one asked for.
fn lengths(architecture: &Architecture, context: &Context) -> Vec<u32> {
    let most = architecture.context.clamp(512, 1 << 20).max(context.tokens);
    let mut lengths: Vec<u32> = [1, 512, 4096, 32_768, 131_072].into_iter().filter(|&n| n <= most).collect();
    lengths.push(context.tokens.max(1));
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

fn files(model: &Gguf) -> Files {
    let header = model.first().header();
    Files {
        paths: model.files().iter().map(|file| file.path().display().to_string()).collect(),
        bytes: model.bytes(),
        version: header.version,
        header_bytes: header.data.min(model.first().bytes()),
        alignment: header.alignment,
        keys: header.pairs.len() as u64,
        tensors: model.tensors().count() as u64,
    }
}

fn all_metadata(file: &GgufFile, all: bool) -> Vec<Metadata> {
    let mut left = MOST;
    let pairs = file.header().pairs.iter().map(|pair| {
        let shown = metadata(file, pair, if all { left } else { SOME });
        left -= shown.value.as_array().map_or(0, Vec::len).min(left);
        shown
    });
    pairs.collect()
}

fn metadata(file: &GgufFile, pair: &Pair, most: usize) -> Metadata {
    let scalar = |value: &Value| match *value {
        Value::Unsigned(n) => n.into(),
        Value::Signed(n) => n.into(),
        Value::Float(n) => serde_json::Number::from_f64(n).map_or_else(|| n.to_string().into(), Into::into),
        Value::Bool(b) => b.into(),
        _ => serde_json::Value::Null,
    };
    let (type_name, value, count) = match &pair.value {
        Value::Text(text) => ("string".to_owned(), text.as_str().into(), None),
        Value::Strings { count, .. } => {
            let strings = file.strings_of(&pair.value, most);
            let texts = strings.iter().map(|s| shown(s).into_owned().into()).collect();
            ("array of string".to_owned(), serde_json::Value::Array(texts), Some(*count))
        }
        Value::Arrays { count, .. } => ("array of array".to_owned(), serde_json::Value::Null, Some(*count)),
        Value::Scalars { kind, count, .. } => {
            let values = file.scalars_of(&pair.value, most);
            (format!("array of {}", kind.name()), values.iter().map(scalar).collect(), Some(*count))
        }
        value => (pair.scalar_name().to_owned(), scalar(value), None),
    };
    Metadata { key: pair.key.to_string(), type_name, offset: pair.at, value, count }
}
