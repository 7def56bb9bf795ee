//! Reads where a GGUF file has its tensors and its vocabulary, by the format's description (`ggml/include/gguf.h`) and
//! with none of ggscope's own code: the other opinion.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// What the tests want to know of a file.
pub struct Gguf {
    /// Offset of each tensor's first byte in the file, and the most bytes it can have.
    pub tensors: HashMap<String, Extent>,
    /// `tokenizer.ggml.tokens`.
    pub vocabulary: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    /// Up to the next tensor or the end of the file: the tensor's bytes and less than one alignment of padding.
    pub room: u64,
}

const ALIGNMENT: u64 = 32;

impl Gguf {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        let mut at = Reader(&bytes, 0);
        assert_eq!(at.take(4), b"GGUF");
        assert_eq!(at.u32(), 3, "the tests know version 3");
        let (n_tensors, n_keys) = (at.u64(), at.u64());
        let mut vocabulary = vec![];
        for _ in 0..n_keys {
            let key = at.text();
            let kind = at.u32();
            assert_ne!(key, "general.alignment", "the tests know the default alignment");
            at.value(kind, (key == "tokenizer.ggml.tokens").then_some(&mut vocabulary));
        }
        let mut offsets: Vec<(String, u64)> = (0..n_tensors)
            .map(|_| {
                let name = at.text();
                let dims = at.u32();
                at.take(8 * dims as usize + 4);
                (name, at.u64())
            })
            .collect();
        let data = (at.1 as u64).next_multiple_of(ALIGNMENT);
        offsets.sort_by_key(|(_, offset)| *offset);
        let ends = offsets.iter().skip(1).map(|(_, next)| data + next).chain([bytes.len() as u64]);
        let extents: Vec<Extent> =
            offsets.iter().zip(ends).map(|((_, o), end)| Extent { offset: data + o, room: end - (data + o) }).collect();
        let tensors = offsets.into_iter().map(|(name, _)| name).zip(extents).collect();
        Self { tensors, vocabulary }
    }

    /// Panics unless the tensor's bytes are exactly `bytes` at `offset`, give or take the padding.
    pub fn assert_at(&self, name: &str, offset: u64, bytes: u64) {
        let extent = self.tensors.get(name).unwrap_or_else(|| panic!("the file has no tensor {name}"));
        assert_eq!(extent.offset, offset, "offset of {name}");
        assert!(bytes <= extent.room && extent.room - bytes < ALIGNMENT, "{name}: {bytes} bytes, room {}", extent.room);
    }

    /// The text of tokens in a byte-level vocabulary (GPT-2's: each byte is written as a letter).
    pub fn byte_level_text(&self, ids: &[i32]) -> String {
        let byte_of: HashMap<char, u8> = byte_letters().into_iter().zip(0..=255).collect();
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| self.vocabulary[id as usize].chars()).map(|letter| byte_of[&letter]).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The letter for each byte: itself if it prints, else the next one from 256 on.
fn byte_letters() -> Vec<char> {
    let mut next = 256;
    (0..=255u32)
        .map(|byte| match byte {
            33..=126 | 161..=172 | 174..=255 => char::from_u32(byte),
            _ => {
                next += 1;
                char::from_u32(next - 1)
            }
        })
        .map(|letter| letter.expect("a letter"))
        .collect()
}

struct Reader<'a>(&'a [u8], usize);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let taken = &self.0[self.1..self.1 + n];
        self.1 += n;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("8 bytes"))
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        String::from_utf8_lossy(self.take(length)).into_owned()
    }

    fn value(&mut self, kind: u32, mut texts: Option<&mut Vec<String>>) {
        match kind {
            0 | 1 | 7 => {
                self.take(1);
            }
            2 | 3 => {
                self.take(2);
            }
            4..=6 => {
                self.take(4);
            }
            10..=12 => {
                self.take(8);
            }
            8 => {
                let text = self.text();
                if let Some(texts) = &mut texts {
                    texts.push(text);
                }
            }
            9 => {
                let (element, length) = (self.u32(), self.u64());
                (0..length).for_each(|_| self.value(element, texts.as_deref_mut()));
            }
            other => panic!("no such metadata type: {other}"),
        }
    }
}
