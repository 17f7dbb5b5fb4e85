//! Start lines: `method SP target SP version` and `version SP status [SP reason]` (RFC 9112 §3 and §4).

use memchr::{memchr, memrchr};

use super::HeadError;
use super::bytes::{is_target, is_token, is_value, span};
use crate::http::{Method, Span, Version};

/// A request line whose parts have only bytes that may stand there.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) target: Span,
    pub(super) version: Version,
}

impl RequestLine {
    /// `line` is the first line of the head, without its CRLF.
    pub(super) fn parse(line: &[u8], uri_bytes_max: u32) -> Result<RequestLine, HeadError> {
        // From both ends: whatever spaces are left are in the target, where none may be.
        let Some(first) = memchr(b' ', line) else {
            return Err(malformed(line));
        };
        let token = &line[..first];
        let method = Method::parse(token, span(0, first));
        if matches!(method, Method::Other(_)) && (!is_token(token) || token.len() > METHOD_BYTES_MAX) {
            return Err(if token.contains(&b'\r') { HeadError::BareCr } else { HeadError::BadMethod });
        }
        let Some((rest, version)) = line[first + 1..].split_last_chunk::<{ VERSION_BYTES + 1 }>() else {
            return Err(name_bad_end(line, first));
        };
        let (b' ', version) = (version[0], parse_version(&version[1..])) else {
            return Err(name_bad_end(line, first));
        };
        let (target, version, last) = (rest, version?, first + 1 + rest.len());
        if target.is_empty() || target[0] == b' ' || target.ends_with(b" ") {
            return Err(HeadError::BadRequestLine);
        }
        if target.len() > uri_bytes_max as usize {
            return Err(HeadError::UriTooLong { limit_bytes: uri_bytes_max });
        }
        if !is_target(target) {
            return Err(if target.contains(&b'\r') { HeadError::BareCr } else { HeadError::BadUri });
        }
        if method == Method::Connect {
            return Err(HeadError::ConnectNotAllowed);
        }
        Ok(RequestLine { method, target: span(first + 1, last), version })
    }
}

/// A status line.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) reason: Span,
}

impl StatusLine {
    /// `line` is the first line of the head, without its CRLF.
    pub(super) fn parse(line: &[u8]) -> Result<StatusLine, HeadError> {
        let Some((version, rest)) = line.split_at_checked(VERSION_BYTES) else {
            return Err(HeadError::BadStatusLine);
        };
        let version = parse_version(version)?;
        let [b' ', a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] = rest else {
            return Err(HeadError::BadStatusLine);
        };
        // The space before an empty reason is required by the grammar and missing in the wild.
        if !matches!(reason, [] | [b' ', ..]) || !is_value(reason) {
            return Err(if reason.contains(&b'\r') { HeadError::BareCr } else { HeadError::BadStatusLine });
        }
        let status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
        let start = (VERSION_BYTES + " 200 ".len()).min(line.len());
        Ok(StatusLine { version, status, reason: span(start, line.len()) })
    }
}

/// Minor versions above 1 promise to be understood as 1.1 (RFC 9110 §2.5).
fn parse_version(spelled: &[u8]) -> Result<Version, HeadError> {
    match spelled {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::UnsupportedVersion),
        _ if spelled.contains(&b'\r') => Err(HeadError::BareCr),
        _ => Err(HeadError::BadVersion),
    }
}

/// Why no version of eight bytes stands behind a target and a space.
#[cold]
fn name_bad_end(line: &[u8], first: usize) -> HeadError {
    match memrchr(b' ', line) {
        Some(last) if last > first => {
            parse_version(&line[last + 1..]).err().unwrap_or(HeadError::BadRequestLine)
        }
        _ => malformed(line),
    }
}

#[cold]
fn malformed(line: &[u8]) -> HeadError {
    if line.contains(&b'\r') { HeadError::BareCr } else { HeadError::BadRequestLine }
}

/// The longest registered method has 17 bytes.
pub(super) const METHOD_BYTES_MAX: usize = 32;

const VERSION_BYTES: usize = "HTTP/1.1".len();
