//! Texts of token ids, from the tokenizer that a GGUF file carries. A vocabulary writes its tokens in a notation of its
//! own (`Ġthe`, `▁the`, `<0x0A>`); what is returned are the bytes that the token stands for in a text.

use super::value::Scalar;
use super::{GgufFile, Value};
use std::ops::Range;
use std::sync::Arc;

/// How a vocabulary writes its tokens (`tokenizer.ggml.model`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// Each byte is a printable character (GPT-2 and most since).
    Bytes,
    /// `▁` is a space, `<0xNN>` is a byte (SentencePiece).
    SentencePiece,
    /// As it is.
    Plain,
}

/// Tokens whose text is taken as it is: unknown, control and user-defined (`tokenizer.ggml.token_type`).
const LITERAL: [i64; 3] = [2, 3, 4];
/// Tokens that stand for one byte.
const BYTE: i64 = 6;

/// The vocabulary of a model.
#[derive(Debug)]
pub struct Vocab {
    file: Arc<GgufFile>,
    notation: Notation,
    tokens: Vec<Range<usize>>,
    /// Offset in the file of the tokens' types, 4 bytes each, if there are as many as tokens.
    types: Option<usize>,
}

impl Vocab {
    pub(super) fn of(file: &Arc<GgufFile>) -> Option<Vocab> {
        let tokens = file.strings("tokenizer.ggml.tokens")?;
        let notation = match file.header().get("tokenizer.ggml.model")?.text()? {
            "gpt2" | "hybriddna" => Notation::Bytes,
            "llama" | "bert" | "t5" | "plamo2" | "gemma4" => Notation::SentencePiece,
            _ => Notation::Plain,
        };
        let types = match file.header().get("tokenizer.ggml.token_type") {
            Some(&Value::Scalars { kind: Scalar::I32 | Scalar::U32, at, count }) if count == tokens.len() as u64 => {
                Some(at)
            }
            _ => None,
        };
        Some(Vocab { file: file.clone(), notation, tokens, types })
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
        let written = &self.file.map[self.tokens.get(id)?.clone()];
        let kind = self.types.map_or(1, |at| {
            let bytes = &self.file.map[at + 4 * id..at + 4 * id + 4];
            i64::from(i32::from_le_bytes(bytes.try_into().expect("4 bytes")))
        });
        Some(decode(self.notation, kind, written))
    }
}

fn decode(notation: Notation, kind: i64, written: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(written) else { return written.to_vec() };
    if LITERAL.contains(&kind) || notation == Notation::Plain {
        return written.to_vec();
    }
    if let (BYTE, Some(byte)) = (kind, byte_token(text)) {
        return vec![byte];
    }
    match notation {
        Notation::Bytes => text.chars().fold(vec![], |mut out, c| {
            match byte_of(c) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            out
        }),
        Notation::SentencePiece => byte_token(text).map_or_else(|| text.replace('▁', " ").into_bytes(), |b| vec![b]),
        Notation::Plain => written.to_vec(),
    }
}

/// `<0x0A>` is byte 10.
fn byte_token(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

/// Undoes GPT-2's table: printable bytes stand for themselves, the others follow each other from U+0100.
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        c @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(c as u8),
        c @ 0x100..=0x120 => Some((c - 0x100) as u8),
        c @ 0x121..=0x142 => Some((c - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_just_one_character() {
        let bytes: BTreeSet<u8> = (0..0x200).filter_map(|c| byte_of(char::from_u32(c)?)).collect();
        assert_eq!(bytes.len(), 256);
        let characters = (0..0x200).filter_map(|c| byte_of(char::from_u32(c)?)).count();
        assert_eq!(characters, 256);
    }

    #[test]
    fn byte_level_tokens_become_the_bytes_they_stand_for() {
        assert_eq!(decode(Notation::Bytes, 1, "Ġthe".as_bytes()), b" the");
        assert_eq!(decode(Notation::Bytes, 1, "Ċ".as_bytes()), b"\n");
        assert_eq!(decode(Notation::Bytes, 1, "Ã©".as_bytes()), "é".as_bytes());
        // DeepSeek's special tokens are not in the table and are not to be taken apart.
        assert_eq!(decode(Notation::Bytes, 3, "<｜end▁of▁sentence｜>".as_bytes()), "<｜end▁of▁sentence｜>".as_bytes());
    }

    #[test]
    fn sentence_piece_tokens_become_text() {
        assert_eq!(decode(Notation::SentencePiece, 1, "▁the".as_bytes()), b" the");
        assert_eq!(decode(Notation::SentencePiece, 6, b"<0x0A>"), b"\n");
        assert_eq!(decode(Notation::SentencePiece, 3, b"<s>"), b"<s>");
        assert_eq!(decode(Notation::Plain, 1, "▁the".as_bytes()), "▁the".as_bytes());
    }
}
