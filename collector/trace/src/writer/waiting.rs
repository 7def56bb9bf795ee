//! Captured values, or statistics, that wait to be written: encoded as they come, in memory that is kept, because a traced
//! program that computes on all cores waits for whatever its collector does.

use crate::index::IndexEntry;
use ggscope_format::EvalId;
use ggscope_format::chunk::ChunkKind;
use ggscope_format::record::encode;
use serde::Serialize;
use std::time::Instant;

/// The number of items stands before them, in at most this many bytes.
const ROOM: usize = 10;

/// Items of one kind, as the content of a chunk.
pub struct Waiting {
    kind: ChunkKind,
    /// Room for the number, then the items.
    encoded: Vec<u8>,
    n: usize,
    /// The first and the last evaluation that they are of.
    evals: Option<(u64, u64)>,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Waiting {
    /// None yet.
    pub fn new(kind: ChunkKind) -> Waiting {
        Waiting { kind, encoded: vec![], n: 0, evals: None, since: None }
    }

    /// All of them; none are left.
    pub fn take(&mut self) -> Waiting {
        std::mem::replace(self, Waiting::new(self.kind))
    }

    /// Adds one, which is of an evaluation.
    pub fn add(&mut self, item: &impl Serialize, eval: EvalId) {
        if self.encoded.is_empty() {
            self.encoded.resize(ROOM, 0);
        }
        encode(item, &mut self.encoded);
        self.since.get_or_insert_with(Instant::now);
        self.n += 1;
        let eval = eval.0;
        let (first, last) = self.evals.unwrap_or((eval, eval));
        self.evals = Some((first.min(eval), last.max(eval)));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// When the first of them came.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// The chunk's entry in the index.
    pub fn entry(&self, offset: u64) -> IndexEntry {
        let mut entry = IndexEntry::new(offset, self.kind, self.n);
        entry.cover(self.evals.into_iter().flat_map(|(first, last)| [first, last]));
        entry
    }

    /// The chunk's content: a list of the items.
    pub fn content(&mut self) -> &[u8] {
        let mut number = vec![];
        encode(&self.n, &mut number);
        let begin = ROOM - number.len();
        self.encoded[begin..ROOM].copy_from_slice(&number);
        &self.encoded[begin..]
    }

    /// Forgets them and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        (self.n, self.evals, self.since) = (0, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::record::{Value, decode};
    use ggscope_format::value::Encoding;
    use ggscope_format::{Bytes, GraphId, TensorId};

    #[test]
    fn what_was_added_is_the_content_and_nothing_of_before() {
        let value = |eval| Value {
            eval: EvalId(eval),
            graph: GraphId(1),
            tensor: TensorId(2),
            offset: 0,
            total: Bytes(300),
            encoding: Encoding::Host,
            bytes: vec![eval as u8; 300],
        };
        let mut waiting = Waiting::new(ChunkKind::Values);
        for values in [(7..9).map(value).collect::<Vec<_>>(), (0..200).map(value).collect()] {
            values.iter().for_each(|value| waiting.add(value, value.eval));
            let entry = waiting.entry(5);
            assert_eq!(
                (entry.first, entry.last, entry.items),
                (values[0].eval.0, values[values.len() - 1].eval.0, values.len() as u64)
            );
            assert_eq!(decode::<Vec<Value>>(waiting.content()).unwrap(), values);
            waiting.clear();
            assert!(waiting.is_empty());
        }
    }
}
