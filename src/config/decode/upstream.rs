//! Upstreams and their endpoints.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::document::Object;
use crate::literal::{Address, Literal, Misread, Target};
use crate::model::{
    Balance, Endpoint, HashKey, Protocol, SPILL_OVER, Source, Tier, Upstream, UpstreamTimeouts,
};
use crate::problem::Code;
use std::net::{IpAddr, SocketAddr};

impl Decoder<'_> {
    pub(super) fn upstream(&mut self, scope: &Scope<'_>) -> Upstream {
        if !scope.has("endpoints") {
            self.missing(scope, "the upstream has no endpoint", "add endpoint \"10.0.0.1:8080\"");
        }
        let nothing = Object::default();
        let or_nothing = |key| scope.member(key).unwrap_or_else(|| Scope::new(&nothing, String::new()));
        Upstream {
            name: self.name(scope, "upstream"),
            endpoints: scope
                .members("endpoints")
                .iter()
                .filter_map(|endpoint| self.endpoint(endpoint))
                .collect(),
            balance: self.literal_or(scope, "balance", Balance::default()),
            hash_key: self.literal_or(scope, "hash-key", HashKey::default()),
            bounded_load: self.literal(scope, "bounded-load"),
            spill_over: self.literal_or(scope, "spill-over", SPILL_OVER),
            sticky: scope.member("sticky").map(|sticky| self.sticky(&sticky)),
            health: scope.member("health").and_then(|health| self.health(&health)),
            outlier: self.outlier(&or_nothing("outlier")),
            panic: self.literal_or(scope, "panic", Upstream::PANIC),
            slow_start: self.positive_bound(scope, "slow-start").unwrap_or(Upstream::SLOW_START),
            protocol: self.literal_or(scope, "protocol", Protocol::Http1),
            tls: scope.member("tls").map(|tls| self.upstream_tls(&tls)),
            source: self.sources(scope),
            send_proxy: scope.member("send-proxy").map(|sent| self.send_proxy(&sent)),
            timeouts: self.upstream_timeouts(&or_nothing("timeouts")),
            limits: self.upstream_limits(&or_nothing("limits")),
            dns: self.dns(scope),
            circuit_breaker: scope.member("circuit-breaker").map(|breaker| self.circuit_breaker(&breaker)),
            adaptive_concurrency: scope
                .member("adaptive-concurrency")
                .map(|adaptive| self.adaptive_concurrency(&adaptive)),
            retry_budget: self.retry_budget(&or_nothing("retry-budget")),
            origin: self.origin(scope),
        }
    }

    fn endpoint(&mut self, scope: &Scope<'_>) -> Option<Endpoint> {
        if !scope.has("address") {
            self.missing(scope, "the endpoint has no address", "write endpoint \"10.0.0.1:8080\"");
        }
        let weight = self.number(scope, "weight", 0..=1000, 1);
        let tier = self.literal_or(scope, "tier", Tier::Primary);
        let address: Target = self.literal(scope, "address")?;
        if let (Some(Address::Ip(ip)), Some(scalar)) = (address.address(), scope.scalar("address"))
            && (ip.port() == 0 || ip.ip().is_unspecified())
        {
            let what =
                format!("\"address\" cannot be {}: nothing can be reached there", super::shown(scalar));
            self.error(Code::Value, scalar.span, what, None);
        }
        Some(Endpoint { address, weight, tier, zone: self.zone(scope), origin: self.origin(scope) })
    }

    fn sources(&mut self, scope: &Scope<'_>) -> Vec<Source> {
        let sources = self.literals(scope, "source");
        if sources.len() > SOURCES_MAX
            && let Some(scalar) = scope.scalars("source").nth(SOURCES_MAX)
        {
            let what = format!("at most {SOURCES_MAX} source addresses, not {}", sources.len());
            self.error(Code::Value, scalar.span, what, None);
        }
        sources
    }

    fn upstream_timeouts(&mut self, scope: &Scope<'_>) -> UpstreamTimeouts {
        let default = UpstreamTimeouts::default();
        UpstreamTimeouts {
            connect: self.positive(scope, "connect", default.connect),
            handshake: self.positive(scope, "handshake", default.handshake),
            response_header: self.positive_bound(scope, "response-header").unwrap_or(default.response_header),
            idle: self.positive_bound(scope, "idle").unwrap_or(default.idle),
            keep_alive: self.positive(scope, "keep-alive", default.keep_alive),
        }
    }
}

/// Each multiplies the ports; more than that are tried in vain when all are used up.
const SOURCES_MAX: usize = 64;

impl Literal for Source {
    const EXPECTED: &'static str = "an address of this machine such as \"10.0.0.5\", or \"client\"";

    fn read(text: &str) -> Result<Self, Misread> {
        if text == "client" {
            return Ok(Source::Client);
        }
        match text.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                Err(Misread::Because("connections cannot come from there".into()))
            }
            Ok(ip) => Ok(Source::Address(ip)),
            Err(_) if text.parse::<SocketAddr>().is_ok() => {
                Err(Misread::Because("the kernel chooses the port; write the address alone".into()))
            }
            Err(_) => Err(Misread::Form),
        }
    }
}

impl Literal for HashKey {
    const EXPECTED: &'static str =
        "\"client.ip\", \"client.ip-port\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or \"path\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        match (kind, name) {
            ("client.ip", None) => Ok(HashKey::ClientIp),
            ("client.ip-port", None) => Ok(HashKey::ClientIpPort),
            ("path", None) => Ok(HashKey::Path),
            ("header" | "cookie", Some(name)) if !is_token(name) => {
                Err(Misread::Because(format!("\"{name}\" is not the name of a {kind}")))
            }
            ("header", Some(name)) => Ok(HashKey::Header(name.to_owned())),
            ("cookie", Some(name)) => Ok(HashKey::Cookie(name.to_owned())),
            ("query", Some(name)) if !name.is_empty() => Ok(HashKey::Query(name.to_owned())),
            ("claim", Some(_)) => Err(Misread::Later),
            _ => Err(Misread::Form),
        }
    }
}
