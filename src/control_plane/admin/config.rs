//! `/v1/config` and `/v1/reload`: the configuration in force, and another one in its place.
//!
//! Both ways end at the deployer. What is refused is answered with all of its problems, each also in the words of `ringway
//! check`; the one in force stays then.

use super::Asked;
use super::peer::Peer;
use super::problem::Problem;
use crate::deploy::{CONFIRM_MAX, NotReplaced, Replaced, Replacement, Wanted};
use crate::node::InForce;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use config::{Change, Changes, Format};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    let How { dry_run, confirm } = how(query.as_deref())?;
    let by = peer.to_string();
    let replacement = Replacement { wanted: Wanted::File, dry_run, expected: None, confirm, by };
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
    let How { dry_run, confirm } = how(query.as_deref())?;
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let Ok(text) = String::from_utf8(body.into()) else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the configuration is not UTF-8"));
    };
    let format = if super::guard::is_kdl(&headers) { Format::Kdl } else { Format::Json };
    let expected = headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok()).filter(|tag| *tag != "*");
    let expected = expected.map(|tag| tag.trim_matches('"').to_owned());
    let by = peer.to_string();
    let wanted = Wanted::Text { text, format };
    answer(asked.door.replace(Replacement { wanted, dry_run, expected, confirm, by }).await)
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
        NotReplaced::NoEarlier => StatusCode::NOT_FOUND,
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

/// How a configuration is to be put into force. A misspelt wish must not become another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct How {
    dry_run: bool,
    confirm: Option<Duration>,
}

fn how(query: Option<&str>) -> Result<How, Problem> {
    let mut how = How::default();
    for part in query.unwrap_or("").split('&').filter(|part| !part.is_empty()) {
        let seconds = || part.strip_prefix("confirm=").and_then(|seconds| seconds.parse().ok());
        match part {
            "dry-run=0" => {}
            "dry-run=1" => how.dry_run = true,
            _ => match seconds()
                .map(Duration::from_secs)
                .filter(|time| *time <= CONFIRM_MAX && !time.is_zero())
            {
                Some(time) => how.confirm = Some(time),
                None => {
                    let detail = format!(
                        "\"{part}\" means nothing here; write ?dry-run=1, or ?confirm= and up to {} seconds",
                        CONFIRM_MAX.as_secs()
                    );
                    return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
                }
            },
        }
    }
    Ok(how)
}

/// Confirms what is on trial.
pub(super) async fn confirm(
    State(asked): State<Asked>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Value>, Problem> {
    match asked.door.confirm(peer.to_string()).await {
        Some(hash) => Ok(Json(json!({ "confirmed": *hash }))),
        None => Err(Problem::new(StatusCode::CONFLICT, "nothing waits to be confirmed")),
    }
}

/// Back to one that was in force before: the last one, or that of `{"to": hash}`.
pub(super) async fn rollback(
    State(asked): State<Asked>,
    Extension(peer): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<impl Serialize>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let hash = match value.as_object().map(|members| (members.len(), members.get("to"))) {
        Some((0, None)) => None,
        Some((1, Some(Value::String(hash)))) => Some(hash.clone()),
        _ => {
            let detail =
                "send {} for the last configuration before, or {\"to\": \"the hash of one in /v1/history\"}";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
    };
    answer(asked.door.replace(Replacement::now(Wanted::Earlier { hash }, peer.to_string())).await)
}

/// What is in force, what is on trial, and what was in force before, the last one first.
pub(super) async fn history(State(asked): State<Asked>) -> Json<Value> {
    let (in_force, history) = (asked.node.in_force(), asked.node.history());
    let unix = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let shown =
        |one: &InForce| json!({ "hash": *one.hash, "source": one.source, "since_unix": unix(one.since) });
    let trial =
        history.trial.as_ref().map(|trial| json!({ "hash": *trial.hash, "ends_unix": unix(trial.ends) }));
    Json(json!({
        "in_force": shown(&in_force),
        "on_trial": trial,
        "earlier": history.earlier().map(|one| shown(one)).collect::<Vec<_>>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_and_misspelt_ones_refused() {
        let confirm = |seconds| How { confirm: Some(Duration::from_secs(seconds)), ..How::default() };
        assert_eq!(how(None).ok(), Some(How::default()));
        assert_eq!(how(Some("dry-run=1")).ok(), Some(How { dry_run: true, confirm: None }));
        assert_eq!(how(Some("confirm=60")).ok(), Some(confirm(60)));
        assert_eq!(how(Some("dry-run=0&confirm=3600")).ok(), Some(confirm(3600)));
        for bad in ["dryrun=1", "dry-run", "confirm=0", "confirm=3601", "confirm=1m", "confirm", "x=1"] {
            assert!(how(Some(bad)).is_err(), "{bad}");
        }
    }
}
