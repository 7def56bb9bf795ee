//! Parameters of questions: read as text, so that a wrong one is refused with its name and not ignored.

use super::problem::Problem;
use crate::query::range::Numbers;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use globset::{GlobBuilder, GlobMatcher};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// Items of a page if nothing is said.
pub(super) const DEFAULT_LIMIT: usize = 100;
/// Items of the largest page.
pub(super) const MAX_LIMIT: usize = 1000;

/// The query of a request as `T`, whose fields are all `Option<String>`.
pub(super) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, Problem> {
        let help = "/api/v1/openapi.json lists the parameters of every question; each may be given once";
        let read = Query::<T>::try_from_uri(&parts.uri);
        read.map(|Query(params)| Params(params)).map_err(|error| Problem::bad("query", error.body_text(), help))
    }
}

/// Reads a parameter with its own parser.
pub(super) fn parse<T>(field: &str, text: Option<&str>, help: &str) -> Result<Option<T>, Problem>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let read = |text: &str| text.parse().map_err(|e| Problem::bad(field, format!("{field}={text}: {e}"), help));
    text.map(read).transpose()
}

/// A range of numbers.
pub(super) fn numbers(field: &str, text: Option<&str>) -> Result<Option<Numbers>, Problem> {
    parse(field, text, "give a number or a range with both ends included: 7, 7..9, 7.. or ..9")
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

/// Offset and limit of a page.
pub(super) fn page(offset: Option<&str>, limit: Option<&str>) -> Result<(usize, usize), Problem> {
    let offset = parse("offset", offset, "give how many items come before the page")?.unwrap_or(0);
    let limit = parse("limit", limit, "give how many items the page has at most")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let help = format!("give 1 to {MAX_LIMIT}, and ask for the next page with offset");
        return Err(Problem::bad("limit", format!("limit={limit} is no size of a page"), help));
    }
    Ok((offset, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_parameter_is_named() {
        let field = |problem: Option<Problem>| problem.map(|p| (p.status, p.field.unwrap()));
        let bad = |field: &str| Some((400, field.to_owned()));
        assert_eq!(field(numbers("layer", Some("x")).err()), bad("layer"));
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
