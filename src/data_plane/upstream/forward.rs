//! The fields that tell the upstream about the client, and the head that carries them.
//!
//! What an untrusted client claims about itself is dropped before our own fields are added, so that nothing it names
//! in `Connection` or sends under a similar name can remove or replace them.

use crate::downstream::Client;
use crate::exchange::Exchange;
use crate::relay::{announce_trailers, are_asked_for};
use crate::session;
use std::net::IpAddr;
use traffic::snapshot::Endpoint;
use wire::h1::encode;
use wire::http::{BodyLength, Field, Known, Request, Version};

/// Our name in `Via` (RFC 9110 §7.6.3) and `Proxy-Status`.
pub(crate) const PSEUDONYM: &str = "ringway";

/// Writes the request head for the upstream into `out`.
pub(crate) fn write_head(out: &mut Vec<u8>, conn: &Client, x: &Exchange, endpoint: &Endpoint) {
    let request = x.request();
    let outgoing = &x.outgoing;
    let path = outgoing.path().unwrap_or_else(|| request.path());
    encode::request_line(out, request.method(), path, outgoing.query(request.query()));
    // An HTTP/1.0 client may name no host; the upstream gets one all the same (RFC 9112 §3.2).
    let host = match (outgoing.host(), request.authority()) {
        (Some(host), _) => host,
        (None, b"") if endpoint.addr.ip().is_none() => b"localhost",
        (None, b"") => endpoint.text.as_bytes(),
        (None, authority) => authority,
    };
    encode::field(out, b"Host", host);
    write_client_fields(out, x, request);
    write_forwarding_fields(out, conn, x, request);
    if let Some(security) = &conn.security {
        out.extend_from_slice(&security.client_fields);
    }
    x.call.write_fields(out, request, x.deadline, conn.worker.rt.now());
    for (name, value) in outgoing.edits.additions() {
        encode::field(out, name, value);
    }
    let body = x.call.upload_framing(request.head.body);
    if body == BodyLength::Chunked {
        announce_trailers(out, request.bytes, &request.head.fields, |name| outgoing.edits.keeps(name));
    }
    encode::request_framing(out, request.head.method, body);
    if let Some(protocol) = request.upgrade() {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        encode::field(out, b"Upgrade", protocol);
    } else if are_asked_for(request) || x.call.asks_for_trailers() {
        // A field of this connection, so its option has to be there too (RFC 9110 §10.1.4).
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    encode::end(out);
}

/// What the client sent, as far as it travels on; its cookies without the one that is ours.
fn write_client_fields(out: &mut Vec<u8>, x: &Exchange, request: Request<'_>) {
    let (trusted, edits, sticky) = (x.facts.trusted, &x.outgoing.edits, session::sticky(x));
    if edits.is_empty() && sticky.is_none() && !x.call.is_stream() {
        encode::kept_fields(out, request.bytes, &request.head.fields, |field| is_forwarded(field, trusted));
        return;
    }
    let has_ours = |field: &Field| {
        field.known == Known::Cookie
            && sticky.is_some_and(|sticky| sticky.is_in(field.value.of(request.bytes)))
    };
    encode::kept_fields(out, request.bytes, &request.head.fields, |field| {
        is_forwarded(field, trusted) && {
            let name = field.name.of(request.bytes);
            edits.keeps(name) && !x.call.replaces(name) && !has_ours(field)
        }
    });
    if let Some(sticky) = sticky.filter(|_| edits.keeps(b"Cookie")) {
        session::write_other_cookies(out, sticky, request);
    }
}

/// Whether a field of the client travels on as it is. Fields that we write ourselves do not.
fn is_forwarded(field: &Field, trusted: bool) -> bool {
    match field.known {
        Known::Host | Known::Expect => false,
        Known::XForwardedFor | Known::Forwarded => false,
        // Whoever trusts these must be able to trust that they are ours (RFC 9440 §2).
        Known::ClientCert | Known::ClientCertChain => false,
        Known::XForwardedProto | Known::XForwardedHost | Known::XForwardedPort => false,
        Known::XRealIp | Known::XRequestId => trusted,
        _ => true,
    }
}

/// The client's address, scheme, host and port as the upstream should see them, in both notations (RFC 7239), and
/// `Via`. A trusted peer's own statements are kept and continued.
fn write_forwarding_fields(out: &mut Vec<u8>, conn: &Client, x: &Exchange, request: Request<'_>) {
    let trusted = x.facts.trusted;
    let peer = conn.peer_ip();
    let said = |known: Known| if trusted { request.known(known) } else { None };

    out.extend_from_slice(b"X-Forwarded-For: ");
    continue_list(out, request, Known::XForwardedFor, trusted && !x.facts.refused);
    write_ip(out, peer);
    out.extend_from_slice(b"\r\n");
    match said(Known::XForwardedProto) {
        Some(value) => encode::field(out, b"X-Forwarded-Proto", value),
        None if conn.security.is_some() => out.extend_from_slice(b"X-Forwarded-Proto: https\r\n"),
        None => out.extend_from_slice(b"X-Forwarded-Proto: http\r\n"),
    }
    let host = said(Known::XForwardedHost).unwrap_or_else(|| request.authority());
    if !host.is_empty() {
        encode::field(out, b"X-Forwarded-Host", host);
    }
    match said(Known::XForwardedPort) {
        Some(value) => encode::field(out, b"X-Forwarded-Port", value),
        None => {
            out.extend_from_slice(b"X-Forwarded-Port: ");
            encode::decimal(out, u64::from(conn.local_port));
            out.extend_from_slice(b"\r\n");
        }
    }

    out.extend_from_slice(b"Forwarded: ");
    continue_list(out, request, Known::Forwarded, trusted && !x.facts.refused);
    match peer {
        IpAddr::V4(_) => {
            out.extend_from_slice(b"for=");
            write_ip(out, peer);
        }
        IpAddr::V6(_) => {
            out.extend_from_slice(b"for=\"[");
            write_ip(out, peer);
            out.extend_from_slice(b"]\"");
        }
    }
    if !request.authority().is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(request.authority());
        out.push(b'"');
    }
    out.extend_from_slice(if conn.security.is_some() {
        &b";proto=https\r\n"[..]
    } else {
        b";proto=http\r\n"
    });

    if !trusted || request.known(Known::XRequestId).is_none() {
        out.extend_from_slice(b"X-Request-Id: ");
        write_request_id(out, x.id);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(match x.head.version {
        Version::Http10 => b"Via: 1.0 ",
        Version::Http11 => b"Via: 1.1 ",
        Version::Http2 => b"Via: 2.0 ",
        Version::Http3 => b"Via: 3.0 ",
    });
    out.extend_from_slice(PSEUDONYM.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The values of a list field that a trusted peer sent, each followed by a comma.
fn continue_list(out: &mut Vec<u8>, request: Request<'_>, known: Known, trusted: bool) {
    if !trusted {
        return;
    }
    for field in request.head.fields.iter().filter(|field| field.known == known && !field.value.is_empty()) {
        out.extend_from_slice(field.value.of(request.bytes));
        out.extend_from_slice(b", ");
    }
}

/// The address in its usual notation; IPv4 without going through the formatting machinery, once per request.
fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                encode::decimal(out, u64::from(octet));
            }
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => write_ip(out, IpAddr::V4(v4)),
            None => out.extend_from_slice(v6.to_string().as_bytes()),
        },
    }
}

/// Thirty-two hexadecimal digits, as in the access log and in `instance` of problem documents.
pub(crate) fn write_request_id(out: &mut Vec<u8>, id: (u64, u64)) {
    let id = (u128::from(id.0) << 64) | u128::from(id.1);
    for shift in (0..32).rev() {
        out.push(b"0123456789abcdef"[(id >> (shift * 4) & 0xf) as usize]);
    }
}
