//! Texts of tokens, in every kind of vocabulary that llama.cpp has: whole vocabularies of ordinary, odd and hostile tokens
//! are compared with what llama.cpp's own detokeniser makes of the same files, byte for byte.

#[path = "support/mod.rs"]
mod support;

use ggscope_model::gguf::Gguf;
use ggscope_model::testing::{Fixture, Put};
use std::path::Path;
use std::process::Command;
use support::{hosts, vendored};

const NORMAL: i32 = 1;
const BYTE: i32 = 6;

/// Texts of the kinds that vocabularies have, and of some that they should not.
fn odd_texts() -> Vec<Vec<u8>> {
    let texts = [
        "▁",
        "▁▁",
        "▁the",
        "the▁end",
        "Ġthe",
        "Ċ",
        "Ã©",
        "é",
        "日本語",
        "👨‍👩‍👧",
        "a b",
        " ",
        "\t",
        "\n",
        "\r\n",
        "<0x0A>",
        "<0x0a",
        "<0xZZ>",
        "<0x100>",
        "0x41",
        "<|im_start|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|channel|>",
        "<｜end▁of▁sentence｜>",
        "<｜fim▁begin｜>",
        "▁<SUF>",
        "<｜fim▁end｜>",
        "[PAD]",
        "<|file_sep|>",
        "<reponame>",
        "</s>",
        "<eos>",
        "<|tool_response>",
        "<|plamo:eos|>",
        "[unused7]",
        "<unused7>",
        "##ing",
        r"\n",
        r"\x41",
        r"\xe4\xbd",
        r"\\",
        r"\'",
        r"\q",
        r"\x4",
        r"\",
        r"\xZZ",
        r"a\x20b",
        "<oov>",
        "ACGT\u{e000}",
        "\u{e000}",
        "\u{202e}",
        "\x1b[2J",
        "\u{10ffff}",
        "\u{143}",
        "\u{142}",
        "\u{100}",
        "\u{ad}",
        "[EOT]",
        "_<EOT>",
        "[e~[",
        "<turn|>",
        "x\0y",
        "",
        "\0",
    ];
    let no_text: [&[u8]; 7] =
        [b"\xff", b"a\xffb", b"\xc3(", b"\xe2\x96", b"\xc1\x81", b"\xed\xa0\x80", b"\\\xff\\x\xff\xff"];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(no_text.iter().map(|bytes| bytes.to_vec())).collect()
}

/// As llama.cpp reads them, each once: it refuses a file that has a token twice.
fn once(texts: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut seen = std::collections::HashSet::new();
    let read = |text: &Vec<u8>| text.split(|&b| b == 0).next().unwrap_or_default().to_vec();
    let texts: Vec<Vec<u8>> = texts.into_iter().filter(|t| read(t).is_empty() || seen.insert(read(t))).collect();
    texts
}

/// Every odd text with every type, told apart by what is behind it, then as it is.
fn odd_tokens(byte_texts: bool) -> Vec<(Vec<u8>, i32)> {
    let types = (0..=8).filter(|&t| t != BYTE || byte_texts);
    let mut tokens: Vec<(Vec<u8>, i32)> = vec![];
    for (i, text) in odd_texts().into_iter().enumerate() {
        for kind in types.clone() {
            // A NUL ends what llama.cpp reads.
            let mut written = text.split(|&b| b == 0).next().unwrap_or_default().to_vec();
            written.extend(format!("{i}_{kind}").bytes());
            tokens.push((written, kind));
        }
    }
    tokens
        .extend(odd_texts().into_iter().zip((0..=8).cycle()).map(|(t, kind)| (t, if kind == BYTE { 1 } else { kind })));
    tokens
}

fn byte_tokens() -> impl Iterator<Item = (Vec<u8>, i32)> {
    (0..256).map(|byte| (format!("<0x{byte:02X}>").into_bytes(), BYTE))
}

/// A vocabulary in RWKV World's notation of all bytes.
fn escaped_bytes() -> impl Iterator<Item = (Vec<u8>, i32)> {
    (0..256_u32).map(|byte| (format!("\\x{byte:02x}").into_bytes(), NORMAL))
}

struct Vocabulary {
    model: &'static str,
    pre: Option<&'static str>,
    tokens: Vec<(Vec<u8>, i32)>,
    without_types: bool,
    keys: Vec<(&'static str, u32)>,
}

impl Vocabulary {
    fn new(
        model: &'static str,
        pre: Option<&'static str>,
        tokens: impl IntoIterator<Item = (Vec<u8>, i32)>,
    ) -> Vocabulary {
        let first = (b"<unk>".to_vec(), 2);
        let tokens = [first].into_iter().chain(tokens).collect();
        Vocabulary { model, pre, tokens, without_types: false, keys: vec![] }
    }

