//! The routes, and the document that describes them.

use super::app::App;
use super::authentication::{Access, guard};
use super::document::{self, Document};
use super::sessions::Sessions;
use super::{
    analytics, architecture, attention, capture, compare, download, experts, graphs, heads, info, layers, live,
    metrics, models, page, quant, requests, residency, tables, timeline,
};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// The routes below `/api/v1`, each with what the document says of it.
fn routes() -> Vec<UtoipaMethodRouter<Arc<App>>> {
    vec![
        routes!(openapi),
        routes!(info::list),
        routes!(info::of_session),
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

/// This document
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI", body = Object)))]
async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
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
}
