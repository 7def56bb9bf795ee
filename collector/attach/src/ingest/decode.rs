//! The second stage: decodes records, completes them with what the model's file knows, and drives the trace writer.
//! A record that makes no sense is counted and forgotten; a write that fails ends the file but not the session.

use super::bytes_per_token::BytesPerToken;
use super::merge::Merge;
use super::poll::Batch;
use super::{Outcome, Sink, Trouble};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use ggscope_format::GraphId;
use ggscope_format::record::{Evaluation, Graph, Record};
use ggscope_trace::model::Models;
use ggscope_trace::{Ending, Losses, TraceError};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What was received is on disk after this time at the latest.
const FLUSH_AFTER: Duration = Duration::from_secs(5);
/// The same while somebody follows the file; and how often it is looked whether somebody does.
const FLUSH_AFTER_FOLLOWED: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Captured values are on disk after this time while somebody looks on.
const SHOW_VALUES_AFTER: Duration = Duration::from_millis(150);
/// What the user reads when threads of the host found no ring to write to.
const NO_RING: &str = "a record was lost because more threads wrote at once than there are rings; \
                       rings of another size would not have helped";
/// A session keeps no more remarks than this about what it received.
const MAX_REMARKS: u32 = 64;

pub(super) struct Decoder<'a> {
    sink: Sink<'a>,
    merge: Merge,
    models: Models,
    graphs: HashSet<GraphId>,
    /// Records that did not decode.
    senseless: u64,
    /// As the rings say.
    dropped: (u64, u64),
    unleased: u64,
    /// `senseless` and `dropped` as the file has them.
    written: (Losses, u64),
    remarks: u32,
    cut: Option<String>,
    of_token: BytesPerToken,
    /// Whether somebody followed the file, and when that was looked at.
    followed: (bool, Instant),
}

