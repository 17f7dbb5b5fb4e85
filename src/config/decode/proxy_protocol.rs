//! The PROXY protocol, received and sent.

use super::{Decoder, Scope};
use crate::model::{ProxyChecks, ProxyFacts, ProxyMode, ProxyProtocol, ProxyVersion, SendProxy, Senders};
use crate::problem::Code;

impl Decoder<'_> {
    pub(super) fn proxy_protocol(&mut self, scope: &Scope<'_>) -> ProxyProtocol {
        if !scope.has("from") {
            let what = "\"proxy-protocol\" does not say whose headers are believed";
            self.missing(scope, what, "add from=\"10.0.0.0/8\" with the addresses of your load balancers");
        }
        ProxyProtocol {
            mode: self.literal_or(scope, "mode", ProxyMode::default()),
            from: self.literal_or(scope, "from", Senders::default()),
            timeout: self.positive(scope, "timeout", ProxyProtocol::TIMEOUT),
        }
    }

    pub(super) fn send_proxy(&mut self, scope: &Scope<'_>) -> SendProxy {
        if !scope.has("version") {
            self.missing(scope, "\"send-proxy\" does not say which version", "write send-proxy \"v2\"");
        }
        let sent = SendProxy {
            version: self.literal_or(scope, "version", ProxyVersion::default()),
            tlvs: self.literal_or(scope, "tlvs", ProxyFacts::default()),
            checks: self.literal_or(scope, "checks", ProxyChecks::default()),
        };
        if let (ProxyVersion::V1, false, Some(scalar)) =
            (sent.version, sent.tlvs.is_empty(), scope.scalar("tlvs"))
        {
            let hint = Some("write send-proxy \"v2\", or remove \"tlvs\"".to_owned());
            self.error(Code::Contradiction, scalar.span, "version 1 carries addresses only", hint);
        }
        sent
    }
}
