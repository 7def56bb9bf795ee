//! The trace file (`.ggtrace`): what goes in, how it is written and how it is read back. `docs/trace-format.md` says
//! the same for other readers. The frame of a chunk and the columns of evaluations are in `ggscope_format`; here is
//! what the collector adds: who was recorded, the model, graphs as columns, the index, and the policy of both sides.

pub mod analysis;
mod create;
mod drafting;
mod ending;
mod follow;
mod graph_columns;
mod growing;
mod index;
mod known_graphs;
mod lock;
pub mod model;
mod operator_sums;
mod reader;
mod rows;
mod scan;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(any(test, feature = "testing"))]
pub mod testing_contexts;
#[cfg(any(test, feature = "testing"))]
pub mod testing_drafts;
mod token_texts;
pub mod view;
mod writer;

pub use drafting::Drafting;
pub use ending::Ending;
pub use follow::{Followed, Following, LOOK_EVERY};
pub use growing::{Growing, Watch};
pub use index::{IndexEntry, OperatorTotal, Totals};
pub use operator_sums::OperatorSums;
pub use reader::Trace;
pub use rows::Select;
pub use token_texts::TokenTexts;
pub use writer::TraceWriter;
pub use writer::words;

use ggscope_format::capture::{Capture, CaptureChange};
use ggscope_format::record::{
    BufferEvent, Graph, LeftOut, MemoryChange, RecordError, RunEnd, SequencesFrom, Statistics, Value,
};
use ggscope_format::session::{Hello, Level};
use ggscope_format::{GraphId, RequestId, TensorId, chunk::ChunkError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use utoipa::ToSchema;

/// No chunk of a trace unpacks to more bytes than this: a writer splits earlier, a reader refuses.
pub const MAX_CHUNK_BYTES: usize = 64 << 20;

/// Who is recorded, and how much: the Session chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// What the shim said of its process.
    pub hello: Hello,
    /// How much is recorded.
    pub level: Level,
    /// What is captured from the beginning on.
    pub capture: Capture,
    /// Whether token ids may be in the file.
    pub tokens: bool,
    /// Version of the ggscope that wrote the file.
    pub ggscope: String,
}

/// A model within one session, in the order in which they were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(pub u32);

impl ModelId {
    /// The id as an index into the models in the order in which they were found.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A model that the process uses: the Model chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// By which graphs and texts refer to it.
    pub id: ModelId,
    /// Path of the GGUF file.
    pub path: String,
    /// `general.name`.
    pub name: String,
    /// `general.architecture`.
    pub arch: String,
    /// `<arch>.block_count`.
    pub n_layer: u32,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Tokens of its vocabulary; 0 for a model that has none, such as a projector.
    pub n_tokens: u64,
}

/// A graph, and where in GGUF files the bytes of tensors came from that are not mapped (repacked, offloaded, read
/// with `--no-mmap`): the Graph chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredGraph {
    /// The graph.
    pub graph: Graph,
    /// The model that it is of, if that is known.
    pub model: Option<ModelId>,
    /// Tensor, index into [`Graph::files`], offset in the file in bytes; ascending by tensor.
    pub origins: Vec<(TensorId, u16, u64)>,
}

impl StoredGraph {
    /// The place in a file that a tensor's bytes came from, mapped or not: index into [`Graph::files`], offset.
    /// A view of a tensor comes from where that tensor comes from.
    pub fn origin(&self, id: TensorId) -> Option<(u16, u64)> {
        let own = |id: TensorId| {
            let tensor = self.graph.tensor(id)?;
            tensor.mapped.or_else(|| {
                let at = self.origins.binary_search_by_key(&id, |o| o.0).ok()?;
                Some((self.origins[at].1, self.origins[at].2))
            })
        };
        own(id).or_else(|| {
            let (root, offset) = self.graph.tensor(id)?.view?;
            let (file, base) = own(root)?;
            Some((file, base.checked_add(offset)?))
        })
    }

