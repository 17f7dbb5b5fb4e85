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
    let mut label = Label::default();
    let mut last = Label::default();
    // Labels so far, and how many of them are a number of an IPv4 address.
    let (mut labels, mut quads) = (0, 0);
    for &byte in text {
        match byte {
            b':' => break,
            b'.' => {
                last = std::mem::take(&mut label);
                if last.bytes == 0 {
                    return Err(HeadError::BadHost);
                }
                labels += 1;
                quads += u32::from(last.is_quad());
            }
            _ if is_host_byte(byte) && label.bytes < LABEL_BYTES_MAX => label.push(byte),
            _ => return Err(HeadError::BadHost),
        }
        end += 1;
    }
    let mut bare = end;
    if label.bytes > 0 {
        last = label;
        labels += 1;
        quads += u32::from(last.is_quad());
    } else {
        // A trailing dot has opened a label that nothing came into.
        bare = bare.saturating_sub(1);
    }
    let is_ipv4 = labels == 4 && quads == 4;
    if bare == 0 || bare > NAME_BYTES_MAX || (!is_ipv4 && is_number(&text[bare - last.bytes..bare])) {
        return Err(HeadError::BadHost);
    }
    Ok(end)
}

/// One label of a name, on the way through it.
#[derive(Clone, Copy, Default)]
struct Label {
    bytes: usize,
    first: u8,
    not_digits: bool,
    /// Means something only for up to three digits.
    value: u32,
}

impl Label {
    fn push(&mut self, byte: u8) {
        if self.bytes == 0 {
            self.first = byte;
        }
        self.bytes += 1;
        let digit = byte.wrapping_sub(b'0');
        self.not_digits |= digit > 9;
        self.value = self.value.wrapping_mul(10).wrapping_add(u32::from(digit));
    }

    /// A number of an IPv4 address: below 256 and without leading zeros, which some read as octal.
    fn is_quad(self) -> bool {
        !self.not_digits && self.bytes <= 3 && self.value < 256 && (self.bytes == 1 || self.first != b'0')
    }
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
