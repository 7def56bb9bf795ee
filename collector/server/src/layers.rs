//! Hidden states over HTTP: layers, the logit lens, one number for every token and layer, and two sessions beside each other.
//! What was measured of a session that has ended is kept until another one is asked about, so that a page can ask for one
//! measure after the other.

use super::app::{App, answer};
use super::document;
use super::measured_states::Measured;
use super::models;
use super::params::{Params, Path, context, numbers, parse, word};
use super::problem::Problem;
use super::session::Session;
use super::sessions::Sessions;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_internals::hidden_states::{
    self, Against, HOW_TO_RECORD, Layers, LayersError, Lens, LensOptions, Measure, TokenMatrix,
};
use ggscope_trace::Trace;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Arc;
use utoipa::IntoParams;

/// Tokens that are looked at at most; the last ones if nothing is said.
const MAX_TOKENS: u64 = 4096;
/// Multiplications that a lens may take while somebody waits: a few seconds on two cores.
const MAX_WORK: u64 = 1 << 37;
/// Candidates of a layer if nothing is said, and at most.
const DEFAULT_TOP: usize = 5;
const MAX_TOP: usize = 50;

/// The lens of some tokens, with `keep` candidates in each layer.
fn lens_of(
    (sessions, measured): (&Sessions, &Measured),
    session: &Session,
    trace: &Trace,
    (context, tokens): (u32, Range<u64>),
    keep: usize,
) -> Result<Vec<Lens>, Problem> {
    let model = models::that_ran(sessions, session, context)?;
    let compute = sessions.compute().map_err(LayersError::from)?;
    let how = LensOptions { keep, most: MAX_WORK, compute: &compute, kept: Some(&measured.lenses) };
    Ok(hidden_states::lens(trace, &model.gguf, Some(context), Some(tokens), &how)?.0)
}

impl From<LayersError> for Problem {
    fn from(error: LayersError) -> Problem {
        let text = error.to_string();
        match error {
            LayersError::NotCaptured(_) | LayersError::OnlyStatistics(_) | LayersError::NoStream(_) => {
                Problem::missing("id", text, HOW_TO_RECORD)
            }
            LayersError::Absent(..) => Problem::missing("tokens", text, "ask for tokens of which they were captured"),
            LayersError::Missing(field, _) => {
                Problem::missing(field, text, "/sessions/ID says how many tokens there are")
            }
            LayersError::Model(_) | LayersError::Weights(_) => {
                Problem::missing("id", text, "name the model that ran with `ggscope open run.ggtrace --model FILE`")
            }
            LayersError::TooMuch { .. } => Problem {
                field: Some("tokens".into()),
                ..Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    text,
                    "ask for fewer tokens, or use `ggscope layers --lens`",
                )
            },
            LayersError::Unlike(_) => Problem::bad("with", text, "compare two recordings of the same prompt"),
            LayersError::Device(_) => {
                let help = "start `ggscope` with --device auto, which takes the CPU where there is no GPU";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text, help)
            }
            LayersError::Trace(error) => error.into(),
        }
    }
}

/// Which tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Tokens {
    /// Only these tokens, counted from 0 through the session: `7`, `7..9`, `7..`
    #[param(schema_with = document::numbers)]
    tokens: Option<String>,
    /// The context that computed them, if the session has several: if not given that of the tokens; without tokens the context of
    /// the first model that computed a token last
    #[param(schema_with = document::number)]
    context: Option<String>,
}

impl Tokens {
    /// The context and the tokens, or the last `most` of the context.
    fn of(&self, session: &Session, trace: &Trace, most: u64) -> Result<(u32, Range<u64>), Problem> {
        let given = numbers("tokens", self.tokens.as_deref())?.map(|given| given.range());
        let named = context(self.context.as_deref())?;
        session.has_context(trace, "context", named)?;
        // Of several, those without layers are left out, which takes a look at all graphs.
        let context = match session.contexts(trace).iter().count() {
            0..2 => session.context(trace, named, given.as_ref())?,
            _ => hidden_states::context(trace, named, given.as_ref())?,
        };
        Ok((context, self.range(trace, session.end_of(trace, context), most)?))
    }

    /// The tokens, or the last `most` before `end`.
    fn range(&self, trace: &Trace, end: u64, most: u64) -> Result<Range<u64>, Problem> {
        let all = trace.totals().tokens();
        let Some(given) = numbers("tokens", self.tokens.as_deref())? else {
            return Ok(end.saturating_sub(most)..end);
        };
        let range = given.range();
        // An open end is the last token; one that is not there is said as it was asked.
        let end = if range.start < all { range.end.min(all) } else { range.end };
        if end - range.start > MAX_TOKENS {
            let error = format!("these are {} tokens, and {MAX_TOKENS} are the most", end - range.start);
            return Err(Problem { status: 413, ..Problem::bad("tokens", error, "ask for them in parts") });
        }
        Ok(range.start..end)
    }
}

