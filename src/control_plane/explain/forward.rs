//! Where a forwarded request goes: the upstream, its endpoints, and the choice among them.

use super::answer::{Candidate, Explanation, OfUpstream, Outcome};
use super::{Question, Subject};
use base::rng::Rng;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use traffic::Cause;
use traffic::balance::{Algorithm, NoEndpoint, Pick};
use traffic::health::{Health, Service};
use traffic::snapshot::{Endpoint, Route, Snapshot, Split, Upstream};
use traffic::sticky::Session;
use wire::http::Request;

pub(super) fn explain(
    subject: Subject<'_>,
    (route, split): (&Route, &Split),
    (request, client): (Request<'_>, IpAddr),
    question: &Question,
    mut told: Explanation,
) -> Explanation {
    let mut random = Rng::new(seed());
    #[expect(clippy::cast_possible_truncation, reason = "any 32 of the bits are as random as the others")]
    let upstream = subject.snapshot.upstream(split.pick(random.next_u64() as u32));
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let session = upstream.sticky.as_ref().map(|sticky| sticky.session(request, unix));
    let hashed = upstream.hash_key(request, client);
    let key = hashed.unwrap_or_else(|| random.next_u64());
    let held = session.and_then(Session::endpoint);
    let pick = Pick { key, now: subject.now, random: &mut random, avoid: &[], session: held };
    let choice = upstream.pick(pick);
    let written = subject.config.upstream(&upstream.name);
    told.upstream = Some(OfUpstream {
        name: upstream.name.to_string(),
        origin: upstream.origin.to_string(),
        shares: shares(subject.snapshot, split),
        balance: balance(upstream.balancer.algorithm()).to_owned(),
        is_determined: split.targets.len() < 2
            && (hashed.is_some() || held.is_some() || upstream.endpoints.len() < 2),
        session: session.map(session_text),
        panic: upstream.balancer.panics(subject.now),
        settings: written.map(|written| subject.config.effective_of_upstream(written)).unwrap_or_default(),
        endpoints: upstream.endpoints.iter().map(|endpoint| candidate(subject, endpoint)).collect(),
        chosen: choice.ok().map(|choice| upstream.endpoint(choice.endpoint).text.to_string()),
    });
    if upstream.admission.is_some() {
        let note = "the upstream has limits: when they are reached, the request waits or is refused; `ringway status` shows them";
        told.notes.push(note.to_owned());
    }
    if !subject.live && upstream.endpoints.iter().any(|endpoint| endpoint.cell.health() == Health::Checking) {
        told.notes.push("nobody was asked how the endpoints are: every one of them may be up".to_owned());
    }
    if question.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade")) {
        told.notes.push("with an upgrade the connection becomes a tunnel if the endpoint agrees".to_owned());
    }
    let outcome = match choice {
        Ok(_) => Outcome::FORWARDED,
        Err(why) => match cause(why, upstream) {
            Some(cause) => Outcome::own(cause, cause.status()),
            // The first check is waited for, a second at most.
            None => Outcome::FORWARDED,
        },
    };
    told.with_response(route, 200).ends(outcome)
}

/// As `data_plane` answers it.
fn cause(why: NoEndpoint, upstream: &Upstream) -> Option<Cause> {
    match why {
        NoEndpoint::Absent if upstream.unresolved => Some(Cause::NameUnresolved),
        NoEndpoint::Absent => Some(Cause::NoEndpoint),
        NoEndpoint::Unhealthy => Some(Cause::NoHealthyEndpoint),
        NoEndpoint::Full | NoEndpoint::Unchecked => None,
    }
}

fn shares(snapshot: &Snapshot, split: &Split) -> Vec<(String, u32)> {
    let percent =
        |weight: u32| u32::try_from(u64::from(weight) * 100 / u64::from(split.total.max(1))).unwrap_or(100);
    let of = |&(id, weight): &(_, u32)| (snapshot.upstream(id).name.to_string(), percent(weight));
    split.targets.iter().map(of).collect()
}

fn candidate(subject: Subject<'_>, endpoint: &Endpoint) -> Candidate {
    let (cell, now) = (&endpoint.cell, subject.now);
    let valve = endpoint.valve.as_ref();
    let left_out = match (cell.service(), cell.health()) {
        (Service::Down, _) => Some("an operator took it down"),
        (Service::Drain, _) => Some("it drains: only sessions that it holds"),
        (Service::Ready, Health::Down) => Some("its checks fail"),
        (Service::Ready, Health::Checking) if subject.live => Some("it waits for its first check"),
        (Service::Ready, _) if cell.ejected_since(now).is_some() => Some("it is ejected after failures"),
        (Service::Ready, _) if valve.is_some_and(|valve| valve.is_open(now)) => {
            Some("its circuit breaker is open")
        }
        (Service::Ready, _) if valve.is_some_and(|valve| valve.is_full(cell)) => {
            Some("it has as much as it may have")
        }
        (Service::Ready, _) if endpoint.weight == 0 => Some("weight 0: only sessions that it holds"),
        (Service::Ready, _) => None,
    };
    Candidate {
        address: endpoint.text.to_string(),
        state: if subject.live { cell.state_name(now) } else { "unknown" },
        service: cell.service().name(),
        weight: endpoint.weight,
        tier: endpoint.tier,
        zone: endpoint.zone.as_deref().map(str::to_owned),
        in_flight: cell.in_flight(),
        latency_us: u64::try_from(cell.ewma().as_micros()).unwrap_or(u64::MAX),
        left_out,
    }
}

fn balance(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round-robin",
        Algorithm::Random => "random",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::P2cEwma => "p2c-ewma",
        Algorithm::RingHash => "ring-hash",
        Algorithm::Maglev => "maglev",
    }
}

fn session_text(session: Session) -> &'static str {
    match session.endpoint() {
        Some(_) => "the cookie names an endpoint",
        None => "no valid cookie: the choice is made anew",
    }
}

/// Explanations draw lots too; nothing depends on these being unpredictable.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
