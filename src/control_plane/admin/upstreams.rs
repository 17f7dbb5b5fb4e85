//! `/v1/upstreams`: every endpoint and what is known of it.

use crate::node::Node;
use axum::Json;
use axum::extract::State;
use base::Instant;
use serde::Serialize;
use std::sync::Arc;
use traffic::health::Health;
use traffic::snapshot::Endpoint as Compiled;

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
    /// Choices made among all endpoints because too few were healthy to be believed.
    failed_open: u64,
    /// Retries that the budget did not allow.
    retries_refused: u64,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize)]
struct Endpoint {
    address: String,
    /// `up`, `down`, `ejected` or `checking`.
    state: &'static str,
    /// Why it is in that state; left out while it is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    weight: u32,
    /// 0 is preferred.
    tier: u8,
    in_flight: u32,
    latency_us: u64,
    /// How long it keeps an idle connection, as far as that was learned; left out while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout_learned_ms: Option<u64>,
    requests: u64,
    failures: u64,
}

pub(super) async fn upstreams(State(node): State<Arc<Node>>) -> Json<Upstreams> {
    let (snapshot, now) = (node.snapshot(), node.now());
    let upstreams = snapshot.upstreams.iter().map(|upstream| Upstream {
        name: upstream.name.to_string(),
        origin: upstream.origin.to_string(),
        available: upstream.endpoints.iter().filter(|endpoint| endpoint.cell.is_available(now)).count(),
        failed_open: upstream.balancer.failed_open(),
        retries_refused: upstream.budget.refused(),
        endpoints: upstream
            .endpoints
            .iter()
            .map(|endpoint| of_endpoint(endpoint, node.findings.last(&upstream.name, &endpoint.addr), now))
            .collect(),
    });
    Json(Upstreams { generation: snapshot.generation, upstreams: upstreams.collect() })
}

fn of_endpoint(endpoint: &Compiled, finding: Option<String>, now: Instant) -> Endpoint {
    let cell = &endpoint.cell;
    let reason = match (cell.health(), cell.ejected_since(now)) {
        (Health::Up, None) => None,
        (Health::Up, Some(since)) => {
            let failures = cell.failures_in_a_row();
            Some(format!("ejected {} s ago after {failures} failures in a row", now.since(since).as_secs()))
        }
        (Health::Checking, _) => Some(finding.unwrap_or_else(|| "waits for its first check".to_owned())),
        (Health::Down, _) => Some(finding.unwrap_or_else(|| "its checks fail".to_owned())),
    };
    Endpoint {
        address: endpoint.text.to_string(),
        state: cell.state_name(now),
        reason,
        weight: endpoint.weight,
        tier: endpoint.tier,
        in_flight: cell.in_flight(),
        latency_us: u64::try_from(cell.ewma().as_micros()).unwrap_or(u64::MAX),
        idle_timeout_learned_ms: cell
            .idle_timeout()
            .known()
            .map(|known| u64::try_from(known.as_millis()).unwrap_or(u64::MAX)),
        requests: cell.requests(),
        failures: cell.failures(),
    }
}
