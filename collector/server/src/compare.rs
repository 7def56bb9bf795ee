//! Two sessions side by side.

use super::api::{App, answer};
use super::document;
use super::params::{PHASES, Params, parse, word};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_query::compare::{By, Comparison, compare};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// What is compared with what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CompareParams {
    /// The first session
    #[param(required = true)]
    a: Option<String>,
    /// The second session
    #[param(required = true)]
    b: Option<String>,
    /// What is a row: `op` (if not given), `layer` or `tensor`
    #[param(schema_with = document::by)]
    by: Option<String>,
    /// `prompt` or `generate`; both if not given
    #[param(schema_with = document::phase)]
    phase: Option<String>,
}

/// What a token costs in two sessions, row by row: the same as `ggscope diff --json`
#[utoipa::path(get, path = "/compare", params(CompareParams),
    responses(
        (status = 200, body = Comparison), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn sessions(
    State(app): State<Arc<App>>,
    Params(p, ..): Params<CompareParams>,
) -> Result<Response, Problem> {
    let named = |field: &str, id: Option<String>| {
        let help = "give the ids of two sessions: ?a=0&b=1; /api/v1/sessions lists them";
        id.ok_or_else(|| Problem::bad(field, format!("{field} is missing"), help))
    };
    let (a, b) = (named("a", p.a)?, named("b", p.b)?);
    let by = parse("by", p.by.as_deref(), "give op, layer or tensor")?.unwrap_or(By::Op);
    let phase = word("phase", p.phase.as_deref(), &PHASES)?;
    answer(app, move |sessions| {
        let of = |field: &str, id: &str| {
            let unknown = |problem: Problem| Problem { field: Some(field.into()), ..problem };
            sessions.get(id).and_then(|session| session.trace()).map_err(unknown)
        };
        let (a, b) = (of("a", &a)?, of("b", &b)?);
        Ok(compare(&a, &b, by, phase))
    })
    .await
}
