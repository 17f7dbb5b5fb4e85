//! How much work lies ahead of whatever is ready: how long it waits for the worker, as far as that is the worker's doing.
//!
//! A single long wait is no overload: one long turn, many events at once. Overload is a queue that does not get shorter. So what counts is the shortest wait within a window (as in CoDel): as
//! long as one of them was short, the queue had been empty meanwhile.

use super::pressure::{Permille, permille};
use base::Instant;
use std::time::Duration;

/// The waits of the last window, and of the one that is being filled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    since: Instant,
    shortest: Option<Duration>,
    samples: u32,
    standing: Duration,
}

/// Long enough for a dozen samples, short enough to react before clients give up.
const WINDOW: Duration = Duration::from_millis(200);
/// A window with fewer samples is kept open, for samples come late when the queue is long; but not for ever.
const SAMPLES_MIN: u32 = 2;
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// A standing wait of this much is a pressure of 1000.
pub const LAG_LIMIT: Duration = Duration::from_millis(50);

impl Lag {
    /// Something that was ready has waited for so long.
    pub fn sample(&mut self, now: Instant, wait: Duration) {
        self.turn_window(now);
        self.samples += 1;
        self.shortest = Some(self.shortest.map_or(wait, |shortest| shortest.min(wait)));
    }

    /// The standing wait as of the last complete window.
    pub fn standing(&mut self, now: Instant) -> Duration {
        self.turn_window(now);
        self.standing
    }

    /// The standing wait as pressure.
    pub fn pressure(&mut self, now: Instant) -> Permille {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        permille(nanos(self.standing(now)), nanos(LAG_LIMIT))
    }

    fn turn_window(&mut self, now: Instant) {
        let open = now.since(self.since);
        let said_something = self.samples >= SAMPLES_MIN;
        if open < WINDOW || (open < WINDOW_MAX && self.samples > 0 && !said_something) {
            return;
        }
        self.standing = if said_something { self.shortest.unwrap_or_default() } else { Duration::ZERO };
        (self.since, self.shortest, self.samples) = (now, None, 0);
    }
}
