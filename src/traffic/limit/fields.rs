//! What clients are told of limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), and older sets.

use super::limiter::Limiter;
use super::meter::{Level, Measure};
use crate::filter::ResponseEdits;
use std::fmt::Write as _;
use std::time::Duration;

/// Which fields tell of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSet {
    /// `RateLimit-Policy` and `RateLimit`.
    Standard,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
    XRateLimit,
    /// `RateLimit-Limit`, `-Remaining` and `-Reset`, as drafts before the eighth had them.
    Legacy,
    /// None.
    Off,
}

/// Whole seconds, rounded up, at least 1.
pub(super) fn seconds(wait: Duration) -> u32 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
}

/// A string of structured fields (RFC 9651 §3.3.3); what cannot stand in one is left out.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

/// The part of `RateLimit-Policy` of a limit.
pub fn policy(name: &str, measure: &Measure) -> String {
    let (name, quota) = (quoted(name), measure.quota());
    match measure.window() {
        Some(window) => format!("{name};q={quota};w={}", seconds(window)),
        None => format!("{name};q={quota};qu=\"concurrent-requests\""),
    }
}

/// Writes the fields of `limits`, of each with what is left and, if it was exceeded, for how long.
pub(super) fn write<'l>(
    response: &mut ResponseEdits,
    limits: impl Iterator<Item = (&'l Limiter, Level, Option<Duration>)> + Clone,
) {
    // Those that are nearest to their end come first; there are few.
    let part = |(limiter, level, _): &(&Limiter, Level, Option<Duration>)| {
        level.left.saturating_mul(1 << 16) / limiter.measure.quota().max(1)
    };
    let mut standard: Vec<_> =
        limits.clone().filter(|(limiter, ..)| limiter.fields == FieldSet::Standard).collect();
    standard.sort_by_key(part);
    if !standard.is_empty() {
        let (mut policies, mut states) = (String::with_capacity(64), String::with_capacity(64));
        for (limiter, level, wait) in &standard {
            let between = if policies.is_empty() { "" } else { ", " };
            let _ = write!(policies, "{between}{}", limiter.policy);
            let name = limiter.policy.split_once(";q=").map_or("", |(name, _)| name);
            let _ = write!(states, "{between}{name};r={}", level.left);
            if limiter.measure.window().is_some() {
                let _ = write!(states, ";t={}", seconds(wait.unwrap_or(level.full_in)));
            }
        }
        response.add(b"RateLimit-Policy", policies.as_bytes());
        response.add(b"RateLimit", states.as_bytes());
    }
    for (set, prefix) in [(FieldSet::XRateLimit, "X-RateLimit"), (FieldSet::Legacy, "RateLimit")] {
        let Some((limiter, level, wait)) =
            limits.clone().filter(|(limiter, ..)| limiter.fields == set).min_by_key(part)
        else {
            continue;
        };
        let reset = seconds(wait.unwrap_or(level.full_in)).into();
        for (name, value) in [("Limit", limiter.measure.quota()), ("Remaining", level.left), ("Reset", reset)]
        {
            response.set(format!("{prefix}-{name}").as_bytes(), value.to_string().as_bytes());
        }
    }
}
