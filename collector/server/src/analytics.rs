//! Sums and distributions: what the charts of a session are drawn from.

use super::app::{App, answer};
use super::document;
use super::graphs::known;
use super::limits::PHASES;
use super::params::{Params, Path, Which, context, glob, numbers, parse, word};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_query::access::{self, Access};
use ggscope_query::analytics::{self, LayerCost, OpCost};
use ggscope_query::analytics_times::{self, Histogram, LayerTokens};
use ggscope_query::cost::{self, NodeCosts};
use ggscope_query::dump::Filter;
use ggscope_query::places::{self, PlaceSummary};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Bins if nothing is said, and at most.
const DEFAULT_BINS: usize = 100;
const MAX_BINS: usize = 500;

/// Into how many bins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BinParams {
    /// Bins at most: 1 to 500, 100 if not given
    #[param(schema_with = document::bins)]
    bins: Option<String>,
}

impl BinParams {
    fn bins(&self) -> Result<usize, Problem> {
        let bins = parse("bins", self.bins.as_deref(), "give how many bins there are at most")?.unwrap_or(DEFAULT_BINS);
        if !(1..=MAX_BINS).contains(&bins) {
            let help = format!("give 1 to {MAX_BINS}");
            return Err(Problem::bad("bins", format!("bins={bins} cannot be drawn"), help));
        }
        Ok(bins)
    }
}

/// What the nodes of a graph cost, as columns with an entry an executed node
#[utoipa::path(get, path = "/sessions/{id}/graphs/{graph}/costs",
    params(
        ("id" = String, Path, description = "The session"),
        ("graph" = String, Path, description = "Number of the graph within the session"),
        Which),
    responses(
        (status = 200, body = NodeCosts), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn costs(
    State(app): State<Arc<App>>,
    Path((id, graph)): Path<(String, String)>,
    Params(which, ..): Params<Which>,
) -> Result<Response, Problem> {
    let filter = which.filter()?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let graph = known(&session, &graph)?;
        let (trace, table) = session.now_of(filter.context)?;
        Ok(cost::node_costs(&trace, &table, graph, &filter))
    })
    .await
}

/// Who read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlaceParams {
    /// Only what this context read
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// The files and buffers that were read, files first
#[utoipa::path(get, path = "/sessions/{id}/places",
    params(("id" = String, Path, description = "The session"), PlaceParams),
    responses(
        (status = 200, body = Vec<PlaceSummary>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn places(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<PlaceParams>,
) -> Result<Response, Problem> {
    let context = context(p.context.as_deref())?;
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(context)?;
        Ok(places::places(&trace, &table, context))
    })
    .await
}

/// Which phase.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PhaseParams {
    /// `prompt`, `generate` or `unknown`
    #[param(schema_with = document::phase)]
    phase: Option<String>,
}

/// Executions, times and bytes by context, kind of operator and phase, those that took longest first
#[utoipa::path(get, path = "/sessions/{id}/analytics/ops",
    params(("id" = String, Path, description = "The session"), Which, PhaseParams),
    responses(
        (status = 200, body = Vec<OpCost>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn ops(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, _): Params<Which, PhaseParams>,
) -> Result<Response, Problem> {
    let filter = Filter { phase: word("phase", p.phase.as_deref(), &PHASES)?, ..which.filter()? };
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(filter.context)?;
        Ok(analytics::ops(&trace, &table, &filter))
    })
    .await
}

/// Executions, times, bytes and hottest tensors by context and layer
#[utoipa::path(get, path = "/sessions/{id}/analytics/layers",
    params(("id" = String, Path, description = "The session"), Which),
    responses(
        (status = 200, body = Vec<LayerCost>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn layers(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, ..): Params<Which>,
) -> Result<Response, Problem> {
    let filter = which.filter()?;
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(filter.context)?;
        Ok(analytics::layers(&trace, &table, &filter))
    })
    .await
}

/// Times by layer and token, of one context: the one that is named, else of those with wanted evaluations the first model's
#[utoipa::path(get, path = "/sessions/{id}/analytics/layer-tokens",
    params(("id" = String, Path, description = "The session"), Which, BinParams),
    responses((status = 200, body = LayerTokens), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn layer_tokens(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, _): Params<Which, BinParams>,
) -> Result<Response, Problem> {
    let (filter, bins) = (which.filter()?, p.bins()?);
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(filter.context)?;
        Ok(analytics_times::layer_tokens(&trace, &table, &filter, bins))
    })
    .await
}

/// Which operators.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistogramParams {
    /// Operators of this kind: a glob, upper and lower case are the same
    op: Option<String>,
    /// Nodes of these layers
    #[param(schema_with = document::numbers)]
    layer: Option<String>,
    /// Nodes of this name: a glob
    name: Option<String>,
    /// Number of the node within its graph
    #[param(schema_with = document::number)]
    node: Option<String>,
    /// `prompt`, `generate` or `unknown`
    #[param(schema_with = document::phase)]
    phase: Option<String>,
}

/// How often which time occurred among the executions of some operators of one context: the one that is named, else of
/// those with wanted evaluations the first model's
#[utoipa::path(get, path = "/sessions/{id}/analytics/histogram",
    params(("id" = String, Path, description = "The session"), Which, HistogramParams, BinParams),
    responses((status = 200, body = Histogram), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn histogram(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, bins): Params<Which, HistogramParams, BinParams>,
) -> Result<Response, Problem> {
    let bins = bins.bins()?;
    let filter = Filter {
        op: glob("op", p.op.as_deref(), true)?,
        layers: numbers("layer", p.layer.as_deref())?,
        name: glob("name", p.name.as_deref(), false)?,
        node: parse("node", p.node.as_deref(), "give the number of a node")?,
        phase: word("phase", p.phase.as_deref(), &PHASES)?,
        ..which.filter()?
    };
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(filter.context)?;
        Ok(analytics_times::histogram(&trace, &table, &filter, bins))
    })
    .await
}

/// Which evaluation.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AccessParams {
    /// Number of the evaluation; the first, of the context if it is given, if not given
    #[param(schema_with = document::ordinal)]
    eval: Option<String>,
    /// The context that computed it
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// How an evaluation went through the file: its reads in the order of execution
#[utoipa::path(get, path = "/sessions/{id}/analytics/access",
    params(("id" = String, Path, description = "The session"), AccessParams),
    responses((status = 200, body = Access), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn access(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<AccessParams>,
) -> Result<Response, Problem> {
    let context = context(p.context.as_deref())?;
    let eval: Option<u64> = parse("eval", p.eval.as_deref(), "give the number of an evaluation")?;
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(context)?;
        let is_of = |of: u32| context.is_none_or(|context| context == of);
        let first = || table.headers(0).find(|(_, h)| is_of(h.context)).map(|(_, h)| h.eval);
        let eval = eval.or_else(first).unwrap_or(0);
        access::access(&trace, &table, eval).filter(|found| is_of(found.context)).ok_or_else(|| {
            let help = format!("/api/v1/sessions/{id}/evaluations lists those that there are");
            let of = context.map_or(String::new(), |context| format!(" of context {context}"));
            Problem::missing("eval", format!("session {id} has no evaluation {eval}{of}"), help)
        })
    })
    .await
}
