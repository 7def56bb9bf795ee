//! Reads what a GGUF file says about itself: metadata, the place of every tensor, the texts of tokens. It never reads
//! weights, and believes nothing: every length is checked against the file before anything is allocated for it.
//!
//! A model may be split over files `…-00001-of-00003.gguf`; [`Gguf::open`] opens all of them.

mod cursor;
mod findings;
mod foreign;
mod header;
mod holes;
mod layout;
mod name;
mod pieces;
mod split;
mod value;
mod vocab;
mod weights;

pub use cursor::Malformed;
pub use findings::{Finding, Severity};
pub use header::{Header, Pair, TensorInfo};
pub use name::{Name, shown};
pub use value::{Scalar, Value};
pub use vocab::Vocab;
pub use weights::NoWeights;

use crate::mapped::{Mapped, Stamp};
use holes::Holes;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// First bytes of a GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Why a model cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be opened or mapped.
    #[error("cannot open the model {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a GGUF file, or a damaged one.
    #[error("cannot read the model {path}: at byte {at}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Offset in the file in bytes.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// Another program wrote to the file while it was read.
    #[error("cannot read the model {path}: the file changed while it was read; try again when it is complete")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A part of a split model has a name that does not lead to the others.
    #[error("the model {path} is one of {count} files, but its name does not end in -00001-of-{count:05}.gguf")]
    SplitName {
        /// The file.
        path: PathBuf,
        /// How many files there should be.
        count: u64,
    },
}

/// One GGUF file: its header, and its weights where they lie.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    content: Content,
    /// A copy of the header's bytes, which stays as it is when the mapped file changes.
    head: Vec<u8>,
    holes: Holes,
    header: Header,
}

/// The bytes of a file.
#[derive(Debug)]
enum Content {
    Mapped { map: Mapped, file: File, stamp: Stamp },
    Owned(Vec<u8>),
}

impl Content {
    fn of(path: &Path) -> Result<Content, GgufError> {
        let unopened = |source| GgufError::Open { path: path.to_owned(), source };
        let file = open_regular(path).map_err(unopened)?;
        let stamp = Stamp::of(&file).map_err(unopened)?;
        let map = Mapped::of(&file).map_err(unopened)?;
        Ok(Content::Mapped { map, file, stamp })
    }

    /// Where nothing of it is on disk.
    fn holes(&self) -> Holes {
        match self {
            Content::Mapped { file, .. } => Holes::of(file),
            Content::Owned(_) => Holes::NONE,
        }
    }

    /// Whether the bytes are those that were opened.
    fn unchanged(&self) -> bool {
        match self {
            Content::Mapped { map, file, stamp } => !map.lost() && Stamp::of(file).is_ok_and(|now| now == *stamp),
            Content::Owned(_) => true,
        }
    }
}

impl std::ops::Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Content::Mapped { map, .. } => map,
            Content::Owned(bytes) => bytes,
        }
    }
}

impl GgufFile {
    fn open(path: &Path) -> Result<GgufFile, GgufError> {
        GgufFile::of(path, Content::of(path)?)
    }

    fn of(path: &Path, content: Content) -> Result<GgufFile, GgufError> {
        let holes = content.holes();
        let parsed = Header::parse(&content, &holes);
        let read = |Malformed { at, what }| GgufError::Malformed { path: path.to_owned(), at, what };
        GgufFile::with(path, content, holes, parsed.map_err(read))
    }

    fn examine(path: &Path, content: Content) -> Result<(GgufFile, Vec<Finding>), GgufError> {
        let holes = content.holes();
        let (header, findings) = Header::examine(&content, &holes);
        Ok((GgufFile::with(path, content, holes, Ok(header))?, findings))
    }

    /// Keeps what was read, if it was read from a file that stayed as it was meanwhile.
    fn with(
        path: &Path,
        content: Content,
        holes: Holes,
        header: Result<Header, GgufError>,
    ) -> Result<GgufFile, GgufError> {
        let head = match (&content, &header) {
            (Content::Mapped { map, .. }, Ok(header)) => map[..header.read].to_vec(),
            _ => vec![],
        };
        match content.unchanged() {
            true => Ok(GgufFile { path: path.to_owned(), content, head, holes, header: header? }),
            false => Err(GgufError::Changed { path: path.to_owned() }),
        }
    }

