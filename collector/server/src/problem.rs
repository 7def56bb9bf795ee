//! Errors as answers: JSON that says what went wrong, with which part of the question, and what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ggscope_trace::TraceError;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a question has no answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Status of the answer.
    #[serde(skip)]
    pub status: u16,
    /// What went wrong.
    pub error: String,
    /// The parameter or part of the path that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do.
    pub help: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { status: status.as_u16(), error: error.into(), field: None, help: help.into() }
    }

    /// A parameter that cannot be.
    pub(super) fn bad(field: &str, error: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { field: Some(field.into()), ..Problem::new(StatusCode::BAD_REQUEST, error, help) }
    }

    /// Something that the path names and that is not there.
    pub(super) fn missing(field: &str, error: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { field: Some(field.into()), ..Problem::new(StatusCode::NOT_FOUND, error, help) }
    }
}

impl From<TraceError> for Problem {
    fn from(error: TraceError) -> Problem {
        let help = "the trace is damaged there; the warnings of the session say what else is";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), help)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}
