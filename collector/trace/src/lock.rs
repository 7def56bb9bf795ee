//! Who writes a trace file and who follows it, as the kernel knows it: locks on bytes far behind its end, which belong to
//! an open file and go with it, however its process ends (`F_OFD_SETLK`). Nobody waits for one, and where the file system
//! has none, nobody is found.

use std::fs::File;
use std::os::fd::AsRawFd;

/// The byte that is locked by who writes the file. No file reaches so far.
const WRITER: libc::off_t = 1 << 62;
/// The byte that all share who follow the file.
const FOLLOWER: libc::off_t = WRITER + 1;

fn lock(kind: libc::c_int, byte: libc::off_t) -> libc::flock {
    // `l_pid` has to be 0 for locks of open files.
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: byte, l_len: 1, l_pid: 0 }
}

fn set(file: &File, kind: libc::c_int, byte: libc::off_t) {
    let lock = lock(kind, byte);
    // SAFETY: an open descriptor and a valid lock, which is only read. Without the lock others know less.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
}

/// Whether somebody holds a lock that one of this kind would have to wait for.
fn is_held(file: &File, kind: libc::c_int, byte: libc::off_t) -> bool {
    let mut lock = lock(kind, byte);
    // SAFETY: an open descriptor and a valid lock, which is written to.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    status == 0 && libc::c_int::from(lock.l_type) != libc::F_UNLCK
}

/// Whoever has `file` open for writing writes the trace, until it is closed.
pub(super) fn writes(file: &File) {
    set(file, libc::F_WRLCK, WRITER);
}

/// Nothing more is written.
pub(super) fn writes_no_more(file: &File) {
    set(file, libc::F_UNLCK, WRITER);
}

/// Whether somebody else writes the trace that is open as `file`.
pub(super) fn is_written(file: &File) -> bool {
    is_held(file, libc::F_RDLCK, WRITER)
}

/// Whoever has `file` open for reading follows the trace, or does so no more.
pub(super) fn follows(file: &File, does: bool) {
    set(file, if does { libc::F_RDLCK } else { libc::F_UNLCK }, FOLLOWER);
}

/// Whether somebody else follows the trace that is open as `file`.
pub(super) fn is_followed(file: &File) -> bool {
    is_held(file, libc::F_WRLCK, FOLLOWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_sees_the_other_for_as_long_as_its_file_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let writer = File::create(&path).unwrap();
        let readers = [File::open(&path).unwrap(), File::open(&path).unwrap()];
        assert!(!is_written(&readers[0]) && !is_followed(&writer));
        writes(&writer);
        assert!(is_written(&readers[0]) && is_written(&readers[1]) && !is_written(&writer));
        for reader in &readers {
            follows(reader, true);
        }
        assert!(is_followed(&writer), "several can follow");
        let [first, second] = readers;
        drop(first);
        assert!(is_followed(&writer) && is_written(&second));
        follows(&second, false);
        assert!(!is_followed(&writer));
        drop(writer);
        assert!(!is_written(&second));
    }
}
