//! Metrics of upstreams with limits: what is in use of what may be, who waits, and what the breakers do.

use super::exposition::{Exposition, Kind};
use base::Instant;
use std::time::Duration;
use traffic::admission::{Admission, Breaker, State};
use traffic::snapshot::{Snapshot, Upstream};

/// A number of each limited upstream; `None` where it has none of the kind.
type Read<'r> = (&'r str, Kind, &'r str, &'r dyn Fn(&Admission) -> Option<f64>);

/// The families of all limited upstreams.
pub(super) fn collect(out: &mut Exposition, snapshot: &Snapshot, now: Instant) {
    let bound = |max: u32| (max != u32::MAX).then_some(f64::from(max));
    let families: [Read<'_>; 8] = [
        ("ringway_upstream_in_flight", Kind::Gauge, "Requests that were let in.", &|admission| {
            Some(admission.gate.in_flight().into())
        }),
        (
            "ringway_upstream_in_flight_max",
            Kind::Gauge,
            "Requests that may be let in now, by all limits together.",
            &|admission| bound(admission.in_flight_max()),
        ),
        (
            "ringway_upstream_connections",
            Kind::Gauge,
            "Open connections of a limited upstream, idle ones included.",
            &|admission| Some(admission.gate.connections().into()),
        ),
        ("ringway_upstream_connections_max", Kind::Gauge, "Connections that may be open.", &|admission| {
            bound(admission.connections_max)
        }),
        ("ringway_queue_length", Kind::Gauge, "Requests that wait for the upstream.", &|admission| {
            Some(admission.gate.line.waiting().into())
        }),
        ("ringway_queue_max", Kind::Gauge, "Requests that may wait.", &|admission| {
            Some(admission.queue_max.into())
        }),
        (
            "ringway_queue_oldest_seconds",
            Kind::Gauge,
            "For how long the longest waiter has waited.",
            &|admission| {
                let since = admission.gate.line.oldest();
                Some(since.map_or(Duration::ZERO, |since| now.since(since)).as_secs_f64())
            },
        ),
        (
            "ringway_adaptive_limit",
            Kind::Gauge,
            "Requests in flight that the upstream answers without becoming slow.",
            &|admission| Some(admission.gate.adaptive.limit(admission.adaptive.as_ref()?).into()),
        ),
    ];
    for (name, kind, help, read) in families {
        let mut family = out.family(name, kind, help);
        for (upstream, admission) in limited(snapshot) {
            if let Some(value) = read(admission) {
                family.real(&[("upstream", &upstream.name)], value);
            }
        }
    }
    breakers(out, snapshot, now);
}

fn limited(snapshot: &Snapshot) -> impl Iterator<Item = (&Upstream, &Admission)> {
    snapshot.upstreams.iter().filter_map(|upstream| Some((upstream, upstream.admission.as_ref()?)))
}

fn breakers(out: &mut Exposition, snapshot: &Snapshot, now: Instant) {
    let help = "State of circuit breakers: 0 closed, 1 half-open, 2 open. Without endpoint: of the upstream.";
    let mut family = out.family("ringway_breaker_state", Kind::Gauge, help);
    for (upstream, endpoint, breaker) in all_breakers(snapshot) {
        let state = match breaker.state(now) {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        };
        family.whole(&[("upstream", upstream), ("endpoint", endpoint)], state);
    }
    let mut family =
        out.family("ringway_breaker_opened", Kind::Counter, "How often circuit breakers have opened.");
    for (upstream, endpoint, breaker) in all_breakers(snapshot) {
        family.whole(&[("upstream", upstream), ("endpoint", endpoint)], breaker.opened());
    }
}

/// With the names of upstream and endpoint; that of the endpoint is empty for the breaker of a whole upstream.
fn all_breakers(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &str, &Breaker)> {
    let of_upstreams = limited(snapshot)
        .filter(|(_, admission)| admission.breaker.is_some())
        .map(|(upstream, admission)| (&*upstream.name, "", &admission.gate.breaker));
    let of_endpoints = limited(snapshot).flat_map(|(upstream, _)| {
        upstream.endpoints.iter().filter_map(|endpoint| {
            let valve = endpoint.valve.as_ref().filter(|valve| valve.breaker.is_some())?;
            Some((&*upstream.name, &*endpoint.text, &valve.state.breaker))
        })
    });
    of_upstreams.chain(of_endpoints)
}
