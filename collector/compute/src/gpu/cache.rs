//! Compiled kernels on disk, so that they are compiled once a machine. An entry is a checksum and what was compiled, under
//! a name made of all that it depends on; one that is damaged counts as missing, and a cache that cannot be written is none.

use super::backend::Module;
use super::nvrtc::{Nvrtc, Target, options};
use crate::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Where an entry is.
fn entry(folder: &Path, module: Module, target: Target, version: (i32, i32)) -> PathBuf {
    let key = format!("{version:?} {target:?} {} {}", options(target).join(" "), module.source());
    folder.join(format!("{}-{:032x}", module.file(), xxh3_128(key.as_bytes())))
}

/// The compiled kernels: from the folder if they are there, else compiled and put there.
pub(crate) fn compiled(nvrtc: &Nvrtc, folder: Option<&Path>, module: Module, target: Target) -> Result<Vec<u8>, Error> {
    let path = folder.map(|folder| entry(folder, module, target, nvrtc.version));
    if let Some(found) = path.as_deref().and_then(read) {
        return Ok(found);
    }
    let bytes = nvrtc.compile(module, target)?;
    if let Some(path) = path {
        // It runs as well without.
        let _ = write(&path, &bytes);
    }
    Ok(bytes)
}

/// Removes an entry that turned out to be of no use.
pub(crate) fn forget(nvrtc: &Nvrtc, folder: Option<&Path>, module: Module, target: Target) {
    if let Some(folder) = folder {
        let _ = std::fs::remove_file(entry(folder, module, target, nvrtc.version));
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (sum, compiled) = bytes.split_first_chunk::<16>()?;
    (*sum == xxh3_128(compiled).to_le_bytes()).then(|| compiled.to_vec())
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(folder)?;
    // Whole or not at all, also with two processes at it.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&xxh3_128(bytes).to_le_bytes())?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
