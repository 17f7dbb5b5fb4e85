//! The server's side: rules of a listener in, an acceptor out.

use crate::engine::{Server, Side};
use crate::failure::failure;
use crate::pair::{Pair, PairError, What, certificates, read, shown};
use crate::provider::provider;
use crate::table::Table;
use crate::tickets::{TicketKeys, Tickets};
use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use wire::secure::{Accept, Engine, Failure};

/// What a listener asks for.
#[derive(Debug)]
pub struct ServerRules<'r> {
    /// Names of different listeners must differ: sessions of one are worth nothing at another.
    pub listener: &'r str,
    /// At least one.
    pub pairs: &'r [Pair],
    /// Names that nobody has a certificate for are answered with the first one.
    pub serves_unknown: bool,
    pub min_version: MinVersion,
    /// Protocols by ALPN, the preferred one first.
    pub protocols: Vec<Vec<u8>>,
    /// `None`: clients are not asked for certificates.
    pub clients: Option<ClientRules>,
    pub tickets: &'r TicketKeys,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    Tls12,
    Tls13,
}

/// What certificates clients must show.
#[derive(Clone)]
pub struct ClientRules {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Hash of the files, and whether a certificate is required.
    hash: [u8; 32],
}

impl fmt::Debug for ClientRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientRules")
    }
}

impl ClientRules {
    /// Whether they are the very ones, read once.
    pub fn is_same(&self, other: &ClientRules) -> bool {
        Arc::ptr_eq(&self.verifier, &other.verifier)
    }

    /// Reads authorities and revocation lists, in PEM or DER.
    ///
    /// # Errors
    /// With the file that is at fault, and why.
    pub fn load(authorities: &[&Path], revoked: &[&Path], required: bool) -> Result<ClientRules, PairError> {
        let mut hash = Context::new(&SHA256);
        hash.update(&[u8::from(required)]);
        let mut roots = RootCertStore::empty();
        for path in authorities {
            for (place, certificate) in certificates(path)?.into_iter().enumerate() {
                hash.update(&certificate);
                let what = What::BadCertificate(place + 1);
                roots.add(certificate).map_err(|_| PairError { file: shown(path), what })?;
            }
        }
        let mut lists = Vec::new();
        for path in revoked {
            for list in revocation_lists(path)? {
                hash.update(&list);
                lists.push(list);
            }
        }
        let last = revoked.last().or(authorities.last()).map_or_else(Box::default, |path| shown(path));
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if !lists.is_empty() {
            // An outdated list protects nobody, and nothing is known of certificates that no list speaks of.
            builder =
                builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
        }
        if !required {
            builder = builder.allow_unauthenticated();
        }
        let verifier =
            builder.build().map_err(|_| PairError { file: last, what: What::BadRevocationList })?;
        Ok(ClientRules { verifier, hash: digest(hash) })
    }
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, PairError> {
    let text = read(path)?;
    let mut lists = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(&text) {
        let what = What::BadRevocationList;
        lists.push(list.map_err(|_| PairError { file: shown(path), what })?);
    }
    if lists.is_empty() {
        lists.push(CertificateRevocationListDer::from(text));
    }
    Ok(lists)
}

/// Makes the engines of one listener.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    table: Arc<Table>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Acceptor {
    /// # Errors
    /// When the library refuses the rules; that would be our mistake.
    pub fn new(rules: ServerRules<'_>) -> Result<Acceptor, String> {
        let hash = hash(&rules);
        let table = Arc::new(Table::new(rules.pairs, rules.serves_unknown));
        let versions: &[&SupportedProtocolVersion] = match rules.min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let clients = rules.clients.as_ref().map(|clients| Arc::clone(&clients.verifier));
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        };
        let mut config = builder.with_cert_resolver(Arc::<Table>::clone(&table));
        config.alpn_protocols = rules.protocols;
        // Sessions are in tickets alone: workers need no table in common.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(Tickets::new(rules.tickets.clone(), hash));
        // Never: early data can be replayed (R58).
        config.max_early_data_size = 0;
        Ok(Acceptor { config: Arc::new(config), table, clients })
    }
}

impl Accept for Acceptor {
    fn accept(&self) -> Result<Box<dyn Engine>, Failure> {
        let inner =
            UnbufferedServerConnection::new(Arc::clone(&self.config)).map_err(|error| failure(&error))?;
        let server: Server = Side::server(inner, self.clients.clone());
        Ok(Box::new(server))
    }

    fn covers(&self, server_name: Option<&str>, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        match (server_name, &self.clients) {
            (Some(name), _) if name == host => true,
            // Who the client is was decided for one name; it counts for no other.
            (Some(_), Some(_)) => false,
            _ => self.table.is_same(server_name, host),
        }
    }
}

/// Everything that a resumed session takes over without looking at it again (R56).
fn hash(rules: &ServerRules<'_>) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(rules.listener.as_bytes());
    hash.update(&[0, u8::from(rules.min_version == MinVersion::Tls13)]);
    hash.update(&rules.clients.as_ref().map_or([0; 32], |clients| clients.hash));
    digest(hash)
}

fn digest(hash: Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}
