//! When an endpoint counts as up or down by active checks, and when the next check is due (R118).
//!
//! ```text
//!              first success                fall failures in a row
//!  Checking ─────────────────▶ Up ────────────────────────────────▶ Down
//!     │                        ▲                                     ▲ │
//!     └── fall failures ───────┼─────────────────────────────────────┘ │
//!                              └──────── rise successes in a row ──────┘
//! ```
//!
//! Checks come more slowly while live traffic proves that the endpoint works, and twice as fast while a result
//! contradicts what is believed. An endpoint that goes down soon after it came up must pass twice as many checks next
//! time, up to [`RISE_FACTOR_MAX`] times as many: so many changes per minute at most, whatever it answers.
//!
//! Pure: whoever performs the checks tells the results and asks for the next time.

use super::Health;
use base::Instant;
use std::time::Duration;

/// How often to check and how many results decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// From one check to the next; each is moved by up to ±20 % so that checks of many endpoints spread. Default 2 s.
    pub every: Duration,
    /// Successes in a row that bring an endpoint up. Default 2.
    pub rise: u32,
    /// Failures in a row that take it down. Default 3.
    pub fall: u32,
}

impl Default for CheckRules {
    fn default() -> Self {
        CheckRules { every: Duration::from_secs(2), rise: 2, fall: 3 }
    }
}

/// From one check to the next while live traffic proves that the endpoint works, unless checks are even rarer.
pub const PROVEN_EVERY: Duration = Duration::from_secs(5);
/// An endpoint that goes down sooner than this after it came up flaps.
pub const FLAP_WINDOW: Duration = Duration::from_secs(60);
/// The successes in a row that an endpoint which flaps must show, as a multiple of `rise`.
pub const RISE_FACTOR_MAX: u32 = 8;

/// What live traffic showed since the last check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub answered: bool,
    pub failed: bool,
}

impl Evidence {
    fn proves_health(self) -> bool {
        self.answered && !self.failed
    }
}

/// The checks of one endpoint.
#[derive(Clone, Debug)]
pub struct Check {
    rules: CheckRules,
    health: Health,
    /// Results in a row that contradict `health`.
    against: u32,
    /// Equal results in a row: successes count up from 1, failures down from -1.
    in_a_row: i32,
    /// Multiplies `rise`: 1, 2, 4 or 8.
    rise_factor: u32,
    /// When it last came up after it had been down.
    came_up: Option<Instant>,
    last: Option<Instant>,
    /// Moves the next check: any number.
    jitter: u64,
}

impl Check {
    /// An endpoint whose health was `initial`: `Checking` when it is new, what its cell says when it is carried over.
    pub fn new(rules: CheckRules, initial: Health) -> Self {
        let (against, in_a_row, rise_factor) = (0, 0, 1);
        let (came_up, last, jitter) = (None, None, u64::MAX / 2);
        Check { rules, health: initial, against, in_a_row, rise_factor, came_up, last, jitter }
    }

    /// A check ended at `now`; `jitter` is a random number for the next one. Returns the new health when it changed.
    pub fn on_result(&mut self, ok: bool, now: Instant, jitter: u64) -> Option<Health> {
        (self.last, self.jitter) = (Some(now), jitter);
        self.in_a_row = match (ok, self.in_a_row) {
            (true, row) => row.max(0).saturating_add(1),
            (false, row) => row.min(0).saturating_sub(1),
        };
        let contradicts = match self.health {
            Health::Checking => true,
            Health::Up => !ok,
            Health::Down => ok,
        };
        if !contradicts {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let (needed, next) = match (self.health, ok) {
            (Health::Checking, true) => (1, Health::Up),
            (_, true) => (self.rise(), Health::Up),
            (_, false) => (self.rules.fall, Health::Down),
        };
        if self.against < needed {
            return None;
        }
        if next == Health::Down {
            let flaps = self.came_up.is_some_and(|came_up| now.since(came_up) < FLAP_WINDOW);
            self.rise_factor = if flaps { (self.rise_factor * 2).min(RISE_FACTOR_MAX) } else { 1 };
        } else if self.health == Health::Down {
            self.came_up = Some(now);
        }
        self.against = 0;
        self.health = next;
        Some(next)
    }

    /// When the next check is due: at once before the first result, otherwise an interval after the last one, moved by
    /// up to a fifth of it either way. Ask again at that time, because `evidence` may put it off once more.
    pub fn next_due(&self, now: Instant, evidence: Evidence) -> Instant {
        let Some(last) = self.last else { return now };
        let due = last + self.moved(self.pace());
        if due > now || self.health != Health::Up || self.against > 0 || !evidence.proves_health() {
            return due;
        }
        let proven = last + self.moved(PROVEN_EVERY.max(self.rules.every));
        // In steps of the usual interval: a failure of live traffic brings back the usual pace.
        proven.min(now + self.moved(self.rules.every)).max(due)
    }

    /// Three times as often while undecided, twice as often while a result contradicts what is believed.
    fn pace(&self) -> Duration {
        match self.health {
            Health::Checking => self.rules.every / 3,
            _ if self.against > 0 => self.rules.every / 2,
            _ => self.rules.every,
        }
    }

    fn moved(&self, interval: Duration) -> Duration {
        let fifth = interval.as_nanos() / 5;
        let moved = u128::from(self.jitter) * (2 * fifth) / u128::from(u64::MAX);
        Duration::from_nanos(u64::try_from(interval.as_nanos() - fifth + moved).unwrap_or(u64::MAX))
    }

    /// A check at `now` had no result: another one an interval later.
    pub fn put_off(&mut self, now: Instant, jitter: u64) {
        (self.last, self.jitter) = (Some(now), jitter);
    }

    /// When the last check ended.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// What the results so far say.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Successes in a row that would bring the endpoint up again: more than configured while it flaps.
    pub fn rise(&self) -> u32 {
        self.rules.rise.saturating_mul(self.rise_factor)
    }

    /// Equal results in a row up to now; failures are negative.
    pub fn in_a_row(&self) -> i32 {
        self.in_a_row
    }
}
