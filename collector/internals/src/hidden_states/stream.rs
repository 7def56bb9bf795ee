//! The residual stream of a recorded graph, by the rule that the shim chose by what to capture of it: see
//! [`ggscope_format::structure`].

use super::head::Head;
use super::origin::Origin;
use ggscope_format::TensorId;
use ggscope_format::structure::{self, Chosen, Plain};
use ggscope_query::GraphView;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

pub(super) use ggscope_format::structure::Gate;

/// Which of the two stacks of an encoder-decoder model a state is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = layers::Stack)]
pub enum Stack {
    /// The one that reads the text.
    Encoder,
    /// The one that answers.
    Decoder,
}

/// How one place of the stream came from the place before.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum From {
    /// It is the first: embeddings.
    Start,
    /// These were added.
    Added(Vec<Added>),
    /// It was normalised or scaled in place, as models with norms behind their blocks do.
    Normed,
    /// How is not known.
    Unknown,
}

/// What was added.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Added {
    /// The tensor that was computed, beneath looks at it and choices of rows.
    pub tensor: TensorId,
    /// What it is.
    pub origin: Arc<Origin>,
    /// What the tensor's values are multiplied with before they are added.
    pub scale: f32,
    /// Whether output rows are chosen only behind the tensor.
    pub before_choice: bool,
    /// Whether it is not `tensor` itself, but what remains of the difference of both states without the other parts.
    pub rest: bool,
}

/// A place of the stream.
#[derive(Clone, Debug, PartialEq)]
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
    /// Whether only tokens with an output row go through.
    pub selected: bool,
    /// Its layer; none for the one behind the last.
    pub layer: Option<u32>,
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

/// The stream of a graph.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// In the order of execution.
    pub points: Vec<Point>,
    pub norms: Vec<Norm>,
    pub units: Vec<Units>,
    /// What turns the last point into logits.
    pub head: Option<Head>,
    /// Which stack it is of a model that has two.
    pub stack: Option<Stack>,
    /// What sets take of the graph.
    pub chosen: Chosen,
}

impl Stream {
    pub(super) fn of(view: &GraphView) -> Stream {
        let plain = Plain::from(&view.stored.graph);
        let found = structure::Stream::of(&plain);
        let chosen = Chosen::of_stream(&plain, &found);
        let structure::Stream { points, norms, units, head, stack, .. } = found;
        let norm = |n: structure::Norm| Norm {
            point: n.point,
            output: TensorId(n.output),
            selected: n.selected,
            layer: n.layer,
        };
        let unit = |u: structure::Units| Units {
            layer: u.layer,
            activation: TensorId(u.activation),
            gate: u.gate.map(|(id, gate)| (TensorId(id), gate)),
        };
        Stream {
            points: points.into_iter().map(|p| point(view, p)).collect(),
            norms: norms.into_iter().map(norm).collect(),
            units: units.into_iter().map(unit).collect(),
            head: head.map(Head::from),
            stack: stack.map(|stack| match stack {
                structure::Stack::Encoder => Stack::Encoder,
                structure::Stack::Decoder => Stack::Decoder,
            }),
            chosen,
        }
    }

    /// The last point of each layer, with what goes into the first one before.
    pub(super) fn layer_ends(&self) -> Vec<usize> {
        let n = self.points.len();
        (0..n).filter(|&i| i + 1 == n || self.points[i].layer != self.points[i + 1].layer).collect()
    }
}

fn point(view: &GraphView, point: structure::Point) -> Point {
    let added = |a: structure::Added| Added {
        origin: Arc::new(Origin::of(view, &a)),
        tensor: TensorId(a.tensor),
        scale: a.scale,
        before_choice: a.before_choice,
        rest: a.rest,
    };
    let from = match point.from {
        structure::From::Start => From::Start,
        structure::From::Added(parts) => From::Added(parts.into_iter().map(added).collect()),
        structure::From::Normed => From::Normed,
        structure::From::Unknown => From::Unknown,
    };
    Point { tensor: TensorId(point.tensor), layer: point.layer, selected: point.selected, from }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
