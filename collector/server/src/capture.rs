//! What is captured of a session: the answer to the question, what something else would take, and the one thing that a
//! viewer can change.

use super::app::{App, answer};
use super::document;
use super::models;
use super::params::{Params, Path, parse, word};
use super::problem::Problem;
use super::session::{Behind, Session};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_format::Bytes;
use ggscope_format::capture::{Capture, CaptureChange, Ranges};
use ggscope_internals::estimate::Estimate;
use ggscope_query::captures;
use ggscope_trace::Losses;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// What is captured. Ranges are texts such as `0-3,7`, empty for all
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureOf {
    /// Sets (`attention`, `values`, `layers`, `logits`, `experts`) and globs of tensors' names; none: nothing is captured.
    pub names: Vec<String>,
    /// Of these layers.
    #[serde(default)]
    pub layers: String,
    /// Queries of these heads.
    #[serde(default)]
    pub heads: String,
    /// In evaluations that have one of these tokens of the session.
    #[serde(default)]
    pub tokens: String,
    /// Every n-th token of an answer, 1 or more.
    #[serde(default = "one")]
    pub every: u64,
    /// Statistics instead of values.
    #[serde(default)]
    pub statistics: bool,
    /// `f32` values travel as `f16`.
    #[serde(default)]
    pub as_f16: bool,
    /// Bytes a second, at most and 1 or more; null for no limit.
    #[serde(default)]
    pub budget: Option<u64>,
}

const fn one() -> u64 {
    1
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
        let never = |field| Problem::bad(field, format!("{field}=0: nothing would ever be captured"), help);
        if self.every == 0 {
            return Err(never("every"));
        }
        if self.budget == Some(0) {
            return Err(never("budget"));
        }
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
    /// What is to be captured as soon as the process looks; null if it has taken all that it was told.
    pub next: Option<CaptureOf>,
    /// Whether it can be changed: the process runs, and is recorded here.
    pub can_change: bool,
    /// Bytes of values that were captured so far, before compression.
    pub value_bytes: u64,
    /// Evaluations that were left out for the budget's sake.
    pub left_out_evaluations: u64,
    /// Bytes of their values.
    pub left_out_bytes: u64,
    /// Records that were lost.
    pub dropped_records: u64,
    /// How many of them were lost for which cause; null if the recording does not say.
    pub dropped_causes: Option<Losses>,
    /// How far values are behind the newest token; null if none have come, or nothing is captured.
    pub behind: Option<Behind>,
}

fn state(session: &Session) -> Result<CaptureState, Problem> {
    let trace = session.trace()?;
    let CaptureChange { from, capture } = trace.captures().pop().unwrap_or_default();
    let control = session.control();
    let now = CaptureOf::from(&capture);
    let next = control.and_then(|control| control.asked()).as_ref().map(CaptureOf::from).filter(|next| *next != now);
    let totals = trace.totals();
    Ok(CaptureState {
        now,
        from_eval: from.0,
        next,
        can_change: control.is_some(),
        value_bytes: totals.value_bytes,
        left_out_evaluations: totals.left_out_evaluations,
        left_out_bytes: totals.left_out_bytes,
        dropped_records: totals.dropped_records,
        dropped_causes: trace.losses(),
        behind: session.behind()?,
    })
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

/// What might be captured.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EstimateParams {
    /// Sets and globs, with commas between them
    #[param(required = true)]
    names: Option<String>,
    /// Of these layers: `0-3,7`; of all if not given
    layers: Option<String>,
    /// Queries of these heads; of all if not given
    heads: Option<String>,
    /// In evaluations that have one of these tokens; in all if not given
    tokens: Option<String>,
    /// Every n-th token of an answer; 1 if not given
    #[param(schema_with = document::ordinal)]
    every: Option<String>,
    /// `true`: statistics instead of values
    #[param(schema_with = document::flag)]
    statistics: Option<String>,
    /// `true`: `f32` values travel as `f16`
    #[param(schema_with = document::flag)]
    as_f16: Option<String>,
}

