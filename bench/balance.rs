//! Choosing an endpoint, with every algorithm and sizes from one endpoint to ten thousand, all of them healthy; the same
//! with a bound of the load, with zones and for sessions; and building the tables.

use crate::{Case, Operation, repeated};
use base::Instant;
use base::addr::Addr;
use base::ids::{EndpointId, UpstreamId};
use base::limits::HttpLimits;
use base::rng::Rng;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use traffic::Origin;
use traffic::balance::{Algorithm, Balancer, HashKey, Pick, Rules};
use traffic::health::{EjectionRules, EndpointCell, Health};
use traffic::retry::RetryBudget;
use traffic::snapshot::{Endpoint, Upstream, UpstreamTimeouts};
use traffic::upstream_stats::UpstreamStats;

const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("round-robin", Algorithm::RoundRobin),
    ("random", Algorithm::Random),
    ("least-connections", Algorithm::LeastConnections),
    ("p2c-ewma", Algorithm::P2cEwma),
    ("ring-hash", Algorithm::RingHash),
    ("maglev", Algorithm::Maglev),
];

pub(crate) fn picking() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, algorithm) in ALGORITHMS {
        for endpoints in [1, 10, 100, 1_000, 10_000] {
            let rules = Rules { algorithm, ..Rules::default() };
            let case = Case::new("balance", format!("{name}-{endpoints}"), move || pick(&rules, endpoints));
            cases.push(if takes_long(algorithm, endpoints) { case.not_counted() } else { case });
        }
    }
    for (name, algorithm) in [("ring-hash", Algorithm::RingHash), ("maglev", Algorithm::Maglev)] {
        for endpoints in [10, 100] {
            let rules = Rules { algorithm, bounded_load_percent: Some(125), ..Rules::default() };
            cases.push(Case::new("balance", format!("{name}-bounded-{endpoints}"), move || {
                pick_under_load(&rules, endpoints)
            }));
        }
    }
    for endpoints in [10, 100] {
        let rules = Rules { zone: Some("zone-0".into()), ..Rules::default() };
        cases.push(Case::new("balance", format!("p2c-ewma-zones-{endpoints}"), move || {
            pick(&rules, endpoints)
        }));
    }
    cases
}

/// Tables of every algorithm for ten thousand endpoints: what a reload pays.
pub(crate) fn building() -> Vec<Case> {
    let case = |(name, algorithm)| {
        let name = format!("build-{name}-10000");
        Case::new("balance", name, move || build(algorithm, 10_000)).not_counted()
    };
    ALGORITHMS.into_iter().map(case).collect()
}

/// The tables of ten thousand endpoints take their time under valgrind.
fn takes_long(algorithm: Algorithm, endpoints: u32) -> bool {
    matches!(algorithm, Algorithm::RingHash | Algorithm::Maglev) && endpoints > 1_000
}

/// The choice, and the in-flight counts that an attempt takes and gives back.
fn pick(rules: &Rules, endpoints: u32) -> Operation {
    picking_from(upstream(rules, endpoints))
}

/// The same while each endpoint has four attempts in flight, so that the bound has to be looked at.
fn pick_under_load(rules: &Rules, endpoints: u32) -> Operation {
    let upstream = upstream(rules, endpoints);
    upstream.endpoints.iter().for_each(|endpoint| (0..4).for_each(|_| endpoint.cell.begin()));
    picking_from(upstream)
}

fn picking_from(upstream: Upstream) -> Operation {
    let mut random = Rng::new(1);
    let mut now = Instant::from_nanos(1_000_000_000);
    repeated(move || {
        now = now + Duration::from_micros(10);
        let key = random.next_u64();
        let pick = Pick { key, now, random: &mut random, avoid: &[], session: None };
        let chosen = upstream.pick(pick).expect("there are endpoints").endpoint;
        let cell = &upstream.endpoint(black_box(chosen)).cell;
        cell.begin();
        cell.end();
    })
}

fn build(algorithm: Algorithm, count: u32) -> Operation {
    let endpoints: Vec<Endpoint> = (0..count).map(endpoint).collect();
    let rules = Rules { algorithm, ..Rules::default() };
    repeated(move || drop(black_box(Balancer::build(&rules, &endpoints))))
}

fn upstream(rules: &Rules, count: u32) -> Upstream {
    let endpoints: Vec<Endpoint> = (0..count).map(endpoint).collect();
    let balancer = Balancer::build(&Rules { key: Some(HashKey::ClientIp), ..rules.clone() }, &endpoints);
    Upstream {
        id: UpstreamId(0),
        name: "bench".into(),
        origin: Origin::built_in("bench"),
        endpoints,
        balancer,
        sticky: None,
        stats: Arc::new(UpstreamStats::new(1)),
        egress: None,
        send_proxy: None,
        timeouts: UpstreamTimeouts::default(),
        ejection: EjectionRules::default(),
        success_rate: None,
        budget: Arc::new(RetryBudget::new()),
        admission: None,
        unresolved: false,
        http: HttpLimits::DEFAULT,
        http2: false,
    }
}

pub(crate) fn endpoint(n: u32) -> Endpoint {
    let addr = Addr::from(SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 80)));
    let text = addr.to_string().into();
    let cell = Arc::new(EndpointCell::new(Health::Up));
    let zone = Some(format!("zone-{}", n % 3).into());
    Endpoint { id: EndpointId(n), addr, text, weight: 1 + n % 3, tier: 0, zone, cell, valve: None, tls: None }
}
