//! Attention as it was: of one token with all stages, as a matrix of tokens × keys, and as a map of all layers × heads.

use super::app::{App, answer};
use super::document;
use super::limits::MAX_SPAN;
use super::model_store::Loaded;
use super::models;
use super::params::{Params, Path, context, numbers, parse, word};
use super::problem::Problem;
use super::session::Session;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_internals::attention::{Attention, AttentionAgainst, AttentionError};
use ggscope_internals::picture::{AttentionLinks, AttentionMap, AttentionMatrix, links, map, matrix};
use ggscope_trace::Trace;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Arc;
use utoipa::IntoParams;

/// Tokens of a matrix if nothing is said, and at most.
const DEFAULT_TOKENS: u64 = 128;
const MAX_TOKENS: u64 = 4096;

/// Tokens of links if nothing is said, and at most.
const DEFAULT_SPAN: u64 = 48;

impl From<AttentionError> for Problem {
    fn from(error: AttentionError) -> Problem {
        let text = error.to_string();
        match error {
            AttentionError::NotCaptured(_) => {
                let help = "record with `ggscope record --capture attention -- PROGRAM`, and ask it something";
                Problem::missing("id", "this recording has no attention: nothing of it was captured", help)
            }
            AttentionError::Missing(field, _) => {
                let help = "/sessions/ID says how many tokens there are, and attention/map which layers and heads";
                // As the parameter is called.
                Problem::missing(if field == "token" { "tokens" } else { field }, text, help)
            }
            AttentionError::Unknown(..) => {
                let help = "other tokens and layers may have what this one lacks: attention/map tells which";
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text, help)
            }
            AttentionError::TooMuch(_) => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text, "ask for fewer tokens, or for one head")
            }
            AttentionError::Unlike(_) => Problem::bad("with", text, "compare two recordings of the same prompt"),
            AttentionError::Device(_) => {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text, "start the server with --device auto or cpu")
            }
            AttentionError::Trace(error) => error.into(),
        }
    }
}

/// Which token. It cannot be called `token`: that is the server's secret.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenParams {
    /// The token, counted from 0 through the session; the last of the context if not given
    #[param(schema_with = document::ordinal)]
    tokens: Option<String>,
    /// The context that computed it, if the session has several: if not given that of the token; without one the context of the
    /// first model that computed a token last
    #[param(schema_with = document::number)]
    context: Option<String>,
}

impl TokenParams {
    pub(super) fn token(&self) -> Result<Option<u64>, Problem> {
        parse("tokens", self.tokens.as_deref(), "give the number of one token")
    }

    pub(super) fn context(&self) -> Result<Option<u32>, Problem> {
        context(self.context.as_deref())
    }

    /// The token that is asked about: the one that is named, else the last of the context.
    fn of(&self, session: &Session, trace: &Trace) -> Result<u64, Problem> {
        let (token, context) = (self.token()?, self.context()?);
        let range = token.map(|token| token..token.saturating_add(1));
        let context = session.context(trace, context, range.as_ref())?;
        Ok(token.unwrap_or_else(|| session.end_of(trace, context).saturating_sub(1)))
    }
}

/// Which layer and head.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HeadParams {
    /// The layer; 0 if not given
    #[param(schema_with = document::number)]
    layer: Option<String>,
    /// The head; all of the layer if not given
    #[param(schema_with = document::number)]
    head: Option<String>,
}

impl HeadParams {
    fn layer(&self) -> Result<u32, Problem> {
        Ok(parse("layer", self.layer.as_deref(), "give the number of a layer")?.unwrap_or(0))
    }

    fn head(&self) -> Result<Option<usize>, Problem> {
        let head: Option<u32> = parse("head", self.head.as_deref(), "give the number of a head")?;
        Ok(head.map(|head| head as usize))
    }
}

/// Numbers of vectors that are sent, at most.
const MAX_IN_VECTORS: usize = 1 << 20;

