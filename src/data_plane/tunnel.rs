//! After 101 Switching Protocols: bytes in both directions until both ends are done or nothing moves any more.

use crate::channel::Channel;
use crate::downstream::Client;
use crate::exchange::Exchange;
use crate::pump::{Patience, Pump, Stopped};
use crate::serve::Next;
use crate::session;
use crate::upstream::lease::Lease;
use traffic::{Cause, Phase};
use wire::h1::encode;
use wire::http::{BodyLength, Response};

/// Passes the upstream's 101 on and relays until the tunnel ends.
pub(crate) async fn run(conn: &Client, x: &mut Exchange, lease: Lease) -> Next {
    let is_stream = conn.stream.is_multiplexed();
    x.status = if is_stream { 200 } else { x.response.status };
    x.response_started = true;
    // Bytes of the new protocol may have come with the head.
    let mut bytes = std::mem::take(&mut x.response_bytes);
    let (head, early) = bytes.split_at_mut(x.response.head_bytes as usize);
    x.bytes_out += early.len() as u64;
    conn.stream.start(BodyLength::UntilClose, early, false, |out| {
        let response = Response::new(&x.response, head);
        if is_stream {
            // The same agreement in HTTP/2, which has no handshake of keys (RFC 8441 §5).
            encode::status_line(out, x.status, b"");
            encode::kept_fields(out, response.bytes, &response.head.fields, |field| {
                !field.name.of(response.bytes).eq_ignore_ascii_case(b"sec-websocket-accept")
            });
            session::write_set_cookie(out, conn, x);
            return encode::end(out);
        }
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
    let upstream: &Channel = &lease.stream;
    // Half of a tunnel is as good as the whole: it may wait for as long.
    let idle = conn.listener(&x.generation).timeouts.tunnel_idle;
    let patience = Patience { idle, half_closed: idle };
    let (worker, moved) = (&*conn.worker, &conn.worker.stats.tunnels);
    let mut pump = Pump::new(worker, (&conn.stream, conn.place), upstream, &conn.timer, patience, moved);
    let stopped = pump.run(|| {}).await;
    x.upload.bytes += pump.up.bytes;
    x.bytes_out += pump.down.bytes;
    x.upload.done = true;
    x.phases.mark(Phase::Deliver, worker.rt.now());
    let cause = match stopped {
        Stopped::Ended => return Next::Close(Cause::TunnelClosed),
        Stopped::ClientBroke => Cause::ClientGone,
        Stopped::UpstreamBroke => Cause::UpstreamGone,
        Stopped::Idle | Stopped::HalfClosed => Cause::TunnelIdle,
        Stopped::Shed => Cause::Shed,
        Stopped::Stopping => Cause::Stopping,
    };
    x.cause = Some(cause);
    lease.stream.reset();
    Next::Abort(cause)
}
