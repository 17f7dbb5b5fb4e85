//! After 101 Switching Protocols: bytes in both directions until both ends are done or nothing moves any more.

use crate::downstream::{Client, ClientStream};
use crate::exchange::Exchange;
use crate::serve::Next;
use crate::session;
use crate::upstream::lease::Lease;
use runtime::{Buf, Either, Stream, Timer, race, select2};
use std::cell::Cell;
use std::io;
use std::time::Duration;
use traffic::{Cause, Phase};
use wire::h1::encode;
use wire::http::{BodyLength, Response};

/// TCP keep-alive on both connections, so that a peer that vanished is found although nothing is sent to it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Passes the upstream's 101 on and relays until the tunnel ends.
pub(crate) async fn run(conn: &Client, x: &mut Exchange, lease: Lease) -> Next {
    x.status = x.response.status;
    x.response_started = true;
    // Bytes of the new protocol may have come with the head.
    let mut bytes = std::mem::take(&mut x.response_bytes);
    let (head, early) = bytes.split_at_mut(x.response.head_bytes as usize);
    x.bytes_out += early.len() as u64;
    conn.stream.start(BodyLength::UntilClose, early, false, |out| {
        let response = Response::new(&x.response, head);
        encode::status_line(out, response.head.status, response.reason());
        encode::kept_fields(out, response.bytes, &response.head.fields, |_| true);
        session::write_set_cookie(out, conn, x);
        out.extend_from_slice(b"Connection: upgrade\r\n");
        if let Some(protocol) = response.head.upgrade {
            encode::field(out, b"Upgrade", protocol.of(response.bytes));
        }
        encode::end(out);
    });
    drop(bytes);
    let upstream: &Stream = &lease.stream;
    conn.stream.set_keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES);
    upstream.set_keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES);
    let idle = conn.listener(&x.generation).timeouts.tunnel_idle;
    let (sent, received) = (Cell::new(0), Cell::new(0));
    let activity = Activity { conn, timer: &conn.timer, idle };
    activity.renew();
    let (client, upstream) = (End::Client(&conn.stream), End::Upstream(upstream));
    let up = pump(client, upstream, &activity, &sent);
    let down = pump(upstream, client, &activity, &received);
    let cause = match race(both(up, down), &conn.timer).await {
        None => Cause::TunnelIdle,
        Some(true) => Cause::TunnelClosed,
        Some(false) => Cause::ClientGone,
    };
    x.upload.bytes += sent.get();
    x.bytes_out += received.get();
    x.upload.done = true;
    x.phases.mark(Phase::Deliver, conn.worker.rt.now());
    if cause != Cause::TunnelClosed {
        x.cause = Some(cause);
    }
    Next::Close(cause)
}

/// Moves the idle deadline with every byte, whichever way it goes.
struct Activity<'a> {
    conn: &'a Client,
    timer: &'a Timer,
    idle: Duration,
}

impl Activity<'_> {
    fn renew(&self) {
        self.timer.set(self.conn.worker.rt.now() + self.idle);
    }
}

/// One end of a tunnel.
#[derive(Clone, Copy)]
enum End<'a> {
    Client(&'a ClientStream),
    Upstream(&'a Stream),
}

impl End<'_> {
    async fn recv(self) -> io::Result<Buf> {
        match self {
            End::Client(stream) => stream.recv().await,
            End::Upstream(stream) => stream.recv().await,
        }
    }

    fn write_buf(self, buf: Buf) {
        match self {
            End::Client(stream) => stream.write_buf(buf),
            End::Upstream(stream) => stream.write_buf(buf),
        }
    }

    fn shutdown_write(self) {
        match self {
            End::Client(stream) => stream.shutdown_write(),
            End::Upstream(stream) => stream.shutdown_write(),
        }
    }

    async fn flushed(self) -> io::Result<()> {
        match self {
            End::Client(stream) => stream.flushed(0).await,
            End::Upstream(stream) => stream.flushed(0).await,
        }
    }
}

/// One direction, to its end; the end is passed on. False when a connection broke.
async fn pump(from: End<'_>, to: End<'_>, activity: &Activity<'_>, bytes: &Cell<u64>) -> bool {
    loop {
        let Ok(buf) = from.recv().await else { return false };
        if buf.is_empty() {
            to.shutdown_write();
            return to.flushed().await.is_ok();
        }
        activity.renew();
        bytes.set(bytes.get() + buf.len() as u64);
        to.write_buf(buf);
        if to.flushed().await.is_err() {
            return false;
        }
        activity.renew();
    }
}

/// Both directions; a broken one ends the other, an ended one does not.
async fn both(up: impl Future<Output = bool>, down: impl Future<Output = bool>) -> bool {
    let mut up = std::pin::pin!(up);
    let mut down = std::pin::pin!(down);
    match select2(up.as_mut(), down.as_mut()).await {
        Either::Left(whole) => whole && down.await,
        Either::Right(whole) => whole && up.await,
    }
}
