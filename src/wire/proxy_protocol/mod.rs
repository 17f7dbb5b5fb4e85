//! The PROXY protocol, versions 1 and 2: what a load balancer in front says about a connection before its first byte
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! A strict reader, incremental over any split, and a writer. Both borrow what they are given: nothing is allocated.
//! What follows the header is payload exactly. Not here: whom to believe, and for how long to wait.
//!
//! ```text
//! bytes ─▶ first byte ─'P'──▶ v1: one line of text ─────────╮
//!              ╰───────'\r'─▶ v2: fixed part ─▶ addresses ─▶ tlv ─▶ Header
//! ```

mod crc32c;
mod error;
#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg(test)]
mod tests;
pub mod tlv;
mod v1;
mod v2;
mod write;

pub use error::HeaderError;
pub use tlv::{Ssl, Tlv, Tlvs};
pub use write::{Announcement, TooLong};

use std::net::SocketAddr;

/// A version 2 header can be as long as this: the fixed part, and a length of 16 bits behind it.
pub const HEADER_BYTES_MAX: usize = v2::FIXED_BYTES + u16::MAX as usize;

/// The longest header of version 1, with its CRLF (section 2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Which of the two forms a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub version: Version,
    pub announced: Announced<'a>,
    /// Further facts; none in version 1 and of a [`Announced::Local`] connection.
    pub tlvs: Tlvs<'a>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced<'a> {
    /// The sender's own, such as a health check: the real ends of the connection count (section 2.2).
    Local,
    /// Somebody's whom the sender does not name: the real ends of the connection count.
    Unknown,
    /// A client's on IP. Both addresses are of one family.
    Ip { source: SocketAddr, destination: SocketAddr },
    /// A client's on a Unix socket; the paths without the zeros behind them.
    Unix { source: &'a [u8], destination: &'a [u8] },
}

/// How far the reading of a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The header is complete and took `used` bytes; the next byte is payload.
    Complete { header: Header<'a>, used: usize },
    /// More bytes are needed.
    Partial,
}

/// Reads the header at the beginning of `bytes`, which are all that was received so far.
///
/// What is wrong is said at the first byte that shows it. The work is linear in `bytes` once they are complete, and
/// constant before for version 2.
///
/// # Errors
/// When `bytes` do not begin with a header, break one of its rules, or announce more than `limit_bytes`.
pub fn read(bytes: &[u8], limit_bytes: usize) -> Result<Progress<'_>, HeaderError> {
    match bytes.first() {
        None => Ok(Progress::Partial),
        Some(b'P') => v1::read(bytes),
        Some(_) => v2::read(bytes, limit_bytes),
    }
}

impl Header<'_> {
    /// The client and the address that it connected to, where the header names them.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self.announced {
            Announced::Ip { source, destination } => Some((source, destination)),
            Announced::Local | Announced::Unknown | Announced::Unix { .. } => None,
        }
    }
}
