//! How far keys move when endpoints change, and that they never move otherwise (R121).

use super::*;

const HASHING: [Algorithm; 2] = [Algorithm::RingHash, Algorithm::Maglev];
const KEYS: u64 = 10_000;

/// Share of the keys whose owner differs.
fn moved(before: &Upstream, after: &Upstream) -> f64 {
    let keys = (0..KEYS).map(|key| key::mix(key + 1));
    keys.filter(|&key| owner(before, key) != owner(after, key)).count() as f64 / KEYS as f64
}

#[test]
fn r121_adding_an_endpoint_moves_its_share_and_at_most_one_percent_more() {
    for algorithm in HASHING {
        for n in [5, 10, 40, 200] {
            let beyond = moved(&equal(algorithm, n), &equal(algorithm, n + 1)) - 1.0 / (n + 1) as f64;
            assert!(beyond <= 0.01, "{algorithm:?}: {beyond:.4} beyond the share of one more than {n}");
        }
    }
}

#[test]
fn r121_changing_a_weight_moves_the_difference_and_at_most_one_percent_more() {
    for algorithm in HASHING {
        for (from, to) in [(1, 2), (2, 1), (2, 3), (4, 5), (5, 4), (10, 9), (100, 50), (100, 120)] {
            let mut weights = [from; 10];
            let before = weighted(algorithm, &weights);
            weights[3] = to;
            let share = f64::from(to) / f64::from(9 * from + to);
            let difference = (share - 0.1).abs();
            let beyond = moved(&before, &weighted(algorithm, &weights)) - difference;
            assert!(beyond <= 0.01, "{algorithm:?}: {beyond:.4} beyond {difference:.4} from {from} to {to}");
        }
    }
}

#[test]
fn r121_a_change_of_health_moves_only_the_keys_of_that_endpoint() {
    for algorithm in HASHING {
        let upstream = equal(algorithm, 20);
        let before: Vec<EndpointId> = (0..5000).map(|key| hashed(&upstream, key)).collect();
        upstream.endpoints[7].cell.set_health(Health::Down, NOW, SLOW);
        for (key, before) in (0..5000).zip(&before) {
            assert!(before.index() == 7 || hashed(&upstream, key) == *before, "{algorithm:?}: {key}");
        }
        upstream.endpoints[7].cell.set_health(Health::Up, NOW, SLOW);
        assert!((0..5000).zip(&before).all(|(key, before)| hashed(&upstream, key) == *before));
    }
}

/// Where 1000 keys go among fixed endpoints, as one number. A new version that changes it would move the keys of every
/// cache and session behind us at the moment of the upgrade: it must not, so these numbers stay as they are.
#[test]
fn r121_placement_is_the_same_in_every_version() {
    let digest = |upstream: &Upstream| {
        let owners: Vec<u8> = (0..1000)
            .flat_map(|key| {
                owner(upstream, key::stable_hash(format!("key-{key}").as_bytes())).as_bytes().to_vec()
            })
            .collect();
        key::stable_hash(&owners)
    };
    let even = |algorithm| digest(&equal(algorithm, 50));
    let uneven = |algorithm| digest(&weighted(algorithm, &[1, 2, 3, 5, 8, 13, 21, 34, 55, 89]));
    let ring = (even(Algorithm::RingHash), uneven(Algorithm::RingHash));
    let maglev = (even(Algorithm::Maglev), uneven(Algorithm::Maglev));
    assert_eq!(ring, (9_657_522_253_968_535_085, 7_889_129_459_589_356_373));
    assert_eq!(maglev, (5_947_643_066_639_727_564, 2_953_953_987_522_196_252));
}
