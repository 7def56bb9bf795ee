//! Texts of token ids, from the tokenizer that a GGUF file carries. A vocabulary writes its tokens in a notation of its
//! own (`Ġthe`, `▁the`, `<0x0A>`, `\n`); what is returned are the bytes that the token stands for in a text. They are
//! those of llama.cpp's `llama_token_to_piece` with `special`, byte for byte; `tests/vocabularies.rs` compares them.

use super::pieces;
use super::value::Scalar;
use super::{GgufFile, Value};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

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
    /// The token of each of [`FILL_IN`] that is special by its text, looked for when a token has such a text: recording a
    /// program is not to wait until every token of a large vocabulary was compared.
    fill_in: [OnceLock<Option<usize>>; FILL_IN.len()],
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
        let mut vocab =
            Vocab { file: file.clone(), notation, tokens, types, fill_in: Default::default(), marked_from: 0 };
        vocab.marked_from = if model == "hybriddna" { vocab.position("<oov>").map_or(0, |at| at + 1) } else { 0 };
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
            [kind::UNKNOWN, kind::CONTROL, kind::USER_DEFINED].contains(&kind) || self.is_special_by_text(id);
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

    fn is_special_by_text(&self, id: usize) -> bool {
        let Some(written) = self.written(id) else { return false };
        let is_one_of = |texts: &[&str]| texts.iter().any(|text| text.as_bytes() == written);
        let is_first_of = |(group, (keys, texts)): (usize, &(&[&str], &[&str]))| {
            is_one_of(texts) && *self.fill_in[group].get_or_init(|| self.first_of(keys, texts)) == Some(id)
        };
        is_one_of(SPECIAL) || FILL_IN.iter().enumerate().any(is_first_of)
    }

    /// The first token that has one of the texts, unless a key of the file names one.
    fn first_of(&self, keys: &[&str], texts: &[&str]) -> Option<usize> {
        if keys.iter().any(|key| self.names_a_token(&format!("tokenizer.ggml.{key}"))) {
            return None;
        }
        let is_one = |written: &[u8]| texts.iter().any(|text| text.as_bytes() == written);
        (0..self.len()).find(|&id| self.written(id).is_some_and(is_one))
    }

    fn names_a_token(&self, key: &str) -> bool {
        let id = self.file.header().get(key).and_then(Value::integer);
        id.is_some_and(|id| id < self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    #[test]
    fn no_token_is_compared_before_one_is_asked_for_that_may_be_special() {
        let mut fixture = Fixture::new("llama");
        let tokens: Vec<String> = ["a", "</s>", "<PRE>", "<fim_prefix>", "<PAD>"].map(str::to_owned).into();
        fixture.general("tokenizer.ggml.model", "llama").general("tokenizer.ggml.tokens", tokens);
        let model = fixture.general("tokenizer.ggml.fim_pad_token_id", 0_u32).model();
        let vocab = model.vocab().unwrap();
        let looked_for = || vocab.fill_in.iter().filter(|group| group.get().is_some()).count();
        let is_special = |ids: &[usize]| ids.iter().map(|&id| vocab.is_special_by_text(id)).collect::<Vec<_>>();
        assert_eq!(is_special(&[0, 1, 9]), [false, true, false]);
        assert_eq!(looked_for(), 0);
        // The first of two, and none where a key names one.
        assert_eq!(is_special(&[3, 2, 4]), [false, true, false]);
        assert_eq!(looked_for(), 2);
    }
}
