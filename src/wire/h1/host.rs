//! `host[:port]`, the one reading of it (RFC 3986 §3.2, RFC 9110 §7.2).
//!
//! Narrower than the grammar on purpose: no user information, no escapes, no commas, no empty port, and a name that
//! ends in a number must be an IPv4 address, because resolvers disagree about everything else.

use std::net::Ipv6Addr;
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
            let end = name_end(text)?;
            (end - usize::from(text[..end].ends_with(b".")), &text[end..])
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

/// Where the name at the start of `text` ends: at the colon or at the end. One pass, this is in every request.
fn name_end(text: &[u8]) -> Result<usize, HeadError> {
    let mut end = 0usize;
    let mut label_bytes = 0;
    let mut last_label_bytes = 0;
    for &byte in text {
        match byte {
            b':' => break,
            b'.' => {
                if label_bytes == 0 {
                    return Err(HeadError::BadHost);
                }
                last_label_bytes = label_bytes;
                label_bytes = 0;
            }
            _ => {
                label_bytes += 1;
                if !is_host_byte(byte) || label_bytes > LABEL_BYTES_MAX {
                    return Err(HeadError::BadHost);
                }
            }
        }
        end += 1;
    }
    // A trailing dot has opened a label that nothing came into.
    let bare = if label_bytes == 0 { end.saturating_sub(1) } else { end };
    let last = if label_bytes == 0 { last_label_bytes } else { label_bytes };
    if bare == 0 || bare > NAME_BYTES_MAX {
        return Err(HeadError::BadHost);
    }
    let label = &text[bare - last..bare];
    if label[0].is_ascii_digit() && is_number(label) && !is_ipv4(&text[..bare]) {
        return Err(HeadError::BadHost);
    }
    Ok(end)
}

/// Four decimal numbers below 256, without leading zeros: some read those as octal.
fn is_ipv4(text: &[u8]) -> bool {
    let mut numbers = 0;
    let rest_is_good = text.split(|&byte| byte == b'.').all(|part| {
        numbers += 1;
        let digits_only = part.iter().all(u8::is_ascii_digit);
        let value = part
            .iter()
            .fold(0u32, |value, &digit| value.wrapping_mul(10).wrapping_add(u32::from(digit & 0xf)));
        digits_only && matches!((part.len(), part), (1, _) | (2..=3, [b'1'..=b'9', ..])) && value < 256
    });
    numbers == 4 && rest_is_good
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
