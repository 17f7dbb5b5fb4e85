//! What an upstream and its endpoints have in use of what they may, for `/v1/upstreams`.

use base::Instant;
use serde::Serialize;
use std::time::Duration;
use traffic::admission;

/// Bounds that are not set are left out.
#[derive(Serialize)]
pub(super) struct Admission {
    in_flight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_max: Option<u32>,
    /// Open, idle ones included.
    connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_max: Option<u32>,
    /// Requests that wait.
    queued: u32,
    queue_max: u32,
    /// For how long the longest waiter has waited; 0 while nobody waits.
    queue_oldest_ms: u64,
    /// For how long a request is in flight, on average.
    service_us: u64,
    /// The limit that was found by measuring, and the median latency that it is measured by.
    #[serde(skip_serializing_if = "Option::is_none")]
    adaptive: Option<Adaptive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<Breaker>,
}

#[derive(Serialize)]
struct Adaptive {
    limit: u32,
    best_us: u64,
}

#[derive(Serialize)]
struct Breaker {
    /// `closed`, `open` or `half-open`.
    state: &'static str,
    /// How long it stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_ms: Option<u64>,
    /// How often it has opened.
    opened: u64,
}

/// Bounds of one endpoint.
#[derive(Serialize)]
pub(super) struct Valve {
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_max: Option<u32>,
    connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<Breaker>,
}

impl Admission {
    pub(super) fn of(admission: &admission::Admission, now: Instant) -> Admission {
        let gate = &admission.gate;
        Admission {
            in_flight: gate.in_flight(),
            in_flight_max: bound(admission.in_flight_max()),
            connections: gate.connections(),
            connections_max: bound(admission.connections_max),
            queued: gate.line.waiting(),
            queue_max: admission.queue_max,
            queue_oldest_ms: millis(gate.line.oldest().map_or(Duration::ZERO, |since| now.since(since))),
            service_us: micros(gate.service_time()),
            adaptive: admission.adaptive.as_ref().map(|rules| Adaptive {
                limit: gate.adaptive.limit(rules),
                best_us: micros(gate.adaptive.best()),
            }),
            breaker: admission.breaker.map(|_| Breaker::of(&gate.breaker, now)),
        }
    }
}

impl Valve {
    pub(super) fn of(valve: &admission::Valve, now: Instant) -> Valve {
        Valve {
            in_flight_max: bound(valve.in_flight_max()),
            connections: valve.state.connections(),
            connections_max: bound(valve.connections_max),
            breaker: valve.breaker.map(|_| Breaker::of(&valve.state.breaker, now)),
        }
    }
}

impl Breaker {
    fn of(breaker: &admission::Breaker, now: Instant) -> Breaker {
        let state = breaker.state(now);
        let open_ms = match state {
            admission::State::Open { until } => Some(millis(until.since(now))),
            admission::State::Closed | admission::State::HalfOpen => None,
        };
        Breaker { state: state.name(), open_ms, opened: breaker.opened() }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn bound(max: u32) -> Option<u32> {
    (max != u32::MAX).then_some(max)
}
