//! A model's architecture as a graph, what a run did with its parts, and graph analytics of it and of what was computed.

use super::app::{App, answer};
use super::document;
use super::graphs::known;
use super::model_store::Loaded;
use super::models::{get, ran};
use super::params::{Params, Path as At, context, parse, word};
use super::problem::Problem;
use super::sessions::Sessions;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_model::arch::{ArchGraph, EdgeKind, Schema};
use ggscope_model::inspect::Stack;
use ggscope_query::architecture::{ArchitectureGraph, EdgeWeight, architecture, named};
use ggscope_query::cost::node_costs;
use ggscope_query::dump::Filter;
use ggscope_query::graph::GraphQuery;
use ggscope_query::graph_named;
use ggscope_query::graph_report::{GraphReport, Named, report};
use ggscope_query::roofline::{Reached, reached};
use ggscope_query::weights::{WeightCost, Whose, model_at, weights};
use ggscope_trace::Trace;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use utoipa::IntoParams;

/// Nodes in lists of the largest.
const TOP: usize = 20;
/// Nodes of a graph that analytics are computed of while somebody waits.
const MAX_NODES: usize = 200_000;

const SCHEMAS: [(&str, Schema); 2] = [("standard", Schema::Standard), ("tutorial", Schema::Tutorial)];
const WEIGHTS: &str = "give none, parameters, bytes or time";

/// Which graph of a model.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GraphOfModel {
    /// How it is made: `standard` (if not given) or `tutorial`
    #[param(schema_with = document::schema)]
    schema: Option<String>,
    /// Only this layer, with what it uses
    #[param(schema_with = document::number)]
    layer: Option<String>,
    /// A session that ran the model, for what was measured
    session: Option<String>,
    /// Only what this context of the session did; if not given, all that compute the model
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// What is analysed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Analysed {
    /// Edges that are gone along, with commas between them; all if not given: `contains,feeds_into,uses`
    #[param(schema_with = document::edges)]
    edges: Option<String>,
    /// What edges weigh: `none` (if not given), `parameters`, `bytes` or `time`
    #[param(schema_with = document::weight)]
    weight: Option<String>,
}

impl GraphOfModel {
    fn graph(&self, model: &Loaded) -> Result<ArchGraph, Problem> {
        let schema = word("schema", self.schema.as_deref(), &SCHEMAS)?.unwrap_or_default();
        let made = ArchGraph::of(&model.gguf, &model.architecture, schema);
        let graph = made.map_err(|e| Problem::missing("id", e.to_string(), "ask for /models/ID for its metadata"))?;
        let Some(layer) = parse::<u32>("layer", self.layer.as_deref(), "give the number of a layer")? else {
            return Ok(graph);
        };
        let stacks = [Stack::Model, Stack::Encoder, Stack::Decoder, Stack::Vision, Stack::Audio];
        stacks.into_iter().find_map(|stack| graph.layer(stack, layer)).ok_or_else(|| {
            Problem::missing("layer", format!("the model has no layer {layer}"), "/models/ID lists its layers")
        })
    }

    /// What the session did with each weight, if one was named.
    fn run(&self, sessions: &Sessions, model: &Loaded) -> Result<Option<Vec<WeightCost>>, Problem> {
        let Some(id) = &self.session else { return Ok(None) };
        let unknown = |problem: Problem| Problem { field: Some("session".into()), ..problem };
        let session = sessions.get(id).map_err(unknown)?;
        if !ran(&session, model.gguf.first().path()) {
            let error = format!("session {id} did not run this model");
            return Err(Problem::bad("session", error, "/models lists the sessions that ran each model"));
        }
        let context = context(self.context.as_deref())?;
        let (trace, table) = session.now_of(context)?;
        let model = model_at(&trace, model.gguf.first().path());
        Ok(Some(weights(&trace, &table, Whose { context, model })?))
    }
}

impl Analysed {
    fn edges(&self) -> Result<Vec<EdgeKind>, Problem> {
        let Some(text) = &self.edges else { return Ok(EdgeKind::ALL.to_vec()) };
        let known = EdgeKind::ALL.map(|kind| (kind.name(), kind));
        text.split(',').map(|name| Ok(word("edges", Some(name), &known)?.unwrap_or(EdgeKind::Contains))).collect()
    }

    fn weight(&self) -> Result<EdgeWeight, Problem> {
        Ok(parse("weight", self.weight.as_deref(), WEIGHTS)?.unwrap_or_default())
    }
}

