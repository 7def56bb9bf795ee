//! Graphs of a session: the list, one graph, one layer of it.

use super::app::{App, Page, answer};
use super::document;
use super::limits::MAX_LIMIT;
use super::params::{PageParams, Params, Path, context, parse};
use super::problem::Problem;
use super::session::Session;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_format::GraphId;
use ggscope_query::graph::{GraphPart, GraphQuery, GraphSummary, evaluated};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use std::sync::Arc;
use utoipa::IntoParams;

/// Tensors of the largest graph that is answered whole.
const MAX_TENSORS: usize = 100_000;

/// Which graphs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OfContext {
    /// Graphs of this context
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// The graphs that were computed
#[utoipa::path(get, path = "/sessions/{id}/graphs",
    params(("id" = String, Path, description = "The session"), OfContext, PageParams),
    responses(
        (status = 200, body = Page<GraphSummary>), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 500, body = Problem)))]
pub(super) async fn graphs(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, page, ..): Params<OfContext, PageParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page.page(MAX_LIMIT)?;
    let context = context(p.context.as_deref())?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let (trace, table) = session.now_of(context)?;
        let evaluated = evaluated(&table);
        let summary = |graph: GraphId| {
            let evaluated = evaluated.get(&graph).copied().unwrap_or_default();
            Ok(GraphQuery::open(&trace, graph)?.summary(evaluated))
        };
        let mut graphs: Vec<GraphId> = trace.graphs().collect();
        if let Some(context) = context {
            let mut wanted = vec![];
            for &graph in &graphs {
                wanted.extend((trace.graph(graph)?.graph.context == context).then_some(graph));
            }
            graphs = wanted;
        }
        let items = graphs.iter().skip(offset).take(limit).map(|&graph| summary(graph)).collect::<Result<_, Problem>>();
        Ok(Page::new(graphs.len() as u64, offset, items?))
    })
    .await
}

/// Which part of a graph.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GraphParams {
    /// The layer's own nodes and leaves, the shared leaves that it uses, its direct inputs and outputs elsewhere, and
    /// all edges among these
    #[param(schema_with = document::number)]
    layer: Option<String>,
}

/// A graph: nodes, leaves, edges; or one layer of it with what touches it. The same as `ggscope graph --format json`
#[utoipa::path(get, path = "/sessions/{id}/graphs/{graph}",
    params(
        ("id" = String, Path, description = "The session"),
        ("graph" = String, Path, description = "Number of the graph within the session"),
        GraphParams),
    responses(
        (status = 200, body = GraphPart<'static>), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem), (status = 500, body = Problem)))]
pub(super) async fn graph(
    State(app): State<Arc<App>>,
    Path((id, graph)): Path<(String, String)>,
    Params(p, ..): Params<GraphParams>,
) -> Result<Response, Problem> {
    let layer: Option<u32> = parse("layer", p.layer.as_deref(), "give the number of a layer")?;
    answer(app, move |sessions| {
        let query = open(&*sessions.get(&id)?, &graph)?;
        if layer.is_none() && query.n_tensors() > MAX_TENSORS {
            let error = format!("the graph has {} tensors, and {MAX_TENSORS} are the most", query.n_tensors());
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, "ask for one layer with ?layer="));
        }
        let part = match layer {
            None => query.whole(),
            Some(layer) => query.layer(layer).ok_or_else(|| {
                let help = "the graph's own answer lists its layers";
                Problem::missing("layer", format!("graph {graph} has no layer {layer}"), help)
            })?,
        };
        to_raw_value(&part)
            .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), "ask for one layer"))
    })
    .await
}

fn open(session: &Session, graph: &str) -> Result<GraphQuery, Problem> {
    Ok(GraphQuery::open(&*session.trace()?, known(session, graph)?)?)
}

/// The graph with the number `graph`.
pub(super) fn known(session: &Session, graph: &str) -> Result<GraphId, Problem> {
    let trace = session.trace()?;
    let known = graph.parse().ok().map(GraphId).filter(|&id| trace.graphs().any(|g| g == id));
    known.ok_or_else(|| {
        let help = format!("/api/v1/sessions/{}/graphs lists those that there are", session.id);
        Problem::missing("graph", format!("session {} has no graph {graph}", session.id), help)
    })
}
