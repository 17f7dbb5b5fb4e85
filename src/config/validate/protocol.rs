//! Can the endpoints be spoken to as the upstream says?

use super::Check;
use crate::model::{Health, Protocol, Source, Upstream};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn protocol(&mut self, upstream: &Upstream) {
        let origin = &upstream.origin;
        let mut contradiction = |what: &str, hint: &str| {
            let hint = Some(hint.to_owned());
            self.error(Code::Contradiction, origin, "/protocol", what.to_owned(), hint);
        };
        match (upstream.protocol, &upstream.tls) {
            (Protocol::Http1, _) => return,
            (Protocol::H2c, Some(_)) => {
                contradiction(
                    "\"h2c\" is HTTP/2 in clear text, and the endpoints speak TLS",
                    "write protocol \"h2\"",
                );
            }
            (Protocol::H2, None) => {
                contradiction(
                    "\"h2\" is HTTP/2 over TLS, and the upstream has no \"tls\"",
                    "add tls, or write protocol \"h2c\"",
                );
            }
            (Protocol::H2c, None) | (Protocol::H2, Some(_)) => {}
        }
        if upstream.send_proxy.is_some() {
            contradiction(
                "requests of many clients share a connection, and \"send-proxy\" announces one client for each",
                "remove send-proxy, or write protocol \"http1\"",
            );
        }
        if upstream.source.contains(&Source::Client) {
            contradiction(
                "requests of many clients share a connection, which cannot come from the address of each",
                "remove source \"client\", or write protocol \"http1\"",
            );
        }
        if matches!(upstream.health, Some(Health::Http(_))) {
            contradiction(
                "checks by http speak HTTP/1.1, and the endpoints speak HTTP/2",
                "check with grpc, tcp or tls",
            );
        }
    }
}
