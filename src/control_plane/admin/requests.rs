//! `GET /v1/requests` and `/v1/requests/{id}`: what was decided lately, and why.
//!
//! Reads copies of the workers' rings; see [`traffic::recent`].

use super::problem::Problem;
use crate::node::Node;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use traffic::recent::{Attempt, Copied, Decision, TriedEnd};
use traffic::record::Subject;
use traffic::{Cause, Phase};

/// One decision as it is told.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    id: String,
    time_unix_ms: u64,
    /// `failure`, or `sample` for one of the few that are kept of those that went well.
    kept: &'static str,
    worker: usize,
    generation: u64,
    /// `exchange`, `flow` or `datagrams`.
    subject: &'static str,
    listener: String,
    client: String,
    method: String,
    host: String,
    path: String,
    protocol: &'static str,
    status: u16,
    cause: Option<Why>,
    route: Option<Place>,
    upstream: Option<Place>,
    #[serde(skip_serializing_if = "String::is_empty")]
    consumer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    auth: String,
    attempts: u8,
    /// One by one, as far as they are known.
    tried: Vec<Tried>,
    bytes_in: u64,
    bytes_out: u64,
    total_us: u32,
    /// Those that took time.
    phases_us: BTreeMap<&'static str, u32>,
    /// The phase that took longest.
    longest: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Why {
    name: &'static str,
    title: &'static str,
    side: String,
    stage: String,
}

#[derive(Debug, Serialize)]
struct Place {
    name: String,
    /// `FILE:LINE:COLUMN`.
    origin: String,
}

#[derive(Debug, Serialize)]
struct Tried {
    endpoint: String,
    /// `answered`, `failed` or `overtaken`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    connect_us: u32,
    wait_us: u32,
}

/// What is asked of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    cause: Option<String>,
    status: Option<u16>,
    route: Option<String>,
    upstream: Option<String>,
    /// `failure` or `sample`.
    kept: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct List {
    /// The newest first.
    requests: Vec<Told>,
    /// More matched than are shown.
    more: bool,
    /// Kept since the start, by all workers; most are forgotten again.
    kept: u64,
    /// Not kept, because somebody was reading.
    missed: u64,
}

/// Shown unless more are asked for, and at most.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1000;

pub(super) async fn list(
    State(node): State<Arc<Node>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<List>, Problem> {
    let Query(wanted) = wanted
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("{}; {KNOWN}", error.body_text())))?;
    let limit = wanted.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let cause = match &wanted.cause {
        None => None,
        Some(name) => Some(Cause::named(name).ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                format!("there is no cause \"{name}\"; see docs/operations.md"),
            )
        })?),
    };
    let matches = |one: &Decision<'_>| {
        let record = &one.record;
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        cause.is_none_or(|cause| record.cause == Some(cause))
            && wanted.status.is_none_or(|status| record.status == status)
            && is(&wanted.route, record.route)
            && is(&wanted.upstream, record.upstream)
    };
    let copies = copies(&node);
    let is_kept = |kept: &str| wanted.kept.as_ref().is_none_or(|wanted| wanted == kept);
    let found = all(&copies).filter(|(_, kept, one)| is_kept(kept) && matches(one));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(_, _, one)| std::cmp::Reverse(one.record.time_unix_ns));
    let more = found.len() > limit;
    let sum =
        |read: fn(&traffic::recent::Recent) -> u64| node.stats.iter().map(|one| read(&one.recent)).sum();
    Ok(Json(List {
        requests: found.iter().take(limit).map(|(worker, kept, one)| told(*worker, kept, one)).collect(),
        more,
        kept: sum(|recent| recent.kept.get()),
        missed: sum(|recent| recent.missed.get()),
    }))
}

const KNOWN: &str = "what can be asked for: cause, status, route, upstream, kept, limit";

