//! A directory of our own that nobody else can enter, removed when dropped. Its path is short and plain: a socket's path
//! has 107 bytes at most, and `LD_PRELOAD` cannot name a path with a space or a colon.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Leaves room for a file name below the 107 bytes of a socket's path.
const MAX_PATH_BYTES: usize = 80;

/// A temporary directory with mode 0700.
#[derive(Debug)]
pub struct PrivateDir(PathBuf);

impl PrivateDir {
    /// Creates it in `$TMPDIR` or, if that does not do, in `/tmp`.
    ///
    /// # Errors
    /// When neither can be written.
    pub fn create() -> io::Result<PrivateDir> {
        let parent = std::env::temp_dir();
        let fits = parent.as_os_str().len() <= MAX_PATH_BYTES && is_preloadable(parent.as_os_str());
        if let (true, Ok(dir)) = (fits, PrivateDir::create_in(&parent)) {
            return Ok(dir);
        }
        PrivateDir::create_in(Path::new("/tmp"))
    }

    fn create_in(parent: &Path) -> io::Result<PrivateDir> {
        let template = CString::new(parent.join("ggscope-XXXXXX").into_os_string().into_vec())?;
        let template = template.into_raw();
        // SAFETY: `template` is a C string of our own; mkdtemp changes its last six bytes in place.
        let made = unsafe { libc::mkdtemp(template) };
        let error = io::Error::last_os_error();
        // SAFETY: it came from `into_raw` above and has kept its length.
        let template = unsafe { CString::from_raw(template) };
        if made.is_null() {
            return Err(error);
        }
        Ok(PrivateDir(OsStr::from_bytes(template.as_bytes()).into()))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether the dynamic linker takes the path as one entry of `LD_PRELOAD`: it splits at spaces and colons and expands
/// what begins with a dollar sign.
pub(super) fn is_preloadable(path: &OsStr) -> bool {
    !path.as_bytes().iter().any(|b| b.is_ascii_whitespace() || matches!(b, b':' | b'$'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_we_can_enter_and_it_goes_away() {
        let dir = PrivateDir::create().unwrap();
        let path = dir.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(path.join("sock").as_os_str().len() < 107);
        drop(dir);
        assert!(!path.exists());
    }
}
