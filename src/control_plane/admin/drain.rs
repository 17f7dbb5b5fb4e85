//! `POST /v1/drain`: stop gracefully, perhaps after a pause; `{"undo": true}` takes it back while the pause lasts.

use super::Asked;
use super::peer::Peer;
use super::problem::Problem;
use crate::process::{ProcessOrder, order};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    draining: bool,
    /// How long connections are still accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_seconds: Option<u64>,
}

pub(super) async fn drain(
    State(asked): State<Asked>,
    Extension(peer): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let wanted = wanted(&body).map_err(|what| Problem::new(StatusCode::BAD_REQUEST, what))?;
    let by = peer.to_string();
    let done = match wanted {
        Wanted::Drain(pause) => order(&asked.node, |answer| ProcessOrder::Drain { pause, by, answer }).await,
        Wanted::Undo => order(&asked.node, |answer| ProcessOrder::Resume { by, answer }).await,
    };
    done.map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    Ok(Json(match wanted {
        Wanted::Drain(pause) => Answer { draining: true, pause_seconds: Some(pause.as_secs()) },
        Wanted::Undo => Answer { draining: false, pause_seconds: None },
    }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Drain(Duration),
    Undo,
}

/// Reads the body; the error says what would be good. Nothing at all is a drain without a pause.
fn wanted(body: &[u8]) -> Result<Wanted, String> {
    let wrong = |what: String| format!("{what}; {EXPECTED}");
    if body.is_empty() {
        return Ok(Wanted::Drain(Duration::ZERO));
    }
    let value: Value =
        serde_json::from_slice(body).map_err(|error| wrong(format!("the body is no JSON ({error})")))?;
    let Value::Object(members) = value else { return Err(wrong("the body is no JSON object".to_owned())) };
    let mut members = members.iter();
    let wanted = match members.next() {
        None => Wanted::Drain(Duration::ZERO),
        Some((member, value)) => match (member.as_str(), value) {
            ("pause", value) => match value.as_u64() {
                Some(seconds) if seconds <= PAUSE_SECONDS_MAX => Wanted::Drain(Duration::from_secs(seconds)),
                _ => return Err(wrong(format!("pause cannot be {value}"))),
            },
            ("undo", Value::Bool(true)) => Wanted::Undo,
            (member, value) => return Err(wrong(format!("\"{member}\" cannot be {value}"))),
        },
    };
    match members.next() {
        None => Ok(wanted),
        Some((member, _)) => Err(wrong(format!("\"{member}\" is too much"))),
    }
}

const EXPECTED: &str =
    "send nothing, {\"pause\": SECONDS} with 0 to 3600 seconds, or {\"undo\": true} while such a pause lasts";
/// An hour: who wants to wait longer wants something else.
const PAUSE_SECONDS_MAX: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_an_undo_or_nothing_is_read() {
        let read = |text: &str| wanted(text.as_bytes());
        let drain = |seconds| Ok(Wanted::Drain(Duration::from_secs(seconds)));
        assert_eq!(read(""), drain(0));
        assert_eq!(read("{}"), drain(0));
        assert_eq!(read(r#"{"pause":3600}"#), drain(3600));
        assert_eq!(read(r#"{"undo":true}"#), Ok(Wanted::Undo));
    }

    #[test]
    fn everything_else_is_refused_with_what_is_allowed() {
        for body in [
            "now",
            "[]",
            r#"{"pause":-1}"#,
            r#"{"pause":3601}"#,
            r#"{"pause":"5s"}"#,
            r#"{"undo":false}"#,
            r#"{"undo":true,"pause":1}"#,
            r#"{"wait":1}"#,
        ] {
            let told = wanted(body.as_bytes()).expect_err(body);
            assert!(told.contains("{\"undo\": true}") && told.contains("3600"), "{body}: {told}");
        }
    }
}
