//! Two traces side by side: what the time of a token went to in each, by operator, layer or tensor. Tensors are matched
//! by name and operator, so that graphs may differ; a tensor whose name ggml made up is matched by operator and layer.

use super::contexts::Contexts;
use super::dump::{Filter, Phase, run_ends, whole_run};
use super::find::{Found, find};
use super::reads::GraphReads;
use ggscope_format::columns::Row;
use ggscope_format::record::Tensor;
use ggscope_format::{GraphId, TensorId};
use ggscope_trace::Trace;
use ggscope_trace::analysis::layers::{Named, named};
use ggscope_trace::view::GraphView;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::str::FromStr;
use utoipa::ToSchema;

/// Graphs whose nodes' rows are kept.
const KEPT: usize = 64;

/// What is compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Kinds of operators.
    Op,
    /// Layers.
    Layer,
    /// Computed tensors.
    Tensor,
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<By, String> {
        match text {
            "op" => Ok(By::Op),
            "layer" => Ok(By::Layer),
            "tensor" => Ok(By::Tensor),
            _ => Err("not one of op, layer, tensor".into()),
        }
    }
}

/// Two traces, row by row.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Comparison {
    /// What a row is.
    pub by: By,
    /// The phase that is compared; null for both.
    #[schema(value_type = Phase)]
    pub phase: Option<Phase>,
    /// The first trace.
    pub a: Side,
    /// The second trace.
    pub b: Side,
    /// The rows, the greatest absolute difference first.
    pub rows: Vec<Difference>,
    /// Keys of the rows that only the first trace has.
    pub unmatched_a: Vec<String>,
    /// Keys of the rows that only the second trace has.
    pub unmatched_b: Vec<String>,
}

/// One context of a trace in the phase that is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Side {
    /// Name of the file.
    pub trace: String,
    /// The context that is compared; null if nothing was evaluated.
    pub context: Option<u32>,
    /// The other contexts that the trace has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_contexts: Vec<u32>,
    /// Tokens.
    pub tokens: u64,
    /// Evaluations with one of these tokens.
    pub evaluations: u64,
    /// Time of these evaluations, nanoseconds; one with tokens of both phases is divided by its tokens.
    pub ns: u64,
    /// The part of it that is some operator's own time.
    pub operator_ns: u64,
    /// Time of the evaluations a token; null without tokens.
    pub ns_per_token: Option<f64>,
}

/// What one trace spent on a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Spent {
    /// Executions.
    pub count: u64,
    /// Sum of their own times, nanoseconds; in an evaluation with tokens of both phases divided by its tokens. Null if
    /// none has one: the recording has no times, a device was timed as a whole, or a later operator has the time of both.
    pub ns: Option<u64>,
    /// The same a token of the trace; null without tokens or time.
    pub ns_per_token: Option<f64>,
    /// Bytes that they read.
    pub bytes: u64,
}

/// A row of the comparison.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Difference {
    /// What is compared, in words; no two rows have the same.
    pub key: String,
    /// Name of the tensor, if the row is one's and it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The operator, unless the row is a layer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The layer, if the row is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<u32>,
    /// In the first trace; null if it does not occur there.
    pub a: Option<Spent>,
    /// In the second trace; null if it does not occur there.
    pub b: Option<Spent>,
    /// The second's time a token less the first's, where what does not occur took none; null if a trace has no tokens.
    pub difference_ns_per_token: Option<f64>,
    /// The second's time a token by the first's; null if either is missing or the first is 0.
    pub ratio: Option<f64>,
}

/// What a row is of, by which it is matched. The order is that of rows without a difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Op(String),
    Layer(Option<u32>),
    Tensor(String, String),
    Unnamed(String, Option<u32>),
}

impl Key {
    fn of(by: By, view: &GraphView, id: TensorId, tensor: &Tensor) -> Key {
        let op = || view.stored.graph.op(tensor).to_owned();
        let layer = view.layers.layer(id);
        match by {
            By::Op => Key::Op(op()),
            By::Layer => Key::Layer(layer),
            By::Tensor if named(&tensor.name) == Named::Nothing => Key::Unnamed(op(), layer),
            By::Tensor => Key::Tensor(tensor.name.clone(), op()),
        }
    }

    fn text(&self) -> String {
        let of_layer = |layer: &Option<u32>| layer.map_or("no layer".to_owned(), |l| format!("layer {l}"));
        match self {
            Key::Op(op) => op.clone(),
            Key::Layer(layer) => of_layer(layer),
            Key::Tensor(name, op) => format!("{name} ({op})"),
            Key::Unnamed(op, layer) => format!("{op} of {}", of_layer(layer)),
        }
    }
}

/// Adds up one trace.
struct Sums {
    by: By,
    phase: Option<Phase>,
    side: Side,
    numbers: HashMap<Key, usize>,
    spent: Vec<Spent>,
    /// For each graph: the row of each node, and what the nodes read.
    graphs: HashMap<GraphId, (Vec<usize>, GraphReads)>,
}

/// A part of a whole number.
fn part(whole: u64, (of, all): (u64, u64)) -> u64 {
    if all == 0 { whole } else { (u128::from(whole) * u128::from(of) / u128::from(all)) as u64 }
}

