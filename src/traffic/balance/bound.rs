//! The bound of loads for consistent hashing: no endpoint gets much more than its share, however popular its keys are.
//!
//! An endpoint is *full* when its attempts in flight reach
//!
//! ```text
//! factor x (mean in flight + 1) x (its weight / mean weight)
//! ```
//!
//! over the endpoints that can serve. A key whose endpoint is full goes on along its own order, so that it spills over
//! to the same place each time. With a factor above 1 the bounds add up to more than what is in flight: there is always
//! an endpoint with room, and no endpoint ever has more than its bound, rounded up.
//!
//! The sum of a large tier is up to [`CENSUS_EVERY`] old; workers that choose in the same moment do not see each other.

use super::tier::Member;
use crate::health::{EndpointCell, Service};
use base::Instant;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Tiers beyond a certain size are counted at most that often.
pub(super) const CENSUS_EVERY: Duration = Duration::from_millis(1);

/// The endpoints that can serve, and what they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) in_flight: u64,
    pub(super) weight: u64,
    pub(super) members: u64,
}

impl Census {
    /// Of `members`; of all in service when `all` is set, whatever their health.
    pub(super) fn of(members: &[Member], now: Instant, all: bool) -> Census {
        let mut census = Census { in_flight: 0, weight: 0, members: 0 };
        let counts =
            |cell: &EndpointCell| cell.is_available(now) || (all && cell.service() == Service::Ready);
        for member in members.iter().filter(|member| counts(&member.cell)) {
            census.in_flight += u64::from(member.cell.in_flight());
            census.weight += u64::from(member.weight);
            census.members += 1;
        }
        census
    }

    /// Whether an endpoint of that weight with that many attempts in flight takes no more.
    pub(super) fn is_full(self, in_flight: u32, weight: u32, factor_percent: u32) -> bool {
        // All that is divided by in the formula stands on the left: no fraction is lost.
        let has = u128::from(in_flight) * u128::from(self.weight) * 100;
        let may = u128::from(factor_percent) * u128::from(weight);
        has >= may * u128::from(self.in_flight + self.members)
    }
}

/// The last census of a large tier. Its words may be of different ones for a moment, each of them recent.
#[derive(Debug, Default)]
pub(super) struct CachedCensus {
    /// Nanoseconds; 0 before the first.
    made: AtomicU64,
    in_flight: AtomicU64,
    weight: AtomicU64,
    members: AtomicU64,
}

impl CachedCensus {
    pub(super) fn get(&self, now: Instant, make: impl FnOnce() -> Census) -> Census {
        let made = self.made.load(Relaxed);
        let due = made == 0 || now.since(Instant::from_nanos(made)) >= CENSUS_EVERY;
        // One worker counts, the others use the last sum meanwhile; before the first one there is none.
        if due && (made == 0 || self.made.compare_exchange(made, stamp(now), Relaxed, Relaxed).is_ok()) {
            let census = make();
            self.in_flight.store(census.in_flight, Relaxed);
            self.weight.store(census.weight, Relaxed);
            self.members.store(census.members, Relaxed);
            self.made.store(stamp(now), Relaxed);
            return census;
        }
        Census {
            in_flight: self.in_flight.load(Relaxed),
            weight: self.weight.load(Relaxed),
            members: self.members.load(Relaxed),
        }
    }
}

fn stamp(now: Instant) -> u64 {
    now.as_nanos().max(1)
}
