//! The residual stream of a graph: what goes into the first layer, every addition to it, and the norms that read it. Found
//! by what feeds what, from the logits back to the embeddings; names only say which layer a place belongs to. A sum's older
//! half is the stream: what is added was computed from it.

use super::head::{Head, Step, constant};
use crate::analysis::layers::copied_node;
use crate::query::GraphView;
use ggscope_format::TensorId;
use ggscope_format::attention::Attention;
use ggscope_format::record::{Graph, Tensor};
use serde::Serialize;
use std::collections::HashSet;
use utoipa::ToSchema;

/// What adds to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Attention and its output projection.
    Attention,
    /// The feed-forward network, experts included.
    FeedForward,
    /// A state-space or another recurrent block.
    State,
}

impl Part {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Part::Attention => "attention",
            Part::FeedForward => "feed-forward",
            Part::State => "state",
        }
    }
}

/// How one place of the stream came from the place before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// It is the first: embeddings.
    Start,
    /// These were added.
    Added(Vec<Added>),
    /// It was normalised in place, as models with norms behind their blocks do.
    Normed,
    /// How is not known.
    Unknown,
}

/// What was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub tensor: TensorId,
    /// What the tensor is a look at or a choice of rows of: what was computed, and has a name.
    pub beneath: TensorId,
    pub kind: Part,
}

/// A place of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub tensor: TensorId,
    pub layer: Option<u32>,
    /// Whether only tokens with an output row go through.
    pub selected: bool,
    pub from: From,
}

/// A norm that reads the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Norm {
    /// Which point it reads.
    pub point: usize,
    /// What comes out, behind its weight and bias.
    pub output: TensorId,
}

/// The hidden units of a feed-forward network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Units {
    pub layer: u32,
    /// What the last matrix is multiplied with.
    pub activation: TensorId,
    /// What goes into the gate's function, and which function that is.
    pub gate: Option<(TensorId, Gate)>,
}

/// A gate's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Silu,
    Gelu,
    Relu,
}

/// The stream of a graph.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// In the order of execution.
    pub points: Vec<Point>,
    pub norms: Vec<Norm>,
    pub units: Vec<Units>,
    /// What turns the last point into logits.
    pub head: Option<Head>,
}

impl Stream {
    pub(super) fn of(view: &GraphView) -> Stream {
        let finder = Finder::new(view);
        finder.down_from_the_logits().unwrap_or_else(|| finder.by_name())
    }

    /// The last point of each layer, with what goes into the first one before.
    pub(super) fn layer_ends(&self) -> Vec<usize> {
        let n = self.points.len();
        (0..n).filter(|&i| i + 1 == n || self.points[i].layer != self.points[i + 1].layer).collect()
    }
}

/// An operator whose result is its source's bytes, or a copy of them.
fn is_look(op: &str) -> bool {
    matches!(op, "VIEW" | "RESHAPE" | "PERMUTE" | "TRANSPOSE" | "CONT" | "CPY" | "DUP")
}

fn is_norm(op: &str) -> bool {
    matches!(op, "RMS_NORM" | "NORM" | "L2_NORM" | "GROUP_NORM")
}

struct Finder<'a> {
    view: &'a GraphView,
    graph: &'a Graph,
    /// The nodes that have a tensor as a source.
    consumers: Vec<Vec<TensorId>>,
}

