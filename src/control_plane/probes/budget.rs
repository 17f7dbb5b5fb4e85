//! How many checks at once, how many per second, and whether we are in a state to judge at all.
//!
//! The checks of all endpoints share one budget. When more are due than it allows, each waits for its turn in the order
//! in which they came due: intervals grow for all alike, nobody starves, and nobody goes down for it.

use base::Instant;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The budget of this node.
#[derive(Debug)]
pub(super) struct Budget {
    /// First come, first served.
    slots: Semaphore,
    pace: Pace,
}

impl Budget {
    pub(super) fn new(at_once: usize, per_second: u32) -> Budget {
        Budget { slots: Semaphore::new(at_once), pace: Pace::new(per_second) }
    }

    /// Waits until a check may begin; it ends when the permit is dropped.
    pub(super) async fn turn(&self, now: impl Fn() -> Instant) -> Option<SemaphorePermit<'_>> {
        // An error only if the semaphore were closed, which nobody does; then there is no bound to keep.
        let slot = self.slots.acquire().await.ok();
        let wait = self.pace.reserve(now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        slot
    }
}

/// A rate without bursts: every start has a place in time, at least one interval after the one before.
#[derive(Debug)]
pub(super) struct Pace {
    interval_nanos: u64,
    /// The earliest place that is free.
    free: AtomicU64,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Pace {
        Pace { interval_nanos: 1_000_000_000 / u64::from(per_second.max(1)), free: AtomicU64::new(0) }
    }

    /// How long to wait for the place that is taken herewith.
    pub(super) fn reserve(&self, now: Instant) -> Duration {
        let next = |free: u64| Some(free.max(now.as_nanos()).saturating_add(self.interval_nanos));
        let free = self.free.fetch_update(Relaxed, Relaxed, next).unwrap_or_default();
        Duration::from_nanos(free.saturating_sub(now.as_nanos()))
    }
}

/// Notices that the process or the machine stood still: then the results of what was under way are void (R144).
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: AtomicU64,
    gaps: AtomicU64,
}

/// A longer time without a beat is a gap.
pub(super) const GAP: Duration = Duration::from_secs(2);
/// From beat to beat.
pub(super) const BEAT: Duration = Duration::from_millis(500);

impl Pulse {
    /// A beat. Returns the number of gaps so far; whoever gets another number than before has met one.
    pub(super) fn beat(&self, now: Instant) -> u64 {
        let last = self.last.fetch_max(now.as_nanos().max(1), Relaxed);
        if last != 0 && now.since(Instant::from_nanos(last)) > GAP {
            return self.gaps.fetch_add(1, Relaxed) + 1;
        }
        self.gaps.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn starts_keep_their_distance_and_none_is_saved_up() {
        let pace = Pace::new(100);
        let waits = [0, 0, 0, 5, 1000, 1000].map(|now| pace.reserve(at(now)).as_millis());
        assert_eq!(waits, [0, 10, 20, 25, 0, 10]);
    }

    /// Ten thousand endpoints that all want a check every two seconds, and a budget for a thousand a second.
    #[test]
    fn with_too_many_endpoints_all_are_checked_less_often_and_none_starves() {
        let (pace, endpoints) = (Pace::new(1000), 10_000usize);
        let mut due: std::collections::BinaryHeap<_> =
            (0..endpoints).map(|endpoint| std::cmp::Reverse((0u64, endpoint))).collect();
        let mut starts = vec![Vec::new(); endpoints];
        let mut now = 0;
        while now < 60_000 {
            let Some(std::cmp::Reverse((at_ms, endpoint))) = due.pop() else { break };
            now = now.max(at_ms);
            now += u64::try_from(pace.reserve(at(now)).as_millis()).unwrap();
            starts[endpoint].push(now);
            due.push(std::cmp::Reverse((now + 2000, endpoint)));
        }
        let counts: Vec<usize> = starts.iter().map(Vec::len).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(least >= Some(&5) && most <= Some(&7), "{least:?} to {most:?} checks in a minute");
    }

    #[test]
    fn r144_a_gap_is_met_by_everyone_who_was_under_way_and_by_nobody_else() {
        let pulse = Pulse::default();
        let before = pulse.beat(at(1000));
        assert_eq!(pulse.beat(at(1500)), before);
        // Ten seconds of SIGSTOP; whoever comes first notices it.
        let after = pulse.beat(at(11_500));
        assert_ne!(after, before, "a check that began before");
        assert_eq!(pulse.beat(at(11_500)), after, "the heartbeat, later in the same turn");
        assert_eq!(pulse.beat(at(12_000)), after, "a check that began after");
    }

    #[test]
    fn a_pause_of_two_seconds_is_no_gap() {
        let pulse = Pulse::default();
        assert_eq!(pulse.beat(at(0)), pulse.beat(at(2000)));
    }
}
