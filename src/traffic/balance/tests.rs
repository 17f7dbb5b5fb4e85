use super::*;
use crate::health::{EjectionRules, EndpointCell, Health, Outcome};
use crate::snapshot::Upstream;
use crate::testing::{endpoint, get, upstream};
use base::rng::Rng;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

mod bounded;
mod placement;
mod sessions;
mod zones;

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::LeastConnections,
    Algorithm::P2cEwma,
    Algorithm::RingHash,
    Algorithm::Maglev,
];
const NOW: Instant = Instant::from_nanos(60_000_000_000);
const SLOW: Duration = Duration::from_secs(10);
const RULES: EjectionRules =
    EjectionRules { failures_in_a_row: 5, first: SLOW, longest: Duration::from_secs(300), slow_start: SLOW };

fn weighted(algorithm: Algorithm, weights: &[u32]) -> Upstream {
    upstream(algorithm, (0u32..).zip(weights).map(|(n, &weight)| endpoint(n, weight)).collect())
}

fn equal(algorithm: Algorithm, n: usize) -> Upstream {
    weighted(algorithm, &vec![1; n])
}

fn pick(upstream: &Upstream, random: &mut Rng, avoid: &[EndpointId]) -> Result<usize, NoEndpoint> {
    let key = random.next_u64();
    upstream.pick(Pick { key, now: NOW, random, avoid, session: None }).map(|choice| choice.endpoint.index())
}

/// How often each endpoint is chosen.
fn counts(upstream: &Upstream, picks: usize) -> Vec<usize> {
    let mut random = Rng::new(1);
    let mut counts = vec![0; upstream.endpoints.len()];
    (0..picks).for_each(|_| counts[pick(upstream, &mut random, &[]).unwrap()] += 1);
    counts
}

/// Where a key goes.
fn hashed(upstream: &Upstream, key: u64) -> EndpointId {
    let pick = Pick { key, now: NOW, random: &mut Rng::new(0), avoid: &[], session: None };
    upstream.pick(pick).unwrap().endpoint
}

fn owner(upstream: &Upstream, key: u64) -> std::sync::Arc<str> {
    upstream.endpoint(hashed(upstream, key)).text.clone()
}

#[test]
fn r121_turns_are_exact_in_every_cycle() {
    assert_eq!(counts(&weighted(Algorithm::RoundRobin, &[5, 1, 1]), 7 * 1000), [5000, 1000, 1000]);
    assert_eq!(counts(&weighted(Algorithm::RoundRobin, &[1000, 500, 250]), 7 * 100), [400, 200, 100]);
}

#[test]
fn turns_of_a_heavy_endpoint_are_spread_over_the_cycle() {
    let upstream = weighted(Algorithm::RoundRobin, &[4, 2, 1]);
    let mut random = Rng::new(1);
    let order: Vec<usize> = (0..7).map(|_| pick(&upstream, &mut random, &[]).unwrap()).collect();
    assert_eq!(order, [0, 1, 0, 2, 0, 1, 0]);
}

#[test]
fn r121_shares_follow_weights_of_any_size() {
    let weights: Vec<u32> = (0..997).map(|n| 1 + n * 7919 % 1000).collect();
    let total: u32 = weights.iter().sum();
    assert!(total > 1 << 16, "beyond what is written out");
    let picks = 1_000_000;
    let counts = counts(&weighted(Algorithm::RoundRobin, &weights), picks);
    for (count, weight) in counts.iter().zip(&weights) {
        let ideal = picks as f64 * f64::from(*weight) / f64::from(total);
        assert!((*count as f64 - ideal).abs() <= (ideal * 0.01).max(3.0), "{count} instead of {ideal}");
    }
}

#[test]
fn r121_random_shares_follow_the_weights() {
    let counts = counts(&weighted(Algorithm::Random, &[1, 2, 7]), 1_000_000);
    for (count, ideal) in counts.iter().zip([100_000.0, 200_000.0, 700_000.0]) {
        assert!((*count as f64 - ideal).abs() <= ideal * 0.01 + 1000.0, "{counts:?}");
    }
}

