//! Does TLS protect what it says it does?

use super::Check;
use crate::literal::Address;
use crate::model::{ClientAuthMode, Health, Listener, Upstream};
use crate::problem::Code;

impl Check<'_> {
    pub(super) fn listener_tls(&mut self, listener: &Listener) {
        let Some(auth) = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref()) else { return };
        match (auth.mode, &auth.ca, &auth.crl) {
            (ClientAuthMode::None, ca, crl) if ca.is_some() || crl.is_some() => {
                let what = "\"client-auth\" is \"none\"; what it says besides has no effect".to_owned();
                self.warning(Code::Contradiction, &auth.origin, "", what, None);
            }
            (ClientAuthMode::Optional | ClientAuthMode::Required, None, _) => {
                let what = "\"client-auth\" believes nobody".to_owned();
                let hint = Some("name the authorities with ca=\"clients.pem\"".to_owned());
                self.error(Code::Missing, &auth.origin, "", what, hint);
            }
            _ => {}
        }
    }

    pub(super) fn upstream_tls(&mut self, upstream: &Upstream) {
        let Some(tls) = &upstream.tls else { return };
        if tls.insecure {
            if !tls.ca.is_empty() {
                let what = "\"ca\" has no effect when \"insecure\" takes any certificate".to_owned();
                self.error(Code::Contradiction, &tls.origin, "/ca", what, Some("keep one of them".into()));
            }
            let what = format!("upstream \"{}\" takes any certificate", upstream.name);
            let hint = Some(
                "whoever is in between can read and change everything; name the authority with ca".into(),
            );
            self.warning(Code::Contradiction, &tls.origin, "/insecure", what, hint);
        }
        let on_unix = upstream
            .endpoints
            .iter()
            .find(|endpoint| matches!(endpoint.address.address(), Some(Address::Unix(_))));
        if let (Some(endpoint), None, false) = (on_unix, &tls.server_name, tls.insecure) {
            let what = format!("no certificate can be valid for {}", endpoint.address);
            let hint = Some("write server-name \"name\" in \"tls\"".to_owned());
            self.error(Code::Contradiction, &endpoint.origin, "/address", what, hint);
        }
        if let Some(Health::Grpc(_)) = &upstream.health {
            let what = "a check by grpc speaks clear text, and the endpoints speak TLS".to_owned();
            let hint = Some("check with http or tls".to_owned());
            self.error(Code::Contradiction, &upstream.origin, "/health/grpc", what, hint);
        }
    }
}
