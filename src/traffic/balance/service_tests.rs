//! Endpoints that an operator took out of service, under every algorithm.

use super::*;
use crate::health::{Health, Service};
use crate::testing::{endpoint, upstream};

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::LeastConnections,
    Algorithm::P2cEwma,
    Algorithm::RingHash,
    Algorithm::Maglev,
];
const NOW: Instant = Instant::from_nanos(60_000_000_000);

/// `primaries` endpoints in tier 0 and as many of the rest in tier 1, all up.
fn tiers(algorithm: Algorithm, primaries: u32, backups: u32) -> Upstream {
    let endpoints = (0..primaries + backups).map(|n| {
        let mut one = endpoint(n, 1 + n % 3);
        one.tier = u8::from(n >= primaries);
        one
    });
    upstream(algorithm, endpoints.collect())
}

/// Which endpoints 2,000 requests reach.
fn reached(upstream: &Upstream) -> Vec<usize> {
    let mut random = Rng::new(1);
    let mut hit = vec![false; upstream.endpoints.len()];
    for _ in 0..2000 {
        let key = random.next_u64();
        let found = upstream.pick(Pick { key, now: NOW, random: &mut random, avoid: &[], session: None });
        hit[found.unwrap().endpoint.index()] = true;
    }
    (0..hit.len()).filter(|&at| hit[at]).collect()
}

fn set(upstream: &Upstream, at: impl IntoIterator<Item = usize>, service: Service) {
    for at in at {
        upstream.endpoints[at].cell.set_service(service);
    }
}

fn fail(upstream: &Upstream, at: impl IntoIterator<Item = usize>) {
    at.into_iter()
        .for_each(|at| upstream.endpoints[at].cell.set_health(Health::Down, NOW, std::time::Duration::ZERO));
}

#[test]
fn an_endpoint_out_of_service_gets_nothing_until_it_is_back() {
    for (algorithm, service) in ALL.into_iter().flat_map(|a| [(a, Service::Drain), (a, Service::Down)]) {
        let upstream = tiers(algorithm, 4, 0);
        set(&upstream, [1], service);
        assert_eq!(reached(&upstream), [0, 2, 3], "{algorithm:?} {service}");
        set(&upstream, [1], Service::Ready);
        assert_eq!(reached(&upstream), [0, 1, 2, 3], "{algorithm:?} {service}");
    }
}

#[test]
fn taking_most_of_a_tier_out_does_not_make_the_rest_look_broken() {
    for algorithm in ALL {
        // Small tiers are surveyed each time, large ones from time to time.
        for primaries in [10, 200] {
            let upstream = tiers(algorithm, primaries, 2);
            let most = primaries as usize - 1;
            set(&upstream, 0..most, Service::Drain);
            assert_eq!(reached(&upstream), [most], "{algorithm:?} {primaries}");
            assert_eq!(upstream.balancer.failed_open(), 0);
        }
    }
}

#[test]
fn a_tier_that_is_wholly_out_of_service_leaves_the_requests_to_the_next() {
    for algorithm in ALL {
        let upstream = tiers(algorithm, 3, 2);
        set(&upstream, 0..3, Service::Drain);
        assert_eq!(reached(&upstream), [3, 4], "{algorithm:?}");
        // Also when that one has to fail open.
        fail(&upstream, 3..5);
        assert_eq!(reached(&upstream), [3, 4], "{algorithm:?}");
        assert_eq!(upstream.balancer.failed_open(), 2000);
    }
}

#[test]
fn what_is_out_of_service_stays_out_when_everything_else_is_down() {
    for algorithm in ALL {
        let upstream = tiers(algorithm, 4, 0);
        set(&upstream, [0], Service::Down);
        set(&upstream, [2], Service::Drain);
        fail(&upstream, 0..4);
        assert_eq!(reached(&upstream), [1, 3], "{algorithm:?}");
    }
}

#[test]
fn nobody_in_service_is_an_error_at_once() {
    for algorithm in ALL {
        let upstream = tiers(algorithm, 3, 1);
        set(&upstream, 0..4, Service::Down);
        let pick = Pick { key: 1, now: NOW, random: &mut Rng::new(1), avoid: &[], session: None };
        assert_eq!(upstream.pick(pick), Err(NoEndpoint::Absent), "{algorithm:?}");
    }
}
