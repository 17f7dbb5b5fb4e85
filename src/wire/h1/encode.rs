//! Writes heads and chunk framing.
//!
//! Everything is appended to a buffer that the caller owns, from parsed parts only (R27). What a part may hold was
//! checked when it was parsed or when the configuration was compiled; debug builds check it again here.

use super::bytes::{is_target, is_token, is_value};
use crate::http::{BodyLength, Field, Known, Method};

/// `METHOD path[?query] HTTP/1.1`. We speak our own version, whatever the client spoke (RFC 9110 §2.5).
pub fn request_line(out: &mut Vec<u8>, method: &[u8], path: &[u8], query: Option<&[u8]>) {
    debug_assert!(is_token(method), "methods are tokens");
    debug_assert!(
        !path.is_empty() && is_target(path) && !path.contains(&b'?'),
        "paths are parsed or compiled"
    );
    debug_assert!(query.is_none_or(is_target), "queries are parsed or compiled");
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 status reason`; an empty reason becomes the registered phrase.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    debug_assert!((100..=599).contains(&status), "statuses are parsed or ours");
    debug_assert!(is_value(reason), "reasons are parsed or ours");
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(if reason.is_empty() { reason_phrase(status).as_bytes() } else { reason });
    out.extend_from_slice(b"\r\n");
}

/// `name: value`.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_token(name), "names are parsed or compiled");
    debug_assert!(is_value(value), "values are parsed or compiled");
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The fields of a head that travel on, as the peer spelled them, in order.
///
/// Left out: fields that end at this hop, look-alikes, the framing fields (`framing` writes those) and whatever `keep`
/// refuses. `bytes` are the bytes of the head.
pub fn kept_fields(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], mut keep: impl FnMut(&Field) -> bool) {
    for kept in fields {
        let framing = matches!(kept.known, Known::ContentLength | Known::TransferEncoding);
        if !framing && !kept.flags.hop_by_hop && !kept.flags.look_alike && keep(kept) {
            field(out, kept.name.of(bytes), kept.value.of(bytes));
        }
    }
}

/// The framing field of a body of that length; nothing for `None` and `UntilClose`.
pub fn framing(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Length(bytes) => content_length(out, bytes),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// The framing field of a request. Methods that usually carry a body say so when there is none (RFC 9110 §8.6).
pub fn request_framing(out: &mut Vec<u8>, method: Method, body: BodyLength) {
    match (body, method) {
        (BodyLength::None, Method::Post | Method::Put | Method::Patch) => content_length(out, 0),
        _ => framing(out, body),
    }
}

/// The framing field of a response.
///
/// `declared` is what the upstream's `Content-Length` said. It travels on where it describes a body that is not sent
/// (HEAD, 304) and is dropped where none may be announced (1xx, 204).
pub fn response_framing(
    out: &mut Vec<u8>,
    status: u16,
    answers_head: bool,
    body: BodyLength,
    declared: Option<u64>,
) {
    let has_no_body = status < 200 || status == 204;
    match (body, declared) {
        _ if has_no_body => {}
        (BodyLength::None, Some(bytes)) if answers_head || status == 304 => content_length(out, bytes),
        (BodyLength::None, _) if answers_head || status == 304 => {}
        (BodyLength::None, _) => content_length(out, 0),
        _ => framing(out, body),
    }
}

/// `Content-Length: bytes`.
pub fn content_length(out: &mut Vec<u8>, bytes: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, bytes);
    out.extend_from_slice(b"\r\n");
}

/// The empty line that ends a head.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal.
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The line before a chunk of data, small enough to be put in front of a payload that is already in place.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    bytes: [u8; CHUNK_HEADER_BYTES_MAX],
    start: usize,
}

impl ChunkHeader {
    /// Size in hexadecimal and CRLF.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// The header of a chunk of `len` bytes, which must be in hand (R47b). `len` is not 0: that would end the body.
pub fn chunk_header(len: usize) -> ChunkHeader {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let mut bytes = [0; CHUNK_HEADER_BYTES_MAX];
    let mut start = CHUNK_HEADER_BYTES_MAX - 2;
    bytes[start..].copy_from_slice(b"\r\n");
    let mut rest = len;
    loop {
        start -= 1;
        bytes[start] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        if rest == 0 {
            return ChunkHeader { bytes, start };
        }
    }
}

/// Follows the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Ends a chunked body with a trailer section, as `trailer` writes it.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// Sixteen digits and CRLF.
pub const CHUNK_HEADER_BYTES_MAX: usize = 18;

/// The registered phrase of a status; empty for one that has none (RFC 9110 §15).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "",
    }
}
