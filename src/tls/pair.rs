//! A certificate with its chain and its private key, read from files and looked at closely: what is wrong with it is
//! said when it is loaded, not by the first client (R63).

use crate::provider::provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate that can be shown.
#[derive(Clone, Debug)]
pub struct Pair {
    pub(crate) key: Arc<CertifiedKey>,
    /// Names of hosts that it is for, in lower case; `*.` stands in front of those for any one label.
    pub names: Vec<Box<str>>,
    /// First second at which it is not valid any more, since 1970.
    pub not_after: i64,
}

/// Why a pair cannot be used; the file comes first.
#[derive(Debug)]
pub struct PairError {
    /// The file that is at fault.
    pub file: Box<str>,
    pub what: What,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum What {
    Unreadable(io::Error),
    /// More than [`FILE_BYTES_MAX`].
    TooLarge,
    NotPem,
    NoCertificate,
    /// The certificate at this place, counted from 1, cannot be read.
    BadCertificate(usize),
    NoKey,
    EncryptedKey,
    UnsupportedKey,
    /// The key is not that of the first certificate.
    Mismatch,
    /// Since then, in seconds since 1970.
    Expired(i64),
    NotYetValid(i64),
    /// The first certificate is that of an authority.
    Authority,
    /// The certificate at this place was not issued by the one behind it.
    WrongOrder(usize),
    /// Bytes of an OCSP response that are none, or none that says "good".
    BadStaple,
    /// A revocation list that cannot be read.
    BadRevocationList,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.what {
            What::Unreadable(error) => write!(f, "cannot read \"{file}\": {error}"),
            What::TooLarge => write!(f, "\"{file}\" is larger than {} MiB", FILE_BYTES_MAX >> 20),
            What::NotPem => write!(f, "\"{file}\" is not valid PEM"),
            What::NoCertificate => write!(f, "\"{file}\" holds no certificate"),
            What::BadCertificate(place) => write!(f, "certificate {place} of \"{file}\" cannot be read"),
            What::NoKey => write!(f, "\"{file}\" holds no private key"),
            What::EncryptedKey => write!(f, "the private key in \"{file}\" is encrypted"),
            What::UnsupportedKey => write!(f, "the private key in \"{file}\" is of no kind that can be used"),
            What::Mismatch => write!(f, "the private key in \"{file}\" does not belong to the certificate"),
            What::Expired(at) => write!(f, "the certificate in \"{file}\" has expired on {}", Day(*at)),
            What::NotYetValid(at) => {
                write!(f, "the certificate in \"{file}\" is not valid before {}", Day(*at))
            }
            What::Authority => write!(f, "the first certificate of \"{file}\" is that of an authority"),
            What::WrongOrder(place) => {
                write!(f, "certificate {place} of \"{file}\" was not issued by the one behind it")
            }
            What::BadStaple => {
                write!(f, "\"{file}\" is no OCSP response that says that the certificate is good")
            }
            What::BadRevocationList => write!(f, "\"{file}\" is no revocation list"),
        }
    }
}

impl std::error::Error for PairError {}

impl What {
    /// What to do about it; empty when the problem says it.
    pub fn hint(&self) -> &'static str {
        match self {
            What::NotPem => "certificates and keys are text with -----BEGIN …----- lines",
            What::EncryptedKey => {
                "store it decrypted and readable for this process only: openssl pkey -in … -out …"
            }
            What::UnsupportedKey => "use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits",
            What::Mismatch => "compare openssl x509 -noout -pubkey with openssl pkey -pubout",
            What::Expired(_) => "renew it",
            What::NotYetValid(_) => "set the clock, or wait",
            What::Authority | What::WrongOrder(_) => {
                "the server's own certificate comes first, then the one that issued it, and so on"
            }
            _ => "",
        }
    }
}

/// Larger files are a mistake.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

impl Pair {
    /// Reads and checks a pair; `staple` is a file with an OCSP response in DER.
    ///
    /// # Errors
    /// With the file that is at fault, and why.
    pub fn load(cert: &Path, key: &Path, staple: Option<&Path>, now: SystemTime) -> Result<Pair, PairError> {
        let chain = certificates(cert)?;
        let private = private_key(key)?;
        let in_cert = |what| PairError { file: shown(cert), what };
        let in_key = |what| PairError { file: shown(key), what };
        let Seen { names, not_after } = examine(&chain, now).map_err(in_cert)?;
        let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => in_key(What::Mismatch),
            Error::InvalidCertificate(_) => in_cert(What::BadCertificate(1)),
            _ => in_key(What::UnsupportedKey),
        });
        let mut certified = certified?;
        if let Some(path) = staple {
            certified.ocsp = Some(staple_of(path)?);
        }
        Ok(Pair { key: Arc::new(certified), names, not_after })
    }

    /// Whether it is the very one, read once.
    pub fn is_same(&self, other: &Pair) -> bool {
        Arc::ptr_eq(&self.key, &other.key)
    }

    /// Whether its key is of the kind that old clients want.
    pub(crate) fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// The whole of it in bytes, for those who ask whether it is the same.
    pub(crate) fn leaf(&self) -> &[u8] {
        self.key.cert.first().map_or(&[], |leaf| leaf)
    }
}

