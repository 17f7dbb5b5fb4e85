//! The rest of a long body, socket to socket through a pipe of the kernel.
//!
//! The loops are those of `response` and `upload`, with a filled pipe in place of a filled buffer: the same timeouts, the
//! same watch on the client, and never more in between than one pipe holds. What a pipe cannot tell is what lies behind
//! a response, since exactly the body is taken; so the socket is looked at once more in the end.

use super::response::{Rest, in_time};
use super::upload::{UploadFault, UploadLimits, paced};
use crate::downstream::{Client, ClientWatch};
use crate::exchange::{Exchange, Upload};
use crate::pace::{self, Pace};
use crate::serve::Fault;
use crate::upstream::h1::sent;
use crate::upstream::lease::Lease;
use base::Instant;
use runtime::{Arrived, IdleState, Piped, Refusal};
use traffic::Cause;
use traffic::overload::PIPE_BYTES;
use traffic::snapshot::Upstream;
use traffic::stats::WorkerStats;
use wire::h1::BodyReader;

/// The shortest rest of a body for which the system calls of a pipe cost less than copying.
const SPLICE_MIN: u64 = 64 << 10;

/// Whether what is left of a body is long. Of one that lasts until the end nobody knows, but it was `long` so far.
pub(super) fn is_worthwhile(body: &BodyReader, passed: u64) -> bool {
    match body.unframed() {
        None => false,
        Some(u64::MAX) => passed >= SPLICE_MIN,
        Some(left) => left >= SPLICE_MIN,
    }
}

/// Relays to the end of the body, but for the last bytes, which the caller delivers when it has given up the endpoint.
/// `Ok(Err(_))`: the next bytes cannot go through a pipe. Everything that was written before must have been sent.
pub(super) async fn relay(
    conn: &Client,
    x: &mut Exchange,
    upstream: &Upstream,
    lease: &Lease,
    body: &mut BodyReader,
    pace: &mut Pace,
    watch: &mut ClientWatch,
) -> Result<Result<Rest, Refusal>, Fault> {
    while let Some(left) = body.unframed() {
        let mut piped = match in_time(conn, x, upstream, watch, lease.stream.recv_piped(left)).await? {
            Arrived::Piped(piped) => piped,
            Arrived::Refused(refusal) => return Ok(Err(refusal)),
            Arrived::End => {
                body.on_eof().map_err(|_| Cause::UpstreamTruncated)?;
                return Ok(Ok(Rest { behind: IdleState::Quiet, tail: None }));
            }
        };
        x.bytes_out += piped.len() as u64;
        conn.worker.stats.spliced_bytes.add(piped.len() as u64);
        if body.pass(piped.len() as u64) {
            let behind = lease.stream.idle_state_now();
            return Ok(Ok(Rest { behind, tail: Some(piped) }));
        }
        deliver(conn, pace, x.deadline, &mut piped).await?;
    }
    Ok(Ok(Rest { behind: IdleState::Quiet, tail: None }))
}

/// Hands the end of the body to the client.
pub(super) async fn deliver_tail(conn: &Client, x: &Exchange, mut tail: Piped) -> Result<(), Fault> {
    let mut pace = Pace::of_response(&conn.listener(&x.generation).timeouts);
    deliver(conn, &mut pace, x.deadline, &mut tail).await
}

async fn deliver(conn: &Client, pace: &mut Pace, deadline: Instant, piped: &mut Piped) -> Result<(), Fault> {
    let crowd = &conn.worker.overload.crowd;
    crowd.holds(conn.place, if piped.is_empty() { 0 } else { PIPE_BYTES });
    let sending = conn.stream.send_piped(piped);
    Ok(pace::taken(&conn.worker, (&conn.stream, conn.place), &conn.timer, pace, deadline, sending).await?)
}

/// As `relay`, from the client to the endpoint. What is taken cannot be sent to another one.
pub(super) async fn upload(
    conn: &Client,
    upload: &mut Upload,
    lease: &Lease,
    limits: &UploadLimits<'_>,
    pace: &mut Pace,
) -> Result<Result<(), Refusal>, UploadFault> {
    let len = |arrived: &Arrived| match arrived {
        Arrived::Piped(piped) => piped.len() as u64,
        Arrived::End | Arrived::Refused(_) => 0,
    };
    while let Some(left) = upload.reader.unframed() {
        let receive = || conn.stream.recv_piped(left);
        let mut piped = match paced(conn, pace, limits, receive, len).await? {
            Arrived::Piped(piped) => piped,
            Arrived::Refused(refusal) => return Ok(Err(refusal)),
            Arrived::End => return Err(Cause::ClientGone.into()),
        };
        upload.bytes += piped.len() as u64;
        conn.worker.stats.spliced_bytes.add(piped.len() as u64);
        upload.done = upload.reader.pass(piped.len() as u64);
        if upload.bytes > limits.body_bytes_max {
            return Err(Cause::BodyTooLarge.into());
        }
        conn.worker.overload.crowd.holds(conn.place, PIPE_BYTES);
        sent(conn, limits, lease.stream.send_piped(&mut piped)).await?;
        upload.queued = upload.done;
    }
    Ok(Ok(()))
}

/// Counts a body that is copied although it is long.
pub(super) fn count(stats: &WorkerStats, refusal: Refusal) {
    match refusal {
        Refusal::NoPipe => stats.splice_no_pipe.add(1),
        Refusal::Unsupported => stats.splice_unsupported.add(1),
        Refusal::Received => {}
    }
}
