//! Puts down what a writer has collected: chunks, one after the other, until the disk does not take one.

use super::waiting::Waiting;
use super::{Display, LEVEL, Result, STATISTICS_LEVEL, TraceWriter, VALUE_LEVEL};
use crate::index::IndexEntry;
use crate::{MAX_CHUNK_BYTES, TraceError, lock};
use ggscope_format::chunk::ChunkKind;
use ggscope_format::columns::{Row, encode_durations, encode_evaluations};
use ggscope_format::record::encode;
use std::io::Write;
use std::sync::Arc;

impl TraceWriter {
    pub(super) fn flush_evaluations(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        // Whoever reads a file that was cut after these evaluations reads their tokens' texts too.
        self.flush_texts()?;
        let rows: Vec<Row> = std::mem::take(&mut self.rows).into_iter().map(Arc::unwrap_or_clone).collect();
        (self.row_bytes, self.display.same.rows) = (0, 0);
        self.chunk(IndexEntry::of_rows(self.offset, ChunkKind::Evaluations, &rows), &encode_evaluations(&rows))?;
        if rows.iter().any(|r| !r.evaluation.durations.is_empty()) {
            self.chunk(IndexEntry::of_rows(self.offset, ChunkKind::Durations, &rows), &encode_durations(&rows))?;
        }
        Ok(())
    }

    pub(super) fn flush_values(&mut self) -> Result<()> {
        self.flush_waiting(|writer| &mut writer.values)
    }

    pub(super) fn flush_statistics(&mut self) -> Result<()> {
        self.flush_waiting(|writer| &mut writer.statistics)
    }

    fn flush_waiting(&mut self, which: fn(&mut TraceWriter) -> &mut Waiting) -> Result<()> {
        let mut waiting = which(self).take();
        if waiting.is_empty() {
            return Ok(());
        }
        let wrote = self.chunk(waiting.entry(self.offset), waiting.content());
        waiting.clear();
        *which(self) = waiting;
        wrote
    }

    pub(super) fn flush_texts(&mut self) -> Result<()> {
        let texts = std::mem::take(&mut self.texts);
        self.display.same.texts = 0;
        if texts.is_empty() { Ok(()) } else { self.encoded(ChunkKind::Texts, &texts, texts.len()) }
    }

    pub(super) fn flush_buffers(&mut self) -> Result<()> {
        let buffers = std::mem::take(&mut self.buffers);
        self.display.same.buffers = 0;
        if buffers.is_empty() { Ok(()) } else { self.encoded(ChunkKind::Buffers, &buffers, buffers.len()) }
    }

    pub(crate) fn flush_remarks(&mut self) -> Result<()> {
        let remarks = std::mem::take(&mut self.remarks);
        self.display.same.remarks = 0;
        if remarks.is_empty() { Ok(()) } else { self.encoded(ChunkKind::Notes, &remarks, remarks.len()) }
    }

    pub(super) fn encoded<T: serde::Serialize>(&mut self, kind: ChunkKind, content: &T, items: usize) -> Result<()> {
        let mut bytes = vec![];
        encode(content, &mut bytes);
        self.chunk(IndexEntry::new(self.offset, kind, items), &bytes)
    }

    pub(super) fn chunk(&mut self, entry: IndexEntry, content: &[u8]) -> Result<()> {
        if content.len() > MAX_CHUNK_BYTES {
            self.refuse(format!("a {:?} chunk is left out: it has {} bytes", entry.kind, content.len()));
            return Ok(());
        }
        self.pack_and_put(entry.kind, content)?;
        self.index.chunks.push(entry);
        Ok(())
    }

    pub(super) fn pack_and_put(&mut self, kind: ChunkKind, content: &[u8]) -> Result<()> {
        let level = match kind {
            ChunkKind::Values => VALUE_LEVEL,
            ChunkKind::Statistics => STATISTICS_LEVEL,
            _ => LEVEL,
        };
        self.refuse_after_failure()?;
        let write_error = |source| TraceError::Write { path: self.path.clone(), offset: self.offset, source };
        let packed = self.packer.pack(kind, content, level).map_err(write_error)?;
        let (wrote, bytes) = (self.file.write_all(packed), packed.len());
        self.wrote(wrote, bytes)
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.refuse_after_failure()?;
        let wrote = self.file.write_all(bytes);
        self.wrote(wrote, bytes.len())
    }

    fn wrote(&mut self, wrote: std::io::Result<()>, bytes: usize) -> Result<()> {
        if let Err(source) = wrote {
            self.failed_at = Some(self.offset);
            self.display = Display::default();
            lock::writes_no_more(&self.file);
            // What was written of the chunk is of no use; a file that cannot be shortened opens all the same.
            let _ = self.file.set_len(self.offset);
            return Err(TraceError::Write { path: self.path.clone(), offset: self.offset, source });
        }
        self.offset += bytes as u64;
        self.index.totals.file_bytes = self.offset;
        Ok(())
    }

    pub(super) fn refuse_after_failure(&self) -> Result<()> {
        match self.failed_at {
            Some(offset) => Err(TraceError::Stopped { path: self.path.clone(), offset }),
            None => Ok(()),
        }
    }
}
