//! Errors of the admin API as problem documents (RFC 9457).

use super::config::Told;
use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A problem document; `type` is left out and so means `about:blank`: the status says what kind of problem it is.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    /// Why a node is not ready; empty for other problems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// What is wrong with a configuration; empty for other problems.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Told>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            reasons: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub(super) fn with(mut self, problems: Vec<Told>) -> Self {
        self.problems = problems;
        self
    }

    pub(super) fn because(mut self, reasons: Vec<String>) -> Self {
        self.reasons = reasons;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let head = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        (status, head, Json(self)).into_response()
    }
}

pub(super) async fn no_such_resource(uri: Uri) -> Problem {
    let detail = format!(
        "there is no {}; see /live /ready /metrics /v1/status /v1/upstreams /v1/requests /v1/config",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// What can be asked for instead stands in `Allow`.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{} cannot be asked for with {method}", uri.path());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
    let allowed = match uri.path() {
        "/v1/config" => "GET, HEAD, PUT",
        "/v1/reload" | "/v1/drain" | "/v1/explain" | "/v1/confirm" | "/v1/rollback" => "POST",
        path if path.contains("/endpoints/") => "POST",
        _ => "GET, HEAD",
    };
    ([(header::ALLOW, allowed)], problem).into_response()
}
