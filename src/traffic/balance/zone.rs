//! How much of the traffic stays in the zone of this node.
//!
//! Health is the share of a zone's endpoints that can serve, one in slow start counting as much as it gets. With
//! `spill_over` as the health at which a zone can just serve everything,
//!
//! ```text
//! near = min(1, health of our zone / spill_over)
//! far  = min(1 - near, health of the others / spill_over)
//! kept = near / (near + far)
//! ```
//!
//! With 70 % a zone that has lost less than 30 % of its endpoints keeps all traffic, and below that it gives it away in
//! proportion: at 35 % it keeps half. That is Envoy's overprovisioning factor of 1.4 written the other way round. The
//! rest goes to the other zones only as far as they are healthy; when neither side is well, both share what there is.
//!
//! Which requests go is decided by chance; where a key is hashed, by the key: the same keys go first each time, and
//! come back last.

use super::key::mix;

/// In thousandths of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) healthy: u64,
    pub(super) all: u64,
}

impl Capacity {
    fn permille(self) -> u64 {
        self.healthy * 1000 / self.all.max(1)
    }
}

/// Share of the traffic that stays, in thousandths.
pub(super) fn kept_permille(near: Capacity, far: Capacity, spill_over_permille: u64) -> u64 {
    let enough = spill_over_permille.max(1);
    let stays = (near.permille() * 1000 / enough).min(1000);
    let goes = (far.permille() * 1000 / enough).min(1000 - stays);
    if stays + goes == 0 {
        // Nothing is healthy: everything counts alike.
        return near.all * 1000 / (near.all + far.all).max(1);
    }
    stays * 1000 / (stays + goes)
}

/// Whether the request of `key`, or of that random number, stays.
pub(super) fn stays(key: u64, kept_permille: u64) -> bool {
    // Another number than the one that finds its place in the tables, or one zone would see only some of the places.
    mix(key ^ 0x7a6f_6e65_2d6b_6579) % 1000 < kept_permille
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(near: u64, far: u64) -> u64 {
        let of = |percent| Capacity { healthy: percent * 100, all: 10_000 };
        kept_permille(of(near), of(far), 700)
    }

    #[test]
    fn traffic_leaves_a_zone_in_proportion_to_what_it_lost() {
        for (near, far, expected) in [
            (100, 100, 1000),
            (70, 100, 1000),
            (63, 100, 900),
            (35, 100, 500),
            (7, 100, 100),
            (0, 100, 0),
            (35, 35, 500),
            (35, 0, 1000),
            (14, 7, 666),
            (0, 0, 500),
        ] {
            assert_eq!(kept(near, far), expected, "{near} % here, {far} % there");
        }
    }

    #[test]
    fn less_health_never_keeps_more_and_the_same_keys_go_first() {
        let mut gone: Vec<u64> = Vec::new();
        for near in (0..=100).rev() {
            let share = kept(near, 100);
            assert!(near == 100 || share <= kept(near + 1, 100));
            assert!(gone.iter().all(|&key| !stays(key, share)), "a key came back while health fell");
            gone = (0..1000).filter(|&key| !stays(key, share)).collect();
        }
        assert_eq!(gone.len(), 1000);
    }
}
