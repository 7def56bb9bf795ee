//! What the shim says: graphs, evaluations, values, buffers.
//!
//! Records are plain data, written with [postcard](https://postcard.jamesmunns.com/wire-format) (LEB128 varints,
//! zigzag for signed integers, lengths before sequences). A record on the ring is one [`Record`]. Decoding checks
//! every length against the input, so memory stays within a small multiple of the input's size; [`Graph::validate`]
//! and [`Evaluation::validate`] check what the types cannot say.

use crate::capture::CaptureChange;
use crate::ids::{BufferId, Bytes, EvalId, GraphId, Nanos, TensorId};
pub use crate::sequences::{MemoryChange, MemoryOp, SequencesFrom};
pub use crate::value::{Statistics, Value};
use serde::{Deserialize, Serialize};

/// No dimension of a ggml tensor is missing: there are always four.
pub const MAX_DIMS: usize = 4;

/// One record of the ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A graph, before the first evaluation on this ring that names it.
    Graph(Graph),
    /// One evaluation, after it ended.
    Evaluation(Evaluation),
    /// A piece of a captured tensor, after its evaluation.
    Value(Value),
    /// A buffer was allocated or released.
    Buffer(BufferEvent),
    /// Work that an asynchronous backend was given has ended.
    RunEnd(RunEnd),
    /// Something the user should know of, in one line.
    Note(String),
    /// Statistics of a tensor, in place of its values.
    Statistics(Statistics),
    /// What has been left out for the budget's sake so far.
    LeftOut(LeftOut),
    /// What is captured from now on.
    Capture(CaptureChange),
    /// The memory of a context changed.
    Memory(MemoryChange),
}

/// Captures that were left out because they would have gone beyond the budget, counted from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Evaluations of which nothing was captured.
    pub evaluations: u64,
    /// Bytes that would have travelled.
    pub bytes: Bytes,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes do not decode.
    #[error("record of {len} bytes does not decode: {source}")]
    Decode {
        /// Length of the record in bytes.
        len: usize,
        /// What postcard says.
        source: postcard::Error,
    },
    /// The bytes decode to something that contradicts itself.
    #[error("record contradicts itself: {0}")]
    Invalid(String),
}

impl Record {
    /// Appends the record to `out`, and allocates only when `out` has to grow.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    /// Reads one record from exactly `bytes`, and validates it as far as it can be without its graph.
    ///
    /// # Errors
    /// When the bytes are cut, too long, or contradict themselves.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        let record: Record = decode(bytes)?;
        if let Record::Graph(graph) = &record {
            graph.validate()?;
        }
        Ok(record)
    }
}

/// Appends any of this crate's data to `out`.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    struct Append<'a>(&'a mut Vec<u8>);
    impl postcard::ser_flavors::Flavor for Append<'_> {
        type Output = ();
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    postcard::serialize_with_flavor(value, Append(out)).expect("plain data in a growing buffer always encodes");
}

/// Reads any of this crate's data from exactly `bytes`.
///
/// # Errors
/// When the bytes are cut or do not decode, or when bytes are left over.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RecordError> {
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|source| RecordError::Decode { len: bytes.len(), source })?;
    if !rest.is_empty() {
        return Err(RecordError::Invalid(format!("{} bytes follow the record", rest.len())));
    }
    Ok(value)
}

/// A ggml `cgraph` with every tensor that it touches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Number within the session.
    pub graph: GraphId,
    /// The scheduler (for llama.cpp: the context) that computes it, in the order of creation.
    pub context: u32,
    /// How many of `tensors` are nodes.
    pub n_nodes: u32,
    /// Nodes in the order of execution, then leaves.
    pub tensors: Vec<Tensor>,
    /// Names of operators as the host's `ggml_op_desc` gives them.
    pub ops: Vec<String>,
    /// Types as the host describes them.
    pub types: Vec<TensorType>,
    /// Buffers that hold the tensors.
    pub buffers: Vec<Buffer>,
    /// Files that tensors are mapped from.
    pub files: Vec<MappedFile>,
    /// Names of the devices that its runs may be on; [`Run::device`] points here.
    pub devices: Vec<String>,
}

