//! TLS: what a listener shows and asks for, and what an upstream believes and shows.

use super::Origin;
use crate::literal::words;
use schemars::JsonSchema;
use serde::Serialize;

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerTls {
    /// At least one; chosen by the name that the client asks for. The first one also serves clients without a name.
    pub certificates: Vec<Certificate>,
    /// Whether clients show certificates. Default: they are not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// What clients get that ask for a name without a certificate. Default: the first certificate.
    pub unknown_name: UnknownName,
    /// Clients are offered HTTP/2: what `http2` of the listener says, here because it is agreed upon in the handshake.
    #[serde(skip)]
    pub http2: bool,
    #[serde(skip)]
    pub origin: Origin,
}

impl ListenerTls {
    /// Where it and its parts are written.
    pub(super) fn origins(&mut self) -> Vec<&mut Origin> {
        let mut origins = vec![&mut self.origin];
        origins.extend(self.certificates.iter_mut().map(|certificate| &mut certificate.origin));
        origins.extend(self.client_auth.iter_mut().map(|auth| &mut auth.origin));
        origins
    }
}

/// Files of a certificate and its key, in PEM. Relative paths start at the folder of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// The certificate, followed by those that lead to the authority.
    pub cert: String,
    /// Its private key, not encrypted.
    pub key: String,
    /// An OCSP response in DER that is sent along. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<String>,
    #[serde(skip)]
    pub origin: Origin,
}

/// What certificates clients show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ClientAuth {
    /// Whether a client without a certificate is served.
    pub mode: ClientAuthMode,
    /// File of the authorities that are believed, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// File of revocation lists, in PEM or DER. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
    #[serde(skip)]
    pub origin: Origin,
}

words! {
    /// Whether clients have to show certificates.
    pub enum ClientAuthMode {
        /// They are not asked.
        None = "none",
        /// They may; what is shown must be valid.
        Optional = "optional",
        /// They must.
        Required = "required",
    }
    default None;
}

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        V12 = "1.2",
        V13 = "1.3",
    }
    default V12;
}

words! {
    /// What becomes of a client that asks for a name without a certificate.
    pub enum UnknownName {
        /// It gets the first certificate.
        Default = "default",
        /// It is refused.
        Refuse = "refuse",
    }
    default Default;
}

/// TLS towards the endpoints of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamTls {
    /// Files of the authorities that are believed, in PEM. Default: those of the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<String>,
    /// The name that is asked for and that the certificate must have. Default: the endpoint's own name or address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// What we show of ourselves. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Certificate>,
    /// Any certificate will do. Default: no.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure: bool,
    #[serde(skip)]
    pub origin: Origin,
}

impl UpstreamTls {
    /// Where it and its parts are written.
    pub(super) fn origins(&mut self) -> Vec<&mut Origin> {
        let mut origins = vec![&mut self.origin];
        origins.extend(self.client_certificate.iter_mut().map(|certificate| &mut certificate.origin));
        origins
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}
