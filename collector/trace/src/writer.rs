//! Writes a trace: collects what the ingest hands over, and puts it down in chunks that each stand alone, so that a
//! file that ends anywhere loses only what follows its last whole chunk. Graphs go down when they come; evaluations
//! wait until they are many, because many alike compress well, or until the caller flushes.

mod chunks;
mod lost;
mod size;
mod waiting;

use super::create::create_file;
use super::growing::{Display, Growing, Now};
use super::index::{Index, IndexEntry, Totals};
use super::known_graphs::KnownGraphs;
use super::operator_sums::OperatorSums;
use super::{
    Buffers, Ending, Losses, MAX_CHUNK_BYTES, Model, ModelId, Recording, Remark, Remarks, StoredGraph, Texts,
    TraceError, graph_columns, lock,
};
use crate::analysis::requests::{Attributed, Requests};
use crate::analysis::timing::Plans;
use ggscope_format::GraphId;
use ggscope_format::capture::CaptureChange;
use ggscope_format::chunk::{self, ChunkKind, Packer};
use ggscope_format::columns::Row;
use ggscope_format::record::{
    BufferEvent, Evaluation, LeftOut, MemoryChange, RecordError, RunEnd, Statistics, Value, encode,
};
use ggscope_format::value::Encoding;
use size::evaluation_bytes;
pub use size::words;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use waiting::Waiting;

type Result<T> = std::result::Result<T, TraceError>;

/// zstd level of all chunks but graphs, values and statistics.
const LEVEL: i32 = 3;
/// Values hardly get smaller whatever is tried (measured on queries and keys: 7 % at level 3, nothing at -1), and what is
/// tried costs the host: at this level only long runs are found (masks, zeros), in an eighth of the time that -1 takes.
const VALUE_LEVEL: i32 = -1000;
/// Statistics get smaller by a tenth.
const STATISTICS_LEVEL: i32 = -1;
/// Evaluations in a chunk, at most.
const CHUNK_EVALUATIONS: usize = 256;
/// Bytes of evaluations that wait, about; and the size of the largest that is taken.
const PENDING_EVALUATION_BYTES: usize = 16 << 20;
const MAX_EVALUATION_BYTES: usize = MAX_CHUNK_BYTES / 2;
/// Bytes of values that wait; and the largest piece of one.
const PENDING_VALUE_BYTES: usize = 1 << 20;
const VALUE_PIECE_BYTES: usize = 8 << 20;
/// Bytes of statistics that wait, about.
const PENDING_STATISTICS_BYTES: usize = 512 << 10;
/// Events, remarks or texts that wait.
const PENDING_ITEMS: usize = 4096;
/// Remarks on records that contradict themselves; further ones are only counted.
const MAX_REFUSALS: u64 = 20;
/// Longest remark and token text.
const MAX_NOTE_BYTES: usize = 4096;
/// Graphs whose columns are kept as dictionaries for later ones.
const MAX_BASES: usize = 8;

/// An open trace file.
pub struct TraceWriter {
    path: PathBuf,
    pub(super) file: File,
    offset: u64,
    failed_at: Option<u64>,
    pub(super) index: Index,
    operators: OperatorSums,
    graphs: KnownGraphs,
    bases: Vec<(GraphId, usize, Vec<u8>)>,
    plans: Plans,
    requests: Requests,
    /// What each context computed since its memory was empty.
    pub(super) of_context: HashMap<u32, Totals>,
    next_token: u64,
    pub(super) rows: Vec<Arc<Row>>,
    row_bytes: usize,
    values: Waiting,
    packer: Packer,
    statistics: Waiting,
    texts: Texts,
    known_texts: HashSet<(ModelId, i32)>,
    buffers: Buffers,
    pub(super) remarks: Remarks,
    /// What the rings lost, and what was refused here.
    ring_lost: (Losses, u64),
    refused: u64,
    pending_since: Option<Instant>,
    recording: Arc<Recording>,
    models: Vec<Model>,
    ending: Option<Ending>,
    pub(super) display: Display,
}

