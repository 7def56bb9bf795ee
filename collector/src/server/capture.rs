//! What is captured of a session: the answer to the question, and the one thing that a viewer can change.

use super::api::{App, answer};
use super::params::Path;
use super::problem::Problem;
use super::session::Session;
use crate::query::captures;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_format::Bytes;
use ggscope_format::capture::{Capture, CaptureChange, Ranges};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is captured. Ranges are texts such as `0-3,7`, empty for all
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CaptureOf {
    /// Sets (`attention`, `values`, `layers`, `logits`, `experts`) and globs of tensors' names; none: nothing is captured.
    pub names: Vec<String>,
    /// Of these layers.
    pub layers: String,
    /// Queries of these heads.
    pub heads: String,
    /// In evaluations that have one of these tokens of the session.
    pub tokens: String,
    /// Every n-th token of an answer.
    pub every: u64,
    /// Statistics instead of values.
    pub statistics: bool,
    /// `f32` values travel as `f16`.
    pub as_f16: bool,
    /// Bytes a second, at most; null for no limit.
    pub budget: Option<u64>,
}

impl From<&Capture> for CaptureOf {
    fn from(of: &Capture) -> CaptureOf {
        CaptureOf {
            names: of.names.clone(),
            layers: of.layers.to_string(),
            heads: of.heads.to_string(),
            tokens: of.tokens.to_string(),
            every: of.every.max(1),
            statistics: of.statistics,
            as_f16: of.as_f16,
            budget: of.budget.map(|Bytes(budget)| budget),
        }
    }
}

impl CaptureOf {
    fn capture(self) -> Result<Capture, Problem> {
        let help = "/api/v1/openapi.json describes what can be captured; docs/capture.md explains it";
        let ranges = |field, text: &str| match text {
            "" => Ok(Ranges::default()),
            text => Ranges::parse(text).map_err(|why| Problem::bad(field, why, help)),
        };
        let capture = Capture {
            layers: ranges("layers", &self.layers)?,
            heads: ranges("heads", &self.heads)?,
            tokens: ranges("tokens", &self.tokens)?,
            names: self.names,
            every: self.every,
            statistics: self.statistics,
            as_f16: self.as_f16,
            budget: self.budget.map(Bytes),
        };
        captures::check(&capture).map_err(|why| Problem::bad("names", why, help))?;
        Ok(capture)
    }
}

/// What is captured of a session
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CaptureState {
    /// What is captured now, as far as the process has told.
    pub now: CaptureOf,
    /// The first evaluation of which that is so.
    pub from_eval: u64,
    /// What is to be captured as soon as the process looks; null if it has been told all.
    pub next: Option<CaptureOf>,
    /// Whether it can be changed: the process runs, and is recorded here.
    pub can_change: bool,
}

fn state(session: &Session) -> Result<CaptureState, Problem> {
    let CaptureChange { from, capture } = session.trace()?.captures().pop().unwrap_or_default();
    let control = session.control();
    let next = control.and_then(|control| control.waits()).as_ref().map(CaptureOf::from);
    Ok(CaptureState { now: CaptureOf::from(&capture), from_eval: from.0, next, can_change: control.is_some() })
}

/// What is captured of a session
#[utoipa::path(get, path = "/sessions/{id}/capture",
    params(("id" = String, Path, description = "The session")),
    responses((status = 200, body = CaptureState), (status = 404, body = Problem)))]
pub(super) async fn current(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    answer(app, move |sessions| state(&*sessions.get(&id)?)).await
}

/// Captures something else of a process that runs. It takes effect within a second or so of computing, and for
/// intermediate results when the program next builds a graph
#[utoipa::path(put, path = "/sessions/{id}/capture",
    params(("id" = String, Path, description = "The session")),
    request_body = CaptureOf,
    responses(
        (status = 200, body = CaptureState), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn change(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    body: Result<Json<CaptureOf>, JsonRejection>,
) -> Result<Response, Problem> {
    let help = "send JSON like {\"names\": [\"attention\"]} with Content-Type: application/json";
    let Json(wanted) = body.map_err(|error| Problem::bad("body", error.body_text(), help))?;
    let capture = wanted.capture()?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let over = || {
            let error = format!("session {id} does not go on here: what it captured cannot be changed any more");
            Problem::new(StatusCode::CONFLICT, error, "only a process that runs and is recorded here can be told")
        };
        let said = session.control().ok_or_else(over)?.capture(capture);
        said.map_err(|why| Problem::bad("names", why, "name fewer tensors, or use globs"))?;
        state(&session)
    })
    .await
}
