//! The routes, the document that describes them, and what they have in common: a query runs beside the network's
//! threads, its answer is JSON of a bounded size.

use super::access::{Access, guard};
use super::document::{self, Document};
use super::params::{Params, Path, context};
use super::problem::Problem;
use super::session::Session;
use super::sessions::Sessions;
use super::summary::SessionSummary;
use super::{
    analytics, architecture, attention, capture, compare, download, experts, graphs, heads, layers, live, metrics,
    models, page, quant, requests, residency, tables, timeline,
};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use ggscope_query::info::{Info, info};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// The largest answer in bytes; a larger one has to be asked for in pages.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Queries that run at the same time.
const MAX_QUERIES: usize = 4;
/// Connections that are told what happens.
const MAX_VIEWERS: usize = 64;

/// What all routes know.
pub(super) struct App {
    pub sessions: Arc<Sessions>,
    /// The OpenAPI document.
    document: String,
    /// The hidden states that were measured last.
    pub layers: Arc<layers::Measured>,
    /// Room for queries that run at the same time; others wait.
    queries: Arc<Semaphore>,
    /// Room for those who look on.
    viewers: Arc<Semaphore>,
}

impl App {
    fn new(sessions: Arc<Sessions>, document: String) -> App {
        let room = |places| Arc::new(Semaphore::new(places));
        App { sessions, document, layers: Arc::default(), queries: room(MAX_QUERIES), viewers: room(MAX_VIEWERS) }
    }

    /// A place among those who look on.
    ///
    /// # Errors
    /// When all are taken.
    pub(super) fn viewer(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.viewers.clone().try_acquire_owned().map_err(|_| {
            let error = format!("{MAX_VIEWERS} look on already");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error, "close another window, or ask /sessions now and then")
        })
    }
}

/// A part of a longer list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// Items of the whole list.
    pub total: u64,
    /// Items before this page.
    pub offset: usize,
    /// Offset of the next page; null after the last item.
    pub next: Option<usize>,
    /// The items.
    pub items: Vec<T>,
}

impl<T> Page<T> {
    pub(super) fn new(total: u64, offset: usize, items: Vec<T>) -> Page<T> {
        let end = offset.saturating_add(items.len());
        let next = (!items.is_empty() && (end as u64) < total).then_some(end);
        Page { total, offset, next, items }
    }
}

/// The routes below `/api/v1`, each with what the document says of it.
fn routes() -> Vec<UtoipaMethodRouter<Arc<App>>> {
    vec![
        routes!(openapi),
        routes!(list_sessions),
        routes!(session_info),
        routes!(capture::current, capture::change),
        routes!(capture::estimate),
        routes!(live::live),
        routes!(residency::residency),
        routes!(tables::evaluations),
        routes!(tables::operators),
        routes!(requests::list),
        routes!(tables::leaves),
        routes!(tables::memory),
        routes!(timeline::timeline),
        routes!(timeline::spans),
        routes!(analytics::costs),
        routes!(analytics::places),
        routes!(analytics::ops),
        routes!(analytics::layers),
        routes!(analytics::layer_tokens),
        routes!(analytics::histogram),
        routes!(analytics::access),
        routes!(attention::of_token),
        routes!(attention::of_tokens),
        routes!(attention::of_heads),
        routes!(attention::of_links),
        routes!(attention::against),
        routes!(experts::report),
        routes!(experts::choices),
        routes!(experts::pairs),
        routes!(graphs::graphs),
        routes!(graphs::graph),
        routes!(architecture::of_graph),
        routes!(architecture::of_weights),
        routes!(architecture::of_operators),
        routes!(layers::of_session),
        routes!(layers::by_token),
        routes!(layers::against),
        routes!(layers::lens),
        routes!(models::list),
        routes!(models::inspect),
        routes!(quant::of_model),
        routes!(quant::of_tensor),
        routes!(quant::blocks),
        routes!(architecture::graph),
        routes!(architecture::analytics),
        routes!(heads::of_session),
        routes!(heads::of_token),
        routes!(compare::sessions),
        routes!(download::export),
    ]
}

fn documented() -> (Router<Arc<App>>, String) {
    let v1 = routes().into_iter().fold(OpenApiRouter::new(), OpenApiRouter::routes);
    let all = OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", v1).routes(routes!(metrics::metrics));
    let (router, document) = all.split_for_parts();
    (router, document::text(&document))
}

