//! Headers that are right, and every way in which they are wrong.

use super::*;
use crate::gguf::Severity;
use crate::testing::{self, Dtype, Entry, Fixture, Put};

/// A header with one pair of each sort and one tensor.
fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    fixture
        .general("a", "text")
        .general("b", Put::I32(-3))
        .general("c", vec!["x".to_owned(), "yz".to_owned()])
        .general("d", Put::F32(1e-5))
        .tensor("w", Dtype::F32, &[8]);
    fixture
}

fn bytes(fixture: &Fixture) -> Vec<u8> {
    let mut bytes = fixture.header();
    bytes.resize(bytes.len() + fixture.weights() as usize, 0);
    bytes
}

/// Findings of a file, each as what is said.
fn said(bytes: &[u8]) -> Vec<String> {
    Header::examine(bytes, &Holes::NONE).1.into_iter().map(|f| f.what).collect()
}

/// The only finding of a file.
fn only(bytes: &[u8]) -> Finding {
    let findings = Header::examine(bytes, &Holes::NONE).1;
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.into_iter().next().unwrap()
}

#[test]
fn a_header_says_what_was_written() {
    let bytes = bytes(&fixture());
    let (header, findings) = Header::examine(&bytes, &Holes::NONE);
    assert_eq!((findings, header.complete, header.version), (vec![], true, 3));
    assert_eq!(header.get("a").and_then(Value::text), Some("text"));
    assert_eq!(header.get("b"), Some(&Value::Signed(-3)));
    let Some(&Value::Strings { at, count }) = header.get("c") else { panic!("{:?}", header.get("c")) };
    let strings: Vec<&[u8]> = string_ranges(&bytes, at, count).unwrap().into_iter().map(|r| &bytes[r]).collect();
    assert_eq!(strings, [&b"x"[..], b"yz"]);
    assert_eq!(header.pair("d").unwrap().brief(), "0.00001");
    let keys: Vec<(&str, u64)> = header.pairs.iter().map(|p| (p.key.as_str(), p.at)).collect();
    assert_eq!(keys, [("a", 24), ("b", 49), ("c", 66), ("d", 110)]);
    let table = 110 + 9 + 4 + 4;
    let w = TensorInfo { name: "w".into(), ne: [8, 1, 1, 1], n_dims: 1, type_id: 0, offset: 160, at: table };
    assert_eq!((header.tensors, header.data), (vec![w], 160));
}

#[test]
fn every_prefix_is_an_error() {
    let bytes = bytes(&fixture());
    for len in 0..bytes.len() - 32 {
        assert!(Header::parse(&bytes[..len], &Holes::NONE).is_err(), "cut at {len}");
    }
    for len in 0..bytes.len() {
        let (_, findings) = Header::examine(&bytes[..len], &Holes::NONE);
        assert!(findings.iter().any(|f| f.severity > Severity::Notice), "cut at {len}");
    }
}

