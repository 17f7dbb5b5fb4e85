//! Which bytes may stand where: one table for every grammar of RFC 9110, RFC 9112 and RFC 3986 that the parser needs.

use crate::http::Span;

const TOKEN: u8 = 1;
const VALUE: u8 = 2;
const TARGET: u8 = 4;
const UNRESERVED: u8 = 8;
const HOST: u8 = 16;
const PLAIN: u8 = 32;

/// `tchar` (RFC 9110 §5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// A non-empty run of `tchar`.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Visible, obs-text, space or tab: what a field value, a reason phrase or a quoted extension may hold.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    CLASS[byte as usize] & VALUE != 0
}

/// Every byte may stand in a field value.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_value_byte(byte))
}

/// A byte that a request target may hold. Wider than RFC 3986 by what browsers send unescaped in queries
/// (`[ ] { } | ^` and the backtick), never `#`, `\`, `"`, `<`, `>`, white space, controls or 8-bit bytes.
pub(super) fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().fold(TARGET, |all, &byte| all & CLASS[byte as usize]) != 0
}

/// `unreserved` (RFC 3986 §2.3): the same with and without percent-encoding.
pub(super) const fn is_unreserved(byte: u8) -> bool {
    CLASS[byte as usize] & UNRESERVED != 0
}

/// A byte of a registered name as we take it: letters, digits, `-`, `.`, `_`.
pub(super) const fn is_host_byte(byte: u8) -> bool {
    CLASS[byte as usize] & HOST != 0
}

/// Only letters, digits and `-`: what nearly all field names are made of.
pub(super) fn is_plain_name(bytes: &[u8]) -> bool {
    bytes.iter().fold(PLAIN, |all, &byte| all & CLASS[byte as usize]) != 0
}

/// The value of a hexadecimal digit.
pub(super) const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// `bytes` without spaces and tabs at both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The span from `start` to `end` of a head.
#[allow(clippy::cast_possible_truncation, reason = "heads are shorter than header_bytes_max, which is a u32")]
pub(super) const fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, len: (end - start) as u32 }
}

#[allow(clippy::cast_possible_truncation, reason = "the index runs over all values of a byte")]
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = 0;
        let alphanumeric = byte.is_ascii_alphanumeric();
        if alphanumeric
            || matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        {
            class |= TOKEN;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            class |= VALUE;
        }
        if byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>') {
            class |= TARGET;
        }
        if alphanumeric || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= UNRESERVED;
        }
        if alphanumeric || matches!(byte, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        if alphanumeric || byte == b'-' {
            class |= PLAIN;
        }
        table[index] = class;
        index += 1;
    }
    table
};