pub(super) async fn one(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
) -> Result<Json<Told>, Problem> {
    let Some(wanted) = read_id(&id) else {
        let detail = "a request id has 32 hexadecimal digits, as in the log field id and in X-Request-Id";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    };
    let copies = copies(&node);
    let found = all(&copies).find(|(_, _, one)| one.record.request_id == wanted);
    found.map(|(worker, kept, one)| Json(told(worker, kept, &one))).ok_or_else(|| {
        let detail = format!(
            "nothing is known of {id}: it went well and was not among the sampled ones, or it was forgotten for newer \
             ones, or it is another node's; `decisions {{ memory … sample … }}` says how much is kept"
        );
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

/// Both halves of an id, with or without hyphens.
fn read_id(text: &str) -> Option<(u64, u64)> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let half = |text: &str| u64::from_str_radix(text, 16).ok();
    Some((half(&digits[..16])?, half(&digits[16..])?))
}

/// Worker, kind and decisions of each ring.
type Copies = Vec<(usize, [Copied; 2])>;

fn copies(node: &Node) -> Copies {
    node.stats.iter().map(|worker| worker.recent.copy()).enumerate().collect()
}

fn all(copies: &Copies) -> impl Iterator<Item = (usize, &'static str, Decision<'_>)> {
    copies.iter().flat_map(|(worker, [failures, samples])| {
        let failures = failures.decisions().map(|one| (*worker, "failure", one));
        failures.chain(samples.decisions().map(|one| (*worker, "sample", one)))
    })
}

fn told(worker: usize, kept: &'static str, one: &Decision<'_>) -> Told {
    let record = &one.record;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let phases = || Phase::ALL.iter().map(|phase| phase.name()).zip(record.phases_us);
    let place = |name: &str, origin: &str| {
        (!name.is_empty()).then(|| Place { name: name.to_owned(), origin: origin.to_owned() })
    };
    Told {
        id: format!("{:016x}{:016x}", record.request_id.0, record.request_id.1),
        time_unix_ms: record.time_unix_ns / 1_000_000,
        kept,
        worker,
        generation: one.generation,
        subject: match record.subject {
            Subject::Exchange => "exchange",
            Subject::Flow => "flow",
            Subject::Datagrams => "datagrams",
        },
        listener: record.listener.to_owned(),
        client: record.client.to_string(),
        method: text(record.method),
        host: text(record.host),
        path: text(record.path),
        protocol: record.version.as_str(),
        status: record.status,
        cause: record.cause.map(why),
        route: place(record.route, one.route_origin),
        upstream: place(record.upstream, one.upstream_origin),
        consumer: record.consumer.to_owned(),
        auth: record.auth.to_owned(),
        attempts: record.attempts,
        tried: one.attempts.iter().map(tried).collect(),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        total_us: record.total_us,
        phases_us: phases().filter(|(_, micros)| *micros > 0).collect(),
        longest: phases()
            .filter(|(_, micros)| *micros > 0)
            .max_by_key(|(_, micros)| *micros)
            .map(|(name, _)| name),
    }
}

fn why(cause: Cause) -> Why {
    Why {
        name: cause.name(),
        title: cause.title(),
        side: format!("{:?}", cause.side()).to_ascii_lowercase(),
        stage: format!("{:?}", cause.stage()).to_ascii_lowercase(),
    }
}

fn tried(attempt: &Attempt<'_>) -> Tried {
    let (outcome, status, cause) = match attempt.end {
        TriedEnd::Answered(status) => ("answered", Some(status), None),
        TriedEnd::Failed(cause) => ("failed", None, Some(cause.name())),
        TriedEnd::Overtaken => ("overtaken", None, None),
    };
    let endpoint = attempt.endpoint.to_owned();
    Tried { endpoint, outcome, status, cause, connect_us: attempt.connect_us, wait_us: attempt.wait_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_shown_anywhere() {
        let id = Some((0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210));
        assert_eq!(read_id("0123456789abcdeffedcba9876543210"), id);
        assert_eq!(read_id("01234567-89AB-CDEF-FEDC-BA9876543210"), id);
        for bad in ["", "1", "0123456789abcdeffedcba987654321", "0123456789abcdeffedcba987654321g", "ä"] {
            assert_eq!(read_id(bad), None, "{bad}");
        }
    }
}
