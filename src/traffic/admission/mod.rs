//! How much an upstream is given at once, and what happens to requests that come on top.
//!
//! ```text
//!              room                         place free: called
//!   request ─────────▶ let in          ┌──────────────────────▶ let in
//!      │  none                         │
//!      ╰──────▶ line ─── waits ────────┼─ queue-timeout ─▶ queue_timeout
//!                 │ full               ├─ deadline ──────▶ queue_deadline, total_timeout
//!                 ▼                    ╰─ client leaves ─▶ client_gone
//!             queue_full
//! ```
//!
//! All counts are exact over the workers of the process. An upstream without any of this has no [`Admission`], and its
//! requests pay nothing for it.
//!
//! `gate` counts, `line` says whose turn it is, `valve` is the part of one endpoint, `adaptive` finds a limit by measuring,
//! `breaker` stops asking what keeps failing.

mod adaptive;
mod breaker;
mod gate;
mod line;
mod valve;

pub use adaptive::{Adaptive, AdaptiveRules, REMEASURE_EVERY};
pub use breaker::{Breaker, BreakerRules, PROBES_MAX, Pass, State};
pub use gate::Gate;
pub use line::{HEAD_START, Joined, Line};
pub use valve::{Valve, ValveState};

use std::sync::Arc;
use std::time::Duration;

/// The bounds of an upstream in one generation, and the state that it keeps over all of them.
#[derive(Debug)]
pub struct Admission {
    /// Requests in flight; `u32::MAX` is unlimited.
    pub requests_max: u32,
    /// Open connections to all endpoints, idle ones included; `u32::MAX` is unlimited.
    pub connections_max: u32,
    /// Requests that may wait.
    pub queue_max: u32,
    /// How long one may wait. Default 1 s.
    pub queue_timeout: Duration,
    /// Of the upstream as a whole; those of endpoints are in their valves.
    pub breaker: Option<BreakerRules>,
    pub adaptive: Option<AdaptiveRules>,
    pub gate: Arc<Gate>,
}

impl Admission {
    /// Requests that may be in flight now: each one needs a connection of its own.
    pub fn in_flight_max(&self) -> u32 {
        let adaptive = self.adaptive.as_ref().map_or(u32::MAX, |rules| self.gate.adaptive.limit(rules));
        self.requests_max.min(self.connections_max).min(adaptive)
    }

    /// Whether it is the adaptive limit that counts now, and not one that was written.
    pub fn is_adapted(&self) -> bool {
        self.in_flight_max() < self.requests_max.min(self.connections_max)
    }

    /// When the oldest has waited for so long, the upstream is overloaded and the newest is let in first: it has most of
    /// its patience left, and its client is most likely still there. Under FIFO, all would be served late.
    pub fn patience(&self) -> Duration {
        self.queue_timeout / 2
    }
}

#[cfg(all(test, loom))]
mod loom_tests;
