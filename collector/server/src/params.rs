//! Parameters of questions: read as text, so that a wrong one is refused with its name and not ignored.

use super::document;
use super::problem::Problem;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use ggscope_query::dump::Filter;
use ggscope_query::range::Numbers;
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::str::FromStr;
use utoipa::IntoParams;
use utoipa::openapi::path::ParameterIn;

/// Items of a page if nothing is said.
pub(super) const DEFAULT_LIMIT: usize = 100;

/// The query of a request in up to three parts, whose fields are all `Option<String>`.
pub(super) struct Params<A, B = Nothing, C = Nothing>(pub A, pub B, pub C);

/// No parameters.
#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct Nothing {}

impl<S, A, B, C> FromRequestParts<S> for Params<A, B, C>
where
    S: Send + Sync,
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
    C: DeserializeOwned + IntoParams,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let help = "/api/v1/openapi.json lists the parameters of every question; each may be given once";
        let wrong = |error: String| Problem::bad("query", error, help);
        let read = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(given) = read.map_err(|error| wrong(error.body_text()))?;
        let known = [names::<A>(), names::<B>(), names::<C>()].concat();
        for (i, (name, _)) in given.iter().enumerate() {
            if !known.contains(name) {
                let error = format!("{name} is no parameter here: there are {}", known.join(", "));
                let meant = known.iter().find(|known| is_plural(known, name) || is_plural(name, known));
                let help = meant.map_or(help.to_owned(), |meant| format!("it is called {meant}; {help}"));
                return Err(Problem::bad("query", error, help));
            }
            if given[..i].iter().any(|before| before.0 == *name) {
                return Err(wrong(format!("{name} is given twice")));
            }
        }
        let given: Json = given.into_iter().map(|(name, value)| (name, Json::String(value))).collect();
        let part = |error: serde_json::Error| wrong(error.to_string());
        Ok(Params(
            A::deserialize(&given).map_err(part)?,
            B::deserialize(&given).map_err(part)?,
            C::deserialize(&given).map_err(part)?,
        ))
    }
}

/// Whether one word is the other with an `s`.
fn is_plural(many: &str, one: &str) -> bool {
    many.strip_suffix('s') == Some(one)
}

fn names<T: IntoParams>() -> Vec<String> {
    T::into_params(|| Some(ParameterIn::Query)).into_iter().map(|p| p.name).collect()
}

/// The parts of a path that name something.
pub(super) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let help = "/api/v1/openapi.json lists the paths";
        read.map(|path| Path(path.0)).map_err(|error| Problem::bad("path", error.body_text(), help))
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Items before the page, 0 if not given
    #[param(schema_with = document::ordinal)]
    offset: Option<String>,
    /// Items in the page at most, 100 if not given
    #[param(schema_with = document::limit)]
    limit: Option<String>,
}

impl PageParams {
    /// Offset and limit.
    pub(super) fn page(&self, most: usize) -> Result<(usize, usize), Problem> {
        let offset = parse("offset", self.offset.as_deref(), "give how many items come before the page")?.unwrap_or(0);
        let help = "give how many items the page has at most";
        let limit = parse("limit", self.limit.as_deref(), help)?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=most).contains(&limit) {
            let help = format!("give 1 to {most}, and ask for the next page with offset");
            return Err(Problem::bad("limit", format!("limit={limit} is no size of a page"), help));
        }
        Ok((offset, limit))
    }
}

/// Which evaluations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only for these tokens, counted from 0 through the session: `7`, `7..9`, `7..`
    #[param(schema_with = document::numbers)]
    tokens: Option<String>,
    /// Only in these evaluations: `7`, `7..9`, `7..`
    #[param(schema_with = document::numbers)]
    evals: Option<String>,
    /// Only in evaluations of this context
    #[param(schema_with = document::number)]
    context: Option<String>,
}

impl Which {
    pub(super) fn tokens(&self) -> Result<Option<Numbers>, Problem> {
        numbers("tokens", self.tokens.as_deref())
    }

    pub(super) fn evals(&self) -> Result<Option<Numbers>, Problem> {
        numbers("evals", self.evals.as_deref())
    }

    pub(super) fn context(&self) -> Result<Option<u32>, Problem> {
        context(self.context.as_deref())
    }

    /// A filter that lets through all operators of these evaluations.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter { tokens: self.tokens()?, evals: self.evals()?, context: self.context()?, ..Filter::default() })
    }
}

/// Reads a parameter with its own parser.
pub(super) fn parse<T>(field: &str, text: Option<&str>, help: &str) -> Result<Option<T>, Problem>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let read = |text: &str| {
        text.parse()
            .map_err(|e: T::Err| Problem::bad(field, format!("{field}={text}: {}", in_words(&e.to_string())), help))
    };
    text.map(read).transpose()
}

/// What is wrong with a number, in words of people who do not write Rust.
fn in_words(error: &str) -> &str {
    match error {
        "invalid digit found in string" | "cannot parse integer from empty string" => "it is no such number",
        "number too large to fit in target type" => "it is too large",
        other => other,
    }
}

/// A range of numbers.
pub(super) fn numbers(field: &str, text: Option<&str>) -> Result<Option<Numbers>, Problem> {
    parse(field, text, "give a number or a range with both ends included: 7, 7..9, 7.. or ..9")
}

/// The number of a context.
pub(super) fn context(text: Option<&str>) -> Result<Option<u32>, Problem> {
    parse("context", text, "give the number of a context: /sessions/ID lists them")
}

/// One of a few words.
pub(super) fn word<T: Copy>(field: &str, text: Option<&str>, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let found = words.iter().find(|w| w.0.eq_ignore_ascii_case(text));
    let known: Vec<&str> = words.iter().map(|w| w.0).collect();
    let unknown =
        || Problem::bad(field, format!("{field}={text} is not known"), format!("give {}", known.join(" or ")));
    found.map(|w| Some(w.1)).ok_or_else(unknown)
}

/// A glob for names.
pub(super) fn glob(field: &str, text: Option<&str>, ignore_case: bool) -> Result<Option<GlobMatcher>, Problem> {
    let built = |text: &str| {
        let glob = GlobBuilder::new(text).case_insensitive(ignore_case).build();
        let help = "give a glob: MUL_MAT*, or l_out-{3,4}";
        glob.map(|g| g.compile_matcher()).map_err(|e| Problem::bad(field, format!("{field}: {e}"), help))
    };
    text.map(built).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::limits::MAX_LIMIT;
    use super::*;

    #[test]
    fn a_wrong_parameter_is_named() {
        let field = |problem: Option<Problem>| problem.map(|p| (p.status, p.field.unwrap()));
        let bad = |field: &str| Some((400, field.to_owned()));
        assert_eq!(field(numbers("layer", Some("x")).err()), bad("layer"));
        let page = |offset: Option<&str>, limit: Option<&str>| {
            PageParams { offset: offset.map(Into::into), limit: limit.map(Into::into) }.page(MAX_LIMIT)
        };
        assert_eq!(field(page(Some("-1"), None).err()), bad("offset"));
        for limit in ["0", "1001", "x", ""] {
            assert_eq!(field(page(None, Some(limit)).err()), bad("limit"));
        }
        assert_eq!(field(word("phase", Some("x"), &[("prompt", 1)]).err()), bad("phase"));
        assert_eq!(field(glob("op", Some("["), true).err()), bad("op"));
        assert_eq!(page(Some("7"), Some("1000")).ok(), Some((7, 1000)));
        assert_eq!(page(None, None).ok(), Some((0, DEFAULT_LIMIT)));
    }
}
