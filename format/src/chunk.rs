//! The trace file's frame: a file header, then chunks that each stand alone, then a trailer that points at the index.
//!
//! ```text
//! header   16 bytes   magic "GGTRACE\0" · version u32 · 0 u32
//! chunk    32 bytes   magic "GGCK" · kind u8 · 0 [3] · raw bytes u64 · stored bytes u64 · xxh3-64 u64, then the stored
//!                     bytes: one zstd frame. The checksum covers the 24 bytes before it and the stored bytes.
//! …
//! trailer  16 bytes   offset of the index chunk u64 · magic "GGTREND\0"
//! ```
//!
//! All numbers are little-endian. A file without a trailer was cut: its chunks are read from the front until one does
//! not fit or does not have its checksum.

use xxhash_rust::xxh3::Xxh3;

/// First bytes of a trace file.
pub const FILE_MAGIC: [u8; 8] = *b"GGTRACE\0";
/// Last bytes of a complete trace file.
pub const END_MAGIC: [u8; 8] = *b"GGTREND\0";
/// Size of the file header in bytes.
pub const FILE_HEADER_BYTES: usize = 16;
/// Size of a chunk's header in bytes.
pub const CHUNK_HEADER_BYTES: usize = 32;
/// Size of the trailer in bytes.
pub const TRAILER_BYTES: usize = 16;
/// No chunk unpacks to more than this, so that a few bytes cannot ask for all memory.
pub const MAX_RAW_BYTES: u64 = 1 << 30;

const CHUNK_MAGIC: [u8; 4] = *b"GGCK";

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum ChunkKind {
    /// One [`crate::session::Hello`] and how it is recorded.
    Session = 1,
    /// The model that the process uses.
    Model = 2,
    /// One [`crate::record::Graph`].
    Graph = 3,
    /// Evaluations, all but their durations.
    Evaluations = 4,
    /// The durations of the evaluations in the chunk before.
    Durations = 5,
    /// Captured values.
    Values = 6,
    /// Texts of token ids.
    Texts = 7,
    /// Buffers allocated and released.
    Buffers = 8,
    /// Ends of asynchronous runs, lost records and remarks.
    Notes = 9,
    /// Totals, and where every chunk is.
    Index = 10,
    /// Statistics of captured tensors.
    Statistics = 11,
}

