//! What the sets `layers` and `logits` take of a graph.

use super::{LowRank, Part, Plain, Step, Stream};
use crate::capture::{Capture, Set};
use std::collections::{BTreeMap, BTreeSet};

/// The tensors of the sets that are found by what feeds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The layer of each tensor of the residual stream and of what adds to it; none for what belongs to no layer.
    layers: BTreeMap<u32, Option<u32>>,
    logits: Option<u32>,
    adapters: BTreeSet<u32>,
}

impl Chosen {
    /// Chooses among the tensors of a graph.
    pub fn of(graph: &Plain) -> Chosen {
        Chosen::of_stream(graph, &graph.stream())
    }

    /// The same, of a graph whose stream is known.
    pub fn of_stream(graph: &Plain, stream: &Stream) -> Chosen {
        let mut chosen = Chosen { logits: stream.logits, ..Chosen::default() };
        let mut adapters: Vec<LowRank> = vec![];
        let mut add = |id: u32, layer: Option<u32>| {
            if graph.is_node(id) {
                chosen.layers.entry(id).or_insert(layer);
            }
        };
        for point in &stream.points {
            add(point.tensor, point.layer);
            let super::From::Added(parts) = &point.from else { continue };
            for part in parts.iter().filter(|part| part.kind != Part::Earlier) {
                add(part.tensor, point.layer);
                for (norm, input) in graph.norms_at_the_end(part.tensor) {
                    add(norm, point.layer);
                    add(input, point.layer);
                }
                let product = (part.kind == Part::Attention).then(|| graph.last_product(part.tensor)).flatten();
                if let Some(heads) = product.and_then(|product| graph.src(product, 1)) {
                    add(heads, point.layer);
                }
                adapters.extend(product.into_iter().flat_map(|product| graph.adapters_of(product)));
            }
        }
        for norm in &stream.norms {
            add(norm.output, norm.layer);
        }
        adapters.extend(stream.head.iter().flat_map(|head| &head.steps).filter_map(|step| match step {
            Step::Adapter(adapter) => Some(*adapter),
            _ => None,
        }));
        chosen.adapters = adapters.iter().flat_map(|adapter| [adapter.a, adapter.b]).collect();
        chosen
    }

    /// Whether a set takes a tensor.
    pub fn has(&self, set: Set, id: u32) -> bool {
        match set {
            Set::Layers => self.layers.contains_key(&id),
            Set::Logits => self.logits == Some(id),
            Set::Attention | Set::Values | Set::Experts => false,
        }
    }

    /// Whether a capture takes a tensor by one of these sets, in the layers that are wanted.
    pub fn takes(&self, capture: &Capture, id: u32) -> bool {
        capture.sets().any(|set| self.has(set, id)) && self.layer(id).is_none_or(|l| capture.layers.has(l.into()))
    }

    /// The matrices of adapters on the output matrix and on what attention gives. No file that a user gives with the model
    /// has them, so a trace needs them once.
    pub fn adapters(&self) -> impl Iterator<Item = u32> {
        self.adapters.iter().copied()
    }

    /// The layer that a tensor is of.
    pub fn layer(&self, id: u32) -> Option<u32> {
        self.layers.get(&id).copied().flatten()
    }

    /// The tensors that a set takes, with their layers.
    pub fn tensors(&self, set: Set) -> Vec<(u32, Option<u32>)> {
        match set {
            Set::Layers => self.layers.iter().map(|(&id, &layer)| (id, layer)).collect(),
            Set::Logits => self.logits.map(|id| (id, None)).into_iter().collect(),
            Set::Attention | Set::Values | Set::Experts => vec![],
        }
    }
}

impl Plain {
    /// The norms between a part's last product and its end, each with what goes in.
    fn norms_at_the_end(&self, part: u32) -> Vec<(u32, u32)> {
        let (mut norms, mut outer) = (vec![], part);
        let mut at = part;
        loop {
            at = self.beneath(at).0;
            let next = match self.op(at) {
                _ if self.is_norm(at) => {
                    let Some(input) = self.src(at, 0) else { break };
                    norms.push((outer, self.beneath(input).0));
                    outer = self.beneath(input).0;
                    input
                }
                "SCALE" => match self.src(at, 0) {
                    Some(next) => next,
                    None => break,
                },
                _ => match self.through_constant(at) {
                    Some((next, _)) => next,
                    None => break,
                },
            };
            at = next;
        }
        norms
    }
}
