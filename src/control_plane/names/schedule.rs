//! When a name is asked for again. Pure: random numbers are arguments.

use std::time::Duration;

/// First wait after a failure; doubles with each further one up to [`FAILURE_MAX`].
const FAILURE_MIN: Duration = Duration::from_secs(1);
const FAILURE_MAX: Duration = Duration::from_secs(30);

/// The rhythm of one name.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    ttl_min: Duration,
    ttl_max: Duration,
    failures_in_a_row: u32,
}

impl Schedule {
    pub(super) fn new(ttl_min: Duration, ttl_max: Duration) -> Self {
        Schedule { ttl_min, ttl_max: ttl_max.max(ttl_min), failures_in_a_row: 0 }
    }

    /// How long an answer with this lifetime counts.
    pub(super) fn counts(&self, ttl: Duration) -> Duration {
        ttl.clamp(self.ttl_min, self.ttl_max)
    }

    /// From an answer to the next question: up to a tenth earlier than the answer ends to count (never before the least
    /// time), so that nodes which asked together do not go on doing so.
    pub(super) fn after_answer(&mut self, ttl: Duration, random: u64) -> Duration {
        self.failures_in_a_row = 0;
        let counts = self.counts(ttl);
        let early = share(counts / 10, random);
        if counts - early >= self.ttl_min {
            counts - early
        } else {
            self.ttl_min + share(self.ttl_min / 10, random)
        }
    }

    /// From a failure to the next question: doubling, and between half of it and all of it.
    pub(super) fn after_failure(&mut self, random: u64) -> Duration {
        let doubled = FAILURE_MIN * 2u32.saturating_pow(self.failures_in_a_row.min(16));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let wait = doubled.min(FAILURE_MAX);
        wait / 2 + share(wait / 2, random)
    }
}

/// A part of `whole` that is as large as `random` among all numbers.
pub(crate) fn share(whole: Duration, random: u64) -> Duration {
    let nanos = whole.as_nanos() * u128::from(random) / u128::from(u64::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn r116_a_lifetime_is_kept_within_bounds_and_a_little_less_than_all_of_it_is_used() {
        let mut schedule = Schedule::new(SECOND, 300 * SECOND);
        for (ttl, random, wait) in [
            (0, 0, 1000),
            (0, u64::MAX, 1100),
            (1, u64::MAX, 1100),
            (60, 0, 60_000),
            (60, u64::MAX, 54_000),
            (86_400, 0, 300_000),
            (86_400, u64::MAX, 270_000),
        ] {
            let waited = schedule.after_answer(ttl * SECOND, random);
            assert_eq!(waited, Duration::from_millis(wait), "ttl {ttl}, random {random}");
        }
    }

    #[test]
    fn r116_failures_wait_longer_each_time_until_an_answer_comes() {
        let mut schedule = Schedule::new(SECOND, 300 * SECOND);
        let seconds: Vec<_> = (0..7).map(|_| schedule.after_failure(u64::MAX).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(schedule.after_failure(0), 15 * SECOND, "half of it at least");
        schedule.after_answer(SECOND, 0);
        assert_eq!(schedule.after_failure(u64::MAX), SECOND);
        assert!((0..1000).all(|_| schedule.after_failure(1) <= FAILURE_MAX));
    }
}
