//! The promises of the trace table: its pages are what `dump` gives, in every order, whatever the filter and however
//! the evaluations came.

use super::*;
use crate::dump::{Memory, Phase, dump};
use crate::table::DEFAULT_MEMORY;
use ggscope_format::chunk::{Chunk, FILE_HEADER_BYTES};
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording, write};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::path::Path;

const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

fn trace() -> (tempfile::TempDir, Trace) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    write(&path, SMALL, 5, 9).finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    (dir, trace)
}

fn rows_of(trace: &Trace, table: &Table, filter: &Filter, sort: &str, offset: usize, limit: usize) -> (Vec<Json>, u64) {
    let page = Page { offset, limit, sort: sort.parse().unwrap() };
    let mut rows = vec![];
    let total = operators(trace, table, filter, &page, |place, o| {
        rows.push((place, serde_json::to_value(o).unwrap()));
    });
    rows.sort_by_key(|r| r.0);
    assert!(rows.iter().enumerate().all(|(i, r)| i == r.0));
    (rows.into_iter().map(|r| r.1).collect(), total)
}

fn rows(trace: &Trace, filter: &Filter, sort: &str, offset: usize, limit: usize) -> (Vec<Json>, u64) {
    rows_of(trace, &Table::new(trace, DEFAULT_MEMORY), filter, sort, offset, limit)
}

fn all(trace: &Trace, filter: &Filter) -> Vec<Json> {
    let mut all = vec![];
    dump(trace, filter, |o| {
        all.push(serde_json::to_value(o).unwrap());
        ControlFlow::Continue(())
    });
    all
}

