//! The promises of a trace file: what was written comes back, whatever happens to the file later.

use super::super::testing::{Shape, model, recording, write};
use super::*;
use crate::{ModelId, Select, TraceWriter, testing};
use ggscope_format::capture::Capture;
use ggscope_format::columns::Row;
use ggscope_format::record::{Buffer, BufferUsage, Evaluation, LeftOut, RunEnd};
use ggscope_format::value::{Encoding, Histogram, RowStatistics};
use ggscope_format::{BufferId, Bytes, Nanos, TensorId};
use proptest::prelude::*;
use std::ops::ControlFlow;
use std::sync::OnceLock;

const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

fn rows(trace: &Trace, durations: bool) -> Vec<Row> {
    let mut rows = vec![];
    trace.for_each_evaluation(&Select::default(), durations, |row| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    rows
}

fn statistics(eval: u64) -> Statistics {
    let row = RowStatistics { min: -1.5, max: 2.0, mean: 0.25, rms: 1.0, zeros: 3, nans: 1, infs: 2 };
    let histogram = Histogram { first: -3, counts: vec![1, 0, 7] };
    Statistics { eval: EvalId(eval), graph: GraphId(1), tensor: TensorId(40), rows: vec![row; 2], histogram }
}

fn change() -> CaptureChange {
    CaptureChange { from: EvalId(7), capture: Capture { every: 4, ..Capture::named(["layers"]) } }
}

#[test]
fn statistics_changes_of_the_capture_and_what_was_left_out_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole.ggtrace"), dir.path().join("cut.ggtrace"));
    std::fs::write(&whole, everything()).unwrap();
    // Without its index, what it says is counted from the chunks.
    std::fs::write(&cut, &everything()[..everything().len() - 10]).unwrap();
    for path in [whole, cut] {
        let trace = Trace::open(&path).unwrap();
        assert!(trace.has_statistics());
        assert_eq!(trace.statistics(EvalId(6)), [statistics(6)]);
        assert_eq!(trace.statistics(EvalId(5)), []);
        assert_eq!(trace.captures(), [CaptureChange::default(), change()]);
        let totals = trace.totals();
        assert_eq!((totals.left_out_evaluations, totals.left_out_bytes, totals.value_bytes), (2, 99, 3 * 64));
    }
}

#[test]
fn values_that_travelled_as_f16_are_read_as_the_hosts_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = write(&path, SMALL, 3, 1);
    let halves = vec![0x00, 0x3c, 0x00, 0xc0];
    let value =
        Value { eval: EvalId(1), graph: GraphId(1), total: Bytes(8), encoding: Encoding::F16, ..Value::default() };
    writer.value(Value { bytes: halves, ..value }).unwrap();
    writer.finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    let found = trace.values(EvalId(1));
    assert_eq!(found[0].bytes, [1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
    assert_eq!(trace.totals().value_bytes, 4, "as they travelled");
}

/// A trace with every kind of chunk, evaluations in three chunks.
fn everything() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut writer = write(&path, SMALL, 3, 4);
        writer.flush().unwrap();
        let graph = testing::llama(1, SMALL);
        let mut random = testing::Random(5);
        for eval in 5..8 {
            writer.evaluation(testing::evaluation(&graph, eval, eval as i32 + 2, &mut random)).unwrap();
            writer
                .value(Value {
                    eval: EvalId(eval),
                    graph: GraphId(1),
                    tensor: TensorId(40),
                    offset: 0,
                    total: Bytes(64),
                    encoding: Encoding::Host,
                    bytes: vec![eval as u8; 64],
                })
                .unwrap();
        }
        let buffer = Buffer {
            id: BufferId(1),
            name: "CPU".into(),
            base: 1,
            size: Bytes(2),
            usage: BufferUsage::Any,
            host: true,
        };
        writer.buffer(BufferEvent { time: Nanos(9), allocated: true, buffer }).unwrap();
        writer.run_end(RunEnd { eval: EvalId(5), run: 0, end: Nanos(99) }).unwrap();
        writer.statistics(&statistics(6)).unwrap();
        writer.left_out(LeftOut { evaluations: 2, bytes: Bytes(99) }).unwrap();
        writer.capture(change()).unwrap();
        writer.note("a remark".into()).unwrap();
        writer.dropped(Losses { full: 3, ..Losses::default() }, 400);
        writer.finish().unwrap();
        std::fs::read(&path).unwrap()
    })
}

fn open_bytes(bytes: &[u8]) -> Result<Trace, TraceError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Trace::open(file.path())
}

