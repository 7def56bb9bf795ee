//! Evaluations in the order in which they began, whichever rings they came through.
//!
//! A host computes on many threads, and each writes what it computed to any ring that is free. The shim says which
//! evaluations are settled: on the rings, or lost. What belongs to a settled evaluation goes on in the order of the
//! evaluations' numbers, and changes of a context's memory between the evaluations around them. An evaluation that
//! waits for one with a lower number waits at most [`PATIENCE`]: the other one may be a prompt of minutes. Evaluations
//! of one context never overlap, so their order does not depend on it.

use ggscope_format::EvalId;
use ggscope_format::record::Record;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long an evaluation waits for those that began before it.
const PATIENCE: Duration = Duration::from_millis(300);
/// How many bytes of records wait.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// A record that waits, with those that belong to it: an evaluation with what was captured of it.
struct Group {
    records: Vec<Record>,
    bytes: usize,
    since: Instant,
    /// Number of the pass in which it came.
    pass: u64,
}

/// Records on their way from the rings to the trace.
#[derive(Default)]
pub(super) struct Merge {
    /// By the number of an evaluation, and [`EVALUATION`] or a number of a change before it.
    waiting: BTreeMap<(u64, u64), Group>,
    bytes: usize,
    pass: u64,
    /// Below this, every evaluation has come or is lost.
    settled: u64,
    changes: u64,
}

/// The second part of an evaluation's place: behind all changes of memories before it.
const EVALUATION: u64 = u64::MAX;

impl Merge {
    /// Takes a record of `bytes` bytes. Returns it if it need not wait.
    pub(super) fn take(&mut self, record: Record, bytes: usize, now: Instant) -> Option<Record> {
        let place = match &record {
            Record::Evaluation(evaluation) => (evaluation.eval.0, EVALUATION),
            Record::Memory(change) => {
                self.changes += 1;
                (change.before.0, self.changes)
            }
            Record::Value(value) => return self.add((value.eval.0, EVALUATION), record, bytes),
            Record::Statistics(statistics) => return self.add((statistics.eval.0, EVALUATION), record, bytes),
            _ => return Some(record),
        };
        if self.waiting.contains_key(&place) {
            // Only a hostile host repeats a number: the first one keeps its place.
            return Some(record);
        }
        self.bytes += bytes;
        self.waiting.insert(place, Group { records: vec![record], bytes, since: now, pass: self.pass });
        None
    }

    /// Adds what was captured of an evaluation to it, or returns it if the evaluation does not wait: it has gone on, or
    /// was lost.
    fn add(&mut self, place: (u64, u64), record: Record, bytes: usize) -> Option<Record> {
        let Some(group) = self.waiting.get_mut(&place) else { return Some(record) };
        group.records.push(record);
        group.bytes += bytes;
        self.bytes += bytes;
        None
    }

    /// A pass over all rings has ended, at whose beginning all evaluations before `settled` were on the rings or lost.
    pub(super) fn settled(&mut self, settled: EvalId) {
        self.settled = self.settled.max(settled.0);
        self.pass += 1;
    }