/// A ggml data type, in the host's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorType {
    /// As `ggml_type_name` gives it: `f32`, `q4_1`, ….
    pub name: String,
    /// Elements in a block.
    pub block_size: u32,
    /// Bytes of a block.
    pub type_size: u32,
}

/// What ggml says of a tensor, and what the shim knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TensorFlags(pub u8);

impl TensorFlags {
    /// Input of the graph (`GGML_TENSOR_FLAG_INPUT`).
    pub const INPUT: u8 = 1;
    /// Output of the graph (`GGML_TENSOR_FLAG_OUTPUT`), by the program's own wish.
    pub const OUTPUT: u8 = 2;
    /// The node is computed: its operator does work, and the host did not skip it.
    pub const COMPUTED: u8 = 4;
    /// ggscope pins the tensor.
    pub const PINNED: u8 = 8;
    /// The host stores it contiguously (`ggml_is_contiguous`).
    pub const CONTIGUOUS: u8 = 16;

    /// Whether the flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// One tensor of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// As in the host, never cut by us.
    pub name: String,
    /// Index into [`Graph::ops`].
    pub op: u16,
    /// Index into [`Graph::types`].
    pub dtype: u16,
    /// Flags.
    pub flags: TensorFlags,
    /// Elements in each dimension.
    pub ne: [i64; MAX_DIMS],
    /// Stride in bytes of each dimension.
    pub nb: [u64; MAX_DIMS],
    /// Bytes that the tensor spans (`ggml_nbytes`).
    pub bytes: Bytes,
    /// Sources in the operator's order; a hole among them is `None`.
    pub src: Vec<Option<TensorId>>,
    /// The tensor that this one is a view of, and the offset in it in bytes.
    pub view: Option<(TensorId, u64)>,
    /// Address in the host, 0 if it has none.
    pub addr: u64,
    /// Index into [`Graph::buffers`].
    pub buffer: Option<u16>,
    /// Index into [`Graph::files`] and offset in the file in bytes, for a tensor whose bytes are mapped from it.
    pub mapped: Option<(u16, u64)>,
    /// The operator's parameters (`op_params`), trailing zeros cut.
    pub op_params: Vec<i32>,
}

/// A backend buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Number within the session.
    pub id: BufferId,
    /// As `ggml_backend_buffer_name` gives it: `CPU`, `CPU_Mapped`, `CUDA0`, ….
    pub name: String,
    /// First address.
    pub base: u64,
    /// Size in bytes.
    pub size: Bytes,
    /// What it is for.
    pub usage: BufferUsage,
    /// Whether the CPU can read it.
    pub host: bool,
}

/// `ggml_backend_buffer_usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferUsage {
    /// No stated purpose (the K/V cache, inputs).
    Any,
    /// Weights of a model.
    Weights,
    /// Intermediate results.
    Compute,
    /// A purpose that this version does not know.
    Other,
}

/// A file that is mapped into the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MappedFile {
    /// Path as the kernel knows it.
    pub path: String,
    /// Device as the kernel shows it in `/proc/PID/maps`: its major number, then 32 bits of its minor number; 0 if unknown.
    pub device: u64,
    /// Inode as the kernel shows it there; 0 if unknown.
    pub inode: u64,
}

/// A buffer was allocated or released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferEvent {
    /// When.
    pub time: Nanos,
    /// True for an allocation, false for a release.
    pub allocated: bool,
    /// The buffer.
    pub buffer: Buffer,
}

