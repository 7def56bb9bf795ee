//! The promises of a trace that is read while it is written.

use super::super::testing::{Random, Shape, evaluation, llama, recording};
use super::super::{ModelId, Select, TraceWriter};
use super::*;
use crate::Losses;
use ggscope_format::GraphId;
use std::ops::ControlFlow;

const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

fn seqs(trace: &Trace, from: u64) -> Vec<u64> {
    let mut found = vec![];
    trace.for_each_evaluation_from(from, true, |seq, row| {
        assert_eq!((seq, row.evaluation.durations.is_empty()), (row.evaluation.eval.0, false));
        found.push(seq);
        ControlFlow::Continue(())
    });
    found
}

#[test]
fn readers_see_what_was_taken_whether_it_is_in_the_file_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let stored = llama(0, SMALL);
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    let growing = writer.share().unwrap();
    assert_eq!((growing.state(), growing.trace().recording()), (State::Live, &recording()));
    writer.graph(stored.clone()).unwrap();
    let mut random = Random(1);
    let mut states = vec![];
    for eval in 0..700 {
        writer.evaluation(evaluation(&stored, eval, eval as i32, &mut random)).unwrap();
        writer.texts(vec![(ModelId(0), eval as i32, vec![b'x'; 3])]).unwrap();
        if eval % 100 == 99 {
            writer.show();
            let trace = growing.trace();
            assert_eq!(seqs(&trace, 0), (0..=eval).collect::<Vec<_>>());
            assert_eq!(seqs(&trace, eval - 150 * u64::from(eval > 150)).last(), Some(&eval));
            assert_eq!((trace.totals().evaluations, trace.n_evaluations()), (eval + 1, eval + 1));
            assert_eq!(trace.texts().of(Some(ModelId(0))).len() as u64, eval + 1);
            assert_eq!(trace.texts_of(stored.graph.graph, &[eval as i32, 0, -1]).len(), if eval == 0 { 1 } else { 2 });
            assert_eq!(*trace.graph(GraphId(0)).unwrap(), stored);
            assert_eq!(trace.operators().iter().map(|o| o.count).sum::<u64>(), trace.totals().operators);
            states.push(trace);
        }
    }
    writer.note("a remark".into()).unwrap();
    writer.dropped(Losses { full: 1, ..Losses::default() }, 10);
    writer.show();
    writer.dropped(Losses { full: 2, ..Losses::default() }, 20);
    writer.show();
    let trace = growing.trace();
    let dropped = Remark::Dropped { records: 2, bytes: 20 };
    let lost = Losses { full: 2, ..Losses::default() };
    assert_eq!(trace.notes(), [Remark::Note("a remark".into()), dropped, Remark::Lost(lost)]);
    assert_eq!(trace.losses(), Some(lost));
    let mut wanted = vec![];
    trace.for_each_evaluation(&Select { evals: Some(698..800), tokens: None }, false, |row| {
        wanted.push((row.evaluation.eval.0, row.evaluation.durations.len()));
        ControlFlow::Continue(())
    });
    assert_eq!(wanted, [(698, 0), (699, 0)]);
    // What was taken before has not changed.
    for (i, state) in states.iter().enumerate() {
        assert_eq!(seqs(state, 0).len(), 100 * (i + 1));
    }
    let totals = writer.finish().unwrap();
    let ended = growing.trace();
    assert_eq!((growing.state(), ended.complete(), ended.totals()), (State::Ended, true, &totals));
    assert_eq!(seqs(&ended, 0).len(), 700);
    assert_eq!(ended.operators(), Trace::open(&path).unwrap().operators());
    assert!(ended.warnings().is_empty(), "{:?}", ended.warnings());
}

#[test]
fn a_writer_that_goes_without_finishing_leaves_a_trace_that_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = TraceWriter::create(&dir.path().join("a.ggtrace"), false, &recording()).unwrap();
    let growing = writer.share().unwrap();
    drop(writer);
    assert_eq!((growing.state(), growing.trace().complete()), (State::Cut, false));
}

#[test]
fn a_listener_hears_of_every_change_and_a_state_is_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = TraceWriter::create(&dir.path().join("a.ggtrace"), false, &recording()).unwrap();
    let growing = writer.share().unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = heard.clone();
    growing.on_change(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let first = growing.trace();
    assert!(Arc::ptr_eq(&first, &growing.trace()));
    writer.show();
    assert!(!Arc::ptr_eq(&first, &growing.trace()));
    writer.finish().unwrap();
    assert_eq!(heard.load(Ordering::Relaxed), 3, "one change, the end, and that nobody writes any more");
    let watch = growing.watch();
    assert!(growing.is_watched());
    drop(watch);
    assert!(!growing.is_watched());
}

#[test]
fn a_disk_that_is_full_ends_what_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    let growing = writer.share().unwrap();
    writer.file = File::options().write(true).open("/dev/full").unwrap();
    assert!(writer.graph(llama(0, SMALL)).is_err());
    assert_eq!((growing.state(), growing.trace().graphs().count()), (State::Cut, 0));
}