#[test]
fn several_workers_together_keep_the_turns_exact() {
    let upstream = weighted(Algorithm::RoundRobin, &[3, 1]);
    let work = |seed| {
        let mut random = Rng::new(seed);
        (0..4000).filter(|_| pick(&upstream, &mut random, &[]) == Ok(0)).count()
    };
    let first: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(first, 12_000);
}

#[test]
fn least_connections_takes_the_emptiest_per_weight() {
    let upstream = weighted(Algorithm::LeastConnections, &[1, 2, 1]);
    [2, 3, 2].into_iter().zip(&upstream.endpoints).for_each(|(n, e)| (0..n).for_each(|_| e.cell.begin()));
    assert!(counts(&upstream, 100) == [0, 100, 0], "3 of weight 2 is less than 2 of weight 1");
    upstream.endpoints[0].cell.end();
    assert!(counts(&upstream, 100) == [100, 0, 0]);
    upstream.endpoints[2].cell.end();
    let counts = counts(&upstream, 10_000);
    assert!(counts[1] == 0 && counts[0].abs_diff(counts[2]) < 500, "ties go by chance: {counts:?}");
}

#[test]
fn idle_endpoints_share_by_weight_under_least_connections() {
    let counts = counts(&weighted(Algorithm::LeastConnections, &[3, 1]), 40_000);
    assert!(counts[1].abs_diff(10_000) < 500, "{counts:?}");
}

/// The stated error of the sample: outside the emptiest eighth once in 600.
#[test]
fn least_connections_among_thousands_takes_one_of_the_emptiest() {
    let upstream = equal(Algorithm::LeastConnections, 4_000);
    upstream.endpoints.iter().enumerate().for_each(|(n, e)| (0..n % 80).for_each(|_| e.cell.begin()));
    let counts = counts(&upstream, 12_000);
    let beyond =
        |load: usize| counts.iter().enumerate().filter(|(n, _)| n % 80 >= load).map(|(_, c)| c).sum();
    let (eighth, twentieth): (usize, usize) = (beyond(10), beyond(4));
    assert!((5..60).contains(&eighth), "{eighth} of 12,000 instead of 20 outside the emptiest eighth");
    assert!((800..1250).contains(&twentieth), "{twentieth} instead of 1,023 outside the emptiest twentieth");
}

#[test]
fn two_choices_prefer_the_quicker_and_the_less_busy() {
    let upstream = equal(Algorithm::P2cEwma, 2);
    for (endpoint, millis) in upstream.endpoints.iter().zip([1, 50]) {
        endpoint.cell.observe(NOW, Duration::from_millis(millis), Outcome::Success, &RULES);
    }
    assert_eq!(counts(&upstream, 100), [100, 0]);
    (0..60).for_each(|_| upstream.endpoints[0].cell.begin());
    assert_eq!(counts(&upstream, 100), [0, 100], "61 x 1 ms is more than 50 ms");
}

#[test]
fn an_endpoint_without_history_is_tried_with_one_attempt_at_a_time() {
    let upstream = equal(Algorithm::P2cEwma, 2);
    upstream.endpoints[0].cell.observe(NOW, Duration::from_millis(5), Outcome::Success, &RULES);
    assert_eq!(counts(&upstream, 10), [0, 10]);
    upstream.endpoints[1].cell.begin();
    assert_eq!(counts(&upstream, 10), [10, 0]);
}

