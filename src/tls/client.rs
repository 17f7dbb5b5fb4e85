//! The client's side: rules of an upstream in, a connector out.

use crate::engine::{Initiator, Side};
use crate::failure::failure;
use crate::pair::{Pair, PairError, What, certificates, shown};
use crate::provider::provider;
use crate::sessions::Sessions;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use wire::secure::{Connect, Engine, Failure};

/// What an upstream asks for.
#[derive(Debug, Default)]
pub struct EndpointRules<'r> {
    /// Files of the authorities that are believed; those of the system when empty.
    pub authorities: Vec<&'r Path>,
    /// The name that is asked for and must be certified, instead of the endpoint's own.
    pub server_name: Option<&'r str>,
    /// What we show of ourselves.
    pub pair: Option<Pair>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Protocols by ALPN, the preferred one first.
    pub protocols: Vec<Vec<u8>>,
}

/// Why a connector cannot be made.
#[derive(Debug)]
pub enum ConnectorError {
    File(PairError),
    /// The system has no authorities.
    NoAuthorities,
    /// Not the name of a host.
    Name(Box<str>),
    Library(String),
}

impl fmt::Display for ConnectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectorError::File(error) => error.fmt(f),
            ConnectorError::NoAuthorities => f.write_str("this machine has no certificate authorities"),
            ConnectorError::Name(name) => write!(f, "\"{name}\" is no name of a server"),
            ConnectorError::Library(error) => f.write_str(error),
        }
    }
}

/// Makes the engines of one upstream.
pub struct Connector {
    config: ClientConfig,
    name: Option<ServerName<'static>>,
    identity: u64,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads what it has to read.
    ///
    /// # Errors
    /// With the file that is at fault, and why.
    pub fn new(rules: &EndpointRules<'_>) -> Result<Connector, ConnectorError> {
        let mut hash = Context::new(&SHA256);
        hash.update(&[u8::from(rules.insecure)]);
        hash.update(rules.server_name.unwrap_or_default().as_bytes());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectorError::Library(error.to_string()))?;
        let builder = if rules.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider())))
        } else if rules.authorities.is_empty() {
            builder.with_root_certificates(system_authorities()?)
        } else {
            builder.with_root_certificates(written(&rules.authorities, &mut hash)?)
        };
        let mut config = match &rules.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                hash.update(pair.leaf());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.key))))
            }
        };
        for protocol in &rules.protocols {
            hash.update(protocol);
        }
        config.alpn_protocols.clone_from(&rules.protocols);
        let name = match rules.server_name {
            None => None,
            Some(name) => {
                let read = ServerName::try_from(name.to_owned());
                Some(read.map_err(|_| ConnectorError::Name(name.into()))?)
            }
        };
        let digest = hash.finish();
        let (first, _) = digest.as_ref().split_first_chunk().unwrap_or((&[1; 8], &[]));
        Ok(Connector { config, name, identity: u64::from_le_bytes(*first).max(1) })
    }
}

impl Connector {
    /// The rules as the library has them, for connections that are not made here: checks of health. Without sessions and
    /// protocols.
    pub fn config(&self) -> ClientConfig {
        let mut config = self.config.clone();
        config.resumption = Resumption::disabled();
        config.alpn_protocols.clear();
        config
    }

    /// What is asked for and must be certified, if the rules say so.
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.name.as_ref()
    }
}

impl Connect for Connector {
    fn connect(&self, name: &str, place: &str) -> Result<Box<dyn Engine>, Failure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(name.to_owned())
                .unwrap_or(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::from([0, 0, 0, 0])))),
        };
        let mut config = self.config.clone();
        config.resumption = Resumption::store(Arc::new(Sessions::new(self.identity, place)));
        let inner =
            UnbufferedClientConnection::new(Arc::new(config), name).map_err(|error| failure(&error))?;
        let initiator: Initiator = Side::initiator(inner);
        Ok(Box::new(initiator))
    }

    fn identity(&self) -> u64 {
        self.identity
    }
}

/// The authorities of files in PEM.
fn written(paths: &[&Path], hash: &mut Context) -> Result<Arc<RootCertStore>, ConnectorError> {
    let mut roots = RootCertStore::empty();
    for path in paths {
        let found = certificates(path).map_err(ConnectorError::File)?;
        for (place, certificate) in found.into_iter().enumerate() {
            hash.update(&certificate);
            let what = What::BadCertificate(place + 1);
            let wrong = |_| ConnectorError::File(PairError { file: shown(path), what });
            roots.add(certificate).map_err(wrong)?;
        }
    }
    Ok(Arc::new(roots))
}

/// The authorities that this machine believes. Read once: each generation needs them, and there may be many.
///
/// # Errors
/// [`ConnectorError::NoAuthorities`].
pub fn system_authorities() -> Result<Arc<RootCertStore>, ConnectorError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // Some certificates of some systems are odd; the others count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() { Err(ConnectorError::NoAuthorities) } else { Ok(Arc::clone(roots)) }
}

/// What `insecure #true` asks for: whoever holds the key of whatever certificate will do.
#[derive(Debug)]
pub struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    pub fn new(provider: Arc<CryptoProvider>) -> AnyCertificate {
        AnyCertificate(provider)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
