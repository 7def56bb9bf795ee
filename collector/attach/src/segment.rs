//! Maps the shared memory that a shim announces, and takes its name away at once: whoever is killed from then on, the
//! kernel frees it.

use ggscope_format::segment::{Segment, SegmentError};
use ggscope_format::session::Announce;
use ggscope_model::mapped::Guard;
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::ffi::CString;

/// How the name of every segment begins.
const PREFIX: &str = "/ggscope-";

/// Why an announced segment is not mapped.
#[derive(Debug, thiserror::Error)]
pub enum SegmentNameError {
    /// The name could be somebody else's.
    #[error("{0:?} is not the name of a segment of ggscope")]
    Name(String),
    /// It is not there.
    #[error("cannot map the shared memory {name}: {source}")]
    Map {
        /// Its name.
        name: String,
        /// Why.
        source: ShmemError,
    },
    /// It has another size than announced.
    #[error("the shared memory {name} has {bytes} bytes, announced were {announced}")]
    Size {
        /// Its name.
        name: String,
        /// Size in bytes.
        bytes: usize,
        /// As the shim said, in bytes.
        announced: u64,
    },
    /// It is not what it should be.
    #[error("{name}: {source}")]
    Content {
        /// Its name.
        name: String,
        /// What is wrong.
        source: SegmentError,
    },
}

/// A mapped segment.
pub struct MappedSegment {
    segment: Segment,
    // Dropped in this order: what is guarded is still mapped.
    _guard: Guard,
    _mapping: Shmem,
}

impl MappedSegment {
    /// Maps what `announced` names, checks it, and unlinks the name, also if it is refused.
    ///
    /// # Errors
    /// When the name is not one of ours, or what it leads to is not a segment of the announced size.
    pub fn open(announced: &Announce) -> Result<MappedSegment, SegmentNameError> {
        let name = announced.segment.clone();
        let plain = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !name.strip_prefix(PREFIX).is_some_and(plain) || name.len() > 255 {
            return Err(SegmentNameError::Name(name));
        }
        let opened = ShmemConf::new().os_id(&name).open();
        let c_name = CString::new(name.as_str()).expect("checked: letters, digits, hyphens");
        // SAFETY: a valid C string; unlinking a name touches no mapping.
        unsafe { libc::shm_unlink(c_name.as_ptr()) };
        let mapping = match opened {
            Ok(mapping) => mapping,
            Err(source) => return Err(SegmentNameError::Map { name, source }),
        };
        if mapping.len() as u64 != announced.bytes {
            return Err(SegmentNameError::Size { name, bytes: mapping.len(), announced: announced.bytes });
        }
        let guard = Guard::new(mapping.as_ptr(), mapping.len());
        // SAFETY: `mapping` is page-aligned, that long, readable and writable, and is kept as long as the segment.
        let segment = unsafe { Segment::open(mapping.as_ptr(), mapping.len()) }
            .map_err(|source| SegmentNameError::Content { name, source })?;
        Ok(MappedSegment { segment, _guard: guard, _mapping: mapping })
    }

    /// What is mapped.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::segment::segment_bytes;

    fn announce(name: &str, bytes: u64) -> Announce {
        Announce { segment: name.into(), bytes, refusal: None }
    }

    fn create(name: &str, bytes: usize) -> Shmem {
        ShmemConf::new().os_id(name).size(bytes).create().unwrap()
    }

    #[test]
    fn names_that_are_not_ours_are_not_touched() {
        for name in ["", "/", "ggscope-1", "/ggscope-", "/other", "/ggscope-1/../x", "/ggscope-a b", "/ggscope-1\0x"] {
            assert!(matches!(MappedSegment::open(&announce(name, 1)), Err(SegmentNameError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_segment_is_mapped_and_its_name_is_gone() {
        let name = format!("/ggscope-{}-segment", std::process::id());
        let bytes = segment_bytes(2, 1 << 16);
        let mut shmem = create(&name, bytes);
        shmem.set_owner(false);
        // SAFETY: a fresh mapping of that size.
        let ours = unsafe { Segment::create(shmem.as_ptr(), 2, 1 << 16) };
        let mapped = MappedSegment::open(&announce(&name, bytes as u64)).unwrap();
        mapped.segment().close();
        assert_eq!((ours.is_closed(), mapped.segment().n_rings()), (true, 2));
        assert!(matches!(MappedSegment::open(&announce(&name, bytes as u64)), Err(SegmentNameError::Map { .. })));
    }

    #[test]
    fn a_segment_that_lies_is_refused() {
        let name = format!("/ggscope-{}-liar", std::process::id());
        let bytes = segment_bytes(1, 1 << 16);
        let mut shmem = create(&name, bytes);
        assert!(matches!(MappedSegment::open(&announce(&name, bytes as u64 + 1)), Err(SegmentNameError::Size { .. })));
        shmem.set_owner(false);
        let mut shmem = create(&name, 4096);
        shmem.set_owner(false);
        // SAFETY: a fresh mapping; the header fits, the rings that it promises do not.
        unsafe { Segment::create(shmem.as_ptr(), 1, 1 << 16) };
        assert!(matches!(MappedSegment::open(&announce(&name, 4096)), Err(SegmentNameError::Content { .. })));
    }
}