/// Asks a trace for everything that it can give.
fn read_all(trace: &Trace) -> usize {
    for id in trace.graphs().collect::<Vec<_>>() {
        if let Err(error) = trace.graph(id) {
            trace.warn(error.to_string());
        }
    }
    trace.texts();
    trace.buffers();
    trace.notes();
    let rows = rows(trace, true);
    rows.iter().for_each(|row| drop((trace.values(row.evaluation.eval), trace.statistics(row.evaluation.eval))));
    rows.len()
}

#[test]
fn what_was_written_comes_back() {
    let trace = open_bytes(everything()).unwrap();
    assert!(trace.complete());
    assert_eq!(trace.warnings(), Vec::<String>::new());
    assert_eq!(trace.recording(), &recording());
    assert_eq!(trace.model(), Some(&model()));
    let totals = trace.totals();
    assert_eq!((totals.evaluations, totals.prompt_tokens, totals.generated_tokens), (8, 3, 7));
    assert_eq!(totals.operators, 8 * (1 + 19 + 21 + 3));
    assert_eq!(totals.timed_operators, 8 * (1 + 19 + 21 + 3 - 5));
    assert_eq!((totals.dropped_records, totals.dropped_bytes), (3, 400));
    assert_eq!(totals.file_bytes, everything().len() as u64);
    assert_eq!(*trace.graph(GraphId(1)).unwrap(), testing::llama(1, SMALL));
    assert_eq!(*trace.graph(GraphId(0)).unwrap(), testing::llama(0, Shape { n_tokens: 3, ..SMALL }));
    let rows = rows(&trace, true);
    assert_eq!(rows.iter().map(|r| r.first_token).collect::<Vec<_>>(), [0, 3, 4, 5, 6, 7, 8, 9]);
    assert!(rows.iter().all(|r| r.evaluation.durations.len() == 39));
    assert_eq!(trace.values(EvalId(6))[0].bytes, [6; 64]);
    assert_eq!(trace.values(EvalId(1)), []);
    assert_eq!(trace.texts().of(Some(ModelId(0))).len(), 4);
    assert_eq!(trace.buffers()[0].time, Nanos(9));
    assert_eq!(trace.notes().len(), 6);
    assert_eq!(trace.losses(), Some(Losses { full: 3, ..Losses::default() }));
    assert_eq!(trace.operators().iter().map(|o| o.count).sum::<u64>(), totals.operators);
    let ns: u64 = rows.iter().flat_map(|r| &r.evaluation.durations).sum();
    assert_eq!(trace.operators().iter().map(|o| o.ns).sum::<u64>(), ns);
}

#[test]
fn only_the_wanted_evaluations_are_read() {
    let trace = open_bytes(everything()).unwrap();
    let wanted = |evals, tokens| {
        let mut found = vec![];
        trace.for_each_evaluation(&Select { evals, tokens }, false, |row| {
            found.push(row.evaluation.eval.0);
            ControlFlow::Continue(())
        });
        found
    };
    assert_eq!(wanted(Some(2..4), None), [2, 3]);
    assert_eq!(wanted(None, Some(1..2)), [0]);
    assert_eq!(wanted(None, Some(2..4)), [0, 1]);
    assert_eq!(wanted(None, Some(9..100)), [7]);
}

#[test]
fn evaluations_are_read_from_any_one_on_and_know_their_place() {
    let trace = open_bytes(everything()).unwrap();
    let all = rows(&trace, true);
    for from in 0..10 {
        let mut found = vec![];
        trace.for_each_evaluation_from(from, true, |seq, row| {
            assert_eq!(row, all[seq as usize]);
            found.push(seq);
            ControlFlow::Continue(())
        });
        assert_eq!(found, (from..8).collect::<Vec<_>>());
    }
    let victim = trace.contents.chunks.iter().find(|e| e.kind == ChunkKind::Evaluations).unwrap();
    let mut bytes = everything().to_vec();
    bytes[victim.offset as usize + 40] ^= 1;
    let mut found = vec![];
    open_bytes(&bytes).unwrap().for_each_evaluation_from(0, false, |seq, row| {
        assert_eq!(row.evaluation.eval, all[seq as usize].evaluation.eval);
        found.push(seq);
        ControlFlow::Continue(())
    });
    assert_eq!(found, [5, 6, 7], "what is damaged keeps its numbers");
}

