//! One connection: rustls without buffers of its own, behind [`wire::secure::Engine`].
//!
//! Between two calls it holds keys and state and no byte of a record, so an idle connection costs no buffer.

use crate::failure::failure;
use crate::hello::{self, Heard};
use crate::identity;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};
use std::sync::Arc;
use wire::secure::{Client, Engine, Facts, Failure, Plaintext, Taken};

/// The server's side of a connection.
pub(crate) type Server = Side<UnbufferedServerConnection>;
/// The client's side of a connection.
pub(crate) type Initiator = Side<UnbufferedClientConnection>;

/// A connection as rustls keeps it, and what it does not keep.
pub(crate) struct Side<C> {
    inner: C,
    heard: Option<Box<Heard>>,
    /// Who says which clients are believed. A resumed session is looked at again: much can have changed since.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Side<UnbufferedServerConnection> {
    pub(crate) fn server(
        inner: UnbufferedServerConnection,
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Self {
        Side { inner, heard: None, clients }
    }
}

impl Side<UnbufferedClientConnection> {
    pub(crate) fn initiator(inner: UnbufferedClientConnection) -> Self {
        Side { inner, heard: None, clients: None }
    }
}

/// What both sides of rustls have in common but have no trait for.
pub(crate) trait Records {
    type Data;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn common(&self) -> &CommonState;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl<C: Records> Side<C> {
    /// What rustls still wants to tell the peer, above all why it gives up.
    fn drain(&mut self, out: &mut Vec<u8>) {
        // Asked only while it has something to tell: it must not look for more input after an error.
        while self.inner.common().wants_write() {
            match self.inner.process(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                _ => return,
            }
        }
    }

    /// Keeps what was heard of the client, and looks at a resumed session's certificate as at a new one.
    fn remember(&mut self) -> Result<(), Failure> {
        let heard = hello::take();
        if heard.server_name.is_some() || heard.offered_session {
            self.heard = Some(Box::new(heard));
        }
        let common = self.inner.common();
        let is_resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        let (Some(verifier), true, false) = (&self.clients, is_resumed, common.is_handshaking()) else {
            return Ok(());
        };
        match common.peer_certificates() {
            Some([leaf, intermediates @ ..]) => verifier
                .verify_client_cert(leaf, intermediates, UnixTime::now())
                .map(drop)
                .map_err(|error| failure(&error)),
            _ if verifier.client_auth_mandatory() => Err(Failure::NoCertificate),
            _ => Ok(()),
        }
    }

    /// Ends a connection that cannot go on.
    fn fail(&mut self, failure: Failure, out: &mut Vec<u8>) -> Failure {
        match hello::take().refusal {
            // Nothing is encrypted yet, and the alert that rustls has for it says something else.
            Some(refused) => {
                out.extend_from_slice(&hello::refusal(refused));
                refused
            }
            None => {
                self.drain(out);
                failure
            }
        }
    }
}

impl<C: Records> Engine for Side<C> {
    fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut dyn Plaintext,
        out: &mut Vec<u8>,
    ) -> Result<Taken, Failure> {
        let is_established = !self.inner.common().is_handshaking();
        if !is_established && self.inner.common().protocol_version().is_none() && !looks_like_tls(input) {
            return Err(Failure::NotTls);
        }
        let records = if is_established { complete_records(input) } else { 0 };
        let mut payloads = 0;
        let mut taken = Taken::default();
        loop {
            let UnbufferedStatus { discard, state } = self.inner.process(&mut input[taken.bytes..]);
            let mut is_done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| failure(&error))?;
                        plain.push(record.payload);
                        taken.bytes += record.discard;
                        payloads += 1;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => taken.ended = true,
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => is_done = true,
                Ok(ConnectionState::Closed) => {
                    taken.ended = true;
                    is_done = true;
                }
                // Early data is never offered, and the enum may grow.
                Ok(_) => return Err(Failure::Internal),
                Err(error) => {
                    let failure = failure(&error);
                    return Err(self.fail(failure, out));
                }
            }
            taken.bytes += discard;
            if is_done {
                taken.control_records = records.saturating_sub(payloads);
                if !is_established {
                    self.remember()?;
                }
                if !self.inner.common().is_handshaking() && complete_records(&input[taken.bytes..]) > 0 {
                    // A part of a handshake message, in a record of its own. rustls wants to see such a record again in
                    // every call, also in one that only encrypts. Nobody splits what may come after the handshake.
                    return Err(Failure::Misbehaved);
                }
                return Ok(taken);
            }
        }
    }

    fn seal(&mut self, plain: &[u8], record_max: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
        for _ in 0..MESSAGES_MAX {
            match self.inner.process(&mut []).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return encrypt(&mut traffic, plain, record_max, out);
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                // The peer has ended its direction; ours goes on.
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(Failure::Internal),
                Err(error) => return Err(failure(&error)),
            }
        }
        Err(Failure::Internal)
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        for _ in 0..MESSAGES_MAX {
            match self.inner.process(&mut []).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let _ = grow(out, ALERT_BYTES, |room| traffic.queue_close_notify(room));
                    return;
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => {}
                _ => return,
            }
        }
    }

    fn is_handshaking(&self) -> bool {
        self.inner.common().is_handshaking()
    }

    fn facts(&self) -> Facts {
        let common = self.inner.common();
        let suite = common.negotiated_cipher_suite().map(|suite| match suite.suite() {
            // rustls has names of its own for these.
            CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
            CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
            other => other.as_str().unwrap_or_default(),
        });
        let resumed = common.handshake_kind() == Some(HandshakeKind::Resumed);
        let group = common.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        Facts {
            version: match common.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: suite.unwrap_or_default(),
            group: group.unwrap_or_default(),
            server_name: self.heard.as_ref().and_then(|heard| heard.server_name.clone()),
            protocol: common.alpn_protocol().unwrap_or_default().into(),
            resumed,
            resume_refused: !resumed && self.heard.as_ref().is_some_and(|heard| heard.offered_session),
        }
    }

    fn client(&self) -> Option<Client> {
        self.clients.as_ref()?;
        identity::client(self.inner.common().peer_certificates()?)
    }
}

