//! A client's HTTP/2 connection: many exchanges at once, each with a task of its own.
//!
//! ```text
//!   socket ─▶ line (bytes, budgets) ─▶ http2::Server (frames) ─▶ connection ─head─▶ task of a stream ─▶ serve
//!   socket ◀─ line ◀──────────────────  frames  ◀───────────────────────── response ┘
//! ```
//!
//! The connection's task reads and writes frames and opens streams; it is the only one that touches the socket. A
//! stream's task serves its exchange just as that of an HTTP/1.1 connection would, through [`Http2Stream`].

mod connection;
mod line;
mod stream;

pub(crate) use connection::serve;
pub(crate) use stream::Http2Stream;

use super::Client;
use crate::relay::RECEIVE_MIN;
use runtime::{Buf, race};
use wire::h2::PREFACE;

/// What a connection turns out to speak.
pub(crate) enum Speaks {
    Http1(Buf),
    Http2(Buf),
}

/// Tells by the first bytes. Only a client that sends a part of the preface is waited for, until the time for its head is
/// over: then HTTP/1.1 has to make sense of what there is.
///
/// With TLS there is nothing left to tell: both sides have agreed.
pub(crate) async fn tell(client: &Client, first: Buf) -> Speaks {
    if client.security.is_some() {
        return Speaks::Http2(first);
    }
    if !PREFACE.starts_with(&first[..first.len().min(PREFACE.len())]) {
        return Speaks::Http1(first);
    }
    if first.len() >= PREFACE.len() {
        return Speaks::Http2(first);
    }
    let mut bytes = Vec::with_capacity(RECEIVE_MIN);
    bytes.extend_from_slice(&first);
    drop(first);
    // The timer is that of the first bytes.
    while bytes.len() < PREFACE.len() && PREFACE.starts_with(&bytes) {
        match race(client.unless_shed(client.stream.recv()), &client.timer).await {
            Some(Ok(Ok(more))) if !more.is_empty() => bytes.extend_from_slice(&more),
            _ => return Speaks::Http1(Buf::from_vec(bytes)),
        }
    }
    let is_preface = PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]);
    if is_preface { Speaks::Http2(Buf::from_vec(bytes)) } else { Speaks::Http1(Buf::from_vec(bytes)) }
}
