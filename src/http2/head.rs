//! Heads between the types of `h2` and the text of HTTP/1.1.
//!
//! A request becomes text for the one parser that judges requests: what it refuses of HTTP/1.1 it refuses here too, and
//! whatever is forwarded has gone through it. Only what text cannot say is checked before (RFC 9113 §8.2, §8.3).

use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};

/// Why a request cannot be said as HTTP/1.1 at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// A pseudo-header field has a value that no request may have.
    Pseudo,
    /// A field value begins or ends with white space (RFC 9113 §8.2.1).
    Value,
    /// More fields than `FIELDS_MAX`, or more pieces of cookies than `CRUMBS_MAX`.
    TooMany,
    /// Extended CONNECT for another protocol than WebSocket (RFC 8441).
    Protocol,
}

/// Fields of one request. The limit of the listener is smaller and is applied by the parser.
const FIELDS_MAX: usize = 1024;
/// Fields that a client has cut its cookies into (RFC 9113 §8.2.3).
const CRUMBS_MAX: usize = 256;

/// Writes the head of a request. `has_body`: more than the head is to come.
///
/// The request of an extended CONNECT for a WebSocket is written as the upgrade that means the same (RFC 8441 §5), with
/// `key` in it.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    parts: &Parts,
    has_body: bool,
    key: impl FnOnce() -> [u8; 24],
) -> Result<(), HeadFault> {
    let protocol = parts.extensions.get::<Protocol>();
    if protocol.is_some_and(|protocol| !protocol.as_str().eq_ignore_ascii_case("websocket")) {
        return Err(HeadFault::Protocol);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(HeadFault::Pseudo);
    }
    if parts.headers.len() > FIELDS_MAX {
        return Err(HeadFault::TooMany);
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    write_line(out, parts, authority, protocol.is_some())?;
    if let Some(authority) = authority {
        put(out, "host", authority.as_bytes());
    }
    write_fields(out, &parts.headers)?;
    if protocol.is_some() {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
        out.extend_from_slice(&key());
        out.extend_from_slice(b"\r\n");
    } else if has_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The request line. Where a `Host` field stands beside `:authority`, both are left for the parser to compare.
fn write_line(
    out: &mut Vec<u8>,
    parts: &Parts,
    authority: Option<&str>,
    is_upgrade: bool,
) -> Result<(), HeadFault> {
    let method = if is_upgrade { &Method::GET } else { &parts.method };
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    match (parts.uri.path_and_query(), authority) {
        (None, Some(authority)) if *method == Method::CONNECT => out.extend_from_slice(authority.as_bytes()),
        (None, _) => return Err(HeadFault::Pseudo),
        (Some(target), _) => {
            let target = target.as_str();
            if !target.starts_with('/') && target != "*" {
                return Err(HeadFault::Pseudo);
            }
            out.extend_from_slice(target.as_bytes());
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<(), HeadFault> {
    let mut crumbs = 0;
    for (name, value) in fields {
        let bytes = value.as_bytes();
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if is_blank(bytes.first()) || is_blank(bytes.last()) {
            return Err(HeadFault::Value);
        }
        if name == header::COOKIE {
            crumbs += 1;
            continue;
        }
        put(out, name.as_str(), bytes);
    }
    if crumbs > CRUMBS_MAX {
        return Err(HeadFault::TooMany);
    }
    if crumbs > 0 {
        out.extend_from_slice(b"cookie: ");
        for (place, crumb) in fields.get_all(header::COOKIE).iter().enumerate() {
            if place > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

pub(crate) fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A response from the text that we have written for it: a status line and fields, each a line. Fields that belong to a
/// connection of HTTP/1.1 are left out (RFC 9113 §8.2.2).
///
/// `None` when the text is no head, which only a mistake of ours can bring about.
pub(crate) fn parse_response(text: &[u8]) -> Option<Response<()>> {
    let (line, mut rest) = split_line(text)?;
    let status = StatusCode::from_bytes(line.get(9..12)?).ok()?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    loop {
        let (line, behind) = split_line(rest)?;
        rest = behind;
        if line.is_empty() {
            return Some(response);
        }
        put_line(response.headers_mut(), line)?;
    }
}

/// Takes in one line of a field, unless it is of the connection.
fn put_line(fields: &mut HeaderMap, line: &[u8]) -> Option<()> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    if is_of_connection(&name) {
        return Some(());
    }
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    fields.try_append(name, value).ok().map(|_| ())
}

/// The head of a response as text, but for the empty line at its end.
pub(crate) fn write_response(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" \r\n");
    for (name, value) in fields {
        put(out, name.as_str(), value.as_bytes().trim_ascii());
    }
}

/// A request from the text that we have written for it. Fields that belong to a connection of HTTP/1.1 are left out.
///
/// `None` when the text is no head that HTTP/2 can say.
pub(crate) fn parse_request(text: &[u8], scheme: &str) -> Option<Request<()>> {
    let (line, mut rest) = split_line(text)?;
    let mut words = line.split(|&byte| byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let target = words.next()?;
    let mut request = Request::new(());
    let mut authority: Option<&[u8]> = None;
    loop {
        let (line, behind) = split_line(rest)?;
        rest = behind;
        if line.is_empty() {
            break;
        }
        match line.strip_prefix(b"Host: ") {
            Some(host) if authority.is_none() => authority = Some(host),
            _ => put_line(request.headers_mut(), line)?,
        }
    }
    *request.method_mut() = method;
    *request.uri_mut() =
        Uri::builder().scheme(scheme).authority(authority?).path_and_query(target).build().ok()?;
    *request.version_mut() = Version::HTTP_2;
    Some(request)
}

/// Trailers as text, a line for each field.
pub(crate) fn write_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) {
    trailers.iter().for_each(|(name, value)| put(out, name.as_str(), value.as_bytes()));
}

/// Trailers from text, a line for each field; `None` when there are none or a line is no field.
pub(crate) fn parse_trailers(mut text: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    while let Some((line, rest)) = split_line(text) {
        put_line(&mut trailers, line)?;
        text = rest;
    }
    (!trailers.is_empty()).then_some(trailers)
}

fn is_of_connection(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || name == "keep-alive"
        || name == "proxy-connection"
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&text[..end], &text[end + 2..]))
}
