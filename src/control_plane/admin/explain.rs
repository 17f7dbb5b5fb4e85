//! `POST /v1/explain`: what would become of a request now.

use super::Asked;
use super::problem::Problem;
use crate::explain::{Explanation, Question, Subject, explain};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde_json::Value;

pub(super) async fn ask(
    State(asked): State<Asked>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Explanation>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let bad = |what: String| Problem::new(StatusCode::BAD_REQUEST, what);
    let question = question(&body).map_err(bad)?;
    let node = &asked.node;
    let (in_force, snapshot, listening) = (node.in_force(), node.snapshot(), node.listening());
    let now = node.now();
    let subject =
        Subject { config: &in_force.config, snapshot: &snapshot, listening: &listening, now, live: true };
    explain(subject, &question).map(Json).map_err(|unclear| bad(unclear.to_string()))
}

/// Reads the body; the error says what would be good.
fn question(body: &[u8]) -> Result<Question, String> {
    let wanted = |what: String| format!("{what}; {EXPECTED}");
    let value: Value =
        serde_json::from_slice(body).map_err(|error| wanted(format!("the body is no JSON ({error})")))?;
    let members = value.as_object().ok_or_else(|| wanted("the body is no JSON object".to_owned()))?;
    let url =
        members.get("url").and_then(Value::as_str).ok_or_else(|| wanted("there is no url".to_owned()))?;
    let method = members.get("method").map_or(Some("GET"), Value::as_str);
    let method = method.ok_or_else(|| wanted("method is no string".to_owned()))?;
    let mut question = Question::new(method, url).map_err(|unclear| wanted(unclear.to_string()))?;
    for (member, value) in members {
        match (member.as_str(), value) {
            ("url" | "method", _) => {}
            ("headers", Value::Array(lines)) => {
                for line in lines {
                    let line = line.as_str().ok_or_else(|| wanted(format!("{line} is no string")))?;
                    question.field(line).map_err(|unclear| wanted(unclear.to_string()))?;
                }
            }
            ("from", Value::String(from)) => {
                question.from = from.parse().map_err(|_| wanted(format!("\"{from}\" is no address")))?;
            }
            ("listener", Value::String(listener)) => question.listener = Some(listener.clone()),
            (member, value) => return Err(wanted(format!("{member} cannot be {value}"))),
        }
    }
    Ok(question)
}

const EXPECTED: &str = "send {\"method\": \"GET\", \"url\": \"http://host/path\", \"headers\": [\"Name: value\"], \
    \"from\": \"203.0.113.9\", \"listener\": \"web\"}; only url is needed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_needs_a_url_and_nothing_unknown() {
        let asked =
            question(br#"{"url":"/x","headers":["X-A: b"],"from":"10.0.0.1","listener":"web"}"#).unwrap();
        assert_eq!((asked.method.as_str(), asked.from.to_string().as_str()), ("GET", "10.0.0.1"));
        for bad in ["", "[]", "{}", r#"{"url":1}"#, r#"{"url":"/","from":"x"}"#, r#"{"url":"/","body":"x"}"#]
        {
            assert!(question(bad.as_bytes()).unwrap_err().contains("only url is needed"), "{bad}");
        }
    }
}
