//! Writing headers.

use super::crc32c;
use super::tlv::{self, CRC32C_BYTES, HEAD_BYTES};
use super::v1;
use super::v2::{self, FIXED_BYTES, SIGNATURE};
use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// What is said about a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// The connection is our own, such as a health check.
    pub local: bool,
    /// The client, and the address that it connected to; `None` when it came over a Unix socket.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// The protocol above the connection.
    pub alpn: Option<&'a [u8]>,
    /// The host name that the client asked for.
    pub authority: Option<&'a [u8]>,
    /// The name of the connection in our logs.
    pub unique_id: Option<&'a [u8]>,
    /// Protects the header by a CRC32C.
    pub checksum: bool,
}

/// The header would be longer than its length can say. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    pub length_bytes: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooLong { length_bytes } = self;
        write!(f, "PROXY header of {length_bytes} bytes behind its fixed part; 65535 are possible")
    }
}

impl std::error::Error for TooLong {}

impl Announcement<'_> {
    /// Appends a header of version 1, which knows nothing but addresses. It has no LOCAL: what is our own is UNKNOWN.
    pub fn write_v1(&self, out: &mut Vec<u8>) {
        let (source, destination, family) = match self.known_ends() {
            Some(Ends::V4(source, destination)) => (source, destination, "TCP4"),
            Some(Ends::V6(source, destination)) => (source, destination, "TCP6"),
            None => return out.extend_from_slice(v1::UNKNOWN),
        };
        let (from, to) = (source.port(), destination.port());
        let line = writeln!(out, "PROXY {family} {} {} {from} {to}\r", source.ip(), destination.ip());
        debug_assert!(line.is_ok(), "a vector takes everything");
    }

    /// Appends a header of version 2.
    ///
    /// # Errors
    /// When everything together is longer than 65,535 bytes: `out` is as it was. A length that wraps would turn the rest
    /// of the header into payload (R157).
    pub fn write_v2(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let ends = self.known_ends();
        let addresses = match ends {
            None => 0,
            Some(Ends::V4(..)) => 12,
            Some(Ends::V6(..)) => 36,
        };
        let tlvs = self.tlvs();
        let of_tlvs: usize = tlvs.iter().flatten().map(|(_, value)| HEAD_BYTES + value.len()).sum();
        let checksum_bytes = if self.has_checksum() { HEAD_BYTES + CRC32C_BYTES } else { 0 };
        let length_bytes = addresses + of_tlvs + checksum_bytes;
        let length = u16::try_from(length_bytes).map_err(|_| TooLong { length_bytes })?;

        let begin = out.len();
        out.reserve(FIXED_BYTES + length_bytes);
        out.extend_from_slice(SIGNATURE);
        out.push(if self.local { v2::LOCAL } else { v2::PROXY });
        let family = match ends {
            None => v2::UNSPEC,
            Some(Ends::V4(..)) => v2::TCP4,
            Some(Ends::V6(..)) => v2::TCP6,
        };
        out.push(family);
        out.extend_from_slice(&length.to_be_bytes());
        if let Some(Ends::V4(source, destination) | Ends::V6(source, destination)) = ends {
            write_ip(out, source.ip());
            write_ip(out, destination.ip());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
        for (kind, value) in tlvs.into_iter().flatten() {
            write_tlv(out, kind, value);
        }
        if self.has_checksum() {
            write_tlv(out, tlv::CRC32C, &[0; CRC32C_BYTES]);
            let crc = crc32c::finish(crc32c::update(crc32c::BEGIN, &out[begin..]));
            let at = out.len() - CRC32C_BYTES;
            out[at..].copy_from_slice(&crc.to_be_bytes());
        }
        debug_assert_eq!(out.len() - begin, FIXED_BYTES + length_bytes);
        Ok(())
    }

    /// Facts that are known, in the order of their types. None about our own connections: receivers skip them.
    fn tlvs(&self) -> [Option<(u8, &[u8])>; 3] {
        let known =
            [(tlv::ALPN, self.alpn), (tlv::AUTHORITY, self.authority), (tlv::UNIQUE_ID, self.unique_id)];
        known.map(|(kind, value)| value.filter(|_| !self.local).map(|value| (kind, value)))
    }

    fn has_checksum(&self) -> bool {
        self.checksum && !self.local
    }

    /// Both ends in one family: IPv4 where both are, else IPv6 with mapped addresses.
    fn known_ends(&self) -> Option<Ends> {
        let (source, destination) = self.ends.filter(|_| !self.local)?;
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let (source, destination) = (canonical(source), canonical(destination));
        if source.is_ipv4() && destination.is_ipv4() {
            return Some(Ends::V4(source, destination));
        }
        let wide = |end: SocketAddr| match end.ip() {
            IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), end.port())),
            // Without zone and flow label, which say nothing elsewhere.
            IpAddr::V6(ip) => SocketAddr::from((ip, end.port())),
        };
        Some(Ends::V6(wide(source), wide(destination)))
    }
}

enum Ends {
    V4(SocketAddr, SocketAddr),
    V6(SocketAddr, SocketAddr),
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
}

/// The length has been checked with that of the whole header.
fn write_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    #[expect(clippy::cast_possible_truncation, reason = "shorter than the header, whose length fits")]
    let length = value.len() as u16;
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}