/// Whether the first bytes of a connection can be those of a record with a handshake message or an alert.
fn looks_like_tls(input: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    let kind = input.first().is_none_or(|first| [HANDSHAKE, ALERT].contains(first));
    kind && input.get(1).is_none_or(|major| *major == 3)
}

/// Records that `input` holds to their ends.
fn complete_records(mut input: &[u8]) -> u32 {
    let mut count = 0;
    while let Some(length) = record_bytes(input)
        && let Some(rest) = input.get(length..)
    {
        count += 1;
        input = rest;
    }
    count
}

/// Length of the record at the front of `input`, header included; `None` without a whole header.
fn record_bytes(input: &[u8]) -> Option<usize> {
    let header = input.first_chunk::<RECORD_HEADER_BYTES>()?;
    Some(RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// Encrypts all of `plain`, one record after the other.
fn encrypt<D>(
    traffic: &mut WriteTraffic<'_, D>,
    plain: &[u8],
    record_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let records = plain.len().div_ceil(record_max.max(1));
    out.reserve(plain.len() + records * RECORD_OVERHEAD_MAX);
    for part in plain.chunks(record_max.max(1)) {
        grow(out, part.len() + RECORD_OVERHEAD_MAX, |room| traffic.encrypt(part, room))?;
    }
    Ok(())
}

/// Appends a message of the handshake.
fn encode<D>(message: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    let at = out.len();
    let mut room = 0;
    loop {
        out.resize(at + room, 0);
        match message.encode(&mut out[at..]) {
            Ok(written) => return out.truncate(at + written),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room =>
            {
                room = required_size;
            }
            Err(_) => return out.truncate(at),
        }
    }
}

/// Lets `write` append to `out`, with as much room as it asks for.
fn grow(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Failure> {
    let at = out.len();
    loop {
        out.resize(at + room, 0);
        match write(&mut out[at..]) {
            Ok(written) => {
                out.truncate(at + written);
                return Ok(());
            }
            // A change of keys goes out in front of the record.
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room =>
            {
                room = required_size;
            }
            Err(_) => {
                out.truncate(at);
                return Err(Failure::Internal);
            }
        }
    }
}

const RECORD_HEADER_BYTES: usize = 5;
/// Header, explicit nonce or content type, and tag of any cipher suite.
const RECORD_OVERHEAD_MAX: usize = RECORD_HEADER_BYTES + 8 + 16 + 1;
/// An encrypted alert.
const ALERT_BYTES: usize = 2 + RECORD_OVERHEAD_MAX;
/// More messages than rustls ever queues at once.
const MESSAGES_MAX: usize = 64;

const _: () = assert!(size_of::<Server>() <= 2048 && size_of::<Initiator>() <= 2048, "one per connection");