    /// The bytes of the header.
    fn head(&self) -> &[u8] {
        match &self.content {
            Content::Mapped { .. } => &self.head,
            Content::Owned(bytes) => bytes,
        }
    }

    /// Whether its weights are still those that its header was read with.
    pub fn unchanged(&self) -> bool {
        self.content.unchanged()
    }

    /// What it had when it was opened that shows a change; none for bytes that are no file.
    pub fn stamp(&self) -> Option<Stamp> {
        match &self.content {
            Content::Mapped { stamp, .. } => Some(*stamp),
            Content::Owned(_) => None,
        }
    }

    /// Whether its path leads to another file by now, or the file has changed. A deleted file
    /// is still there for a process that has opened it.
    fn replaced(&self) -> bool {
        let another = |stamp| Stamp::of_path(&self.path).is_ok_and(|now| now != stamp);
        !self.unchanged() || self.stamp().is_some_and(another)
    }

    /// Path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.content.len() as u64
    }

    /// Bytes before the weights that are on disk and in no hole.
    pub fn header_on_disk(&self) -> u64 {
        let all = self.content.len();
        let header = usize::try_from(self.header.data).map_or(all, |data| data.min(all));
        (header - self.holes.bytes_in(0..header)) as u64
    }

    /// What its header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Up to `most` elements of an array of scalars of the metadata.
    pub fn scalars(&self, key: &str, most: usize) -> Option<Vec<Value>> {
        let value = self.header.get(key)?;
        matches!(value, Value::Scalars { .. }).then(|| self.scalars_of(value, most))
    }

    /// Up to `most` elements of `value`, which is one of this file's; none if it is no array of scalars.
    pub(crate) fn scalars_of(&self, value: &Value, most: usize) -> Vec<Value> {
        let &Value::Scalars { kind, at, count } = value else { return vec![] };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(most);
        self.head()[at..at + count * kind.bytes()].chunks_exact(kind.bytes()).map(|b| kind.read(b)).collect()
    }

    /// The elements of an array of numbers of 32 bits of the metadata; none if it is something else.
    pub(crate) fn words(&self, key: &str) -> impl Iterator<Item = u32> {
        let bytes = match self.header.get(key) {
            Some(&Value::Scalars { kind, at, count }) if kind.bytes() == 4 => &self.head()[at..at + 4 * count as usize],
            _ => &[],
        };
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")))
    }

    /// The first strings of an array of the metadata, `most` of them.
    pub(crate) fn first_strings(&self, key: &str, most: usize) -> Vec<&[u8]> {
        self.header.get(key).map_or_else(Vec::new, |value| self.strings_of(value, most))
    }

    /// The first strings of `value`, which is one of this file's, `most` of them.
    pub(crate) fn strings_of(&self, value: &Value, most: usize) -> Vec<&[u8]> {
        let &Value::Strings { at, count } = value else { return vec![] };
        let ranges = header::string_ranges(self.head(), at, count.min(most as u64)).unwrap_or_default();
        ranges.into_iter().map(|range| &self.head()[range]).collect()
    }

    /// Those strings of an array of the metadata that have the `wanted` numbers.
    pub(crate) fn some_strings(&self, key: &str, wanted: &[u64]) -> Vec<(u64, Vec<u8>)> {
        let (Some(&Value::Strings { at, count }), Some(&last)) = (self.header.get(key), wanted.iter().max()) else {
            return vec![];
        };
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let strings = header::string_ranges(self.head(), at, count.min(last.saturating_add(1))).unwrap_or_default();
        let named = (0..).zip(strings).filter(|(id, _)| wanted.binary_search(id).is_ok());
        named.map(|(id, range)| (id, self.head()[range].to_vec())).collect()
    }

    /// Content of an array of strings of the metadata, in bytes.
    fn strings(&self, key: &str) -> Option<Vec<std::ops::Range<usize>>> {
        match self.header.get(key)? {
            Value::Strings { at, count } => header::string_ranges(self.head(), *at, *count).ok(),
            _ => None,
        }
    }
}

