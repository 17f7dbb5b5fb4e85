//! `/v1/upstreams`: every endpoint and what is known of it.

use super::admission::{Admission, Valve};
use crate::compile::live::Wish;
use crate::node::Node;
use crate::probes::Report;
use axum::Json;
use axum::extract::State;
use base::Instant;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use traffic::health::{EndpointCell, Health, Why};
use traffic::snapshot::{Endpoint as Compiled, Upstream as CompiledUpstream};
use traffic::upstream_stats::SessionCounts;

#[derive(Serialize)]
pub(super) struct Upstreams {
    generation: u64,
    upstreams: Vec<Upstream>,
}

#[derive(Serialize)]
struct Upstream {
    name: String,
    /// Where the configuration defines it.
    origin: String,
    /// Endpoints that may get traffic now.
    available: usize,
    /// Too few are healthy to be believed: all endpoints are used.
    panic: bool,
    /// Choices made among all endpoints because too few were healthy to be believed.
    failed_open: u64,
    /// Retries that the budget did not allow.
    retries_refused: u64,
    /// What its names stand for; left out when it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<Name>,
    /// Endpoints passed over because they had their share of the load; only with `bounded-load`.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over: Option<u64>,
    /// Choices outside our zone; only where endpoints of the upstream stand in it and outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_zone: Option<u64>,
    /// Requests by what they said about their session; only with `sticky`.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<BTreeMap<&'static str, u64>>,
    /// What is limited and how much of it is in use; left out while nothing is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    admission: Option<Admission>,
    endpoints: Vec<Endpoint>,
}

/// A name of endpoints, as it is written, and what is known of it.
#[derive(Serialize)]
struct Name {
    name: String,
    /// In use; empty while it was never resolved.
    addresses: Vec<String>,
    /// How long the last answer still counts; it is asked for again a little before.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_left_seconds: Option<u64>,
    /// When the addresses changed last, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_unix: Option<u64>,
    /// Why it cannot be resolved now; left out while it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since_unix: Option<u64>,
    answers: u64,
    failures: u64,
    changes: u64,
}

#[derive(Serialize)]
struct Endpoint {
    address: String,
    /// `checking`, `up`, `down`, `ejected` or `slow-start`.
    state: &'static str,
    /// How long it has been in that state; left out when that is as old as the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_seconds: Option<u64>,
    /// What an operator asked for: `ready`, `drain` or `down`.
    service: &'static str,
    /// Who asked for something special, and when; left out while nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    /// Why it is in that state; left out while it is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    weight: u32,
    /// 0 is preferred.
    tier: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    in_flight: u32,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    valve: Option<Valve>,
    latency_us: u64,
    /// How long it keeps an idle connection, as far as that was learned; left out while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout_learned_ms: Option<u64>,
    requests: u64,
    failures: u64,
    ejections: u64,
    /// Left out where there are no checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
}

/// The active checks of one endpoint.
#[derive(Serialize)]
struct Check {
    /// Equal results in a row; failures are negative, 0 is none yet.
    in_a_row: i32,
    /// Successes in a row that bring the endpoint up: more than configured while it flaps.
    rise: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ms_ago: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
    /// Left out while one is under way; 0 when it is overdue.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_in_ms: Option<u64>,
    /// What the last one found; left out when it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<String>,
}

/// A wish of an operator. A restart forgets it.
#[derive(Serialize)]
struct Asked {
    by: String,
    /// Seconds since the Unix epoch.
    since_unix: u64,
    /// Instead of the configured weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
}

pub(super) async fn upstreams(State(node): State<Arc<Node>>) -> Json<Upstreams> {
    let mut names = names(&node);
    let (snapshot, live, now) = (node.snapshot(), node.live(), node.now());
    let upstreams = snapshot.upstreams.iter().map(|upstream| Upstream {
        name: upstream.name.to_string(),
        origin: upstream.origin.to_string(),
        available: upstream.endpoints.iter().filter(|endpoint| endpoint.cell.is_available(now)).count(),
        panic: upstream.balancer.panics(now),
        failed_open: upstream.balancer.failed_open(),
        retries_refused: upstream.budget.refused(),
        names: names.remove(&*upstream.name).unwrap_or_default(),
        passed_over: upstream.balancer.is_bounded().then(|| upstream.stats.sum(|shard| &shard.passed_over)),
        other_zone: upstream.balancer.has_zones().then(|| upstream.stats.sum(|shard| &shard.other_zone)),
        sessions: sessions(upstream),
        admission: upstream.admission.as_ref().map(|admission| Admission::of(admission, now)),
        endpoints: upstream
            .endpoints
            .iter()
            .map(|endpoint| {
                let report = node.board.report(&upstream.name, &endpoint.addr);
                of_endpoint(endpoint, report, live.wish(&upstream.name, &endpoint.addr), now)
            })
            .collect(),
    });
    Json(Upstreams { generation: snapshot.generation, upstreams: upstreams.collect() })
}

