//! What adds to the residual stream.

use super::{LowRank, Plain};
use crate::attention::{Attention, Nodes};
use crate::names::{base_name, cache};

/// What adds to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Attention and its output projection.
    Attention,
    /// The feed-forward network, experts included.
    FeedForward,
    /// A state-space or another recurrent block.
    State,
    /// A LoRA adapter on the last matrix of a part, or on the embeddings.
    Adapter,
    /// A control vector.
    ControlVector,
    /// What the program feeds besides tokens, such as features of an image.
    Input,
    /// An earlier state of the stream, added again.
    Earlier,
}

impl Part {
    /// What a part is that has both inside: attention is more than a state, and a state more than a feed-forward network.
    fn max_by(self, other: Part) -> Part {
        let rank = |part| match part {
            Part::Attention => 3,
            Part::State => 2,
            Part::FeedForward => 1,
            _ => 0,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// What was added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Added {
    /// The tensor that was computed, beneath looks at it and choices of rows.
    pub tensor: u32,
    /// What it is.
    pub kind: Part,
    /// The model's matrix that a block ends with, if it ends with one.
    pub matrix: Option<u32>,
    /// Of an adapter, which it is.
    pub adapter: Option<LowRank>,
    /// What the tensor's values are multiplied with before they are added.
    pub scale: f32,
    /// Whether output rows are chosen only behind the tensor, so that it has a row for each token.
    pub before_choice: bool,
    /// Whether it is not `tensor` itself, but what remains of the difference of both states without the other parts.
    pub rest: bool,
}

impl Added {
    /// A tensor that is added as it is, and ends with no matrix.
    pub(super) fn alone(kind: Part, tensor: u32) -> Added {
        Added { tensor, kind, matrix: None, adapter: None, scale: 1.0, before_choice: false, rest: true }
    }

    /// What an adapter gives.
    pub(super) fn adapter(of: &LowRank) -> Added {
        Added { adapter: Some(*of), rest: false, ..Added::alone(Part::Adapter, of.node) }
    }
}

/// Looks, and choices of rows, between a recurrent state and what takes it.
const MOST_LOOKS: usize = 8;

/// Operators of recurrent blocks.
fn is_recurrent(op: &str) -> bool {
    ["SSM_", "RWKV_", "GATED_"].iter().any(|start| op.starts_with(start))
}

impl Nodes for Plain {
    type Tensor = u32;

    fn op(&self, tensor: u32) -> &str {
        Plain::op(self, tensor)
    }

    fn src(&self, tensor: u32, i: usize) -> Option<u32> {
        Plain::src(self, tensor, i)
    }

    fn viewed(&self, tensor: u32) -> Option<u32> {
        self.tensor(tensor)?.view
    }
}

/// Which tensors of a graph a walk has come upon, one bit each.
struct Seen(Vec<u64>);

impl Seen {
    /// Whether the tensor is there and is new.
    fn insert(&mut self, id: u32) -> bool {
        let Some(word) = self.0.get_mut(id as usize / 64) else { return false };
        let (before, bit) = (*word, 1 << (id % 64));
        *word |= bit;
        before & bit == 0
    }
}

impl Plain {
    /// Whether `id` was computed from `origin`; calls `found` for each node on the ways there, and for the leaves that they
    /// take.
    pub(super) fn descends(&self, id: u32, origin: u32, found: &mut dyn FnMut(u32)) -> bool {
        let mut seen = self.seen(id);
        let mut open = vec![id];
        let mut reached = false;
        while let Some(at) = open.pop() {
            if at == origin {
                reached = true;
                continue;
            }
            found(at);
            for source in self.sources(at) {
                // Sources come before what is made of them; leaves have the highest numbers.
                if source >= origin && seen.insert(source) {
                    open.push(source);
                }
            }
        }
        reached
    }

    pub(super) fn is_from(&self, id: u32, origin: u32) -> bool {
        if id == origin {
            return false;
        }
        let (from, origin) = (self.beneath(id).0, self.beneath(origin).0);
        let (mut seen, mut open) = (self.seen(from), vec![from]);
        while let Some(at) = open.pop() {
            if at == origin {
                return true;
            }
            open.extend(self.sources(at).filter(|&source| source >= origin && seen.insert(source)));
        }
        false
    }

    /// For a walk that begins at `id`.
    fn seen(&self, id: u32) -> Seen {
        let mut seen = Seen(vec![0; self.len().div_ceil(64)]);
        seen.insert(id);
        seen
    }

    pub(super) fn kind(&self, id: u32, stream: u32) -> Part {
        // Without a matrix it is the stream itself, in another form.
        let mut part = Part::Earlier;
        self.descends(self.beneath(id).0, self.beneath(stream).0, &mut |at| {
            let of = if Attention::ending(self, at).is_some() {
                Part::Attention
            } else if is_recurrent(self.op(at)) || self.takes_state(at) {
                Part::State
            } else if self.op(at) != "GET_ROWS" && self.product(at).is_some() {
                Part::FeedForward
            } else {
                Part::Earlier
            };
            part = part.max_by(of);
        });
        part
    }

    /// Whether a node takes a recurrent state, that goes on from evaluation to evaluation and that a matrix is made of, or
    /// rows of one.
    fn takes_state(&self, id: u32) -> bool {
        self.sources(id).any(|source| {
            let mut at = source;
            for _ in 0..MOST_LOOKS {
                let passes = self.is_look(at) || matches!(self.op(at), "GET_ROWS" | "SCALE" | "SET_ROWS");
                match self.tensor(at).and_then(|t| t.view).or_else(|| self.src(at, 0)) {
                    Some(next) if self.is_node(at) && passes => at = next,
                    _ => break,
                }
            }
            !self.is_node(at) && matches!(cache(base_name(self.name(at))), Some(("s", _)))
        })
    }

    /// Whether a node multiplies with a matrix of a layer.
    pub(super) fn is_of_block(&self, id: u32) -> bool {
        let matrix = self.product(id).filter(|_| self.op(id) != "GET_ROWS").map(|(matrix, _)| matrix);
        matrix.is_some_and(|matrix| self.weight_layer(matrix).is_some())
    }

    /// Calls `found` for a tensor and all that it was made of.
    pub(super) fn ancestors(&self, id: u32, found: &mut dyn FnMut(u32)) {
        let (mut seen, mut open) = (self.seen(id), vec![id]);
        while let Some(at) = open.pop() {
            found(at);
            open.extend(self.sources(at).filter(|&source| seen.insert(source)));
        }
    }

    /// What was added: one part, those that a sum of parts that know nothing of each other consists of, and adapters on the
    /// last matrix of a part.
    pub(super) fn parts(&self, id: u32, stream: u32) -> Vec<Added> {
        let (beneath, _) = self.beneath(id);
        if let (true, Some(a), Some(b)) = (self.op(beneath) == "ADD", self.src(beneath, 0), self.src(beneath, 1)) {
            let both = self.is_from(a, stream) && self.is_from(b, stream);
            if both
                && self.adapted(beneath).is_none()
                && self.kind(a, stream) != self.kind(b, stream)
                && !self.is_from(a, b)
                && !self.is_from(b, a)
            {
                let mut parts = self.with_adapters(a, stream);
                parts.extend(self.with_adapters(b, stream));
                return parts;
            }
        }
        self.with_adapters(id, stream)
    }

    /// A part, and the adapters on its last matrix.
    fn with_adapters(&self, id: u32, stream: u32) -> Vec<Added> {
        let (tensor, mut before_choice) = self.rows_beneath(id);
        let matrix = self.last_product(tensor).and_then(|product| self.product(product)).map(|of| of.0);
        let kind = self.kind(id, stream);
        let part = Added { tensor, kind, matrix, adapter: None, scale: 1.0, before_choice, rest: false };
        let (mut at, mut scale, mut adapters) = (tensor, 1.0, vec![]);
        loop {
            let under = if let Some((base, adapter)) = self.adapted(at) {
                adapters.push(Added { scale, before_choice, ..Added::adapter(&adapter) });
                base
            } else if let ("SCALE", Some(under)) = (self.op(at), self.src(at, 0)) {
                scale *= self.param(at, 0);
                under
            } else if let ("ADD", Some((under, _))) = (self.op(at), self.through_constant(at)) {
                under
            } else {
                break;
            };
            let (beneath, chosen) = self.rows_beneath(under);
            (at, before_choice) = (beneath, before_choice | chosen);
        }
        if adapters.is_empty() {
            return vec![part];
        }
        let mut parts = vec![Added { rest: true, ..part }];
        parts.extend(adapters);
        parts
    }

    /// What a tensor is another shape or a choice of rows of, with the same rows, and whether rows were chosen.
    pub(super) fn rows_beneath(&self, mut id: u32) -> (u32, bool) {
        let mut chosen = false;
        let n = |id: u32| self.tensor(id).map(|t| t.ne[0]);
        while let Some(source) = self.src(id, 0).filter(|&s| self.is_node(s) && n(s) == n(id)) {
            match self.op(id) {
                "RESHAPE" | "CONT" | "CPY" | "DUP" => {}
                "VIEW" if self.tensor(id).map(|t| t.ne) == self.tensor(source).map(|t| t.ne) => {}
                "GET_ROWS" if self.chooses_rows(id) => chosen = true,
                _ => break,
            }
            id = source;
        }
        (id, chosen)
    }
}