/// A model: one GGUF file, or the files that it was split into.
#[derive(Debug)]
pub struct Gguf {
    files: Vec<Arc<GgufFile>>,
}

impl Gguf {
    /// Opens the model that `path` belongs to.
    ///
    /// # Errors
    /// When a file is missing, is not GGUF or contradicts itself.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let file = GgufFile::open(path)?;
        let count = split::count(&file);
        if count <= 1 {
            return Ok(Gguf { files: vec![Arc::new(file)] });
        }
        let names =
            split::Names::of(path, count).ok_or_else(|| GgufError::SplitName { path: path.to_owned(), count })?;
        // One after the other, so that a wrong count ends at the first file that is missing.
        let mut files = vec![];
        for name in names {
            files.push(Arc::new(GgufFile::open(&name)?));
        }
        Ok(Gguf { files })
    }

    /// Opens the model that `path` belongs to, however damaged its files are, with all that is wrong with them.
    ///
    /// # Errors
    /// When the file itself cannot be opened. Other parts that are missing are a finding.
    pub fn examine(path: &Path) -> Result<(Gguf, Vec<Finding>), GgufError> {
        let (file, findings) = GgufFile::examine(path, Content::of(path)?)?;
        Ok(split::examine(file, findings))
    }

    /// The same for a model that consists of one file with these bytes; `path` is what it is called.
    pub fn examine_bytes(path: &Path, bytes: Vec<u8>) -> (Gguf, Vec<Finding>) {
        let (header, findings) = Header::examine(&bytes, &Holes::NONE);
        let content = Content::Owned(bytes);
        let file = GgufFile { path: path.to_owned(), content, head: vec![], holes: Holes::NONE, header };
        (Gguf { files: vec![Arc::new(file)] }, findings)
    }

    /// A model that consists of one file with these bytes; `path` is what it is called.
    ///
    /// # Errors
    /// When they are not GGUF or contradict themselves.
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        Ok(Gguf { files: vec![Arc::new(GgufFile::of(path, Content::Owned(bytes))?)] })
    }

    /// The files, in order; never empty.
    pub fn files(&self) -> &[Arc<GgufFile>] {
        &self.files
    }

    /// The first file, the one that has the metadata.
    pub fn first(&self) -> &GgufFile {
        &self.files[0]
    }

    /// Size of all files in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes()).sum()
    }

    /// Whether a path of it leads to another file by now, or a file has changed, so that it has to be opened again.
    pub fn replaced(&self) -> bool {
        self.files.iter().any(|file| file.replaced())
    }

    /// `general.architecture`, empty if the file does not say.
    pub fn architecture(&self) -> &str {
        self.text("general.architecture")
    }

    /// `general.name`, empty if the file does not say.
    pub fn name(&self) -> &str {
        self.text("general.name")
    }

    /// `<architecture>.block_count`: how many layers the model has, 0 if the file does not say.
    pub fn block_count(&self) -> u32 {
        let key = format!("{}.block_count", self.architecture());
        let count = self.first().header.get(&key).and_then(Value::integer);
        count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }

    /// Every tensor, with the file that it lies in.
    pub fn tensors(&self) -> impl Iterator<Item = (&GgufFile, &TensorInfo)> {
        self.files.iter().flat_map(|file| file.header.tensors.iter().map(move |t| (&**file, t)))
    }

    /// The texts of its tokens, if it has any.
    pub fn vocab(&self) -> Option<Vocab> {
        Vocab::of(&self.files[0])
    }

    fn text(&self, key: &str) -> &str {
        self.first().header.get(key).and_then(Value::text).unwrap_or_default()
    }
}

/// Whether a regular file with GGUF's magic number is there.
pub fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    open_regular(path).is_ok_and(|mut file| std::io::Read::read_exact(&mut file, &mut magic).is_ok()) && magic == MAGIC
}

