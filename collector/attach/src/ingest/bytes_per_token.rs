//! How many bytes are captured of a token, as evaluations of one token show it.

use ggscope_format::attention::{Nodes, SET_ROWS, root};
use ggscope_format::record::{Graph, Value};
use ggscope_format::{GraphId, TensorId};
use std::collections::{HashMap, HashSet};

/// So many evaluations are enough to tell what is usual.
const ENOUGH: usize = 5;

/// What was captured of evaluations of one token.
#[derive(Default)]
pub(super) struct BytesPerToken {
    /// Of each graph, the tensors that say which rows of caches it writes: these are told of every evaluation, whether or
    /// not it is captured.
    places: HashMap<GraphId, HashSet<TensorId>>,
    /// Tokens of the evaluation whose values come in.
    n_tokens: u32,
    /// Bytes of them so far.
    bytes: u64,
    /// Whether there was more among them than places.
    is_captured: bool,
    /// Bytes of those that were captured, up to [`ENOUGH`] of them.
    found: Vec<u64>,
}

impl BytesPerToken {
    /// A graph that evaluations will name.
    pub(super) fn graph(&mut self, graph: &Graph) {
        let writes = graph.nodes().filter(|(_, tensor)| graph.op(tensor) == SET_ROWS);
        let places = writes.filter_map(|(id, _)| Some(root(graph, graph.src(id, 1)?)));
        self.places.insert(graph.graph, places.collect());
    }

    /// An evaluation begins: all that was captured of the one before has come.
    pub(super) fn evaluation(&mut self, n_tokens: u32) {
        self.end();
        self.n_tokens = n_tokens;
    }

    /// Values of the evaluation.
    pub(super) fn value(&mut self, value: &Value) {
        self.bytes += value.bytes.len() as u64;
        self.is_captured |= !self.places.get(&value.graph).is_some_and(|places| places.contains(&value.tensor));
    }

    /// Bytes of statistics of the evaluation.
    pub(super) fn statistics(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.is_captured = true;
    }

    /// The last evaluation has ended, too.
    pub(super) fn end(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.is_captured) && self.n_tokens == 1 && self.found.len() < ENOUGH {
            self.found.push(bytes);
        }
    }

    /// Whether as many evaluations are known as it takes.
    pub(super) fn is_enough(&self) -> bool {
        self.found.len() == ENOUGH
    }

    /// The median of those that are known: one of them may have told a whole cache again. 0 if there is none.
    pub(super) fn median(&self) -> u64 {
        let mut found = self.found.clone();
        found.sort_unstable();
        found.get(found.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing::Builder;

    /// A graph that writes rows into a cache and computes `Qcur-0`.
    fn graph() -> Graph {
        let mut b = Builder::default();
        let (tokens, places) = (b.input("inp_tokens", None, &[1]), b.input("places", None, &[1]));
        let cache = b.cache("cache_k_l0", &[8, 16]);
        let q = b.node("Qcur-0", "MUL_MAT", &[8, 1], &[tokens]);
        b.node("cache_k_l0 (view)", SET_ROWS, &[8, 16], &[q, places, cache]);
        b.finish(0, "/models/a.gguf").graph
    }

    fn value(graph: &Graph, name: &str, n: usize) -> Value {
        let tensor = graph.tensors.iter().position(|t| t.name == name).unwrap();
        Value { graph: graph.graph, tensor: TensorId(tensor as u32), bytes: vec![0; n], ..Value::default() }
    }

    #[test]
    fn the_usual_is_told_although_a_cache_was_told_again_and_the_prompt_took_more() {
        let graph = graph();
        let mut of_token = BytesPerToken::default();
        of_token.graph(&graph);
        for (n_tokens, bytes) in [(32, 9000), (1, 5000), (1, 80), (1, 84), (1, 88)] {
            of_token.evaluation(n_tokens);
            of_token.value(&value(&graph, "places", 8));
            of_token.value(&value(&graph, "Qcur-0", bytes - 8));
        }
        assert!(!of_token.is_enough());
        of_token.end();
        assert_eq!(of_token.median(), 84);
        of_token.evaluation(1);
        of_token.statistics(70);
        of_token.end();
        assert!(of_token.is_enough());
    }

    #[test]
    fn where_rows_went_is_told_of_evaluations_that_are_not_captured_and_these_do_not_count() {
        let graph = graph();
        let mut of_token = BytesPerToken::default();
        of_token.graph(&graph);
        for _ in 0..9 {
            of_token.evaluation(1);
            of_token.value(&value(&graph, "places", 8));
        }
        of_token.end();
        assert_eq!((of_token.median(), of_token.is_enough()), (0, false));
        of_token.evaluation(1);
        of_token.value(&value(&graph, "places", 8));
        of_token.value(&value(&graph, "Qcur-0", 32));
        of_token.end();
        assert_eq!(of_token.median(), 40);
    }
}