impl Sums {
    fn of((trace, contexts): (&Trace, &Contexts), context: Option<u32>, by: By, phase: Option<Phase>) -> Sums {
        let name = trace.path().file_name().unwrap_or(trace.path().as_os_str());
        let other_contexts = context.map_or(vec![], |context| contexts.others(context));
        let side = Side { trace: name.to_string_lossy().into_owned(), context, other_contexts, ..Side::default() };
        let (numbers, spent, graphs) = (HashMap::new(), vec![], HashMap::new());
        let mut sums = Sums { by, phase, side, numbers, spent, graphs };
        let ends = run_ends(trace);
        let filter = Filter { phase, context, ..Filter::default() };
        find(trace, &filter, |found| {
            let e = &found.row.evaluation;
            let runs = (0..e.runs.len()).filter_map(|number| whole_run(found.row, number, &ends));
            let end = runs.map(|run| run.t_ns.saturating_add(run.dur_ns)).fold(e.end.0, u64::max);
            sums.add(&found, end.saturating_sub(e.start.0));
            ControlFlow::Continue(())
        });
        let per_token = |ns: u64, tokens: u64| (tokens > 0).then(|| ns as f64 / tokens as f64);
        let tokens = sums.side.tokens;
        sums.side.ns_per_token = per_token(sums.side.ns, tokens);
        sums.spent.iter_mut().for_each(|s| s.ns_per_token = s.ns.and_then(|ns| per_token(ns, tokens)));
        sums
    }

    /// Tokens of the phase among those of an evaluation.
    fn share(&self, row: &Row) -> (u64, u64) {
        let of = |phase: Phase| row.phases.iter().filter(|&&p| Phase::of(p) == phase).count() as u64;
        let all = row.phases.len() as u64;
        match self.phase {
            None => (all, all),
            Some(phase) => (of(phase), all),
        }
    }

    fn add(&mut self, found: &Found<'_>, length: u64) {
        let (row, view) = (found.row, found.view);
        let share = self.share(row);
        self.side.tokens += share.0;
        self.side.evaluations += 1;
        self.side.ns = self.side.ns.saturating_add(part(length, share));
        let graph = row.evaluation.graph;
        if !self.graphs.contains_key(&graph) {
            if self.graphs.len() >= KEPT {
                self.graphs.clear();
            }
            let rows = view.stored.graph.nodes().map(|(id, t)| self.number(Key::of(self.by, view, id, t))).collect();
            self.graphs.insert(graph, (rows, GraphReads::new(view)));
        }
        let (rows, reads) = &self.graphs[&graph];
        for (id, span) in found.times_of(found.nodes()) {
            let ns = span.duration.map(|ns| part(ns, share));
            let spent = &mut self.spent[rows[id.index()]];
            spent.count += 1;
            if let Some(ns) = ns {
                spent.ns = Some(spent.ns.unwrap_or(0).saturating_add(ns));
                self.side.operator_ns = self.side.operator_ns.saturating_add(ns);
            }
            spent.bytes = spent.bytes.saturating_add(reads.of(view, id, &row.evaluation).total());
        }
    }

    fn number(&mut self, key: Key) -> usize {
        let next = self.spent.len();
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.spent.push(Spent::default());
        }
        number
    }

    /// What was executed, by key.
    fn rows(&self) -> impl Iterator<Item = (&Key, Spent)> {
        self.numbers.iter().map(|(key, &number)| (key, self.spent[number])).filter(|(_, spent)| spent.count > 0)
    }
}

/// Compares two traces, of one context each: the one that is named; of the second, if none is, the one of the same number;
/// else the usual one.
///
/// # Errors
/// Says which of both has no such context, by its place in `named`, and which it has.
pub fn compare(
    a: &Trace,
    b: &Trace,
    named: (Option<u32>, Option<u32>),
    by: By,
    phase: Option<Phase>,
) -> Result<Comparison, (usize, String)> {
    let (of_a, of_b) = (Contexts::of(a), Contexts::of(b));
    let (context_a, context_b) = of_a.pair(&of_b, named)?;
    let (a, b) = (Sums::of((a, &of_a), context_a, by, phase), Sums::of((b, &of_b), context_b, by, phase));
    let mut merged: BTreeMap<&Key, (Option<Spent>, Option<Spent>)> = BTreeMap::new();
    for (key, spent) in a.rows() {
        merged.entry(key).or_default().0 = Some(spent);
    }
    for (key, spent) in b.rows() {
        merged.entry(key).or_default().1 = Some(spent);
    }
    let have_tokens = a.side.tokens > 0 && b.side.tokens > 0;
    let mut rows: Vec<Difference> = merged.iter().map(|(key, &(a, b))| difference(key, a, b, have_tokens)).collect();
    let size = |row: &Difference| row.difference_ns_per_token.map_or(-1.0, f64::abs);
    rows.sort_by(|x, y| size(y).total_cmp(&size(x)));
    let missing = |is_missing: fn(&Difference) -> bool| -> Vec<String> {
        rows.iter().filter(|row| is_missing(row)).map(|row| row.key.clone()).collect()
    };
    let (unmatched_a, unmatched_b) = (missing(|row| row.b.is_none()), missing(|row| row.a.is_none()));
    Ok(Comparison { by, phase, a: a.side, b: b.side, rows, unmatched_a, unmatched_b })
}

fn difference(key: &Key, a: Option<Spent>, b: Option<Spent>, have_tokens: bool) -> Difference {
    let time = |spent: Option<Spent>| spent.map_or(Some(0.0), |s| s.ns_per_token);
    let difference = time(a).zip(time(b)).filter(|_| have_tokens).map(|(a, b)| b - a);
    let both = a.and_then(|s| s.ns_per_token).zip(b.and_then(|s| s.ns_per_token));
    let (name, op, layer) = match key {
        Key::Op(op) => (None, Some(op), None),
        Key::Layer(layer) => (None, None, *layer),
        Key::Tensor(name, op) => (Some(name), Some(op), None),
        Key::Unnamed(op, layer) => (None, Some(op), *layer),
    };
    Difference {
        key: key.text(),
        name: name.cloned(),
        op: op.cloned(),
        layer,
        a,
        b,
        difference_ns_per_token: difference,
        ratio: both.filter(|(a, _)| *a > 0.0).map(|(a, b)| b / a),
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