/// What a regular file is that does not begin as GGUF: a sentence's end, such as `not a GGUF file but …`. `None` if it does, or
/// has nothing in it, or cannot be read.
pub fn foreign(path: &Path) -> Option<String> {
    let mut begin = vec![];
    std::io::Read::read_to_end(&mut std::io::Read::take(open_regular(path).ok()?, foreign::LOOKED_AT), &mut begin)
        .ok()?;
    (!begin.is_empty() && !begin.starts_with(&MAGIC)).then(|| foreign::describe(&begin))
}

/// Opens a file, but no pipe and no device: paths come from the traced program, and reading those could wait for ever.
///
/// # Errors
/// When there is none, or it is something else, which the error names.
pub fn open_regular(path: &Path) -> std::io::Result<File> {
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    // A socket cannot even be opened.
    let kind = match &opened {
        Ok(file) => file.metadata()?.file_type(),
        Err(_) => match path.metadata() {
            Ok(metadata) => metadata.file_type(),
            Err(_) => return opened,
        },
    };
    let what = match () {
        () if kind.is_file() => return opened,
        () if kind.is_dir() => "it is a directory",
        () if kind.is_fifo() => "it is a pipe",
        () if kind.is_socket() => "it is a socket",
        () if kind.is_block_device() || kind.is_char_device() => "it is a device",
        () => "it is not a regular file",
    };
    Err(std::io::Error::other(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo_model() -> PathBuf {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
        assert!(Path::new(path).exists(), "{path} is missing: run `make vendor`");
        path.into()
    }

    #[test]
    fn the_demo_model_says_what_it_is() {
        let model = Gguf::open(&demo_model()).unwrap();
        assert_eq!((model.architecture(), model.block_count()), ("llama", 30));
        assert!(model.name().to_lowercase().contains("smol"), "{}", model.name());
        assert_eq!(model.tensors().count(), 272);
        let (file, q) = model.tensors().find(|(_, t)| t.name == "blk.5.attn_q.weight").unwrap();
        assert_eq!((q.ne, q.type_name()), ([576, 576, 1, 1], Some("q4_1")));
        // 576 rows of 18 blocks of 20 bytes, inside the file.
        assert!(q.offset > 0 && q.offset + 576 * 18 * 20 <= file.bytes());
    }

    #[test]
    fn tokens_of_the_demo_model_read_as_text() {
        let model = Gguf::open(&demo_model()).unwrap();
        let vocab = model.vocab().unwrap();
        assert_eq!(vocab.len(), 49_152);
        let text = |id| String::from_utf8_lossy(&vocab.text(id).unwrap()).into_owned();
        assert_eq!(text(1), "<|im_start|>");
        let words: Vec<String> = (0..49_152).map(text).collect();
        assert!(words.iter().any(|w| w == " the") && words.iter().any(|w| w == "\n"));
        assert!(!words.iter().any(|w| w.contains('Ġ')));
        assert_eq!(vocab.text(-1), None);
        assert_eq!(vocab.text(49_152), None);
    }

    #[test]
    fn a_model_cut_anywhere_in_its_header_is_an_error() {
        let bytes = std::fs::read(demo_model()).unwrap();
        let header = Header::parse(&bytes, &Holes::NONE).unwrap();
        let data = header.tensors.iter().map(|t| t.offset).min().unwrap() as usize;
        // Most of it is vocabulary; `header::tests` cuts a small header at every byte.
        let lengths = (0..256).chain((256..data).step_by(19_997)).chain((data - 2000..data).step_by(23));
        for len in lengths {
            assert!(Header::parse(&bytes[..len], &Holes::NONE).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_file_that_is_no_model_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, "GGML, an older format").unwrap();
        let error = Gguf::open(&path).unwrap_err().to_string();
        assert!(error.contains("model.gguf") && error.contains("byte 0"), "{error}");
        assert!(!is_gguf(&path) && !is_gguf(dir.path()) && is_gguf(&demo_model()));
    }
}