/// The OpenAPI document of the server's questions and answers, as `/api/v1/openapi.json` has it: JSON.
pub fn openapi_document() -> String {
    documented().1
}

/// The routes over `sessions`, behind the rules of `access`.
pub(super) fn router(sessions: Arc<Sessions>, access: Access) -> Router {
    let (router, document) = documented();
    let app = Arc::new(App::new(sessions, document));
    router.fallback(page::page).with_state(app).layer(from_fn_with_state(access, guard))
}

/// Runs a query beside the network's threads and makes JSON of what it finds.
pub(super) async fn answer<T: Serialize>(
    app: Arc<App>,
    query: impl FnOnce(&Sessions) -> Result<T, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let json = beside(app, |sessions| {
        let found = query(sessions)?;
        serde_json::to_vec(&found)
            .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), "ask for something else"))
    });
    bounded("application/json", json.await?)
}

/// Runs a query beside the network's threads.
pub(super) async fn beside<T: Send + 'static>(
    app: Arc<App>,
    query: impl FnOnce(&Sessions) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let failed = |_| {
        let help = "please report it with the address that you asked for";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the query came to no end", help)
    };
    // Nobody closes the semaphore. A query has its place until it ends, whether or not somebody waits for it still.
    let place = app.queries.clone().acquire_owned().await.ok();
    let sessions = app.sessions.clone();
    let run = move || {
        let _place = place;
        query(&sessions)
    };
    tokio::task::spawn_blocking(run).await.map_err(failed)?
}

/// An answer that is not too large to be one.
pub(super) fn bounded(content_type: &'static str, body: Vec<u8>) -> Result<Response, Problem> {
    if body.len() > MAX_ANSWER_BYTES {
        let error = format!("the answer has {} bytes, and {MAX_ANSWER_BYTES} are the most", body.len());
        let help = "ask for less: a smaller limit, one layer of a graph, fewer tokens";
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, help));
    }
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// This document
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI", body = Object)))]
async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}

/// The sessions: one a trace file, in the order of the command line or in which they began
#[utoipa::path(get, path = "/sessions", responses((status = 200, body = Vec<SessionSummary>)))]
async fn list_sessions(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    answer(app, |sessions| Ok(sessions.all().iter().map(|s| s.summary()).collect::<Vec<_>>())).await
}

/// What of a session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct InfoParams {
    /// Numbers of this context alone
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// What a session is of: the same as `ggscope info --json`
#[utoipa::path(get, path = "/sessions/{id}",
    params(("id" = String, Path, description = "The session"), InfoParams),
    responses((status = 200, body = Info), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn session_info(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<InfoParams>,
) -> Result<Response, Problem> {
    let context = context(p.context.as_deref())?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        // Before the trace, as in the list of sessions.
        let state = session.state();
        let trace = session.trace_of(context)?;
        Ok(Info { ending: Session::ending(state, &trace), ..info(&trace, context) })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_name_belongs_to_one_type() {
        let mut known = std::collections::BTreeMap::new();
        for (name, schema) in routes().into_iter().flat_map(|route| route.0) {
            let schema = serde_json::to_value(schema).unwrap();
            let first = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*first, schema, "{name} names two types: give one of them #[schema(as = module::{name})]");
        }
        assert!(known.len() > 100, "{}", known.len());
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused_with_what_to_ask_for_instead() {
        assert_eq!(bounded("text/plain", vec![0; MAX_ANSWER_BYTES]).unwrap().status(), 200);
        let problem = bounded("text/plain", vec![0; MAX_ANSWER_BYTES + 1]).unwrap_err();
        assert_eq!(problem.status, 413);
        assert!(
            problem.error.contains("67108864 are the most") && problem.help.contains("ask for less"),
            "{problem:?}"
        );
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends() {
        let app = Arc::new(App::new(Arc::default(), String::new()));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::mpsc::channel(1);
        let asked = beside(app.clone(), move |_| {
            begin.blocking_send(()).unwrap();
            ended.recv().ok();
            Ok(())
        });
        tokio::select! {
            _ = asked => panic!("it ended by itself"),
            () = async { begun.recv().await.unwrap() } => {}
        }
        assert_eq!(app.queries.available_permits(), MAX_QUERIES - 1, "who asked went away");
        drop(end);
        let _all = app.queries.acquire_many(MAX_QUERIES as u32).await.unwrap();
    }
}