impl ChunkKind {
    fn from_byte(byte: u8) -> Option<ChunkKind> {
        use ChunkKind::*;
        [Session, Model, Graph, Evaluations, Durations, Values, Texts, Buffers, Notes, Index, Statistics]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Why bytes are not a chunk, a header or a trailer.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The file is not a trace.
    #[error("not a ggscope trace{}", instead(.0))]
    NotATrace(Vec<u8>),
    /// Another version wrote it.
    #[error("trace format {0}, this ggscope reads format {want}", want = crate::FORMAT_VERSION)]
    Version(u32),
    /// The file ends inside.
    #[error("cut: {have} of {need} bytes")]
    Cut {
        /// Bytes that are there.
        have: u64,
        /// Bytes that should be.
        need: u64,
    },
    /// Something else stands here.
    #[error("no chunk begins here (found {0:02x?})")]
    Magic([u8; 4]),
    /// A newer version wrote it, or the byte is damaged.
    #[error("unknown kind of chunk {0}")]
    Kind(u8),
    /// Damaged.
    #[error("checksum is {found:#018x}, should be {stored:#018x}")]
    Checksum {
        /// Of the bytes that are there.
        found: u64,
        /// As written.
        stored: u64,
    },
    /// It would unpack to more than [`MAX_RAW_BYTES`].
    #[error("chunk says it unpacks to {0} bytes")]
    TooLarge(u64),
    /// zstd does not unpack it.
    #[error("cannot unpack: {0}")]
    Unpack(#[source] std::io::Error),
}

/// The header of a trace file.
pub fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut out = [0; FILE_HEADER_BYTES];
    out[..8].copy_from_slice(&FILE_MAGIC);
    out[8..12].copy_from_slice(&crate::FORMAT_VERSION.to_le_bytes());
    out
}

/// What a file is that begins with `bytes` and is no trace.
fn instead(bytes: &[u8]) -> String {
    match bytes.starts_with(b"GGUF") {
        true => " but a GGUF model: `ggscope inspect` describes it, `ggscope open` shows it".to_owned(),
        false => format!(": it begins with {bytes:02x?}"),
    }
}

/// Checks the first bytes of a file.
///
/// # Errors
/// When it is not a trace, or not of this version.
pub fn check_file_header(bytes: &[u8]) -> Result<(), ChunkError> {
    if bytes.len() < FILE_HEADER_BYTES || bytes[..8] != FILE_MAGIC {
        return Err(ChunkError::NotATrace(bytes[..bytes.len().min(8)].to_vec()));
    }
    let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    if version != crate::FORMAT_VERSION { Err(ChunkError::Version(version)) } else { Ok(()) }
}

/// The trailer that points at the index chunk.
pub fn trailer(index_offset: u64) -> [u8; TRAILER_BYTES] {
    let mut out = [0; TRAILER_BYTES];
    out[..8].copy_from_slice(&index_offset.to_le_bytes());
    out[8..].copy_from_slice(&END_MAGIC);
    out
}

/// Where the index chunk begins, if `bytes`, the end of a file, end with a trailer.
pub fn index_offset(bytes: &[u8]) -> Option<u64> {
    let trailer = bytes.last_chunk::<TRAILER_BYTES>()?;
    let (offset, magic) = trailer.split_at(8);
    (magic == END_MAGIC).then(|| u64::from_le_bytes(offset.try_into().expect("8 bytes")))
}

fn checksum(header: &[u8], stored: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(header);
    hash.update(stored);
    hash.digest()
}

/// Makes chunks, in memory that it keeps from one to the next.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    chunk: Vec<u8>,
}

impl Packer {
    /// A packer.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new() -> std::io::Result<Packer> {
        Ok(Packer { zstd: zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?, chunk: vec![] })
    }

    /// Packs `raw` into a chunk, header included, with zstd at `level`.
    ///
    /// # Errors
    /// When zstd has no memory, or `raw` exceeds [`MAX_RAW_BYTES`].
    pub fn pack(&mut self, kind: ChunkKind, raw: &[u8], level: i32) -> std::io::Result<&[u8]> {
        if raw.len() as u64 > MAX_RAW_BYTES {
            return Err(std::io::Error::other(format!("a chunk of {} bytes is too large", raw.len())));
        }
        self.zstd.set_compression_level(level)?;
        let room = CHUNK_HEADER_BYTES + zstd::zstd_safe::compress_bound(raw.len());
        if self.chunk.len() < room {
            self.chunk.resize(room, 0);
        }
        let (header, stored) = self.chunk.split_at_mut(CHUNK_HEADER_BYTES);
        let n = self.zstd.compress_to_buffer(raw, stored)?;
        header[..4].copy_from_slice(&CHUNK_MAGIC);
        header[4..8].copy_from_slice(&[kind as u8, 0, 0, 0]);
        header[8..16].copy_from_slice(&(raw.len() as u64).to_le_bytes());
        header[16..24].copy_from_slice(&(n as u64).to_le_bytes());
        let sum = checksum(&header[..24], &stored[..n]);
        header[24..].copy_from_slice(&sum.to_le_bytes());
        Ok(&self.chunk[..CHUNK_HEADER_BYTES + n])
    }
}