/// An OCSP response: a sequence that begins with the status "successful" (RFC 6960 §4.2.1).
fn staple_of(path: &Path) -> Result<Vec<u8>, PairError> {
    let response = read(path)?;
    let body = match &response[..] {
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] => rest,
        _ => &[],
    };
    if body.starts_with(&[0x0a, 1, 0]) {
        Ok(response)
    } else {
        Err(PairError { file: shown(path), what: What::BadStaple })
    }
}

/// What a chain says of itself.
struct Seen {
    names: Vec<Box<str>>,
    not_after: i64,
}

fn examine(chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Seen, What> {
    let mut parsed = Vec::with_capacity(chain.len());
    for (place, der) in chain.iter().enumerate() {
        let read = X509Certificate::from_der(der);
        let (_, certificate) = read.map_err(|_| What::BadCertificate(place + 1))?;
        parsed.push(certificate);
    }
    let Some(leaf) = parsed.first() else { return Err(What::NoCertificate) };
    let (from, until) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let now = seconds(now);
    if until < now {
        return Err(What::Expired(until));
    }
    if from > now {
        return Err(What::NotYetValid(from));
    }
    // A self-signed certificate for a test says of itself that it is an authority, and serves all the same.
    if leaf.is_ca() && leaf.subject().as_raw() != leaf.issuer().as_raw() {
        return Err(What::Authority);
    }
    for (place, two) in parsed.windows(2).enumerate() {
        if two[0].issuer().as_raw() != two[1].subject().as_raw() {
            return Err(if leaf.is_ca() { What::Authority } else { What::WrongOrder(place + 1) });
        }
    }
    Ok(Seen { names: names(leaf), not_after: until })
}

/// The names that clients may ask for; the common name only where there are no others.
fn names(leaf: &X509Certificate<'_>) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    if let Ok(Some(alternative)) = leaf.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase().into());
            }
        }
    }
    if names.is_empty() {
        let common = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.filter(|name| name.contains('.')).map(|name| name.to_ascii_lowercase().into()));
    }
    names
}

/// All certificates of a file, in their order.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let text = read(path)?;
    let wrong = |what| PairError { file: shown(path), what };
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        chain.push(certificate.map_err(|_| wrong(What::NotPem))?);
    }
    if chain.is_empty() {
        return Err(wrong(if looks_like_pem(&text) { What::NoCertificate } else { What::NotPem }));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let mut text = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    let what = match &key {
        Ok(_) => None,
        Err(PemError::NoItemsFound) if find(&text, b"ENCRYPTED PRIVATE KEY") => Some(What::EncryptedKey),
        Err(PemError::NoItemsFound) if looks_like_pem(&text) => Some(What::NoKey),
        Err(_) => Some(What::NotPem),
    };
    let what = what.or_else(|| find(&text, b"Proc-Type: 4,ENCRYPTED").then_some(What::EncryptedKey));
    text.fill(0);
    std::hint::black_box(&text);
    match (key, what) {
        (Ok(key), None) => Ok(key),
        (_, what) => Err(PairError { file: shown(path), what: what.unwrap_or(What::NoKey) }),
    }
}

/// A file of at most [`FILE_BYTES_MAX`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    let wrong = |what| PairError { file: shown(path), what };
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text));
    read.map_err(|error| wrong(What::Unreadable(error)))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(What::TooLarge));
    }
    Ok(text)
}

pub(crate) fn shown(path: &Path) -> Box<str> {
    path.display().to_string().into()
}

fn looks_like_pem(text: &[u8]) -> bool {
    find(text, b"-----BEGIN ")
}

fn find(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|part| part == what)
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A day as people write it, of seconds since 1970.
struct Day(i64);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days since 0000-03-01, in eras of 400 years of 146,097 days each, so that leap days come last.
        let days = self.0.div_euclid(86_400) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        write!(f, "{:04}-{month:02}-{day:02}", era * 400 + year + i64::from(month <= 2))
    }
}

#[cfg(test)]
mod tests {
    use super::Day;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_764_028_800, "2025-11-25"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(Day(seconds).to_string(), day);
        }
    }
}
