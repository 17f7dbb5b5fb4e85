//! Sessions and zones: what keeps traffic where it is.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::literal::Literal;
use crate::model::{SameSite, Secret, SiteName, Sticky};
use crate::problem::Code;
use std::time::Duration;

/// Shorter secrets can be found by trying.
const SECRET_BYTES_MIN: usize = 16;
const ZONE_BYTES_MAX: usize = 64;

impl Decoder<'_> {
    pub(super) fn sticky(&mut self, scope: &Scope<'_>) -> Sticky {
        Sticky {
            cookie: self.cookie_name(scope),
            max_age: self.max_age(scope),
            path: self.cookie_path(scope),
            domain: self.cookie_domain(scope),
            secure: self.flag(scope, "secure"),
            http_only: !scope.has("http-only") || self.flag(scope, "http-only"),
            same_site: self.literal_or(scope, "same-site", SameSite::default()),
            secret: self.secret_of(scope, "secret"),
        }
    }

    /// The zone of the node or of an endpoint.
    pub(super) fn zone(&mut self, scope: &Scope<'_>) -> Option<String> {
        let scalar = scope.scalar("zone")?;
        let zone = self.as_text("zone", scalar)?;
        let plain = zone.bytes().all(|byte| byte.is_ascii_graphic());
        if zone.is_empty() || !plain || zone.len() > ZONE_BYTES_MAX {
            self.wrong("zone", scalar, "the name of a zone: at most 64 printable characters without spaces");
            return None;
        }
        Some(zone)
    }

    fn cookie_name(&mut self, scope: &Scope<'_>) -> String {
        let default = || "ringway_route".to_owned();
        let Some(scalar) = scope.scalar("cookie") else { return default() };
        match self.as_text("cookie", scalar) {
            Some(name) if is_token(&name) => name,
            Some(_) => {
                self.wrong("cookie", scalar, "the name of a cookie (RFC 6265)");
                default()
            }
            None => default(),
        }
    }

    fn max_age(&mut self, scope: &Scope<'_>) -> Option<Duration> {
        let max_age: Duration = self.literal(scope, "max-age")?;
        if let Some(scalar) = scope.scalar("max-age").filter(|_| max_age < Duration::from_secs(1)) {
            let what = format!("\"max-age\" cannot be {}", super::shown(scalar));
            self.error(Code::Value, scalar.span, what, Some("expected at least \"1s\"".to_owned()));
            return None;
        }
        Some(max_age)
    }

    fn cookie_path(&mut self, scope: &Scope<'_>) -> String {
        let default = || "/".to_owned();
        let Some(scalar) = scope.scalar("path") else { return default() };
        let Some(path) = self.as_text("path", scalar) else { return default() };
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
        if !path.starts_with('/') || !plain {
            self.wrong("path", scalar, "a path that starts with \"/\", without spaces and semicolons");
            return default();
        }
        path
    }

    fn cookie_domain(&mut self, scope: &Scope<'_>) -> Option<String> {
        let scalar = scope.scalar("domain")?;
        let domain = self.as_text("domain", scalar)?;
        match SiteName::read(&domain) {
            Ok(SiteName::Exact(_)) if !domain.contains([':', '[']) => Some(domain),
            _ => {
                self.wrong("domain", scalar, "a host name such as \"example.com\"");
                None
            }
        }
    }

    /// A secret in the text would be in every dump of it.
    pub(super) fn secret_of(&mut self, scope: &Scope<'_>, key: &str) -> Option<Secret> {
        let scalar = scope.scalar(key)?;
        let secret = self.as_text(key, scalar)?;
        if scalar.reference.is_none() {
            let hint = Some("write (file)\"secrets/sticky\" or (env)\"STICKY_SECRET\"".to_owned());
            self.error(Code::Value, scalar.span, "a secret cannot stand in the text", hint);
            return None;
        }
        if secret.len() < SECRET_BYTES_MIN {
            let what = format!("\"{key}\" cannot be {}: it is too short", super::shown(scalar));
            let hint = format!("expected at least {SECRET_BYTES_MIN} bytes, better 32 random ones");
            self.error(Code::Value, scalar.span, what, Some(hint));
            return None;
        }
        Some(Secret(secret))
    }
}
