//! Where a session is held, and when it moves.

use super::*;
use crate::health::Service;
use crate::testing::upstream_by;

/// Where 100 requests of a session at `held` go.
fn of_session(upstream: &Upstream, held: usize, avoid: &[EndpointId]) -> Vec<usize> {
    let mut random = Rng::new(1);
    let held = Some(EndpointId(u32::try_from(held).unwrap()));
    let mut pick = || {
        let key = random.next_u64();
        upstream
            .pick(Pick { key, now: NOW, random: &mut random, avoid, session: held })
            .unwrap()
            .endpoint
            .index()
    };
    (0..100).map(|_| pick()).collect()
}

fn always(at: usize) -> Vec<usize> {
    vec![at; 100]
}

#[test]
fn a_session_stays_whatever_the_algorithm_would_choose() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 5);
        (0..50).for_each(|_| upstream.endpoints[3].cell.begin());
        assert_eq!(of_session(&upstream, 3, &[]), always(3), "{algorithm:?}");
    }
}

#[test]
fn a_session_leaves_an_endpoint_that_is_down_ejected_or_failed_this_request() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 10);
        assert!(!of_session(&upstream, 1, &[EndpointId(1)]).contains(&1), "{algorithm:?}: failed");
        eject(&upstream, 1);
        assert!(!of_session(&upstream, 1, &[]).contains(&1), "{algorithm:?}: ejected");
        upstream.endpoints[2].cell.set_health(Health::Down, NOW, SLOW);
        assert!(!of_session(&upstream, 2, &[]).contains(&2), "{algorithm:?}: down");
    }
}

#[test]
fn a_session_stays_where_an_ejection_is_not_honoured() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 10);
        (0..10).for_each(|at| eject(&upstream, at));
        let held = (0..10).filter(|&at| of_session(&upstream, at, &[]) == always(at)).count();
        assert_eq!(held, 7, "{algorithm:?}: three ejections are honoured");
    }
}

#[test]
fn a_session_stays_when_nothing_is_healthy_and_everything_counts() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 4);
        upstream.endpoints.iter().for_each(|endpoint| endpoint.cell.set_health(Health::Down, NOW, SLOW));
        assert_eq!(of_session(&upstream, 2, &[]), always(2), "{algorithm:?}");
        assert!(!of_session(&upstream, 2, &[EndpointId(2)]).contains(&2), "{algorithm:?}");
        assert!(upstream.balancer.failed_open() > 0);
    }
}

#[test]
fn an_endpoint_without_weight_keeps_its_sessions_and_gets_no_new_ones() {
    for algorithm in ALL {
        let upstream = weighted(algorithm, &[1, 0, 1]);
        assert_eq!(counts(&upstream, 1000)[1], 0, "{algorithm:?}");
        assert_eq!(of_session(&upstream, 1, &[]), always(1), "{algorithm:?}");
        eject(&upstream, 1);
        assert!(!of_session(&upstream, 1, &[]).contains(&1), "{algorithm:?}");
    }
}

#[test]
fn an_endpoint_that_drains_keeps_its_sessions_and_one_that_is_taken_down_does_not() {
    for algorithm in ALL {
        let upstream = equal(algorithm, 4);
        let cell = &upstream.endpoints[1].cell;
        cell.set_service(Service::Drain);
        assert_eq!(counts(&upstream, 1000)[1], 0, "{algorithm:?}");
        assert_eq!(of_session(&upstream, 1, &[]), always(1), "{algorithm:?}");
        for at in [0, 2] {
            upstream.endpoints[at].cell.set_service(Service::Down);
        }
        assert_eq!(of_session(&upstream, 1, &[]), always(1), "{algorithm:?}");
        cell.set_service(Service::Down);
        assert_eq!(of_session(&upstream, 1, &[]), always(3), "{algorithm:?}");
        upstream.endpoints[3].cell.set_health(Health::Down, NOW, SLOW);
        assert_eq!(of_session(&upstream, 1, &[]), always(3), "{algorithm:?}: not even when all else is down");
    }
}

#[test]
fn a_session_stays_at_a_backup_and_in_another_zone() {
    for algorithm in ALL {
        let mut endpoints: Vec<_> = (0..3).map(|n| endpoint(n, 1)).collect();
        endpoints[0].zone = Some("a".into());
        endpoints[2].tier = 1;
        let upstream =
            upstream_by(&Rules { algorithm, zone: Some("a".into()), ..Rules::default() }, endpoints);
        assert_eq!(counts(&upstream, 100), [100, 0, 0], "{algorithm:?}");
        for held in 0..3 {
            assert_eq!(of_session(&upstream, held, &[]), always(held), "{algorithm:?}");
        }
    }
}
