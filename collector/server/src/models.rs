//! The models that viewers may ask about: GGUF files that were named on the command line, and those of programs that are
//! recorded here. A request names one by its number; no other file is opened, whatever a trace says.

use super::app::{App, answer};
use super::document;
use super::model_store::Loaded;
use super::params::{Params, Path as At, parse, word};
use super::problem::Problem;
use super::session::Session;
use super::sessions::Sessions;
use axum::extract::State;
use axum::response::Response;
use ggscope_model::ggml::GgmlType;
use ggscope_model::gguf::is_gguf;
use ggscope_model::inspect::contents::FileKind;
use ggscope_model::inspect::memory::{CACHE_TYPES, Context};
use ggscope_model::inspect::{InspectOptions, Inspection};
use ggscope_query::weights::is_same;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Tokens of the context that is planned for if nothing is said: the model's own, up to this many.
const DEFAULT_CONTEXT: u32 = 4096;

/// Takes in the models of programs that are recorded here.
fn look(sessions: &Sessions) {
    for session in sessions.all().iter().filter(|session| session.is_recorded_here()) {
        let Ok(trace) = session.trace() else { continue };
        let paths = trace.models().iter().map(|m| PathBuf::from(&m.path));
        sessions.models().add(paths.filter(|path| is_gguf(path)));
    }
}

/// The model with this number.
pub(super) fn get(sessions: &Sessions, id: &str) -> Result<Arc<Loaded>, Problem> {
    look(sessions);
    let number = id.parse().ok();
    number.and_then(|number| sessions.models().load(number)).unwrap_or_else(|| {
        let help = "/api/v1/models lists those that there are; name more with `ggscope open --model FILE`";
        Err(Problem::missing("id", format!("there is no model {id}"), help))
    })
}

/// The model that a context of a session computes, of those that may be asked about.
pub(super) fn that_ran(sessions: &Sessions, session: &Session, context: u32) -> Result<Arc<Loaded>, Problem> {
    look(sessions);
    let paths = sessions.models().paths();
    // Of several models the one of the context, and of several files of its name the one at its path.
    let trace = session.trace()?;
    let of_context = session.contexts(&trace).get(context).and_then(|context| context.model);
    let own = trace.models().iter().find(|model| Some(model.id.0) == of_context).or(trace.model());
    let own = own.map(|model| model.path.clone());
    let is_there = |path: &PathBuf| own.as_deref().is_some_and(|own| Path::new(own) == path);
    let is_own = |path: &PathBuf| own.as_deref().is_some_and(|own| is_same(own, path));
    let found = paths.iter().position(is_there).or_else(|| paths.iter().position(is_own));
    // With several models another's file would be a wrong one.
    let is_any = trace.models().len() < 2;
    let number = found.or_else(|| paths.iter().position(|path| is_any && ran(session, path)));
    let number = number.or((paths.len() == 1 && is_any).then_some(0));
    number.and_then(|number| sessions.models().load(number)).unwrap_or_else(|| {
        let error = match &own {
            Some(own) if trace.models().len() > 1 => {
                format!("the model of context {context} of session {}, {own}, is not known here", session.id)
            }
            _ => format!("the model of session {} is not known here", session.id),
        };
        Err(Problem::missing("id", error, "name it with `ggscope open run.ggtrace --model FILE`"))
    })
}

/// Whether a session ran this model, as far as its trace says: a trace from another machine has it elsewhere.
pub(super) fn ran(session: &Session, model: &Path) -> bool {
    // One that was let go is not read again only to be listed.
    let trace = if session.is_released() { None } else { session.trace().ok() };
    trace.is_some_and(|trace| trace.models().iter().any(|m| is_same(&m.path, model)))
}

/// A model in the list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ModelSummary {
    /// Number in the paths of other questions.
    id: String,
    /// Path of its first file.
    path: String,
    /// Its name; empty if it has none.
    name: String,
    /// Its architecture.
    architecture: String,
    /// What it is, if it is no model.
    kind: Option<FileKind>,
    /// Its layers.
    layers: usize,
    /// Bytes of its files.
    bytes: u64,
    /// Sessions that ran it.
    sessions: Vec<String>,
    /// Why it cannot be read.
    error: Option<String>,
}