/// Attempts arrive one by one; each endpoint works on its own with a service time of its own.
#[test]
fn r121_two_choices_keep_the_busiest_endpoint_within_twice_the_mean() {
    let upstream = equal(Algorithm::P2cEwma, 50);
    let mut random = Rng::new(3);
    let mut under_way: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut worst = Vec::new();
    for step in 0..1_000_000 {
        let at = pick(&upstream, &mut random, &[]).unwrap();
        upstream.endpoints[at].cell.begin();
        under_way.push_back(at);
        if under_way.len() > 500 {
            let index = random.index(under_way.len());
            let done = under_way.swap_remove_back(index).unwrap();
            upstream.endpoints[done].cell.observe(NOW, Duration::from_millis(10), Outcome::Success, &RULES);
            upstream.endpoints[done].cell.end();
        }
        if step > 1000 && step % 100 == 0 {
            worst.push(upstream.endpoints.iter().map(|e| e.cell.in_flight()).max().unwrap());
        }
    }
    worst.sort_unstable();
    let p99 = worst[worst.len() * 99 / 100];
    assert!(p99 <= 20, "{p99} with a mean of 10");
}

#[test]
fn r121_removing_an_endpoint_moves_its_share_and_at_most_one_percent_more() {
    for (algorithm, n) in [
        (Algorithm::RingHash, 10),
        (Algorithm::RingHash, 40),
        (Algorithm::Maglev, 10),
        (Algorithm::Maglev, 40),
    ] {
        let whole = equal(algorithm, n);
        let mut random = Rng::new(5);
        let owned: Vec<_> =
            (0..10_000).map(|_| random.next_u64()).map(|key| (key, owner(&whole, key))).collect();
        for removed in (0..n).step_by(n / 10) {
            let rest = upstream(algorithm, without(n, removed));
            let moved = owned.iter().filter(|(key, before)| owner(&rest, *key) != *before).count();
            let beyond = moved as f64 / owned.len() as f64 - 1.0 / n as f64;
            assert!(beyond <= 0.01, "{algorithm:?} with {n}: {beyond:.4} beyond the share");
        }
    }
}

#[test]
fn a_ring_moves_only_the_keys_of_the_endpoint_that_went() {
    let whole = equal(Algorithm::RingHash, 20);
    let rest = upstream(Algorithm::RingHash, without(20, 7));
    let gone = endpoint(7, 1).text;
    for key in 0..5000 {
        let before = owner(&whole, key);
        assert!(before == gone || owner(&rest, key) == before, "{key}");
    }
}

/// `n` endpoints but for number `removed`.
fn without(n: usize, removed: usize) -> Vec<Endpoint> {
    let left = (0u32..).take(n).filter(|&at| at as usize != removed);
    (0u32..).zip(left).map(|(place, at)| Endpoint { id: EndpointId(place), ..endpoint(at, 1) }).collect()
}

#[test]
fn consistent_hashing_does_not_depend_on_the_order_of_the_configuration() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let straight = weighted(algorithm, &[1, 2, 3, 4]);
        let turned = (0u32..)
            .zip([3u32, 0, 2, 1])
            .map(|(place, at)| Endpoint { id: EndpointId(place), ..endpoint(at, at + 1) });
        let turned = upstream(algorithm, turned.collect());
        assert!((0..5000).all(|key| owner(&straight, key) == owner(&turned, key)), "{algorithm:?}");
    }
}

/// Fixed expectations: a new version must not move keys either.
#[test]
fn consistent_hashing_never_changes_from_version_to_version() {
    let owners = |algorithm| -> Vec<u32> {
        let upstream = equal(algorithm, 5);
        (0..12).map(|key| hashed(&upstream, key).0).collect()
    };
    assert_eq!(owners(Algorithm::RingHash), [4, 3, 0, 1, 4, 1, 1, 0, 4, 1, 2, 2]);
    assert_eq!(owners(Algorithm::Maglev), [2, 3, 3, 2, 0, 3, 1, 4, 4, 1, 0, 2]);
    assert_eq!(key::stable_hash(b"192.0.2.1"), 10_359_461_536_433_910_595);
}