/// The architecture of a model as a graph, with what a run did with each part
#[utoipa::path(get, path = "/models/{id}/graph",
    params(("id" = String, Path, description = "The model"), GraphOfModel),
    responses(
        (status = 200, body = ArchitectureGraph<'static>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn graph(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, ..): Params<GraphOfModel>,
) -> Result<Response, Problem> {
    answer(app, move |sessions| {
        let model = get(sessions, &id)?;
        let graph = p.graph(&model)?;
        let run = p.run(sessions, &model)?;
        raw(&architecture(&graph, run.as_deref()))
    })
    .await
}

/// Graph analytics of a model's architecture: PageRank, betweenness, communities, cores, components, degrees
#[utoipa::path(get, path = "/models/{id}/analytics",
    params(("id" = String, Path, description = "The model"), GraphOfModel, Analysed),
    responses(
        (status = 200, body = GraphReport), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn analytics(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, what, ..): Params<GraphOfModel, Analysed>,
) -> Result<Response, Problem> {
    let (edges, weight) = (what.edges()?, what.weight()?);
    if weight == EdgeWeight::Time && p.session.is_none() {
        return Err(Problem::bad("weight", "time was measured in no session", "name one with session=ID"));
    }
    answer(app, move |sessions| {
        let model = get(sessions, &id)?;
        let graph = p.graph(&model)?;
        let run = p.run(sessions, &model)?;
        analyse(sessions, named(&graph, &edges, weight, run.as_deref()))
    })
    .await
}

/// What edges of a computation graph weigh.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Weighed {
    /// What edges weigh: `none` (if not given), `bytes` of the tensor that they lead from, or `time` of the operator that
    /// they lead to
    #[param(schema_with = document::weight_of_run)]
    weight: Option<String>,
}

/// Graph analytics of a computation graph
#[utoipa::path(get, path = "/sessions/{id}/graphs/{graph}/analytics",
    params(
        ("id" = String, Path, description = "The session"),
        ("graph" = String, Path, description = "Number of the graph within the session"),
        Weighed),
    responses(
        (status = 200, body = GraphReport), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn of_graph(
    State(app): State<Arc<App>>,
    At((id, graph)): At<(String, String)>,
    Params(p, ..): Params<Weighed>,
) -> Result<Response, Problem> {
    let weights = [("none", EdgeWeight::None), ("bytes", EdgeWeight::Bytes), ("time", EdgeWeight::Time)];
    let weight = word("weight", p.weight.as_deref(), &weights)?.unwrap_or_default();
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let (trace, table) = session.now()?;
        let graph = known(&session, &graph)?;
        let query = GraphQuery::open(&trace, graph)?;
        let costs = node_costs(&trace, &table, graph, &Filter::default());
        analyse(sessions, graph_named::named(&query.whole(), weight, &costs))
    })
    .await
}

/// Whose operators.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhoseParams {
    /// Only those of this context
    #[param(schema_with = document::number)]
    context: Option<String>,
    /// Only those of contexts that compute this model, one of `/models`
    of: Option<String>,
}

impl WhoseParams {
    fn of(&self, sessions: &Sessions, trace: &Trace) -> Result<Whose, Problem> {
        let named = self.of.as_deref().map(|id| get(sessions, id)).transpose();
        let named = named.map_err(|problem| Problem { field: Some("of".into()), ..problem })?;
        let model = named.and_then(|model| model_at(trace, model.gguf.first().path()));
        Ok(Whose { context: context(self.context.as_deref())?, model })
    }
}

/// What a session did with each weight of its models: accesses, bytes, time. Contexts of one model share its weights
#[utoipa::path(get, path = "/sessions/{id}/weights",
    params(("id" = String, Path, description = "The session"), WhoseParams),
    responses(
        (status = 200, body = Vec<WeightCost>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_weights(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, ..): Params<WhoseParams>,
) -> Result<Response, Problem> {
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(context(p.context.as_deref())?)?;
        Ok(weights(&trace, &table, p.of(sessions, &trace)?)?)
    })
    .await
}

/// What each kind of operator of a session reached: bytes and operations in its time, by context and phase, the longest
/// first
#[utoipa::path(get, path = "/sessions/{id}/reached",
    params(("id" = String, Path, description = "The session"), WhoseParams),
    responses(
        (status = 200, body = Vec<Reached>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_operators(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, ..): Params<WhoseParams>,
) -> Result<Response, Problem> {
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(context(p.context.as_deref())?)?;
        Ok(reached(&trace, &table, p.of(sessions, &trace)?, None))
    })
    .await
}

fn analyse(sessions: &Sessions, named: Named) -> Result<GraphReport, Problem> {
    if named.nodes.len() > MAX_NODES {
        let error = format!("the graph has {} nodes, and {MAX_NODES} are the most", named.nodes.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, "ask for one layer, or use `ggscope arch`"));
    }
    let found = sessions.compute().and_then(|compute| report(named, TOP, &compute));
    found.map_err(|e| Problem::bad("weight", e.to_string(), WEIGHTS))
}

fn raw<T: serde::Serialize>(value: &T) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), "ask for one layer"))
}
