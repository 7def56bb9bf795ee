//! Texts of token ids, from the tokenizer that a GGUF file carries. A vocabulary writes its tokens in a notation of its
//! own (`Ġthe`, `▁the`, `<0x0A>`, `\n`); what is returned are the bytes that the token stands for in a text. They are
//! those of llama.cpp's `llama_token_to_piece` with `special`, byte for byte; `tests/vocabularies.rs` compares them.

use super::pieces;
use super::value::Scalar;
use super::{GgufFile, Value};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// How a vocabulary writes its tokens (`tokenizer.ggml.model`, and for some `tokenizer.ggml.pre`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// Each byte is a printable character (GPT-2 and most since).
    Bytes,
    /// `▁` is a space, `<0xNN>` is a byte (SentencePiece, WordPiece, and some newer vocabularies with merges).
    Spaces,
    /// Backslash escapes, for tokens of all kinds (RWKV World).
    Escapes,
    /// As it is, with `<0xNN>` for bytes (PLaMo 2).
    Plain,
    /// The number of the token in hexadecimal (llama.cpp's own tests).
    Number,
}

/// Vocabularies with merges that write spaces as `▁` (`tokenizer.ggml.pre`).
const SPACES_WITH_MERGES: [&str; 4] = ["gemma4", "granite-embed-multi-311m", "mmbert", "sarvam-moe"];

/// `tokenizer.ggml.token_type` of a token.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const BYTE: i32 = 6;
}

/// Tokens that llama.cpp takes for control or user-defined tokens because of their text, not of their type.
const SPECIAL: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|constrain|>",
];

/// Tokens for filling in the middle: the keys that name one, and the texts that llama.cpp looks for if none does.
const FILL_IN: [(&[&str], &[&str]); 6] = [
    (
        &["fim_pre_token_id", "prefix_token_id"],
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        &["fim_suf_token_id", "suffix_token_id"],
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        &["fim_mid_token_id", "middle_token_id"],
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    (&["fim_pad_token_id"], &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (&["fim_rep_token_id"], &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (&["fim_sep_token_id"], &["<|file_sep|>"]),
];

/// Ends tokens of a vocabulary for DNA that would have the same text as others (U+E000).
const DNA_MARKER: &[u8] = "\u{e000}".as_bytes();

/// The vocabulary of a model.
#[derive(Debug)]
pub struct Vocab {
    file: Arc<GgufFile>,
    notation: Notation,
    tokens: Vec<Range<usize>>,
    /// Offset in the file of the tokens' types, 4 bytes each, if there are as many as tokens.
    types: Option<usize>,
    /// Tokens that are special by their text.
    special: HashSet<usize>,
    /// Tokens from this one on may end with [`DNA_MARKER`].
    marked_from: usize,
}

impl Vocab {
    pub(super) fn of(file: &Arc<GgufFile>) -> Option<Vocab> {
        let text = |key| file.header().get(key).and_then(Value::text);
        let model = text("tokenizer.ggml.model")?;
        let notation = match model {
            "none" | "no_vocab" => return None,
            "llama" | "bert" | "t5" | "gemma4" => Notation::Spaces,
            "gpt2" | "hybriddna" | "whitespace" => match text("tokenizer.ggml.pre") {
                Some(pre) if SPACES_WITH_MERGES.contains(&pre) => Notation::Spaces,
                _ => Notation::Bytes,
            },
            "rwkv" => Notation::Escapes,
            "test" => Notation::Number,
            _ => Notation::Plain,
        };
        let tokens = file.strings("tokenizer.ggml.tokens")?;
        let types = match file.header().get("tokenizer.ggml.token_type") {
            Some(&Value::Scalars { kind: Scalar::I32 | Scalar::U32, at, count }) if count >= tokens.len() as u64 => {
                Some(at)
            }
            _ => None,
        };
        let mut vocab = Vocab { file: file.clone(), notation, tokens, types, special: HashSet::new(), marked_from: 0 };
        vocab.marked_from = if model == "hybriddna" { vocab.position("<oov>").map_or(0, |at| at + 1) } else { 0 };
        vocab.special = vocab.special_tokens();
        Some(vocab)
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The bytes that a token stands for, which need not be whole characters; `None` if there is no such token.
    pub fn text(&self, id: i32) -> Option<Vec<u8>> {
        let id = usize::try_from(id).ok()?;
        let mut written = self.written(id)?;
        let empty = format!("[EMPTY_{id}]");
        if written.is_empty() {
            written = empty.as_bytes();
        }
        if (1..=id).contains(&self.marked_from) && written.len() > DNA_MARKER.len() {
            written = written.strip_suffix(DNA_MARKER).unwrap_or(written);
        }
        let kind = self.kind(id);
        let is_special =
            [kind::UNKNOWN, kind::CONTROL, kind::USER_DEFINED].contains(&kind) || self.special.contains(&id);
        Some(match (self.notation, kind) {
            (Notation::Number, _) => format!("{id:x}").into_bytes(),
            (Notation::Escapes, _) => pieces::unescaped(written),
            (Notation::Plain, kind::BYTE) if !is_special => {
                pieces::byte_token(written).map_or_else(|| written.to_vec(), |byte| vec![byte])
            }
            (Notation::Plain, _) => written.to_vec(),
            _ if is_special => written.to_vec(),
            (Notation::Spaces, kind::NORMAL) => pieces::with_spaces(written),
            (Notation::Bytes, kind::NORMAL) => pieces::from_characters(written),
            (_, kind::BYTE) => pieces::byte_anywhere(written).into_iter().collect(),
            // Unused tokens and those of unknown kinds.
            _ => vec![],
        })
    }

    /// The token as the file has it. llama.cpp reads it up to its first NUL.
    fn written(&self, id: usize) -> Option<&[u8]> {
        let written = &self.file.head()[self.tokens.get(id)?.clone()];
        Some(written.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    fn kind(&self, id: usize) -> i32 {
        self.types.map_or(kind::NORMAL, |at| {
            let bytes = &self.file.head()[at + 4 * id..at + 4 * id + 4];
            i32::from_le_bytes(bytes.try_into().expect("4 bytes"))
        })
    }

    fn position(&self, text: &str) -> Option<usize> {
        (0..self.len()).find(|&id| self.written(id) == Some(text.as_bytes()))
    }

    fn special_tokens(&self) -> HashSet<usize> {
        let with = |texts: &[&str]| -> Vec<usize> {
            let texts: HashSet<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            (0..self.len()).filter(|&id| self.written(id).is_some_and(|written| texts.contains(written))).collect()
        };
        let mut special: HashSet<usize> = with(SPECIAL).into_iter().collect();
        for (keys, texts) in FILL_IN {
            let named = keys.iter().any(|key| self.names_a_token(&format!("tokenizer.ggml.{key}")));
            special.extend(with(texts).first().filter(|_| !named));
        }
        special
    }

    fn names_a_token(&self, key: &str) -> bool {
        let id = self.file.header().get(key).and_then(Value::integer);
        id.is_some_and(|id| id < self.len() as u64)
    }
}
