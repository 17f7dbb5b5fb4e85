//! TLS of listeners and upstreams.

use super::{Decoder, Scope};
use crate::model::{
    Certificate, ClientAuth, ClientAuthMode, ListenerTls, TlsVersion, UnknownName, UpstreamTls,
};

impl Decoder<'_> {
    pub(super) fn listener_tls(&mut self, scope: &Scope<'_>) -> ListenerTls {
        if !scope.has("certificates") {
            let hint = "add certificate cert=\"shop.pem\" key=\"shop.key\"";
            self.missing(scope, "\"tls\" has no certificate", hint);
        }
        ListenerTls {
            certificates: scope
                .members("certificates")
                .iter()
                .filter_map(|certificate| self.certificate(certificate))
                .collect(),
            client_auth: scope.member("client-auth").map(|auth| self.client_auth(&auth)),
            min_version: self.literal_or(scope, "min-version", TlsVersion::default()),
            unknown_name: self.literal_or(scope, "unknown-name", UnknownName::default()),
            http2: false,
            origin: self.origin(scope),
        }
    }

    fn certificate(&mut self, scope: &Scope<'_>) -> Option<Certificate> {
        for (key, hint) in [("cert", "add cert=\"shop.pem\""), ("key", "add key=\"shop.key\"")] {
            if !scope.has(key) {
                self.missing(scope, &format!("the certificate has no \"{key}\""), hint);
            }
        }
        let (cert, key) = (self.file_path(scope, "cert"), self.file_path(scope, "key"));
        let ocsp = self.file_path(scope, "ocsp");
        Some(Certificate { cert: cert?, key: key?, ocsp, origin: self.origin(scope) })
    }

    fn client_auth(&mut self, scope: &Scope<'_>) -> ClientAuth {
        if !scope.has("mode") {
            let hint = "write client-auth \"optional\" or \"required\", with ca=\"clients.pem\"";
            self.missing(scope, "\"client-auth\" does not say how", hint);
        }
        ClientAuth {
            mode: self.literal_or(scope, "mode", ClientAuthMode::default()),
            ca: self.file_path(scope, "ca"),
            crl: self.file_path(scope, "crl"),
            origin: self.origin(scope),
        }
    }

    pub(super) fn upstream_tls(&mut self, scope: &Scope<'_>) -> UpstreamTls {
        UpstreamTls {
            ca: self.file_paths(scope, "ca"),
            server_name: self.server_name(scope, "server-name"),
            client_certificate: scope
                .member("client-certificate")
                .and_then(|certificate| self.certificate(&certificate)),
            insecure: self.flag(scope, "insecure"),
            origin: self.origin(scope),
        }
    }

    fn file_paths(&mut self, scope: &Scope<'_>, key: &str) -> Vec<String> {
        let mut paths = Vec::new();
        for scalar in scope.scalars(key) {
            let path = self.as_text(key, scalar);
            if path.as_ref().is_some_and(|path| path.is_empty() || path.contains('\0')) {
                self.wrong(key, scalar, "the path of a file");
                continue;
            }
            paths.extend(path);
        }
        paths
    }
}
