//! Checks answers against the OpenAPI document: the status and type of each are documented, and its JSON has the schema.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "schema.rs"]
mod schema;

use ggscope_server::openapi_document;
use serde_json::{Value as Json, json};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Json> = LazyLock::new(|| serde_json::from_str(&openapi_document()).unwrap());

/// Checks the answer to `method` of `target`, a path with its query. `head` is the head of the answer, with its status line.
///
/// # Panics
/// When the document does not have such an answer, or its JSON breaks the schema.
pub fn check(method: &str, target: &str, head: &str, body: &[u8]) {
    let status = head.split(' ').nth(1).unwrap_or_default();
    let content_type = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.split(';').next().unwrap_or_default().trim().to_owned())
    });
    let Some(content_type) = content_type else { return };
    let path = target.split('?').next().unwrap_or_default();
    let operation = template(path).map(|path| (path, &DOCUMENT["paths"][path][method.to_lowercase()]));
    let Some((template, operation)) = operation.filter(|(_, operation)| operation.is_object()) else {
        // No question of the document: what is said of it is a problem.
        if content_type == "application/json" {
            validate("Problem", &json!({ "$ref": "#/components/schemas/Problem" }), target, body);
        }
        return;
    };
    let answer = &operation["responses"][status];
    assert!(answer.is_object(), "{method} {target}: the document has no answer {status} of {template}");
    let schema = &answer["content"][&content_type]["schema"];
    assert!(
        schema.is_object(),
        "{method} {target}: the document has no {content_type} in answer {status} of {template}"
    );
    if content_type == "application/json" {
        validate(&format!("{method} {template} {status}"), schema, target, body);
    }
}

/// Checks the data of a server-sent event.
pub fn check_event(path: &str, data: &Json) {
    let schema = &DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"];
    assert!(schema.is_object(), "{path} has no events");
    validate(&format!("events of {path}"), schema, path, data.to_string().as_bytes());
}

fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &str| {
        let (mut of, mut given) = (template.split('/'), path.split('/'));
        let all = of.by_ref().zip(given.by_ref()).all(|(of, given)| of == given || of.starts_with('{'));
        all && template.split('/').count() == path.split('/').count()
    };
    DOCUMENT["paths"].as_object()?.keys().map(String::as_str).find(|template| fits(template))
}

fn validate(what: &str, schema: &Json, target: &str, body: &[u8]) {
    let json: Json = serde_json::from_slice(body).unwrap_or_else(|e| panic!("{target}: {e}"));
    if let Err(why) = schema::check(&DOCUMENT, schema, &json) {
        panic!("{target} breaks its schema ({what}): {why}");
    }
}
