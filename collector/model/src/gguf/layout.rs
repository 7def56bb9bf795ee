//! Where tensors lie in a file: offsets become places in the file, and those that are out of range, overlap or are not
//! where llama.cpp expects them are findings.

use super::findings::Findings;
use super::header::Header;
use std::collections::HashMap;

/// Turns offsets in the weights, which begin at `header.data`, into offsets in a file of `file_bytes`.
pub(super) fn place(header: &mut Header, file_bytes: u64, findings: &mut Findings) {
    check_names(header, findings);
    let (data, alignment) = (header.data, header.alignment);
    let mut expected = Some(data);
    for t in &mut header.tensors {
        let said = t.offset;
        let size = t.nbytes();
        let at = t.at;
        t.offset = data.saturating_add(said);
        if data.checked_add(said).is_none_or(|place| place >= file_bytes) {
            // A tensor without elements takes no place, so it may stand at the end.
            if t.elements() > 0 || data.checked_add(said).is_none_or(|place| place > file_bytes) {
                findings.contradicts(
                    at,
                    format!(
                        "the tensor {} should lie {said} bytes after byte {data}, but the file has {file_bytes} bytes",
                        t.name
                    ),
                );
            }
        } else if let Some(bytes) = size.filter(|&bytes| bytes > file_bytes - t.offset) {
            let there = file_bytes - t.offset;
            findings.refused(
                at,
                format!(
                    "the tensor {} has {bytes} bytes from byte {}, but the file ends after {there} of them",
                    t.name, t.offset
                ),
            );
        }
        if !said.is_multiple_of(alignment) {
            findings.refused(at, format!("the tensor {} lies at {said}, which is no multiple of {alignment}", t.name));
        } else if let Some(place) = expected.filter(|&place| place != t.offset) {
            let (is, should) = (t.offset, place);
            findings.refused(
                at,
                format!(
                    "the tensor {} lies at byte {is}, not at {should}, where the one before it ends: llama.cpp wants \
                     tensors in the order of the table and without gaps",
                    t.name
                ),
            );
        }
        match t.ggml_type() {
            None => findings.refused(at, format!("the tensor {} has the unknown type {}", t.name, t.type_id)),
            Some(kind) if t.ne[0] >= 0 && !(t.ne[0] as u64).is_multiple_of(kind.block_size()) => {
                let (row, block) = (t.ne[0], kind.block_size());
                findings.refused(
                    at,
                    format!(
                        "the tensor {} has rows of {row}, which is no whole number of {kind} blocks of {block}",
                        t.name
                    ),
                );
            }
            // Impossible shapes are told where they are read.
            Some(_) if size.is_none() && (1..1 << 63).contains(&t.elements()) => {
                findings.refused(at, format!("the tensor {} has more bytes than 64 bits can count", t.name));
            }
            Some(_) => {}
        }
        // After a tensor of unknown size no place is expected.
        expected = size.and_then(|bytes| t.offset.checked_add(bytes)?.checked_next_multiple_of(alignment));
    }
    check_overlaps(header, findings);
    check_end(header, file_bytes, findings);
}

fn check_names(header: &Header, findings: &mut Findings) {
    let mut first: HashMap<&[u8], u64> = HashMap::with_capacity(header.tensors.len());
    for t in &header.tensors {
        if let Some(before) = first.insert(t.name.bytes(), t.at) {
            findings.refused(t.at, format!("the tensor {} is there twice (first at byte {before})", t.name));
        }
    }
}

fn check_overlaps(header: &Header, findings: &mut Findings) {
    let mut placed: Vec<(u64, u64, usize)> = header
        .tensors
        .iter()
        .enumerate()
        .filter_map(|(i, t)| t.nbytes().filter(|&n| n > 0).map(|n| (t.offset, t.offset.saturating_add(n), i)))
        .collect();
    placed.sort_unstable();
    // The one that reaches furthest, which need not be the one just before.
    let mut furthest: Option<(u64, usize)> = None;
    for (start, end, i) in placed {
        let t = &header.tensors[i];
        if let Some((reached, other)) = furthest.filter(|&(reached, _)| reached > start) {
            let (other, bytes) = (&header.tensors[other].name, reached.min(end) - start);
            findings
                .refused(t.at, format!("the tensor {} shares {bytes} bytes from byte {start} with {other}", t.name));
        }
        if furthest.is_none_or(|(reached, _)| end > reached) {
            furthest = Some((end, i));
        }
    }
}

/// Bytes after the last tensor and its padding.
fn check_end(header: &Header, file_bytes: u64, findings: &mut Findings) {
    let mut ends = header.tensors.iter().map(|t| t.nbytes().and_then(|n| t.offset.checked_add(n)));
    let Some(last) = ends.try_fold(header.end, |last, end| end.map(|end| last.max(end))) else { return };
    let padded = last.checked_next_multiple_of(header.alignment).unwrap_or(u64::MAX);
    if file_bytes > padded {
        findings.notice(last, format!("{} bytes after the last tensor belong to nothing", file_bytes - last));
    }
}
