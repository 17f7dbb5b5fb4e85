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

/// The checks of one endpoint.
#[derive(Clone, Debug)]
pub struct Check {
    rules: CheckRules,
    health: Health,
    /// Results in a row that contradict `health`.
    against: u32,
    last: Option<Instant>,
}

impl Check {
    /// An endpoint whose health was `initial`: `Checking` when it is new, what its cell says when it is carried over.
    pub fn new(rules: CheckRules, initial: Health) -> Self {
        Check { rules, health: initial, against: 0, last: None }
    }

    /// A check ended at `now`. Returns the new health when it changed.
    pub fn on_result(&mut self, ok: bool, now: Instant) -> Option<Health> {
        self.last = Some(now);
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
            (_, true) => (self.rules.rise, Health::Up),
            (_, false) => (self.rules.fall, Health::Down),
        };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.health = next;
        Some(next)
    }

    /// When to check next: at once before the first result, otherwise one interval after the last one, moved by
    /// `jitter` (any random number) to between 80 % and 120 % of it. While undecided, three times as often.
    pub fn next_due(&self, now: Instant, jitter: u64) -> Instant {
        let Some(last) = self.last else { return now };
        let every = if self.health == Health::Checking { self.rules.every / 3 } else { self.rules.every };
        let fifth = every.as_nanos() / 5;
        let moved = u128::from(jitter) * (2 * fifth) / u128::from(u64::MAX);
        let nanos = every.as_nanos() - fifth + moved;
        (last + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))).max(now)
    }

    /// What the results so far say.
    pub fn health(&self) -> Health {
        self.health
    }
}
