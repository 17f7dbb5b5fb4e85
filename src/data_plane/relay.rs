//! Bodies, both ways: pull-based, so that neither side is read faster than the other takes.
//!
//! Small bodies leave together with their head. Longer ones move through one buffer at a time: it is filled by a
//! receive, its payload is re-framed in place, and it is handed to the other socket without being copied. Buffers start
//! at 16 KiB and grow to 256 KiB while the sender fills them; nothing is held while a sender is silent.

use crate::downstream::h1::Connection;
use crate::exchange::{Exchange, Upload};
use crate::pace::{self, Pace, SendFault};
use crate::respond::write_connection_fields;
use crate::serve::{Fault, Next};
use crate::tunnel;
use crate::upstream::h1::flush as flush_upstream;
use crate::upstream::lease::Lease;
use base::Instant;
use runtime::{Buf, Stream, race};
use std::time::Duration;
use traffic::snapshot::{Route, Snapshot, Upstream};
use traffic::{Cause, Phase, filter};
use wire::h1::machine::{self, Persistence, UpstreamUse};
use wire::h1::{BodyReader, encode};
use wire::http::{BodyLength, Known, Method, Response};

/// Payload up to this size is copied behind what is queued already; beyond it handing over the buffer is cheaper.
const COPY_MAX: usize = 4096;
/// The smallest receive of a long body, and the size of the buffers that the driver lends.
const RECEIVE_MIN: usize = 16 << 10;

/// How much to ask for in the next receive of one body.
struct ReceiveSize {
    bytes: usize,
    max: usize,
}

impl ReceiveSize {
    fn new(max: usize) -> ReceiveSize {
        ReceiveSize { bytes: RECEIVE_MIN, max }
    }

    /// `received` bytes arrived. A full buffer means that more was waiting; a mostly empty one that less would do.
    fn learn(&mut self, received: usize) {
        if received >= self.bytes {
            self.bytes = (self.bytes * 4).min(self.max);
        } else if received < self.bytes / 8 {
            self.bytes = (self.bytes / 4).max(RECEIVE_MIN);
        }
    }

    /// The next bytes of a body of which `remaining` are known to come.
    async fn receive(
        &self,
        conn: &Connection,
        from: &Stream,
        remaining: Option<u64>,
    ) -> std::io::Result<Buf> {
        let wanted = remaining.map_or(self.bytes, |left| {
            usize::try_from(left).unwrap_or(usize::MAX).clamp(RECEIVE_MIN, self.max)
        });
        if wanted <= RECEIVE_MIN {
            // The driver lends a buffer once there is something to put into it.
            return from.recv().await;
        }
        from.recv_into(conn.worker.rt.relay_buf(wanted)).await
    }
}

/// Queues `payload` of `buf` on `to`, framed as `framing` asks; `done` ends the body.
fn emit(to: &Stream, mut buf: Buf, payload: std::ops::Range<usize>, framing: BodyLength, done: bool) {
    let chunked = framing == BodyLength::Chunked;
    if payload.len() <= COPY_MAX {
        if !payload.is_empty() || (chunked && done) {
            to.write(|out| append(out, &buf[payload], chunked, done));
        }
        return;
    }
    let header = encode::chunk_header(payload.len());
    buf.truncate(payload.end);
    buf.consume(payload.start);
    if chunked {
        if buf.headroom() >= header.as_slice().len() {
            buf.prepend(header.as_slice());
        } else {
            to.write(|out| out.extend_from_slice(header.as_slice()));
        }
    }
    to.write_buf(buf);
    if chunked {
        to.write(|out| {
            out.extend_from_slice(encode::CHUNK_END);
            if done {
                out.extend_from_slice(encode::LAST_CHUNK);
            }
        });
    }
}

