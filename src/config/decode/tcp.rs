//! Entry points for plain TCP.

use super::{Decoder, Scope};
use crate::document::Object;
use crate::model::{Tcp, TcpLimits, TcpRetry, TcpTimeouts};

impl Decoder<'_> {
    pub(super) fn tcp(&mut self, scope: &Scope<'_>) -> Tcp {
        if !scope.has("bind") {
            self.missing(scope, "the tcp listener has no address", "add bind \"0.0.0.0:5432\"");
        }
        if !scope.has("upstream") {
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
            timeouts: TcpTimeouts {
                connect: timeouts
                    .has("connect")
                    .then(|| self.positive(&timeouts, "connect", std::time::Duration::from_secs(1))),
                idle: self.positive(&timeouts, "idle", default.idle),
                half_closed: self.positive(&timeouts, "half-closed", default.half_closed),
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
}
