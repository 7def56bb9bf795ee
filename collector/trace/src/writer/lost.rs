//! What the writer is told of records that were lost, and of vocabularies.

use super::TraceWriter;
use crate::{Losses, ModelId, Remark};
use ggscope_format::GraphId;

impl TraceWriter {
    /// Takes how many records were lost before they came here so far, and how many bytes the rings had no room for, in all.
    pub fn dropped(&mut self, lost: Losses, bytes: u64) {
        if self.ring_lost != (lost, bytes) {
            self.ring_lost = (lost, bytes);
            self.count_dropped();
        }
    }

    /// Takes whose vocabulary a graph's tokens are of where its model is not known.
    pub fn vocabulary(&mut self, graph: GraphId, model: ModelId) {
        self.remarks.push(Remark::Vocabulary { graph, model });
        self.pending();
    }

    /// Why records were lost so far, in all.
    pub fn losses(&self) -> Losses {
        let (lost, _) = self.ring_lost;
        Losses { senseless: lost.senseless.saturating_add(self.refused), ..lost }
    }
}
