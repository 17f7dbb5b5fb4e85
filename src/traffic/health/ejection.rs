//! The numbers of passive ejection and slow start.
//!
//! An endpoint that fails [`FAILURES_IN_A_ROW`] times is left out for [`EJECTED_FIRST`], twice as long each time, up to
//! [`EJECTED_LONGEST`]. How many may be left out at once is decided where all endpoints are seen, in `balance`.

use std::time::Duration;

/// Failures without a success between them that eject an endpoint.
pub const FAILURES_IN_A_ROW: u32 = 5;
/// First ejection.
pub const EJECTED_FIRST: Duration = Duration::from_secs(10);
/// Longest ejection.
pub const EJECTED_LONGEST: Duration = Duration::from_secs(300);
/// Time in which an endpoint that came back reaches its full share.
pub const SLOW_START: Duration = Duration::from_secs(10);
/// Share with which it begins.
const SLOW_START_PERMILLE: u32 = 100;

/// How long the ejection lasts that follows `before` others.
pub(super) fn duration(before: u32) -> Duration {
    EJECTED_FIRST.saturating_mul(1 << before.min(16)).min(EJECTED_LONGEST)
}

/// Share of its weight that an endpoint gets when it came back `ago`.
pub(super) fn ramp_permille(ago: Duration) -> u32 {
    let passed = u32::try_from(ago.as_millis()).unwrap_or(u32::MAX);
    let full = u32::try_from(SLOW_START.as_millis()).unwrap_or(u32::MAX);
    if passed >= full { 1000 } else { SLOW_START_PERMILLE + (1000 - SLOW_START_PERMILLE) * passed / full }
}