/// Which vectors.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct VectorParams {
    /// `true`: the query of the head that is named, the keys and values that it looks at, and how much it adds to the residual
    /// stream, if the model's file is known here
    #[param(schema_with = document::flag)]
    vectors: Option<String>,
    /// Of keys and values only those of this token
    #[param(schema_with = document::ordinal)]
    key: Option<String>,
}

impl VectorParams {
    /// Whether vectors are wanted, and of which key alone.
    fn wanted(&self, head: Option<usize>) -> Result<(bool, Option<u64>), Problem> {
        let wanted = word("vectors", self.vectors.as_deref(), &[("true", true), ("false", false)])?.unwrap_or(false);
        let key = parse("key", self.key.as_deref(), "give the number of one token")?;
        if key.is_some() && !wanted {
            return Err(Problem::bad("key", "key without vectors", "give vectors=true, or leave out the key"));
        }
        if wanted && head.is_none() {
            return Err(Problem::bad("head", "vectors of all heads", "vectors are of one head: give its number"));
        }
        Ok((wanted, key))
    }
}

/// Leaves of the vectors those that were asked for, and adds what the head adds to the residual stream.
fn with_vectors(
    found: &mut Attention,
    trace: &Trace,
    key: Option<u64>,
    model: Result<Arc<Loaded>, Problem>,
) -> Result<(), Problem> {
    if let Some(key) = key.filter(|&key| !found.keep_vectors_of(key)) {
        let error = format!("token {} does not look at token {key}: it is not among its keys", found.token);
        return Err(Problem::missing("key", error, "without vectors, keys says which there are"));
    }
    if found.n_in_vectors() > MAX_IN_VECTORS {
        let error = format!("the vectors are {} numbers; {MAX_IN_VECTORS} are sent at most", found.n_in_vectors());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, "ask for those of one key"));
    }
    found.no_contribution = match model {
        _ if found.no_values.is_some() => None,
        Ok(model) => ggscope_internals::attention::add_contributions(found, trace, &model.gguf)
            .err()
            .map(|error| error.to_string()),
        Err(problem) => Some(format!("{}: {}", problem.error, problem.help)),
    };
    Ok(())
}

/// The attention of one token in one layer, in all stages: q·k, scaled, masked, softmax, and Σ weights · V where values were
/// captured; the same as `ggscope attention --json`
#[utoipa::path(get, path = "/sessions/{id}/attention",
    params(("id" = String, Path, description = "The session"), TokenParams, HeadParams, VectorParams),
    responses(
        (status = 200, body = Attention), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn of_token(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, v): Params<TokenParams, HeadParams, VectorParams>,
) -> Result<Response, Problem> {
    let (layer, head) = (p.layer()?, p.head()?);
    let (vectors, key) = v.wanted(head)?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let wanted = (which.of(&session, &trace)?, layer, head, vectors);
        let mut found = session.followers(false).attention(&trace, wanted)?;
        if vectors {
            let model = models::that_ran(sessions, &session, found.context);
            with_vectors(&mut found, &trace, key, model)?;
        }
        Ok(found)
    })
    .await
}

/// Which tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TokensParams {
    /// These tokens, counted from 0 through the session: `7`, `7..9`; the last 128 of the context if not given, and 4096 at most
    #[param(schema_with = document::numbers)]
    tokens: Option<String>,
    /// The context that computed them, if the session has several: if not given that of the tokens; without tokens the context of
    /// the first model that computed a token last
    #[param(schema_with = document::number)]
    context: Option<String>,
}

impl TokensParams {
    fn context(&self) -> Result<Option<u32>, Problem> {
        context(self.context.as_deref())
    }

    /// The tokens that are asked for, and the context.
    fn of(&self, session: &Session, trace: &Trace) -> Result<(u32, Range<u64>), Problem> {
        let given = numbers("tokens", self.tokens.as_deref())?.map(|given| given.range());
        let context = session.context(trace, self.context()?, given.as_ref())?;
        Ok((context, self.range(trace.totals().tokens(), session.end_of(trace, context))?))
    }