impl TraceWriter {
    /// Creates the file and writes who is recorded. Replaces an existing file only with `force`.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path, force: bool, recording: &Recording) -> Result<TraceWriter> {
        let file = create_file(path, force)?;
        let no_memory = |source| TraceError::Write { path: path.to_owned(), offset: 0, source };
        lock::writes(&file);
        let mut writer = TraceWriter {
            path: path.to_owned(),
            file,
            offset: 0,
            failed_at: None,
            index: Index::default(),
            operators: OperatorSums::default(),
            graphs: KnownGraphs::default(),
            bases: vec![],
            plans: Plans::default(),
            requests: Requests::default(),
            of_context: HashMap::new(),
            next_token: 0,
            rows: vec![],
            row_bytes: 0,
            values: Waiting::new(ChunkKind::Values),
            packer: Packer::new().map_err(no_memory)?,
            statistics: Waiting::new(ChunkKind::Statistics),
            texts: vec![],
            known_texts: HashSet::new(),
            buffers: vec![],
            remarks: vec![],
            ring_lost: (Losses::default(), 0),
            refused: 0,
            pending_since: None,
            recording: Arc::new(recording.clone()),
            models: vec![],
            ending: None,
            display: Display::default(),
        };
        writer.put(&chunk::file_header())?;
        writer.encoded(ChunkKind::Session, recording, 1)?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a graph. It has to come before the evaluations that name it.
    ///
    /// # Errors
    /// When it contradicts itself, its number is taken, or the file cannot be written.
    pub fn graph(&mut self, stored: StoredGraph) -> Result<()> {
        let id = stored.graph.graph;
        let refused = |source| TraceError::Refused { path: self.path.clone(), source };
        stored.validate().map_err(refused)?;
        if self.graphs.contains(id) {
            return Err(refused(RecordError::Invalid(format!("graph {id} was written before"))));
        }
        let columns = graph_columns::encode_graph(&stored);
        if columns.len() > MAX_CHUNK_BYTES {
            return Err(refused(RecordError::Invalid(format!("graph {id} takes {} bytes", columns.len()))));
        }
        let n = stored.graph.tensors.len();
        let alike = |other: usize| other.abs_diff(n) <= n / 8;
        let base = self.bases.iter().filter(|b| alike(b.1)).min_by_key(|b| b.1.abs_diff(n));
        let content = base
            .and_then(|(base, _, base_columns)| graph_columns::pack(id, &columns, Some((*base, base_columns))).ok())
            .map_or_else(|| graph_columns::pack(id, &columns, None), Ok)
            .map_err(|source| TraceError::Write { path: self.path.clone(), offset: self.offset, source })?;
        let stands_alone = matches!(graph_columns::base_of(&content), Ok(None));
        let mut entry = IndexEntry::new(self.offset, ChunkKind::Graph, n);
        entry.cover([u64::from(id.0)].into_iter());
        self.chunk(entry, &content)?;
        let remembered = self.graphs.insert(stored, &columns);
        remembered.map_err(|source| TraceError::Write { path: self.path.clone(), offset: self.offset, source })?;
        if stands_alone {
            self.bases.push((id, n, columns));
            if self.bases.len() > MAX_BASES {
                self.bases.remove(0);
            }
        }
        self.index.totals.graphs += 1;
        Ok(())
    }

