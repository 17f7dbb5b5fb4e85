//! The bound of hashed loads.

use super::*;
use crate::testing::upstream_by;

const HASHING: [Algorithm; 2] = [Algorithm::RingHash, Algorithm::Maglev];

fn bounded(algorithm: Algorithm, factor: u32, weights: &[u32]) -> Upstream {
    let rules = Rules { algorithm, bounded_load_percent: Some(factor), ..Rules::default() };
    upstream_by(&rules, (0u32..).zip(weights).map(|(n, &weight)| endpoint(n, weight)).collect())
}

/// One attempt for `key` that does not end.
fn begin(upstream: &Upstream, key: u64) -> Choice {
    let choice = choose(upstream, key, NOW, &[]).unwrap();
    upstream.endpoint(choice.endpoint).cell.begin();
    choice
}

fn choose(upstream: &Upstream, key: u64, now: Instant, avoid: &[EndpointId]) -> Result<Choice, NoEndpoint> {
    upstream.pick(Pick { key, now, random: &mut Rng::new(0), avoid, session: None })
}

/// What an endpoint may have when `in_flight` attempts are under way, by the formula of the documentation.
fn most(factor: u32, in_flight: u32, weights: &[u32], at: usize) -> u32 {
    let members = weights.len() as f64;
    let mean_weight = f64::from(weights.iter().sum::<u32>()) / members;
    let limit = f64::from(factor) / 100.0 * (f64::from(in_flight) / members + 1.0);
    // What a float misses of a whole number must not become one more.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "loads of a test are small")]
    let most = (limit * f64::from(weights[at]) / mean_weight - 1e-9).ceil() as u32;
    most
}

proptest! {
    #![proptest_config(crate::testing::cases(60))]

    /// Whatever comes and goes, and however few keys there are: nobody gets more than the bound.
    #[test]
    fn no_endpoint_ever_exceeds_its_bound(
        algorithm in prop::sample::select(HASHING.to_vec()),
        factor in 101u32..300,
        weights in prop::collection::vec(1u32..10, 1..20),
        keys in 1u64..5,
        seed in any::<u64>(),
    ) {
        let upstream = bounded(algorithm, factor, &weights);
        let mut random = Rng::new(seed);
        let mut under_way = Vec::new();
        for _ in 0..300 {
            let before = u32::try_from(under_way.len()).unwrap();
            let at = begin(&upstream, random.below(keys)).endpoint.index();
            under_way.push(at);
            let has = upstream.endpoints[at].cell.in_flight();
            prop_assert!(has <= most(factor, before, &weights, at), "{has} of {before} at {at}");
            if random.one_in(3) {
                let done = under_way.swap_remove(random.index(under_way.len()));
                upstream.endpoints[done].cell.end();
            }
        }
    }
}

#[test]
fn a_popular_key_spills_over_in_an_order_of_its_own_and_comes_back() {
    for algorithm in HASHING {
        let orders: Vec<Vec<usize>> = (0..2)
            .map(|_| {
                let upstream = bounded(algorithm, 125, &[1; 10]);
                (0..100).map(|_| begin(&upstream, 7).endpoint.index()).collect()
            })
            .collect();
        assert_eq!(orders[0], orders[1], "{algorithm:?}: the same order each time");
        let upstream = bounded(algorithm, 125, &[1; 10]);
        let owner = hashed(&upstream, 7);
        assert_eq!(orders[0][0], owner.index());
        while begin(&upstream, 7).endpoint == owner {}
        let elsewhere = choose(&upstream, 7, NOW, &[]).unwrap();
        assert!(elsewhere.endpoint != owner && elsewhere.passed_over > 0, "{algorithm:?}");
        let cell = &upstream.endpoint(owner).cell;
        (0..cell.in_flight()).for_each(|_| cell.end());
        assert_eq!(
            choose(&upstream, 7, NOW, &[]),
            Ok(Choice::plain(owner)),
            "{algorithm:?}: there is room again"
        );
    }
}

#[test]
fn one_key_alone_loads_all_endpoints_evenly() {
    for algorithm in HASHING {
        let upstream = bounded(algorithm, 110, &[1; 10]);
        for _ in 0..1000 {
            begin(&upstream, 7);
        }
        let most = upstream.endpoints.iter().map(|endpoint| endpoint.cell.in_flight()).max();
        assert!(most <= Some(112), "{algorithm:?}: {most:?} with a mean of 100 and 110 %");
        let without =
            upstream_by(&Rules { algorithm, ..Rules::default() }, (0..10).map(|n| endpoint(n, 1)).collect());
        (0..100).for_each(|_| assert_eq!(begin(&without, 7), Choice::plain(hashed(&without, 7))));
    }
}

#[test]
fn endpoints_that_are_down_carry_no_part_of_the_mean() {
    for algorithm in HASHING {
        let upstream = bounded(algorithm, 101, &[1; 4]);
        upstream.endpoints[..2].iter().for_each(|e| e.cell.set_health(Health::Down, NOW, SLOW));
        for _ in 0..400 {
            let choice = begin(&upstream, 7);
            let limit = choice.passed_over <= 128;
            assert!(choice.endpoint.index() >= 2 && limit, "{algorithm:?}: {choice:?}");
        }
        let loads = [2, 3].map(|at: usize| upstream.endpoints[at].cell.in_flight());
        assert!(loads[0].abs_diff(loads[1]) <= 6, "{algorithm:?}: {loads:?}");
    }
}

#[test]
fn a_key_whose_endpoints_are_all_full_is_still_served() {
    for algorithm in HASHING {
        let upstream = bounded(algorithm, 101, &[1; 3]);
        let (full, empty) = (EndpointId(0), EndpointId(1));
        (0..50).for_each(|_| [full, EndpointId(2)].iter().for_each(|&id| upstream.endpoint(id).cell.begin()));
        let choice = choose(&upstream, 7, NOW, &[empty]).unwrap();
        assert_ne!(choice.endpoint, empty, "{algorithm:?}: it failed in this request");
    }
}

/// Large tiers count at most every millisecond; between two counts the bound is that of the last one.
#[test]
fn a_large_tier_keeps_the_bound_of_its_last_count() {
    for algorithm in HASHING {
        let upstream = bounded(algorithm, 125, &[1; 200]);
        let mut now = NOW;
        for _ in 0..50 {
            now = now + bound::CENSUS_EVERY;
            for _ in 0..40 {
                let choice = choose(&upstream, 7, now, &[]).unwrap();
                upstream.endpoint(choice.endpoint).cell.begin();
            }
        }
        let most = upstream.endpoints.iter().map(|endpoint| endpoint.cell.in_flight()).max();
        assert!(most <= Some(14), "{algorithm:?}: {most:?} with a mean of 10 and 125 %");
    }
}