    /// Takes out the records that need not wait any longer, in the order of their places.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Record> {
        let is_settled = |(eval, rank): (u64, u64)| eval < self.settled || (eval == self.settled && rank != EVALUATION);
        let settled = self.waiting.keys().copied().take_while(|&place| is_settled(place));
        let is_overdue = |g: &Group| self.may_go(g) && now.saturating_duration_since(g.since) >= PATIENCE;
        let overdue = self.waiting.iter().filter(|(_, group)| is_overdue(group)).map(|(&place, _)| place);
        let mut places: Vec<(u64, u64)> = settled.chain(overdue).collect();
        places.sort_unstable();
        let mut due = vec![];
        for place in places {
            self.release(place, &mut due);
        }
        while self.bytes > MAX_WAITING_BYTES
            && let Some((&place, _)) = self.waiting.first_key_value()
        {
            self.release(place, &mut due);
        }
        due
    }

    /// Takes out everything: no more records will come.
    pub(super) fn finish(&mut self) -> Vec<Record> {
        let mut due = vec![];
        while let Some((&place, _)) = self.waiting.first_key_value() {
            self.release(place, &mut due);
        }
        due
    }

    /// When the next record is due even if nothing else comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().filter(|group| self.may_go(group)).map(|group| group.since + PATIENCE).min()
    }

    /// Whether a whole pass has begun after the records came. It has found all earlier evaluations of their context,
    /// which were written before these.
    fn may_go(&self, group: &Group) -> bool {
        self.pass >= group.pass + 2
    }

    fn release(&mut self, place: (u64, u64), due: &mut Vec<Record>) {
        if let Some(group) = self.waiting.remove(&place) {
            self.bytes -= group.bytes;
            due.extend(group.records);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::record::{Evaluation, MemoryChange, MemoryOp, Value};
    use proptest::prelude::*;

    fn evaluation(eval: u64) -> Record {
        Record::Evaluation(Evaluation { eval: EvalId(eval), ..Evaluation::default() })
    }

    fn value(eval: u64) -> Record {
        Record::Value(Value { eval: EvalId(eval), ..Value::default() })
    }

    fn change(before: u64) -> Record {
        Record::Memory(MemoryChange { before: EvalId(before), context: 0, op: MemoryOp::Clear })
    }

    fn names(records: &[Record]) -> Vec<String> {
        let name = |record: &Record| match record {
            Record::Evaluation(e) => format!("e{}", e.eval),
            Record::Value(v) => format!("v{}", v.eval),
            Record::Memory(m) => format!("m{}", m.before),
            _ => "other".into(),
        };
        records.iter().map(name).collect()
    }

    #[test]
    fn evaluations_go_on_in_the_order_of_their_numbers_with_what_was_captured_of_them() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        for record in [evaluation(1), value(1), evaluation(0), value(0), change(1), change(2), evaluation(3)] {
            assert_eq!(merge.take(record, 10, now), None);
        }
        assert!(merge.due(now).is_empty());
        merge.settled(EvalId(2));
        assert_eq!(names(&merge.due(now)), ["e0", "v0", "m1", "e1", "v1", "m2"]);
        assert_eq!(names(&merge.finish()), ["e3"]);
    }

    #[test]
    fn a_number_that_never_comes_is_not_waited_for_once_it_is_settled() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        merge.take(evaluation(5), 10, now);
        merge.settled(EvalId(6));
        assert_eq!(names(&merge.due(now)), ["e5"]);
        assert!(merge.take(value(5), 10, now).is_some(), "its evaluation has gone on");
    }

    #[test]
    fn a_slow_evaluation_of_another_context_holds_up_the_others_for_a_bounded_time() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        merge.take(evaluation(1), 10, now);
        merge.settled(EvalId(0));
        assert!(merge.due(now + PATIENCE).is_empty(), "an earlier one of its context may still be on a ring");
        merge.settled(EvalId(0));
        assert_eq!(merge.deadline(), Some(now + PATIENCE));
        assert!(merge.due(now + PATIENCE / 2).is_empty());
        assert_eq!(names(&merge.due(now + PATIENCE)), ["e1"]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        merge.take(evaluation(1), MAX_WAITING_BYTES / 2, now);
        merge.take(evaluation(2), MAX_WAITING_BYTES / 2, now);
        assert!(merge.due(now).is_empty());
        merge.take(evaluation(3), 1, now);
        assert_eq!(names(&merge.due(now)), ["e1"]);
    }

    proptest! {
        /// Threads that each write evaluations of one context in order, to rings that are read at any time.
        #[test]
        fn whatever_the_threads_do_nothing_is_lost_and_each_context_keeps_its_order(
            contexts in proptest::collection::vec(0_u32..4, 1..60),
            reads in proptest::collection::vec((0_usize..60, any::<bool>()), 0..30),
        ) {
            let (mut merge, now) = (Merge::default(), Instant::now());
            // An evaluation is written when its context's next one begins: until then it is not settled.
            let mut running: BTreeMap<u32, u64> = BTreeMap::new();
            let mut written: Vec<(u64, u32)> = vec![];
            let mut out = vec![];
            let mut read = 0;
            for (eval, &context) in contexts.iter().enumerate() {
                if let Some(before) = running.insert(context, eval as u64) {
                    written.push((before, context));
                }
                for &(_, late) in reads.iter().filter(|r| r.0 == eval) {
                    let settled = running.values().min().copied().unwrap_or(eval as u64 + 1);
                    // Rings are read one after the other, here in the order of contexts.
                    let mut batch: Vec<_> = written[read..].to_vec();
                    read = written.len();
                    batch.sort_by_key(|w| w.1);
                    for (eval, context) in batch {
                        let e = Evaluation { eval: EvalId(eval), context, ..Evaluation::default() };
                        prop_assert!(merge.take(Record::Evaluation(e), 10, now).is_none());
                    }
                    merge.settled(EvalId(settled));
                    out.extend(merge.due(if late { now + PATIENCE } else { now }));
                }
            }
            written.extend(running.iter().map(|(&context, &eval)| (eval, context)));
            for &(eval, context) in &written[read..] {
                let e = Evaluation { eval: EvalId(eval), context, ..Evaluation::default() };
                merge.take(Record::Evaluation(e), 10, now);
            }
            out.extend(merge.finish());
            prop_assert_eq!(out.len(), contexts.len());
            for context in 0..4 {
                let of: Vec<u64> = out.iter().filter_map(|record| match record {
                    Record::Evaluation(e) if e.context == context => Some(e.eval.0),
                    _ => None,
                }).collect();
                prop_assert!(of.is_sorted(), "context {}: {:?}", context, of);
            }
        }
    }
}
