//! How soon a worker that ended by itself is replaced, and when that is given up.
//!
//! One that ends now and then is replaced at once: only its own connections are lost. Where they end again and again (a
//! request that kills each worker that it reaches, a machine that is out of memory) replacing them is no cure, and whoever
//! supervises the process should know.

use std::time::{Duration, Instant};

/// Workers that may end in a row, besides one every [`ONE_MORE_AFTER`].
const ENDINGS_MAX: u32 = 32;
const ONE_MORE_AFTER: Duration = Duration::from_secs(2);
/// The last ones of these are replaced only after a pause, which doubles.
const PAUSED: u32 = 8;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is left of the endings that are put up with.
#[derive(Debug)]
pub(crate) struct Patience {
    left: u32,
    /// When one was added last.
    since: Instant,
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Patience {
        Patience { left: ENDINGS_MAX, since: now }
    }

    /// A worker has ended: after which time it is replaced, `None` when no more.
    pub(crate) fn another(&mut self, now: Instant) -> Option<Duration> {
        while self.left < ENDINGS_MAX && now.saturating_duration_since(self.since) >= ONE_MORE_AFTER {
            self.left += 1;
            self.since += ONE_MORE_AFTER;
        }
        if self.left == ENDINGS_MAX {
            self.since = now;
        }
        self.left = self.left.checked_sub(1)?;
        let doubled = PAUSED.saturating_sub(self.left);
        Some(match doubled {
            0 => Duration::ZERO,
            times => (PAUSE_MIN * 2u32.saturating_pow(times - 1)).min(PAUSE_MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_replaced_at_once_the_last_later_and_then_none() {
        let now = Instant::now();
        let mut patience = Patience::new(now);
        let pauses: Vec<_> =
            std::iter::from_fn(|| patience.another(now)).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses.len(), 32);
        assert!(pauses[..24].iter().all(|pause| *pause == 0));
        assert_eq!(pauses[24..], [50, 100, 200, 400, 800, 1000, 1000, 1000][..]);
        assert_eq!(patience.another(now), None);
    }

    #[test]
    fn one_every_now_and_then_is_put_up_with_for_ever() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        for _ in 0..1000 {
            now += ONE_MORE_AFTER;
            assert_eq!(patience.another(now), Some(Duration::ZERO));
        }
        for _ in 0..32 {
            let _ = patience.another(now);
        }
        assert_eq!(patience.another(now + ONE_MORE_AFTER / 2), None);
        assert!(patience.another(now + ONE_MORE_AFTER).is_some(), "it has become calmer");
    }
}
