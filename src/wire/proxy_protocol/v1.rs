//! Version 1: one line of text (section 2.1).

use super::{Announced, Header, HeaderError, Progress, Tlvs, V1_BYTES_MAX, Version};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

const PREFIX: &[u8] = b"PROXY ";

/// The longest line that is written, for connections that nobody names.
pub(super) const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

pub(super) fn read(bytes: &[u8]) -> Result<Progress<'_>, HeaderError> {
    let common = bytes.len().min(PREFIX.len());
    if bytes[..common] != PREFIX[..common] {
        return Err(HeaderError::NotAHeader);
    }
    // A line ends with CRLF, and no other CR or LF, no NUL and no other control character stands in it.
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| !(0x20..0x7f).contains(byte)) else {
        return match bytes.len() {
            ..V1_BYTES_MAX => Ok(Progress::Partial),
            _ => Err(HeaderError::TooLong { limit_bytes: V1_BYTES_MAX }),
        };
    };
    match (bytes[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if end + 1 == V1_BYTES_MAX => {
            return Err(HeaderError::TooLong { limit_bytes: V1_BYTES_MAX });
        }
        (b'\r', None) => return Ok(Progress::Partial),
        _ => return Err(HeaderError::BadLine),
    }
    let line = std::str::from_utf8(&bytes[PREFIX.len()..end]).map_err(|_| HeaderError::BadLine)?;
    let header = Header { version: Version::V1, announced: announced(line)?, tlvs: Tlvs::NONE };
    Ok(Progress::Complete { header, used: end + 2 })
}

/// What the line says behind `PROXY `.
fn announced(line: &str) -> Result<Announced<'static>, HeaderError> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    match family {
        "TCP4" => ends::<Ipv4Addr>(rest),
        "TCP6" => ends::<Ipv6Addr>(rest),
        // "the receiver must ignore anything presented before the CRLF is found"
        "UNKNOWN" => Ok(Announced::Unknown),
        _ => Err(HeaderError::BadLine),
    }
}

fn ends<A: FromStr + Into<IpAddr>>(rest: &str) -> Result<Announced<'static>, HeaderError> {
    let mut words = rest.split(' ');
    let mut next = || words.next().ok_or(HeaderError::BadLine);
    let (source, destination) = (next()?, next()?);
    let (source_port, destination_port) = (next()?, next()?);
    if words.next().is_some() {
        return Err(HeaderError::BadLine);
    }
    Ok(Announced::Ip {
        source: SocketAddr::new(address::<A>(source)?, port(source_port)?),
        destination: SocketAddr::new(address::<A>(destination)?, port(destination_port)?),
    })
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, HeaderError> {
    text.parse::<A>().map(Into::into).map_err(|_| HeaderError::BadAddress)
}

/// A decimal number without sign and leading zeros.
fn port(text: &str) -> Result<u16, HeaderError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(HeaderError::BadPort);
    }
    text.parse().map_err(|_| HeaderError::BadPort)
}
