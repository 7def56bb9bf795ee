//! The requests of a session.

use super::app::{App, Page, answer};
use super::limits::MAX_LIMIT;
use super::params::{PageParams, Params, Path, context};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_query::requests::{Request, requests};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RequestParams {
    /// Requests of this context
    #[param(schema_with = super::document::number)]
    context: Option<String>,
}

/// Requests, each a prompt with its answer, in the order in which they began; none where sequences are unknown
#[utoipa::path(get, path = "/sessions/{id}/requests",
    params(("id" = String, Path, description = "The session"), RequestParams, PageParams),
    responses(
        (status = 200, body = Page<Request>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, page, ..): Params<RequestParams, PageParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page.page(MAX_LIMIT)?;
    let context = context(p.context.as_deref())?;
    answer(app, move |sessions| {
        let (trace, _) = sessions.get(&id)?.now_of(context)?;
        let mut all = requests(&trace);
        all.retain(|request| context.is_none_or(|context| request.context == context));
        let total = all.len() as u64;
        Ok(Page::new(total, offset, all.into_iter().skip(offset).take(limit).collect()))
    })
    .await
}