    /// Checks the graph and that every origin points into it.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn validate(&self) -> Result<(), RecordError> {
        self.graph.validate()?;
        let (tensors, files) = (self.graph.tensors.len(), self.graph.files.len());
        if self.origins.iter().any(|&(t, f, _)| t.index() >= tensors || usize::from(f) >= files)
            || !self.origins.is_sorted_by(|a, b| a.0 < b.0)
        {
            return Err(RecordError::Invalid(format!("graph {}: an origin does not fit", self.graph.graph)));
        }
        Ok(())
    }
}

/// Whether a trace still grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being written.
    Live,
    /// It was ended in order.
    Ended,
    /// It ends without an index, and nobody writes it.
    Cut,
}

/// One entry of a Notes chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remark {
    /// Something the user should know of, in one line.
    Note(String),
    /// Asynchronous work has ended.
    RunEnd(RunEnd),
    /// What was lost on the rings up to here, in all.
    Dropped {
        /// Records.
        records: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// How the recording ended. It is alone in the last chunk before the index.
    Ended(Ending),
    /// What was left out for the budget's sake up to here, in all.
    LeftOut(LeftOut),
    /// What is captured from an evaluation on.
    Capture(CaptureChange),
    /// A request began.
    Request(RequestBegun),
    /// The memory of a context changed.
    Memory(MemoryChange),
    /// Why records were lost up to here, in all.
    Lost(Losses),
    /// Which of several models that a graph may be of it is cannot be told, but all of them have the vocabulary of this one.
    Vocabulary {
        /// The graph.
        graph: GraphId,
        /// A model with its vocabulary.
        model: ModelId,
    },
    /// A context is known from here on to draft for another one. It is alone in its chunk.
    Drafting(Drafting),
}

/// Records that were lost, by what is known of the cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Losses {
    /// The ring had no room for them.
    pub full: u64,
    /// No ring was free: more threads computed at once than there are rings.
    pub no_ring: u64,
    /// They did not decode, or contradicted themselves.
    pub senseless: u64,
}

impl Losses {
    /// Of all causes.
    pub fn records(&self) -> u64 {
        self.full.saturating_add(self.no_ring).saturating_add(self.senseless)
    }
}

/// A request began: a prompt and its answer in one sequence of one context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestBegun {
    /// Its number within the session.
    pub id: RequestId,
    /// Its context.
    pub context: u32,
    /// Its sequence.
    pub sequence: i32,
    /// Where its sequence's number comes from.
    pub sequence_from: SequencesFrom,
    /// Number of its first token within the session.
    pub first_token: u64,
    /// Tokens of earlier requests that it finds in its sequence and does not compute again.
    pub reused: u32,
    /// The request that computed the last of them.
    pub parent: Option<RequestId>,
}

impl Remark {
    /// Whether it is neither about requests nor about changes of memories, vocabularies or contexts.
    fn is_note(&self) -> bool {
        let others = matches!(self, Remark::Request(_) | Remark::Memory(_) | Remark::Vocabulary { .. });
        !others && !matches!(self, Remark::Drafting(_))
    }

    fn ending(&self) -> Option<Ending> {
        if let Remark::Ended(ending) = self { Some(*ending) } else { None }
    }
}

/// Contents of a Values, a Statistics, a Texts, a Buffers and a Notes chunk.
type Values = Vec<Value>;
type AllStatistics = Vec<Statistics>;
type Texts = Vec<(ModelId, i32, Vec<u8>)>;
type Buffers = Vec<BufferEvent>;
type Remarks = Vec<Remark>;

/// Why a trace cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The output file is there already.
    #[error("{} exists already: choose another name with -o, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// The file cannot be created or opened.
    #[error("cannot {doing} {}: {source}", path.display())]
    Open {
        /// `create`, `open` or `map`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The disk does not take it.
    #[error("cannot write {} at byte {offset}: {source}; what was written before opens as it is: free some space or \
             choose another place with -o, then record again", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// An earlier write failed.
    #[error("{}: nothing more is written after the failure at byte {offset}", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
        /// Where the write failed.
        offset: u64,
    },
    /// What the caller wants to write contradicts itself.
    #[error("cannot write to {}: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RecordError,
    },
    /// The file is not a trace.
    #[error("{}: byte {offset}: {source}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// Why.
        source: ChunkError,
    },
    /// The file is a trace, but not of use.
    #[error("{}: byte {offset}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// Why, and what to do.
        reason: String,
    },
}
