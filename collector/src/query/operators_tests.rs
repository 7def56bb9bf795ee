//! The promises of the trace table: its pages are what `dump` gives, in every order.

use super::*;
use crate::query::dump::dump;
use crate::query::table::DEFAULT_MEMORY;
use crate::trace::testing::{Shape, write};
use serde_json::Value as Json;
use std::ops::ControlFlow;

const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

fn trace() -> (tempfile::TempDir, Trace) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    write(&path, SMALL, 5, 9).finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    (dir, trace)
}

fn rows(trace: &Trace, filter: &Filter, sort: &str, offset: usize, limit: usize) -> (Vec<Json>, u64) {
    let page = Page { offset, limit, sort: sort.parse().unwrap() };
    let mut rows = vec![];
    let table = Table::new(trace, DEFAULT_MEMORY);
    let total = operators(trace, &table, filter, &page, |place, o| {
        rows.push((place, serde_json::to_value(Operator { seq: None, ..o }).unwrap()));
    });
    rows.sort_by_key(|r| r.0);
    assert!(rows.iter().enumerate().all(|(i, r)| i == r.0));
    (rows.into_iter().map(|r| r.1).collect(), total)
}

fn all(trace: &Trace, filter: &Filter) -> Vec<Json> {
    let mut all = vec![];
    dump(trace, filter, |o| {
        all.push(serde_json::to_value(o).unwrap());
        ControlFlow::Continue(())
    });
    all
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

#[test]
fn sorted_pages_are_dump_sorted_stably_with_nulls_last() {
    let (_dir, trace) = trace();
    let all = all(&trace, &Filter::default());
    for (sort, field) in [("duration", "dur_ns"), ("layer", "layer"), ("token", "token")] {
        for descending in [false, true] {
            let mut expected = all.clone();
            expected.sort_by(|a, b| match (a[field].as_u64(), b[field].as_u64()) {
                (Some(a), Some(b)) if descending => b.cmp(&a),
                (Some(a), Some(b)) => a.cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
            let sort = if descending { format!("-{sort}") } else { sort.to_owned() };
            assert_eq!(rows(&trace, &Filter::default(), &sort, 400, 100).0, expected[400..], "{sort}");
            assert_eq!(rows(&trace, &Filter::default(), &sort, 0, 50).0, expected[..50], "{sort}");
        }
    }
    let (by_name, _) = rows(&trace, &Filter::default(), "-name", 0, 1000);
    assert!(by_name.is_sorted_by(|a, b| a["name"].as_str() >= b["name"].as_str()) && by_name.len() == 440);
    let (by_phase, _) = rows(&trace, &Filter::default(), "phase", 0, 45);
    assert_eq!((&by_phase[43]["phase"], &by_phase[44]["phase"]), (&"PROMPT".into(), &"GENERATE".into()));
}

#[test]
fn an_order_that_does_not_exist_is_refused() {
    for wrong in ["", "-", "time", "-file", "--duration"] {
        assert!(wrong.parse::<Sort>().is_err(), "{wrong}");
    }
}