#[test]
fn r121_hashed_shares_follow_the_weights() {
    for (algorithm, error) in [(Algorithm::RingHash, 0.15), (Algorithm::Maglev, 0.02)] {
        let weights = [1, 2, 4, 8, 1];
        let counts = counts(&weighted(algorithm, &weights), 200_000);
        for (count, weight) in counts.iter().zip(weights) {
            let ideal = 200_000.0 * f64::from(weight) / 16.0;
            assert!(
                (*count as f64 - ideal).abs() <= ideal * error,
                "{algorithm:?}: {count} instead of {ideal}"
            );
        }
    }
}

#[test]
fn tables_of_extreme_weights_are_built_in_time_and_have_a_bound() {
    let mut weights = vec![1; 3000];
    weights[0] = 1000;
    for algorithm in ALL {
        let counts = counts(&weighted(algorithm, &weights), 4000);
        if algorithm != Algorithm::P2cEwma {
            assert!((700..1300).contains(&counts[0]), "{algorithm:?}: {}", counts[0]);
        }
    }
}

#[test]
fn the_key_keeps_a_client_at_its_endpoint() {
    let upstream = equal(Algorithm::Maglev, 5);
    let request = get("a", "/");
    let key = |addr: &str| upstream.hash_key(request.request(), addr.parse().unwrap());
    assert_eq!(key("192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    let without = equal(Algorithm::RoundRobin, 5);
    assert_eq!(without.hash_key(request.request(), "192.0.2.1".parse().unwrap()), None);
    let by = |key: HashKey, target: &str, fields: &[(&str, &str)]| {
        let parsed = crate::testing::parse("GET", "a", target, fields);
        key.hash(parsed.request(), "192.0.2.1".parse().unwrap())
    };
    let name = || Box::from(b"user".as_slice());
    assert_eq!(by(HashKey::Header(name()), "/", &[]), None);
    let same = by(HashKey::Header(name()), "/", &[("User", "7")]);
    assert_eq!(same, by(HashKey::Cookie(name()), "/", &[("Cookie", "a=b; user=7")]));
    assert_eq!(same, by(HashKey::Query(name()), "/?user=7", &[]));
    assert_eq!(by(HashKey::Path, "/x?1", &[]), by(HashKey::Path, "/x?2", &[]));
}

#[test]
fn endpoints_that_are_down_get_nothing_and_the_others_keep_their_proportions() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 4);
        upstream.endpoints[2].cell.set_health(Health::Down, NOW, SLOW);
        let counts = counts(&upstream, 30_000);
        assert_eq!(counts[2], 0, "{algorithm:?}");
        let error = if algorithm == Algorithm::RingHash { 3000 } else { 700 };
        assert!([0, 1, 3].iter().all(|&at| counts[at].abs_diff(10_000) < error), "{algorithm:?}: {counts:?}");
        assert_eq!(upstream.balancer.failed_open(), 0);
    }
}

#[test]
fn below_thirty_percent_all_endpoints_count() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 10);
        upstream.endpoints[..7].iter().for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        assert_eq!(counts(&upstream, 1000)[..7].iter().sum::<usize>(), 0, "{algorithm:?}: 30 % is enough");
        upstream.endpoints[7].cell.set_health(Health::Down, NOW, SLOW);
        let counts = counts(&upstream, 10_000);
        assert!(counts.iter().all(|&n| n > 0), "{algorithm:?}: {counts:?}");
        assert!(upstream.balancer.failed_open() > 0, "and it is counted");
    }
}

#[test]
fn r119_an_upstream_that_is_down_as_a_whole_is_still_tried() {
    for algorithm in ALL {
        for n in [1, 3, 100] {
            let upstream = equal(algorithm, n);
            upstream.endpoints.iter().for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
            assert!(pick(&upstream, &mut Rng::new(1), &[]).is_ok(), "{algorithm:?} {n}");
        }
    }
}