/// Appends a payload and its framing.
fn append(out: &mut Vec<u8>, payload: &[u8], chunked: bool, done: bool) {
    if !chunked {
        out.extend_from_slice(payload);
        return;
    }
    if !payload.is_empty() {
        out.extend_from_slice(encode::chunk_header(payload.len()).as_slice());
        out.extend_from_slice(payload);
        out.extend_from_slice(encode::CHUNK_END);
    }
    if done {
        out.extend_from_slice(encode::LAST_CHUNK);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Request body: client → endpoint
// ---------------------------------------------------------------------------------------------------------------------

/// Bounds of one upload.
pub(crate) struct UploadLimits {
    body_bytes_max: u64,
    replay_bytes_max: usize,
    buffer_bytes_max: usize,
    downstream: traffic::snapshot::DownstreamTimeouts,
    pub(crate) upstream_idle: Duration,
    pub(crate) deadline: Instant,
}

impl UploadLimits {
    pub(crate) fn new(
        conn: &Connection,
        generation: &Snapshot,
        route: &Route,
        upstream: &Upstream,
        deadline: Instant,
    ) -> UploadLimits {
        UploadLimits {
            body_bytes_max: route.body_bytes_max,
            replay_bytes_max: generation.limits.replay_bytes_max as usize,
            buffer_bytes_max: generation.limits.relay_buffer_bytes_max as usize,
            downstream: conn.listener(generation).timeouts,
            upstream_idle: upstream.timeouts.body_idle,
            deadline,
        }
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
            receive_paced(conn, &mut pace, &size, upload.reader.remaining(), limits.deadline).await?;
        let received = buf.len();
        size.learn(received);
        let part = upload.reader.read(&mut buf).map_err(Cause::of_request_body)?;
        upload.bytes += part.payload.len() as u64;
        upload.done = part.done;
        if upload.bytes > limits.body_bytes_max {
            return Err(Cause::BodyTooLarge.into());
        }
        upload.replay.keep(&buf[part.payload.clone()], limits.replay_bytes_max);
        if part.consumed < received {
            // The next request begins in this buffer; it is copied, for the body's part goes on as it is.
            conn.stream.unread(Buf::from_vec(buf[part.consumed..].to_vec()));
        }
        emit(to, buf, part.payload, framing, part.done);
        flush_upstream(conn, lease, if part.done { usize::MAX } else { 0 }, limits).await?;
    }
    flush_upstream(conn, lease, 0, limits).await
}

/// The next bytes from the client, which must keep its pace.
async fn receive_paced(
    conn: &Connection,
    pace: &mut Pace,
    size: &ReceiveSize,
    remaining: Option<u64>,
    deadline: Instant,
) -> Result<Buf, UploadFault> {
    let rt = &conn.worker.rt;
    let began = rt.now();
    let mut quiet = Duration::ZERO;
    loop {
        let waits_since = rt.now();
        conn.timer.set((waits_since + pace.patience()).min(deadline));
        let received = race(size.receive(conn, &conn.stream, remaining), &conn.timer).await;
        let now = rt.now();
        match received {
            Some(Ok(buf)) if buf.is_empty() => return Err(Cause::ClientGone.into()),
            Some(Err(_)) => return Err(Cause::ClientGone.into()),
            Some(Ok(buf)) => {
                // What was there at once costs no patience, however little it was.
                if now > began {
                    pace.waited(now.since(waits_since), buf.len() as u64).map_err(|_| Cause::BodyTimeout)?;
                }
                return Ok(buf);
            }
            None if now >= deadline => return Err(Cause::TotalTimeout.into()),
            None => {
                let spent = now.since(waits_since);
                quiet += spent;
                pace.waited(spent, 0).map_err(|_| Cause::BodyTimeout)?;
                if quiet >= pace.idle() {
                    return Err(Cause::BodyTimeout.into());
                }
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Response: endpoint → client
// ---------------------------------------------------------------------------------------------------------------------

/// Relays the response whose head is in `x` and decides what becomes of both connections.
pub(crate) async fn response(
    conn: &Connection,
    x: &mut Exchange,
    upstream: &Upstream,
    lease: Lease,
) -> Result<Next, Fault> {
    let worker = &*conn.worker;
    if x.response.status == 101 {
        if !machine::upgrade_accepted(x.request(), x.response()) {
            return Err(Cause::UpstreamMalformed.into());
        }
        return Ok(Box::pin(tunnel::run(conn, x, lease)).await);
    }
    let framing = machine::downstream_framing(x.response.body, x.head.version);
    let rest = rest_of_request_body(x);
    let keeps = Persistence {
        client_wants: x.head.keep_alive,
        body_settled: rest != machine::RestOfBody::Close,
        response_delimited: framing != BodyLength::UntilClose,
        draining: worker.drain.is_draining(),
        requests: conn.requests,
        requests_max: x.generation.limits.requests_per_connection_max,
    }
    .keeps();

    let mut body = BodyReader::for_response(x.response.body, &upstream.http);
    prepare_response_edits(x);
    // What arrived together with the head leaves together with it.
    let mut bytes = std::mem::take(&mut x.response_bytes);
    let (head, arrived) = bytes.split_at_mut(x.response.head_bytes as usize);
    let (payload, mut complete, mut excess) = match x.response.body {
        BodyLength::None => (0..0, true, !arrived.is_empty()),
        _ if arrived.is_empty() => (0..0, false, false),
        _ => {
            let part = body.read(arrived).map_err(Cause::of_response_body)?;
            (part.payload, part.done, part.consumed < arrived.len())
        }
    };
    x.bytes_out = payload.len() as u64;
    conn.stream.write(|out| {
        write_response_head(out, conn, x, Response::new(&x.response, head), framing, keeps);
        append(out, &arrived[payload], framing == BodyLength::Chunked, complete);
    });
    drop(bytes);
    x.status = x.response.status;
    x.response_started = true;
    if !complete {
        excess = rest_of_response(conn, x, upstream, &lease, &mut body, framing).await?;
        complete = true;
    }
    x.phases.mark(Phase::Receive, worker.rt.now());

    let reusable = UpstreamUse {
        upstream_wants: x.response.keep_alive,
        request_sent: x.upload.done,
        response_read: complete,
        excess_bytes: excess || !lease.stream.is_quiet(),
        upgrade_asked: x.head.upgrade.is_some(),
    }
    .is_reusable();
    if excess {
        worker.stats.upstream_excess.add(1);
    }
    if reusable {
        lease.give_back(conn, upstream);
    } else {
        drop(lease);
    }
    finish_downstream(conn, x, keeps).await
}

/// The rest of a response body, one buffer after the other; tells whether more than the body arrived.
async fn rest_of_response(
    conn: &Connection,
    x: &mut Exchange,
    upstream: &Upstream,
    lease: &Lease,
    body: &mut BodyReader,
    framing: BodyLength,
) -> Result<bool, Fault> {
    let worker = &*conn.worker;
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut pace = Pace::of_response(&timeouts);
    let mut size = ReceiveSize::new(x.generation.limits.relay_buffer_bytes_max as usize);
    loop {
        flush_downstream(conn, &mut pace, 0, x.deadline).await?;
        conn.upstream_timer.set((worker.rt.now() + upstream.timeouts.body_idle).min(x.deadline));
        let receive = size.receive(conn, &lease.stream, body.remaining());
        let mut buf = match race(receive, &conn.upstream_timer).await {
            None if worker.rt.now() >= x.deadline => return Err(Cause::TotalTimeout.into()),
            None => return Err(Cause::UpstreamBodyTimeout.into()),
            Some(Err(_)) => return Err(Cause::UpstreamTruncated.into()),
            Some(Ok(buf)) => buf,
        };
        let received = buf.len();
        if received == 0 {
            body.on_eof().map_err(|_| Cause::UpstreamTruncated)?;
            emit(&conn.stream, buf, 0..0, framing, true);
            return Ok(false);
        }
        size.learn(received);
        let part = body.read(&mut buf).map_err(Cause::of_response_body)?;
        x.bytes_out += part.payload.len() as u64;
        let excess = part.consumed < received;
        emit(&conn.stream, buf, part.payload, framing, part.done);
        if part.done {
            return Ok(excess);
        }
    }
}

/// Waits until the client has taken all but `max_pending` bytes.
pub(crate) async fn flush_downstream(
    conn: &Connection,
    pace: &mut Pace,
    max_pending: usize,
    deadline: Instant,
) -> Result<(), Fault> {
    let flushed = pace::flush(&conn.worker, &conn.stream, &conn.timer, pace, max_pending, deadline).await;
    flushed.map_err(|fault| {
        Fault(match fault {
            SendFault::Slow => Cause::ClientSlow,
            SendFault::Gone => Cause::ClientGone,
            SendFault::Deadline => Cause::TotalTimeout,
        })
    })
}

/// Hands the end of the response to the client and settles what is left of its request.
pub(crate) async fn finish_downstream(
    conn: &Connection,
    x: &mut Exchange,
    keeps: bool,
) -> Result<Next, Fault> {
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut pace = Pace::of_response(&timeouts);
    flush_downstream(conn, &mut pace, 0, x.deadline).await?;
    x.phases.mark(Phase::Deliver, conn.worker.rt.now());
    if x.upload.done {
        return Ok(if keeps {
            Next::Keep
        } else if conn.stream.is_quiet() {
            Next::Close(close_cause(conn, x))
        } else {
            // Unread bytes: closing now would reset the connection and destroy what the client has not read yet.
            Next::Linger(close_cause(conn, x))
        });
    }
    if keeps && Box::pin(drain_request_body(conn, x)).await {
        return Ok(Next::Keep);
    }
    Ok(Next::Linger(close_cause(conn, x)))
}

fn close_cause(conn: &Connection, x: &Exchange) -> Cause {
    if conn.worker.drain.is_draining() {
        Cause::Stopping
    } else if conn.requests >= x.generation.limits.requests_per_connection_max {
        Cause::RequestsMax
    } else {
        Cause::ConnectionClose
    }
}

/// What to do with the part of the request body that nobody has read.
pub(crate) fn rest_of_request_body(x: &Exchange) -> machine::RestOfBody {
    let expectation = machine::Expectation::new(!x.upload.continued);
    let remaining = x.upload.reader.remaining();
    machine::rest_of_body(x.upload.done, remaining, expectation, x.generation.limits.drain_bytes_max)
}

/// Reads the rest of the request body and throws it away; false when that is not possible within the bounds.
async fn drain_request_body(conn: &Connection, x: &mut Exchange) -> bool {
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut left = u64::from(x.generation.limits.drain_bytes_max);
    conn.timer.set(conn.worker.rt.now() + timeouts.linger);
    while !x.upload.done {
        let Some(Ok(mut buf)) = race(conn.stream.recv(), &conn.timer).await else { return false };
        let received = buf.len();
        let Ok(part) = x.upload.reader.read(&mut buf) else { return false };
        let payload = part.payload.len() as u64;
        if received == 0 || payload > left {
            return false;
        }
        left -= payload;
        x.upload.bytes += payload;
        x.upload.done = part.done;
        if part.consumed < received {
            buf.consume(part.consumed);
            conn.stream.unread(buf);
        }
    }
    true
}

/// Runs the response side of the route's filters.
fn prepare_response_edits(x: &mut Exchange) {
    let Some(route) = x.route else { return };
    let generation = std::rc::Rc::clone(&x.generation);
    let chain = &generation.route(route).chain;
    if !chain.is_empty() {
        filter::on_response(chain, x.response.status, &mut x.response_edits);
    }
}

/// Writes the head of the upstream's response as the client gets it.
fn write_response_head(
    out: &mut Vec<u8>,
    conn: &Connection,
    x: &Exchange,
    response: Response<'_>,
    framing: BodyLength,
    keeps: bool,
) {
    let edits = &x.response_edits;
    encode::status_line(out, response.head.status, response.reason());
    let mut has_date = false;
    encode::kept_fields(out, response.bytes, &response.head.fields, |field| {
        has_date |= field.known == Known::Date;
        edits.is_empty() || edits.keeps(field.name.of(response.bytes))
    });
    for (name, value) in edits.additions() {
        encode::field(out, name, value);
    }
    if !has_date {
        let now = conn.worker.rt.wall_nanos();
        conn.worker.date.with(now, |date| encode::field(out, b"Date", date.as_bytes()));
    }
    let answers_head = x.head.method == Method::Head;
    encode::response_framing(out, response.head.status, answers_head, framing, response.head.content_length);
    write_connection_fields(out, x.head.version, keeps);
    encode::end(out);
}
