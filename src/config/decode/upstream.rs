//! Upstreams, their endpoints and their health checks.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::document::Object;
use crate::literal::{Address, Literal, Misread};
use crate::model::{
    Balance, Endpoint, HashKey, Health, HttpCheck, Protocol, StatusRange, StatusSet, TcpCheck, Tier,
    Upstream, UpstreamLimits, UpstreamTimeouts,
};
use crate::problem::Code;

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
            health: scope.member("health").and_then(|health| self.health(&health)),
            protocol: self.literal_or(scope, "protocol", Protocol::Http1),
            timeouts: self.upstream_timeouts(&or_nothing("timeouts")),
            limits: self.upstream_limits(&or_nothing("limits")),
            origin: self.origin(scope),
        }
    }

    fn endpoint(&mut self, scope: &Scope<'_>) -> Option<Endpoint> {
        if !scope.has("address") {
            self.missing(scope, "the endpoint has no address", "write endpoint \"10.0.0.1:8080\"");
        }
        let weight = self.number(scope, "weight", 1..=1000, 1);
        let tier = self.literal_or(scope, "tier", Tier::Primary);
        let address: Address = self.literal(scope, "address")?;
        if let (Address::Ip(ip), Some(scalar)) = (&address, scope.scalar("address"))
            && (ip.port() == 0 || ip.ip().is_unspecified())
        {
            let what =
                format!("\"address\" cannot be {}: nothing can be reached there", super::shown(scalar));
            self.error(Code::Value, scalar.span, what, None);
        }
        Some(Endpoint { address, weight, tier, origin: self.origin(scope) })
    }

    fn health(&mut self, scope: &Scope<'_>) -> Option<Health> {
        match (scope.member("http"), scope.member("tcp")) {
            (Some(http), None) => Some(Health::Http(self.http_check(&http))),
            (None, Some(tcp)) => Some(Health::Tcp(self.schedule(&tcp))),
            (None, None) => {
                self.missing(scope, "\"health\" does not say how", "add http \"/healthz\" or tcp");
                None
            }
            (Some(_), Some(tcp)) => {
                let hint = Some("keep one of http and tcp".to_owned());
                self.error(Code::Contradiction, tcp.object.span, "\"health\" says more than one way", hint);
                None
            }
        }
    }

    fn http_check(&mut self, scope: &Scope<'_>) -> HttpCheck {
        let path = match scope.scalar("path") {
            Some(scalar) => self.as_text("path", scalar).unwrap_or_default(),
            None => {
                self.missing(scope, "the check has no path", "write http \"/healthz\"");
                String::new()
            }
        };
        let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if let (false, Some(scalar)) = (plain, scope.scalar("path")) {
            self.wrong("path", scalar, "a path that starts with \"/\", without spaces");
        }
        HttpCheck {
            path,
            host: self.host(scope, "host"),
            expect: self.literal_or(scope, "expect", StatusSet::default()),
            schedule: self.schedule(scope),
        }
    }

    fn schedule(&mut self, scope: &Scope<'_>) -> TcpCheck {
        let default = TcpCheck::default();
        TcpCheck {
            every: self.positive(scope, "every", default.every),
            timeout: self.positive(scope, "timeout", default.timeout),
            rise: self.number(scope, "rise", 1..=1000, default.rise),
            fall: self.number(scope, "fall", 1..=1000, default.fall),
        }
    }

    fn upstream_timeouts(&mut self, scope: &Scope<'_>) -> UpstreamTimeouts {
        let default = UpstreamTimeouts::default();
        UpstreamTimeouts {
            connect: self.positive(scope, "connect", default.connect),
            response_header: self.positive_bound(scope, "response-header").unwrap_or(default.response_header),
            idle: self.positive_bound(scope, "idle").unwrap_or(default.idle),
            keep_alive: self.positive(scope, "keep-alive", default.keep_alive),
        }
    }

    fn upstream_limits(&mut self, scope: &Scope<'_>) -> UpstreamLimits {
        let default = UpstreamLimits::default();
        let mut limit = |key| scope.scalar(key).and_then(|scalar| self.as_number(key, scalar, 1..=u32::MAX));
        let (connections, requests, queue) = (limit("connections"), limit("requests"), limit("queue"));
        UpstreamLimits {
            connections,
            requests,
            queue,
            queue_timeout: self.positive(scope, "queue-timeout", default.queue_timeout),
        }
    }
}

impl Literal for HashKey {
    const EXPECTED: &'static str =
        "\"client.ip\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\" or \"path\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name)),
            None => (text, None),
        };
        match (kind, name) {
            ("client.ip", None) => Ok(HashKey::ClientIp),
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

impl Literal for StatusSet {
    const EXPECTED: &'static str = "statuses such as \"200\", \"200-399\" or \"200,204\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let status = |text: &str| {
                let valid = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<u16>()
                    .ok()
                    .filter(|status| valid && (100..=599).contains(status))
                    .ok_or(Misread::Form)
            };
            let (first, last) = (status(first)?, status(last)?);
            if first > last {
                return Err(Misread::Because(format!("the range {part} is empty")));
            }
            ranges.push(StatusRange { first, last });
        }
        Ok(StatusSet(ranges))
    }
}