#[test]
fn a_trace_cut_at_any_byte_opens_up_to_its_last_whole_chunk() {
    let bytes = everything();
    let whole = open_bytes(bytes).unwrap();
    let ends: Vec<u64> = whole.contents.chunks.iter().skip(1).map(|e| e.offset).collect();
    for len in 0..bytes.len() {
        match open_bytes(&bytes[..len]) {
            Ok(trace) => {
                assert!(!trace.complete());
                let whole_chunks = ends.iter().filter(|&&end| end <= len as u64).count();
                assert!(trace.contents.chunks.len() >= whole_chunks, "cut at {len}");
                let said = &trace.warnings()[0];
                let last = ends.iter().rev().find(|&&end| end <= len as u64).unwrap();
                assert!(said.contains("was cut"), "{said}");
                assert!(len as u64 > *ends.last().unwrap() || said.contains(&format!("byte {last} ")), "{said}");
                if len % 7 == 0 {
                    read_all(&trace);
                }
            }
            Err(error) => {
                assert!((len as u64) < ends[0], "cut at {len}: {error}");
                assert!(error.to_string().contains("byte "), "{error}");
            }
        }
    }
}

#[test]
fn a_cut_trace_has_the_totals_of_what_is_left() {
    let bytes = everything();
    let whole = open_bytes(bytes).unwrap();
    let cut = open_bytes(&bytes[..bytes.len() - 1]).unwrap();
    let same = |t: &Totals| Totals { file_bytes: 0, ..t.clone() };
    assert_eq!(same(cut.totals()), same(whole.totals()));
    assert_eq!(rows(&cut, true), rows(&whole, true));
    assert_eq!(cut.values(EvalId(7)), whole.values(EvalId(7)));
    let last = whole.contents.chunks.iter().rfind(|e| e.kind == ChunkKind::Durations);
    let times = last.unwrap().offset;
    let without = open_bytes(&bytes[..times as usize + 1]).unwrap();
    let with_times = rows(&without, true).iter().map(|r| r.evaluation.durations.len() as u64).sum::<u64>();
    assert_eq!(without.totals().timed_operators, with_times, "times that were cut off are not counted");
    assert!(with_times < whole.totals().timed_operators);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]
    #[test]
    fn damage_anywhere_is_an_error_or_a_warning_and_never_a_panic(at: usize, bit in 0_u8..8, cut: Option<usize>) {
        let mut bytes = everything().to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        if let Ok(trace) = open_bytes(&bytes) {
            let evaluations = read_all(&trace);
            prop_assert!(evaluations <= 8);
            // Bytes 12 to 16 of the header mean nothing; all else is checked.
            let untouched = (12..16).contains(&at);
            prop_assert!(untouched || cut.is_some() || !trace.warnings().is_empty(), "byte {} was changed unnoticed", at);
        }
    }

    #[test]
    fn graphs_from_hostile_columns_never_panic(at: usize, value: u8) {
        let mut columns = super::graph_columns::encode_graph(&testing::llama(1, SMALL));
        let at = at % columns.len();
        columns[at] = value;
        let _ = super::graph_columns::decode_graph(&columns);
    }
}

#[test]
fn damage_in_the_middle_costs_that_chunk_and_no_other() {
    let whole = open_bytes(everything()).unwrap();
    let victim = whole.contents.chunks.iter().find(|e| e.kind == ChunkKind::Evaluations).unwrap();
    for complete in [true, false] {
        let mut bytes = everything().to_vec();
        bytes[victim.offset as usize + 40] ^= 1;
        bytes.truncate(bytes.len() - usize::from(!complete));
        let trace = open_bytes(&bytes).unwrap();
        assert_eq!(trace.complete(), complete);
        assert_eq!(rows(&trace, true).len(), 3);
        let said = trace.warnings().join("\n");
        assert!(said.contains(&victim.offset.to_string()), "{said}");
        assert_eq!(trace.texts().of(Some(ModelId(0))).len(), 4);
    }
}

#[test]
fn a_graph_whose_base_is_damaged_is_an_error_and_the_others_are_fine() {
    let whole = open_bytes(everything()).unwrap();
    let mut bytes = everything().to_vec();
    bytes[whole.contents.graph_at[&GraphId(0)] as usize + 50] ^= 1;
    let trace = open_bytes(&bytes).unwrap();
    assert!(trace.graph(GraphId(1)).is_err(), "it builds on graph 0");
    assert_eq!(rows(&trace, true).len(), 8);
}

