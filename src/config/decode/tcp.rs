//! Entry points for plain TCP.

use super::{Decoder, Scope};
use crate::document::Object;
use crate::model::{Tcp, TcpLimits, TcpProtocol, TcpRetry, TcpRoute, TcpTimeouts};
use crate::problem::Code;

impl Decoder<'_> {
    pub(super) fn tcp(&mut self, scope: &Scope<'_>) -> Tcp {
        if !scope.has("bind") {
            self.missing(scope, "the tcp listener has no address", "add bind \"0.0.0.0:5432\"");
        }
        if !scope.has("upstream") && !scope.has("routes") {
            self.missing(scope, "the tcp listener has no upstream", "add upstream \"name\"");
        }
        let nothing = Object::default();
        let or_nothing = |key| scope.member(key).unwrap_or_else(|| Scope::new(&nothing, String::new()));
        let (timeouts, limits) = (or_nothing("timeouts"), or_nothing("limits"));
        let default = TcpTimeouts::default();
        Tcp {
            name: self.name(scope, "tcp"),
            binds: self.literals(scope, "bind"),
            upstream: self.text(scope, "upstream").unwrap_or_default(),
            routes: scope.members("routes").iter().map(|route| self.tcp_route(route)).collect(),
            socket_file: scope.member("socket-file").map(|file| self.socket_file(&file)),
            proxy_protocol: scope.member("proxy-protocol").map(|proxy| self.proxy_protocol(&proxy)),
            send_proxy: scope.member("send-proxy").map(|sent| self.send_proxy(&sent)),
            timeouts: TcpTimeouts {
                connect: timeouts
                    .has("connect")
                    .then(|| self.positive(&timeouts, "connect", std::time::Duration::from_secs(1))),
                idle: self.positive(&timeouts, "idle", default.idle),
                half_closed: self.positive(&timeouts, "half-closed", default.half_closed),
                hello: self.positive(&timeouts, "hello", default.hello),
                silence: self.positive(&timeouts, "silence", default.silence),
            },
            limits: TcpLimits {
                connections: self.number(
                    &limits,
                    "connections",
                    1..=10_000_000,
                    TcpLimits::default().connections,
                ),
                connections_per_client: self.per_client(&limits),
            },
            retry: TcpRetry {
                attempts: self.number(&or_nothing("retry"), "attempts", 0..=2, TcpRetry::default().attempts),
            },
            origin: self.origin(scope),
        }
    }

    fn tcp_route(&mut self, scope: &Scope<'_>) -> TcpRoute {
        if !scope.has("upstream") {
            self.missing(
                scope,
                "the route has no upstream",
                "write route sni=\"db.example.com\" upstream=\"name\"",
            );
        }
        let route = TcpRoute {
            sni: self.literal(scope, "sni"),
            alpn: self.text(scope, "alpn"),
            protocol: self.literal(scope, "protocol"),
            upstream: self.text(scope, "upstream").unwrap_or_default(),
            origin: self.origin(scope),
        };
        if !(scope.has("sni") || scope.has("alpn") || scope.has("protocol")) {
            let hint = "add sni=\"db.example.com\", alpn=\"h2\" or protocol=\"http\"; \"upstream\" of the listener takes the rest";
            self.missing(scope, "the route does not say which connections it takes", hint);
        }
        if let (Some(protocol), true) = (route.protocol, route.sni.is_some() || route.alpn.is_some())
            && protocol != TcpProtocol::Tls
            && let Some(scalar) = scope.scalar("protocol")
        {
            let what = format!("\"sni\" and \"alpn\" belong to TLS, not to \"{protocol}\"");
            self.error(Code::Contradiction, scalar.span, what, Some("write two routes".to_owned()));
        }
        if let (Some(alpn), Some(scalar)) = (&route.alpn, scope.scalar("alpn"))
            && !(1..=255).contains(&alpn.len())
        {
            self.wrong("alpn", scalar, "the name of a protocol such as \"h2\", at most 255 bytes");
        }
        route
    }
}
