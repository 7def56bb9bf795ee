//! What a part that adds to the stream is, in whichever graph it is: which block, or which adapter on which matrix. Graphs of
//! one model differ in what is added from outside, so a part's place among the others says nothing.

use super::part::Part;
use ggscope_format::TensorId;
use ggscope_format::names::{Named, base_name, copied_name, named};
use ggscope_format::structure::{self, LowRank};
use ggscope_query::GraphView;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// What a part is. Those of two evaluations are the same part if all of this is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[schema(as = layers::Origin)]
pub struct Origin {
    /// Which part.
    pub part: Part,
    /// The model's matrix that the block ends with, or that the adapter is added to; absent if there is no such matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<String>,
    /// Which adapter; absent for other parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterMatrix>,
    /// The tensor of an earlier state or of what the program feeds, if it has a name; absent for other parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
}

/// An adapter's matrix. Names are those of the matrices that it is for, and alike in all adapters: the place in memory tells
/// two adapters on one matrix apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub struct AdapterMatrix {
    /// The first of the adapter's two matrices: `blk.0.attn_output.weight.lora_a`.
    pub tensor: String,
    /// The buffer that it is in, which is of no other adapter. Null where a device computed with a copy.
    pub buffer: Option<u32>,
    /// Its address; null where a device computed with a copy.
    pub address: Option<u64>,
}

impl Origin {
    /// Of what was added in a graph.
    pub(super) fn of(view: &GraphView, added: &structure::Added) -> Origin {
        let part = Part::from(added.kind);
        let name = |id: u32| view.stored.graph.tensor(TensorId(id)).map(|t| base_name(&t.name).to_owned());
        let is_tensor = matches!(part, Part::Earlier | Part::Input);
        let tensor = name(added.tensor).filter(|name| is_tensor && named(name) != Named::Nothing);
        Origin {
            part,
            matrix: added.adapter.map(|adapter| adapter.matrix).or(added.matrix).and_then(name),
            adapter: added.adapter.and_then(|adapter| AdapterMatrix::of(view, &adapter)),
            tensor,
        }
    }

    /// Whether it is an adapter's and the place of its matrix is not known.
    fn has_no_place(&self) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.address.is_none())
    }

    /// The same without the place of an adapter's matrix.
    fn without_place(&self) -> Origin {
        let adapter = self.adapter.clone().map(|of| AdapterMatrix { buffer: None, address: None, ..of });
        Origin { adapter, ..self.clone() }
    }
}

impl AdapterMatrix {
    fn of(view: &GraphView, adapter: &LowRank) -> Option<AdapterMatrix> {
        let graph = &view.stored.graph;
        let tensor = graph.tensor(TensorId(adapter.a))?;
        let is_copy = copied_name(&tensor.name).is_some();
        let buffer = tensor.buffer.filter(|_| !is_copy).and_then(|at| graph.buffers.get(usize::from(at)));
        let address = (!is_copy).then_some(tensor.addr);
        Some(AdapterMatrix { tensor: base_name(&tensor.name).to_owned(), buffer: buffer.map(|b| b.id.0), address })
    }
}

/// A part: what it is, and which it is of those of one graph that nothing else tells apart.
pub(super) type Which = (Arc<Origin>, usize);

/// All parts of some evaluations, each of which has them in order: each part once, in an order that keeps those orders.
#[derive(Default)]
pub(super) struct Parts {
    /// The parts.
    pub all: Vec<Which>,
    /// Those of a copy, with the only adapter that it can be of.
    of_copy: HashMap<Arc<Origin>, Arc<Origin>>,
}

