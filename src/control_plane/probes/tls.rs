//! Checks by TLS: a completed handshake, and what is asked behind one. The only file of this crate that names rustls.

use super::finding::Finding;
use base::addr::Addr;
use config::model::TlsCheck;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the endpoints of one upstream are asked and believed.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the authorities. The error is what an operator reads.
    pub(crate) fn new(check: &TlsCheck) -> Result<Tls, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match (check.insecure, &check.ca) {
            (true, _) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(tls::AnyCertificate::new(provider))),
            (false, Some(path)) => builder.with_root_certificates(written(path)?),
            (false, None) => builder.with_root_certificates(systems()?),
        };
        let name = match &check.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| format!("\"{name}\" is no name of a server"))?,
            ),
        };
        Ok(Tls { connector: TlsConnector::from(Arc::new(config.with_no_client_auth())), name })
    }

    /// By the rules that requests follow.
    pub(crate) fn of_upstream(connector: &tls::Connector) -> Tls {
        let mut config = connector.config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Tls { connector: TlsConnector::from(Arc::new(config)), name: connector.server_name().cloned() }
    }

    /// Speaks TLS on a connection with an endpoint that is called `own` where no other name is asked for.
    pub(crate) async fn open<S>(&self, own: &str, stream: S) -> Result<TlsStream<S>, Finding>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let own = || {
            ServerName::try_from(own.to_owned())
                .unwrap_or(ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])))
        };
        let name = self.name.clone().unwrap_or_else(own);
        Ok(self.connector.connect(name, stream).await?)
    }

    /// Passes when the handshake is complete.
    pub(super) async fn handshake<S>(&self, addr: &Addr, stream: S) -> Result<(), Finding>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match (&self.name, addr.ip()) {
            (Some(name), _) => name.clone(),
            (None, Some(addr)) => ServerName::from(addr.ip()),
            // Only without verification; the name is not sent then either.
            (None, None) => ServerName::from(std::net::IpAddr::from([0, 0, 0, 0])),
        };
        let mut stream = self.connector.connect(name, stream).await?;
        // Politeness; the handshake has shown all that we wanted to know.
        let _ = stream.shutdown().await;
        Ok(())
    }
}

/// The authorities of a file in PEM.
fn written(path: &str) -> Result<Arc<RootCertStore>, String> {
    let unreadable =
        |error: &dyn std::fmt::Display| format!("cannot read the authorities in {path}: {error}");
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CA_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| unreadable(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"there is no certificate in it"));
    }
    Ok(Arc::new(roots))
}

fn systems() -> Result<Arc<RootCertStore>, String> {
    tls::system_authorities().map_err(|error| format!("{error}; name some with ca=\"file\""))
}

/// The bundles of systems are a quarter of that.
const CA_BYTES_MAX: u64 = 1 << 20;
