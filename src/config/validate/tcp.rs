//! Do upstreams of tcp listeners ask for what only a request can tell?

use super::Check;
use crate::model::{HashKey, SiteName, Tcp, TcpProtocol, TcpRoute, Upstream, UpstreamTimeouts};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn tcp(&mut self) {
        let config = self.config;
        config.tcp.iter().for_each(|tcp| self.routes_of(tcp));
        for upstream in &config.upstreams {
            let uses = |tcp: &&Tcp| tcp.upstreams().any(|(name, ..)| name == upstream.name);
            let Some(tcp) = config.tcp.iter().find(uses) else { continue };
            let mut routes = config.sites.iter().flat_map(|site| &site.routes);
            let has_requests = routes.any(|route| route.upstreams().any(|name| name == upstream.name));
            self.key_of_connection(upstream, &tcp.name, has_requests);
            if !has_requests {
                self.without_requests(upstream);
            }
        }
    }

    /// Two routes of a listener that take the same connections.
    fn routes_of(&mut self, tcp: &Tcp) {
        let takes = |route: &TcpRoute| {
            // `*` and no name at all are the same.
            let (sni, protocol) = match (&route.sni, route.protocol) {
                (Some(sni), _) => (Some(sni.clone()), TcpProtocol::Tls),
                (None, None | Some(TcpProtocol::Tls)) => (Some(SiteName::Any), TcpProtocol::Tls),
                (None, Some(protocol)) => (None, protocol),
            };
            (sni, protocol, route.alpn.clone())
        };
        for (index, route) in tcp.routes.iter().enumerate() {
            let first = tcp.routes[..index].iter().find(|other| takes(other) == takes(route));
            if let Some(first) = first {
                let hint = Some(format!("the one at {} takes the same connections", first.origin));
                let what = "the route takes no connections".to_owned();
                self.error(Code::Duplicate, &route.origin, "/upstream", what, hint);
            }
            if !tcp.upstream.is_empty() && is_default(route) {
                let hint = Some(
                    "\"upstream\" of the listener is the default already; keep one of the two".to_owned(),
                );
                let what = "the listener has two defaults".to_owned();
                self.error(Code::Contradiction, &route.origin, "/sni", what, hint);
            }
        }
    }

    /// A connection has an address, and nothing else to hash.
    fn key_of_connection(&mut self, upstream: &Upstream, tcp: &str, has_requests: bool) {
        if !upstream.balance.hashes() || upstream.hash_key == HashKey::ClientIp {
            return;
        }
        let key = self.shown(&upstream.origin, "/hash-key", &upstream.hash_key.to_string());
        if has_requests {
            let what = format!("connections of the tcp listener \"{tcp}\" have no {key}: they go anywhere");
            let hint = Some("use hash-key \"client.ip\", or an upstream of its own".to_owned());
            self.warning(Code::Contradiction, &upstream.origin, "/hash-key", what, hint);
        } else {
            let what =
                format!("\"hash-key\" cannot be {key}: connections of the tcp listener \"{tcp}\" have none");
            let hint = Some("use hash-key \"client.ip\"".to_owned());
            self.error(Code::Contradiction, &upstream.origin, "/hash-key", what, hint);
        }
    }

    /// Settings that need requests, at an upstream that only passes connections through.
    fn without_requests(&mut self, upstream: &Upstream) {
        for (member, is_set) in [
            ("sticky", upstream.sticky.is_some()),
            ("adaptive-concurrency", upstream.adaptive_concurrency.is_some()),
        ] {
            if is_set {
                let what = format!("\"{member}\" has no effect: only tcp listeners use this upstream");
                self.warning(Code::Contradiction, &upstream.origin, &format!("/{member}"), what, None);
            }
        }
        let (written, default) = (&upstream.timeouts, UpstreamTimeouts::default());
        for (member, is_set) in [
            ("response-header", written.response_header != default.response_header),
            ("idle", written.idle != default.idle),
            ("keep-alive", written.keep_alive != default.keep_alive),
        ] {
            if is_set {
                let at = format!("/timeouts/{member}");
                let what = format!("\"{member}\" has no effect: only tcp listeners use this upstream");
                let hint = Some("\"timeouts\" of the tcp listener are those of its connections".to_owned());
                self.warning(Code::Contradiction, &upstream.origin, &at, what, hint);
            }
        }
    }
}

/// Whether the route takes whatever no other takes.
fn is_default(route: &TcpRoute) -> bool {
    route.sni == Some(SiteName::Any) && route.alpn.is_none() && route.protocol.is_none()
}