impl EstimateParams {
    fn wanted(self) -> Result<CaptureOf, Problem> {
        let flag = |name: &'static str, text: Option<&str>| {
            Ok::<_, Problem>(word(name, text, &[("true", true), ("false", false)])?.unwrap_or(false))
        };
        let names = self.names.unwrap_or_default();
        Ok(CaptureOf {
            names: names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            layers: self.layers.unwrap_or_default(),
            heads: self.heads.unwrap_or_default(),
            tokens: self.tokens.unwrap_or_default(),
            every: parse("every", self.every.as_deref(), "give a number")?.unwrap_or(1),
            statistics: flag("statistics", self.statistics.as_deref())?,
            as_f16: flag("as_f16", self.as_f16.as_deref())?,
            budget: None,
        })
    }
}

/// About what a capture would take
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CaptureEstimate {
    /// Bytes of a token that is captured, all sets together; null if the model's file is not known here, or there are
    /// globs alone.
    pub bytes: Option<u64>,
    /// Of each set.
    pub sets: Vec<SetBytes>,
    /// Bytes for each token that attention looks back at, once a token.
    pub per_key: u64,
    /// Whether there are globs, whose bytes are in none of these numbers.
    pub globs: bool,
    /// Sets and globs that the graphs so far have nothing of, in words.
    pub unmatched: Vec<String>,
}

/// About what a set takes
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SetBytes {
    /// The set.
    pub name: &'static str,
    /// Bytes of a token.
    pub bytes: u64,
}

/// About how many bytes of a token a capture would take, by the shape of the model, and what of it there is nothing of. Says
/// what is wrong with it as the change itself would, and changes nothing
#[utoipa::path(get, path = "/sessions/{id}/capture/estimate",
    params(("id" = String, Path, description = "The session"), EstimateParams),
    responses((status = 200, body = CaptureEstimate), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn estimate(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<EstimateParams>,
) -> Result<Response, Problem> {
    let capture = p.wanted()?.capture()?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let context = session.context(&*session.trace()?, None, None)?;
        let model = models::that_ran(sessions, &session, context).ok();
        let known = model.and_then(|model| Estimate::of(&capture, &model.architecture));
        let unmatched = captures::unmatched_of(&*session.trace()?, &capture);
        Ok(CaptureEstimate {
            bytes: known.as_ref().map(Estimate::bytes),
            sets: known
                .iter()
                .flat_map(|of| &of.sets)
                .map(|&(set, bytes)| SetBytes { name: set.name(), bytes })
                .collect(),
            per_key: known.map_or(0, |of| of.per_key),
            globs: capture.globs().next().is_some(),
            unmatched: unmatched.iter().map(ToString::to_string).collect(),
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(names: &str, statistics: Option<&str>) -> EstimateParams {
        EstimateParams {
            names: Some(names.into()),
            layers: Some("0-3".into()),
            heads: None,
            tokens: None,
            every: None,
            statistics: statistics.map(Into::into),
            as_f16: None,
        }
    }

    #[test]
    fn what_would_be_refused_is_refused_before_it_is_asked_for() {
        let capture = params("attention, l_out-*", None).wanted().unwrap().capture().unwrap();
        assert_eq!(
            (capture.names.as_slice(), capture.layers.to_string()),
            (&["attention".into(), "l_out-*".into()][..], "0-3".into())
        );
        let stats = params("attention", Some("true")).wanted().unwrap().capture().unwrap_err();
        assert!(stats.status == 400 && stats.error.contains("statistics"), "{stats:?}");
        assert_eq!(params("layers", Some("x")).wanted().unwrap_err().field.unwrap(), "statistics");
        let ranges = EstimateParams { layers: Some("3-1".into()), ..params("layers", None) };
        assert_eq!(ranges.wanted().unwrap().capture().unwrap_err().field.unwrap(), "layers");
        let never = EstimateParams { every: Some("0".into()), ..params("layers", None) };
        assert_eq!(never.wanted().unwrap().capture().unwrap_err().field.unwrap(), "every");
    }

    #[test]
    fn what_is_not_said_has_no_limit_and_a_limit_that_lets_nothing_through_is_refused() {
        let of = |text: &str| serde_json::from_str::<CaptureOf>(text).unwrap().capture();
        let capture = of(r#"{"names": ["layers"]}"#).unwrap();
        assert_eq!(capture, Capture { every: 1, ..Capture::named(["layers"]) });
        for field in ["every", "budget"] {
            let text = &format!(r#"{{"names": ["layers"], "{field}": 0}}"#);
            let problem = of(text).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)));
            assert!(problem.error.contains("nothing would ever be captured"), "{problem:?}");
        }
    }
}
