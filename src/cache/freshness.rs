//! How old a response is and how long it may be used (RFC 9111 §4.2, RFC 5861).

use crate::control::{Control, SECONDS_MAX, delta_seconds};
use crate::storing::is_heuristic;
use crate::{FieldRef, date, single, values};

/// What is assumed at most when nothing is said (RFC 9111 §4.2.2).
const HEURISTIC_MAX_S: u64 = 24 * 3600;

/// Times of a stored response, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// For how long it is fresh, from when it was made.
    pub lifetime: u64,
    /// How old it was when it arrived.
    pub age_then: u64,
    /// When it arrived, in nanoseconds of the monotonic clock.
    pub arrived_ns: u64,
    pub control: Control,
    /// It has been purged softly or must be validated before each use.
    pub stale: bool,
}

/// What a stored response is good for at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// Without asking; for so many more seconds.
    Fresh { left: u64 },
    /// It has been stale for so long.
    Stale { by: u64 },
}

impl Freshness {
    /// Of a response that arrived at `arrived_ns` and `now_s` and whose request was sent `delay_s` before.
    pub fn new(status: u16, fields: &[FieldRef<'_>], now_s: u64, arrived_ns: u64, delay_s: u64) -> Freshness {
        let control = Control::of_response(fields);
        let apparent = single(fields, "Date").and_then(date).map_or(0, |made| now_s.saturating_sub(made));
        // The first of several counts, whether they stand in one line or in many; what is no number is nothing (§5.1).
        let said = values(fields, "Age").next().and_then(|list| list.split(|&byte| byte == b',').next());
        let said = said.and_then(|text| delta_seconds(text.trim_ascii())).unwrap_or(0);
        Freshness {
            lifetime: lifetime(&control, status, fields, now_s),
            age_then: apparent.max(said + delay_s).min(SECONDS_MAX),
            arrived_ns,
            control,
            stale: control.no_cache,
        }
    }

    /// Seconds since it was made (§4.2.3).
    pub fn age(&self, now_ns: u64) -> u64 {
        self.age_then + now_ns.saturating_sub(self.arrived_ns) / 1_000_000_000
    }

    pub fn usable(&self, now_ns: u64) -> Usable {
        let age = self.age(now_ns);
        if self.stale {
            return Usable::Stale { by: age.saturating_sub(self.lifetime) };
        }
        match self.lifetime.checked_sub(age) {
            Some(left) if left > 0 => Usable::Fresh { left },
            _ => Usable::Stale { by: age - self.lifetime },
        }
    }

    /// Whether it may be used for one request while another fetches a newer one.
    pub fn while_revalidating(&self, by: u64) -> bool {
        !self.control.forbids_stale()
            && self.control.stale_while_revalidate.is_some_and(|window| by <= window)
    }

    /// Whether it may be used because there is no better answer.
    pub fn if_error(&self, by: u64) -> bool {
        !self.control.forbids_stale() && self.control.stale_if_error.is_some_and(|window| by <= window)
    }
}

/// Seconds for which a response is fresh, from when it was made (§4.2.1).
pub(crate) fn lifetime(control: &Control, status: u16, fields: &[FieldRef<'_>], now_s: u64) -> u64 {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return seconds;
    }
    let made = single(fields, "Date").and_then(date).unwrap_or(now_s);
    if !control.targeted && values(fields, "Expires").next().is_some() {
        // What is no date, or not the only one, has passed (§5.3).
        return single(fields, "Expires")
            .and_then(date)
            .map_or(0, |at| at.saturating_sub(made))
            .min(SECONDS_MAX);
    }
    if control.no_cache || !(is_heuristic(status) || control.public) {
        return 0;
    }
    let changed = single(fields, "Last-Modified").and_then(date);
    changed.map_or(0, |changed| (made.saturating_sub(changed) / 10).min(HEURISTIC_MAX_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-15 08:12:31 GMT.
    const NOW: u64 = 784_887_151;
    const DATE: FieldRef<'static> = (b"Date", b"Tue, 15 Nov 1994 08:12:31 GMT");

    fn of(fields: &[FieldRef<'_>]) -> Freshness {
        Freshness::new(200, fields, NOW, 0, 0)
    }

    #[test]
    fn x4_the_most_specific_statement_counts() {
        let expires: FieldRef<'_> = (b"Expires", b"Tue, 15 Nov 1994 08:13:31 GMT");
        assert_eq!(of(&[DATE, expires]).lifetime, 60);
        assert_eq!(of(&[DATE, expires, (b"Cache-Control", b"max-age=5")]).lifetime, 5);
        assert_eq!(of(&[DATE, expires, (b"Cache-Control", b"max-age=5, s-maxage=7")]).lifetime, 7);
        assert_eq!(of(&[DATE, (b"Expires", b"0")]).lifetime, 0);
        assert_eq!(of(&[DATE, (b"Expires", b"Tuesday, 15-Nov-94 08:13:31 GMT")]).lifetime, 60);
        assert_eq!(of(&[DATE, (b"Last-Modified", b"Tue, 15 Nov 1994 08:10:51 GMT")]).lifetime, 10);
        assert_eq!(
            of(&[DATE, (b"Last-Modified", b"Tue, 06 Nov 1984 08:49:37 GMT")]).lifetime,
            HEURISTIC_MAX_S
        );
        assert_eq!(of(&[DATE]).lifetime, 0);
        let targeted = [DATE, expires, (&b"CDN-Cache-Control"[..], &b"public"[..])];
        assert_eq!(of(&targeted).lifetime, 0, "Expires does not count beside a targeted field");
    }

    #[test]
    fn x4_age_is_what_was_said_or_what_the_date_shows_and_grows() {
        assert_eq!(of(&[DATE, (b"Age", b"7")]).age(2_999_999_999), 9);
        assert_eq!(of(&[(b"Age", b"7, 8")]).age_then, 7);
        assert_eq!(of(&[(b"Age", b"7"), (b"Age", b"1")]).age_then, 7);
        for bad in [&b"-7"[..], b"a", b"7.0", b""] {
            assert_eq!(of(&[(b"Age", bad)]).age_then, 0, "{bad:?}");
        }
        assert_eq!(of(&[(b"Date", b"Tue, 15 Nov 1994 08:12:21 GMT")]).age_then, 10);
        assert_eq!(Freshness::new(200, &[DATE, (b"Age", b"7")], NOW, 0, 3).age_then, 10);
    }

    #[test]
    fn x7_stale_is_used_only_within_its_windows_and_never_where_it_is_forbidden() {
        let second = 1_000_000_000;
        let plain = of(&[DATE, (b"Cache-Control", b"max-age=2, stale-while-revalidate=3, stale-if-error=5")]);
        assert_eq!(plain.usable(second), Usable::Fresh { left: 1 });
        assert_eq!(plain.usable(2 * second), Usable::Stale { by: 0 });
        assert_eq!(plain.usable(6 * second), Usable::Stale { by: 4 });
        assert!(plain.while_revalidating(3) && !plain.while_revalidating(4));
        assert!(plain.if_error(5) && !plain.if_error(6));
        for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=1", "no-cache"] {
            let value = format!("max-age=2, stale-while-revalidate=3, stale-if-error=5, {forbids}");
            let strict = of(&[DATE, (b"Cache-Control", value.as_bytes())]);
            assert!(!strict.while_revalidating(0) && !strict.if_error(0), "{forbids}");
        }
        assert_eq!(of(&[(b"Cache-Control", b"no-cache, max-age=9")]).usable(0), Usable::Stale { by: 0 });
    }
}
