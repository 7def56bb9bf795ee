//! The evaluations that a filter lets through, one after the other as they lie in the file, with their times: what
//! whoever goes through all of a trace begins with.

use super::filter::{Chosen, Filter, Phase};
use ggscope_format::columns::Row;
use ggscope_format::{GraphId, TensorId};
use ggscope_trace::Trace;
use ggscope_trace::analysis::timing::{Plan, Plans, Span};
use ggscope_trace::view::{GraphView, GraphViews};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Graphs of which it is kept which nodes the filter lets through.
const KEPT_GRAPHS: usize = 64;

/// An evaluation that a filter lets through, before anything is derived for its nodes.
pub(super) struct Found<'a> {
    /// Ordinal of the evaluation in the order of arrival.
    pub seq: u64,
    /// The evaluation.
    pub row: &'a Row,
    /// Its graph.
    pub view: &'a GraphView,
    /// Which time belongs to which of its nodes.
    pub plan: &'a Plan,
    /// Its tokens that the filter lets through.
    pub chosen: &'a Chosen,
    filter: &'a Filter,
    nodes: &'a [bool],
}

impl Found<'_> {
    /// Phase of the first token that the filter lets through.
    pub fn phase(&self) -> Phase {
        self.chosen.phase
    }

    /// Whether the filter lets a node through, executed or not.
    pub fn takes(&self, id: TensorId) -> bool {
        self.nodes.get(id.index()).is_some_and(|&taken| taken)
    }

    /// The executed nodes that the filter lets through whatever their time, in order.
    pub fn nodes(&self) -> impl Iterator<Item = TensorId> {
        self.plan.executed_nodes().filter(|&id| self.takes(id))
    }

    /// Nodes with the time of each, as far as the filter lets that time through.
    pub fn times_of(&self, nodes: impl IntoIterator<Item = TensorId>) -> impl Iterator<Item = (TensorId, Span)> {
        let mut nodes = nodes.into_iter().peekable();
        let spans = if nodes.peek().is_some() { self.plan.spans(&self.row.evaluation) } else { vec![] };
        nodes.filter_map(move |id| {
            let span = spans.get(id.index()).copied().flatten().unwrap_or(Span { start: 0, duration: None });
            self.filter.takes_duration(span.duration).then_some((id, span))
        })
    }
}

/// Calls `f` for each evaluation that has something which `filter` lets through, in the order of the file, until it
/// breaks. Evaluations of graphs that cannot be read are left out with a warning.
pub(super) fn find(trace: &Trace, filter: &Filter, mut f: impl FnMut(Found<'_>) -> ControlFlow<()>) {
    let (mut views, mut plans) = (GraphViews::default(), Plans::default());
    let mut taken: HashMap<GraphId, Vec<bool>> = HashMap::new();
    trace.for_each_numbered_evaluation(&filter.select(), true, |seq, row| {
        let Some(chosen) = filter.choose(&row) else { return ControlFlow::Continue(()) };
        let view = match views.of(trace, row.evaluation.graph) {
            Ok(view) => view,
            Err(error) => {
                trace.warn(format!("evaluations are left out: {error}"));
                return ControlFlow::Continue(());
            }
        };
        let graph = &view.stored.graph;
        if taken.len() >= KEPT_GRAPHS {
            taken.clear();
        }
        let nodes = taken
            .entry(row.evaluation.graph)
            .or_insert_with(|| graph.nodes().map(|(id, t)| filter.takes_node(&view, id, t)).collect());
        let plan = plans.of(graph, &row.evaluation);
        f(Found { seq, row: &row, view: &view, plan: &plan, chosen: &chosen, filter, nodes })
    });
}
