//! The first message of a TLS client, as far as it tells where a connection should go: server name, protocols, versions
//! (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301).
//!
//! The reader looks at bytes that somebody else will answer: it takes nothing away, puts handshake records together
//! (RFC 8446 §5.1) and stops within a bound. A hello with post-quantum keys takes two segments and more. With Encrypted
//! ClientHello the name is the outer one; the inner one is not for us. Not here: whether the handshake can succeed.

mod fields;
#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;

pub use fields::{ClientHello, Protocols, ServerName, Versions};

use std::fmt;

/// Bytes from the first of the connection within which a hello must be complete, with the heads of its records. Browsers
/// send up to 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// How far the reading has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Complete(ClientHello),
    /// More bytes are needed.
    Partial,
}

/// Why there is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The bytes are not TLS; known from the first or the second of them on, usually.
    NotTls,
    /// TLS, but not a hello that can be read in one way only.
    Malformed,
    /// Longer than [`HELLO_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HelloError::NotTls => "not TLS",
            HelloError::Malformed => "malformed ClientHello",
            HelloError::TooLong => "ClientHello longer than 16 KiB",
        })
    }
}

impl std::error::Error for HelloError {}

/// Reads one hello from bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct HelloReader {
    /// Where the first record that is not yet complete begins.
    record_at: usize,
    /// Bytes of the handshake message in the records before it.
    collected: usize,
    /// The first of them.
    head: [u8; MESSAGE_HEAD_BYTES],
}

/// Type, version, length.
const RECORD_HEAD_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
/// RFC 8446 §5.1.
const RECORD_BYTES_MAX: usize = 1 << 14;
/// Type, length of three bytes.
const MESSAGE_HEAD_BYTES: usize = 4;
const CLIENT_HELLO: u8 = 1;

impl HelloReader {
    /// Takes note of `bytes`, which are all that the client has sent so far: those of the last call, and more.
    ///
    /// # Errors
    /// As soon as it is known that no readable hello will come.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress, HelloError> {
        let within = &bytes[..bytes.len().min(HELLO_BYTES_MAX)];
        match self.advance(within)? {
            Some(length) => {
                let body = MESSAGE_HEAD_BYTES..length;
                // Nearly every hello is one record, and lies there as it must be read.
                if self.record_at == 0 {
                    return ClientHello::read(&within[RECORD_HEAD_BYTES..][body]).map(Progress::Complete);
                }
                let mut message = Vec::with_capacity(length);
                gather(within, &mut message, length);
                ClientHello::read(&message[body]).map(Progress::Complete)
            }
            None if bytes.len() >= HELLO_BYTES_MAX => Err(HelloError::TooLong),
            None => Ok(Progress::Partial),
        }
    }

    /// Walks over the records that are complete, until the message is: its length with its head.
    fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, HelloError> {
        loop {
            let rest = &bytes[self.record_at..];
            check_record_head(rest, self.record_at == 0)?;
            let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>() else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            // "Implementations MUST NOT send zero-length fragments of Handshake types."
            if length == 0 || length > RECORD_BYTES_MAX {
                return Err(HelloError::Malformed);
            }
            let arrived = &body[..body.len().min(length)];
            let available = self.collected + arrived.len();
            // A message that ends in this record is complete, whatever comes behind it.
            if let Some(message) = self.message_bytes(arrived)?
                && available >= message
            {
                return Ok(Some(message));
            }
            if arrived.len() < length {
                return Ok(None);
            }
            self.collected = available;
            self.record_at += RECORD_HEAD_BYTES + length;
        }
    }

    /// How long the message is, once its head is there; `arrived` follows what was collected.
    fn message_bytes(&mut self, arrived: &[u8]) -> Result<Option<usize>, HelloError> {
        if let Some(missing) = self.head.get_mut(self.collected..) {
            let common = missing.len().min(arrived.len());
            missing[..common].copy_from_slice(&arrived[..common]);
        }
        let available = self.collected + arrived.len();
        if available > 0 && self.head[0] != CLIENT_HELLO {
            return Err(HelloError::Malformed);
        }
        if available < MESSAGE_HEAD_BYTES {
            return Ok(None);
        }
        let [_, a, b, c] = self.head;
        let length = MESSAGE_HEAD_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
        if RECORD_HEAD_BYTES + length > HELLO_BYTES_MAX {
            return Err(HelloError::TooLong);
        }
        Ok(Some(length))
    }
}

/// Looks at as much of a record's head as there is. Version 3.0 to 3.4: what a record says about its version is history
/// (RFC 8446 §5.1), but anything else is not TLS.
fn check_record_head(head: &[u8], is_first: bool) -> Result<(), HelloError> {
    let wrong = if is_first { HelloError::NotTls } else { HelloError::Malformed };
    match *head {
        [kind, ..] if kind != HANDSHAKE => Err(wrong),
        [_, major, ..] if major != 3 => Err(wrong),
        [_, _, minor, ..] if minor > 4 => Err(wrong),
        _ => Ok(()),
    }
}

/// Copies the first `length` bytes of the message out of its records, which have been walked over.
fn gather(bytes: &[u8], message: &mut Vec<u8>, length: usize) {
    let mut rest = bytes;
    while let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>()
        && message.len() < length
    {
        let (record, after) = body.split_at(usize::from(u16::from_be_bytes([high, low])).min(body.len()));
        message.extend_from_slice(&record[..record.len().min(length - message.len())]);
        rest = after;
    }
}