impl<'a> Decoder<'a> {
    pub(super) fn new(sink: Sink<'a>) -> Decoder<'a> {
        let models = Models::new(sink.hello);
        Decoder {
            sink,
            merge: Merge::default(),
            models,
            graphs: HashSet::new(),
            senseless: 0,
            dropped: (0, 0),
            unleased: 0,
            written: (Losses::default(), 0),
            remarks: 0,
            cut: None,
            of_token: BytesPerToken::default(),
            followed: (false, Instant::now()),
        }
    }

    /// Takes batches until no more can come.
    pub(super) fn run(&mut self, received: &Receiver<Batch>, give_back: &Sender<Batch>) {
        loop {
            let due = self.due();
            let values_due = self.values_due();
            let look = due.map(|_| self.followed.1 + LOOK_EVERY);
            let soonest = [due, values_due, look, self.merge.deadline()].into_iter().flatten().min();
            let batch = match soonest {
                Some(soonest) => received.recv_deadline(soonest),
                None => received.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match batch {
                Ok(mut batch) => {
                    self.take(&batch);
                    batch.clear();
                    // The poller may be gone already; then nobody needs the memory.
                    let _ = give_back.send(batch);
                }
                Err(RecvTimeoutError::Timeout) => self.take_due(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                // Viewers see what came before the disk is waited for.
                self.sink.writer.show();
                let flushed = self.sink.writer.flush();
                self.check(flushed);
            } else if values_due.is_some_and(|due| due <= Instant::now()) {
                let shown = self.sink.writer.show_values();
                self.check(shown);
            }
            self.sink.progress.set(self.sink.writer.totals());
            self.sink.writer.show();
        }
    }

    /// When what waits has to be on disk, if something waits.
    fn due(&mut self) -> Option<Instant> {
        let since = self.sink.writer.pending_since().filter(|_| self.cut.is_none())?;
        if self.followed.1.elapsed() >= LOOK_EVERY {
            self.followed = (self.sink.writer.is_followed(), Instant::now());
        }
        Some(since + if self.followed.0 { FLUSH_AFTER_FOLLOWED } else { FLUSH_AFTER })
    }

    /// When captured values have to be on disk because somebody looks on.
    fn values_due(&self) -> Option<Instant> {
        let since = self.sink.writer.unseen_values_since().filter(|_| self.cut.is_none())?;
        Some(since + SHOW_VALUES_AFTER)
    }

    /// Ends the file, and says in it how the session ended.
    pub(super) fn finish(mut self, ending: Option<Ending>) -> Outcome {
        let rest = self.merge.finish();
        self.records(rest);
        if let Some(ending) = ending.filter(|_| self.cut.is_none()) {
            let wrote = self.sink.writer.ended(ending);
            self.check(wrote);
        }
        self.of_token.end();
        self.tell_of_token();
        let mut totals = self.sink.writer.totals().clone();
        let lost = self.sink.writer.losses();
        if self.cut.is_none() {
            match self.sink.writer.finish() {
                Ok(finished) => totals = finished,
                Err(error) => {
                    (self.sink.report)(Trouble::Cut(error.to_string()));
                    self.cut = Some(error.to_string());
                }
            }
        }
        self.sink.progress.set(&totals);
        Outcome { totals, lost, cut: self.cut, ending }
    }

    fn take(&mut self, batch: &Batch) {
        for corrupt in &batch.corrupt {
            self.remark(corrupt.clone());
        }
        self.dropped = batch.dropped;
        for bytes in batch.records() {
            if self.cut.is_some() {
                return;
            }
            match Record::decode(bytes) {
                Ok(record) => {
                    let ready = self.merge.take(record, bytes.len(), Instant::now());
                    self.records(ready);
                }
                Err(error) => {
                    self.senseless += 1;
                    self.remark(format!("a record was lost: {error}"));
                }
            }
        }
        if let Some(settled) = batch.settled {
            self.merge.settled(settled);
            self.take_due();
        }
        if self.unleased == 0 && batch.unleased > 0 {
            self.remark(NO_RING.into());
        }
        self.unleased = batch.unleased;
        let no_ring = self.unleased.min(self.dropped.0);
        let causes = Losses { full: self.dropped.0 - no_ring, no_ring, senseless: self.senseless };
        let lost = (causes, self.dropped.1);
        if lost != self.written && self.cut.is_none() {
            self.written = lost;
            self.sink.writer.dropped(lost.0, lost.1);
        }
    }

    /// Writes what has waited for its turn.
    fn take_due(&mut self) {
        let due = self.merge.due(Instant::now());
        self.records(due);
    }

    fn records(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            if self.cut.is_none() {
                self.record(record);
            }
        }
    }

    fn record(&mut self, record: Record) {
        let wrote = match record {
            Record::Graph(graph) => self.graph(graph),
            Record::Evaluation(evaluation) => self.evaluation(evaluation),
            Record::Value(value) => {
                self.of_token.value(&value);
                self.sink.writer.value(value)
            }
            Record::Buffer(event) => self.sink.writer.buffer(event),
            Record::RunEnd(end) => self.sink.writer.run_end(end),
            Record::Note(note) => self.sink.writer.note(note),
            Record::Statistics(statistics) => {
                self.of_token.statistics(statistics.travels());
                self.sink.writer.statistics(&statistics)
            }
            Record::LeftOut(left_out) => self.sink.writer.left_out(left_out),
            Record::Capture(change) => self.sink.writer.capture(change),
            Record::Memory(change) => self.sink.writer.memory(change),
        };
        self.check(wrote);
    }

    /// A graph comes once on every ring that names it; the file has it once.
    fn graph(&mut self, graph: Graph) -> Result<(), TraceError> {
        if !self.graphs.insert(graph.graph) {
            return Ok(());
        }
        self.of_token.graph(&graph);
        let completed = self.models.complete(graph);
        for note in completed.notes {
            self.remark(note);
        }
        if let Some(model) = completed.model {
            self.sink.writer.model(model)?;
        }
        if let Some(model) = completed.vocabulary {
            self.sink.writer.vocabulary(completed.stored.graph.graph, model);
        }
        self.sink.writer.graph(completed.stored)
    }

    fn evaluation(&mut self, mut evaluation: Evaluation) -> Result<(), TraceError> {
        self.of_token.evaluation(evaluation.n_tokens);
        if self.of_token.is_enough() {
            self.tell_of_token();
        }
        if self.sink.tokens {
            let texts = self.models.texts(evaluation.graph, &evaluation.tokens);
            if !texts.is_empty() {
                self.sink.writer.texts(texts)?;
            }
        } else {
            // The shim was told not to send them; what is not to be in the file does not depend on it.
            evaluation.tokens.clear();
        }
        self.sink.writer.evaluation(evaluation)
    }

    fn tell_of_token(&self) {
        self.sink.progress.captured_of_token.store(self.of_token.median(), Ordering::Relaxed);
    }

    /// Tells the user, and whoever reads the file later.
    fn remark(&mut self, text: String) {
        self.remarks += 1;
        if self.remarks > MAX_REMARKS {
            return;
        }
        (self.sink.report)(Trouble::Warning(text.clone()));
        if self.cut.is_none() {
            let wrote = self.sink.writer.note(text);
            self.check(wrote);
        }
    }

    fn check(&mut self, wrote: Result<(), TraceError>) {
        match wrote {
            Ok(()) => {}
            Err(error @ TraceError::Refused { .. }) => {
                self.remarks += 1;
                if self.remarks <= MAX_REMARKS {
                    (self.sink.report)(Trouble::Warning(error.to_string()));
                }
            }
            Err(error) => {
                if self.cut.is_none() {
                    (self.sink.report)(Trouble::Cut(error.to_string()));
                    self.cut = Some(error.to_string());
                }
            }
        }
    }
}
