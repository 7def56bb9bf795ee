//! The routes, the document that describes them, and what they have in common: a query runs beside the network's
//! threads, its answer is JSON of a bounded size.

use super::access::{Access, guard};
use super::problem::Problem;
use super::session::Sessions;
use super::{compare, download, graphs, metrics, tables};
use crate::query::info::{Info, info};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The largest answer in bytes; a larger one has to be asked for in pages.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What all routes know.
pub(super) struct App {
    pub sessions: Arc<Sessions>,
    /// The OpenAPI document.
    document: String,
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

/// A recorded process.
#[derive(Debug, Serialize, ToSchema)]
struct SessionSummary {
    /// Number in the paths of other questions.
    id: String,
    /// Name of the trace file.
    name: String,
    /// Whether the recording ended in order and all of the file is there.
    complete: bool,
    /// The traced process.
    pid: u32,
    /// Its command line.
    argv: Vec<String>,
    /// Name of its first model.
    model: Option<String>,
    /// Tokens of prompts and answers.
    tokens: u64,
    /// Evaluations.
    evaluations: u64,
    /// Executed operators.
    operators: u64,
    /// Begin of the first evaluation, nanoseconds of `CLOCK_MONOTONIC`.
    first_ns: u64,
    /// End of the last evaluation.
    last_ns: u64,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "ggscope",
    description = "What llama.cpp processes did: every operator of every token, from recorded traces.",
))]
struct Document;

/// The routes over `sessions`, behind the rules of `access`.
pub(super) fn router(sessions: Arc<Sessions>, access: Access) -> Router {
    let v1 = OpenApiRouter::new()
        .routes(routes!(openapi))
        .routes(routes!(list_sessions))
        .routes(routes!(session_info))
        .routes(routes!(tables::evaluations))
        .routes(routes!(tables::operators))
        .routes(routes!(tables::leaves))
        .routes(routes!(tables::memory))
        .routes(routes!(graphs::graphs))
        .routes(routes!(graphs::graph))
        .routes(routes!(compare::sessions))
        .routes(routes!(download::export));
    let all = OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", v1).routes(routes!(metrics::metrics));
    let (router, document) = all.split_for_parts();
    let document = serde_json::to_string(&document).unwrap_or_default();
    let app = Arc::new(App { sessions, document });
    router.fallback(nothing_here).with_state(app).layer(from_fn_with_state(access, guard))
}

async fn nothing_here() -> Problem {
    let help = "/api/v1/openapi.json lists what there is";
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path", help)
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
    tokio::task::spawn_blocking(move || query(&app.sessions)).await.map_err(failed)?
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

/// The sessions: one a trace file, in the order of the command line
#[utoipa::path(get, path = "/sessions", responses((status = 200, body = Vec<SessionSummary>)))]
async fn list_sessions(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let summary = |s: &super::session::Session| {
        let (hello, totals) = (&s.trace.recording().hello, s.trace.totals());
        SessionSummary {
            id: s.id.clone(),
            name: s.name.clone(),
            complete: s.trace.complete(),
            pid: hello.pid,
            argv: hello.argv.clone(),
            model: s.trace.model().map(|m| m.name.clone()),
            tokens: totals.prompt_tokens.saturating_add(totals.generated_tokens),
            evaluations: totals.evaluations,
            operators: totals.operators,
            first_ns: totals.first_ns,
            last_ns: totals.last_ns,
        }
    };
    answer(app, move |sessions| Ok(sessions.all().iter().map(summary).collect::<Vec<_>>())).await
}

/// What a session is of: the same as `ggscope info --json`
#[utoipa::path(get, path = "/sessions/{id}",
    params(("id" = String, Path, description = "The session")),
    responses((status = 200, body = Info), (status = 404, body = Problem)))]
async fn session_info(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    answer(app, move |sessions| Ok(info(&sessions.get(&id)?.trace))).await
}