impl Parts {
    /// Of the parts of evaluations.
    pub fn of<'a>(evaluations: impl Iterator<Item = Vec<&'a Arc<Origin>>>) -> Parts {
        let mut unlike: Vec<Vec<&Arc<Origin>>> = vec![];
        for added in evaluations {
            if !unlike.contains(&added) {
                unlike.push(added);
            }
        }
        let mut parts = Parts { of_copy: copies(&unlike), ..Parts::default() };
        for added in &unlike {
            let mut at = 0;
            for which in parts.numbered(added) {
                let known = parts.all.iter().position(|known| *known == which);
                if known.is_none() {
                    parts.all.insert(at, which);
                }
                at = 1 + known.unwrap_or(at);
            }
        }
        parts
    }

    /// Which parts those of an evaluation are.
    pub fn numbered(&self, added: &[&Arc<Origin>]) -> Vec<Which> {
        let mut found: Vec<Which> = vec![];
        for &origin in added {
            let origin = self.of_copy.get(origin).unwrap_or(origin);
            let before = found.iter().filter(|(of, _)| of == origin).count();
            found.push((origin.clone(), before));
        }
        found
    }
}

/// The adapters whose place is not known, each with the only one that it can be: no evaluation has both.
fn copies(unlike: &[Vec<&Arc<Origin>>]) -> HashMap<Arc<Origin>, Arc<Origin>> {
    let origins: HashSet<&Arc<Origin>> = unlike.iter().flatten().copied().collect();
    let only = |copy: &Arc<Origin>| {
        let is_alike = |of: &&&Arc<Origin>| !of.has_no_place() && of.without_place() == **copy;
        let mut alike = origins.iter().filter(is_alike);
        let (Some(&only), None) = (alike.next(), alike.next()) else { return None };
        let are_two = unlike.iter().any(|added| added.contains(&copy) && added.contains(&only));
        (!are_two).then(|| (copy.clone(), only.clone()))
    };
    origins.iter().filter(|origin| origin.has_no_place()).filter_map(|origin| only(origin)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(part: Part, matrix: &str) -> Arc<Origin> {
        Arc::new(Origin { part, matrix: Some(matrix.into()), adapter: None, tensor: None })
    }

    fn adapter(matrix: &str, address: Option<u64>) -> Arc<Origin> {
        let tensor = format!("{matrix}.lora_a");
        let adapter = Some(AdapterMatrix { tensor, buffer: address.map(|at| at as u32), address });
        Arc::new(Origin { part: Part::Adapter, matrix: Some(matrix.into()), adapter, tensor: None })
    }

    fn all(evaluations: &[Vec<&Arc<Origin>>]) -> Vec<Which> {
        Parts::of(evaluations.iter().cloned()).all
    }

    #[test]
    fn parts_are_told_apart_by_what_they_are_wherever_they_stand_among_others() {
        let (attention, dense, experts) =
            (block(Part::Attention, "o"), block(Part::FeedForward, "down"), block(Part::FeedForward, "experts"));
        let (first, second, down) = (adapter("o", Some(1)), adapter("o", Some(2)), adapter("down", Some(2)));
        let found = all(&[
            vec![&attention, &second, &dense, &down],
            vec![&attention, &first, &second, &experts, &dense, &down],
            vec![&attention, &experts, &dense],
        ]);
        let expected = [&attention, &first, &second, &experts, &dense, &down].map(|origin| (origin.clone(), 0));
        assert_eq!(found, expected);
    }

    #[test]
    fn parts_that_nothing_tells_apart_stay_as_many_as_they_are() {
        let input = Arc::new(Origin { part: Part::Input, matrix: None, adapter: None, tensor: None });
        assert_eq!(all(&[vec![&input], vec![&input, &input]]), [(input.clone(), 0), (input.clone(), 1)]);
    }

    #[test]
    fn a_device_s_copy_is_the_adapter_that_it_can_only_be() {
        let (one, other, copy) = (adapter("o", Some(1)), adapter("o", Some(2)), adapter("o", None));
        assert_eq!(all(&[vec![&copy], vec![&one]]), [(one.clone(), 0)]);
        let of = |found: Vec<Which>| found.into_iter().map(|(origin, _)| origin).collect::<HashSet<_>>();
        assert_eq!(of(all(&[vec![&copy], vec![&one], vec![&other]])).len(), 3, "it can be either");
        assert_eq!(of(all(&[vec![&copy, &one]])).len(), 2, "one graph has both");
    }
}