    fn write(&self, path: &Path) {
        let texts = once(self.tokens.iter().map(|t| t.0.clone()).collect());
        let kind_of: std::collections::HashMap<&[u8], i32> =
            self.tokens.iter().rev().map(|(text, kind)| (text.as_slice(), *kind)).collect();
        let kinds: Vec<i32> = texts.iter().map(|text| kind_of[text.as_slice()]).collect();
        let mut fixture = Fixture::new("llama");
        fixture.general("tokenizer.ggml.model", self.model);
        if let Some(pre) = self.pre {
            fixture.general("tokenizer.ggml.pre", pre);
        }
        if !self.without_types {
            fixture.general("tokenizer.ggml.token_type", kinds);
        }
        fixture.general("tokenizer.ggml.scores", texts.iter().map(|text| -(text.len() as f32)).collect::<Vec<f32>>());
        fixture.general("tokenizer.ggml.tokens", texts);
        for (key, id) in &self.keys {
            fixture.general(&format!("tokenizer.ggml.{key}"), Put::U32(*id));
        }
        fixture.general("tokenizer.ggml.merges", vec!["a b".to_owned()]).write(path);
    }

    fn compare(&self) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vocabulary.gguf");
        self.write(&path);
        assert_equal(&path, &format!("{} {:?}", self.model, self.pre));
    }
}

/// Compares a whole vocabulary, and returns its size.
fn assert_equal(path: &Path, what: &str) -> usize {
    let output = Command::new(hosts::pieces()).arg(path).env_remove("LD_PRELOAD").output().expect("pieces runs");
    let log = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = log.lines().rev().take(10).collect();
    assert!(output.status.success(), "{what}: llama.cpp does not load it: {tail:#?}");
    let theirs: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let gguf = Gguf::open(path).unwrap();
    let vocab = gguf.vocab().unwrap_or_else(|| panic!("{what}: no vocabulary"));
    assert_eq!(vocab.len(), theirs.len(), "{what}");
    let hexadecimal = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let differ: Vec<String> = theirs
        .iter()
        .enumerate()
        .map(|(id, theirs)| (id, hexadecimal(vocab.text(id as i32).expect("a token")), theirs))
        .filter(|(_, ours, theirs)| ours != *theirs)
        .map(|(id, ours, theirs)| format!("token {id}: {ours} here, {theirs} there"))
        .collect();
    assert!(differ.is_empty(), "{what}: {} differ: {:#?}", differ.len(), &differ[..differ.len().min(20)]);
    theirs.len()
}

#[test]
fn sentence_piece() {
    Vocabulary::new("llama", None, byte_tokens().chain(odd_tokens(false))).compare();
    // What stands where a byte's number is expected is read leniently.
    let odd_bytes = ["<0xG1>", "abc-1", "abc 7 ", "0x0", "<0x+f>"].map(|text| (text.as_bytes().to_vec(), BYTE));
    Vocabulary::new("llama", None, byte_tokens().chain(odd_bytes)).compare();
    let untyped = Vocabulary::new("llama", None, byte_tokens().chain(odd_tokens(false)));
    Vocabulary { without_types: true, ..untyped }.compare();
}

#[test]
fn merges_in_every_way_to_write_spaces() {
    let all = || byte_tokens().chain(odd_tokens(false));
    for pre in [
        None,
        Some("default"),
        Some("gpt-2"),
        Some("llama-bpe"),
        Some("qwen2"),
        Some("deepseek-v3"),
        Some("kimi-k2"),
        Some("gemma4"),
        Some("granite-embed-multi-311m"),
        Some("mmbert"),
        Some("sarvam-moe"),
        Some("tekken"),
        Some("gpt-4o"),
    ] {
        Vocabulary::new("gpt2", pre, all()).compare();
    }
    Vocabulary::new("gemma4", None, all()).compare();
    Vocabulary::new("whitespace", Some("whitespace"), all()).compare();
}

#[test]
fn tokens_that_keys_name_are_not_looked_for() {
    let keys = ["fim_pre_token_id", "suffix_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id"];
    for id in [3, 1 << 30] {
        let vocabulary = Vocabulary::new("llama", None, byte_tokens().chain(odd_tokens(false)));
        Vocabulary { keys: keys.map(|key| (key, id)).to_vec(), ..vocabulary }.compare();
    }
}

#[test]
fn word_piece() {
    Vocabulary::new("bert", None, odd_tokens(false)).compare();
}

#[test]
fn unigrams() {
    Vocabulary::new("t5", None, byte_tokens().chain(odd_tokens(false))).compare();
}

#[test]
fn rwkv() {
    Vocabulary::new("rwkv", None, escaped_bytes().chain(odd_tokens(true))).compare();
}

#[test]
fn plamo2() {
    Vocabulary::new("plamo2", None, byte_tokens().chain(odd_tokens(true))).compare();
}

#[test]
fn a_vocabulary_of_numbers() {
    Vocabulary::new("test", None, odd_tokens(true)).compare();
}

#[test]
fn dna() {
    let kmers = ["<oov>", "AC\u{e000}", "CG\u{e000}", "\u{e000}", "T"].map(|text| (text.as_bytes().to_vec(), NORMAL));
    Vocabulary::new("hybriddna", None, kmers).compare();
}

#[test]
fn a_model_without_a_vocabulary_has_no_texts() {
    let mut fixture = Fixture::new("llama");
    fixture.general("tokenizer.ggml.model", "no_vocab").general("tokenizer.ggml.tokens", vec!["a".to_owned()]);
    assert!(fixture.model().vocab().is_none());
}

#[test]
fn the_demo_model() {
    assert_eq!(assert_equal(&vendored::demo_model(), "the demo model"), 49_152);
}
