//! Which responses may be kept (RFC 9111 §3, and what this cache adds).

use crate::control::{Control, directives};
use crate::freshness::lifetime;
use crate::{FieldRef, values};

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Method,
    /// A status that this cache does not keep.
    Status,
    /// `no-store` of the request or the response.
    NoStore,
    Private,
    /// The request says who asks, and the response does not say that others may have it.
    Authorization,
    SetCookie,
    /// `Vary: *`, or more names than are kept.
    Vary,
    /// It could never be used: neither fresh for any time nor to be validated.
    Lifetime,
}

impl Refused {
    /// In `Cache-Status` and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Refused::Method => "method",
            Refused::Status => "status",
            Refused::NoStore => "no-store",
            Refused::Private => "private",
            Refused::Authorization => "authorization",
            Refused::SetCookie => "set-cookie",
            Refused::Vary => "vary",
            Refused::Lifetime => "lifetime",
        }
    }
}

/// Whether the response of `status` with `fields` to a GET may be kept for others. `identified`: the request says who asks.
/// `now_s` is the time in seconds since 1970.
pub fn storable(
    status: u16,
    fields: &[FieldRef<'_>],
    request: &[FieldRef<'_>],
    identified: bool,
    now_s: u64,
) -> Result<(), Refused> {
    let control = Control::of_response(fields);
    // 206 and 304 are parts and updates of something else; 1xx is not final.
    let understood =
        is_heuristic(status) || matches!(status, 201 | 202 | 302 | 303 | 307 | 400 | 403 | 429 | 500..=504);
    if status < 200 || matches!(status, 206 | 304) || !understood {
        return Err(Refused::Status);
    }
    if (control.no_store && !(control.must_understand && understood)) || asks_no_store(request) {
        return Err(Refused::NoStore);
    }
    if control.private {
        return Err(Refused::Private);
    }
    if identified && !(control.public || control.s_maxage.is_some() || control.must_revalidate) {
        return Err(Refused::Authorization);
    }
    if values(fields, "Set-Cookie").next().is_some() {
        return Err(Refused::SetCookie);
    }
    if crate::vary::names(fields).is_none() {
        return Err(Refused::Vary);
    }
    let validates =
        values(fields, "ETag").next().is_some() || values(fields, "Last-Modified").next().is_some();
    let is_explicit = has_explicit(&control, fields);
    let lifetime = lifetime(&control, status, fields, now_s);
    if (!is_explicit && lifetime == 0 && !(validates && is_heuristic(status)))
        || (lifetime == 0
            && !validates
            && control.stale_while_revalidate.is_none()
            && control.stale_if_error.is_none())
    {
        return Err(Refused::Lifetime);
    }
    Ok(())
}

fn has_explicit(control: &Control, fields: &[FieldRef<'_>]) -> bool {
    control.max_age.is_some()
        || control.s_maxage.is_some()
        || control.no_cache
        || (!control.targeted && values(fields, "Expires").next().is_some())
}

fn asks_no_store(request: &[FieldRef<'_>]) -> bool {
    let mut asks = false;
    for value in values(request, "Cache-Control") {
        directives(value, |name, _| asks |= name.eq_ignore_ascii_case(b"no-store"));
    }
    asks
}

/// Statuses that may be kept without being told for how long (RFC 9110 §15.1).
pub(crate) fn is_heuristic(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        status: u16,
        fields: &[(&str, &str)],
        request: &[(&str, &str)],
        identified: bool,
    ) -> Result<(), Refused> {
        let bytes = |pairs: &[(&'static str, &'static str)]| -> Vec<FieldRef<'static>> {
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
        };
        let leak = |pairs: &[(&str, &str)]| -> Vec<(&'static str, &'static str)> {
            let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
            pairs.iter().map(|(name, value)| (leak(name), leak(value))).collect()
        };
        storable(status, &bytes(&leak(fields)), &bytes(&leak(request)), identified, 1_000)
    }

    #[test]
    fn x1_only_what_others_may_have_is_kept() {
        let cc = |value| [("Cache-Control", value)];
        assert_eq!(ask(200, &cc("max-age=60"), &[], false), Ok(()));
        assert_eq!(ask(200, &cc("max-age=60, no-store"), &[], false), Err(Refused::NoStore));
        assert_eq!(ask(200, &cc("max-age=60, private"), &[], false), Err(Refused::Private));
        assert_eq!(ask(200, &cc("max-age=60"), &cc("no-store"), false), Err(Refused::NoStore));
        assert_eq!(ask(200, &cc("max-age=60"), &[], true), Err(Refused::Authorization));
        for allowed in ["max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate"] {
            assert_eq!(ask(200, &cc(allowed), &[], true), Ok(()), "{allowed}");
        }
        let cookie = [("Cache-Control", "max-age=60"), ("set-cookie", "a=b")];
        assert_eq!(ask(200, &cookie, &[], false), Err(Refused::SetCookie));
        assert_eq!(
            ask(200, &[("Cache-Control", "max-age=1"), ("Vary", "*")], &[], false),
            Err(Refused::Vary)
        );
        assert_eq!(ask(200, &[], &[], false), Err(Refused::Lifetime));
        assert_eq!(ask(200, &cc("max-age=0"), &[], false), Err(Refused::Lifetime));
        assert_eq!(ask(200, &[("ETag", "\"a\"")], &[], false), Ok(()), "it can be validated");
        for status in [206, 304, 100, 299, 418] {
            assert_eq!(ask(status, &cc("max-age=60"), &[], false), Err(Refused::Status), "{status}");
        }
        assert_eq!(ask(500, &[], &[], false), Err(Refused::Lifetime));
        assert_eq!(ask(302, &cc("max-age=60"), &[], false), Ok(()));
        assert_eq!(ask(200, &cc("max-age=60, no-store, must-understand"), &[], false), Ok(()));
    }
}