#[test]
fn higher_tiers_serve_only_when_lower_ones_cannot() {
    for algorithm in ALL {
        let mut endpoints: Vec<_> = (0..6).map(|n| endpoint(n, 1)).collect();
        endpoints[3..].iter_mut().for_each(|e| e.tier = 1);
        let upstream = upstream(algorithm, endpoints);
        let used = |at: std::ops::Range<usize>| counts(&upstream, 300)[at].iter().sum::<usize>();
        assert_eq!(used(0..3), 300, "{algorithm:?}");
        upstream.endpoints[..3].iter().for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        assert_eq!((used(3..6), upstream.balancer.failed_open()), (300, 0), "{algorithm:?}");
        upstream.endpoints[3..].iter().for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        assert_eq!(used(0..3), 300, "{algorithm:?}: nothing is healthy, the first tier fails open");
        assert!(upstream.balancer.failed_open() > 0);
    }
}

fn eject(upstream: &Upstream, at: usize) {
    let before = NOW - Duration::from_secs(1);
    (0..5).for_each(|_| {
        upstream.endpoints[at].cell.observe(before, Duration::ZERO, Outcome::ConnectFailed, &RULES)
    });
}

#[test]
fn ejections_are_honoured_up_to_thirty_percent_and_never_for_the_last() {
    for algorithm in ALL {
        for (n, ejected, honoured) in
            [(1, 1, 0), (2, 1, 1), (2, 2, 1), (3, 3, 1), (10, 3, 3), (10, 7, 3), (10, 10, 3)]
        {
            let upstream = equal(algorithm, n);
            (0..ejected).for_each(|at| eject(&upstream, at));
            let unused = counts(&upstream, 5000).iter().filter(|&&count| count == 0).count();
            assert_eq!(unused, honoured, "{algorithm:?}: {ejected} of {n}");
            assert_eq!(upstream.balancer.failed_open(), 0);
        }
    }
}

#[test]
fn ejected_endpoints_beyond_the_cap_attract_nobody_by_being_idle() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 6);
        (0..2).for_each(|at| eject(&upstream, at));
        // The others answer, and have something to do.
        for endpoint in &upstream.endpoints[2..] {
            endpoint.cell.observe(NOW, Duration::from_millis(1), Outcome::Success, &RULES);
            (0..20).for_each(|_| endpoint.cell.begin());
        }
        let counts = counts(&upstream, 10_000);
        let failing = counts[0] + counts[1];
        let most = if algorithm == Algorithm::RingHash { 4000 } else { 2200 };
        assert!(failing < most, "{algorithm:?}: {counts:?}, and a fifth is its share");
    }
}

#[test]
fn the_last_endpoint_that_is_up_cannot_be_ejected() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 3);
        upstream.endpoints[..2].iter().for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        eject(&upstream, 2);
        assert_eq!(counts(&upstream, 100), [0, 0, 100], "{algorithm:?}");
    }
}

#[test]
fn endpoints_to_avoid_are_avoided_as_long_as_there_is_another() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 3);
        let mut random = Rng::new(1);
        let all = [EndpointId(0), EndpointId(1), EndpointId(2)];
        for _ in 0..200 {
            assert_eq!(pick(&upstream, &mut random, &all[..2]), Ok(2), "{algorithm:?}");
            assert!(pick(&upstream, &mut random, &all).is_ok());
        }
        upstream.endpoints[1].cell.set_health(Health::Down, NOW, SLOW);
        upstream.endpoints[2].cell.set_health(Health::Down, NOW, SLOW);
        assert_eq!(
            pick(&upstream, &mut random, &all[..1]),
            Ok(0),
            "{algorithm:?}: better than one that is down"
        );
    }
}

