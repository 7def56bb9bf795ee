//! Experts: which tokens went to which, how evenly, what goes together, and what a cache of them would have hit.

use super::app::{App, answer};
use super::document;
use super::limits::PHASES;
use super::params::{Params, Path, Which, numbers, parse, word};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_internals::experts::{self, ExpertChoices, ExpertPairs, ExpertReport, NoExperts};
use ggscope_query::dump::Filter;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Sizes of caches that one question tries at most.
const MAX_SIZES: usize = 32;

impl From<NoExperts> for Problem {
    fn from(error: NoExperts) -> Problem {
        let help = match error {
            NoExperts::Dense => "look at a trace of a mixture-of-experts model",
            NoExperts::NotRecorded => "record it again with `ggscope record --level tensors -- …`",
            NoExperts::Nothing => "ask the model something",
            NoExperts::NoContext(_) => {
                return Problem::missing("context", error.to_string(), "/sessions/ID lists the contexts");
            }
        };
        Problem::missing("id", error.to_string(), help)
    }
}

/// Which choices.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExpertParams {
    /// Routers of these layers
    #[param(schema_with = document::numbers)]
    layer: Option<String>,
    /// `prompt`, `generate` or `unknown`
    #[param(schema_with = document::phase)]
    phase: Option<String>,
}

impl ExpertParams {
    fn filter(&self, which: &Which) -> Result<Filter, Problem> {
        Ok(Filter {
            layers: numbers("layer", self.layer.as_deref())?,
            phase: word("phase", self.phase.as_deref(), &PHASES)?,
            ..which.filter()?
        })
    }
}

/// Which caches.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CacheParams {
    /// Experts a layer, with commas between: what a token needs and parts of all if not given
    #[param(schema_with = document::list_of_numbers)]
    cache: Option<String>,
    /// `false` to leave caches out, which take most of the time
    #[param(schema_with = document::flag)]
    caches: Option<String>,
}

impl CacheParams {
    fn sizes(&self) -> Result<Option<Vec<u32>>, Problem> {
        let wanted = word("caches", self.caches.as_deref(), &[("true", true), ("false", false)])?.unwrap_or(true);
        let Some(list) = self.cache.as_ref().filter(|_| wanted) else { return Ok(wanted.then(Vec::new)) };
        let help = "give experts a layer, with commas between: cache=8,16,32";
        let read = |part: &str| part.parse().map_err(|e| Problem::bad("cache", format!("cache={list}: {e}"), help));
        let sizes: Vec<u32> = list.split(',').map(read).collect::<Result<_, _>>()?;
        if sizes.contains(&0) {
            return Err(Problem::bad("cache", format!("cache={list}: a cache of 0 experts has nothing"), help));
        }
        if sizes.len() > MAX_SIZES {
            return Err(Problem::bad(
                "cache",
                format!("{} sizes are too many", sizes.len()),
                format!("give {MAX_SIZES}"),
            ));
        }
        Ok(Some(sizes))
    }
}

/// Load, balance, bytes, transitions and caches of experts: the same as `ggscope experts --json`
#[utoipa::path(get, path = "/sessions/{id}/experts",
    params(("id" = String, Path, description = "The session"), Which, ExpertParams, CacheParams),
    responses((status = 200, body = ExpertReport), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, caches): Params<Which, ExpertParams, CacheParams>,
) -> Result<Response, Problem> {
    let (filter, sizes) = (p.filter(&which)?, caches.sizes()?);
    answer(app, move |sessions| {
        let trace = sessions.get(&id)?.trace_of(filter.context)?;
        let report = experts::experts(&trace, &filter, sizes.as_deref())?;
        if report.layers.is_empty() && filter.layers.is_some() {
            let help = "without layer, layers says which have routers";
            return Err(Problem::missing("layer", "these tokens chose no experts in these layers", help));
        }
        Ok(report)
    })
    .await
}

/// What single tokens chose in each layer, 20,000 choices at most: the same as `ggscope experts --choices --json`
#[utoipa::path(get, path = "/sessions/{id}/experts/choices",
    params(("id" = String, Path, description = "The session"), Which, ExpertParams),
    responses((status = 200, body = ExpertChoices), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn choices(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, _): Params<Which, ExpertParams>,
) -> Result<Response, Problem> {
    let filter = p.filter(&which)?;
    answer(app, move |sessions| Ok(experts::choices(&*sessions.get(&id)?.trace_of(filter.context)?, &filter)?)).await
}

/// Which layer, and which phase.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PairParams {
    /// The layer
    #[param(schema_with = document::number, required = true)]
    layer: Option<String>,
    /// `prompt`, `generate` or `unknown`
    #[param(schema_with = document::phase)]
    phase: Option<String>,
}

/// How often experts of a layer went together: for one token, from the layer before, from the token before
#[utoipa::path(get, path = "/sessions/{id}/experts/pairs",
    params(("id" = String, Path, description = "The session"), Which, PairParams),
    responses((status = 200, body = ExpertPairs), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn pairs(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, _): Params<Which, PairParams>,
) -> Result<Response, Problem> {
    let help = "give the number of a layer with experts";
    let layer = parse("layer", p.layer.as_deref(), help)?;
    let layer = layer.ok_or_else(|| Problem::bad("layer", "a layer is missing", help))?;
    let filter = Filter { phase: word("phase", p.phase.as_deref(), &PHASES)?, ..which.filter()? };
    answer(app, move |sessions| {
        let found = experts::pairs(&*sessions.get(&id)?.trace_of(filter.context)?, &filter, layer)?;
        let none = || Problem::missing("layer", format!("no choice of experts in layer {layer} matches"), help);
        found.ok_or_else(none)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches_are_a_short_list_of_numbers() {
        let sizes = |text: &str| {
            CacheParams { cache: Some(text.into()), caches: None }.sizes().map_err(|p| (p.status, p.field))
        };
        assert_eq!(sizes("8,16"), Ok(Some(vec![8, 16])));
        let none = CacheParams { cache: Some("8".into()), caches: Some("false".into()) };
        assert_eq!(none.sizes().ok(), Some(None));
        for wrong in ["", "8,", "x", "-1", "0", "8,0", &["1"; MAX_SIZES + 1].join(",")] {
            assert_eq!(sizes(wrong), Err((400, Some("cache".into()))), "{wrong}");
        }
    }
}
