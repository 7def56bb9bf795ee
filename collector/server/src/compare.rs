//! Two sessions side by side.

use super::app::{App, answer};
use super::document;
use super::limits::PHASES;
use super::params::{Params, parse, word};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_query::compare::{By, Comparison, compare};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Where the contexts are listed.
const HELP: &str = "/api/v1/sessions/ID lists the contexts";

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
    /// `prompt`, `generate` or `unknown`; all if not given
    #[param(schema_with = document::phase)]
    phase: Option<String>,
    /// The context of the first session, if it has several; if not given, that of its first model that computed a token last
    #[param(schema_with = document::number)]
    a_context: Option<String>,
    /// The context of the second session; if not given the one of the same number as `a_context`, else that of its first
    /// model that computed a token last
    #[param(schema_with = document::number)]
    b_context: Option<String>,
}

/// What a token costs in two sessions, row by row: the same as `ggscope diff --json`
#[utoipa::path(get, path = "/compare", params(CompareParams),
    responses(
        (status = 200, body = Comparison), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn sessions(
    State(app): State<Arc<App>>,
    Params(p, ..): Params<CompareParams>,
) -> Result<Response, Problem> {
    let given = |field: &str, id: Option<String>| {
        let help = "give the ids of two sessions: ?a=0&b=1; /api/v1/sessions lists them";
        id.ok_or_else(|| Problem::bad(field, format!("{field} is missing"), help))
    };
    let (a, b) = (given("a", p.a)?, given("b", p.b)?);
    let number = |field: &str, text: Option<&str>| parse(field, text, HELP);
    let by = parse("by", p.by.as_deref(), "give op, layer or tensor")?.unwrap_or(By::Op);
    let named = (number("a_context", p.a_context.as_deref())?, number("b_context", p.b_context.as_deref())?);
    let phase = word("phase", p.phase.as_deref(), &PHASES)?;
    answer(app, move |sessions| {
        let of = |field: &str, id: &str| {
            let unknown = |problem: Problem| Problem { field: Some(field.into()), ..problem };
            let session = sessions.get(id).map_err(unknown)?;
            let trace = session.trace().map_err(unknown)?;
            Ok::<_, Problem>((session, trace))
        };
        let ((of_a, a), (of_b, b)) = (of("a", &a)?, of("b", &b)?);
        of_a.has_context(&a, "a_context", named.0)?;
        of_b.has_context(&b, "b_context", named.1)?;
        let unknown = |(which, why): (usize, String)| Problem::missing(["a_context", "b_context"][which], why, HELP);
        compare(&a, &b, named, by, phase).map_err(unknown)
    })
    .await
}
