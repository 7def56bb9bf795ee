//! The trace table: executions of operators, a page at a time, in any order. Executions are counted from graphs and
//! evaluations; only those of the page are derived in full.

use super::dump::{Filter, Found, Operator, dump_some, find};
use super::range::Numbers;
use crate::trace::Trace;
use ggscope_format::TensorId;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::str::FromStr;

/// What the table can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Order of the file.
    File,
    /// Time that it took; those without a time come last.
    Duration,
    /// Kind of operator.
    Op,
    /// Name of the node.
    Name,
    /// Layer; those without come last.
    Layer,
    /// Number of the token; those without come last.
    Token,
    /// PROMPT before GENERATE.
    Phase,
}

/// An order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By which column; the order of the file decides between equals.
    pub by: Column,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl FromStr for Sort {
    type Err = String;

    /// Reads `duration`, or `-duration` for the longest first.
    fn from_str(text: &str) -> Result<Sort, String> {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let by = match name {
            "file" if !descending => Column::File,
            "duration" => Column::Duration,
            "op" => Column::Op,
            "name" => Column::Name,
            "layer" => Column::Layer,
            "token" => Column::Token,
            "phase" => Column::Phase,
            _ => {
                return Err(
                    "not one of file, duration, op, name, layer, token, phase, with - in front to reverse".into()
                );
            }
        };
        Ok(Sort { by, descending })
    }
}

/// Which part of the table is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Executions before it.
    pub offset: usize,
    /// Executions in it, at most.
    pub limit: usize,
    /// Order of the table.
    pub sort: Sort,
}

/// What an execution is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Text(String),
    /// Stays behind all others in both directions.
    Nothing,
}

/// An execution that may be in the page.
#[derive(PartialEq, Eq)]
struct Candidate {
    key: Key,
    descending: bool,
    eval: u64,
    node: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        let keys = self.key.cmp(&other.key);
        let either_is_nothing = self.key == Key::Nothing || other.key == Key::Nothing;
        let keys = if self.descending && !either_is_nothing { keys.reverse() } else { keys };
        keys.then((self.eval, self.node).cmp(&(other.eval, other.node)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Calls `f` with the executions of a page and their places in it, in no order, and returns how many executions the
/// filter lets through in all.
pub fn operators(trace: &Trace, filter: &Filter, page: &Page, mut f: impl FnMut(usize, Operator<'_>)) -> u64 {
    let (chosen, total) =
        if page.sort.by == Column::File { in_file_order(trace, filter, page) } else { sorted(trace, filter, page) };
    let evals = chosen.keys().map(|k| k.0);
    let Some((first, last)) = evals.clone().min().zip(evals.max()) else { return total };
    let within = Filter { evals: Some(Numbers { first, last }), ..filter.clone() };
    let mut left = chosen.len();
    dump_some(
        trace,
        &within,
        |eval, node| chosen.contains_key(&(eval, node.0)),
        |operator| {
            if let Some(&place) = chosen.get(&(operator.eval, operator.node)) {
                f(place, operator);
                left -= 1;
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    total
}

/// The page's executions by evaluation and node, with their places in it, and how many there are in all.
type Chosen = (HashMap<(u64, u32), usize>, u64);

fn in_file_order(trace: &Trace, filter: &Filter, page: &Page) -> Chosen {
    let (mut chosen, mut total) = (HashMap::new(), 0_u64);
    let first = page.offset as u64;
    let end = first.saturating_add(page.limit as u64);
    let times_matter = filter.durations.is_some();
    find(trace, filter, times_matter, |found| {
        if !times_matter && (end <= total || total.saturating_add(found.count) <= first) {
            total += found.count;
            return ControlFlow::Continue(());
        }
        let ids: Vec<TensorId> =
            if times_matter { found.timed_nodes().map(|n| n.0).collect() } else { found.nodes().collect() };
        for id in ids {
            if (first..end).contains(&total) {
                chosen.insert((found.row.evaluation.eval.0, id.0), (total - first) as usize);
            }
            total += 1;
        }
        ControlFlow::Continue(())
    });
    (chosen, total)
}

fn sorted(trace: &Trace, filter: &Filter, page: &Page) -> Chosen {
    let kept = page.offset.saturating_add(page.limit);
    let mut best: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut total = 0;
    let times_matter = filter.durations.is_some() || page.sort.by == Column::Duration;
    find(trace, filter, times_matter, |found| {
        let mut take = |id: TensorId, duration: Option<u64>| {
            total += 1;
            let key = key(&found, page.sort.by, id, duration);
            let Sort { descending, .. } = page.sort;
            let candidate = Candidate { key, descending, eval: found.row.evaluation.eval.0, node: id.0 };
            if best.len() < kept {
                best.push(candidate);
            } else if let Some(mut worst) = best.peek_mut().filter(|worst| candidate < **worst) {
                *worst = candidate;
            }
        };
        if times_matter {
            found.timed_nodes().for_each(|(id, span)| take(id, span.duration));
        } else {
            found.nodes().for_each(|id| take(id, None));
        }
        ControlFlow::Continue(())
    });
    let of_page = best.into_sorted_vec().into_iter().skip(page.offset).enumerate();
    (of_page.map(|(place, c)| ((c.eval, c.node), place)).collect(), total)
}

fn key(found: &Found<'_>, by: Column, id: TensorId, duration: Option<u64>) -> Key {
    let number = |n: Option<u64>| n.map_or(Key::Nothing, Key::Number);
    let graph = &found.view.stored.graph;
    let tensor = &graph.tensors[id.index()];
    match by {
        Column::File => Key::Nothing,
        Column::Duration => number(duration),
        Column::Op => Key::Text(graph.op(tensor).to_owned()),
        Column::Name => Key::Text(tensor.name.clone()),
        Column::Layer => number(found.view.layers.layer(id).map(u64::from)),
        Column::Token => number(found.token()),
        Column::Phase => Key::Number(found.phase() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::dump::dump;
    use crate::trace::testing::{Shape, write};
    use serde_json::Value as Json;

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
        let total = operators(trace, filter, &page, |place, o| rows.push((place, serde_json::to_value(o).unwrap())));
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
}
