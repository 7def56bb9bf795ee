//! The ways from hidden states to logits of all graphs of a recording.

use super::LayersError;
use super::evaluated::Evaluated;
use super::lens_head::LensHead;
use crate::adapters::Matrices;
use ggscope_format::GraphId;
use ggscope_model::gguf::Gguf;
use ggscope_trace::Trace;
use std::collections::HashMap;

/// Tokens that have no lens, of a context beside others that have.
#[derive(Clone, Debug, PartialEq)]
pub struct WithoutLens {
    /// The context.
    pub context: u32,
    /// How many tokens.
    pub tokens: u64,
    /// Why.
    pub why: String,
}

/// What hidden states are looked at through. Graphs of one model mostly share it; a graph with an adapter has its own.
pub(super) struct LensHeads<'m> {
    model: &'m Gguf,
    pub all: Vec<LensHead<'m>>,
    of_graph: HashMap<GraphId, usize>,
    /// Of adapters.
    matrices: Matrices,
}

impl<'m> LensHeads<'m> {
    /// Of the model of this file.
    pub fn new(model: &'m Gguf) -> LensHeads<'m> {
        LensHeads { model, all: vec![], of_graph: HashMap::new(), matrices: Matrices::default() }
    }

    /// The place in `all` of that of an evaluation's graph.
    ///
    /// # Errors
    /// When the graph is of another model, or does something behind its last layer that is not known; when the trace does not have
    /// the numbers of an adapter.
    pub fn of(&mut self, trace: &Trace, evaluated: &Evaluated) -> Result<usize, LayersError> {
        let graph = evaluated.row.evaluation.graph;
        if let Some(&known) = self.of_graph.get(&graph) {
            return Ok(known);
        }
        let head = evaluated.stream.head.as_ref().ok_or_else(|| {
            let what = "the graph has no output matrix, or something behind its last layer that is not known";
            LayersError::Model(what.into())
        })?;
        let mut lens_head = LensHead::new(evaluated, head, self.model)?;
        lens_head.adapt(trace, &mut self.matrices, evaluated, head)?;
        let place = self.all.iter().position(|known| known.is_like(&lens_head)).unwrap_or_else(|| {
            self.all.push(lens_head);
            self.all.len() - 1
        });
        self.of_graph.insert(graph, place);
        Ok(place)
    }
}
