//! How long an endpoint keeps a connection that nobody uses, learned from what it does and says.
//!
//! A request that is sent while the endpoint closes its connection is lost, and one that must not be sent twice is lost
//! for good. So connections are given up before the endpoint does it: [`IdleTimeout::keep_for`].
//!
//! Three kinds of evidence, from all workers:
//!
//! - *closed*: the endpoint ended an idle connection at some age. One such end proves little (a restart ends
//!   connections of every age), so a shorter time is believed when it was seen at two moments;
//! - *survived*: a connection of some age is still there, so the time is not shorter. The pool leaves one connection
//!   per worker for this, which no request uses any more. It corrects what was learned from an accident;
//! - *announced*: the last response said `Keep-Alive: timeout=N`.
//!
//! Workers that report at once may overwrite each other's word: evidence is lost then, never invented.

use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};
use base::Instant;
use std::time::Duration;

/// What is known of one endpoint's idle timeout.
#[derive(Debug, Default)]
pub struct IdleTimeout {
    /// Milliseconds; 0 is unknown.
    learned: AtomicU32,
    /// Milliseconds that the endpoint announced with its last response; 0 is nothing.
    announced: AtomicU32,
    /// A shorter time that was seen at one moment: that moment in milliseconds (wrapping, upper half) and the time in
    /// milliseconds (lower half). 0 is none.
    suspected: AtomicU64,
}

/// Ends within this time count as one event.
const ONE_MOMENT: Duration = Duration::from_secs(1);
/// A suspicion that was not confirmed for so long is forgotten.
const SUSPECTED_MAX: Duration = Duration::from_secs(600);
/// Nothing shorter is learned: a connection may always be used again at once.
const LEARNED_MIN: Duration = Duration::from_millis(10);
/// The share of the known time for which connections are kept, less a margin for the way to the endpoint.
const KEPT_PERCENT: u32 = 90;
const MARGIN_MAX: Duration = Duration::from_millis(50);

impl IdleTimeout {
    /// Nothing is known.
    pub fn new() -> IdleTimeout {
        IdleTimeout { learned: AtomicU32::new(0), announced: AtomicU32::new(0), suspected: AtomicU64::new(0) }
    }

    /// The endpoint ended a connection in an orderly way when it had been idle for `age`.
    pub fn closed(&self, age: Duration, now: Instant) {
        let age = millis(age.max(LEARNED_MIN));
        let learned = self.learned.load(Relaxed);
        if learned != 0 && age >= learned - learned / 4 {
            // Near the shortest, so that most of a scattered timeout lies behind; a longer one is approached slowly.
            let next =
                if age > longer(learned) { age } else { age.min(learned + (age.max(learned) - learned) / 4) };
            return self.learned.store(next, Relaxed);
        }
        let (suspected, ago) = self.suspected(now);
        if suspected == 0 || ago > SUSPECTED_MAX || !are_alike(suspected, age) {
            self.suspected.store(pack(now, age), Relaxed);
        } else if ago >= ONE_MOMENT {
            self.learned.store(age.min(suspected), Relaxed);
            self.suspected.store(0, Relaxed);
        }
    }

    /// A connection is still open after having been idle for `age`.
    pub fn survived(&self, age: Duration) {
        let (age, learned) = (millis(age), self.learned.load(Relaxed));
        if learned != 0 && age > longer(learned) {
            self.learned.store(age, Relaxed);
        }
    }

    /// A response said for how many seconds the endpoint keeps the connection, or did not say.
    pub fn announce(&self, seconds: Option<u32>) {
        let announced = seconds.map_or(0, |seconds| seconds.saturating_mul(1000));
        if self.announced.load(Relaxed) != announced {
            self.announced.store(announced, Relaxed);
        }
    }

    /// The shorter of what was learned and what was announced.
    pub fn known(&self) -> Option<Duration> {
        let known = |word: &AtomicU32| Some(word.load(Relaxed)).filter(|&millis| millis != 0);
        let (learned, announced) = (known(&self.learned), known(&self.announced));
        let shortest = learned.into_iter().chain(announced).min();
        shortest.map(|millis| Duration::from_millis(millis.into()))
    }

    /// How long an idle connection may be used: nine tenths of what is known, less a margin.
    pub fn keep_for(&self) -> Duration {
        let Some(known) = self.known() else { return Duration::MAX };
        known * KEPT_PERCENT / 100 - (known / 20).min(MARGIN_MAX)
    }

    /// How long a connection may have been idle for a request that must not be sent twice: a second while nothing is
    /// known, then up to half of what is known.
    pub fn keep_for_unsafe(&self) -> Duration {
        match self.known() {
            None => UNSAFE_IDLE_MIN,
            Some(known) => (known / 2).max(UNSAFE_IDLE_MIN).min(self.keep_for()),
        }
    }

    /// The suspected time, and how long ago it was seen.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "takes the two halves apart; the clock wraps like the stamp"
    )]
    fn suspected(&self, now: Instant) -> (u32, Duration) {
        let word = self.suspected.load(Relaxed);
        let passed = (now.as_millis() as u32).wrapping_sub((word >> 32) as u32);
        // Workers read their clocks at slightly different times: a moment in the future is this one.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
        (word as u32, Duration::from_millis(passed.into()))
    }
}

