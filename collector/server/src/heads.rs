//! What each head does over the text of a session, and where a token's state comes from. What was computed last of a
//! session is kept: a page asks for the same again.

use super::app::{App, answer};
use super::attention::TokenParams;
use super::document;
use super::limits::PHASES;
use super::params::{Params, Path, context, numbers, parse, word};
use super::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_internals::attention::AttentionError;
use ggscope_internals::heads::{Flow, Heads, HeadsOptions, flow};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use std::ops::Range;
use std::sync::Arc;
use utoipa::IntoParams;

/// Tokens that are measured if nothing is said, and at most.
const DEFAULT_TOKENS: u64 = 1024;
const MAX_TOKENS: u64 = 8192;

/// Which heads, over which part of the text.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HeadsParams {
    /// Measure over these tokens, counted from 0 through the session, 8192 at most; the first 1024 of the context if not given
    #[param(schema_with = document::numbers)]
    tokens: Option<String>,
    /// The context that computed them, if the session has several: if not given that of the tokens; without tokens the context of
    /// the first model that computed a token last
    #[param(schema_with = document::number)]
    context: Option<String>,
    /// Only heads of these layers; they are compared with those of all layers
    #[param(schema_with = document::numbers)]
    layer: Option<String>,
    /// Only this head of each layer; it is compared with all heads
    #[param(schema_with = document::number)]
    head: Option<String>,
    /// Measure over tokens of `prompt`, `generate` or `unknown` only
    #[param(schema_with = document::phase)]
    phase: Option<String>,
    /// `true`: the divergence of every two heads, too
    #[param(schema_with = document::flag)]
    pairs: Option<String>,
}

impl HeadsParams {
    fn wanted(&self) -> Result<HeadsOptions, Problem> {
        let tokens = numbers("tokens", self.tokens.as_deref())?;
        let layer = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let head: Option<u32> = parse("head", self.head.as_deref(), "give the number of a head")?;
        let most = |range: Range<u64>| range.start..range.end.min(range.start.saturating_add(MAX_TOKENS));
        Ok(HeadsOptions {
            context: context(self.context.as_deref())?,
            // `7..` is the most from there on.
            tokens: tokens.map(|tokens| most(tokens.range())),
            layers: numbers("layer", self.layer.as_deref())?.map(|l| layer(l.first)..=layer(l.last)),
            head: head.map(|head| head as usize),
            phase: word("phase", self.phase.as_deref(), &PHASES)?,
            pairs: word("pairs", self.pairs.as_deref(), &[("true", true), ("false", false)])?.unwrap_or(false),
        })
    }
}

/// What every head does over the text: measures, kinds, clusters, twins, PageRank. The same as `ggscope heads --json`
#[utoipa::path(get, path = "/sessions/{id}/heads",
    params(("id" = String, Path, description = "The session"), HeadsParams),
    responses((status = 200, body = Heads), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_session(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<HeadsParams>,
) -> Result<Response, Problem> {
    let wanted = p.wanted()?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let context = session.context(&trace, wanted.context, wanted.tokens.as_ref())?;
        let first = session.contexts(&trace).get(context).and_then(|of| of.first_token).unwrap_or(0);
        let tokens = wanted.tokens.unwrap_or(first..first.saturating_add(DEFAULT_TOKENS));
        let wanted = HeadsOptions { context: Some(context), tokens: Some(tokens), ..wanted };
        let found =
            session.heads.get(|| session.trace(), || Ok(sessions.compute().map_err(AttentionError::from)?), wanted)?;
        to_raw_value(&*found)
            .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), "ask for one layer"))
    })
    .await
}

/// Where a token's state comes from, through all layers: attention rollout and attention flow. The same as
/// `ggscope heads --flow TOKEN --json`
#[utoipa::path(get, path = "/sessions/{id}/heads/flow",
    params(("id" = String, Path, description = "The session"), TokenParams),
    responses((status = 200, body = Flow), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_token(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, ..): Params<TokenParams>,
) -> Result<Response, Problem> {
    let (token, context) = (p.token()?, p.context()?);
    answer(app, move |sessions| Ok(flow(&*sessions.get(&id)?.trace_of(context)?, context, token)?)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(tokens: Option<&str>, phase: Option<&str>) -> HeadsParams {
        HeadsParams {
            tokens: tokens.map(Into::into),
            context: None,
            layer: Some("3..5".into()),
            head: None,
            phase: phase.map(Into::into),
            pairs: None,
        }
    }

    #[test]
    fn questions_are_bounded_and_wrong_ones_named() {
        let tokens = |text: Option<&str>| params(text, None).wanted().unwrap().tokens;
        assert_eq!(tokens(None), None, "those of the context");
        assert_eq!(tokens(Some("7..9")), Some(7..10));
        assert_eq!(tokens(Some("100..")), Some(100..8292));
        assert_eq!(params(None, Some("generate")).wanted().unwrap().layers, Some(3..=5));
        assert_eq!(params(Some("x"), None).wanted().unwrap_err().field.unwrap(), "tokens");
        assert_eq!(params(None, Some("x")).wanted().unwrap_err().field.unwrap(), "phase");
    }
}
