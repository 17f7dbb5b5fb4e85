//! How an endpoint that comes back, or is new among others, gets its share step by step.
//!
//! One word of the cell holds when that begins and how long it takes, so that both always belong together. The duration
//! is decided by whoever begins it; the balancer only asks for the share.

use base::Instant;
use std::time::Duration;

/// Share with which an endpoint begins.
const FIRST_PERMILLE: u64 = 100;

/// When it begins, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlowStart {
    /// Milliseconds; 0 when it begins with the first request that the endpoint could get.
    from_ms: u64,
    lasts_ms: u64,
}

/// Bits of the duration: up to 4.6 hours. The other forty count milliseconds for 34 years.
const LASTS_BITS: u32 = 24;
const LASTS_MAX: u64 = (1 << LASTS_BITS) - 1;

impl SlowStart {
    /// `None` when `lasts` is zero: full share at once.
    pub(super) fn from(from: Instant, lasts: Duration) -> Option<SlowStart> {
        SlowStart::pending(lasts).map(|pending| pending.begun(from))
    }

    /// One that begins when the endpoint is first considered.
    pub(super) fn pending(lasts: Duration) -> Option<SlowStart> {
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).min(LASTS_MAX);
        (lasts_ms > 0).then_some(SlowStart { from_ms: 0, lasts_ms })
    }

    pub(super) fn begun(self, now: Instant) -> SlowStart {
        SlowStart { from_ms: now.as_millis().clamp(1, u64::MAX >> LASTS_BITS), ..self }
    }

    pub(super) fn is_pending(self) -> bool {
        self.from_ms == 0
    }

    /// The word that stands in the cell; 0 is none.
    pub(super) fn pack(this: Option<SlowStart>) -> u64 {
        this.map_or(0, |this| this.from_ms << LASTS_BITS | this.lasts_ms)
    }

    pub(super) fn unpack(word: u64) -> Option<SlowStart> {
        (word != 0).then_some(SlowStart { from_ms: word >> LASTS_BITS, lasts_ms: word & LASTS_MAX })
    }

    /// When it began; `None` before that and after its end.
    pub(super) fn running_since(self, now: Instant) -> Option<Instant> {
        let passed = now.as_millis().checked_sub(self.from_ms)?;
        (!self.is_pending() && passed < self.lasts_ms).then(|| Instant::from_nanos(self.from_ms * 1_000_000))
    }

    /// Share of its weight that the endpoint gets at `now`: 1000 is all. Before the start it is all, too: then an
    /// ejection should keep the endpoint out, and if it may not, the endpoint is needed.
    pub(super) fn permille(self, now: Instant) -> u32 {
        let Some(passed) = now.as_millis().checked_sub(self.from_ms) else { return 1000 };
        if passed >= self.lasts_ms {
            return 1000;
        }
        let share = FIRST_PERMILLE + (1000 - FIRST_PERMILLE) * passed / self.lasts_ms;
        u32::try_from(share).unwrap_or(1000)
    }

    pub(super) fn is_over(self, now: Instant) -> bool {
        now.as_millis() >= self.from_ms.saturating_add(self.lasts_ms)
    }
}
