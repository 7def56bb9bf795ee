//! The tensors that everything which a token becomes goes through: the immediate dominators of a graph's nodes, from the
//! embeddings on (Cooper, Harvey and Kennedy, *A simple, fast dominance algorithm*, 2001; a graph without cycles needs one
//! pass). They find the states of models that do not keep one sum, such as several streams that are mixed.

use super::Plain;
use crate::names::{Named, named};

/// The node before all nodes.
const ROOT: u32 = u32::MAX;

/// The immediate dominator of each node that is reached from the embeddings.
pub(super) struct Dominators(Vec<Option<u32>>);

impl Plain {
    pub(super) fn dominators(&self) -> Dominators {
        let n = self.n_nodes() as usize;
        let broadcast = self.broadcast();
        let (mut of, mut depth) = (vec![None; n], vec![0_u32; n]);
        for id in self.nodes() {
            let mut found: Option<u32> = None;
            let is_start = self.is_embedding(id);
            if is_start {
                found = Some(ROOT);
            }
            for source in self.sources(id).filter(|&s| self.is_node(s) && !is_start) {
                if of[source as usize].is_none() || broadcast[source as usize] {
                    continue;
                }
                found = Some(found.map_or(source, |before| common(&of, &depth, before, source)));
            }
            if let Some(dominator) = found {
                of[id as usize] = Some(dominator);
                depth[id as usize] = if dominator == ROOT { 1 } else { depth[dominator as usize] + 1 };
            }
        }
        Dominators(of)
    }

    /// Whether a node takes rows of a table of the model, which is of no layer as caches are, by ids that are fed.
    pub fn is_embedding(&self, id: u32) -> bool {
        let is_of_layer = |table: u32| matches!(named(self.name(table)), Named::Layer(_));
        let takes = |(table, ids)| !is_of_layer(table) && !self.is_node(self.weight_beneath(ids));
        self.op(id) == "GET_ROWS" && self.product(id).is_some_and(takes)
    }

    /// Nodes that several layers take, such as what is fed to each of them: no way of the stream.
    fn broadcast(&self) -> Vec<bool> {
        let n = self.n_nodes() as usize;
        let own = |id: u32| {
            self.layer_of_weights(id).or(match named(self.name(id)) {
                Named::Layer(layer) => Some(layer),
                _ => None,
            })
        };
        let mut layer: Vec<Option<u32>> = vec![None; n];
        let mut broadcast = vec![false; n];
        for id in self.nodes().rev() {
            let of_consumers = || self.consumers(id).iter().filter_map(|&c| layer[c as usize]);
            let first = of_consumers().min();
            broadcast[id as usize] = of_consumers().max() != first;
            // A look at a state of one layer has its name from that state, and is taken by the next layer.
            let has_others_name = self.is_look(id) && self.name(id).contains(" (");
            layer[id as usize] = if has_others_name { first } else { own(id).or(first) };
        }
        broadcast
    }

    /// The state of the stream that a tensor was made of, where what happens in between is not known: the nearest tensor
    /// that all of it went through and that is as wide as embeddings.
    pub(super) fn state_before(&self, id: u32, dominators: &Dominators) -> Option<u32> {
        let width = |id: u32| self.tensor(id).map(|t| t.ne[0]);
        let above = |&id: &u32| dominators.0[id as usize].filter(|&d| d != ROOT);
        let chain = std::iter::successors(above(&id), above);
        let embedding = std::iter::successors(Some(id), above).last().and_then(width);
        chain.map(|at| self.beneath(at).0).find(|&at| at < id && width(at) == embedding)
    }
}

fn common(of: &[Option<u32>], depth: &[u32], mut a: u32, mut b: u32) -> u32 {
    while a != b {
        if a == ROOT || b == ROOT {
            return ROOT;
        }
        let up = |id: u32| of[id as usize].unwrap_or(ROOT);
        if depth[a as usize] >= depth[b as usize] {
            a = up(a);
        } else {
            b = up(b);
        }
    }
    a
}
