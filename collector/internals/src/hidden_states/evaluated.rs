//! Goes through a recording, one evaluation after the other, with the residual stream of its graph and what was captured of
//! it. A process can compute several models (a draft and its target), and one model in several contexts.

use super::LayersError;
use super::rows::{Captured, captured, statistics};
use super::stream::Stream;
use ggscope_format::columns::Row;
use ggscope_format::value::{Statistics, Value};
use ggscope_format::{GraphId, TensorId};
use ggscope_query::asked::{Asked, LeftOut};
use ggscope_query::causes::Causes;
use ggscope_query::contexts::Contexts;
use ggscope_query::{GraphView, GraphViews};
use ggscope_trace::{Select, Trace};
use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// One evaluation.
pub(super) struct Evaluated {
    pub row: Row,
    pub view: Arc<GraphView>,
    pub stream: Arc<Stream>,
    values: Vec<Value>,
    statistics: Vec<Statistics>,
}

impl Evaluated {
    /// What there is of a tensor.
    pub fn captured(&self, id: TensorId, selected: bool) -> Captured {
        match captured(&self.view, &self.row.evaluation, &self.values, id, selected) {
            Captured::Nothing => statistics(&self.view, &self.row.evaluation, &self.statistics, id, selected)
                .map_or(Captured::Nothing, Captured::Rows),
            found => found,
        }
    }

    /// What there is of a point of the stream.
    pub fn point(&self, i: usize) -> Captured {
        let point = &self.stream.points[i];
        self.captured(point.tensor, point.selected)
    }

    /// Why there are no hidden states of it.
    pub fn without_states(&self, trace: &Trace) -> LayersError {
        let path = trace.path().display().to_string();
        if !self.statistics.is_empty() {
            return LayersError::OnlyStatistics(path);
        }
        let (asked, eval) = (Asked::of(trace), self.row.evaluation.eval);
        let left_out = |id| asked.left_out(eval, self.name(id), id, &self.stream.chosen);
        let why: Vec<LeftOut> = self.stream.points.iter().map(|point| left_out(point.tensor)).collect();
        if why.contains(&LeftOut::Otherwise) {
            LayersError::Absent(path, Causes::of(trace).of_values(&self.row))
        } else if let Some(layers) = asked.layers().filter(|_| why.contains(&LeftOut::Layer)) {
            LayersError::Absent(path, format!("--capture-layers was {layers}"))
        } else {
            LayersError::without_values(trace)
        }
    }

    /// Places of its tokens that are wanted.
    pub fn wanted(&self, tokens: Option<&Range<u64>>) -> Vec<usize> {
        let is_wanted = |&i: &usize| tokens.is_none_or(|t| t.contains(&(self.row.first_token + i as u64)));
        (0..self.row.evaluation.n_tokens as usize).filter(is_wanted).collect()
    }

    /// Name of a tensor.
    pub fn name(&self, id: TensorId) -> &str {
        self.view.stored.graph.tensor(id).map_or("?", |t| t.name.as_str())
    }
}

/// The graphs of a trace with their streams, looked at once.
#[derive(Default)]
pub(super) struct Streams {
    views: GraphViews,
    streams: HashMap<GraphId, Arc<Stream>>,
    layered: Option<BTreeSet<u32>>,
    /// Whether anything of the stream was captured so far.
    pub has_values: bool,
}

impl Streams {
    fn of(&mut self, trace: &Trace, id: GraphId) -> Result<(Arc<GraphView>, Arc<Stream>), LayersError> {
        let view = self.views.of(trace, id)?;
        let stream = self.streams.entry(id).or_insert_with(|| Arc::new(Stream::of(&view))).clone();
        Ok((view, stream))
    }

    /// Whether a graph has layers that can be told.
    fn has_layers(&mut self, trace: &Trace, id: GraphId) -> Result<bool, LayersError> {
        let (_, stream) = self.of(trace, id)?;
        Ok(stream.layer_ends().iter().any(|&i| stream.points[i].layer.is_some()))
    }

    /// The contexts that compute graphs with layers.
    ///
    /// # Errors
    /// When there are none, or a graph is damaged.
    pub fn contexts(&mut self, trace: &Trace) -> Result<BTreeSet<u32>, LayersError> {
        if let Some(layered) = &self.layered {
            return Ok(layered.clone());
        }
        let mut found = BTreeSet::new();
        for id in trace.graphs().collect::<Vec<_>>() {
            if self.has_layers(trace, id)? {
                found.insert(self.views.of(trace, id)?.stored.graph.context);
            }
        }
        if found.is_empty() {
            return Err(LayersError::NoStream(trace.path().display().to_string()));
        }
        self.layered = Some(found.clone());
        Ok(found)
    }

