//! Version 2: a fixed part, addresses, TLVs (section 2.2).

use super::{Announced, Header, HeaderError, Progress, Tlvs, Version};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// No protocol's first bytes.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
pub(super) const FIXED_BYTES: usize = 16;

pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;
pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;

const UNIX_PATH_BYTES: usize = 108;

pub(super) fn read(bytes: &[u8], limit_bytes: usize) -> Result<Progress<'_>, HeaderError> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] != SIGNATURE[..common] {
        return Err(HeaderError::NotAHeader);
    }
    // Each byte of the fixed part is looked at as soon as it is there.
    let Some(&version_and_command) = bytes.get(12) else { return Ok(Progress::Partial) };
    if version_and_command >> 4 != 2 {
        return Err(HeaderError::BadVersion);
    }
    if !matches!(version_and_command, LOCAL | PROXY) {
        return Err(HeaderError::BadCommand);
    }
    let Some(&family) = bytes.get(13) else { return Ok(Progress::Partial) };
    // What a LOCAL header says besides is skipped, "including the family which is ignored".
    let is_local = version_and_command == LOCAL;
    let addresses = match family {
        _ if is_local => 0,
        UNSPEC => 0,
        TCP4 | 0x12 => 12,
        TCP6 | 0x22 => 36,
        0x31 | 0x32 => 2 * UNIX_PATH_BYTES,
        _ => return Err(HeaderError::BadFamily),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED_BYTES) else { return Ok(Progress::Partial) };
    let used = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if used > limit_bytes {
        return Err(HeaderError::TooLong { limit_bytes });
    }
    if used < FIXED_BYTES + addresses {
        return Err(HeaderError::BadLength);
    }
    let Some(whole) = bytes.get(..used) else { return Ok(Progress::Partial) };
    if is_local {
        let header = Header { version: Version::V2, announced: Announced::Local, tlvs: Tlvs::NONE };
        return Ok(Progress::Complete { header, used });
    }
    let (ends, tlvs) = whole[FIXED_BYTES..].split_at(addresses);
    let header =
        Header { version: Version::V2, announced: announced(ends), tlvs: Tlvs::checked(tlvs, Some(whole))? };
    Ok(Progress::Complete { header, used })
}

/// The addresses; their length tells the family, and UDP counts as TCP: the client is who it is.
fn announced(ends: &[u8]) -> Announced<'_> {
    if let Ok(&[a, b, c, d, e, f, g, h, port @ ..]) = <&[u8; 12]>::try_from(ends) {
        let [s1, s2, d1, d2] = port;
        let source = SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([s1, s2])));
        let destination = SocketAddr::from((Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([d1, d2])));
        return Announced::Ip { source, destination };
    }
    if let (Some((&source, rest)), 36) = (ends.split_first_chunk::<16>(), ends.len())
        && let Some((&destination, &[s1, s2, d1, d2])) = rest.split_first_chunk::<16>()
    {
        let source = SocketAddr::from((Ipv6Addr::from(source), u16::from_be_bytes([s1, s2])));
        let destination = SocketAddr::from((Ipv6Addr::from(destination), u16::from_be_bytes([d1, d2])));
        return Announced::Ip { source, destination };
    }
    if ends.len() == 2 * UNIX_PATH_BYTES {
        let (source, destination) = ends.split_at(UNIX_PATH_BYTES);
        return Announced::Unix { source: path(source), destination: path(destination) };
    }
    Announced::Unknown
}

/// A path ends at its first NUL; one of the abstract namespace begins with it.
fn path(bytes: &[u8]) -> &[u8] {
    let is_abstract = bytes.first() == Some(&0);
    let from = usize::from(is_abstract);
    let end = bytes[from..].iter().position(|&byte| byte == 0).map_or(bytes.len(), |at| from + at);
    if end == from { &[] } else { &bytes[..end] }
}