#[test]
fn an_endpoint_in_slow_start_gets_a_small_share_and_alone_everything() {
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::Random, Algorithm::P2cEwma, Algorithm::LeastConnections]
    {
        let upstream = equal(algorithm, 4);
        let cell = &upstream.endpoints[0].cell;
        upstream
            .endpoints
            .iter()
            .for_each(|e| e.cell.observe(NOW, Duration::from_millis(1), Outcome::Success, &RULES));
        cell.set_health(Health::Down, NOW, SLOW);
        cell.set_health(Health::Up, NOW, SLOW);
        let counts = counts(&upstream, 10_000);
        assert!(counts[0] < 700, "{algorithm:?}: {counts:?}");
    }
    for algorithm in ALL {
        let upstream = equal(algorithm, 1);
        upstream.endpoints[0].cell.set_health(Health::Down, NOW, SLOW);
        upstream.endpoints[0].cell.set_health(Health::Up, NOW, SLOW);
        assert_eq!(counts(&upstream, 100), [100], "{algorithm:?}");
    }
}

fn with(upstream: Upstream, thresholds: Thresholds) -> Upstream {
    Upstream { balancer: upstream.balancer.with_thresholds(thresholds), ..upstream }
}

#[test]
fn r119_an_upstream_that_does_not_fail_open_serves_with_what_is_healthy_and_then_not_at_all() {
    let closed = Thresholds { healthy_permille_min: 0, fail_open: false, ..Thresholds::default() };
    for algorithm in ALL {
        let upstream = with(equal(algorithm, 10), closed);
        upstream.endpoints.iter().skip(1).for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        assert_eq!(counts(&upstream, 50)[0], 50, "{algorithm:?}: one of ten is enough");
        upstream.endpoints[0].cell.set_health(Health::Down, NOW, SLOW);
        assert_eq!(pick(&upstream, &mut Rng::new(1), &[]), Err(NoEndpoint::Unhealthy), "{algorithm:?}");
        assert_eq!((upstream.balancer.failed_open(), upstream.balancer.panics(NOW)), (0, false));
    }
}

#[test]
fn r119_the_share_from_which_all_endpoints_count_is_the_upstreams_own() {
    let half = Thresholds { healthy_permille_min: 500, ..Thresholds::default() };
    let upstream = with(equal(Algorithm::Random, 10), half);
    upstream.endpoints.iter().skip(5).for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
    assert!(counts(&upstream, 1000)[5..].iter().all(|count| *count == 0));
    assert!(!upstream.balancer.panics(NOW));
    upstream.endpoints[4].cell.set_health(Health::Down, NOW, SLOW);
    assert!(upstream.balancer.panics(NOW));
    assert!(counts(&upstream, 1000).iter().all(|count| *count > 0));
}

#[test]
fn how_many_ejections_are_honoured_is_the_upstreams_own() {
    let most = Thresholds { ejected_permille_max: 1000, healthy_permille_min: 0, ..Thresholds::default() };
    let none = Thresholds { ejected_permille_max: 0, ..Thresholds::default() };
    for (thresholds, served) in [(most, 1), (none, 4)] {
        let upstream = with(equal(Algorithm::RoundRobin, 4), thresholds);
        for endpoint in &upstream.endpoints {
            (0..5).for_each(|_| endpoint.cell.observe(NOW, Duration::ZERO, Outcome::GatewayError, &RULES));
        }
        let serving = counts(&upstream, 400).iter().filter(|count| **count > 0).count();
        assert_eq!(serving, served, "{thresholds:?}");
    }
}

fn unchecked(n: u32) -> Endpoint {
    Endpoint { cell: Arc::new(EndpointCell::new(Health::Checking)), ..endpoint(n, 1) }
}

