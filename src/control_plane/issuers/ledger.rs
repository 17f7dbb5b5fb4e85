//! When an issuer is asked again, and which key names it is known not to have. Pure: time and random numbers are
//! arguments.

use crate::names::share;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lifetimes of a set that issuers may ask for.
const TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
/// The lifetime of a set whose issuer says nothing.
const TTL_DEFAULT: Duration = Duration::from_secs(600);
/// First wait after a failure; doubles up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Names that are remembered as unknown, and for how long.
const UNKNOWN_MAX: usize = 1024;
const UNKNOWN_FOR: Duration = Duration::from_secs(300);

/// The rhythm of one issuer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    failures_in_a_row: u32,
    /// Digests of names, and until when nobody asks about them.
    unknown: HashMap<[u8; 32], Instant>,
}

impl Ledger {
    /// How long a set counts whose response has this `Cache-Control` (RFC 9111 §5.2.2).
    pub(super) fn lifetime(cache_control: Option<&str>) -> Duration {
        let directives = || cache_control.unwrap_or_default().split(',').map(str::trim);
        if directives().any(|d| d.eq_ignore_ascii_case("no-cache") || d.eq_ignore_ascii_case("no-store")) {
            return TTL_DEFAULT;
        }
        let max_age = |directive: &str| {
            let (name, seconds) = directive.split_once('=')?;
            name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok()).flatten()
        };
        directives().find_map(max_age).map_or(TTL_DEFAULT, |s| Duration::from_secs(s).clamp(TTL.0, TTL.1))
    }

    /// From a set to the next question: between half and four fifths of its lifetime, so that nodes which asked together
    /// do not go on doing so, and no request ever waits for it.
    pub(super) fn after_success(&mut self, lifetime: Duration, random: u64) -> Duration {
        self.failures_in_a_row = 0;
        lifetime / 2 + share(lifetime * 3 / 10, random)
    }

    /// From a failure to the next question.
    pub(super) fn after_failure(&mut self, random: u64) -> Duration {
        let doubled = RETRY.0 * 2u32.saturating_pow(self.failures_in_a_row.min(16));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let wait = doubled.min(RETRY.1);
        wait / 2 + share(wait / 2, random)
    }

    /// Whether the issuer is known not to have a key of this name.
    pub(super) fn is_unknown(&self, kid: &[u8; 32], now: Instant) -> bool {
        self.unknown.get(kid).is_some_and(|until| now < *until)
    }

    /// The issuer has been asked and has no key of this name.
    pub(super) fn note_unknown(&mut self, kid: [u8; 32], now: Instant) {
        if self.unknown.len() >= UNKNOWN_MAX {
            self.unknown.retain(|_, until| now < *until);
        }
        // A full table forgets nothing: what is not in it costs a fetch per cool-down at most.
        if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.insert(kid, now + UNKNOWN_FOR);
        }
    }

    /// Another set: what was unknown may be known now.
    pub(super) fn forget_unknown(&mut self) {
        self.unknown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn k2_lifetimes_are_those_of_the_issuer_within_reason() {
        let of = |text: &str| Ledger::lifetime(Some(text)).as_secs();
        assert_eq!(Ledger::lifetime(None).as_secs(), 600);
        assert_eq!(
            [of("max-age=300"), of("public, Max-Age=\"300\", x"), of("max-age=1"), of("max-age=99999999")],
            [300, 300, 60, 86_400]
        );
        assert_eq!([of("no-cache, max-age=300"), of("no-store"), of("max-age=x"), of("")], [600; 4]);
        let mut ledger = Ledger::default();
        assert_eq!(ledger.after_success(SECOND * 100, 0), SECOND * 50);
        assert_eq!(ledger.after_success(SECOND * 100, u64::MAX), SECOND * 80);
    }

    #[test]
    fn k5_failures_are_repeated_at_growing_intervals() {
        let mut ledger = Ledger::default();
        let waits: Vec<u64> = (0..7).map(|_| ledger.after_failure(u64::MAX).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        ledger.after_success(SECOND, 0);
        assert_eq!(ledger.after_failure(0), SECOND / 2);
    }

    #[test]
    fn k3_names_that_are_unknown_are_remembered_within_a_bound() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let kid = |n: u64| {
            let mut kid = [0; 32];
            kid[..8].copy_from_slice(&n.to_le_bytes());
            kid
        };
        for n in 0..5000 {
            ledger.note_unknown(kid(n), now);
        }
        assert_eq!(ledger.unknown.len(), UNKNOWN_MAX);
        assert!(ledger.is_unknown(&kid(5), now) && !ledger.is_unknown(&kid(4000), now));
        assert!(!ledger.is_unknown(&kid(5), now + UNKNOWN_FOR));
        ledger.note_unknown(kid(4000), now + UNKNOWN_FOR);
        assert_eq!(ledger.unknown.len(), 1);
        ledger.forget_unknown();
        assert!(!ledger.is_unknown(&kid(4000), now + UNKNOWN_FOR));
    }
}