fn sessions(upstream: &CompiledUpstream) -> Option<BTreeMap<&'static str, u64>> {
    let counts = SessionCounts::BY_NAME;
    let summed = || counts.into_iter().map(|(name, counter)| (name, upstream.stats.sum(counter))).collect();
    upstream.sticky.is_some().then(summed)
}

/// All names by upstream.
fn names(node: &Node) -> HashMap<Box<str>, Vec<Name>> {
    let now = node.now();
    let mut by_upstream: HashMap<_, Vec<Name>> = HashMap::new();
    for ((upstream, name), state) in node.names.all() {
        by_upstream.entry(upstream).or_default().push(Name {
            name: name.into(),
            addresses: state.addresses.iter().map(ToString::to_string).collect(),
            ttl_left_seconds: state.valid_until.map(|until| until.since(now).as_secs()),
            changed_unix: state.changed.map(unix),
            failing_since_unix: state.failing.as_ref().map(|(_, since)| unix(*since)),
            error: state.failing.map(|(why, _)| why),
            answers: state.answers,
            failures: state.failures,
            changes: state.changes,
        });
    }
    by_upstream
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn of_endpoint(endpoint: &Compiled, report: Option<Report>, wish: Option<&Wish>, now: Instant) -> Endpoint {
    let cell = &endpoint.cell;
    Endpoint {
        address: endpoint.text.to_string(),
        state: cell.state_name(now),
        state_seconds: cell.state_since(now).map(|since| now.since(since).as_secs()),
        reason: reason(cell, report.as_ref(), now),
        service: cell.service().name(),
        asked: wish.map(|wish| Asked {
            by: wish.by.clone(),
            since_unix: unix(wish.since),
            weight: wish.weight,
        }),
        weight: endpoint.weight,
        tier: endpoint.tier,
        zone: endpoint.zone.as_deref().map(str::to_owned),
        in_flight: cell.in_flight(),
        valve: endpoint.valve.as_deref().map(|valve| Valve::of(valve, now)),
        latency_us: u64::try_from(cell.ewma().as_micros()).unwrap_or(u64::MAX),
        idle_timeout_learned_ms: cell
            .idle_timeout()
            .known()
            .map(|known| u64::try_from(known.as_millis()).unwrap_or(u64::MAX)),
        requests: cell.requests(),
        failures: cell.failures(),
        ejections: cell.ejected_ever(),
        check: report.map(|report| of_report(report, now)),
    }
}

/// Why the endpoint is in its state, unless that is `up`.
fn reason(cell: &EndpointCell, report: Option<&Report>, now: Instant) -> Option<String> {
    let finding = || report.and_then(|report| report.finding.clone());
    match (cell.health(), cell.ejected_since(now)) {
        (Health::Up, None) => cell
            .slow_start_since(now)
            .map(|_| format!("gets {} % of its share", cell.ramp_permille(now) / 10)),
        (Health::Up, Some(since)) => {
            let ago = now.since(since).as_secs();
            let left = cell.ejected_until(now).map_or(0, |until| until.since(now).as_secs());
            Some(match cell.ejected_why() {
                Why::FailuresInARow => {
                    let failures = cell.failures_in_a_row();
                    format!("ejected {ago} s ago after {failures} failures in a row, for {left} s more")
                }
                Why::SuccessRate => {
                    format!("ejected {ago} s ago for far more failures than the others, for {left} s more")
                }
            })
        }
        (Health::Checking, _) => Some(finding().unwrap_or_else(|| "waits for its first check".to_owned())),
        (Health::Down, _) => Some(finding().unwrap_or_else(|| "its checks fail".to_owned())),
    }
}

fn of_report(report: Report, now: Instant) -> Check {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Check {
        in_a_row: report.in_a_row,
        rise: report.rise,
        last_ms_ago: report.last.map(|(ended, _)| millis(now.since(ended))),
        took_ms: report.last.map(|(_, took)| millis(took)),
        next_in_ms: report.due.map(|due| millis(due.since(now))),
        finding: report.finding,
    }
}
