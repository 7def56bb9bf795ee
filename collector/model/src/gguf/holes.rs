//! Holes of a sparse file: bytes that it claims to have and that are on no disk. They read as zeros, and zeros are millions
//! of empty keys and strings in a header, so reading them must cost no more than what is really there.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// Pieces of data that are looked for. A file with more is taken as whole.
const MOST_PIECES: usize = 1024;

/// The holes of a file, in order.
#[derive(Debug, Default)]
pub(super) struct Holes(Vec<Range<usize>>);

impl Holes {
    /// The holes of bytes that are no file.
    pub(super) const NONE: Holes = Holes(vec![]);

    /// The holes of an open file; none where the file system does not know.
    pub(super) fn of(file: &File) -> Holes {
        let Ok(metadata) = file.metadata() else { return Holes::default() };
        let bytes = metadata.len();
        if metadata.blocks().saturating_mul(512) >= bytes {
            return Holes::default();
        }
        let (mut holes, mut at) = (vec![], 0);
        while at < bytes && holes.len() < MOST_PIECES {
            let data = seek(file, at, libc::SEEK_DATA).unwrap_or(bytes);
            if data > at {
                holes.push(at as usize..data as usize);
            }
            at = if data < bytes { seek(file, data, libc::SEEK_HOLE).unwrap_or(bytes) } else { bytes };
        }
        if at < bytes {
            holes.clear();
        }
        Holes(holes)
    }

    /// Bytes of a range that are in holes.
    pub(super) fn bytes_in(&self, range: Range<usize>) -> usize {
        let from = self.0.partition_point(|hole| hole.end <= range.start);
        let inside = self.0[from..].iter().take_while(|hole| hole.start < range.end);
        inside.map(|hole| hole.end.min(range.end) - hole.start.max(range.start)).sum()
    }
}

/// The next data or the next hole from `at` on.
fn seek(file: &File, at: u64, whence: libc::c_int) -> Option<u64> {
    let at = libc::off_t::try_from(at).ok()?;
    // SAFETY: the descriptor is open as long as `file` lives; nothing else reads from its position.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at, whence) };
    u64::try_from(found).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_where_nothing_was_written() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 4096], 4 << 20).unwrap();
        let holes = Holes::of(&file);
        assert_eq!(holes.bytes_in(0..8 << 20), (8 << 20) - 4096);
        assert_eq!(holes.bytes_in((4 << 20) - 10..(4 << 20) + 20), 10);
        assert_eq!(holes.bytes_in(5 << 20..5 << 20), 0);
        file.set_len(4096).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        assert_eq!(Holes::of(&file).bytes_in(0..4096), 0);
    }
}