    /// Writes a model.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn model(&mut self, model: Model) -> Result<()> {
        self.encoded(ChunkKind::Model, &model, 1)?;
        self.models.push(model);
        Ok(())
    }

    /// Takes an evaluation. One that contradicts itself or its graph is counted as lost, with a remark.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn evaluation(&mut self, evaluation: Evaluation) -> Result<()> {
        self.refuse_after_failure()?;
        let Some(graph) = self.graphs.get(evaluation.graph) else {
            self.refuse(format!(
                "evaluation {} is left out: its graph {} was not recorded",
                evaluation.eval, evaluation.graph
            ));
            return Ok(());
        };
        if let Err(error) = evaluation.validate(&graph) {
            self.refuse(format!("an evaluation is left out: {error}"));
            return Ok(());
        }
        let bytes = evaluation_bytes(&evaluation);
        if bytes > MAX_EVALUATION_BYTES {
            self.refuse(format!("evaluation {} is left out: it takes {bytes} bytes", evaluation.eval));
            return Ok(());
        }
        let plan = self.plans.of(&graph, &evaluation);
        let Attributed { phases, requests, begun, drafting } = self.requests.evaluation(&evaluation, self.next_token);
        drafting.iter().try_for_each(|drafting| self.drafting(*drafting))?;
        self.remarks.extend(begun.into_iter().map(Remark::Request));
        let row = Row { first_token: self.next_token, phases, requests, evaluation };
        self.next_token += u64::from(row.evaluation.n_tokens);
        self.index.totals.add(&row, &plan);
        self.count_of_context(&row);
        self.operators.add(&graph, &plan, &row.evaluation);
        self.row_bytes += bytes;
        self.rows.push(Arc::new(row));
        self.pending();
        if self.rows.len() >= CHUNK_EVALUATIONS || self.row_bytes >= PENDING_EVALUATION_BYTES {
            self.flush_evaluations()?;
        }
        Ok(())
    }

    /// Takes a piece of a captured tensor.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn value(&mut self, value: Value) -> Result<()> {
        self.refuse_after_failure()?;
        self.index.totals.value_bytes += value.bytes.len() as u64;
        if value.bytes.len() <= VALUE_PIECE_BYTES {
            return self.value_piece(&value);
        }
        let Value { eval, graph, tensor, total, encoding, .. } = value;
        for (i, piece) in value.bytes.chunks(VALUE_PIECE_BYTES).enumerate() {
            let in_host = if encoding == Encoding::F16 { 2 } else { 1 };
            let offset = value.offset.saturating_add((i * VALUE_PIECE_BYTES * in_host) as u64);
            self.value_piece(&Value { eval, graph, tensor, offset, total, encoding, bytes: piece.to_vec() })?;
        }
        Ok(())
    }

    fn value_piece(&mut self, value: &Value) -> Result<()> {
        self.values.add(value, value.eval);
        self.pending();
        if self.values.bytes() < PENDING_VALUE_BYTES {
            return Ok(());
        }
        // First what they are of: if there is no room for the values, that is still there.
        self.flush_evaluations()?;
        self.flush_values()
    }

    /// Takes statistics of a captured tensor.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn statistics(&mut self, statistics: &Statistics) -> Result<()> {
        self.refuse_after_failure()?;
        self.statistics.add(statistics, statistics.eval);
        self.pending();
        if self.statistics.bytes() < PENDING_STATISTICS_BYTES {
            return Ok(());
        }
        self.flush_evaluations()?;
        self.flush_statistics()
    }

    /// Takes what was left out for the budget's sake so far, in all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn left_out(&mut self, left_out: LeftOut) -> Result<()> {
        let totals = &mut self.index.totals;
        (totals.left_out_evaluations, totals.left_out_bytes) = (left_out.evaluations, left_out.bytes.0);
        if let Some(Remark::LeftOut(_)) = self.remarks.last() {
            self.remarks.pop();
            self.display.same.remarks = self.display.same.remarks.min(self.remarks.len());
        }
        self.remark(Remark::LeftOut(left_out))
    }

    /// Takes that something else is captured from an evaluation on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn capture(&mut self, change: CaptureChange) -> Result<()> {
        self.remark(Remark::Capture(change))
    }

    /// Takes a change of a context's memory, after all earlier evaluations of the context.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn memory(&mut self, change: MemoryChange) -> Result<()> {
        self.requests.memory(&change);
        self.forget_of_context(&change);
        self.remark(Remark::Memory(change))
    }

    /// Takes an event of a buffer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn buffer(&mut self, event: BufferEvent) -> Result<()> {
        self.refuse_after_failure()?;
        self.buffers.push(event);
        self.pending();
        if self.buffers.len() >= PENDING_ITEMS { self.flush_buffers() } else { Ok(()) }
    }

    /// Takes the end of an asynchronous run.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn run_end(&mut self, end: RunEnd) -> Result<()> {
        self.remark(Remark::RunEnd(end))
    }

    /// Takes a line that the user should know of.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&mut self, mut text: String) -> Result<()> {
        if text.len() > MAX_NOTE_BYTES {
            let end = (0..=MAX_NOTE_BYTES).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        self.remark(Remark::Note(text))
    }

    fn remark(&mut self, remark: Remark) -> Result<()> {
        self.refuse_after_failure()?;
        self.remarks.push(remark);
        self.pending();
        if self.remarks.len() >= PENDING_ITEMS { self.flush_remarks() } else { Ok(()) }
    }

    /// Takes texts of models' token ids; an id that has its text already is passed over, and so is a text of
    /// more than 4 KiB.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn texts(&mut self, texts: Vec<(ModelId, i32, Vec<u8>)>) -> Result<()> {
        self.refuse_after_failure()?;
        for (model, id, text) in texts.into_iter().filter(|t| t.2.len() <= MAX_NOTE_BYTES) {
            if self.known_texts.insert((model, id)) {
                self.texts.push((model, id, text));
                self.pending();
            }
        }
        if self.texts.len() >= PENDING_ITEMS { self.flush_texts() } else { Ok(()) }
    }

    fn refuse(&mut self, why: String) {
        self.refused += 1;
        match self.refused {
            1..MAX_REFUSALS => self.remarks.push(Remark::Note(why)),
            MAX_REFUSALS => self.remarks.push(Remark::Note(format!("{why}; further ones are only counted"))),
            _ => {}
        }
        self.count_dropped();
    }

    fn count_dropped(&mut self) {
        let (lost, bytes) = (self.losses(), self.ring_lost.1);
        let records = lost.records();
        (self.index.totals.dropped_records, self.index.totals.dropped_bytes) = (records, bytes);
        if let [.., Remark::Dropped { .. }, Remark::Lost(_)] = self.remarks[..] {
            self.remarks.truncate(self.remarks.len() - 2);
            self.display.same.remarks = self.display.same.remarks.min(self.remarks.len());
        }
        self.remarks.extend([Remark::Dropped { records, bytes }, Remark::Lost(lost)]);
        self.pending();
    }

    /// Writes all that waits, and how the recording ended.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn ended(&mut self, ending: Ending) -> Result<()> {
        // In a chunk of its own: whoever knows no such remark loses no other.
        self.flush()?;
        self.ending = Some(ending);
        self.remarks.push(Remark::Ended(ending));
        self.flush_remarks()
    }

    /// Whether somebody else follows the file.
    pub fn is_followed(&self) -> bool {
        lock::is_followed(&self.file)
    }

    /// Since when something waits to be written.
    pub fn pending_since(&self) -> Option<Instant> {
        self.pending_since
    }

    /// Since when captured values wait that somebody who looks on cannot see: they are read from the file alone.
    pub fn unseen_values_since(&self) -> Option<Instant> {
        self.values.since().filter(|_| self.display.is_watched())
    }

    /// Writes the captured values that wait.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn show_values(&mut self) -> Result<()> {
        self.refuse_after_failure()?;
        self.flush_values()
    }

    /// What is in the file and waits to be.
    pub fn totals(&self) -> &Totals {
        &self.index.totals
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.refuse_after_failure()?;
        self.flush_evaluations()?;
        self.flush_values()?;
        self.flush_statistics()?;
        self.flush_texts()?;
        self.flush_buffers()?;
        self.flush_remarks()?;
        self.pending_since = None;
        Ok(())
    }

    /// Writes all that waits, the index and the trailer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<Totals> {
        self.flush()?;
        self.index.operators = self.operators.totals();
        let mut content = vec![];
        encode(&self.index, &mut content);
        let index_offset = self.offset;
        self.pack_and_put(ChunkKind::Index, &content)?;
        self.put(&chunk::trailer(index_offset))?;
        self.show_as(true);
        Ok(self.index.totals)
    }

    /// Shows readers in this process what was taken, from now on each time that [`TraceWriter::show`] is called.
    ///
    /// # Errors
    /// When the file cannot be opened for reading.
    pub fn share(&mut self) -> Result<Arc<Growing>> {
        let growing = self.display.begin(&self.path, &self.recording)?;
        self.show();
        Ok(growing)
    }

    /// Shows what was taken so far, if anybody can see it.
    pub fn show(&mut self) {
        self.show_as(false);
    }

    fn show_as(&mut self, complete: bool) {
        self.display.update(&Now {
            totals: &self.index.totals,
            operators: &|| self.operators.totals(),
            models: &self.models,
            ending: self.ending,
            chunks: &self.index.chunks,
            rows: &self.rows,
            texts: &self.texts,
            buffers: &self.buffers,
            remarks: &self.remarks,
            complete,
        });
    }

    fn pending(&mut self) {
        self.pending_since.get_or_insert_with(Instant::now);
    }
}
