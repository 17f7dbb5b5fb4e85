//! When traffic alone takes an endpoint out, and how it comes back.
//!
//! An endpoint that fails [`EjectionRules::failures_in_a_row`] times is left out for [`EjectionRules::first`], twice as
//! long each time, up to [`EjectionRules::longest`]. How many may be left out at once is decided where all endpoints are
//! seen, in `balance`.

use base::Instant;
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

/// When an ejection began and how long it lasts, in one word of the cell: a reader sees all of it or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ejection {
    from_ms: u64,
    /// In steps of [`UNIT_MS`].
    lasts: u64,
}

/// Bits of the duration, in steps of [`UNIT_MS`]: up to 37 hours. The other forty count milliseconds for 34 years.
const LASTS_BITS: u32 = 24;
const UNIT_MS: u64 = 8;

impl Ejection {
    pub(super) fn new(from: Instant, lasts: Duration) -> Ejection {
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).div_ceil(UNIT_MS);
        // The word is never 0, which would be no ejection at all.
        Ejection {
            from_ms: from.as_millis().min(u64::MAX >> LASTS_BITS),
            lasts: lasts.clamp(1, (1 << LASTS_BITS) - 1),
        }
    }

    /// The word that stands in the cell.
    pub(super) fn pack(self) -> u64 {
        self.from_ms << LASTS_BITS | self.lasts
    }

    /// `None` for 0.
    pub(super) fn unpack(word: u64) -> Option<Ejection> {
        (word != 0).then_some(Ejection { from_ms: word >> LASTS_BITS, lasts: word & ((1 << LASTS_BITS) - 1) })
    }

    pub(super) fn from(self) -> Instant {
        Instant::from_nanos(self.from_ms.saturating_mul(1_000_000))
    }

    pub(super) fn until(self) -> Instant {
        self.from() + self.lasts()
    }

    pub(super) fn lasts(self) -> Duration {
        Duration::from_millis(self.lasts * UNIT_MS)
    }
}
