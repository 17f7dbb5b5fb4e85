//! When traffic alone takes an endpoint out, and how it comes back.
//!
//! An endpoint that fails [`EjectionRules::failures_in_a_row`] times is left out for [`EjectionRules::first`], twice as
//! long each time, up to [`EjectionRules::longest`]. How many may be left out at once is decided where all endpoints are
//! seen, in `balance`.

use std::time::Duration;

/// The numbers of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionRules {
    /// Failures without a success between them that eject an endpoint. Default 5; 0 is never.
    pub failures_in_a_row: u32,
    /// First ejection. Default 10 s.
    pub first: Duration,
    /// Longest ejection. Default 5 min.
    pub longest: Duration,
    /// Time in which an endpoint that came back reaches its full share. Default 10 s; zero is at once.
    pub slow_start: Duration,
}

impl Default for EjectionRules {
    fn default() -> Self {
        EjectionRules {
            failures_in_a_row: 5,
            first: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            slow_start: Duration::from_secs(10),
        }
    }
}

impl EjectionRules {
    /// How long the ejection lasts that follows `before` others.
    pub(super) fn duration(&self, before: u32) -> Duration {
        self.first.saturating_mul(1 << before.min(16)).min(self.longest)
    }
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// Too many failures without a success between them.
    FailuresInARow = 0,
    /// It failed far more often than the other endpoints of its upstream.
    SuccessRate = 1,
}
