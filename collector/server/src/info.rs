//! The list of sessions, and what one session is of.

use super::app::{App, answer};
use super::document;
use super::params::{Params, Path, context};
use super::problem::Problem;
use super::summary::{SessionSummary, ending};
use axum::extract::State;
use axum::response::Response;
use ggscope_query::info::{Info, info};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// The sessions: one a trace file, in the order of the command line or in which they began
#[utoipa::path(get, path = "/sessions", responses((status = 200, body = Vec<SessionSummary>)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    answer(app, |sessions| Ok(sessions.all().iter().map(|s| s.summary()).collect::<Vec<_>>())).await
}

/// What of a session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InfoParams {
    /// Numbers of this context alone
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// What a session is of: the same as `ggscope info --json`
#[utoipa::path(get, path = "/sessions/{id}",
    params(("id" = String, Path, description = "The session"), InfoParams),
    responses((status = 200, body = Info), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_session(
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
        Ok(Info { ending: ending(state, &trace), ..info(&trace, context) })
    })
    .await
}
