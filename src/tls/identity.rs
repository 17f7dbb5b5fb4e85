//! Who a client is, by the certificate that it has shown and that was verified.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use wire::secure::Client;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Reads the names of the first certificate; `None` without one.
pub(crate) fn client(chain: &[CertificateDer<'_>]) -> Option<Client> {
    let leaf = chain.first()?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, leaf).as_ref());
    let mut client = Client {
        chain: chain.iter().map(|certificate| Box::from(certificate.as_ref())).collect(),
        fingerprint,
        ..Client::default()
    };
    // It was verified, so it can be read; what cannot has no names.
    if let Ok((_, certificate)) = X509Certificate::from_der(leaf) {
        client.subject = plain(&certificate.subject().to_string());
        client.serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
            for name in alternative.value.general_names.iter().take(NAMES_MAX) {
                match name {
                    GeneralName::URI(name) => client.uris.push(plain(name)),
                    GeneralName::DNSName(name) => client.dns_names.push(plain(name)),
                    GeneralName::RFC822Name(name) => client.emails.push(plain(name)),
                    _ => {}
                }
            }
        }
    }
    Some(client)
}

/// A name as it may stand in a log or a header field: no control characters, and not longer than any real one.
fn plain(name: &str) -> Box<str> {
    name.chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect::<String>().into()
}

/// Names of one certificate that are read; more are no identity.
const NAMES_MAX: usize = 32;
const NAME_CHARS_MAX: usize = 512;