    /// The tokens that are asked for, of `all` that there are; if none are, the last before `end`.
    fn range(&self, all: u64, end: u64) -> Result<Range<u64>, Problem> {
        let given = numbers("tokens", self.tokens.as_deref())?;
        let Some(given) = given else { return Ok(end.saturating_sub(DEFAULT_TOKENS)..end) };
        let end = all;
        if given.first >= all {
            let error = ggscope_internals::no_token(given.first, all);
            return Err(Problem::missing("tokens", error, "ask for tokens that there are"));
        }
        let range = given.first..given.range().end.min(end);
        if range.end - range.start > MAX_TOKENS {
            let error = format!("tokens={}..{} are {} tokens", given.first, given.last, range.end - range.start);
            return Err(Problem::bad("tokens", error, format!("ask for {MAX_TOKENS} at most")));
        }
        Ok(range)
    }
}

/// The session to compare with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WithParams {
    /// The session that is the reference: of the same prompt
    #[param(required = true)]
    with: Option<String>,
    /// The layer; all of them if not given
    #[param(schema_with = document::number)]
    layer: Option<String>,
    /// The context of the reference; if not given the one of the same number, else that of its first model that computed a token
    /// last
    #[param(schema_with = document::number)]
    with_context: Option<String>,
}

/// How far each head looks elsewhere than in another session of the same prompt: the same as
/// `ggscope attention --against --json`
#[utoipa::path(get, path = "/sessions/{id}/attention/against",
    params(("id" = String, Path, description = "The session"), WithParams, TokensParams),
    responses((status = 200, body = AttentionAgainst), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn against(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, which, _): Params<WithParams, TokensParams>,
) -> Result<Response, Problem> {
    let help = "give the id of another session: ?with=1; /api/v1/sessions lists them";
    let with = p.with.ok_or_else(|| Problem::bad("with", "with is missing", help))?;
    let layer: Option<u32> = parse("layer", p.layer.as_deref(), "give the number of a layer")?;
    let there = context(p.with_context.as_deref())?;
    answer(app, move |sessions| {
        let unknown = |problem: Problem| Problem { field: Some("with".into()), ..problem };
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let other = sessions.get(&with).map_err(unknown)?;
        let reference = other.trace().map_err(unknown)?;
        other.has_context(&reference, "with_context", there)?;
        let (context, tokens) = which.of(&session, &trace)?;
        let device = Arc::new(sessions.compute().map_err(AttentionError::from)?);
        let found = ggscope_internals::attention::against(
            &trace,
            &reference,
            (Some(context), there),
            Some(tokens),
            layer.map(|l| l..=l),
            &device,
        )?;
        if let Some(layer) = layer.filter(|_| found.heads.is_empty()) {
            let error = format!("there is no attention in layer {layer} at these tokens");
            return Err(Problem::missing("layer", error, "attention/map says which layers there are"));
        }
        Ok(found)
    })
    .await
}

/// Tokens × keys: the weights of one head or of all heads of a layer, rounded to what a picture needs
#[utoipa::path(get, path = "/sessions/{id}/attention/matrix",
    params(("id" = String, Path, description = "The session"), TokensParams, HeadParams),
    responses(
        (status = 200, body = AttentionMatrix), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_tokens(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, _): Params<TokensParams, HeadParams>,
) -> Result<Response, Problem> {
    let (layer, head) = (p.layer()?, p.head()?);
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let (context, tokens) = which.of(&session, &trace)?;
        Ok(matrix(&trace, &mut session.followers(false), (context, &tokens), layer, head)?)
    })
    .await
}

/// All layers × heads at one token: how spread each head's attention is, and where it goes
#[utoipa::path(get, path = "/sessions/{id}/attention/map",
    params(("id" = String, Path, description = "The session"), TokenParams),
    responses((status = 200, body = AttentionMap), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_heads(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, ..): Params<TokenParams>,
) -> Result<Response, Problem> {
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        Ok(map(&trace, &mut session.followers(true), which.of(&session, &trace)?)?)
    })
    .await
}

