//! Finds the shim, `libggscope.so`: where the user says, beside this program, or carried inside it. The dynamic linker
//! splits `LD_PRELOAD` at spaces and colons, so a shim at such a path is copied to a plain one.

use super::private_dir::{PrivateDir, is_preloadable};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Environment variable: path of the shim.
const SHIM_ENV: &str = "GGSCOPE_SHIM";
const FILE_NAME: &str = "libggscope.so";

/// The shim that the build put in here, and its xxh3.
const EMBEDDED: Option<(&[u8], u64)> = include!(concat!(env!("OUT_DIR"), "/shim.rs"));

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The one that the user names cannot be read.
    #[error("cannot read the shim {path}, which GGSCOPE_SHIM names: {source}")]
    Named {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is nowhere.
    #[error("cannot find libggscope.so beside {0} or in ../lib: install it there, or say in GGSCOPE_SHIM where it is")]
    Absent(PathBuf),
    /// It cannot be put where the dynamic linker finds it.
    #[error("cannot copy libggscope.so to {path}: {source}")]
    Copy {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Path of the shim, fit for `LD_PRELOAD`. What has to be copied goes to the user's cache, or, if that does not do, to
/// `fallback`, which is made if it is missing and has to be kept.
///
/// # Errors
/// When there is none, or it cannot be copied.
pub fn find_shim(fallback: &mut Option<PrivateDir>) -> Result<PathBuf, ShimError> {
    if let Some(path) = std::env::var_os(SHIM_ENV).filter(|path| !path.is_empty()).map(PathBuf::from) {
        // The traced program may change its directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        return match std::fs::File::open(&path) {
            Ok(_) => plain(path, fallback),
            Err(source) => Err(ShimError::Named { path, source }),
        };
    }
    let exe = std::env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("/"));
    for path in [dir.join(FILE_NAME), dir.join("../lib").join(FILE_NAME)] {
        if path.is_file() {
            return plain(path, fallback);
        }
    }
    match EMBEDDED {
        Some((bytes, hash)) => unpack(bytes, hash, fallback),
        None => Err(ShimError::Absent(exe)),
    }
}

fn plain(path: PathBuf, fallback: &mut Option<PrivateDir>) -> Result<PathBuf, ShimError> {
    if is_preloadable(path.as_os_str()) {
        return Ok(path);
    }
    let bytes = std::fs::read(&path).map_err(|source| ShimError::Copy { path, source })?;
    unpack(&bytes, xxh3_64(&bytes), fallback)
}

/// Puts the shim into the cache, or returns the one that is there already.
fn unpack(bytes: &[u8], hash: u64, fallback: &mut Option<PrivateDir>) -> Result<PathBuf, ShimError> {
    let name = format!("shim-{hash:016x}.so");
    if let Some(dir) = cache_dir().filter(|dir| is_preloadable(dir.as_os_str()))
        && let Ok(path) = unpack_to(&dir, &name, bytes)
    {
        return Ok(path);
    }
    let to =
        |dir: &Path| unpack_to(dir, &name, bytes).map_err(|source| ShimError::Copy { path: dir.join(&name), source });
    if let Some(dir) = fallback {
        return to(dir.path());
    }
    let made = PrivateDir::create().map_err(|source| ShimError::Copy { path: std::env::temp_dir(), source })?;
    to(fallback.insert(made).path())
}

fn unpack_to(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = std::fs::metadata(dir)?;
    // What lies here is loaded into programs: nobody else may put it here.
    // SAFETY: takes nothing and always succeeds.
    if metadata.uid() != unsafe { libc::getuid() } || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others can write there"));
    }
    let path = dir.join(name);
    if std::fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(path);
    }
    // Under a name of our own first: another ggscope may do the same now, and a program may be loading it.
    let partial = dir.join(format!(".{name}.{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o700)
        .open(&partial)
        .and_then(|mut file| io::Write::write_all(&mut file, bytes))
        .and_then(|()| std::fs::rename(&partial, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.map(|()| path)
}

/// `$XDG_CACHE_HOME/ggscope`, else `~/.cache/ggscope`.
fn cache_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("ggscope"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_shim_is_unpacked_once_and_mended_if_it_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache/ggscope");
        let path = unpack_to(&cache, "shim-1.so", b"code").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert_eq!(unpack_to(&cache, "shim-1.so", b"code").unwrap(), path);
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        std::fs::write(&path, "worm").unwrap();
        unpack_to(&cache, "shim-1.so", b"code").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"code");
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
        assert_eq!(std::fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn nothing_is_loaded_from_where_others_can_write() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(unpack_to(dir.path(), "shim-1.so", b"code").is_err());
    }

    #[test]
    fn a_path_that_the_linker_would_split_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut fallback = None;
        for name in ["a b.so", "a:b.so"] {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            let copy = plain(path, &mut fallback).unwrap();
            assert!(is_preloadable(copy.as_os_str()), "{}", copy.display());
            assert_eq!(std::fs::read(&copy).unwrap(), name.as_bytes());
            std::fs::remove_file(copy).unwrap();
        }
    }
}