/// The models that may be asked about: those that were named on the command line, then those of programs that are
/// recorded here
#[utoipa::path(get, path = "/models", responses((status = 200, body = Vec<ModelSummary>)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    answer(app, |sessions| {
        look(sessions);
        let paths = sessions.models().paths();
        Ok(paths.iter().enumerate().map(|(number, path)| summary(sessions, number, path)).collect::<Vec<_>>())
    })
    .await
}

fn summary(sessions: &Sessions, number: usize, path: &Path) -> ModelSummary {
    let loaded = get(sessions, &number.to_string());
    let ran_it = sessions.all().iter().filter(|session| ran(session, path)).map(|s| s.id.clone()).collect();
    let of = loaded.as_ref().ok();
    ModelSummary {
        id: number.to_string(),
        path: path.display().to_string(),
        name: of.map(|m| m.gguf.name().to_owned()).unwrap_or_default(),
        architecture: of.map(|m| m.architecture.name.clone()).unwrap_or_default(),
        kind: of.and_then(|m| FileKind::of(&m.gguf)),
        layers: of.map_or(0, |m| m.architecture.layers.len()),
        bytes: of.map_or(0, |m| m.gguf.bytes()),
        sessions: ran_it,
        error: loaded.err().map(|problem| problem.error),
    }
}

/// What a model's memory is planned for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PlanParams {
    /// Tokens of the context; the model's own, up to 4096, if not given
    #[param(schema_with = document::context)]
    ctx: Option<String>,
    /// Sequences that share it; 1 if not given
    #[param(schema_with = document::sequences)]
    parallel: Option<String>,
    /// Type of keys in the cache; f16 if not given
    #[param(schema_with = document::cache_type)]
    cache_type_k: Option<String>,
    /// Type of values in the cache; f16 if not given
    #[param(schema_with = document::cache_type)]
    cache_type_v: Option<String>,
    /// Bytes of memory to fit into
    #[param(schema_with = document::ordinal)]
    vram: Option<String>,
    /// `true` for all elements of arrays of the metadata
    #[param(schema_with = document::flag)]
    all: Option<String>,
}

impl PlanParams {
    fn wanted(&self) -> Result<InspectOptions, Problem> {
        let tokens: Option<u32> = parse("ctx", self.ctx.as_deref(), "give a number of tokens")?;
        let sequences = parse("parallel", self.parallel.as_deref(), "give a number of sequences")?.unwrap_or(1);
        if !(1..=256).contains(&sequences) {
            return Err(Problem::bad("parallel", format!("parallel={sequences}"), "give 1 to 256 sequences"));
        }
        if tokens.is_some_and(|n| !(1..=1 << 30).contains(&n)) {
            return Err(Problem::bad("ctx", "ctx is no size of a context", "give 1 to 2^30 tokens"));
        }
        let kind = |field: &str, name: Option<&str>| {
            let name = name.unwrap_or("f16");
            let known = CACHE_TYPES.contains(&name).then(|| GgmlType::from_name(name)).flatten();
            let unknown = || Problem::bad(field, format!("{field}={name}"), format!("give {}", CACHE_TYPES.join(", ")));
            known.ok_or_else(unknown)
        };
        Ok(InspectOptions {
            context: Context {
                tokens: tokens.unwrap_or(DEFAULT_CONTEXT),
                sequences,
                unified: false,
                ubatch: 512,
                type_k: kind("cache_type_k", self.cache_type_k.as_deref())?,
                type_v: kind("cache_type_v", self.cache_type_v.as_deref())?,
            },
            context_of_model: tokens.is_none().then_some(DEFAULT_CONTEXT),
            vram: parse("vram", self.vram.as_deref(), "give a number of bytes")?,
            all: word("all", self.all.as_deref(), &[("true", true), ("false", false)])?.unwrap_or(false),
        })
    }
}

/// Everything that is known of a model from its file: the same as `ggscope inspect --json` has of it
#[utoipa::path(get, path = "/models/{id}",
    params(("id" = String, Path, description = "The model"), PlanParams),
    responses(
        (status = 200, body = Inspection), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn inspect(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, ..): Params<PlanParams>,
) -> Result<Response, Problem> {
    let wanted = p.wanted()?;
    answer(app, move |sessions| {
        let model = get(sessions, &id)?;
        Ok(Inspection::of(&model.gguf, model.findings.clone(), &wanted))
    })
    .await
}
