//! Whether llama.cpp loads a model: asked of llama.cpp itself, whose loader and graph builder run in a child process on the
//! header alone (see `loader`). So a verdict is never a guess. What it says becomes a finding with its place in the file.
//! Files that are no models are held against the rules in `inspect::contents`.

mod loader;
mod reason;

use crate::gguf::{Finding, Gguf, GgufError, Severity};
use crate::inspect::contents::{self, FileKind};
use loader::{As, Load};
use std::path::Path;

/// Memory that every load may take, in bytes.
const MEMORY: u64 = 256 << 20;
/// Further bytes for each byte of the header that is on disk: llama.cpp keeps a vocabulary in several tables.
const MEMORY_OF_BYTE: u64 = 64;

/// Opens the model that `path` belongs to, however damaged it is, with all that is wrong with it and with llama.cpp's verdict.
///
/// # Errors
/// When the file itself cannot be opened.
pub fn examine(path: &Path) -> Result<(Gguf, Vec<Finding>), GgufError> {
    let (model, mut findings) = Gguf::examine(path)?;
    // llama.cpp would not get further, and may be led astray.
    if findings.iter().any(|f| f.severity == Severity::Damaged) {
        return Ok((model, findings));
    }
    let kind = FileKind::of(&model);
    let what = match kind {
        None => As::Model,
        Some(FileKind::Vocabulary) => As::Vocabulary,
        Some(_) => As::Header,
    };
    let on_disk: u64 = model.files().iter().map(|file| file.header_on_disk()).sum();
    let memory = MEMORY.saturating_add(on_disk.saturating_mul(MEMORY_OF_BYTE));
    let alignment = model.files().iter().map(|file| file.header().alignment).min().unwrap_or(1);
    match loader::load(&Load { path: model.first().path(), what, memory, alignment }) {
        Ok(report) => {
            if report.ready || reason::is_draft(&report) {
                findings.iter_mut().for_each(|f| f.severity = f.severity.min(Severity::Notice));
            }
            findings.extend(reason::finding(&model, &report, memory));
        }
        Err(error) => findings.push(Finding {
            severity: Severity::Notice,
            file: None,
            at: 0,
            what: format!("cannot run llama.cpp's loader ({error}), so only the header is checked"),
        }),
    }
    findings.extend(kind.into_iter().flat_map(|kind| contents::check(&model, kind)));
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok((model, findings))
}
