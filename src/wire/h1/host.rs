//! `host[:port]`, the one reading of it (RFC 3986 §3.2, RFC 9110 §7.2).
//!
//! Narrower than the grammar on purpose: no user information, no escapes, no commas, no empty port, and a name that
//! ends in a number must be an IPv4 address, because resolvers disagree about everything else.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use memchr::memchr;

use super::HeadError;
use super::bytes::is_host_byte;

/// Where the host ends within the authority, and the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Length of the host, brackets of an IPv6 address included, trailing dot not.
    pub(super) host_bytes: usize,
    pub(super) port: Option<u16>,
}

impl Authority {
    pub(super) fn parse(text: &[u8]) -> Result<Authority, HeadError> {
        let (host_bytes, rest) = if let [b'[', inner @ ..] = text {
            let end = memchr(b']', inner).ok_or(HeadError::BadHost)?;
            check_ipv6(&inner[..end])?;
            (end + 2, &inner[end + 1..])
        } else {
            let end = memchr(b':', text).unwrap_or(text.len());
            (check_name(&text[..end])?, &text[end..])
        };
        Ok(Authority { host_bytes, port: parse_port(rest)? })
    }
}

/// Whether two authorities name the same place; `default_port` is that of the target's scheme.
pub(super) fn same_place(a: &[u8], b: &[u8], default_port: u16) -> bool {
    let (Ok(left), Ok(right)) = (Authority::parse(a), Authority::parse(b)) else { return false };
    left.port.unwrap_or(default_port) == right.port.unwrap_or(default_port)
        && a[..left.host_bytes].eq_ignore_ascii_case(&b[..right.host_bytes])
}

fn check_ipv6(text: &[u8]) -> Result<(), HeadError> {
    let text = std::str::from_utf8(text).map_err(|_| HeadError::BadHost)?;
    Ipv6Addr::from_str(text).map(drop).map_err(|_| HeadError::BadHost)
}

/// Length of the name without its trailing dot.
fn check_name(name: &[u8]) -> Result<usize, HeadError> {
    let bare = name.strip_suffix(b".").unwrap_or(name);
    if bare.is_empty() || bare.len() > NAME_BYTES_MAX {
        return Err(HeadError::BadHost);
    }
    let mut label_start = 0;
    for (at, &byte) in bare.iter().enumerate() {
        if byte == b'.' {
            check_label(&bare[label_start..at])?;
            label_start = at + 1;
        } else if !is_host_byte(byte) {
            return Err(HeadError::BadHost);
        }
    }
    let last = &bare[label_start..];
    check_label(last)?;
    if last[0].is_ascii_digit() && is_number(last) {
        let text = std::str::from_utf8(bare).map_err(|_| HeadError::BadHost)?;
        Ipv4Addr::from_str(text).map_err(|_| HeadError::BadHost)?;
    }
    Ok(bare.len())
}

fn check_label(label: &[u8]) -> Result<(), HeadError> {
    if label.is_empty() || label.len() > LABEL_BYTES_MAX { Err(HeadError::BadHost) } else { Ok(()) }
}

/// Decimal, or the `0x` form that some resolvers read as an address.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', rest @ ..] => rest.iter().all(u8::is_ascii_hexdigit),
        _ => label.iter().all(u8::is_ascii_digit),
    }
}

fn parse_port(rest: &[u8]) -> Result<Option<u16>, HeadError> {
    let digits = match rest {
        [] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(HeadError::BadHost),
    };
    // A leading zero, an empty port and port 0 are each read differently somewhere.
    if !matches!(digits, [b'1'..=b'9', ..]) || digits.len() > 5 {
        return Err(HeadError::BadHost);
    }
    let mut port = 0u32;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(HeadError::BadHost);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).map(Some).map_err(|_| HeadError::BadHost)
}

/// Limits of the domain name system (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
