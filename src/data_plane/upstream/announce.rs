//! Telling an endpoint whose connection it gets: the PROXY protocol, sent.
//!
//! The header is the first that is written on a connection, and leaves together with what follows. The connection then
//! belongs to that client for good: the pool keeps it for the client's own connection only.

use crate::downstream::Client;
use crate::exchange::Exchange;
use crate::upstream::forward;
use runtime::Stream;
use std::net::SocketAddr;
use traffic::Cause;
use traffic::proxy_protocol::{SendRules, Version};
use wire::proxy_protocol::Announcement;

/// Queues the header for the client of `conn` on a connection that has just been made.
///
/// # Errors
/// Never in practice: what we put in has bounds far below what a header can hold.
pub(crate) fn write(conn: &Client, x: &Exchange, rules: &SendRules, stream: &Stream) -> Result<(), Cause> {
    let announced = conn.announced.as_deref();
    let destination = announced.map(|client| client.destination).or_else(|| local(conn));
    // A client on a Unix socket has no address that an endpoint could read.
    let source = Some(conn.peer).filter(|peer| !peer.ip().is_unspecified());
    let mut own_id = Vec::new();
    let unique_id = match announced.and_then(|client| client.unique_id.as_deref()) {
        _ if !rules.unique_id => None,
        Some(given) => Some(given),
        None => {
            forward::write_request_id(&mut own_id, x.id);
            Some(own_id.as_slice())
        }
    };
    let announcement = Announcement {
        local: false,
        ends: source.zip(destination),
        alpn: alpn(conn).filter(|_| rules.alpn),
        authority: authority(conn).filter(|_| rules.authority),
        unique_id,
        checksum: rules.checksum,
    };
    let mut written = Ok(());
    stream.write(|out| match rules.version {
        Version::V1 => announcement.write_v1(out),
        Version::V2 => written = announcement.write_v2(out),
    });
    written.map_err(|_| Cause::Internal)
}

/// The address that the client connected to; None on a Unix socket. One system call.
fn local(conn: &Client) -> Option<SocketAddr> {
    let stream = conn.worker.overload.crowd.stream(conn.place)?;
    conn.worker.rt.local_of(stream)
}

/// The host name that the client asked for. What it said to us over TLS goes before what others say of it.
fn authority(conn: &Client) -> Option<&[u8]> {
    let asked = conn.security.as_ref().and_then(|security| security.facts.server_name.as_deref());
    let announced = || conn.announced.as_ref()?.authority.as_deref();
    asked.map(str::as_bytes).or_else(announced)
}

/// The protocol that the client has agreed on.
fn alpn(conn: &Client) -> Option<&[u8]> {
    let agreed = conn.security.as_ref().map(|security| &*security.facts.protocol);
    let announced = || conn.announced.as_ref()?.alpn.as_deref();
    agreed.filter(|protocol| !protocol.is_empty()).or_else(announced)
}