#[test]
fn huge_counts_and_lengths_are_errors_and_cost_nothing() {
    let bytes = bytes(&fixture());
    for at in 4..bytes.len() - 39 {
        for huge in [1_u64 << 60, u64::MAX, 1 << 40] {
            let mut damaged = bytes.clone();
            damaged[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            // Some places hold text, where any bytes will do; what counts is that it ends, soon and small.
            let _ = Header::examine(&damaged, &Holes::NONE);
        }
    }
    for (count_at, what) in [(8, "the number of tensors is 1152921504606846976"), (16, "the number of metadata pairs")]
    {
        let mut damaged = bytes.clone();
        damaged[count_at..count_at + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        let finding = only(&damaged);
        assert_eq!((finding.severity, finding.at), (Severity::Damaged, count_at as u64));
        assert!(finding.what.contains(what), "{}", finding.what);
    }
}

#[test]
fn an_error_names_the_byte_and_the_thing() {
    let mut bytes = bytes(&fixture());
    // The type of the second pair, after its key of one byte.
    bytes[49 + 9..49 + 13].copy_from_slice(&77_u32.to_le_bytes());
    let error = Header::parse(&bytes, &Holes::NONE).unwrap_err();
    assert_eq!(error, Malformed { at: 58, what: "unknown type of value 77".into() });
    let (header, _) = Header::examine(&bytes, &Holes::NONE);
    assert_eq!((header.pairs.len(), header.complete), (1, false));
    assert_eq!(header.get("a").and_then(Value::text), Some("text"), "what comes before damage is read");
}

#[test]
fn versions_that_nobody_reads_are_named() {
    let with = |version: u32| {
        let mut bytes = bytes(&fixture());
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        only(&bytes)
    };
    assert!(with(3_u32.swap_bytes()).what.contains("big-endian file (version 3)"));
    assert!(with(1).what.contains("version 1, whose counts have 32 bits"));
    assert_eq!((with(9).at, with(9).what.as_str()), (4, "GGUF version 9; versions 2 and 3 are known"));
    assert!(with(0).what.contains("version 0"));
}

#[test]
fn arrays_in_arrays_are_followed_and_a_million_of_them_are_an_error() {
    let mut nested = Fixture::default();
    let inner = |n: u32| Put::Array(4, vec![Put::U32(n); 2]);
    nested.general("a", Put::Array(9, vec![Put::Array(9, vec![inner(1), inner(2)]), Put::Array(9, vec![])]));
    nested.general("b", true);
    let bytes = bytes(&nested);
    let (header, findings) = Header::examine(&bytes, &Holes::NONE);
    assert_eq!(header.get("b"), Some(&Value::Bool(true)));
    assert_eq!(
        (findings[0].severity, findings[0].what.as_str()),
        (Severity::Refused, "the value of a is an array of arrays")
    );

    let mut deep = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\x09\0\0\0".to_vec();
    for _ in 0..1_000_000 {
        deep.extend(9_u32.to_le_bytes());
        deep.extend(1_u64.to_le_bytes());
    }
    let finding = only(&deep);
    assert!(finding.what.contains("more than 64 deep"), "{}", finding.what);
    assert_eq!(finding.severity, Severity::Damaged);
}

#[test]
fn equal_keys_and_equal_names_are_told_with_both_places() {
    let mut twice = fixture();
    twice.general("b", 7_u32).tensor("w", Dtype::F32, &[8]);
    let bytes = bytes(&twice);
    let (header, findings) = Header::examine(&bytes, &Holes::NONE);
    assert_eq!(header.get("b"), Some(&Value::Signed(-3)), "the first one counts");
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[0].what, "the key b is there twice (first at byte 49)");
    assert!(findings[1].what.starts_with("the tensor w is there twice"));
    assert!(Header::parse(&bytes, &Holes::NONE).is_err());
}

#[test]
fn keys_are_found_up_to_a_nul_as_llama_cpp_finds_them() {
    let mut f = fixture();
    f.general("e\0x", Put::Text("llama\0y".into())).general("e", 7_u32);
    let bytes = bytes(&f);
    let (header, findings) = Header::examine(&bytes, &Holes::NONE);
    assert_eq!(findings, []);
    assert_eq!(header.get("e").and_then(Value::text), Some("llama"), "the first one counts");
}

#[test]
fn shapes_that_cannot_be_are_findings() {
    let shape = |ne: &[u64]| {
        let mut f = fixture();
        f.entry(Entry { name: "odd".into(), ne: ne.to_vec(), type_id: 0, offset: 32 });
        let mut bytes = bytes(&f);
        bytes.resize(bytes.len() + 64, 0);
        said(&bytes).join("; ")
    };
    assert!(shape(&[1 << 40, 1 << 40]).contains("impossible shape"));
    assert!(shape(&[u64::MAX]).contains("impossible shape"));
    assert!(shape(&[1, 1, 1, 1, 1]).contains("has 5 dimensions"));
    assert!(shape(&[4, 0]).contains("nothing is in it"));
    assert!(shape(&[i64::MAX as u64]).contains("the tensor odd"));
}

#[test]
fn places_that_cannot_be_are_findings() {
    let place = |offset: u64, type_id: u32, ne: u64| {
        let mut f = fixture();
        f.tensor("v", Dtype::F32, &[8]);
        f.entry(Entry { name: "odd".into(), ne: vec![ne], type_id, offset });
        let mut bytes = bytes(&f);
        bytes.resize(bytes.len() + 32, 0);
        said(&bytes).join("; ")
    };
    assert_eq!(place(64, 0, 8), "");
    assert!(place(63, 0, 8).contains("no multiple of 32"));
    assert!(place(32, 0, 8).contains("shares 32 bytes from byte"));
    assert!(place(96, 0, 8).contains("should lie 96 bytes after byte"));
    assert!(place(1 << 63, 0, 8).contains("should lie"));
    assert!(place(u64::MAX, 0, 8).contains("should lie"));
    assert!(place(64, 0, 9).contains("the file ends after 32 of them"));
    assert!(place(64, 99, 8).contains("unknown type 99"));
    assert!(place(64, 2, 8).contains("no whole number of q4_0 blocks of 32"));
    let gap = {
        let mut f = fixture();
        f.entry(Entry { name: "far".into(), ne: vec![8], type_id: 0, offset: 96 });
        let mut bytes = bytes(&f);
        bytes.resize(bytes.len() + 96, 0);
        only(&bytes)
    };
    assert!(gap.what.contains("without gaps"), "{}", gap.what);
    assert_eq!(gap.severity, Severity::Refused);
}

#[test]
fn an_alignment_is_a_power_of_two() {
    let with = |value: Put| {
        let mut f = fixture();
        f.general("general.alignment", value);
        bytes(&f)
    };
    for (bad, what) in [
        (Put::U32(0), "0, which is no power of two"),
        (Put::U32(33), "33, which is no power of two"),
        (Put::Text("32".into()), "of type string, not u32"),
        (Put::U64(32), "of type u64, not u32"),
    ] {
        let file = with(bad);
        assert!(said(&file)[0].contains(what), "{:?}", said(&file));
        assert!(Header::parse(&file, &Holes::NONE).is_err());
    }
    assert_eq!(Header::examine(&with(Put::U32(16)), &Holes::NONE).0.alignment, 16);
}

#[test]
fn bytes_after_the_last_tensor_are_noticed() {
    let mut bytes = bytes(&fixture());
    bytes.resize(bytes.len() + 100, 0);
    let finding = only(&bytes);
    assert_eq!((finding.severity, finding.at), (Severity::Notice, 192));
    assert_eq!(finding.what, "100 bytes after the last tensor belong to nothing");
    assert!(Header::parse(&bytes, &Holes::NONE).is_ok());
}

#[test]
fn a_file_that_is_bad_everywhere_has_a_short_list_of_findings() {
    let mut f = Fixture::default();
    for _ in 0..10_000 {
        f.entry(Entry { name: "x".repeat(100), ne: vec![3], type_id: 77, offset: 5 });
    }
    let (header, findings) = Header::examine(&bytes(&f), &Holes::NONE);
    assert_eq!(header.tensors.len(), 10_000);
    assert!(findings.len() <= 102, "{}", findings.len());
    assert!(findings.iter().any(|f| f.what.ends_with("more like these")));
}

#[test]
fn a_model_of_a_terabyte_is_read_like_a_small_one() {
    let big = testing::Shape { layers: 500, hidden: 32_768, ff: 131_072, ..testing::LLAMA_8B };
    let fixture = testing::llama(big, false);
    assert!(fixture.weights() > 1 << 40);
    assert_eq!(fixture.model().tensors().count(), 500 * 9 + 3);
}
