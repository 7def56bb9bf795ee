//! Reads a trace: finds the chunks by the index, or by a scan where there is none, and decodes a chunk when somebody
//! asks for what is in it. The file is untrusted: what is damaged is left out with a warning, and nothing in it can
//! ask for more memory than [`MAX_CHUNK_BYTES`] and a few times that for the decoded form of one chunk.

use super::index::{Index, IndexEntry, OperatorTotal, Totals};
use super::token_texts::KnownTexts;
use super::{
    AllStatistics, Buffers, Ending, Losses, MAX_CHUNK_BYTES, Model, Recording, Remark, Remarks, RequestBegun,
    StoredGraph, Texts, TraceError, Values, drafting, graph_columns, scan,
};
use crate::analysis::timing::Plans;
use ggscope_format::capture::CaptureChange;
use ggscope_format::chunk::{self, Chunk, ChunkError, ChunkKind, FILE_HEADER_BYTES};
use ggscope_format::columns::Row;
use ggscope_format::record::{BufferEvent, MemoryChange, Statistics, Value, decode};
use ggscope_format::{EvalId, GraphId};
use ggscope_model::mapped::Mapped;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Decoded graphs that are kept.
const KEPT_GRAPHS: usize = 64;
/// Warnings that are kept; a file that is damaged all over says the same again and again.
const MAX_WARNINGS: usize = 50;
/// Models that are read.
const MAX_MODELS: usize = 64;

/// What a trace has: who was recorded, where its chunks are, sums, and what is not in the file yet. Cheap to copy.
#[derive(Clone, Default)]
pub(super) struct Contents {
    pub recording: Arc<Recording>,
    pub models: Arc<Vec<Model>>,
    /// In the order of the file.
    pub chunks: Arc<Vec<IndexEntry>>,
    /// Where the chunk of each graph begins.
    pub graph_at: Arc<BTreeMap<GraphId, u64>>,
    pub totals: Totals,
    pub operators: Arc<Vec<OperatorTotal>>,
    pub complete: bool,
    pub ending: Option<Ending>,
    /// Why the file ends early, if it does.
    pub cut: Option<String>,
    pub pending: Pending,
}

/// What a writer has taken and not written yet.
#[derive(Clone, Default)]
pub(super) struct Pending {
    pub rows: Arc<Vec<Arc<Row>>>,
    pub texts: Arc<Texts>,
    pub buffers: Arc<Buffers>,
    pub remarks: Arc<Remarks>,
}

impl Contents {
    /// Adds chunks.
    pub fn add_chunks(&mut self, entries: &[IndexEntry]) {
        if entries.is_empty() {
            return;
        }
        for entry in entries.iter().filter(|e| e.kind == ChunkKind::Graph) {
            if let Ok(id) = u32::try_from(entry.first) {
                Arc::make_mut(&mut self.graph_at).entry(GraphId(id)).or_insert(entry.offset);
            }
        }
        Arc::make_mut(&mut self.chunks).extend_from_slice(entries);
    }
}

/// What the successive states of one trace have in common: what was decoded, and what was found wrong.
#[derive(Default)]
pub(super) struct Shared {
    warnings: Mutex<Vec<String>>,
    graphs: Mutex<HashMap<GraphId, Arc<StoredGraph>>>,
    values: Mutex<Option<(u64, Arc<Values>)>>,
    statistics: Mutex<Option<(u64, Arc<AllStatistics>)>>,
    pub(super) texts: Mutex<KnownTexts>,
    pub(super) drafting: Mutex<drafting::Known>,
}

/// A trace as it is at one time: of a file that was finished or cut, or of one that still grows. A later state of a
/// growing trace is another `Trace`.
pub struct Trace {
    path: PathBuf,
    pub(super) map: Arc<Mapped>,
    pub(super) contents: Contents,
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("path", &self.path).field("complete", &self.complete()).finish_non_exhaustive()
    }
}

/// Opens a trace file for reading.
pub(super) fn open_file(path: &Path) -> Result<File, TraceError> {
    let failed = |source| TraceError::Open { doing: "open", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")));
    }
    if meta.len() == 0 {
        let reason = "the file is empty: nothing was recorded into it".to_owned();
        return Err(TraceError::Content { path: path.to_owned(), offset: 0, reason });
    }
    Ok(file)
}

