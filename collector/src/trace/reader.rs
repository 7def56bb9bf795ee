//! Reads a trace: finds the chunks by the index, or by a scan where there is none, and decodes a chunk when somebody
//! asks for what is in it. The file is untrusted: what is damaged is left out with a warning, and nothing in it can
//! ask for more memory than [`MAX_CHUNK_BYTES`] and a few times that for the decoded form of one chunk.

use super::index::{Index, IndexEntry, OperatorTotal, Totals};
use super::{
    Buffers, MAX_CHUNK_BYTES, Model, Recording, Remark, Remarks, StoredGraph, Texts, TraceError, Values, graph_columns,
    scan,
};
use ggscope_format::chunk::{self, Chunk, ChunkError, ChunkKind};
use ggscope_format::columns::{Row, decode_durations, decode_evaluations};
use ggscope_format::record::{BufferEvent, Value, decode};
use ggscope_format::{EvalId, GraphId};
use memmap2::Mmap;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Decoded graphs that are kept.
const KEPT_GRAPHS: usize = 64;
/// Warnings that are kept; a file that is damaged all over says the same again and again.
const MAX_WARNINGS: usize = 50;

/// Which evaluations are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// Numbers of evaluations; all if `None`.
    pub evals: Option<Range<u64>>,
    /// Numbers of tokens within the session, of which an evaluation has one at least; all if `None`.
    pub tokens: Option<Range<u64>>,
}

impl Select {
    fn takes_chunk(&self, entry: &IndexEntry) -> bool {
        let evals = self.evals.as_ref().is_none_or(|r| entry.first < r.end && r.start <= entry.last);
        let end = entry.first_token.saturating_add(entry.n_tokens);
        evals && self.tokens.as_ref().is_none_or(|r| entry.first_token < r.end && r.start < end)
    }

    /// Whether an evaluation is wanted.
    pub fn takes(&self, row: &Row) -> bool {
        let evals = self.evals.as_ref().is_none_or(|r| r.contains(&row.evaluation.eval.0));
        let end = row.first_token.saturating_add(row.generated.len() as u64);
        evals && self.tokens.as_ref().is_none_or(|r| row.first_token < r.end && r.start < end)
    }
}

