//! What a timeline is drawn from: all evaluations in one piece, and the operators of one of them.

use super::app::{App, answer, beside, bounded};
use super::document;
use super::params::{Params, Path, context, parse};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_query::spans::{self, Spans};
use ggscope_query::timeline;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FromParams {
    /// Ordinal of the first evaluation in the order of arrival, 0 if not given
    #[param(schema_with = document::ordinal)]
    from: Option<String>,
    /// Only evaluations of this context; what the head has as the ordinal of the first is then `from`
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// All evaluations as little-endian columns
///
/// A head of 32 bytes: `GGTL`; as `u32` the version 3, the number n of evaluations, 0; as `f64` the ordinal of the first,
/// and the begin of the session's first evaluation in nanoseconds of `CLOCK_MONOTONIC`. Then columns of n numbers each. As
/// `f64`: begin after the session's first evaluation and length in nanoseconds, bytes read from files, from buffers. As
/// `u32`: number of the evaluation, graph, context, first token, tokens, tokens of answers, tokens of unknown phase,
/// operators, those of them without a time, minor and major page faults. As `i32`: status.
#[utoipa::path(get, path = "/sessions/{id}/timeline",
    params(("id" = String, Path, description = "The session"), FromParams),
    responses(
        (status = 200, description = "Columns", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<FromParams>,
) -> Result<Response, Problem> {
    let from = parse("from", p.from.as_deref(), "give the ordinal of an evaluation")?.unwrap_or(0);
    let context = context(p.context.as_deref())?;
    let columns =
        beside(app, move |sessions| Ok(timeline::timeline(&sessions.get(&id)?.now_of(context)?.1, from, context)));
    bounded("application/octet-stream", columns.await?)
}

/// When each operator of an evaluation ran, as columns with an entry an executed operator
#[utoipa::path(get, path = "/sessions/{id}/evaluations/{eval}/spans",
    params(
        ("id" = String, Path, description = "The session"),
        ("eval" = String, Path, description = "Number of the evaluation")),
    responses((status = 200, body = Spans), (status = 404, body = Problem)))]
pub(super) async fn spans(
    State(app): State<Arc<App>>,
    Path((id, eval)): Path<(String, String)>,
) -> Result<Response, Problem> {
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now()?;
        let found = eval.parse().ok().and_then(|eval| spans::spans(&trace, &table, eval));
        found.ok_or_else(|| {
            let help = format!("/api/v1/sessions/{id}/evaluations lists those that there are");
            Problem::missing("eval", format!("session {id} has no evaluation {eval}"), help)
        })
    })
    .await
}
