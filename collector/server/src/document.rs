//! The OpenAPI document: what parameters may be, which their fields, all of them texts, do not say; and the answers that
//! every question can have.

use super::limits::MAX_BLOCKS;
use super::limits::MAX_REGIONS;
use super::limits::MAX_SPAN;
use super::limits::{MAX_LIMIT, MEMORIES, PHASES};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use utoipa::OpenApi;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

#[derive(OpenApi)]
#[openapi(info(
    title = "ggscope",
    description = "What llama.cpp processes did: every operator of every token, from recorded traces and while they run.",
))]
pub(super) struct Document;

/// Ends of the paths whose pages have another size at most.
const LIMITS: [(&str, usize); 2] = [("/memory", MAX_REGIONS), ("/blocks", MAX_BLOCKS)];

/// The document as it is served: with the answers that stand for all questions.
pub(super) fn text(document: &utoipa::openapi::OpenApi) -> String {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let problem = |what: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        json!({ "description": what, "content": { "application/json": { "schema": schema } } })
    };
    let answers = [
        ("400", problem("A parameter cannot be")),
        ("401", problem("The token is missing or wrong")),
        ("403", problem("Host or Origin is not this server")),
        ("413", problem("The answer would be too large")),
        ("500", problem("The trace is damaged there, or the query came to no end")),
    ];
    let paths = document.get_mut("paths").and_then(Json::as_object_mut);
    for (name, path) in paths.into_iter().flat_map(|paths| paths.iter_mut()) {
        let own = LIMITS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, most)| *most);
        for (method, operation) in path.as_object_mut().into_iter().flatten() {
            complete(name, method, operation, own, &answers);
        }
    }
    document.to_string()
}

/// Adds to an operation its id, the largest page that is not as everywhere, and what all operations can answer.
fn complete(name: &str, method: &str, operation: &mut Json, most: Option<usize>, answers: &[(&str, Json)]) {
    // After its path, as functions of different modules may have one name.
    let words = name.trim_start_matches("/api/v1").split(['/', '-', '.', '{', '}']).filter(|word| !word.is_empty());
    let method = Some(method).filter(|&method| method != "get");
    operation["operationId"] = method.into_iter().chain(words).collect::<Vec<_>>().join("_").into();
    let parameters = operation.get_mut("parameters").and_then(Json::as_array_mut);
    for parameter in parameters.into_iter().flatten().filter(|p| p["name"] == "limit") {
        if let Some(most) = most {
            parameter["schema"]["maximum"] = json!(most);
        }
    }
    let Some(responses) = operation.get_mut("responses").and_then(Json::as_object_mut) else { return };
    for (status, answer) in answers {
        responses.entry(*status).or_insert_with(|| answer.clone());
    }
    // OpenAPI asks for a description of every answer, and most say all with their schema.
    for (status, answer) in responses.iter_mut() {
        let standard = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()?.canonical_reason());
        let Some(answer) = answer.as_object_mut() else { continue };
        let said = answer.get("description").and_then(Json::as_str).is_some_and(|said| !said.is_empty());
        if !said {
            answer.insert("description".into(), standard.unwrap_or(status).into());
        }
    }
}

/// A number, or a range of numbers.
pub(super) fn numbers() -> Object {
    let pattern = r"^([0-9]{1,18}((\.\.=?|-)([0-9]{1,18})?)?|\.\.=?[0-9]{1,18})$";
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

/// Numbers with commas between.
pub(super) fn list_of_numbers() -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,9}(,[0-9]{1,9}){0,31}$")).build()
}

/// The number of a node or a layer.
pub(super) fn number() -> Object {
    between(0, u32::MAX.into())
}

/// How many come before, or where among many.
pub(super) fn ordinal() -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0.0)).build()
}

/// A number of every token and layer.
pub(super) fn layer_measure() -> Object {
    words(ggscope_internals::hidden_states::Measure::ALL.map(|m| m.0))
}

/// Candidates of a layer.
pub(super) fn candidates() -> Object {
    between(1, 50)
}

/// Tokens that links are of.
pub(super) fn span() -> Object {
    between(1, MAX_SPAN)
}

/// Items of a page.
pub(super) fn limit() -> Object {
    between(1, MAX_LIMIT as u64)
}

/// Bins of a histogram.
pub(super) fn bins() -> Object {
    between(1, 500)
}

fn between(least: u64, most: u64) -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least as f64)).maximum(Some(most as f64)).build()
}

/// What tokens are part of: prompts, answers, or of neither as far as is known.
pub(super) fn phase() -> Object {
    words(PHASES.iter().map(|p| p.0))
}

/// Files or buffers.
pub(super) fn memory() -> Object {
    words(MEMORIES.iter().map(|m| m.0))
}

/// Yes or no.
pub(super) fn flag() -> Object {
    words(["true", "false"])
}

/// What two sessions are compared by.
pub(super) fn by() -> Object {
    words(["op", "layer", "tensor"])
}

/// A format of exports.
pub(super) fn format() -> Object {
    words(ggscope_export::FORMATS.map(ggscope_export::Format::name))
}

/// An order of the table.
pub(super) fn order() -> Object {
    let columns = ["duration", "op", "name", "layer", "token", "phase"];
    let reversed = columns.map(|column| format!("-{column}"));
    words(["file".to_owned()].into_iter().chain(columns.map(str::to_owned)).chain(reversed))
}

/// How an architecture graph is made.
pub(super) fn schema() -> Object {
    words(["standard", "tutorial"])
}

/// What edges of an architecture graph weigh.
pub(super) fn weight() -> Object {
    words(["none", "parameters", "bytes", "time"])
}

/// What edges of a computation graph weigh.
pub(super) fn weight_of_run() -> Object {
    words(["none", "bytes", "time"])
}

/// Kinds of edges, with commas between them.
pub(super) fn edges() -> Object {
    let pattern = "^(contains|feeds_into|uses)(,(contains|feeds_into|uses))*$";
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

/// Tokens of a context.
pub(super) fn context() -> Object {
    between(1, 1 << 30)
}

/// Sequences that share a context.
pub(super) fn sequences() -> Object {
    between(1, 256)
}

/// A type of a cache.
pub(super) fn cache_type() -> Object {
    words(ggscope_model::inspect::memory::CACHE_TYPES)
}

fn words<W: Into<Json>>(words: impl IntoIterator<Item = W>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}
