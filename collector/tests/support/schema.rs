//! Checks JSON against a schema of an OpenAPI document: those keywords of JSON Schema that the document uses. Any other
//! keyword fails the check, so that nothing is passed over.

use serde_json::{Map, Value as Json};

/// Keywords that say nothing about what is valid.
const WORDS: [&str; 8] =
    ["description", "title", "format", "default", "example", "examples", "contentMediaType", "contentEncoding"];

/// What is wrong with `json`, and where; nothing if `schema` allows it. `document` has what schemas refer to.
pub fn check(document: &Json, schema: &Json, json: &Json) -> Result<(), String> {
    at(document, schema, json, "$")
}

fn at(document: &Json, schema: &Json, json: &Json, path: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    for (keyword, rule) in schema {
        keyword_of(document, schema, (keyword, rule), json, path)?;
    }
    Ok(())
}

fn keyword_of(
    document: &Json,
    schema: &Map<String, Json>,
    (keyword, rule): (&str, &Json),
    json: &Json,
    path: &str,
) -> Result<(), String> {
    let wrong = |why: String| Err(format!("{path}: {why}: {}", short(json)));
    let all = || rule.as_array().into_iter().flatten();
    let fitting = || all().filter(|one| at(document, one, json, path).is_ok()).count();
    match keyword {
        _ if WORDS.contains(&keyword) => Ok(()),
        "$ref" => {
            let target = rule.as_str().and_then(|name| document.pointer(name.strip_prefix('#')?));
            at(document, target.ok_or(format!("{path}: {rule} refers to nothing"))?, json, path)
        }
        "type" => {
            let is_one = rule.as_str().is_some_and(|name| is_of(json, name));
            if is_one || all().any(|name| is_of(json, name.as_str().unwrap_or_default())) {
                return Ok(());
            }
            wrong(format!("it is no {rule}"))
        }
        "enum" if !all().any(|one| one == json) => wrong(format!("it is none of {rule}")),
        "const" if rule != json => wrong(format!("it is not {rule}")),
        "minimum" if json.as_f64().is_some_and(|n| Some(n) < rule.as_f64()) => wrong(format!("it is less than {rule}")),
        "maximum" if json.as_f64().is_some_and(|n| Some(n) > rule.as_f64()) => wrong(format!("it is more than {rule}")),
        "minItems" if json.as_array().is_some_and(|a| (a.len() as u64) < rule.as_u64().unwrap_or(0)) => {
            wrong(format!("it has fewer than {rule} items"))
        }
        "maxItems" if json.as_array().is_some_and(|a| a.len() as u64 > rule.as_u64().unwrap_or(u64::MAX)) => {
            wrong(format!("it has more than {rule} items"))
        }
        "allOf" => all().try_for_each(|one| at(document, one, json, path)),
        "anyOf" if fitting() == 0 => wrong("it fits no schema of anyOf".into()),
        "oneOf" if fitting() != 1 => {
            let why = all().filter_map(|one| at(document, one, json, path).err()).collect::<Vec<_>>();
            wrong(format!("it fits {} schemas of oneOf {why:?}", fitting()))
        }
        "required" => {
            let Some(object) = json.as_object() else { return Ok(()) };
            match all().filter_map(Json::as_str).find(|name| !object.contains_key(*name)) {
                Some(name) => wrong(format!("it has no {name:?}")),
                None => Ok(()),
            }
        }
        "properties" => {
            let both =
                rule.as_object().into_iter().flatten().filter_map(|(name, of)| Some((name, of, json.get(name)?)));
            let mut both = both.filter(|_| json.is_object());
            both.try_for_each(|(name, of, value)| at(document, of, value, &format!("{path}.{name}")))
        }
        "additionalProperties" => {
            let known = schema.get("properties").and_then(Json::as_object);
            let others = json.as_object().into_iter().flatten();
            let mut others = others.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            others.try_for_each(|(name, value)| match rule {
                Json::Bool(false) => wrong(format!("{name:?} is not allowed")),
                of => at(document, of, value, &format!("{path}.{name}")),
            })
        }
        "prefixItems" => {
            let mut both = all().zip(json.as_array().into_iter().flatten()).enumerate();
            both.try_for_each(|(i, (of, value))| at(document, of, value, &format!("{path}[{i}]")))
        }
        "items" => {
            let skipped = schema.get("prefixItems").and_then(Json::as_array).map_or(0, Vec::len);
            let mut rest = json.as_array().into_iter().flatten().enumerate().skip(skipped);
            rest.try_for_each(|(i, value)| match rule {
                Json::Bool(false) => wrong(format!("item {i} is not allowed")),
                of => at(document, of, value, &format!("{path}[{i}]")),
            })
        }
        "enum" | "const" | "minimum" | "maximum" | "minItems" | "maxItems" | "anyOf" | "oneOf" => Ok(()),
        _ => Err(format!("{path}: this check does not know the keyword {keyword:?}")),
    }
}

fn is_of(json: &Json, kind: &str) -> bool {
    match kind {
        "null" => json.is_null(),
        "boolean" => json.is_boolean(),
        "string" => json.is_string(),
        "number" => json.is_number(),
        "integer" => json.is_i64() || json.is_u64() || json.as_f64().is_some_and(|n| n.fract() == 0.0),
        "array" => json.is_array(),
        "object" => json.is_object(),
        _ => false,
    }
}

fn short(json: &Json) -> String {
    json.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_schema_forbids_is_wrong() {
        let document =
            json!({ "s": { "type": "object", "required": ["a"], "properties": { "a": { "type": "integer" } } } });
        for (schema, right, mistaken) in [
            (json!({ "$ref": "#/s" }), json!({ "a": 1 }), json!({})),
            (json!({ "$ref": "#/s" }), json!({ "a": 1, "b": 2 }), json!({ "a": "1" })),
            (json!({ "type": ["string", "null"], "enum": ["x", null] }), json!(null), json!("y")),
            (json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/s" }] }), json!(null), json!({ "a": 0.5 })),
            (json!({ "items": { "minimum": 0, "maximum": 2 }, "maxItems": 2 }), json!([0, 2]), json!([0, 3])),
            (json!({ "prefixItems": [{ "type": "string" }], "items": false }), json!(["x"]), json!(["x", 1])),
            (json!({ "additionalProperties": { "type": "string" } }), json!({ "x": "y" }), json!({ "x": 1 })),
        ] {
            assert_eq!(check(&document, &schema, &right), Ok(()));
            assert!(check(&document, &schema, &mistaken).is_err(), "{schema} {mistaken}");
        }
        assert!(check(&document, &json!({ "dependentSchemas": {} }), &json!(1)).is_err(), "it is not passed over");
    }
}
