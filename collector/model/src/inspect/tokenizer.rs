//! The tokenizer of a model in a few lines: which one it is, how many tokens of which sort, the special ones.

use crate::gguf::{Gguf, Scalar, Value};
use serde::Serialize;
use utoipa::ToSchema;

/// A token with a meaning of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SpecialToken {
    /// What it means, such as `bos`.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// Its text as the vocabulary writes it, if it is in it.
    pub text: Option<String>,
}

/// Tokens of one sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenSort {
    /// `normal`, `unknown`, `control`, `user defined`, `unused` or `byte`.
    pub name: String,
    /// How many there are.
    pub tokens: u64,
}

/// A tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tokenizer {
    /// `tokenizer.ggml.model`, such as `gpt2`.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is cut before.
    pub pre: Option<String>,
    /// Tokens.
    pub tokens: u64,
    /// Merges of pairs.
    pub merges: u64,
    /// Tokens by sort.
    pub sorts: Vec<TokenSort>,
    /// Tokens with a meaning of their own.
    pub special: Vec<SpecialToken>,
    /// A text begins with a `bos` token.
    pub add_bos: Option<bool>,
    /// A text ends with an `eos` token.
    pub add_eos: Option<bool>,
    /// Bytes of the chat template.
    pub chat_template_bytes: Option<u64>,
}

impl Tokenizer {
    /// The tokenizer of a model, if it has one.
    pub fn of(model: &Gguf) -> Option<Tokenizer> {
        let file = model.first();
        let key = |name: &str| file.header().get(&format!("tokenizer.ggml.{name}"));
        let count = |name: &str| match key(name) {
            Some(&Value::Strings { count, .. }) => count,
            _ => 0,
        };
        let flag = |name: &str| match key(name) {
            Some(&Value::Bool(value)) => Some(value),
            _ => None,
        };
        let text = |name: &str| key(name).and_then(Value::text).map(str::to_owned);
        let model_name = text("model")?;
        let mut special = special(model);
        let wanted: Vec<u64> = special.iter().map(|s| s.id).collect();
        for (id, text) in file.some_strings("tokenizer.ggml.tokens", &wanted) {
            let named = special.iter_mut().filter(|s| s.id == id);
            named.for_each(|s| s.text = Some(String::from_utf8_lossy(&text).into_owned()));
        }
        Some(Tokenizer {
            model: model_name,
            pre: text("pre"),
            tokens: count("tokens"),
            merges: count("merges"),
            sorts: sorts(model),
            special,
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            chat_template_bytes: file
                .header()
                .get("tokenizer.chat_template")
                .and_then(Value::text)
                .map(|text| text.len() as u64),
        })
    }
}

/// Keys `tokenizer.ggml.<name>_token_id`.
fn special(model: &Gguf) -> Vec<SpecialToken> {
    let pairs = model.first().header().pairs.iter();
    let named = pairs.filter_map(|pair| {
        let name = pair.key.strip_prefix("tokenizer.ggml.")?.strip_suffix("_token_id")?;
        Some(SpecialToken { name: name.to_owned(), id: pair.value.integer()?, text: None })
    });
    named.take(64).collect()
}

fn sorts(model: &Gguf) -> Vec<TokenSort> {
    // `llama_token_type`.
    const NAMES: [&str; 7] = ["undefined", "normal", "unknown", "control", "user defined", "unused", "byte"];
    let mut counts = [0_u64; NAMES.len()];
    let key = "tokenizer.ggml.token_type";
    if let Some(Value::Scalars { kind: Scalar::I32 | Scalar::U32, .. }) = model.first().header().get(key) {
        for id in model.first().words(key) {
            if let Some(count) = counts.get_mut(id as usize) {
                *count += 1;
            }
        }
    }
    let sorts = NAMES.iter().zip(counts).filter(|(_, tokens)| *tokens > 0);
    sorts.map(|(name, tokens)| TokenSort { name: (*name).to_owned(), tokens }).collect()
}
