//! Do udp listeners and their upstreams say what datagrams can do?

use super::Check;
use crate::literal::Address;
use crate::model::{HashKey, Udp, Upstream};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn udp(&mut self) {
        let config = self.config;
        for udp in &config.udp {
            for (index, bind) in udp.binds.iter().enumerate() {
                if !matches!(bind, Address::Ip(_)) {
                    let what = "a udp listener has IP addresses only".to_owned();
                    let hint = Some("use an address such as \"0.0.0.0:53\"".to_owned());
                    self.error(Code::Value, &udp.origin, &format!("/bind/{index}"), what, hint);
                }
            }
        }
        for upstream in &config.upstreams {
            let Some(udp) = config.udp.iter().find(|udp| udp.upstream == upstream.name) else {
                self.key_of_ports(upstream);
                continue;
            };
            let mut routes = config.sites.iter().flat_map(|site| &site.routes);
            let has_requests = routes.any(|route| route.upstreams().any(|name| name == upstream.name));
            self.reached_by_datagrams(upstream, udp);
            self.key_of_datagrams(upstream, udp, has_requests);
            if !has_requests
                && !config.tcp.iter().any(|tcp| tcp.upstreams().any(|(name, ..)| name == upstream.name))
            {
                self.without_connections(upstream);
            }
        }
    }

    /// A request has no port of the client that would mean anything.
    fn key_of_ports(&mut self, upstream: &Upstream) {
        if upstream.balance.hashes() && upstream.hash_key == HashKey::ClientIpPort {
            let what =
                "\"hash-key\" cannot be \"client.ip-port\": no udp listener uses this upstream".to_owned();
            let hint = Some("use hash-key \"client.ip\"".to_owned());
            self.error(Code::Contradiction, &upstream.origin, "/hash-key", what, hint);
        }
    }

    fn reached_by_datagrams(&mut self, upstream: &Upstream, udp: &Udp) {
        for endpoint in &upstream.endpoints {
            if let Some(Address::Unix(_)) = endpoint.address.address() {
                let what = format!("no datagram of the udp listener \"{}\" gets to a unix socket", udp.name);
                let hint = Some("use an address such as \"10.0.0.1:53\"".to_owned());
                self.error(Code::Contradiction, &endpoint.origin, "/address", what, hint);
            }
        }
    }

    fn key_of_datagrams(&mut self, upstream: &Upstream, udp: &Udp, has_requests: bool) {
        let has_key = matches!(upstream.hash_key, HashKey::ClientIp | HashKey::ClientIpPort);
        if !upstream.balance.hashes() || has_key {
            return;
        }
        let key = self.shown(&upstream.origin, "/hash-key", &upstream.hash_key.to_string());
        if has_requests {
            let what =
                format!("datagrams of the udp listener \"{}\" have no {key}: they go anywhere", udp.name);
            let hint = Some("use hash-key \"client.ip\", or an upstream of its own".to_owned());
            self.warning(Code::Contradiction, &upstream.origin, "/hash-key", what, hint);
        } else {
            let what = format!(
                "\"hash-key\" cannot be {key}: datagrams of the udp listener \"{}\" have none",
                udp.name
            );
            let hint = Some("use hash-key \"client.ip\" or \"client.ip-port\"".to_owned());
            self.error(Code::Contradiction, &upstream.origin, "/hash-key", what, hint);
        }
    }

    /// Settings that need requests or connections, at an upstream that only gets datagrams.
    fn without_connections(&mut self, upstream: &Upstream) {
        let limits = &upstream.limits;
        for (member, is_set) in [
            ("/tls", upstream.tls.is_some()),
            ("/send-proxy", upstream.send_proxy.is_some()),
            ("/sticky", upstream.sticky.is_some()),
            ("/adaptive-concurrency", upstream.adaptive_concurrency.is_some()),
            ("/circuit-breaker", upstream.circuit_breaker.is_some()),
            ("/limits/connections", limits.connections.is_some()),
            ("/limits/requests", limits.requests.is_some()),
            ("/limits/endpoint-connections", limits.endpoint_connections.is_some()),
            ("/limits/queue", limits.queue.is_some()),
        ] {
            if is_set {
                let word = member.rsplit('/').next().unwrap_or(member);
                let what = format!("\"{word}\" has no effect: only udp listeners use this upstream");
                let hint = Some("\"limits\" of the udp listener bound its flows".to_owned());
                self.warning(Code::Contradiction, &upstream.origin, member, what, hint);
            }
        }
    }
}
