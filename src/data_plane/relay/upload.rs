//! The request body: client → endpoint.

use super::{ReceiveSize, append, emit, known_rest};
use crate::downstream::h1::Connection;
use crate::exchange::Upload;
use crate::pace::{Pace, Wait};
use crate::serve::Fault;
use crate::upstream::h1::flush as flush_upstream;
use crate::upstream::lease::Lease;
use base::Instant;
use runtime::{Buf, race};
use std::time::Duration;
use traffic::Cause;
use traffic::snapshot::{Route, Snapshot, Upstream};
use wire::h1::encode;
use wire::http::BodyLength;

/// Bounds of one upload.
pub(crate) struct UploadLimits {
    body_bytes_max: u64,
    replay_bytes_max: usize,
    buffer_bytes_max: usize,
    downstream: traffic::snapshot::DownstreamTimeouts,
    pub(crate) upstream_idle: Duration,
    /// When the attempt must have its response head.
    pub(crate) deadline: Instant,
    /// When the whole exchange must be over.
    total: Instant,
}

impl UploadLimits {
    pub(crate) fn new(
        conn: &Connection,
        generation: &Snapshot,
        route: &Route,
        upstream: &Upstream,
        deadline: Instant,
        total: Instant,
    ) -> UploadLimits {
        UploadLimits {
            body_bytes_max: route.body_bytes_max,
            replay_bytes_max: generation.limits.replay_bytes_max as usize,
            buffer_bytes_max: generation.limits.relay_buffer_bytes_max as usize,
            downstream: conn.listener(generation).timeouts,
            upstream_idle: upstream.timeouts.body_idle,
            deadline,
            total,
        }
    }

    /// Why a wait for the client, or one for the endpoint, has ended at the deadline.
    pub(crate) fn late(&self, now: Instant, attempt: Cause) -> Cause {
        if now >= self.total { Cause::TotalTimeout } else { attempt }
    }
}

/// Why a request body did not reach its end.
pub(crate) enum UploadFault {
    /// The endpoint takes no more; it may still answer.
    UpstreamGone,
    Fault(Fault),
}

impl From<Cause> for UploadFault {
    fn from(cause: Cause) -> Self {
        UploadFault::Fault(Fault(cause))
    }
}

/// Sends the request body: first what an earlier attempt has read of it, then the rest as the client delivers it.
pub(crate) async fn upload(
    conn: &Connection,
    upload: &mut Upload,
    framing: BodyLength,
    lease: &Lease,
    limits: &UploadLimits,
) -> Result<(), UploadFault> {
    let to = &lease.stream;
    if !upload.replay.payload.is_empty() || upload.done {
        let chunked = framing == BodyLength::Chunked;
        to.write(|out| append(out, &upload.replay.payload, chunked, upload.done));
        upload.queued = upload.done;
        flush_upstream(conn, lease, limits).await?;
    }
    let mut pace = Pace::of_body(&limits.downstream);
    let mut size = ReceiveSize::new(limits.buffer_bytes_max);
    while !upload.done {
        if !upload.continued {
            upload.continued = true;
            conn.stream.write(|out| {
                encode::status_line(out, 100, b"");
                encode::end(out);
            });
        }
        let mut buf =
            receive_paced(conn, &mut pace, &size, known_rest(framing, &upload.reader), limits).await?;
        let received = buf.len();
        size.learn(received);
        let part = upload.reader.read(&mut buf).map_err(Cause::of_request_body)?;
        upload.bytes += part.payload.len() as u64;
        upload.done = part.done;
        if upload.bytes > limits.body_bytes_max {
            return Err(Cause::BodyTooLarge.into());
        }
        upload.replay.keep(&buf[part.payload.clone()], limits.replay_bytes_max);
        conn.worker.overload.crowd.holds(conn.place, upload.replay.payload.capacity() as u64);
        if part.consumed < received {
            // The next request begins in this buffer; it is copied, for the body's part goes on as it is.
            conn.stream.unread(Buf::from_vec(buf[part.consumed..].to_vec()));
        }
        emit(to, buf, part.payload, framing, part.done);
        upload.queued = part.done;
        flush_upstream(conn, lease, limits).await?;
    }
    Ok(())
}

/// The next bytes from the client, which must keep its pace.
async fn receive_paced(
    conn: &Connection,
    pace: &mut Pace,
    size: &ReceiveSize,
    remaining: Option<u64>,
    limits: &UploadLimits,
) -> Result<Buf, UploadFault> {
    let deadline = limits.deadline;
    let rt = &conn.worker.rt;
    let began = rt.now();
    let mut quiet = Duration::ZERO;
    loop {
        let wait = Wait::begin(rt);
        conn.timer.set((wait.began() + pace.patience()).min(deadline));
        let receive = conn.unless_shed(size.receive(conn, &conn.stream, remaining));
        let received = race(receive, &conn.timer).await;
        let now = rt.now();
        match received.transpose()? {
            Some(Ok(buf)) if buf.is_empty() => return Err(Cause::ClientGone.into()),
            Some(Err(_)) => return Err(Cause::ClientGone.into()),
            Some(Ok(buf)) => {
                // What was there at once costs no patience, however little it was.
                if now > began {
                    pace.waited(wait.spent(rt), buf.len() as u64).map_err(|_| Cause::BodyTimeout)?;
                }
                return Ok(buf);
            }
            // The attempt has no time left because the client took it.
            None if now >= deadline => return Err(limits.late(now, Cause::BodyTimeout).into()),
            None => {
                let spent = wait.spent(rt);
                quiet += spent;
                pace.waited(spent, 0).map_err(|_| Cause::BodyTimeout)?;
                if quiet >= pace.idle() {
                    return Err(Cause::BodyTimeout.into());
                }
            }
        }
    }
}