/// A chunk that lies in a file.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// What it holds.
    pub kind: ChunkKind,
    /// Bytes that it unpacks to.
    pub raw_bytes: u64,
    stored: &'a [u8],
    header: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Reads the header at the start of `bytes`, and returns the chunk and the bytes that it takes in the file. Costs
    /// nothing for the content.
    ///
    /// # Errors
    /// When there is no whole chunk here.
    pub fn parse(bytes: &'a [u8]) -> Result<(Chunk<'a>, usize), ChunkError> {
        let cut = |need: u64| ChunkError::Cut { have: bytes.len() as u64, need };
        let Some(header) = bytes.first_chunk::<CHUNK_HEADER_BYTES>() else {
            return Err(cut(CHUNK_HEADER_BYTES as u64));
        };
        let magic = [header[0], header[1], header[2], header[3]];
        if magic != CHUNK_MAGIC {
            return Err(ChunkError::Magic(magic));
        }
        let kind = ChunkKind::from_byte(header[4]).ok_or(ChunkError::Kind(header[4]))?;
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let (raw_bytes, stored_bytes) = (number(8), number(16));
        if raw_bytes > MAX_RAW_BYTES {
            return Err(ChunkError::TooLarge(raw_bytes));
        }
        let need = (CHUNK_HEADER_BYTES as u64).saturating_add(stored_bytes);
        if need > bytes.len() as u64 {
            return Err(cut(need));
        }
        let stored = &bytes[CHUNK_HEADER_BYTES..need as usize];
        Ok((Chunk { kind, raw_bytes, stored, header: &bytes[..CHUNK_HEADER_BYTES] }, need as usize))
    }

    /// Checks the checksum.
    ///
    /// # Errors
    /// When the chunk is damaged.
    pub fn check(&self) -> Result<(), ChunkError> {
        let (fields, sum) = self.header.split_at(24);
        let found = checksum(fields, self.stored);
        let stored = u64::from_le_bytes(sum.try_into().expect("8 bytes"));
        if found == stored { Ok(()) } else { Err(ChunkError::Checksum { found, stored }) }
    }

    /// Checks and unpacks the content.
    ///
    /// # Errors
    /// When the chunk is damaged or does not unpack to what its header says.
    pub fn unpack(&self) -> Result<Vec<u8>, ChunkError> {
        self.check()?;
        let raw = zstd::bulk::decompress(self.stored, self.raw_bytes as usize).map_err(ChunkError::Unpack)?;
        if raw.len() as u64 != self.raw_bytes {
            return Err(ChunkError::Cut { have: raw.len() as u64, need: self.raw_bytes });
        }
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(kind: ChunkKind, raw: &[u8]) -> Vec<u8> {
        Packer::new().unwrap().pack(kind, raw, 3).unwrap().to_vec()
    }

    #[test]
    fn a_packer_that_has_packed_packs_the_same() {
        let mut used = Packer::new().unwrap();
        used.pack(ChunkKind::Texts, &[9; 100_000], -1).unwrap();
        assert_eq!(used.pack(ChunkKind::Graph, b"abcabc", 3).unwrap(), packed(ChunkKind::Graph, b"abcabc"));
    }

    #[test]
    fn what_was_packed_unpacks() {
        let raw = b"the quick brown fox ".repeat(100);
        let packed = packed(ChunkKind::Graph, &raw);
        let (chunk, len) = Chunk::parse(&packed).unwrap();
        assert_eq!((chunk.kind, len), (ChunkKind::Graph, packed.len()));
        assert_eq!(chunk.unpack().unwrap(), raw);
    }

    #[test]
    fn a_chunk_cut_anywhere_is_refused() {
        let packed = packed(ChunkKind::Values, &[7; 1000]);
        for len in 0..packed.len() {
            assert!(matches!(Chunk::parse(&packed[..len]), Err(ChunkError::Cut { .. })), "cut at {len}");
        }
    }

    #[test]
    fn a_chunk_with_any_byte_changed_is_refused() {
        let packed = packed(ChunkKind::Values, b"some values that matter");
        for i in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[i] ^= 0x40;
            let refused = Chunk::parse(&damaged).and_then(|(chunk, _)| chunk.unpack()).is_err();
            assert!(refused, "byte {i} was changed unnoticed");
        }
    }

    #[test]
    fn a_small_chunk_cannot_ask_for_all_memory() {
        let mut packed = packed(ChunkKind::Values, &[0; 10]);
        packed[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(Chunk::parse(&packed), Err(ChunkError::TooLarge(_))));
    }
}
