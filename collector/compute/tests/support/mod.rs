//! Graphs to compare on, and networkx (in vendor/python) to compare with.

use ggscope_compute::{Direction, Graph, NodeId, Parallel};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// An edge list under a name.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub nodes: usize,
    pub edges: Vec<(u32, u32)>,
    pub weights: Option<Vec<f64>>,
    pub direction: Direction,
    /// Parallel edges count each, as in a networkx multigraph; else the last one counts.
    pub multi: bool,
}

impl Case {
    pub fn graph(&self) -> Graph {
        self.graph_with(Parallel::Sum)
    }

    /// `parallel`: what parallel edges become if this is a multigraph.
    pub fn graph_with(&self, parallel: Parallel) -> Graph {
        let edges: Vec<_> = self.edges.iter().map(|&(a, b)| (NodeId(a), NodeId(b))).collect();
        let rule = if self.multi { parallel } else { Parallel::Last };
        match &self.weights {
            Some(weights) => Graph::weighted(self.nodes, self.direction, &edges, weights, rule).unwrap(),
            None if self.multi => {
                Graph::weighted(self.nodes, self.direction, &edges, &vec![1.0; edges.len()], rule).unwrap()
            }
            None => Graph::unweighted(self.nodes, self.direction, &edges).unwrap(),
        }
    }

    pub fn is_directed(&self) -> bool {
        self.direction == Direction::Directed
    }

    fn json(&self, ask: &[Value]) -> Value {
        json!({
            "nodes": self.nodes, "edges": self.edges, "weights": self.weights,
            "directed": self.is_directed(), "multi": self.multi, "ask": ask,
        })
    }
}

/// A shape: name, number of nodes, edges.
type Shape = (&'static str, usize, Vec<(u32, u32)>);

fn shapes() -> Vec<Shape> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut edges = |nodes: u32, count: usize| -> Vec<(u32, u32)> {
        (0..count).map(|_| (random.u32(0..nodes), random.u32(0..nodes))).collect()
    };
    let sparse = edges(200, 500);
    let dense = edges(60, 900);
    // Three parts that nothing connects, and nodes without edges.
    let apart = (0..3).flat_map(|part| edges(40, 90).into_iter().map(move |(a, b)| (a + 50 * part, b + 50 * part)));
    let apart = apart.collect();
    vec![
        ("nothing", 0, vec![]),
        ("one node", 1, vec![]),
        ("one node with a loop", 1, vec![(0, 0)]),
        ("two nodes", 2, vec![(0, 1)]),
        ("no edges", 5, vec![]),
        ("path", 40, (1..40).map(|v| (v - 1, v)).collect()),
        ("star", 30, (1..30).map(|v| (0, v)).collect()),
        ("star inwards", 30, (1..30).map(|v| (v, 0)).collect()),
        ("complete", 12, (0..12).flat_map(|a| (0..12).filter(move |&b| b != a).map(move |b| (a, b))).collect()),
        ("grid", 49, grid(7)),
        ("random, sparse", 200, sparse),
        ("random, dense, with parallel edges and loops", 60, dense),
        ("apart", 160, apart),
        ("layers and heads", ARCHITECTURE, architecture()),
        ("operators of a transformer", OPERATORS, operators()),
    ]
}

fn grid(side: u32) -> Vec<(u32, u32)> {
    let right = (0..side * side).filter(move |v| v % side != side - 1).map(|v| (v, v + 1));
    let down = (0..side * (side - 1)).map(move |v| (v, v + side));
    right.chain(down).collect()
}

pub const ARCHITECTURE: usize = 929;

/// 28 layers that contain 32 heads each, and four nodes around them; every layer feeds the next.
pub fn architecture() -> Vec<(u32, u32)> {
    let layer = |l: u32| 4 + l * 33;
    let mut edges = vec![(0, 1), (1, layer(0)), (layer(27), 2), (2, 3)];
    edges.push((layer(27), 928));
    for l in 0..28 {
        edges.extend((1..=32).map(|head| (layer(l), layer(l) + head)));
        if l > 0 {
            edges.push((layer(l - 1), layer(l)));
        }
    }
    edges
}

pub const OPERATORS: usize = 929;

/// 30 layers of 31 operators one after the other less the first one, with two residual connections a layer and weights
/// shared by all (the positions).
pub fn operators() -> Vec<(u32, u32)> {
    let mut edges: Vec<(u32, u32)> = (1..OPERATORS as u32).map(|v| (v - 1, v)).collect();
    for l in 0..29 {
        let first = l * 32;
        edges.extend([(first, first + 18), (first + 18, first + 31), (first + 2, first + 9), (first + 3, first + 9)]);
        edges.extend([(0, first + 5), (0, first + 7), (first + 20, first + 24)]);
    }
    edges.retain(|&(a, b)| a != b && (b as usize) < OPERATORS);
    edges
}

/// Every shape, directed and not, with weights and without, and with parallel edges added up.
pub fn zoo() -> Vec<Case> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut cases = Vec::new();
    for (name, nodes, edges) in shapes() {
        for direction in [Direction::Directed, Direction::Undirected] {
            // Multiples of a quarter: many paths are equally long, and their sums are exact.
            let quarters: Vec<f64> = edges.iter().map(|_| f64::from(random.u32(1..12)) / 4.0).collect();
            for (weights, multi) in [(None, false), (Some(&quarters), false), (Some(&quarters), true)] {
                if multi && !name.contains("parallel") {
                    continue;
                }
                let label = format!("{name}, {direction:?}, weights: {}, multi: {multi}", weights.is_some());
                cases.push(Case {
                    name: label,
                    nodes,
                    edges: edges.clone(),
                    weights: weights.cloned(),
                    direction,
                    multi,
                });
            }
        }
    }
    cases
}

/// What networkx answers to each case's questions (see reference.py).
pub fn networkx(questions: &[(&Case, Vec<Value>)]) -> Vec<Vec<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../vendor/python/bin/python");
    assert!(python.exists(), "vendor/python is missing: run make test, which fetches it (or vendor/setup --tests)");
    let script = root.join("tests/support/reference.py");
    let mut child = Command::new(&python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", python.display()));
    let cases: Vec<Value> = questions.iter().map(|(case, ask)| case.json(ask)).collect();
    child.stdin.take().unwrap().write_all(Value::from(cases).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "networkx failed, see above");
    // What Python's json writes where there is no way to a node is not JSON.
    let text = String::from_utf8(output.stdout).unwrap().replace("Infinity", "null");
    let answers: Value = serde_json::from_str(&text).unwrap();
    answers.as_array().unwrap().iter().map(|list| list.as_array().unwrap().clone()).collect()
}

/// A list of numbers; null is infinity.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::INFINITY)).collect()
}

/// Every value within `tolerance` of the other, relative to the largest if that is above 1.
pub fn assert_near(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let scale = theirs.iter().filter(|v| v.is_finite()).fold(1.0_f64, |most, v| most.max(v.abs()));
    for (node, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let same = a == b || (a - b).abs() <= tolerance * scale;
        assert!(same, "{what}: node {node} is {a:e}, networkx says {b:e}");
    }
}