/// One run of a graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number within the session.
    pub eval: EvalId,
    /// The graph.
    pub graph: GraphId,
    /// The scheduler, as in [`Graph::context`].
    pub context: u32,
    /// Kernel's id of the thread that asked for it.
    pub thread: u32,
    /// `ggml_status`: 0 success, 1 aborted by the program, negative failed.
    pub status: i32,
    /// Begin.
    pub start: Nanos,
    /// End; for an asynchronous backend, when the host got control back.
    pub end: Nanos,
    /// Page faults of the process while it ran that needed no read.
    pub minor_faults: u32,
    /// Page faults of the process while it ran that read from disk.
    pub major_faults: u32,
    /// How many tokens went in.
    pub n_tokens: u32,
    /// Their ids, `n_tokens` of them, or none if they are not recorded or the input is embeddings.
    pub tokens: Vec<i32>,
    /// Their positions, `n_tokens` of them or none.
    pub positions: Vec<i32>,
    /// Sequences of all tokens, those of a token side by side; none if they are unknown.
    pub sequences: Vec<i32>,
    /// How many of `sequences` belong to each token, `n_tokens` of them; none if every token has one.
    pub n_sequences: Vec<u32>,
    /// Number of the call of llama.cpp that it belongs to, from 1 within the session; 0 if it is unknown. A batch that
    /// is larger than a ubatch takes several evaluations in one call.
    pub call: u64,
    /// Where `sequences` come from.
    pub sequences_from: SequencesFrom,
    /// Which of the tokens the program asked an output of, ascending; `None` if that is unknown.
    pub requested: Option<Vec<i32>>,
    /// Which of the tokens have an output row, ascending; `None` if all have.
    pub outputs: Option<Vec<i32>>,
    /// What the scheduler handed to backends, in order.
    pub runs: Vec<Run>,
    /// Nanoseconds between successive calls of the clock, all runs one after the other ([`Run::n_calls`] each).
    #[serde(with = "crate::durations")]
    pub durations: Vec<u64>,
    /// Expert ids that the routers chose.
    pub experts: Vec<Experts>,
}

/// A part of the graph that one backend computed in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// First node.
    pub first: TensorId,
    /// Number of nodes.
    pub n_nodes: u32,
    /// Index into [`Graph::devices`].
    pub device: u16,
    /// Whether the backend called the clock after each operator.
    pub clocked: bool,
    /// Begin, in nanoseconds after [`Evaluation::start`].
    pub start: u64,
    /// How long the host was inside the backend, in nanoseconds.
    pub duration: u64,
    /// How often the backend called the clock.
    pub n_calls: u32,
}

/// Asynchronous work has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The evaluation.
    pub eval: EvalId,
    /// Index into [`Evaluation::runs`].
    pub run: u32,
    /// When the host first saw the end.
    pub end: Nanos,
}

/// The experts that one router chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experts {
    /// The tensor that holds the ids (`ffn_moe_topk-N`), source 2 of the layer's `MUL_MAT_ID`s.
    pub tensor: TensorId,
    /// Experts a token.
    pub n_used: u32,
    /// Ids, `[n_used, n_tokens]`, a token's experts side by side.
    pub ids: Vec<i32>,
}

impl Graph {
    /// The tensor with the id, if the graph has it.
    pub fn tensor(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors.get(id.index())
    }

    /// Name of the tensor's operator (`NONE` for a leaf).
    pub fn op(&self, tensor: &Tensor) -> &str {
        self.ops.get(usize::from(tensor.op)).map_or("?", String::as_str)
    }

    /// The nodes, in the order of execution, with their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (TensorId, &Tensor)> {
        self.tensors.iter().take(self.n_nodes as usize).enumerate().map(|(i, t)| (TensorId(i as u32), t))
    }

    /// The leaves with their ids.
    pub fn leaves(&self) -> impl Iterator<Item = (TensorId, &Tensor)> {
        self.tensors.iter().enumerate().skip(self.n_nodes as usize).map(|(i, t)| (TensorId(i as u32), t))
    }

    /// Checks that every index points into the graph and that views do not go round in circles.
    ///
    /// # Errors
    /// Says which tensor points where it should not.
    pub fn validate(&self) -> Result<(), RecordError> {
        let n = self.tensors.len();
        let bad = |i: usize, what: &str| Err(RecordError::Invalid(format!("graph {}: tensor {i}: {what}", self.graph)));
        if self.n_nodes as usize > n {
            return Err(RecordError::Invalid(format!(
                "graph {}: {} nodes among {n} tensors",
                self.graph, self.n_nodes
            )));
        }
        for (i, t) in self.tensors.iter().enumerate() {
            if usize::from(t.op) >= self.ops.len() || usize::from(t.dtype) >= self.types.len() {
                return bad(i, "unknown operator or type");
            }
            if t.src.iter().flatten().any(|s| s.index() >= n) || t.view.is_some_and(|(v, _)| v.index() >= n) {
                return bad(i, "source or view outside the graph");
            }
            if t.view.is_some_and(|(v, _)| self.tensors[v.index()].view.is_some()) {
                return bad(i, "view of a view");
            }
            if t.buffer.is_some_and(|b| usize::from(b) >= self.buffers.len())
                || t.mapped.is_some_and(|(f, _)| usize::from(f) >= self.files.len())
            {
                return bad(i, "unknown buffer or file");
            }
            if t.ne.iter().any(|&e| e < 0) {
                return bad(i, "negative dimension");
            }
        }
        Ok(())
    }
}

