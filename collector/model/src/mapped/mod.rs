//! Files that are mapped to be read while other programs may cut, overwrite or delete them, or their file system may go
//! away. A page that cannot be read becomes one of zeros instead of a signal that ends this process, and [`Mapped::lost`]
//! reports it. [`Stamp`] shows whether a file is still the one that was opened.

mod lost_pages;

pub use lost_pages::Guard;

use crate::gguf::open_regular;
use memmap2::Mmap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// All of a file, mapped to be read.
#[derive(Debug)]
pub struct Mapped {
    // Dropped in this order: what is guarded is still mapped.
    guard: Guard,
    map: Mmap,
}

impl Mapped {
    /// Maps all that `file` has now.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn of(file: &File) -> io::Result<Mapped> {
        // SAFETY: the mapping is only read. A page that vanishes is replaced by the guard. Another program that writes
        // to the file changes bytes under their readers, who check every number that they read and compare the file's
        // stamp or a checksum before they use what they made of it.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Mapped { guard: Guard::new(map.as_ptr(), map.len()), map })
    }

    /// Whether a page could not be read. Its bytes were then read as zeros.
    pub fn lost(&self) -> bool {
        self.guard.lost()
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// What shows that a file has changed: which file it is, its length, and when it was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// Which file it is, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Device and inode of a file as the kernel shows them in `/proc/PID/maps` of a process that maps it. On some file
    /// systems they are not those of `stat`. `None` if it cannot be mapped.
    pub fn as_mapped(path: &Path) -> Option<(u64, u64)> {
        let mapped = Mapped::of(&open_regular(path).ok()?).ok()?;
        let begin = format!("{:x}-", mapped.as_ptr() as usize);
        let maps = std::fs::read("/proc/self/maps").ok()?;
        let line = maps.split(|&byte| byte == b'\n').find_map(|line| {
            let line = String::from_utf8_lossy(line);
            line.starts_with(&begin).then(|| line.into_owned())
        })?;
        let mut fields = line.split(' ').skip(3);
        let (major, minor) = fields.next()?.split_once(':')?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        Some((number(major)? << 32 | number(minor)?, fields.next()?.parse().ok()?))
    }
}

impl Stamp {
    /// Which file it is of.
    pub fn file(&self) -> FileId {
        FileId { device: self.device, inode: self.inode }
    }

    /// The stamp of an open file.
    ///
    /// # Errors
    /// When the system does not give it.
    pub fn of(file: &File) -> io::Result<Stamp> {
        file.metadata().map(|metadata| Stamp::from(&metadata))
    }

    /// The stamp of the file that `path` leads to.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_path(path: &Path) -> io::Result<Stamp> {
        path.metadata().map(|metadata| Stamp::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(of: &Metadata) -> Stamp {
        Stamp { device: of.dev(), inode: of.ino(), bytes: of.len(), modified: (of.mtime(), of.mtime_nsec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_that_is_cut_under_its_readers_reads_as_zeros_and_says_so() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 3 << 16]).unwrap();
        let (mapped, before) = (Mapped::of(&file).unwrap(), Stamp::of(&file).unwrap());
        assert_eq!((mapped[2 << 16], mapped.lost()), (7, false));
        file.set_len(1).unwrap();
        assert_eq!((mapped[2 << 16], mapped.lost()), (0, true));
        assert_ne!(Stamp::of(&file).unwrap(), before);
    }

    #[test]
    fn a_file_is_known_by_what_the_kernel_shows_of_its_mapping() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "a").unwrap();
        std::fs::write(&b, "b").unwrap();
        let of = |path: &Path| FileId::as_mapped(path).unwrap();
        assert!(of(&a) == of(&a) && of(&a) != of(&b) && of(&a).1 > 0);
        std::fs::rename(&b, &a).unwrap();
        assert_eq!(FileId::as_mapped(&b), None);
    }

    #[test]
    fn a_file_that_was_deleted_is_still_the_one_that_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        std::fs::write(&path, [1; 100]).unwrap();
        let file = File::open(&path).unwrap();
        let (mapped, before) = (Mapped::of(&file).unwrap(), Stamp::of(&file).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!((mapped[99], mapped.lost(), Stamp::of(&file).unwrap()), (1, false, before));
        std::fs::write(&path, [1; 100]).unwrap();
        assert_ne!(Stamp::of_path(&path).unwrap(), before);
    }
}
