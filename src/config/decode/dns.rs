//! How names are resolved.

use super::{Decoder, Scope};
use crate::literal::{Literal, Misread};
use crate::model::{DnsServer, DnsSettings};
use crate::problem::Code;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// More servers than that are never asked in time.
const SERVERS_MAX: usize = 8;

impl Decoder<'_> {
    pub(super) fn dns(&mut self, scope: &Scope<'_>) -> DnsSettings {
        let Some(scope) = scope.member("dns") else { return DnsSettings::default() };
        let servers = self.literals(&scope, "servers");
        if servers.len() > SERVERS_MAX {
            let what = format!("at most {SERVERS_MAX} servers can be asked, not {}", servers.len());
            self.error(Code::Value, scope.object.span, what, None);
        }
        DnsSettings {
            servers,
            ttl_min: self.ttl(&scope, "ttl-min"),
            ttl_max: self.ttl(&scope, "ttl-max"),
            timeout: self.some_positive(&scope, "timeout"),
            addresses: self.literal(&scope, "addresses"),
        }
    }

    fn some_positive(&mut self, scope: &Scope<'_>, key: &str) -> Option<Duration> {
        scope.has(key).then(|| self.positive(scope, key, Duration::from_secs(1)))
    }

    /// Whatever an answer says, nothing is asked for more often than once a second, and nothing is believed for a day.
    fn ttl(&mut self, scope: &Scope<'_>, key: &str) -> Option<Duration> {
        let value = self.literal(scope, key)?;
        if !(TTL_MIN..=TTL_MAX).contains(&value)
            && let Some(scalar) = scope.scalar(key)
        {
            let what = format!("\"{key}\" cannot be {}", super::shown(scalar));
            self.error(Code::Value, scalar.span, what, Some("expected from 1s to 1h".to_owned()));
        }
        Some(value)
    }
}

const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3600);

impl Literal for DnsServer {
    const EXPECTED: &'static str = "the address of a DNS server such as \"10.0.0.53\" or \"[fd00::53]:5353\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let server = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 53).into()));
        match server {
            Ok(server) if server.port() == 0 || server.ip().is_unspecified() => {
                Err(Misread::Because("nothing can be reached there".into()))
            }
            Ok(server) => Ok(DnsServer(server)),
            Err(_) => Err(Misread::Form),
        }
    }
}