/// Maps what a trace file has now.
pub(super) fn map(path: &Path, file: &File) -> Result<Arc<Mapped>, TraceError> {
    let mapped = Mapped::of(file);
    mapped.map(Arc::new).map_err(|source| TraceError::Open { doing: "map", path: path.to_owned(), source })
}

impl Trace {
    /// Opens a trace. One that was cut opens as far as it goes, with a warning.
    ///
    /// # Errors
    /// When the file cannot be read, is not a trace, or ends before its first whole chunk.
    pub fn open(path: &Path) -> Result<Trace, TraceError> {
        Ok(Trace::open_up_to(path, &open_file(path)?, &mut Plans::default(), false)?.0)
    }

    /// Opens a trace, and says where the last chunk ends that was read. With `grows`, evaluations are left for later
    /// whose times have yet to come.
    pub(super) fn open_up_to(
        path: &Path,
        file: &File,
        plans: &mut Plans,
        grows: bool,
    ) -> Result<(Trace, u64), TraceError> {
        let map = map(path, file)?;
        chunk::check_file_header(&map).map_err(|source| {
            let offset = if matches!(source, ChunkError::Version(_)) { 8 } else { 0 };
            TraceError::Frame { path: path.to_owned(), offset, source }
        })?;
        let mut end = map.len() as u64;
        let mut trace = Trace::new(path.to_owned(), map, Contents::default(), Arc::default());
        if let Err(why) = trace.read_index() {
            end = scan::extend(&mut trace, FILE_HEADER_BYTES as u64, plans, &why, grows);
            if trace.contents.chunks.is_empty() {
                let reason = "the file ends before its first whole chunk: nothing of the recording is left".to_owned();
                let offset = trace.map.len() as u64;
                return Err(TraceError::Content { path: path.to_owned(), offset, reason });
            }
        }
        Ok((trace, end))
    }

    pub(super) fn new(path: PathBuf, map: Arc<Mapped>, contents: Contents, shared: Arc<Shared>) -> Trace {
        Trace { path, map, contents, shared }
    }

    /// Takes chunks and sums from the index.
    ///
    /// # Errors
    /// Says why there is none.
    pub(super) fn read_index(&mut self) -> Result<(), String> {
        let end = self.map.len() as u64;
        let offset = chunk::index_offset(&self.map).ok_or("it has no trailer")?;
        let bytes = usize::try_from(offset).ok().and_then(|o| self.map.get(o..)).ok_or("its trailer points outside")?;
        let (chunk, len) = Chunk::parse(bytes).map_err(|e| format!("its index at byte {offset}: {e}"))?;
        if chunk.kind != ChunkKind::Index || offset + len as u64 + chunk::TRAILER_BYTES as u64 != end {
            return Err(format!("its trailer does not point at an index (byte {offset})"));
        }
        let index: Index = self.content(offset, ChunkKind::Index).map_err(|e| e.to_string())?;
        let sorted = index.chunks.is_sorted_by(|a, b| a.offset < b.offset);
        if !sorted || index.chunks.last().is_some_and(|last| last.offset >= offset) {
            return Err(format!("its index at byte {offset} names chunks that cannot be"));
        }
        let mut contents = Contents { complete: true, operators: Arc::new(index.operators), ..Contents::default() };
        contents.totals = Totals { file_bytes: end, ..index.totals };
        contents.add_chunks(&index.chunks);
        self.contents = contents;
        self.read_heads(0);
        self.read_ending();
        Ok(())
    }

    /// Reads how the recording ended, of the last chunk.
    fn read_ending(&mut self) {
        let last = self.contents.chunks.last().filter(|e| e.kind == ChunkKind::Notes && e.items == 1);
        let Some(Ok(remarks)) = last.map(|e| self.content::<Remarks>(e.offset, ChunkKind::Notes)) else { return };
        self.contents.ending = remarks.iter().find_map(Remark::ending);
    }

