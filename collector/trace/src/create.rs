//! How a trace file comes to be: no file is replaced unasked, and whoever reads one that is replaced keeps it.

use super::TraceError;
use std::fs::{File, OpenOptions};
use std::path::Path;

/// Creates the file; an existing one is replaced only with `force`.
///
/// # Errors
/// When the file exists or cannot be created.
pub fn create_file(path: &Path, force: bool) -> Result<File, TraceError> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        // A reader has mapped it, and would end if what it has mapped went away. Where the folder does not allow it,
        // the file is written over.
        if path.symlink_metadata().is_ok_and(|there| there.is_file()) {
            let _ = std::fs::remove_file(path);
        }
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => TraceError::Exists(path.to_owned()),
        _ => TraceError::Open { doing: "create", path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{Shape, recording, write};
    use crate::{Trace, TraceWriter};

    #[test]
    fn a_reader_keeps_the_trace_that_another_takes_the_place_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let totals = write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let before = Trace::open(&path).unwrap();
        TraceWriter::create(&path, true, &recording()).unwrap().finish().unwrap();
        assert_eq!(Trace::open(&path).unwrap().totals().evaluations, 0);
        assert_eq!((before.totals(), before.operators().len() > 3), (&totals, true));
        before.verify(u64::MAX);
        assert!(before.warnings().is_empty(), "{:?}", before.warnings());
    }
}
