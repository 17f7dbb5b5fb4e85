//! What a client says first on a TCP listener with routes, and the upstream that follows from it.
//!
//! The bytes are looked at and put back: the endpoint gets every one of them.

use super::Client;
use base::Instant;
use base::ids::UpstreamId;
use runtime::{Buf, race};
use std::future::poll_fn;
use std::task::Poll;
use traffic::Cause;
use traffic::selector::Selector;
use wire::client_hello::{ClientHello, HelloError, HelloReader, Progress};
use wire::opening::{self, Opening};

/// Where a connection goes.
pub(super) struct Chosen {
    pub(super) upstream: UpstreamId,
    /// What the client said, if it speaks TLS.
    pub(super) hello: Option<ClientHello>,
}

/// Reads as much as it takes to choose.
///
/// # Errors
/// Why the connection has to be closed.
pub(super) async fn choose(conn: &Client, selector: &Selector) -> Result<Chosen, Cause> {
    let began = conn.worker.rt.now();
    let until = began + selector.hello;
    conn.worker.overload.crowd.idle(conn.place, began, selector.hello);
    let (mut reader, mut is_tls) = (HelloReader::default(), true);
    let mut seen: Vec<u8> = Vec::new();
    loop {
        // Where the server speaks first, the client never will.
        let waits = seen.is_empty() && selector.tcp.is_some();
        let patience = if waits { until.min(began + selector.silence) } else { until };
        let received = match arrival(conn, began, patience).await {
            Ok(buf) => buf,
            Err(Cause::HelloTimeout) if waits => return chosen(selector.of_tcp(), None),
            Err(cause) => {
                put_back(conn, seen);
                return Err(cause);
            }
        };
        let has_ended = received.is_empty();
        seen.extend_from_slice(&received);
        drop(received);
        if is_tls && !has_ended {
            match reader.read(&seen) {
                Ok(Progress::Complete(hello)) => {
                    put_back(conn, seen);
                    return chosen(selector.of_tls(&hello), Some(hello));
                }
                Ok(Progress::Partial) => continue,
                Err(HelloError::NotTls) => is_tls = false,
                Err(HelloError::Malformed | HelloError::TooLong) => return Err(Cause::HelloInvalid),
            }
        }
        let opening = match selector.http {
            _ if seen.is_empty() => return Err(Cause::NoRequest),
            Some(_) => opening::of(&seen),
            None => Opening::Other,
        };
        match opening {
            // An end in the middle of a hello is none of a request.
            _ if has_ended && is_tls => return Err(Cause::HelloInvalid),
            Opening::Undecided if !has_ended => {}
            Opening::Http => {
                put_back(conn, seen);
                return chosen(selector.of_http(), None);
            }
            Opening::Other | Opening::Undecided => {
                put_back(conn, seen);
                return chosen(selector.of_tcp(), None);
            }
        }
    }
}

fn chosen(upstream: Option<UpstreamId>, hello: Option<ClientHello>) -> Result<Chosen, Cause> {
    upstream.map(|upstream| Chosen { upstream, hello }).ok_or(Cause::NoRoute)
}

fn put_back(conn: &Client, seen: Vec<u8>) {
    if !seen.is_empty() {
        conn.stream.unread(Buf::from_vec(seen));
    }
}

/// The next bytes of the client before `until`, empty at their end.
async fn arrival(conn: &Client, began: Instant, until: Instant) -> Result<Buf, Cause> {
    let worker = &*conn.worker;
    let mut seat = worker.drain.seat();
    conn.timer.set(until);
    let arrival = poll_fn(|cx| {
        if let Poll::Ready(received) = conn.stream.poll_recv(cx) {
            return Poll::Ready(received.map_err(|_| Cause::ClientGone));
        }
        if worker.overload.crowd.is_told(conn.place, cx.waker()) {
            return Poll::Ready(Err(Cause::Shed));
        }
        seat.take(cx.waker());
        if let Some(at) = worker.idle_until(conn.listener, began) {
            conn.timer.set(at.min(until));
        }
        Poll::Pending
    });
    match race(arrival, &conn.timer).await {
        Some(arrived) => arrived,
        None if worker.drain.is_draining() => Err(Cause::Stopping),
        None if worker.is_ending(conn.listener) => Err(Cause::ListenerClosed),
        None => Err(Cause::HelloTimeout),
    }
}