    /// Reads who was recorded and the models, of the chunks from number `from` on.
    pub(super) fn read_heads(&mut self, from: usize) {
        let chunks = self.contents.chunks.clone();
        let of_kind = |kind| chunks[from..].iter().filter(move |e| e.kind == kind).map(|e| e.offset);
        if from == 0 {
            match of_kind(ChunkKind::Session).next().map(|at| self.content(at, ChunkKind::Session)) {
                Some(Ok(recording)) => self.contents.recording = Arc::new(recording),
                Some(Err(error)) => self.warn(format!("who was recorded is not known: {error}")),
                None => self.warn("who was recorded is not known: the file has no session chunk".into()),
            }
        }
        for at in of_kind(ChunkKind::Model) {
            match self.content(at, ChunkKind::Model) {
                Ok(model) if self.contents.models.len() < MAX_MODELS => {
                    Arc::make_mut(&mut self.contents.models).push(model);
                }
                Ok(_) => return,
                Err(error) => self.warn(error.to_string()),
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who was recorded.
    pub fn recording(&self) -> &Recording {
        &self.contents.recording
    }

    /// The models, in the order in which they were found.
    pub fn models(&self) -> &[Model] {
        &self.contents.models
    }

    /// The first model that has a vocabulary, or the first: the one that a program is most likely about.
    pub fn model(&self) -> Option<&Model> {
        let models = &self.contents.models;
        models.iter().find(|model| model.n_tokens > 0).or(models.first())
    }

    /// Sums over the trace.
    pub fn totals(&self) -> &Totals {
        &self.contents.totals
    }

    /// Times by kind of operator, longest first. Empty if the file was cut, or another process writes it.
    pub fn operators(&self) -> &[OperatorTotal] {
        &self.contents.operators
    }

    /// Whether the recording was ended in order and all of the file is there.
    pub fn complete(&self) -> bool {
        self.contents.complete
    }

    /// How the recording ended, as far as that was told.
    pub fn ending(&self) -> Option<Ending> {
        self.contents.ending
    }

    /// What was found wrong so far.
    pub fn warnings(&self) -> Vec<String> {
        let found = self.shared.warnings.lock();
        self.contents.cut.iter().chain(&*found).cloned().collect()
    }

    /// The first thing that was found wrong so far besides a missing end.
    pub fn damage(&self) -> Option<String> {
        self.shared.warnings.lock().first().cloned()
    }

    /// Adds a warning, once.
    pub fn warn(&self, text: String) {
        let mut warnings = self.shared.warnings.lock();
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Numbers of the graphs.
    pub fn graphs(&self) -> impl Iterator<Item = GraphId> {
        self.contents.graph_at.keys().copied()
    }

    /// A graph.
    ///
    /// # Errors
    /// When the file does not have it, or it is damaged.
    pub fn graph(&self, id: GraphId) -> Result<Arc<StoredGraph>, TraceError> {
        if let Some(graph) = self.shared.graphs.lock().get(&id) {
            return Ok(graph.clone());
        }
        let (offset, columns) = self.graph_columns(id, true)?;
        let graph = graph_columns::decode_graph(&columns).map_err(|e| self.bad(offset, e.to_string()))?;
        if graph.graph.graph != id {
            return Err(self.bad(offset, format!("graph {} stands where graph {id} should", graph.graph.graph)));
        }
        let graph = Arc::new(graph);
        let mut graphs = self.shared.graphs.lock();
        if graphs.len() >= KEPT_GRAPHS {
            graphs.clear();
        }
        graphs.insert(id, graph.clone());
        Ok(graph)
    }

    pub(super) fn graph_id_at(&self, offset: u64) -> Result<GraphId, TraceError> {
        let content = self.unpack(offset, ChunkKind::Graph)?;
        graph_columns::id_of(&content).map_err(|e| self.bad(offset, e.to_string()))
    }

    fn graph_columns(&self, id: GraphId, may_have_base: bool) -> Result<(u64, Vec<u8>), TraceError> {
        let Some(&offset) = self.contents.graph_at.get(&id) else {
            return Err(self.bad(self.map.len() as u64, format!("graph {id} is not in the file")));
        };
        let invalid = |e: ggscope_format::record::RecordError| self.bad(offset, e.to_string());
        let content = self.unpack(offset, ChunkKind::Graph)?;
        let base = match graph_columns::base_of(&content).map_err(invalid)? {
            None => vec![],
            Some(base) if may_have_base => self.graph_columns(base, false)?.1,
            Some(base) => return Err(self.bad(offset, format!("graph {id} builds on {base}, which is built itself"))),
        };
        Ok((offset, graph_columns::unpack(&content, &base).map_err(invalid)?))
    }

    /// Checks the checksums of all chunks, up to about `budget` bytes of them; what is damaged becomes a warning.
    pub fn verify(&self, mut budget: u64) {
        for entry in self.contents.chunks.iter() {
            let bytes = usize::try_from(entry.offset).ok().and_then(|o| self.map.get(o..)).unwrap_or_default();
            let checked = Chunk::parse(bytes).and_then(|(chunk, len)| chunk.check().map(|()| len as u64));
            match checked {
                Ok(len) => budget = budget.saturating_sub(len),
                Err(source) => {
                    let error = TraceError::Frame { path: self.path.clone(), offset: entry.offset, source };
                    self.warn(format!("a chunk with {:?} is damaged and its content is missing: {error}", entry.kind));
                }
            }
            if budget == 0 {
                return;
            }
        }
    }

    /// Whether the file has captured values.
    pub fn has_values(&self) -> bool {
        self.contents.chunks.iter().any(|e| e.kind == ChunkKind::Values)
    }

    /// The pieces of tensors that were captured in an evaluation, in the order of the file.
    pub fn values(&self, eval: EvalId) -> Vec<Value> {
        let mut found = vec![];
        for entry in self.contents.chunks.iter().filter(|e| e.kind == ChunkKind::Values) {
            if entry.first <= eval.0 && eval.0 <= entry.last {
                found.extend(self.values_at(entry.offset).iter().filter(|v| v.eval == eval).cloned());
            }
        }
        found
    }

    /// Where the next chunk of values begins after the one at `after`, if it or one of the `ahead` chunks of values behind
    /// it has some of evaluations up to `last`.
    pub fn next_values(&self, after: Option<u64>, last: EvalId, ahead: usize) -> Option<u64> {
        let chunks = &self.contents.chunks;
        let unread = after.map_or(0, |after| chunks.partition_point(|e| e.offset <= after));
        let mut values = chunks[unread..].iter().filter(|e| e.kind == ChunkKind::Values).take(ahead + 1).peekable();
        let next = values.peek()?.offset;
        values.any(|e| e.first <= last.0).then_some(next)
    }

    /// The newest evaluation that values have come of.
    pub fn values_until(&self) -> Option<EvalId> {
        let values = self.contents.chunks.iter().filter(|e| e.kind == ChunkKind::Values && e.first <= e.last);
        values.map(|e| EvalId(e.last)).max()
    }

    /// The newest evaluation that values or statistics have come of.
    pub fn captured_until(&self) -> Option<EvalId> {
        let kinds = [ChunkKind::Values, ChunkKind::Statistics];
        let captured = self.contents.chunks.iter().filter(|e| kinds.contains(&e.kind) && e.first <= e.last);
        captured.map(|e| EvalId(e.last)).max()
    }

    /// The pieces of tensors in the chunk at `offset`; none, with a warning, if it is damaged.
    pub fn values_in(&self, offset: u64) -> Vec<Value> {
        let values = self.content(offset, ChunkKind::Values).unwrap_or_else(|error| {
            self.warn(format!("captured values are left out: {error}"));
            Values::default()
        });
        values.into_iter().map(Value::in_host_bytes).collect()
    }

    pub(super) fn values_at(&self, offset: u64) -> Arc<Values> {
        if let Some((_, values)) = self.shared.values.lock().as_ref().filter(|kept| kept.0 == offset) {
            return values.clone();
        }
        let values = Arc::new(self.values_in(offset));
        *self.shared.values.lock() = Some((offset, values.clone()));
        values
    }

    /// Whether the file has statistics of captured tensors.
    pub fn has_statistics(&self) -> bool {
        self.contents.chunks.iter().any(|e| e.kind == ChunkKind::Statistics)
    }

    /// Statistics of the tensors that were captured in an evaluation, in the order of the graph.
    pub fn statistics(&self, eval: EvalId) -> Vec<Statistics> {
        let mut found = vec![];
        for entry in self.contents.chunks.iter().filter(|e| e.kind == ChunkKind::Statistics) {
            if entry.first <= eval.0 && eval.0 <= entry.last {
                found.extend(self.statistics_at(entry.offset).iter().filter(|s| s.eval == eval).cloned());
            }
        }
        found
    }

    pub(super) fn statistics_at(&self, offset: u64) -> Arc<AllStatistics> {
        if let Some((_, statistics)) = self.shared.statistics.lock().as_ref().filter(|kept| kept.0 == offset) {
            return statistics.clone();
        }
        let statistics = self.content(offset, ChunkKind::Statistics).unwrap_or_else(|error| {
            self.warn(format!("statistics are left out: {error}"));
            AllStatistics::default()
        });
        let statistics = Arc::new(statistics);
        *self.shared.statistics.lock() = Some((offset, statistics.clone()));
        statistics
    }

    /// What was captured, from which evaluation on, in their order.
    pub fn captures(&self) -> Vec<CaptureChange> {
        let first = CaptureChange { from: EvalId(0), capture: self.recording().capture.clone() };
        let change = |remark| if let Remark::Capture(change) = remark { Some(change) } else { None };
        std::iter::once(first).chain(self.notes().into_iter().filter_map(change)).collect()
    }

    /// Buffers that were allocated and released, in the order of the file.
    pub fn buffers(&self) -> Vec<BufferEvent> {
        self.all::<Buffers>(ChunkKind::Buffers).flatten().chain(self.contents.pending.buffers.iter().cloned()).collect()
    }

    /// Remarks on the recording, in the order of the file: neither requests nor changes of memories.
    pub fn notes(&self) -> Vec<Remark> {
        self.remarks().filter(Remark::is_note).collect()
    }

    /// Changes of contexts' memories, in the order in which they came.
    pub fn memory_changes(&self) -> Vec<MemoryChange> {
        self.remarks().filter_map(|r| if let Remark::Memory(change) = r { Some(change) } else { None }).collect()
    }

    /// Why records were lost, in all; `None` if the recording does not say.
    pub fn losses(&self) -> Option<Losses> {
        let lost = self.remarks().filter_map(|r| if let Remark::Lost(lost) = r { Some(lost) } else { None }).last();
        lost.or((self.totals().dropped_records == 0).then(Losses::default))
    }

    /// Requests, in the order in which they began.
    pub fn requests(&self) -> Vec<RequestBegun> {
        self.remarks().filter_map(|r| if let Remark::Request(request) = r { Some(request) } else { None }).collect()
    }

    pub(super) fn remarks(&self) -> impl Iterator<Item = Remark> {
        self.all::<Remarks>(ChunkKind::Notes).flatten().chain(self.contents.pending.remarks.iter().cloned())
    }

    pub(super) fn all<T: DeserializeOwned + Default>(&self, kind: ChunkKind) -> impl Iterator<Item = T> {
        self.contents.chunks.iter().filter(move |e| e.kind == kind).map(move |e| {
            self.content(e.offset, kind).unwrap_or_else(|error: TraceError| {
                self.warn(error.to_string());
                T::default()
            })
        })
    }

    pub(super) fn content<T: DeserializeOwned>(&self, offset: u64, kind: ChunkKind) -> Result<T, TraceError> {
        let bytes = self.unpack(offset, kind)?;
        decode(&bytes).map_err(|e| self.bad(offset, e.to_string()))
    }

    pub(super) fn unpack(&self, offset: u64, kind: ChunkKind) -> Result<Vec<u8>, TraceError> {
        let frame = |source| TraceError::Frame { path: self.path.clone(), offset, source };
        let bytes = usize::try_from(offset).ok().and_then(|o| self.map.get(o..)).unwrap_or_default();
        let (chunk, _) = Chunk::parse(bytes).map_err(frame)?;
        if chunk.kind != kind {
            return Err(self.bad(offset, format!("a {:?} chunk stands where a {kind:?} chunk should", chunk.kind)));
        }
        if chunk.raw_bytes > MAX_CHUNK_BYTES as u64 {
            return Err(frame(ChunkError::TooLarge(chunk.raw_bytes)));
        }
        chunk.unpack().map_err(frame)
    }

    pub(super) fn bad(&self, offset: u64, reason: String) -> TraceError {
        TraceError::Content { path: self.path.clone(), offset, reason }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
