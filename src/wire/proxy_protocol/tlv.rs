//! Type, length, value: further facts behind the addresses of version 2 (section 2.2.1 to 2.2.7).

use super::HeaderError;
use super::crc32c;
use super::v2::FIXED_BYTES;

pub const ALPN: u8 = 0x01;
pub const AUTHORITY: u8 = 0x02;
pub const CRC32C: u8 = 0x03;
pub const NOOP: u8 = 0x04;
pub const UNIQUE_ID: u8 = 0x05;
pub const SSL: u8 = 0x20;
pub const NETNS: u8 = 0x30;

/// Inside [`SSL`].
pub const SSL_VERSION: u8 = 0x21;
pub const SSL_CN: u8 = 0x22;
pub const SSL_CIPHER: u8 = 0x23;
pub const SSL_SIG_ALG: u8 = 0x24;
pub const SSL_KEY_ALG: u8 = 0x25;
pub const SSL_GROUP: u8 = 0x26;
pub const SSL_CLIENT_CERT: u8 = 0x28;

/// Type and length.
pub(super) const HEAD_BYTES: usize = 3;
pub(super) const CRC32C_BYTES: usize = 4;
/// "UP to 128 bytes" (section 2.2.5).
pub const UNIQUE_ID_BYTES_MAX: usize = 128;
/// The longest host name (RFC 1035 §2.3.4), and what one byte can count in a ClientHello's ALPN.
pub const TEXT_BYTES_MAX: usize = 255;

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    pub kind: u8,
    pub value: &'a [u8],
}

/// Facts that have been checked: lengths fit, none of the known ones is repeated or malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlvs<'a> {
    bytes: &'a [u8],
}

impl<'a> Tlvs<'a> {
    pub const NONE: Tlvs<'static> = Tlvs { bytes: &[] };

    /// Checks `bytes`, the TLVs at the end of the header `whole`, or, without `whole`, those inside of another.
    pub(super) fn checked(bytes: &'a [u8], whole: Option<&[u8]>) -> Result<Tlvs<'a>, HeaderError> {
        let mut rest = bytes;
        // One bit per type that may stand only once.
        let mut seen = [0_u64; 4];
        while !rest.is_empty() {
            let (tlv, after) = split(rest).ok_or(HeaderError::TlvPastEnd)?;
            let is_single = match whole {
                Some(_) => matches!(tlv.kind, ALPN | AUTHORITY | CRC32C | UNIQUE_ID | SSL | NETNS),
                None => matches!(tlv.kind, SSL_VERSION..=SSL_GROUP | SSL_CLIENT_CERT),
            };
            if is_single {
                let (word, bit) = (usize::from(tlv.kind / 64), 1_u64 << (tlv.kind % 64));
                if seen[word] & bit != 0 {
                    return Err(HeaderError::TlvDuplicate);
                }
                seen[word] |= bit;
            }
            match whole {
                Some(whole) => check(tlv, whole, whole.len() - after.len())?,
                None => check_ssl(tlv)?,
            }
            rest = after;
        }
        Ok(Tlvs { bytes })
    }

    /// All of them in order, with those that we do not know.
    pub fn iter(self) -> impl Iterator<Item = Tlv<'a>> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (tlv, after) = split(rest)?;
            rest = after;
            Some(tlv)
        })
    }

    /// The value of the first of type `kind`.
    pub fn find(self, kind: u8) -> Option<&'a [u8]> {
        self.iter().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value)
    }

    /// The protocol above the connection, as in a ClientHello.
    pub fn alpn(self) -> Option<&'a [u8]> {
        self.find(ALPN)
    }

    /// The host name that the client asked for, usually its SNI. UTF-8 is not checked.
    pub fn authority(self) -> Option<&'a [u8]> {
        self.find(AUTHORITY)
    }

    /// An opaque name of the connection, at most 128 bytes.
    pub fn unique_id(self) -> Option<&'a [u8]> {
        self.find(UNIQUE_ID)
    }

    /// What TLS the client spoke with the sender.
    pub fn ssl(self) -> Option<Ssl<'a>> {
        Ssl::read(self.find(SSL)?).ok()
    }
}

/// The client's TLS connection, which ended at the sender (section 2.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// Bits: 1 connected over TLS, 2 certificate on this connection, 4 certificate in this session.
    pub client: u8,
    /// 0 when the client's certificate was verified.
    pub verify: u32,
    pub tlvs: Tlvs<'a>,
}

impl<'a> Ssl<'a> {
    fn read(value: &'a [u8]) -> Result<Ssl<'a>, HeaderError> {
        let (&[client, a, b, c, d], tlvs) = value.split_first_chunk().ok_or(HeaderError::TlvLength)?;
        Ok(Ssl { client, verify: u32::from_be_bytes([a, b, c, d]), tlvs: Tlvs::checked(tlvs, None)? })
    }

    pub fn is_over_tls(self) -> bool {
        self.client & 1 != 0
    }

    /// Whether the client showed a certificate that the sender verified.
    pub fn is_verified(self) -> bool {
        self.client & 6 != 0 && self.verify == 0
    }
}

/// The first TLV, and what is behind it; `None` when it is not all there.
fn split(bytes: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let (&[kind, high, low], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (value, after) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((Tlv { kind, value }, after))
}

/// Checks one TLV of the header `whole` that ends at `end` within it.
fn check(tlv: Tlv<'_>, whole: &[u8], end: usize) -> Result<(), HeaderError> {
    let length = tlv.value.len();
    match tlv.kind {
        CRC32C => {
            let said = <[u8; CRC32C_BYTES]>::try_from(tlv.value).map_err(|_| HeaderError::TlvLength)?;
            let at = end - CRC32C_BYTES;
            debug_assert!(at >= FIXED_BYTES);
            let crc = crc32c::update(crc32c::BEGIN, &whole[..at]);
            let crc = crc32c::update(crc, &[0; CRC32C_BYTES]);
            let crc = crc32c::finish(crc32c::update(crc, &whole[end..]));
            if crc != u32::from_be_bytes(said) {
                return Err(HeaderError::BadChecksum);
            }
        }
        UNIQUE_ID if length > UNIQUE_ID_BYTES_MAX => return Err(HeaderError::TlvLength),
        ALPN | AUTHORITY if length > TEXT_BYTES_MAX => return Err(HeaderError::TlvLength),
        ALPN | AUTHORITY | NETNS => check_text(tlv.value)?,
        SSL => drop(Ssl::read(tlv.value)?),
        _ => {}
    }
    Ok(())
}

fn check_ssl(tlv: Tlv<'_>) -> Result<(), HeaderError> {
    match tlv.kind {
        SSL_VERSION..=SSL_GROUP => check_text(tlv.value),
        _ => Ok(()),
    }
}

/// A NUL inside a text is the end of it to some readers, and not to others.
fn check_text(value: &[u8]) -> Result<(), HeaderError> {
    if memchr::memchr(0, value).is_some() { Err(HeaderError::TlvNul) } else { Ok(()) }
}