/// An open trace file.
pub struct Trace {
    path: PathBuf,
    map: Mmap,
    index: Index,
    complete: bool,
    recording: Recording,
    models: Vec<Model>,
    /// Where the chunk of each graph begins.
    graph_at: BTreeMap<GraphId, u64>,
    warnings: Mutex<Vec<String>>,
    graphs: Mutex<HashMap<GraphId, Arc<StoredGraph>>>,
    values: Mutex<Option<(u64, Arc<Values>)>>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("path", &self.path).field("complete", &self.complete).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trace {
    /// Opens a trace. One that was cut opens as far as it goes, with a warning.
    ///
    /// # Errors
    /// When the file cannot be read, is not a trace, or ends before its first whole chunk.
    pub fn open(path: &Path) -> Result<Trace, TraceError> {
        let failed = |doing| move |source| TraceError::Open { doing, path: path.to_owned(), source };
        let file = File::open(path).map_err(failed("open"))?;
        let meta = file.metadata().map_err(failed("open"))?;
        if !meta.is_file() {
            return Err(failed("open")(std::io::Error::other("not a regular file")));
        }
        if meta.len() == 0 {
            let reason = "the file is empty: nothing was recorded into it".to_owned();
            return Err(TraceError::Content { path: path.to_owned(), offset: 0, reason });
        }
        // SAFETY: the map is read-only and private to this process's view. ggscope only ever appends to a trace, so
        // the mapped bytes stay; another program that truncates the file while it is read can end this reader, as it
        // can every reader of a mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(failed("map"))?;
        chunk::check_file_header(&map).map_err(|source| {
            let offset = if matches!(source, ChunkError::Version(_)) { 8 } else { 0 };
            TraceError::Frame { path: path.to_owned(), offset, source }
        })?;
        let mut trace = Trace {
            path: path.to_owned(),
            map,
            index: Index::default(),
            complete: true,
            recording: Recording::default(),
            models: vec![],
            graph_at: BTreeMap::new(),
            warnings: Mutex::default(),
            graphs: Mutex::default(),
            values: Mutex::default(),
        };
        if let Err(why) = trace.read_index() {
            trace.complete = false;
            trace.rebuild_index(&why)?;
        }
        trace.index.totals.file_bytes = trace.map.len() as u64;
        trace.find_graphs();
        trace.read_heads();
        Ok(trace)
    }

    fn read_index(&mut self) -> Result<(), String> {
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
        self.index = index;
        Ok(())
    }

    /// Finds the chunks of a file without a usable index, and counts what is in them.
    fn rebuild_index(&mut self, why: &str) -> Result<(), TraceError> {
        let found = scan::scan(&self.map);
        if found.chunks.is_empty() {
            let reason = "the file ends before its first whole chunk: nothing of the recording is left".to_owned();
            return Err(TraceError::Content { path: self.path.clone(), offset: self.map.len() as u64, reason });
        }
        self.warn(format!(
            "the recording was cut, or is still running ({why}): read up to byte {} of {}",
            found.end,
            self.map.len()
        ));
        for damage in &found.damaged {
            self.warn(format!("bytes {} to {} are damaged and left out", damage.start, damage.end));
        }
        let chunks: Vec<_> = found.chunks.iter().map(|(offset, chunk)| (*offset, chunk.kind)).collect();
        scan::rebuild(self, &chunks);
        Ok(())
    }

    pub(super) fn set_index(&mut self, index: Index) {
        self.index = index;
        self.find_graphs();
    }

    fn find_graphs(&mut self) {
        self.graph_at.clear();
        for entry in self.index.chunks.iter().filter(|e| e.kind == ChunkKind::Graph) {
            if let Ok(id) = u32::try_from(entry.first) {
                self.graph_at.entry(GraphId(id)).or_insert(entry.offset);
            }
        }
    }

    fn read_heads(&mut self) {
        let of_kind = |kind| self.index.chunks.iter().filter(move |e| e.kind == kind).map(|e| e.offset);
        let recording = of_kind(ChunkKind::Session).next().map(|at| self.content::<Recording>(at, ChunkKind::Session));
        let models: Vec<_> =
            of_kind(ChunkKind::Model).take(64).map(|at| self.content::<Model>(at, ChunkKind::Model)).collect();
        match recording {
            Some(Ok(recording)) => self.recording = recording,
            Some(Err(error)) => self.warn(format!("who was recorded is not known: {error}")),
            None => self.warn("who was recorded is not known: the file has no session chunk".into()),
        }
        for model in models {
            match model {
                Ok(model) => self.models.push(model),
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
        &self.recording
    }

    /// The models, in the order in which they were found.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The first model, for a program that has but one.
    pub fn model(&self) -> Option<&Model> {
        self.models.first()
    }

    /// Sums over the trace.
    pub fn totals(&self) -> &Totals {
        &self.index.totals
    }

    /// Times by kind of operator, longest first. Empty if the file was cut.
    pub fn operators(&self) -> &[OperatorTotal] {
        &self.index.operators
    }

    /// Whether the recording was ended in order and all of the file is there.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// What was found wrong so far.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    /// Adds a warning, once.
    pub fn warn(&self, text: String) {
        let mut warnings = lock(&self.warnings);
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Numbers of the graphs.
    pub fn graphs(&self) -> impl Iterator<Item = GraphId> {
        self.graph_at.keys().copied()
    }

    /// A graph.
    ///
    /// # Errors
    /// When the file does not have it, or it is damaged.
    pub fn graph(&self, id: GraphId) -> Result<Arc<StoredGraph>, TraceError> {
        if let Some(graph) = lock(&self.graphs).get(&id) {
            return Ok(graph.clone());
        }
        let (offset, columns) = self.graph_columns(id, true)?;
        let graph = graph_columns::decode_graph(&columns).map_err(|e| self.bad(offset, e.to_string()))?;
        if graph.graph.graph != id {
            return Err(self.bad(offset, format!("graph {} stands where graph {id} should", graph.graph.graph)));
        }
        let graph = Arc::new(graph);
        let mut graphs = lock(&self.graphs);
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
        let Some(&offset) = self.graph_at.get(&id) else {
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

    /// Calls `f` for each evaluation that is wanted, in the order of the file, until it breaks. Evaluations that are
    /// damaged are left out with a warning. Without `durations`, or when those are damaged, rows have none.
    pub fn for_each_evaluation(&self, select: &Select, durations: bool, mut f: impl FnMut(Row) -> ControlFlow<()>) {
        for (i, entry) in self.index.chunks.iter().enumerate() {
            if entry.kind != ChunkKind::Evaluations || !select.takes_chunk(entry) {
                continue;
            }
            let rows = match self.timed_rows(i, entry, durations) {
                Ok(rows) => rows,
                Err(error) => {
                    self.warn(format!("{} evaluations are left out: {error}", entry.items));
                    continue;
                }
            };
            for row in rows.into_iter().filter(|row| select.takes(row)) {
                if f(row).is_break() {
                    return;
                }
            }
        }
    }

    /// Calls `f` for each evaluation from the one with number `seq` in the order of the file on, until it breaks. A
    /// damaged chunk leaves a gap in the numbers. Without `durations`, or when those are damaged, rows have none.
    pub fn for_each_evaluation_from(&self, seq: u64, durations: bool, mut f: impl FnMut(u64, Row) -> ControlFlow<()>) {
        let mut next = 0_u64;
        for (i, entry) in self.index.chunks.iter().enumerate().filter(|(_, e)| e.kind == ChunkKind::Evaluations) {
            let first = next;
            next = next.saturating_add(entry.items);
            if next <= seq {
                continue;
            }
            let rows = match self.timed_rows(i, entry, durations) {
                Ok(rows) => rows,
                Err(error) => {
                    self.warn(format!("{} evaluations are left out: {error}", entry.items));
                    continue;
                }
            };
            for (number, row) in (first..next).zip(rows).filter(|(number, _)| *number >= seq) {
                if f(number, row).is_break() {
                    return;
                }
            }
        }
    }

    /// The evaluations of the chunk with place `i` in the index.
    fn timed_rows(&self, i: usize, entry: &IndexEntry, durations: bool) -> Result<Vec<Row>, TraceError> {
        let mut rows = self.rows(entry.offset)?;
        if durations {
            let clocked = rows.iter().any(|r| r.evaluation.runs.iter().any(|run| run.n_calls > 0));
            let read = match self.index.chunks.get(i + 1).filter(|e| e.kind == ChunkKind::Durations) {
                Some(next) => self.add_durations(next.offset, &mut rows),
                None if clocked => Err(self.bad(entry.offset, "the chunk with their times is not there".into())),
                None => Ok(()),
            };
            if let Err(error) = read {
                rows.iter_mut().for_each(|row| row.evaluation.durations.clear());
                self.warn(format!("{} evaluations are without times: {error}", entry.items));
            }
        }
        Ok(rows)
    }

    pub(super) fn rows(&self, offset: u64) -> Result<Vec<Row>, TraceError> {
        let content = self.unpack(offset, ChunkKind::Evaluations)?;
        decode_evaluations(&content).map_err(|e| self.bad(offset, e.to_string()))
    }

    fn add_durations(&self, offset: u64, rows: &mut [Row]) -> Result<(), TraceError> {
        let content = self.unpack(offset, ChunkKind::Durations)?;
        decode_durations(&content, rows).map_err(|e| self.bad(offset, e.to_string()))
    }

    /// Checks the checksums of all chunks, up to about `budget` bytes of them; what is damaged becomes a warning.
    pub fn verify(&self, mut budget: u64) {
        for entry in &self.index.chunks {
            let bytes = usize::try_from(entry.offset).ok().and_then(|o| self.map.get(o..)).unwrap_or_default();
            let checked = Chunk::parse(bytes).and_then(|(chunk, len)| chunk.check().map(|()| len as u64));
            match checked {
                Ok(len) => budget = budget.saturating_sub(len),
                Err(source) => {
                    let error = TraceError::Frame { path: self.path.clone(), offset: entry.offset, source };
                    self.warn(format!("{:?} are damaged and will be missing: {error}", entry.kind));
                }
            }
            if budget == 0 {
                return;
            }
        }
    }

    /// Whether the file has captured values.
    pub fn has_values(&self) -> bool {
        self.index.chunks.iter().any(|e| e.kind == ChunkKind::Values)
    }

    /// The pieces of tensors that were captured in an evaluation, in the order of the file.
    pub fn values(&self, eval: EvalId) -> Vec<Value> {
        let mut found = vec![];
        for entry in self.index.chunks.iter().filter(|e| e.kind == ChunkKind::Values) {
            if entry.first <= eval.0 && eval.0 <= entry.last {
                found.extend(self.values_at(entry.offset).iter().filter(|v| v.eval == eval).cloned());
            }
        }
        found
    }

    pub(super) fn values_at(&self, offset: u64) -> Arc<Values> {
        if let Some((_, values)) = lock(&self.values).as_ref().filter(|kept| kept.0 == offset) {
            return values.clone();
        }
        let values = self.content(offset, ChunkKind::Values).unwrap_or_else(|error| {
            self.warn(format!("captured values are left out: {error}"));
            Values::default()
        });
        let values = Arc::new(values);
        *lock(&self.values) = Some((offset, values.clone()));
        values
    }

    /// Texts of token ids, as far as they are known.
    pub fn texts(&self) -> HashMap<i32, Vec<u8>> {
        self.all::<Texts>(ChunkKind::Texts).flatten().collect()
    }

    /// Buffers that were allocated and released, in the order of the file.
    pub fn buffers(&self) -> Vec<BufferEvent> {
        self.all::<Buffers>(ChunkKind::Buffers).flatten().collect()
    }

    /// Remarks, in the order of the file.
    pub fn notes(&self) -> Vec<Remark> {
        self.all::<Remarks>(ChunkKind::Notes).flatten().collect()
    }

    fn all<T: DeserializeOwned + Default>(&self, kind: ChunkKind) -> impl Iterator<Item = T> {
        self.index.chunks.iter().filter(move |e| e.kind == kind).map(move |e| {
            self.content(e.offset, kind).unwrap_or_else(|error: TraceError| {
                self.warn(error.to_string());
                T::default()
            })
        })
    }

    fn content<T: DeserializeOwned>(&self, offset: u64, kind: ChunkKind) -> Result<T, TraceError> {
        let bytes = self.unpack(offset, kind)?;
        decode(&bytes).map_err(|e| self.bad(offset, e.to_string()))
    }

    fn unpack(&self, offset: u64, kind: ChunkKind) -> Result<Vec<u8>, TraceError> {
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

    fn bad(&self, offset: u64, reason: String) -> TraceError {
        TraceError::Content { path: self.path.clone(), offset, reason }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
