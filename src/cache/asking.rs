//! What a request says about answers from a store (RFC 9111 §5.2.1, RFC 9110 §13).

use crate::control::{delta_seconds, directives};
use crate::freshness::{Freshness, Usable};
use crate::object::Object;
use crate::{FieldRef, date, single, values};

/// `Cache-Control` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub max_age: Option<u64>,
    pub min_fresh: Option<u64>,
    /// By how many seconds an answer may be stale; without a number by any.
    pub max_stale: Option<u64>,
}

impl Asking {
    pub fn of(request: &[FieldRef<'_>]) -> Asking {
        let mut asking = Asking::default();
        let mut any = false;
        for value in values(request, "Cache-Control") {
            directives(value, |name, argument| {
                any = true;
                asking.take(name, argument);
            });
        }
        if !any {
            asking.no_cache =
                values(request, "Pragma").any(|value| value.trim_ascii().eq_ignore_ascii_case(b"no-cache"));
        }
        asking
    }

    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        let seconds = || argument.and_then(delta_seconds);
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age = Some(seconds().unwrap_or(0));
        } else if is("min-fresh") {
            self.min_fresh = Some(seconds().unwrap_or(u64::MAX));
        } else if is("max-stale") {
            self.max_stale = if argument.is_none() { Some(u64::MAX) } else { seconds() };
        }
    }

    /// Whether the request may be answered with it without asking the upstream.
    pub fn accepts(&self, freshness: &Freshness, now_ns: u64) -> bool {
        if self.no_cache || self.max_age.is_some_and(|most| freshness.age(now_ns) > most) {
            return false;
        }
        match freshness.usable(now_ns) {
            Usable::Fresh { left } => self.min_fresh.is_none_or(|least| left >= least),
            Usable::Stale { by } => {
                !freshness.stale
                    && !freshness.control.forbids_stale()
                    && self.max_stale.is_some_and(|most| by <= most)
            }
        }
    }
}

/// What a request's conditions say about a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matches;

impl Matches {
    /// Whether the client has it already: 304. Only for what a 200 would answer.
    pub fn not_modified(request: &[FieldRef<'_>], object: &Object) -> bool {
        if values(request, "If-None-Match").next().is_some() {
            let Some(own) = object.etag.as_deref() else {
                return values(request, "If-None-Match").any(|list| list.trim_ascii() == b"*");
            };
            return values(request, "If-None-Match").any(|list| lists(list, own));
        }
        let Some(since) = single(request, "If-Modified-Since").and_then(date) else { return false };
        // Without a date of its own, that of the message stands in (RFC 9110 §13.1.3, RFC 9111 §4.3.2).
        let changed = object.last_modified.as_deref().and_then(date).or(object.made_s);
        changed.is_some_and(|changed| changed <= since)
    }

    /// Whether `Range` counts: there is no `If-Range`, or it names exactly this representation.
    pub fn range_holds(request: &[FieldRef<'_>], object: &Object) -> bool {
        if values(request, "If-Range").next().is_none() {
            return true;
        }
        let Some(named) = single(request, "If-Range") else { return false };
        if named.starts_with(b"\"") {
            return object.etag.as_deref() == Some(named);
        }
        if named.starts_with(b"W/") {
            return false;
        }
        // A date is strong when the response was made at least a second later (RFC 9110 §8.8.2.2).
        let (Some(changed), Some(made)) = (object.last_modified.as_deref().and_then(date), object.made_s)
        else {
            return false;
        };
        object.last_modified.as_deref() == Some(named) && made > changed
    }
}

/// Whether a list of entity tags has `own` in it, by the weak comparison.
fn lists(list: &[u8], own: &[u8]) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let opaque = |tag: &[u8]| -> Vec<u8> { tag.strip_prefix(b"W/").unwrap_or(tag).to_vec() };
    let own = opaque(own);
    // A tag may hold commas, so the quotes tell where it ends.
    let mut rest = list;
    while let Some(start) = rest.iter().position(|&byte| byte == b'"') {
        let Some(end) = rest[start + 1..].iter().position(|&byte| byte == b'"') else { return false };
        let tag = &rest[start..start + end + 2];
        if tag == own {
            return true;
        }
        rest = &rest[start + end + 2..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::object;

    #[test]
    fn x5_directives_of_requests_narrow_and_widen() {
        let second = 1_000_000_000;
        let of = |value: &'static str| Asking::of(&[(b"Cache-Control", value.as_bytes())]);
        let stored = object(&[("Cache-Control", "max-age=10"), ("Age", "2")]).freshness;
        assert!(of("").accepts(&stored, 0) && !of("").accepts(&stored, 8 * second));
        assert!(!of("no-cache").accepts(&stored, 0));
        assert!(of("max-age=2").accepts(&stored, 0) && !of("max-age=1").accepts(&stored, 0));
        assert!(of("min-fresh=8").accepts(&stored, 0) && !of("min-fresh=9").accepts(&stored, 0));
        assert!(!of("min-fresh=x").accepts(&stored, 0));
        assert!(of("max-stale").accepts(&stored, 99 * second));
        assert!(
            of("max-stale=1").accepts(&stored, 9 * second)
                && !of("max-stale=1").accepts(&stored, 10 * second)
        );
        let strict = object(&[("Cache-Control", "max-age=1, must-revalidate")]).freshness;
        assert!(!of("max-stale").accepts(&strict, 9 * second));
        assert!(Asking::of(&[(b"Pragma", b"no-cache")]).no_cache);
        assert!(!Asking::of(&[(b"Pragma", b"no-cache"), (b"Cache-Control", b"max-age=1")]).no_cache);
    }

    #[test]
    fn x6_conditions_compare_tags_weakly_and_ranges_strongly() {
        let stored = object(&[
            ("ETag", "W/\"a,b\""),
            ("Last-Modified", "Tue, 15 Nov 1994 08:00:00 GMT"),
            ("Date", "Tue, 15 Nov 1994 09:00:00 GMT"),
        ]);
        let asks = |name: &'static str, value: &'static str| [(name.as_bytes(), value.as_bytes())];
        for (list, expected) in [
            ("\"a,b\"", true),
            ("W/\"a,b\"", true),
            ("\"x\", \"a,b\"", true),
            ("*", true),
            ("\"a\"", false),
            ("a,b", false),
        ] {
            assert_eq!(Matches::not_modified(&asks("If-None-Match", list), &stored), expected, "{list}");
        }
        let since = |value| Matches::not_modified(&asks("If-Modified-Since", value), &stored);
        assert!(
            since("Tue, 15 Nov 1994 08:00:00 GMT") && !since("Tue, 15 Nov 1994 07:59:59 GMT") && !since("x")
        );
        let both: [FieldRef<'_>; 2] =
            [(b"If-None-Match", b"\"x\""), (b"If-Modified-Since", b"Tue, 15 Nov 1994 08:00:00 GMT")];
        assert!(!Matches::not_modified(&both, &stored), "the tag counts alone");
        let range = |value| Matches::range_holds(&asks("If-Range", value), &stored);
        assert!(!range("W/\"a,b\"") && !range("\"a,b\""), "a weak tag is no reason to send a part");
        assert!(range("Tue, 15 Nov 1994 08:00:00 GMT") && !range("Tue, 15 Nov 1994 08:00:01 GMT"));
        assert!(Matches::range_holds(&[], &stored));
        let strong = object(&[("ETag", "\"s\"")]);
        assert!(Matches::range_holds(&asks("If-Range", "\"s\""), &strong));
    }
}