    /// The context that a question is about, of those whose graphs have layers: the one that is named, else that of the
    /// tokens, else the usual one.
    ///
    /// # Errors
    /// When there is no such context or none at all has layers.
    pub fn context(
        &mut self,
        trace: &Trace,
        named: Option<u32>,
        tokens: Option<&Range<u64>>,
    ) -> Result<u32, LayersError> {
        let layered = self.contexts(trace)?;
        let all = Contexts::of(trace);
        let missing = |why| LayersError::Missing("context", why);
        let chosen = all.choose(trace, named, tokens).map_err(missing)?;
        if named.is_some() || tokens.is_some() {
            let chosen = chosen.filter(|chosen| layered.contains(chosen));
            return chosen.ok_or_else(|| LayersError::NoStream(trace.path().display().to_string()));
        }
        let usual = all.usual_of(|context| layered.contains(&context)).map(|context| context.context);
        usual.ok_or_else(|| LayersError::NoStream(trace.path().display().to_string()))
    }

    /// Calls `f` for each evaluation of a context, or of all of them that compute layers, that has a wanted token, until it
    /// fails or breaks.
    pub fn for_each(
        &mut self,
        trace: &Trace,
        context: Option<u32>,
        tokens: Option<&Range<u64>>,
        mut f: impl FnMut(&Evaluated) -> Result<ControlFlow<()>, LayersError>,
    ) -> Result<(), LayersError> {
        let layered = self.contexts(trace)?;
        let is_wanted = |of: u32| layered.contains(&of) && context.is_none_or(|context| context == of);
        let mut done = Ok(());
        let select = Select { tokens: tokens.cloned(), ..Select::default() };
        trace.for_each_evaluation(&select, false, |row| {
            if !is_wanted(row.evaluation.context) {
                return ControlFlow::Continue(());
            }
            let of_one = self.of(trace, row.evaluation.graph).and_then(|(view, stream)| {
                let values = trace.values(row.evaluation.eval);
                self.has_values |= values.iter().any(|v| stream.points.iter().any(|p| p.tensor == v.tensor));
                let statistics = trace.statistics(row.evaluation.eval);
                f(&Evaluated { row, view, stream, values, statistics })
            });
            match of_one {
                Ok(flow) => flow,
                Err(error) => {
                    done = Err(error);
                    ControlFlow::Break(())
                }
            }
        });
        done
    }
}

#[cfg(test)]
mod tests {
    use super::super::{against, contexts, run};
    use super::*;
    use ggscope_trace::testing_contexts as testing;

    fn numbers(trace: &Trace, context: Option<u32>, tokens: Option<Range<u64>>) -> (u32, Vec<u64>, Vec<Option<f32>>) {
        let run = run(trace, context, tokens).unwrap();
        let norms = run.tokens[0].cells.iter().map(|cell| cell.as_ref()?.hidden.norm).collect();
        (run.context, run.tokens.iter().map(|token| token.token).collect(), norms)
    }

    #[test]
    fn every_context_has_its_own_tokens_and_layers_and_none_has_another_s() {
        let recorded = testing::contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (1, 1, 2)]);
        let trace = &recorded.trace;
        // 576 elements of 1 and 3 and 5, and of 2 and 4.
        let (target, draft) = ([24.0, 72.0, 120.0].map(Some).to_vec(), [48.0, 96.0].map(Some).to_vec());
        assert_eq!(numbers(trace, None, None), (0, vec![0, 1, 2, 5], target.clone()), "of the first model");
        assert_eq!(numbers(trace, Some(1), None), (1, vec![3, 4, 6, 7], draft.clone()));
        assert_eq!(numbers(trace, None, Some(6..8)), (1, vec![6, 7], draft), "of the tokens");
        assert_eq!(numbers(trace, None, Some(4..7)), (0, vec![5], target));
        assert_eq!(contexts(trace, None).unwrap(), [0, 1]);
        assert_eq!(contexts(trace, Some(&(0..3))).unwrap(), [0]);
        assert_eq!(run(trace, None, None).unwrap().other_contexts, [1]);
        for (context, tokens) in [(7, None), (0, Some(6..8))] {
            let error = run(trace, Some(context), tokens).unwrap_err();
            assert!(matches!(error, LayersError::Missing("context", _)), "{error}");
        }
    }

    #[test]
    fn runs_are_compared_in_the_order_of_their_contexts_wherever_others_stand_between() {
        let (alone, beside) =
            (testing::contexts(&[(0, 0, 3), (0, 0, 1)]), testing::contexts(&[(1, 1, 2), (0, 0, 3), (0, 0, 1)]));
        let found = against(&beside.trace, &alone.trace, (None, None), None).unwrap();
        assert_eq!((found.context, found.reference_context, found.tokens), (0, 0, 4));
        let tokens: Vec<u64> = found.by_token.iter().map(|token| token.token).collect();
        assert_eq!(tokens, [2, 3, 4, 5], "by the numbers that they have here");
        assert!(found.layers.iter().all(|layer| layer.error.is_some_and(|error| error.max == 0.0)));
        let error = against(&beside.trace, &alone.trace, (Some(1), None), None).unwrap_err();
        assert!(matches!(error, LayersError::Unlike(_)), "another model: {error}");
        let error = against(&beside.trace, &alone.trace, (None, Some(9)), None).unwrap_err();
        assert!(matches!(error, LayersError::Missing("context", _)), "{error}");
    }
}
