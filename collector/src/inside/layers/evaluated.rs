//! Goes through a recording, one evaluation after the other, with the residual stream of its graph and what was captured of
//! it. A process can compute several models (a draft and its target): only one of its contexts is looked at.

use super::LayersError;
use super::rows::{Captured, captured, statistics};
use super::stream::Stream;
use crate::query::{GraphView, GraphViews};
use crate::trace::{Select, Trace};
use ggscope_format::columns::Row;
use ggscope_format::value::{Statistics, Value};
use ggscope_format::{GraphId, TensorId};
use std::cmp::Reverse;
use std::collections::HashMap;
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
    context: Option<u32>,
    /// Whether anything of the stream was captured so far.
    pub has_values: bool,
}

impl Streams {
    fn of(&mut self, trace: &Trace, id: GraphId) -> Result<(Arc<GraphView>, Arc<Stream>), LayersError> {
        let view = self.views.of(trace, id)?;
        let stream = self.streams.entry(id).or_insert_with(|| Arc::new(Stream::of(&view))).clone();
        Ok((view, stream))
    }

    /// The context to look at: of those whose graphs have layers, one with as many as the model, else with most tokens.
    pub fn context(&mut self, trace: &Trace) -> Result<u32, LayersError> {
        if let Some(context) = self.context {
            return Ok(context);
        }
        let mut tokens: HashMap<u32, (bool, u64)> = HashMap::new();
        let n_layer = trace.model().map(|m| m.n_layer as usize);
        let mut failed = None;
        trace.for_each_evaluation(&Select::default(), false, |row| {
            let (_, stream) = match self.of(trace, row.evaluation.graph) {
                Ok(found) => found,
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let layers = stream.layer_ends().iter().filter(|&&i| stream.points[i].layer.is_some()).count();
            if layers > 0 {
                let of = tokens.entry(row.evaluation.context).or_default();
                of.0 |= n_layer == Some(layers);
                of.1 += u64::from(row.evaluation.n_tokens);
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let most = tokens.into_iter().max_by_key(|&(context, of)| (of, Reverse(context)));
        self.context = most.map(|(context, _)| context);
        self.context.ok_or_else(|| LayersError::NoStream(trace.path().display().to_string()))
    }

    /// Calls `f` for each evaluation that has a wanted token, until it fails or breaks.
    pub fn for_each(
        &mut self,
        trace: &Trace,
        tokens: Option<&Range<u64>>,
        mut f: impl FnMut(&Evaluated) -> Result<ControlFlow<()>, LayersError>,
    ) -> Result<(), LayersError> {
        let context = self.context(trace)?;
        let mut done = Ok(());
        let select = Select { tokens: tokens.cloned(), ..Select::default() };
        trace.for_each_evaluation(&select, false, |row| {
            if row.evaluation.context != context {
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