impl Evaluation {
    /// Empties the record and keeps its memory, so that the shim can fill it again without an allocation.
    pub fn clear(&mut self) {
        let Evaluation { tokens, positions, sequences, mut n_sequences, runs, durations, experts, .. } =
            std::mem::take(self);
        let cleared = |mut v: Vec<i32>| {
            v.clear();
            v
        };
        (self.tokens, self.positions, self.sequences) = (cleared(tokens), cleared(positions), cleared(sequences));
        n_sequences.clear();
        self.n_sequences = n_sequences;
        (self.runs, self.durations, self.experts) = (runs, durations, experts);
        self.runs.clear();
        self.durations.clear();
        self.experts.clear();
    }

    /// The sequences of each token; nothing if they are unknown.
    pub fn sequences_of_tokens(&self) -> impl Iterator<Item = &[i32]> {
        let mut rest = &self.sequences[..];
        let n = if self.sequences.is_empty() { 0 } else { self.n_tokens as usize };
        (0..n).map(move |i| {
            let count = self.n_sequences.get(i).map_or(1, |&n| n as usize).min(rest.len());
            let (own, others) = rest.split_at(count);
            rest = others;
            own
        })
    }

    /// Checks the record against itself and against its graph.
    ///
    /// # Errors
    /// Says which count does not fit.
    pub fn validate(&self, graph: &Graph) -> Result<(), RecordError> {
        let bad = |what: &str| Err(RecordError::Invalid(format!("evaluation {}: {what}", self.eval)));
        let n = self.n_tokens as usize;
        let per_token = |v: &[i32]| v.is_empty() || v.len() == n;
        if !per_token(&self.tokens) || !per_token(&self.positions) {
            return bad("tokens or positions do not fit the number of tokens");
        }
        let n_sequences = match &self.n_sequences[..] {
            [] => u64::from(self.n_tokens),
            counts if counts.len() != n || counts.contains(&0) => return bad("sequences do not fit the tokens"),
            counts => counts.iter().map(|&n| u64::from(n)).sum(),
        };
        if !self.sequences.is_empty() && self.sequences.len() as u64 != n_sequences {
            return bad("sequences do not fit the number of tokens");
        }
        let outputs = self.outputs.iter().chain(&self.requested).flatten();
        if outputs.into_iter().any(|&i| usize::try_from(i).is_ok_and(|i| i >= n) || i < 0) {
            return bad("an output is of no token");
        }
        if self.runs.iter().map(|r| u64::from(r.n_calls)).sum::<u64>() != self.durations.len() as u64 {
            return bad("the number of durations does not fit the runs");
        }
        for run in &self.runs {
            if u64::from(run.first.0) + u64::from(run.n_nodes) > u64::from(graph.n_nodes) {
                return bad("a run reaches outside the graph");
            }
            if usize::from(run.device) >= graph.devices.len() {
                return bad("a run is on an unknown device");
            }
        }
        for e in &self.experts {
            if e.tensor.index() >= graph.tensors.len()
                || e.n_used == 0
                || !e.ids.len().is_multiple_of(e.n_used as usize)
            {
                return bad("expert ids do not fit");
            }
        }
        if self.end < self.start {
            return bad("it ends before it begins");
        }
        Ok(())
    }
}
