//! What a connection needs of TLS: the seam between those who move bytes and the library that encrypts them.
//!
//! Crate `tls` is the only one that implements it. Sans-IO, as everything here: the caller owns the input and the output,
//! and asks again when more has arrived. So no other crate on the way of a request names the library, and tests of
//! decisions build none.
//!
//! ```text
//!   received ──▶ Engine::receive ──▶ plaintext        written ──▶ Engine::seal ──▶ output
//!                      └─▶ output (handshake, alerts)
//! ```

use std::fmt;
use std::sync::Arc;

/// One side of one TLS connection.
pub trait Engine {
    /// Takes records from the front of `input`, which begins with what was not taken before.
    ///
    /// Payload goes to `plain`, what has to be sent to `out`; after an error `out` may end in an alert. `input` is
    /// overwritten. Records that are not complete are left, and parts of a handshake message may be.
    ///
    /// # Errors
    /// Ends the connection; nothing may be asked of it any more.
    fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn Plaintext,
        out: &mut Vec<u8>,
    ) -> Result<Taken, Failure>;

    /// Appends `plain` to `out` in records of at most `record_max` bytes each. Only after the handshake.
    ///
    /// # Errors
    /// When the keys of the connection are used up, or the handshake is not over.
    fn seal(&mut self, plain: &[u8], record_max: usize, out: &mut Vec<u8>) -> Result<(), Failure>;

    /// Appends what tells the peer that nothing more will come; once.
    fn close(&mut self, out: &mut Vec<u8>);

    /// Until both sides may send payload.
    fn is_handshaking(&self) -> bool;

    /// What was agreed; complete after the handshake.
    fn facts(&self) -> Facts;

    /// Who the peer is, by its certificate: as a server, after the handshake, if the client has shown one.
    fn client(&self) -> Option<Client>;
}

/// Where decrypted payload goes.
pub trait Plaintext {
    fn push(&mut self, payload: &[u8]);
}

impl Plaintext for Vec<u8> {
    fn push(&mut self, payload: &[u8]) {
        self.extend_from_slice(payload);
    }
}

/// What [`Engine::receive`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes at the front of the input that are done with.
    pub bytes: usize,
    /// The peer has said that nothing more will come.
    pub ended: bool,
    /// Complete records without payload: handshake messages, alerts, changes of keys.
    pub control_records: u32,
}

/// What both sides have agreed upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.3` or `TLSv1.2`; empty before it is known.
    pub version: &'static str,
    /// Name of the cipher suite by IANA; empty before it is known.
    pub cipher: &'static str,
    /// Name of the group of the key exchange; empty in TLS 1.2 sessions that were resumed.
    pub group: &'static str,
    /// The name that the client asked for, in lower case; `None` if it named none.
    pub server_name: Option<Box<str>>,
    /// The protocol by ALPN; empty if none was agreed.
    pub protocol: Box<[u8]>,
    /// An earlier session was resumed.
    pub resumed: bool,
    /// The client offered an earlier session that was not resumed.
    pub resume_refused: bool,
}

/// A client by its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its certificate and what it showed behind it, in DER.
    pub chain: Arc<[Box<[u8]>]>,
    /// The subject as RFC 4514 writes it; may be empty.
    pub subject: Box<str>,
    /// The serial number in hexadecimal digits.
    pub serial: Box<str>,
    /// Alternative names of the subject, in the order of the certificate.
    pub uris: Vec<Box<str>>,
    pub dns_names: Vec<Box<str>>,
    pub emails: Vec<Box<str>>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

impl Client {
    /// The one name to show: the first URI, DNS name or e-mail address, or else the subject.
    pub fn name(&self) -> &str {
        let alternative = self.uris.first().or(self.dns_names.first()).or(self.emails.first());
        alternative.unwrap_or(&self.subject)
    }
}

/// Why a TLS connection cannot go on. Whose fault it was depends on the side that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The first bytes are no TLS record.
    NotTls,
    /// No common version.
    Version,
    /// No common cipher suite, group or signature scheme, or no certificate for what the client can.
    NothingInCommon,
    /// No common protocol by ALPN.
    Protocol,
    /// The client asked for a name that is not served here.
    UnknownName,
    /// The peer has to show a certificate and showed none.
    NoCertificate,
    /// The certificate is not of an authority that is believed.
    Untrusted,
    /// The certificate does not have the expected name.
    WrongName,
    /// The certificate is no longer or not yet valid.
    Expired,
    /// The certificate has been revoked.
    Revoked,
    /// The certificate is malformed, made for another purpose, or wrongly signed.
    BadCertificate,
    /// The peer has refused with this alert (RFC 8446 §6).
    Alert(u8),
    /// A record that cannot be decrypted.
    BadRecord,
    /// A record or handshake message above its bound.
    TooLarge,
    /// More changes of keys and other records without payload than anybody needs.
    Flood,
    /// The peer does not keep to the protocol.
    Misbehaved,
    /// Our own: no randomness, no keys left.
    Internal,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NotTls => "not TLS",
            Failure::Version => "no common version",
            Failure::NothingInCommon => "no common cipher suite, group or signature scheme",
            Failure::Protocol => "no common application protocol",
            Failure::UnknownName => "unknown server name",
            Failure::NoCertificate => "no certificate",
            Failure::Untrusted => "certificate of an unknown authority",
            Failure::WrongName => "certificate of another name",
            Failure::Expired => "certificate out of date",
            Failure::Revoked => "certificate revoked",
            Failure::BadCertificate => "bad certificate",
            Failure::Alert(code) => return write!(f, "refused by the peer with alert {code}"),
            Failure::BadRecord => "a record that cannot be decrypted",
            Failure::TooLarge => "a message above its bound",
            Failure::Flood => "too many records without payload",
            Failure::Misbehaved => "protocol violation",
            Failure::Internal => "internal error",
        })
    }
}

/// Makes the server's side of connections; one per listener and generation.
pub trait Accept: Send + Sync + fmt::Debug {
    fn accept(&self) -> Result<Box<dyn Engine>, Failure>;

    /// Whether a request for `host`, in lower case without port, may come on a connection on which the client asked for
    /// `server_name` (RFC 9110 §7.4).
    fn covers(&self, server_name: Option<&str>, host: &str) -> bool;
}

/// Makes the client's side of connections; one per upstream and generation.
pub trait Connect: Send + Sync + fmt::Debug {
    /// `name` is what the peer must be certified as if nothing else is configured: a host name or an address. Sessions
    /// are remembered by `place`, its address.
    fn connect(&self, name: &str, place: &str) -> Result<Box<dyn Engine>, Failure>;

    /// What distinguishes connections that must not be mixed up: equal for equal settings.
    fn identity(&self) -> u64;
}