/// What `dump` gives, sorted by a field; those without it last.
fn sorted(mut rows: Vec<Json>, sort: &str) -> Vec<Json> {
    let (column, descending) = sort.strip_prefix('-').map_or((sort, false), |column| (column, true));
    let field = if column == "duration" { "dur_ns" } else { column };
    let key = |row: &Json| match &row[field] {
        Json::Number(n) => Some((n.as_u64().unwrap(), String::new())),
        // PROMPT before GENERATE.
        Json::String(phase) if field == "phase" => Some((u64::from(phase == "GENERATE"), String::new())),
        Json::String(text) => Some((0, text.clone())),
        _ => None,
    };
    if column != "file" {
        rows.sort_by(|a, b| match (key(a), key(b)) {
            (Some(a), Some(b)) if descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
    }
    rows
}

#[test]
fn pages_put_together_are_what_dump_gives() {
    let (_dir, trace) = trace();
    for filter in [
        Filter::default(),
        Filter { layers: Some("1".parse().unwrap()), ..Filter::default() },
        Filter { durations: Some("2000..".parse().unwrap()), ..Filter::default() },
    ] {
        let expected = all(&trace, &filter);
        let mut pages = vec![];
        while pages.len() < expected.len() {
            let (page, total) = rows(&trace, &filter, "file", pages.len(), 37);
            assert_eq!(total, expected.len() as u64);
            assert!(page.len() == 37 || pages.len() + page.len() == expected.len());
            pages.extend(page);
        }
        assert_eq!(pages, expected);
    }
    assert_eq!(rows(&trace, &Filter::default(), "file", 100_000, 10), (vec![], 440));
}

/// Evaluations of several shapes in any order, some that were aborted, some without times, some on a device, some with
/// times of more than four seconds, some of many tokens of which a part is generated.
fn mixed(path: &Path, seed: u64) -> TraceWriter {
    let mut random = Random(seed | 1);
    let mut writer = TraceWriter::create(path, true, &recording()).unwrap();
    let shapes = [(1, 32), (1, 64), (5, 32), (3, 64)];
    let graphs: Vec<_> = (0..)
        .zip(shapes)
        .map(|(graph, (n_tokens, n_kv))| llama(graph, Shape { n_layer: 1 + graph % 2, n_tokens, n_kv, ..SMALL }))
        .collect();
    graphs.iter().for_each(|g| writer.graph(g.clone()).unwrap());
    let mut position = 0;
    for eval in 0..12 {
        let stored = &graphs[random.below(4) as usize];
        // Numbers that are neither consecutive nor in order.
        let mut e = evaluation(stored, (eval ^ 5) * 3, position, &mut random);
        e.durations.iter_mut().for_each(|d| *d = *d / 500 * 500);
        match random.below(6) {
            0 => {
                e.status = 1;
                e.durations.truncate(1);
                e.runs[0].n_calls = 1;
            }
            1 => {
                e.durations.clear();
                (e.runs[0].clocked, e.runs[0].n_calls) = (false, 0);
            }
            2 => e.durations[7] = 5_000_000_000 + eval,
            3 => e.outputs = None,
            _ => {}
        }
        position += e.n_tokens as i32;
        writer.evaluation(e).unwrap();
        if random.below(3) == 0 {
            writer.flush().unwrap();
        }
    }
    writer
}

fn filters(random: &mut Random) -> Filter {
    let glob = |text: &str| Some(globset::Glob::new(text).unwrap().compile_matcher());
    let numbers = |text: String| Some(text.parse().unwrap());
    let mut filter = Filter::default();
    for _ in 0..random.below(3) {
        match random.below(10) {
            0 => filter.tokens = numbers(format!("{}..{}", random.below(6), 6 + random.below(20))),
            1 => filter.evals = numbers(format!("{}..{}", random.below(9), 9 + random.below(27))),
            2 => filter.layers = numbers(format!("{}..", random.below(2))),
            3 => filter.op = glob(["MUL*", "ROPE", "nothing"][random.below(3) as usize]),
            4 => filter.name = glob(["*-0", "l_out-1", "Qcur*"][random.below(3) as usize]),
            5 => filter.phase = Some([Phase::Prompt, Phase::Generate][random.below(2) as usize]),
            6 => filter.source = Some([Memory::Disk, Memory::Buffer][random.below(2) as usize]),
            7 => filter.node = Some(random.below(60) as u32),
            8 => filter.tensor = Some(["inp_pos", "norm-0", "none"][random.below(3) as usize].into()),
            _ => filter.durations = numbers(format!("{}..{}", random.below(1500), 1500 + random.below(900_000))),
        }
    }
    filter
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn every_page_in_every_order_is_a_piece_of_what_dump_gives_sorted(seed in 1_u64.., few in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        mixed(&path, seed).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        // Without memory, all is read again for every question.
        let table = Table::new(&trace, if few { 0 } else { DEFAULT_MEMORY });
        prop_assert_eq!(table.rows(), trace.totals().operators);
        let mut random = Random(seed ^ 0x1234_5678);
        for _ in 0..4 {
            let filter = filters(&mut random);
            let unsorted = all(&trace, &filter);
            for column in ["file", "duration", "op", "name", "layer", "token", "phase"] {
                for sort in [column.to_owned(), format!("-{column}")].iter().filter(|s| *s != "-file") {
                    let expected = sorted(unsorted.clone(), sort);
                    let offset = random.below(expected.len() as u64 + 3) as usize;
                    let limit = 1 + random.below(90) as usize;
                    let (page, total) = rows_of(&trace, &table, &filter, sort, offset, limit);
                    let piece: Vec<Json> = expected.iter().skip(offset).take(limit).cloned().collect();
                    prop_assert_eq!(total, expected.len() as u64, "{} {:?}", sort, filter);
                    prop_assert_eq!(page, piece, "{} {:?} {} {}", sort, filter, offset, limit);
                }
            }
        }
    }
}

#[test]
fn where_times_are_damaged_the_rest_is_there_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    mixed(&path, 7).finish().unwrap();
    let sound = std::fs::read(&path).unwrap();
    let mut at = FILE_HEADER_BYTES;
    while let Ok((chunk, len)) = Chunk::parse(&sound[at..]) {
        let kind = chunk.kind;
        let mut damaged = sound.clone();
        damaged[at + len - 9] ^= 0xff;
        std::fs::write(&path, &damaged).unwrap();
        at += len;
        let Ok(trace) = Trace::open(&path) else { continue };
        let table = Table::new(&trace, DEFAULT_MEMORY);
        let filter = Filter::default();
        let expected = all(&trace, &filter);
        assert_eq!(table.rows(), expected.len() as u64, "{kind:?}");
        for sort in ["file", "-duration", "name", "token"] {
            let (page, total) = rows_of(&trace, &table, &filter, sort, 0, 1000);
            assert_eq!((total, page), (expected.len() as u64, sorted(expected.clone(), sort)), "{kind:?} {sort}");
        }
        assert!(!trace.warnings().is_empty(), "{kind:?}");
    }
}

#[test]
fn a_table_that_grew_is_the_table_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (path, cut) = (dir.path().join("a.ggtrace"), dir.path().join("cut.ggtrace"));
    mixed(&path, 11).finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut grown: Option<Table> = None;
    let mut at = FILE_HEADER_BYTES;
    while let Ok((_, len)) = Chunk::parse(&bytes[at..]) {
        at += len;
        std::fs::write(&cut, &bytes[..at]).unwrap();
        let Ok(trace) = Trace::open(&cut) else { continue };
        let table = grown.get_or_insert_with(|| Table::new(&trace, DEFAULT_MEMORY));
        let before = table.clone();
        table.update(&trace);
        assert!(before.len() <= table.len());
        let filter = Filter::default();
        for sort in ["file", "-duration", "op"] {
            let expected = sorted(all(&trace, &filter), sort);
            assert_eq!(rows_of(&trace, table, &filter, sort, 0, 1000).0, expected, "{at} {sort}");
        }
        assert_eq!(rows_of(&trace, &before, &filter, "file", 0, 1000).1, before.rows(), "a clone stays as it was");
    }
    assert_eq!(grown.map(|t| t.len()), Some(12));
}

#[test]
fn many_that_took_equally_long_come_in_the_order_of_the_file() {
    let (_dir, trace) = trace();
    let (by_phase, _) = rows(&trace, &Filter::default(), "phase", 0, 45);
    assert_eq!((&by_phase[43]["phase"], &by_phase[44]["phase"]), (&"PROMPT".into(), &"GENERATE".into()));
    let (by_time, _) = rows(&trace, &Filter::default(), "-duration", 0, 1000);
    let place = |row: &Json| (row["eval"].as_u64(), row["node"].as_u64());
    assert!(by_time.is_sorted_by(|a, b| {
        match a["dur_ns"].as_u64().cmp(&b["dur_ns"].as_u64()) {
            Ordering::Equal => place(a) < place(b),
            order => order == Ordering::Greater,
        }
    }));
}

#[test]
fn an_order_that_does_not_exist_is_refused() {
    for wrong in ["", "-", "time", "-file", "--duration"] {
        assert!(wrong.parse::<Sort>().is_err(), "{wrong}");
    }
}