/// Hidden states through all layers: the same as `ggscope layers --json`; of the last 4096 tokens if nothing is said
#[utoipa::path(get, path = "/sessions/{id}/layers",
    params(("id" = String, Path, description = "The session"), Tokens),
    responses(
        (status = 200, body = Layers), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn of_session(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, ..): Params<Tokens>,
) -> Result<Response, Problem> {
    let measured = app.layers.clone();
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let of = which.of(&session, &trace, MAX_TOKENS)?;
        Ok(hidden_states::layers(&*measured.run(&session.id, &trace, of)?))
    })
    .await
}

/// What of every token and layer.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct What {
    /// The number: `norm` (if not given), `mean`, `rms`, `largest`, `outliers`, `massive`, `cosine`, `attention`,
    /// `feed_forward`, `nonfinite`, or, of the logit lens, `entropy`, `answer`
    #[param(schema_with = document::layer_measure)]
    measure: Option<String>,
}

/// One number for every token and layer: the same as `ggscope layers --measure NAME --json`
#[utoipa::path(get, path = "/sessions/{id}/layers/tokens",
    params(("id" = String, Path, description = "The session"), Tokens, What),
    responses(
        (status = 200, body = TokenMatrix), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn by_token(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, what, ..): Params<Tokens, What>,
) -> Result<Response, Problem> {
    let measure = word("measure", what.measure.as_deref(), &Measure::ALL)?.unwrap_or(Measure::Norm);
    let measured = app.layers.clone();
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let of = which.of(&session, &trace, MAX_TOKENS)?;
        if !measure.is_of_lens() {
            return Ok(hidden_states::of_run(&trace, &*measured.run(&session.id, &trace, of)?, measure)?);
        }
        Ok(hidden_states::of_lenses(&lens_of((sessions, &measured), &session, &trace, of, 1)?, measure))
    })
    .await
}

/// The session to compare with.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct With {
    /// The session that is the reference: of the same prompt
    #[param(required = true)]
    with: Option<String>,
    /// The context of the reference; if not given the one of the same number, else that of its first model that computed a token
    /// last
    #[param(schema_with = document::number)]
    with_context: Option<String>,
}

/// Where hidden states leave those of another session of the same prompt: the same as `ggscope layers --against --json`; of the
/// first 4096 tokens if nothing is said
#[utoipa::path(get, path = "/sessions/{id}/layers/against",
    params(("id" = String, Path, description = "The session"), With, Tokens),
    responses(
        (status = 200, body = Against), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn against(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, which, ..): Params<With, Tokens>,
) -> Result<Response, Problem> {
    let help = "give the id of another session: ?with=1; /api/v1/sessions lists them";
    let with = p.with.ok_or_else(|| Problem::bad("with", "with is missing", help))?;
    let contexts = (context(which.context.as_deref())?, context(p.with_context.as_deref())?);
    answer(app, move |sessions| {
        let of_reference = |problem: Problem| Problem { field: Some("with".into()), ..problem };
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let other = sessions.get(&with).map_err(of_reference)?;
        let reference = other.trace().map_err(of_reference)?;
        session.has_context(&trace, "context", contexts.0)?;
        other.has_context(&reference, "with_context", contexts.1)?;
        // What two runs have in common is their beginning.
        let tokens = match which.tokens {
            Some(_) => which.of(&session, &trace, MAX_TOKENS)?.1,
            None => {
                let context = hidden_states::context(&trace, contexts.0, None)?;
                let first = session.contexts(&trace).get(context).and_then(|of| of.first_token).unwrap_or(0);
                first..first.saturating_add(MAX_TOKENS)
            }
        };
        hidden_states::against(&trace, &reference, contexts, Some(tokens)).map_err(|error| {
            let lacks = error.lacking().is_some_and(|path| path == reference.path().display().to_string());
            if lacks { of_reference(error.into()) } else { error.into() }
        })
    })
    .await
}

/// How many candidates.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Top {
    /// Candidates of each layer: 1 to 50, 5 if not given
    #[param(schema_with = document::candidates)]
    top: Option<String>,
}

/// The logit lens of some tokens, of the last one if nothing is said: the same as `ggscope layers --lens --json`. It needs the
/// model: one that was named on the command line, or is recorded here
#[utoipa::path(get, path = "/sessions/{id}/layers/lens",
    params(("id" = String, Path, description = "The session"), Tokens, Top),
    responses(
        (status = 200, body = Vec<Lens>), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(super) async fn lens(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, top, ..): Params<Tokens, Top>,
) -> Result<Response, Problem> {
    let help = "give how many candidates each layer has";
    let top = parse("top", top.top.as_deref(), help)?.unwrap_or(DEFAULT_TOP);
    if !(1..=MAX_TOP).contains(&top) {
        return Err(Problem::bad("top", format!("top={top}"), format!("give 1 to {MAX_TOP}")));
    }
    let measured = app.layers.clone();
    answer(app, move |sessions| {
        let session = sessions.get(&id)?;
        let trace = session.trace()?;
        let of = which.of(&session, &trace, 1)?;
        lens_of((sessions, &measured), &session, &trace, of, top)
    })
    .await
}