impl<'a> Finder<'a> {
    fn new(view: &'a GraphView) -> Finder<'a> {
        let graph = &view.stored.graph;
        let mut consumers = vec![vec![]; graph.tensors.len()];
        for (id, tensor) in graph.nodes() {
            for source in tensor.src.iter().flatten() {
                consumers[source.index()].push(id);
            }
        }
        Finder { view, graph, consumers }
    }

    fn op(&self, id: TensorId) -> &str {
        self.graph.tensor(id).map_or("?", |t| self.graph.op(t))
    }

    fn src(&self, id: TensorId, i: usize) -> Option<TensorId> {
        let source = self.graph.tensor(id)?.src.get(i).copied().flatten()?;
        Some(copied_node(self.graph, source).unwrap_or(source))
    }

    /// Whether it was there before the graph ran.
    fn is_constant(&self, id: TensorId) -> bool {
        constant(self.graph, id).is_some()
    }

    /// What a tensor is a look at or a choice of rows of, and whether rows were chosen.
    fn beneath(&self, mut id: TensorId) -> (TensorId, bool) {
        let mut selected = false;
        while let Some(source) = self.src(id, 0).filter(|&s| s.0 < id.0) {
            match self.op(id) {
                op if is_look(op) => {}
                "GET_ROWS" if !self.is_constant(source) => selected = true,
                _ => break,
            }
            id = source;
        }
        (id, selected)
    }

    /// Whether `id` was computed from `origin`; with `found`, calls it for each node on the ways there.
    fn descends(&self, id: TensorId, origin: TensorId, found: &mut dyn FnMut(TensorId)) -> bool {
        let mut seen = HashSet::from([id]);
        let mut open = vec![id];
        let mut reached = false;
        while let Some(at) = open.pop() {
            if at == origin {
                reached = true;
                continue;
            }
            found(at);
            let Some(tensor) = self.graph.tensor(at) else { continue };
            let viewed = tensor.view.map(|(root, _)| root);
            for source in tensor.src.iter().flatten().copied().chain(viewed) {
                let source = copied_node(self.graph, source).unwrap_or(source);
                // Sources come before what is made of them; leaves have the highest numbers.
                if source >= origin && source.0 < self.graph.n_nodes && seen.insert(source) {
                    open.push(source);
                }
            }
        }
        reached
    }

    fn is_from(&self, id: TensorId, origin: TensorId) -> bool {
        id != origin && self.descends(self.beneath(id).0, self.beneath(origin).0, &mut |_| ())
    }

    /// Which of two summands is the stream: the one that the other was made of. In models whose blocks run beside each
    /// other neither is, but one is itself a sum with the stream that both were made of.
    fn stream_of(&self, a: TensorId, b: TensorId) -> Option<(TensorId, TensorId)> {
        if self.is_from(b, a) {
            return Some((a, b));
        }
        if self.is_from(a, b) {
            return Some((b, a));
        }
        let holds = |sum: TensorId, other: TensorId| {
            let (sum, _) = self.beneath(sum);
            self.op(sum) == "ADD"
                && (0..2).filter_map(|i| self.src(sum, i)).any(|s| !self.is_constant(s) && self.is_from(other, s))
        };
        match (holds(a, b), holds(b, a)) {
            (true, false) => Some((a, b)),
            (false, true) => Some((b, a)),
            _ => None,
        }
    }

    /// What an added tensor was made of: the stream, or, of blocks beside each other, what the stream was before the other.
    fn origin(&self, added: TensorId, stream: TensorId) -> TensorId {
        let (sum, _) = self.beneath(stream);
        let mut halves = (0..2).filter_map(|i| self.src(sum, i)).filter(|&s| !self.is_constant(s));
        if self.is_from(added, stream) { stream } else { halves.find(|&s| self.is_from(added, s)).unwrap_or(stream) }
    }

    fn part(&self, id: TensorId, stream: TensorId) -> Part {
        let mut part = Part::FeedForward;
        self.descends(self.beneath(id).0, self.beneath(stream).0, &mut |at| {
            let op = self.op(at);
            if Attention::ending(self.graph, at).is_some() {
                part = Part::Attention;
            } else if ["SSM_", "RWKV_", "GATED_"].iter().any(|start| op.starts_with(start)) {
                part = Part::State;
            }
        });
        part
    }

    /// What was added: one part, or those that a sum of parts that know nothing of each other consists of.
    fn parts(&self, id: TensorId, stream: TensorId) -> Vec<Added> {
        let added = |tensor, kind| Added { tensor, beneath: self.beneath(tensor).0, kind };
        let (beneath, _) = self.beneath(id);
        if let (true, Some(a), Some(b)) = (self.op(beneath) == "ADD", self.src(beneath, 0), self.src(beneath, 1)) {
            let (part_a, part_b) = (self.part(a, stream), self.part(b, stream));
            let both = self.is_from(a, stream) && self.is_from(b, stream);
            if both && part_a != part_b && !self.is_from(a, b) && !self.is_from(b, a) {
                return vec![added(a, part_a), added(b, part_b)];
            }
        }
        vec![added(id, self.part(id, stream))]
    }

    fn down_from_the_logits(&self) -> Option<Stream> {
        let (mut points, head) = self.walk();
        let layers: HashSet<u32> = points.iter().filter_map(|(p, _)| p.layer).collect();
        if layers.is_empty() {
            return None;
        }
        points.reverse();
        let mut selected = false;
        for (point, crossed) in &mut points {
            // `crossed` says that rows were chosen on the way from the point before.
            selected |= *crossed;
            point.selected = selected;
        }
        let points: Vec<Point> = points.into_iter().map(|(point, _)| point).collect();
        let norms = self.norms(&points);
        let units = self.units(&points);
        Some(Stream { points, norms, units, head })
    }

    /// The points from the last to the first, each with whether rows were chosen since the one before it.
    fn walk(&self) -> (Vec<(Point, bool)>, Option<Head>) {
        let mut points: Vec<(Point, bool)> = vec![];
        let Some((mut at, head)) = self.last_point() else { return (points, None) };
        // Every step goes to a node with a smaller number, so the walk ends.
        loop {
            // A choice of rows that lies above is counted with the point that was found before.
            let (beneath, mut crossed) = (self.beneath(at).0, false);
            let mut id = beneath;
            // What is only a bias or a scale behind a sum or a norm belongs to the point.
            while let Some(next) = self.through_constant(id) {
                let (next, chosen) = self.beneath(next);
                (id, crossed) = (next, crossed | chosen);
            }
            let point = |from| Point { tensor: beneath, layer: self.view.layers.layer(beneath), selected: false, from };
            let (from, next) = match self.op(id) {
                "ADD" => match self.src(id, 0).zip(self.src(id, 1)).and_then(|(a, b)| self.stream_of(a, b)) {
                    Some((stream, added)) => (From::Added(self.parts(added, self.origin(added, stream))), stream),
                    None => break points.push((point(From::Start), crossed)),
                },
                op if is_norm(op) => match self.src(id, 0) {
                    Some(source) => (From::Normed, source),
                    None => break points.push((point(From::Start), crossed)),
                },
                _ => break points.push((point(From::Start), crossed)),
            };
            if self.beneath(next).0 >= beneath {
                break;
            }
            crossed |= self.beneath(next).1;
            points.push((point(from), crossed));
            at = next;
        }
        (points, head)
    }

    /// What a node takes in besides a constant.
    fn through_constant(&self, id: TensorId) -> Option<TensorId> {
        let (a, b) = (self.src(id, 0), self.src(id, 1));
        let next = match (self.op(id), a, b) {
            ("ADD" | "MUL", Some(a), Some(b)) if self.is_constant(b) && !self.is_constant(a) => a,
            ("ADD" | "MUL", Some(a), Some(b)) if self.is_constant(a) && !self.is_constant(b) => b,
            _ => return None,
        };
        (next < id).then_some(next)
    }

    /// Where the stream ends, and how it becomes logits from there: back from the last node to the first sum of two
    /// computed tensors. Without an output matrix, as embedding models are, it is the last tensor of a layer.
    fn last_point(&self) -> Option<(TensorId, Option<Head>)> {
        let nodes = self.graph.n_nodes;
        let named = |name: &str| self.graph.nodes().filter(|(_, t)| t.name == name).last().map(|(id, _)| id);
        let logits = named("result_output").or_else(|| nodes.checked_sub(1).map(TensorId))?;
        let (mut steps, mut at) = (vec![], logits);
        let (mut is_understood, mut of_layer) = (true, None);
        loop {
            if of_layer.is_none() && self.view.layers.layer(at).is_some() {
                of_layer = Some(at);
            }
            let op = self.op(at);
            let next = match Step::of(self.graph, at) {
                _ if is_look(op) || op == "GET_ROWS" => self.src(at, 0)?,
                Some((step, next)) => {
                    steps.push(step);
                    copied_node(self.graph, next).unwrap_or(next)
                }
                None if op == "ADD" => break,
                None => {
                    is_understood = false;
                    let mut computed = self.graph.tensor(at)?.src.iter().flatten().filter(|s| s.0 < nodes);
                    *computed.next().filter(|_| computed.next().is_none())?
                }
            };
            if next >= at {
                return None;
            }
            at = next;
        }
        steps.reverse();
        if steps.iter().any(|step| matches!(step, Step::Matrix(_))) {
            return Some((at, is_understood.then_some(Head { steps, logits })));
        }
        Some((of_layer.unwrap_or(at), None))
    }

    fn norms(&self, points: &[Point]) -> Vec<Norm> {
        let reads = |(id, tensor): (TensorId, &Tensor)| {
            let from = self.src(id, 0).filter(|_| is_norm(self.graph.op(tensor)))?;
            let from = self.beneath(from).0;
            let point = points.iter().position(|p| p.tensor == from)?;
            let is_of_stream = points.iter().any(|p| p.tensor == self.behind(id));
            (!is_of_stream).then(|| Norm { point, output: self.behind(id) })
        };
        self.graph.nodes().filter_map(reads).collect()
    }

    /// The last of the weight and bias that follow a norm.
    fn behind(&self, mut id: TensorId) -> TensorId {
        while let [next] = self.consumers[id.index()][..]
            && self.through_constant(next) == Some(id)
        {
            id = next;
        }
        id
    }

    fn units(&self, points: &[Point]) -> Vec<Units> {
        let added = points.iter().filter_map(|p| match &p.from {
            From::Added(parts) => Some((p.layer?, parts)),
            _ => None,
        });
        let feed_forward = added
            .flat_map(|(l, parts)| parts.iter().filter(|p| p.kind == Part::FeedForward).map(move |p| (l, p.tensor)));
        feed_forward.filter_map(|(layer, part)| self.units_of(layer, part)).collect()
    }

    fn units_of(&self, layer: u32, part: TensorId) -> Option<Units> {
        let mut at = self.beneath(part).0;
        loop {
            let next = match self.op(at) {
                "MUL_MAT" if self.src(at, 0).is_some_and(|w| self.is_constant(w)) => break,
                "SCALE" => self.src(at, 0)?,
                op if is_norm(op) => self.src(at, 0)?,
                _ => self.through_constant(at)?,
            };
            at = self.beneath(next).0;
        }
        let activation = self.beneath(self.src(at, 1)?).0;
        Some(Units { layer, activation, gate: self.gate(activation) })
    }

    fn gate(&self, activation: TensorId) -> Option<(TensorId, Gate)> {
        let by_name = |op: &str| match op {
            "SWIGLU" | "SILU" => Some(Gate::Silu),
            "GEGLU" | "GEGLU_ERF" | "GEGLU_QUICK" | "GELU" | "GELU_ERF" | "GELU_QUICK" => Some(Gate::Gelu),
            "REGLU" | "RELU" => Some(Gate::Relu),
            _ => None,
        };
        let op = self.op(activation);
        if let Some(gate) = by_name(op) {
            // With one source, gate and value lie side by side in it.
            let is_whole = !op.contains("GLU") || op.contains("GELU") || self.src(activation, 1).is_some();
            return self.src(activation, 0).filter(|_| is_whole).map(|g| (self.beneath(g).0, gate));
        }
        let factors = (op == "MUL").then(|| (0..2).filter_map(|i| self.src(activation, i)))?;
        let mut found = factors.filter_map(|f| by_name(self.op(f)).and_then(|g| Some((self.src(f, 0)?, g))));
        found.next().map(|(g, gate)| (self.beneath(g).0, gate))
    }

    /// Where the shape of the graph is not understood: what llama.cpp names `l_out`, the last of each layer.
    fn by_name(&self) -> Stream {
        let mut points: Vec<Point> = vec![];
        for (id, tensor) in self.graph.nodes().filter(|(_, t)| t.name.starts_with("l_out-")) {
            let layer = self.view.layers.layer(id);
            points.retain(|p| p.layer != layer);
            let rows = tensor.ne[1..].iter().product::<i64>();
            let selected = points
                .last()
                .and_then(|p| self.graph.tensor(p.tensor))
                .is_some_and(|before| before.ne[1..].iter().product::<i64>() > rows);
            points.push(Point { tensor: id, layer, selected, from: From::Unknown });
        }
        Stream { points, ..Stream::default() }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