/// How many tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SpanParams {
    /// Tokens that look: the token and those before it, 1 to 256; 48 if not given
    #[param(schema_with = document::span)]
    span: Option<String>,
    /// `true`: what heads give to the first token counts as given to none, as they have learned to rest there
    #[param(schema_with = document::flag)]
    without_first: Option<String>,
}

impl SpanParams {
    fn span(&self) -> Result<u64, Problem> {
        let help = format!("give how many tokens there are to be, 1 to {MAX_SPAN}");
        let span = parse("span", self.span.as_deref(), &help)?.unwrap_or(DEFAULT_SPAN);
        if !(1..=MAX_SPAN).contains(&span) {
            return Err(Problem::bad("span", format!("span={span}"), help));
        }
        Ok(span)
    }
}

/// The heaviest attention of a token and of those before it in all layers and heads, and how much of the token's state came
/// along each by attention rollout
#[utoipa::path(get, path = "/sessions/{id}/attention/links",
    params(("id" = String, Path, description = "The session"), TokenParams, SpanParams),
    responses(
        (status = 200, body = AttentionLinks), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn of_links(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, _): Params<TokenParams, SpanParams>,
) -> Result<Response, Problem> {
    let span = p.span()?;
    let without_first = word("without_first", p.without_first.as_deref(), &[("true", true), ("false", false)])?;
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let wanted = (which.of(&session, &trace)?, span, without_first.unwrap_or(false));
        Ok(links(&trace, &mut session.followers(true), wanted)?)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(tokens: Option<&str>, last: u64) -> Result<Range<u64>, Problem> {
        TokensParams { tokens: tokens.map(str::to_owned), context: None }.range(last + 1, last + 1)
    }

    #[test]
    fn tokens_are_those_that_there_are() {
        assert_eq!(range(None, 9).unwrap(), 0..10);
        assert_eq!(range(None, 999).unwrap(), 872..1000);
        assert_eq!(range(Some("7..9"), 99).unwrap(), 7..10);
        assert_eq!(range(Some("90.."), 99).unwrap(), 90..100);
        let gone = range(Some("100..200"), 99).unwrap_err();
        assert_eq!((gone.status, gone.field.as_deref()), (404, Some("tokens")));
        let many = range(Some("0..4096"), 9999).unwrap_err();
        assert!(many.status == 400 && many.error.contains("4097 tokens"), "{many:?}");
    }

    #[test]
    fn vectors_are_of_one_head() {
        let wanted = |vectors: Option<&str>, key: Option<&str>, head| {
            VectorParams { vectors: vectors.map(str::to_owned), key: key.map(str::to_owned) }.wanted(head)
        };
        assert_eq!(wanted(None, None, None).unwrap(), (false, None));
        assert_eq!(wanted(Some("true"), Some("7"), Some(1)).unwrap(), (true, Some(7)));
        assert_eq!(wanted(Some("true"), None, None).unwrap_err().field.as_deref(), Some("head"));
        assert_eq!(wanted(None, Some("7"), Some(1)).unwrap_err().field.as_deref(), Some("key"));
        assert_eq!(wanted(Some("yes"), None, Some(1)).unwrap_err().field.as_deref(), Some("vectors"));
    }

    #[test]
    fn links_are_of_some_tokens_and_not_of_all() {
        let span = |text: Option<&str>| SpanParams { span: text.map(str::to_owned), without_first: None }.span();
        assert_eq!((span(None).unwrap(), span(Some("256")).unwrap()), (48, 256));
        for wrong in ["0", "257", "x"] {
            assert_eq!(span(Some(wrong)).unwrap_err().field.as_deref(), Some("span"), "{wrong}");
        }
    }

    #[test]
    fn a_trace_without_attention_says_how_to_record_it() {
        let problem = Problem::from(AttentionError::NotCaptured("a.ggtrace".into()));
        assert_eq!(problem.status, 404);
        assert!(problem.help.contains("ggscope record --capture attention"), "{problem:?}");
        let lost = Problem::from(AttentionError::Unknown(7, 3, "its keys were lost".into()));
        assert!(lost.status == 422 && lost.error.contains("layer 3"), "{lost:?}");
    }
}
