//! `Cache-Control` of responses and the targeted fields that stand in for it (RFC 9111 §5.2.2, RFC 9213).

use crate::{FieldRef, values};

/// What a response says about being kept. Seconds are bounded at 2^31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub no_store: bool,
    pub no_cache: bool,
    pub private: bool,
    pub public: bool,
    pub must_revalidate: bool,
    pub proxy_revalidate: bool,
    pub must_understand: bool,
    pub max_age: Option<u64>,
    pub s_maxage: Option<u64>,
    pub stale_while_revalidate: Option<u64>,
    pub stale_if_error: Option<u64>,
    /// A targeted field has been read: `Cache-Control` and `Expires` do not count.
    pub targeted: bool,
}

/// "Infinite" for a number of seconds that is larger (RFC 9111 §1.2.2).
pub(crate) const SECONDS_MAX: u64 = 1 << 31;

/// The field that is addressed to caches like this one (RFC 9213 §3.1).
const TARGETED: &str = "CDN-Cache-Control";

impl Control {
    /// What the fields of a response say: those of the targeted field if there is a valid one, else `Cache-Control`.
    pub fn of_response(fields: &[FieldRef<'_>]) -> Control {
        let mut targeted = Control { targeted: true, ..Control::default() };
        let mut any = false;
        let mut valid = true;
        for value in values(fields, TARGETED) {
            valid &= directives(value, |name, argument| {
                any = true;
                targeted.take(name, argument);
            });
        }
        if any && valid {
            return targeted;
        }
        let mut control = Control::default();
        for value in values(fields, "Cache-Control") {
            directives(value, |name, argument| control.take(name, argument));
        }
        control
    }

    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            // With names of fields it forbids less; forbidding all is always allowed (§5.2.2.4). Likewise `private`.
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            shortest(&mut self.max_age, argument);
        } else if is("s-maxage") {
            shortest(&mut self.s_maxage, argument);
        } else if is("stale-while-revalidate") {
            shortest(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            shortest(&mut self.stale_if_error, argument);
        }
    }

    /// Whether a stale response must not be used whatever happens (RFC 9111 §4.2.4).
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

/// Of a directive that is there twice the shorter one counts; one that cannot be read counts as 0 (§4.2.1).
fn shortest(seconds: &mut Option<u64>, argument: Option<&[u8]>) {
    let read = argument.and_then(delta_seconds).unwrap_or(0);
    *seconds = Some(seconds.map_or(read, |known| known.min(read)));
}

/// Digits only; more than 2^31 is that.
pub(crate) fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| (sum * 10 + u64::from(digit - b'0')).min(SECONDS_MAX);
    Some(text.iter().fold(0, add))
}

/// Hands every directive of a list to `take`: its name, and its argument without quotes. False when the list is malformed.
pub(crate) fn directives<'a>(mut list: &'a [u8], mut take: impl FnMut(&'a [u8], Option<&'a [u8]>)) -> bool {
    let mut is_good = true;
    loop {
        list = list.trim_ascii_start();
        if let Some(rest) = list.strip_prefix(b",") {
            list = rest;
            continue;
        }
        if list.is_empty() {
            return is_good;
        }
        let end = list.iter().position(|byte| b"=,; \t\"".contains(byte)).unwrap_or(list.len());
        let (name, rest) = list.split_at(end);
        let argument;
        (argument, list) = match rest.strip_prefix(b"=") {
            Some(rest) => match rest.strip_prefix(b"\"") {
                Some(quoted) => {
                    let Some(end) = closing_quote(quoted) else { return false };
                    (Some(&quoted[..end]), &quoted[end + 1..])
                }
                None => {
                    let end = rest.iter().position(|byte| b",; \t".contains(byte)).unwrap_or(rest.len());
                    (Some(&rest[..end]), &rest[end..])
                }
            },
            None => (None, rest),
        };
        // Parameters and whatever else stands before the next comma means nothing to us.
        let next = list.iter().position(|&byte| byte == b',').unwrap_or(list.len());
        is_good &= !name.is_empty()
            && (list[..next].trim_ascii().is_empty() || list.trim_ascii_start().starts_with(b";"));
        list = &list[next..];
        if !name.is_empty() {
            take(name, argument);
        }
    }
}

fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut escaped = false;
    quoted.iter().position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Control {
        Control::of_response(&[(b"cache-control", value.as_bytes())])
    }

    #[test]
    fn x4_directives_are_read_as_they_are_meant() {
        assert_eq!(of("max-age=60").max_age, Some(60));
        assert_eq!(of("MAX-AGE=60, Public").max_age, Some(60));
        assert_eq!(of("max-age=\"60\"").max_age, Some(60), "a quoted form is accepted (RFC 9111 §5.2)");
        assert_eq!(of("x=\"a, max-age=1\", max-age=60").max_age, Some(60));
        assert!(!of("x=\"a\\\", no-store\"").no_store);
        assert_eq!(of("max-age=99999999999999999999").max_age, Some(SECONDS_MAX));
        for bad in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=a",
            "max-age= 5",
            "max-age=60, max-age=0",
        ] {
            assert_eq!(of(bad).max_age, Some(0), "{bad}");
        }
        assert!(of("private=\"x-a\"").private && of("no-cache=\"x\"").no_cache);
        assert!(of(",, no-store ,").no_store);
        assert_eq!(of("no-storex, xno-store, s-max-age=5"), Control::default());
    }

    #[test]
    fn x4_a_targeted_field_stands_in_for_the_common_one_when_it_is_valid() {
        let control =
            Control::of_response(&[(b"Cache-Control", b"no-store"), (b"CDN-Cache-Control", b"max-age=10")]);
        assert!(control.targeted && !control.no_store && control.max_age == Some(10));
        for bad in [&b"max-age=10 x"[..], b"", b"=1"] {
            let control =
                Control::of_response(&[(b"Cache-Control", b"no-store"), (b"CDN-Cache-Control", bad)]);
            assert!(control.no_store, "{bad:?}");
        }
    }
}