#[test]
fn foreign_files_are_refused_in_one_clear_line() {
    let refused = |bytes: &[u8]| open_bytes(bytes).unwrap_err().to_string();
    assert!(refused(b"").contains("byte 0: the file is empty"));
    assert!(refused(b"GGUF\x03\0\0\0 and what follows").contains("byte 0: not a ggscope trace"));
    assert!(refused(b"GGTR").contains("not a ggscope trace"));
    assert!(refused(&everything()[..16]).contains("byte 16: the file ends before its first whole chunk"));
    let mut newer = everything().to_vec();
    newer[8] = 9;
    assert!(refused(&newer).contains("byte 8: trace format 9, this ggscope reads format 3"));
    let missing = Trace::open(Path::new("/nonexistent/x.ggtrace")).unwrap_err().to_string();
    assert!(missing.contains("cannot open /nonexistent/x.ggtrace"), "{missing}");
    let folder = Trace::open(Path::new("/")).unwrap_err().to_string();
    assert!(folder.contains("not a regular file"), "{folder}");
}

#[test]
fn an_existing_file_is_not_replaced_without_force() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "precious").unwrap();
    let error = TraceWriter::create(file.path(), false, &recording()).err().unwrap().to_string();
    assert!(error.contains("exists already") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read(file.path()).unwrap(), b"precious");
    TraceWriter::create(file.path(), true, &recording()).unwrap().finish().unwrap();
    assert!(Trace::open(file.path()).unwrap().complete());
}

#[test]
fn a_full_disk_is_an_error_with_file_and_offset_and_nothing_follows() {
    let full = Path::new("/dev/full");
    let error = TraceWriter::create(full, true, &recording()).err().unwrap().to_string();
    assert!(error.contains("cannot write /dev/full at byte 0") && error.contains("free some space"), "{error}");
}

#[test]
fn evaluations_that_contradict_themselves_are_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = write(&path, SMALL, 3, 1);
    writer.evaluation(Evaluation { graph: GraphId(77), ..Default::default() }).unwrap();
    writer.evaluation(Evaluation { graph: GraphId(1), durations: vec![1], ..Default::default() }).unwrap();
    writer.evaluation(Evaluation { graph: GraphId(1), n_tokens: u32::MAX, ..Default::default() }).unwrap();
    writer.dropped(Losses { full: 10, ..Losses::default() }, 1_000);
    let totals = writer.finish().unwrap();
    assert_eq!((totals.evaluations, totals.dropped_records, totals.dropped_bytes), (2, 13, 1_000));
    let notes = Trace::open(&path).unwrap().notes();
    let said = |part: &str| notes.iter().any(|n| matches!(n, Remark::Note(text) if text.contains(part)));
    assert!(said("its graph 77 was not recorded") && said("number of durations"), "{notes:?}");
}

#[test]
fn a_graph_that_was_not_used_for_long_is_still_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = write(&path, SMALL, 3, 1);
    let mut random = testing::Random(5);
    for n in 2..100 {
        let graph = testing::llama(n, Shape { n_tokens: i64::from(n), ..SMALL });
        writer.graph(graph.clone()).unwrap();
        writer.evaluation(testing::evaluation(&graph, u64::from(n), 0, &mut random)).unwrap();
    }
    let first = testing::llama(1, SMALL);
    writer.evaluation(testing::evaluation(&first, 100, 0, &mut random)).unwrap();
    let totals = writer.finish().unwrap();
    assert_eq!((totals.graphs, totals.evaluations, totals.dropped_records), (100, 101, 0));
    let trace = Trace::open(&path).unwrap();
    for n in 2..100 {
        let graph = testing::llama(n, Shape { n_tokens: i64::from(n), ..SMALL });
        assert_eq!(*trace.graph(GraphId(n)).unwrap(), graph);
    }
}

#[test]
fn a_graph_comes_before_the_evaluations_that_name_it() {
    let kinds: Vec<_> = open_bytes(everything()).unwrap().contents.chunks.iter().map(|e| e.kind).collect();
    let first = |kind| kinds.iter().position(|&k| k == kind).unwrap();
    assert_eq!(kinds[0], ChunkKind::Session);
    assert!(first(ChunkKind::Graph) < first(ChunkKind::Evaluations));
    assert_eq!(first(ChunkKind::Durations), first(ChunkKind::Evaluations) + 1);
}

#[test]
fn a_generated_token_of_the_demo_model_costs_less_than_a_kilobyte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let totals = write(&path, Shape::default(), 32, 128).finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    let graphs = trace.contents.chunks.iter().filter(|e| e.kind == ChunkKind::Graph).map(|e| e.offset);
    let sizes: Vec<_> = graphs.map(|at| Chunk::parse(&trace.map[at as usize..]).unwrap().1).collect();
    println!("{} bytes a token, graphs of {sizes:?} bytes", totals.file_bytes / 128);
    assert!(sizes[0] < 12_000 && sizes[1] < 4_000, "{sizes:?}");
    assert!(totals.file_bytes / 128 < 1_024);
}
