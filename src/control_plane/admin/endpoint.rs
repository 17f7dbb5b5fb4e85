//! `POST /v1/upstreams/{upstream}/endpoints/{address}`: what an endpoint may get, and its weight.

use super::Asked;
use super::peer::Peer;
use super::problem::Problem;
use crate::deploy::{Change, Changed, Refused};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::Value;
use traffic::health::Service;

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    upstream: String,
    address: String,
    /// `ready`, `drain` or `down`.
    state: &'static str,
    weight: u32,
    /// Whether the weight is other than configured.
    weight_overridden: bool,
    /// The generation in which this holds.
    generation: u64,
}

pub(super) async fn set(
    State(asked): State<Asked>,
    Extension(peer): Extension<Peer>,
    Path((upstream, address)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let change = change(&body).map_err(|what| Problem::new(StatusCode::BAD_REQUEST, what))?;
    let changed = asked.door.set_endpoint(upstream.clone(), address.clone(), change, peer.to_string()).await;
    let Changed { service, weight, overridden, generation } = changed.map_err(problem)?;
    let (state, weight_overridden) = (service.name(), overridden);
    Ok(Json(Answer { upstream, address, state, weight, weight_overridden, generation }))
}

fn problem(refused: Refused) -> Problem {
    let status = match &refused {
        Refused::NoUpstream(_) | Refused::NoEndpoint(_) => StatusCode::NOT_FOUND,
        Refused::TooMany(_) => StatusCode::CONFLICT,
        Refused::NotCompiled(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, refused.to_string())
}

/// Reads the body; the error says what would be good.
fn change(body: &[u8]) -> Result<Change, String> {
    let wanted = |what: String| format!("{what}; {EXPECTED}");
    let value: Value =
        serde_json::from_slice(body).map_err(|error| wanted(format!("the body is no JSON ({error})")))?;
    let Value::Object(members) = value else { return Err(wanted("the body is no JSON object".to_owned())) };
    let mut change = Change::default();
    for (member, value) in &members {
        match (member.as_str(), value) {
            ("state", Value::String(name)) if Service::named(name).is_some() => {
                change.service = Service::named(name)
            }
            ("weight", Value::Null) => change.weight = Some(None),
            ("weight", Value::Number(number)) => {
                let weight = number.as_u64().and_then(|weight| u16::try_from(weight).ok());
                let weight = weight.filter(|weight| (1..=WEIGHT_MAX).contains(weight));
                change.weight =
                    Some(Some(weight.ok_or_else(|| wanted(format!("weight cannot be {number}")))?));
            }
            ("state" | "weight", value) => return Err(wanted(format!("{member} cannot be {value}"))),
            (unknown, _) => return Err(wanted(format!("there is no \"{unknown}\""))),
        }
    }
    if change == Change::default() {
        return Err(wanted("nothing is asked for".to_owned()));
    }
    Ok(change)
}

const EXPECTED: &str = "send {\"state\": \"ready\", \"drain\" or \"down\", \"weight\": 1 to 1000, or null for the configured one}, or one of the two";
/// As in the configuration.
const WEIGHT_MAX: u16 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_weight_or_both_are_read() {
        let read = |text: &str| change(text.as_bytes());
        let drain = Change { service: Some(Service::Drain), weight: None };
        assert_eq!(read(r#"{"state":"drain"}"#), Ok(drain));
        assert_eq!(read(r#"{"weight":1000}"#), Ok(Change { service: None, weight: Some(Some(1000)) }));
        assert_eq!(
            read(r#"{"weight":null,"state":"ready"}"#),
            Ok(Change { service: Some(Service::Ready), weight: Some(None) })
        );
    }

    #[test]
    fn everything_else_is_refused_with_what_is_allowed() {
        for body in [
            "",
            "drain",
            "[]",
            "{}",
            r#"{"state":"off"}"#,
            r#"{"state":1}"#,
            r#"{"state":null}"#,
            r#"{"weight":0}"#,
            r#"{"weight":1001}"#,
            r#"{"weight":-1}"#,
            r#"{"weight":1.5}"#,
            r#"{"weight":"2"}"#,
            r#"{"state":"drain","wieght":2}"#,
        ] {
            let told = change(body.as_bytes()).expect_err(body);
            assert!(told.contains("\"drain\"") && told.contains("1 to 1000"), "{body}: {told}");
        }
    }
}