/// How long a connection may have been idle for a request that must not be sent twice, while nothing is known.
const UNSAFE_IDLE_MIN: Duration = Duration::from_secs(1);

fn millis(age: Duration) -> u32 {
    u32::try_from(age.as_millis()).unwrap_or(u32::MAX)
}

fn longer(learned: u32) -> u32 {
    learned.saturating_add(learned / 4)
}

/// Within a quarter of the longer one.
fn are_alike(a: u32, b: u32) -> bool {
    a.abs_diff(b) <= a.max(b) / 4
}

fn pack(now: Instant, age: u32) -> u64 {
    (now.as_millis() & 0xffff_ffff) << 32 | u64::from(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos((5_000 + millis) * 1_000_000)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// An endpoint that was seen twice to end connections after 5 s.
    fn five_seconds() -> IdleTimeout {
        let idle = IdleTimeout::new();
        idle.closed(ms(5_010), at(0));
        idle.closed(ms(4_990), at(2_000));
        idle
    }

    #[test]
    fn a_time_is_learned_when_it_was_seen_at_two_moments() {
        let idle = IdleTimeout::new();
        assert_eq!((idle.known(), idle.keep_for()), (None, Duration::MAX));
        for burst in 0..100 {
            idle.closed(ms(5_000 + burst), at(burst));
        }
        assert_eq!(idle.known(), None, "connections that end together are one event");
        idle.closed(ms(4_990), at(2_000));
        assert_eq!(idle.known(), Some(ms(4_990)));
        assert_eq!(idle.keep_for(), ms(4_491) - MARGIN_MAX);
    }

    #[test]
    fn a_restart_teaches_nothing() {
        let idle = five_seconds();
        // It ends what it holds, of every age, within half a second.
        for n in 0..500 {
            idle.closed(ms(n * 7 % 3_000), at(60_000 + n));
        }
        assert_eq!(idle.known(), Some(ms(4_990)));
    }

    #[test]
    fn what_was_learned_from_an_accident_is_corrected_by_connections_that_live_longer() {
        let idle = five_seconds();
        idle.closed(ms(20), at(10_000));
        idle.closed(ms(21), at(12_000));
        assert_eq!(idle.known(), Some(ms(20)));
        for age in 1..=4 {
            idle.survived(Duration::from_secs(age));
            assert_eq!(idle.known(), Some(Duration::from_secs(age)));
        }
        idle.closed(ms(4_900), at(20_000));
        assert_eq!(idle.known(), Some(ms(4_225)), "and then by their ends, step by step");
    }

    #[test]
    fn the_learned_time_stays_at_the_short_end_of_a_scattered_timeout() {
        let idle = five_seconds();
        for n in 0..1000 {
            let age = 4_950 + n * 37 % 101;
            idle.survived(ms(age - 10));
            idle.closed(ms(age), at(10_000 + n * 5_000));
        }
        let known = idle.known().expect("learned");
        assert!((ms(4_950)..ms(5_000)).contains(&known), "{known:?}");
    }

    #[test]
    fn a_longer_timeout_after_a_change_of_the_endpoint_is_found() {
        let idle = five_seconds();
        for age in 5..=55 {
            idle.survived(Duration::from_secs(age));
        }
        assert!(idle.known().expect("learned") >= Duration::from_secs(44));
    }

    #[test]
    fn an_announcement_counts_until_it_is_withdrawn() {
        let idle = five_seconds();
        idle.announce(Some(2));
        assert_eq!(idle.known(), Some(ms(2_000)));
        idle.announce(Some(u32::MAX));
        assert_eq!(idle.known(), Some(ms(4_990)), "the shorter of both");
        idle.announce(None);
        assert_eq!(idle.known(), Some(ms(4_990)));
    }

    #[test]
    fn an_unsafe_request_waits_for_more_than_a_second_only_where_half_the_timeout_is_longer() {
        let idle = IdleTimeout::new();
        assert_eq!(idle.keep_for_unsafe(), ms(1_000));
        idle.announce(Some(1));
        assert_eq!(idle.keep_for_unsafe(), ms(850));
        idle.announce(Some(60));
        assert_eq!(idle.keep_for_unsafe(), ms(30_000));
    }

    #[test]
    fn an_old_suspicion_confirms_nothing() {
        let idle = IdleTimeout::new();
        idle.closed(ms(300), at(0));
        idle.closed(ms(300), at(601_000));
        assert_eq!(idle.known(), None);
        idle.closed(ms(300), at(603_000));
        assert_eq!(idle.known(), Some(ms(300)));
    }

    proptest! {
        #![proptest_config(crate::testing::cases(500))]

        #[test]
        fn whatever_is_reported_connections_are_given_up_before_the_known_time(
            events in prop::collection::vec((0u8..3, 0u64..5_000_000, 0u64..10_000), 0..60),
        ) {
            let (idle, mut now) = (IdleTimeout::new(), 0);
            for (kind, age, later) in events {
                now += later;
                match kind {
                    0 => idle.closed(ms(age), at(now)),
                    1 => idle.survived(ms(age)),
                    _ => idle.announce(u32::try_from(age).ok()),
                }
                if let Some(known) = idle.known() {
                    prop_assert!(idle.keep_for() < known && !idle.keep_for().is_zero());
                    prop_assert!(idle.keep_for_unsafe() <= idle.keep_for());
                }
            }
        }
    }
}
