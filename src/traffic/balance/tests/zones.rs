//! Our zone first, and how traffic leaves it.

use super::*;
use crate::testing::upstream_by;

/// `near` endpoints in our zone, then `far` ones in another.
fn zoned(algorithm: Algorithm, near: u32, far: u32) -> Upstream {
    upstream_by(&rules(algorithm), places(near, far))
}

fn rules(algorithm: Algorithm) -> Rules {
    Rules { algorithm, zone: Some("a".into()), ..Rules::default() }
}

fn places(near: u32, far: u32) -> Vec<Endpoint> {
    let zone = |n| Some(if n < near { "a" } else { "b" }.into());
    (0..near + far).map(|n| Endpoint { zone: zone(n), ..endpoint(n, 1) }).collect()
}

fn take_down(upstream: &Upstream, places: std::ops::Range<usize>) {
    upstream.endpoints[places].iter().for_each(|endpoint| endpoint.cell.set_health(Health::Down, NOW, SLOW));
}

/// Of `picks`, how many went to the first `near` endpoints.
fn stayed(upstream: &Upstream, near: usize, picks: usize) -> usize {
    counts(upstream, picks)[..near].iter().sum()
}

#[test]
fn a_healthy_zone_keeps_everything() {
    for algorithm in ALL {
        let upstream = zoned(algorithm, 3, 7);
        assert_eq!(stayed(&upstream, 3, 1000), 1000, "{algorithm:?}");
        assert!(upstream.balancer.has_zones());
    }
}

#[test]
fn traffic_leaves_a_zone_in_proportion_to_its_health() {
    for algorithm in ALL {
        for (down, expected) in
            [(2, 1.0), (3, 1.0), (4, 6.0 / 7.0), (6, 4.0 / 7.0), (9, 1.0 / 7.0), (10, 0.0)]
        {
            let upstream = zoned(algorithm, 10, 10);
            take_down(&upstream, 0..down);
            let share = stayed(&upstream, 10, 6_000) as f64 / 6_000.0;
            assert!((share - expected).abs() < 0.02, "{algorithm:?}: {share} with {down} of 10 down");
        }
    }
}

#[test]
fn the_zone_keeps_what_the_others_cannot_take() {
    for algorithm in ALL {
        let upstream = zoned(algorithm, 4, 4);
        take_down(&upstream, 0..2);
        take_down(&upstream, 4..8);
        assert_eq!(stayed(&upstream, 4, 1000), 1000, "{algorithm:?}");
    }
}

#[test]
fn the_same_keys_leave_each_time_and_none_returns_while_it_gets_worse() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let upstream = zoned(algorithm, 10, 10);
        let gone = || -> Vec<u64> { (0..2000).filter(|&key| hashed(&upstream, key).index() >= 10).collect() };
        let mut before = gone();
        assert!(before.is_empty());
        for down in 1..=10 {
            take_down(&upstream, 0..down);
            let now = gone();
            assert_eq!(now, gone(), "{algorithm:?}: chance plays no part");
            assert!(before.iter().all(|key| now.contains(key)), "{algorithm:?}: a key came back");
            before = now;
        }
        assert_eq!(before.len(), 2000);
    }
}

#[test]
fn a_zone_that_comes_back_gets_its_traffic_step_by_step() {
    for algorithm in ALL {
        let upstream = zoned(algorithm, 4, 4);
        take_down(&upstream, 0..4);
        upstream.endpoints[..4].iter().for_each(|endpoint| endpoint.cell.set_health(Health::Up, NOW, SLOW));
        let share = stayed(&upstream, 4, 6_000) as f64 / 6_000.0;
        // A tenth of its capacity at first, of which 70 % would be enough.
        assert!((share - 1.0 / 7.0).abs() < 0.015, "{algorithm:?}: {share}");
    }
}

#[test]
fn without_a_zone_of_ours_nothing_changes() {
    for algorithm in ALL {
        let plain = equal(algorithm, 8);
        let elsewhere = Rules { zone: Some("c".into()), ..rules(algorithm) };
        let nowhere = Rules { zone: None, ..rules(algorithm) };
        for rules in [elsewhere, nowhere] {
            let upstream = upstream_by(&rules, places(4, 4));
            assert!(!upstream.balancer.has_zones());
            let (mut a, mut b) = (Rng::new(9), Rng::new(9));
            assert!(
                (0..504).all(|_| pick(&plain, &mut a, &[]) == pick(&upstream, &mut b, &[])),
                "{algorithm:?}"
            );
        }
    }
}

#[test]
fn zones_count_within_a_tier() {
    for algorithm in ALL {
        let mut endpoints = places(4, 0);
        for (n, zone) in [(0, "a"), (1, "b"), (2, "a"), (3, "b")] {
            endpoints[n].zone = Some(zone.into());
            endpoints[n].tier = u8::from(n >= 2);
        }
        let upstream = upstream_by(&rules(algorithm), endpoints);
        assert_eq!(counts(&upstream, 300), [300, 0, 0, 0], "{algorithm:?}");
        take_down(&upstream, 0..1);
        assert_eq!(
            counts(&upstream, 300),
            [0, 300, 0, 0],
            "{algorithm:?}: the other zone before the backups"
        );
        take_down(&upstream, 1..2);
        assert_eq!(counts(&upstream, 300), [0, 0, 300, 0], "{algorithm:?}: then a backup of our zone");
    }
}

#[test]
fn a_zone_that_is_cut_off_serves_by_itself() {
    for algorithm in ALL {
        let upstream = zoned(algorithm, 2, 18);
        take_down(&upstream, 2..20);
        assert_eq!(stayed(&upstream, 2, 1000), 1000, "{algorithm:?}");
        assert_eq!(upstream.balancer.failed_open(), 0, "{algorithm:?}: 10 % of all, but 100 % of ours");
        take_down(&upstream, 0..2);
        let counts = counts(&upstream, 10_000);
        assert!(counts.iter().all(|&count| count > 0), "{algorithm:?}: then everybody counts");
        assert!(upstream.balancer.failed_open() > 0);
    }
}

#[test]
fn another_attempt_leaves_the_zone_only_when_it_must() {
    for algorithm in ALL {
        let upstream = zoned(algorithm, 2, 2);
        let mut random = Rng::new(1);
        for _ in 0..100 {
            assert_eq!(pick(&upstream, &mut random, &[EndpointId(0)]), Ok(1), "{algorithm:?}");
            let key = random.next_u64();
            let avoid = [EndpointId(0), EndpointId(1)];
            let choice = upstream
                .pick(Pick { key, now: NOW, random: &mut random, avoid: &avoid, session: None })
                .unwrap();
            assert!(choice.endpoint.index() >= 2 && choice.other_zone, "{algorithm:?}: {choice:?}");
        }
    }
}

#[test]
fn a_large_zone_is_surveyed_now_and_then() {
    for algorithm in ALL {
        let upstream = zoned(algorithm, 100, 100);
        take_down(&upstream, 0..65);
        let share = stayed(&upstream, 100, 6_000) as f64 / 6_000.0;
        assert!((share - 0.5).abs() < 0.02, "{algorithm:?}: {share} with 35 % healthy");
    }
}
