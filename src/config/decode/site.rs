//! Virtual hosts.

use super::{Decoder, Scope};
use crate::literal::{Bound, Literal, Misread};
use crate::model::{Site, SiteLimits, SiteName, SiteTimeouts};
use crate::problem::Code;
use std::net::Ipv6Addr;
use std::time::Duration;

impl Decoder<'_> {
    pub(super) fn site(&mut self, scope: &Scope<'_>) -> Site {
        if !scope.has("names") {
            self.missing(
                scope,
                "the site has no name",
                "write site \"www.example.com\", or site \"*\" for all hosts",
            );
        }
        if !scope.has("routes") {
            self.missing(scope, "the site has no route", "add route \"/\" upstream=\"name\"");
        }
        let timeouts = scope.member("timeouts").map(|timeouts| SiteTimeouts {
            total: self.positive_bound(&timeouts, "total"),
            per_try: self.positive_bound(&timeouts, "per-try"),
        });
        let limits = scope.member("limits").map(|limits| SiteLimits { body: self.literal(&limits, "body") });
        Site {
            names: self.literals(scope, "names"),
            listeners: self.texts(scope, "listeners"),
            timeouts: timeouts.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            headers: self.headers(scope),
            cors: self.cors(scope),
            require_authentication: self.flag(scope, "require-authentication"),
            compress: self.compress(scope),
            authenticate: self.authenticate(scope),
            authorize: self.authorize(scope),
            limit: self.limit_uses(scope),
            cache: self.text(scope, "cache"),
            routes: scope.members("routes").iter().filter_map(|route| self.route(route)).collect(),
            origin: self.origin(scope),
        }
    }

    /// A duration that may be off, but not zero.
    pub(super) fn positive_bound(&mut self, scope: &Scope<'_>, key: &str) -> Option<Bound<Duration>> {
        let value = self.literal(scope, key)?;
        if value == Bound::At(Duration::ZERO)
            && let Some(scalar) = scope.scalar(key)
        {
            let hint = Some("write \"off\" for no limit".to_owned());
            self.error(Code::Value, scalar.span, format!("\"{key}\" cannot be zero"), hint);
        }
        Some(value)
    }
}

impl Literal for SiteName {
    const EXPECTED: &'static str = "a host name such as \"www.example.com\", \"*.example.com\" or \"*\"";

    fn read(text: &str) -> Result<Self, Misread> {
        if text == "*" {
            return Ok(SiteName::Any);
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return match inner.parse::<Ipv6Addr>() {
                Ok(_) => Ok(SiteName::Exact(text.to_lowercase())),
                Err(_) => Err(Misread::Form),
            };
        }
        if text.contains("://") {
            return Err(Misread::Because("a scheme does not belong to a host name".into()));
        }
        if text.contains(':') {
            return Err(Misread::Because(
                "a port does not belong to a host name; any port is answered".into(),
            ));
        }
        if !text.is_ascii() {
            return Err(Misread::Because("write international names in their ASCII form (xn--…)".into()));
        }
        let lower = text.trim_end_matches('.').to_lowercase();
        match lower.strip_prefix("*.") {
            Some(suffix) if is_host(suffix) => Ok(SiteName::Wildcard(suffix.to_owned())),
            None if is_host(&lower) => Ok(SiteName::Exact(lower)),
            _ if lower.contains('*') => {
                Err(Misread::Because("\"*\" stands alone or as the whole first label only".into()))
            }
            _ => Err(Misread::Form),
        }
    }
}

/// Labels of letters, digits, `-` and `_`, in all at most 253 bytes.
pub(super) fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        plain && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