#[test]
fn as_long_as_nothing_is_known_the_caller_is_asked_to_wait() {
    for algorithm in ALL {
        let upstream = upstream(algorithm, (0..4).map(unchecked).collect());
        assert_eq!(pick(&upstream, &mut Rng::new(1), &[]), Err(NoEndpoint::Unchecked), "{algorithm:?}");
        assert!(!upstream.balancer.panics(NOW));
        let anyway = Pick { key: 7, now: NOW, random: &mut Rng::new(1), avoid: &[], session: None };
        assert!(upstream.pick_unchecked(anyway).is_ok(), "{algorithm:?}: who has waited is served");
        upstream.endpoints[2].cell.set_health(Health::Up, NOW, SLOW);
        assert_eq!(counts(&upstream, 100)[2], 100, "{algorithm:?}: the first one that is up takes all");
        let failed_open = upstream.balancer.failed_open();
        upstream.endpoints.iter().for_each(|endpoint| endpoint.cell.set_checked());
        assert!(upstream.balancer.panics(NOW), "one of four is up, and of the others a check has failed");
        counts(&upstream, 100);
        assert!(upstream.balancer.failed_open() > failed_open);
    }
}

#[test]
fn r123_no_endpoints_and_no_weights_are_an_error() {
    for algorithm in ALL {
        for upstream in [equal(algorithm, 0), weighted(algorithm, &[0, 0])] {
            assert_eq!(pick(&upstream, &mut Rng::new(1), &[]), Err(NoEndpoint::Absent), "{algorithm:?}");
        }
        assert_eq!(counts(&weighted(algorithm, &[0, 1]), 100), [0, 100], "{algorithm:?}");
    }
}

#[test]
fn r123_ten_thousand_endpoints_are_built_and_chosen_from() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 10_000);
        upstream.endpoints.iter().step_by(2).for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        let counts = counts(&upstream, 2_000);
        assert_eq!(counts.iter().step_by(2).sum::<usize>(), 0, "{algorithm:?}");
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(300))]

    /// Whatever the states, tiers and weights: someone is chosen if anyone has a weight; if enough of a tier is healthy,
    /// the chosen one is healthy.
    #[test]
    fn a_choice_is_always_made_and_always_sound(
        algorithm in prop::sample::select(ALL.to_vec()),
        states in prop::collection::vec((0u32..4, 0u8..3, 0u8..4), 0..12),
        avoided in prop::collection::vec(0u32..12, 0..3),
        seed in any::<u64>(),
    ) {
        let endpoints = (0u32..).zip(&states).map(|(n, &(weight, tier, _))| {
            Endpoint { tier, ..endpoint(n, weight) }
        });
        let upstream = upstream(algorithm, endpoints.collect());
        for (endpoint, &(_, _, state)) in upstream.endpoints.iter().zip(&states) {
            match state {
                0 => endpoint.cell.set_health(Health::Down, NOW, SLOW),
                1 => (0..5).for_each(|_| endpoint.cell.observe(NOW, Duration::ZERO, Outcome::GatewayError, &RULES)),
                _ => {}
            }
        }
        let avoid: Vec<EndpointId> = avoided.into_iter().map(EndpointId).collect();
        let usable = |at: usize| upstream.endpoints[at].weight > 0;
        let picked = pick(&upstream, &mut Rng::new(seed), &avoid);
        let Ok(at) = picked else {
            prop_assert!((0..states.len()).all(|at| !usable(at)));
            return Ok(());
        };
        prop_assert!(usable(at));
        let others = || {
            let all = (0usize..states.len()).zip((0u32..).map(EndpointId));
            all.filter(|&(at, id)| usable(at) && !avoid.contains(&id)).map(|(at, _)| at)
        };
        let all_healthy = states.iter().all(|&(_, _, state)| state >= 2);
        if all_healthy && others().count() > 0 {
            prop_assert!(others().any(|other| other == at), "one to avoid is taken");
            prop_assert_eq!(Some(states[at].1), others().map(|other| states[other].1).min(), "the first tier that can");
        }
        let healthy = others().filter(|&other| upstream.endpoints[other].cell.is_available(NOW)).count();
        if healthy * 100 >= states.len() * 30 {
            // If all tiers were below the share, the whole would be.
            prop_assert_eq!(upstream.balancer.failed_open(), 0);
        }
    }
}
