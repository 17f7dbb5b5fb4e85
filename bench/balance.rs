//! Choosing an endpoint, with every algorithm and three sizes of an upstream, all endpoints healthy.

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
use traffic::balance::{Algorithm, Balancer, HashKey, Pick};
use traffic::health::{EjectionRules, EndpointCell, Health};
use traffic::retry::RetryBudget;
use traffic::snapshot::{Endpoint, Upstream, UpstreamTimeouts};

pub(crate) fn picking() -> Vec<Case> {
    let algorithms = [
        ("round-robin", Algorithm::RoundRobin),
        ("random", Algorithm::Random),
        ("least-connections", Algorithm::LeastConnections),
        ("p2c-ewma", Algorithm::P2cEwma),
        ("ring-hash", Algorithm::RingHash),
        ("maglev", Algorithm::Maglev),
    ];
    let mut cases = Vec::new();
    for (name, algorithm) in algorithms {
        for endpoints in [3, 100, 10_000] {
            let case =
                Case::new("balance", format!("{name}-{endpoints}"), move || pick(algorithm, endpoints));
            // The tables of ten thousand endpoints take their time under valgrind.
            let is_slow = matches!(algorithm, Algorithm::RingHash | Algorithm::Maglev) && endpoints > 1_000;
            cases.push(if is_slow { case.not_counted() } else { case });
        }
    }
    cases
}

/// The choice, and the in-flight counts that an attempt takes and gives back.
fn pick(algorithm: Algorithm, endpoints: u32) -> Operation {
    let upstream = upstream(algorithm, endpoints);
    let mut random = Rng::new(1);
    let mut now = Instant::from_nanos(1_000_000_000);
    repeated(move || {
        now = now + Duration::from_micros(10);
        let key = random.next_u64();
        let pick = Pick { key, now, random: &mut random, avoid: &[] };
        let chosen = upstream.pick(pick).expect("there are endpoints");
        let cell = &upstream.endpoint(black_box(chosen)).cell;
        cell.begin();
        cell.end();
    })
}

fn upstream(algorithm: Algorithm, count: u32) -> Upstream {
    let endpoints: Vec<Endpoint> = (0..count).map(endpoint).collect();
    let balancer = Balancer::build(algorithm, Some(HashKey::ClientIp), &endpoints);
    Upstream {
        id: UpstreamId(0),
        name: "bench".into(),
        origin: Origin::built_in("bench"),
        endpoints,
        unresolved: false,
        balancer,
        timeouts: UpstreamTimeouts::default(),
        ejection: EjectionRules::default(),
        success_rate: None,
        budget: Arc::new(RetryBudget::new()),
        http: HttpLimits::DEFAULT,
    }
}

fn endpoint(n: u32) -> Endpoint {
    let addr = Addr::from(SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 80)));
    let text = addr.to_string().into();
    let cell = Arc::new(EndpointCell::new(Health::Up));
    Endpoint { id: EndpointId(n), addr, text, weight: 1 + n % 3, tier: 0, cell }
}
