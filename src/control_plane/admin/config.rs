//! `/v1/config` and `/v1/reload`: the configuration in force, and another one in its place.
//!
//! Both ways end at the deployer. What is refused is answered with all of its problems, each also in the words of `ringway
//! check`; the one in force stays then.

use super::Asked;
use super::peer::Peer;
use super::problem::Problem;
use crate::deploy::{NotReplaced, Replaced, Replacement, Wanted};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use config::{Change, Changes, Format};
use serde::Serialize;

/// What has happened, or would.
#[derive(Debug, Serialize)]
struct Answer {
    /// `applied`, or `checked` when nothing was to be changed.
    result: &'static str,
    /// In force now.
    generation: u64,
    /// Of the configuration that was sent.
    hash: String,
    /// In a few words.
    summary: String,
    changes: Changes,
    /// What counts only after a restart, compared with what the process was started with.
    at_restart: Vec<Change>,
    warnings: Vec<Told>,
}

/// A problem, with the words in which `ringway check` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten)]
    problem: config::Problem,
    text: String,
}

impl From<config::Problem> for Told {
    fn from(problem: config::Problem) -> Told {
        Told { text: problem.to_string(), problem }
    }
}

/// The configuration in force as JSON; secrets are references.
pub(super) async fn show(State(asked): State<Asked>) -> Response {
    let in_force = asked.node.in_force();
    let head = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::ETAG, format!("\"{}\"", in_force.hash)),
    ];
    (head, in_force.config.to_json()).into_response()
}

/// The file that the process was started with, read again.
pub(super) async fn reload(
    State(asked): State<Asked>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Json<impl Serialize>, Problem> {
    let dry_run = dry_run(query.as_deref())?;
    let replacement = Replacement { wanted: Wanted::File, dry_run, expected: None, by: peer.to_string() };
    answer(asked.door.replace(replacement).await)
}

/// The configuration that was sent.
pub(super) async fn replace(
    State(asked): State<Asked>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<impl Serialize>, Problem> {
    let dry_run = dry_run(query.as_deref())?;
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let Ok(text) = String::from_utf8(body.into()) else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the configuration is not UTF-8"));
    };
    let format = if super::guard::is_kdl(&headers) { Format::Kdl } else { Format::Json };
    let expected = headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok()).filter(|tag| *tag != "*");
    let expected = expected.map(|tag| tag.trim_matches('"').to_owned());
    let by = peer.to_string();
    answer(
        asked
            .door
            .replace(Replacement { wanted: Wanted::Text { text, format }, dry_run, expected, by })
            .await,
    )
}

fn answer(outcome: Result<Replaced, NotReplaced>) -> Result<Json<Answer>, Problem> {
    let Replaced { generation, hash, changes, at_restart, warnings, dry_run } = outcome.map_err(problem)?;
    Ok(Json(Answer {
        result: if dry_run { "checked" } else { "applied" },
        generation,
        hash: hash.to_string(),
        summary: changes.summary(),
        changes,
        at_restart,
        warnings: warnings.into_iter().map(Told::from).collect(),
    }))
}

fn problem(why: NotReplaced) -> Problem {
    let status = match &why {
        NotReplaced::Problems(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotReplaced::NoFile | NotReplaced::NotHere(_) => StatusCode::CONFLICT,
        NotReplaced::Other(_) => StatusCode::PRECONDITION_FAILED,
        NotReplaced::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problem = Problem::new(status, why.to_string());
    match why {
        NotReplaced::Problems(problems) => problem.with(problems.0.into_iter().map(Told::from).collect()),
        _ => problem,
    }
}

/// Whether nothing is to be changed. A misspelt wish must not become a change.
fn dry_run(query: Option<&str>) -> Result<bool, Problem> {
    match query.unwrap_or("") {
        "" | "dry-run=0" => Ok(false),
        "dry-run=1" => Ok(true),
        other => {
            let detail = format!("\"{other}\" means nothing here; leave it out, or write ?dry-run=1");
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}
