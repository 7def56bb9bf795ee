//! The residual stream of a graph: what goes into the first layer, every addition to it, and the norms that read it.

use super::{Added, Head, Part, Plain};
use crate::names::base_name;

/// How one place of the stream came from the place before.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// It is the first: embeddings.
    Start,
    /// These were added.
    Added(Vec<Added>),
    /// It was normalised or scaled in place, as models with norms behind their blocks do.
    Normed,
    /// How is not known.
    Unknown,
}

/// A place of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The tensor that holds it.
    pub tensor: u32,
    /// Its layer; none for what goes into the first.
    pub layer: Option<u32>,
    /// Whether only tokens with an output row go through.
    pub selected: bool,
    /// How it came.
    pub from: From,
}

/// A norm that reads the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Which point it reads.
    pub point: usize,
    /// What comes out, behind its weight and bias.
    pub output: u32,
    /// Whether only tokens with an output row go through.
    pub selected: bool,
    /// Its layer; none for the norm behind the last.
    pub layer: Option<u32>,
}

/// The hidden units of a feed-forward network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// Its layer.
    pub layer: u32,
    /// What the last matrix is multiplied with.
    pub activation: u32,
    /// What goes into the gate's function, and which function that is.
    pub gate: Option<(u32, Gate)>,
}

/// A gate's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// x·σ(x).
    Silu,
    /// x·Φ(x).
    Gelu,
    /// x·[x > 0].
    Relu,
}

/// Which of the two stacks of an encoder-decoder model a graph computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stack {
    /// The one that reads the text.
    Encoder,
    /// The one that answers.
    Decoder,
}

/// The stream of a graph.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// In the order of execution.
    pub points: Vec<Point>,
    /// In the order of execution.
    pub norms: Vec<Norm>,
    /// Of feed-forward networks, in the order of execution.
    pub units: Vec<Units>,
    /// What turns the last point into logits.
    pub head: Option<Head>,
    /// The tensor with the logits; also where the way to them is not understood.
    pub logits: Option<u32>,
    /// Which stack it is of a model that has two.
    pub stack: Option<Stack>,
}

impl Stream {
    /// Finds the stream of a graph.
    pub fn of(graph: &Plain) -> Stream {
        graph.stream()
    }

    /// The last point of each layer, with what goes into the first one before.
    pub fn layer_ends(&self) -> Vec<usize> {
        let n = self.points.len();
        (0..n).filter(|&i| i + 1 == n || self.points[i].layer != self.points[i + 1].layer).collect()
    }
}

impl Plain {
    /// Norms that read the stream, and are no place of it.
    pub(super) fn norms(&self, points: &[Point]) -> Vec<Norm> {
        let reads = |id: u32| {
            let from = self.src(id, 0).filter(|_| self.is_norm(id))?;
            let (from, chosen) = self.beneath(from);
            let point = points.iter().position(|p| p.tensor == from)?;
            let output = self.behind(id);
            let is_of_stream = points.iter().any(|p| p.tensor == output || p.tensor == id);
            let by_weight = || self.behind_all(id).find_map(|at| self.layer_of_weights(at));
            let layer = || by_weight().or_else(|| points.get(point + 1)?.layer);
            (!is_of_stream).then(|| Norm { point, output, selected: chosen || points[point].selected, layer: layer() })
        };
        self.nodes().filter_map(reads).collect()
    }

    /// The last of the weight and bias that follow a norm.
    fn behind(&self, id: u32) -> u32 {
        self.behind_all(id).last().unwrap_or(id)
    }

    fn behind_all(&self, id: u32) -> impl Iterator<Item = u32> {
        let next = |&id: &u32| match self.consumers(id) {
            &[next] if self.through_constant(next).is_some_and(|(row, _)| row == id) => Some(next),
            _ => None,
        };
        std::iter::successors(Some(id), next)
    }

    /// The layer of the weights that a node takes.
    pub fn layer_of_weights(&self, id: u32) -> Option<u32> {
        self.sources(id).filter_map(|s| self.weight_layer(self.weight_beneath(s))).max()
    }

    pub(super) fn units(&self, points: &[Point]) -> Vec<Units> {
        let added = points.iter().filter_map(|p| match &p.from {
            From::Added(parts) => Some((p.layer?, parts)),
            _ => None,
        });
        let feed_forward = added
            .flat_map(|(l, parts)| parts.iter().filter(|p| p.kind == Part::FeedForward).map(move |p| (l, p.tensor)));
        feed_forward.filter_map(|(layer, part)| self.units_of(layer, part)).collect()
    }

    /// The last product of a part with a matrix of the model, behind norms, biases, scales and adapters.
    pub(super) fn last_product(&self, part: u32) -> Option<u32> {
        let mut at = self.beneath(part).0;
        loop {
            let next = match self.op(at) {
                "MUL_MAT" if self.product(at).is_some() => return Some(at),
                "SCALE" => self.src(at, 0)?,
                _ if self.is_norm(at) => self.src(at, 0)?,
                _ => match self.adapted(at) {
                    Some((base, _)) => base,
                    None => self.through_constant(at)?.0,
                },
            };
            at = self.beneath(next).0;
        }
    }

    fn units_of(&self, layer: u32, part: u32) -> Option<Units> {
        let product = self.last_product(part)?;
        let activation = self.beneath(self.src(product, 1)?).0;
        Some(Units { layer, activation, gate: self.gate(activation) })
    }

    fn gate(&self, activation: u32) -> Option<(u32, Gate)> {
        let by_name = |op: &str| match op {
            "SWIGLU" | "SILU" => Some(Gate::Silu),
            "GEGLU" | "GEGLU_ERF" | "GEGLU_QUICK" | "GELU" | "GELU_ERF" | "GELU_QUICK" => Some(Gate::Gelu),
            "REGLU" | "RELU" => Some(Gate::Relu),
            _ => None,
        };
        let op = self.op(activation);
        if let Some(gate) = by_name(op) {
            // With one source, gate and value lie side by side in it.
            let is_whole = !op.contains("GLU") || self.src(activation, 1).is_some();
            return self.src(activation, 0).filter(|_| is_whole).map(|g| (self.beneath(g).0, gate));
        }
        let factors = (op == "MUL").then(|| (0..2).filter_map(|i| self.src(activation, i)))?;
        let mut found = factors.filter_map(|f| by_name(self.op(f)).and_then(|g| Some((self.src(f, 0)?, g))));
        found.next().map(|(g, gate)| (self.beneath(g).0, gate))
    }

    /// Which stack the weights of the graph belong to: the files of encoder-decoder models say so.
    pub(super) fn stack(&self) -> Option<Stack> {
        let weights = self.nodes().flat_map(|id| self.sources(id)).filter(|&s| self.weight_layer(s).is_some());
        let of = |id: u32| match base_name(self.name(id)).split('.').next() {
            Some("enc") => Some(Stack::Encoder),
            Some("dec") => Some(Stack::Decoder),
            _ => None,
        };
        weights.filter_map(of).next()
    }
}
