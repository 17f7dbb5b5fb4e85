//! The request body: client → endpoint.

use super::trailers::Trailers;
use super::{ReceiveSize, append, emit, known_rest, piped};
use crate::channel::Channel;
use crate::downstream::Client;
use crate::exchange::Upload;
use crate::grpc::Call;
use crate::pace::{Pace, Wait};
use crate::serve::Fault;
use crate::upstream::h1::flush as flush_upstream;
use crate::upstream::lease::Lease;
use base::Instant;
use runtime::{Buf, Refusal, race};
use std::io;
use std::time::Duration;
use traffic::Cause;
use traffic::filter::FieldEdits;
use traffic::snapshot::{Route, Snapshot, Upstream};
use wire::grpc_web::Decoder;
use wire::h1::{BodyPart, encode};
use wire::http::BodyLength;

/// Bounds of one upload.
pub(crate) struct UploadLimits<'x> {
    pub(super) body_bytes_max: u64,
    replay_bytes_max: usize,
    buffer_bytes_max: usize,
    /// Bytes and fields of trailers over HTTP/2. Over HTTP/1.1 the reader of the body knows them.
    trailers_max: (u32, u16),
    downstream: traffic::snapshot::DownstreamTimeouts,
    pub(crate) upstream_idle: Duration,
    /// When the attempt must have its response head.
    pub(crate) deadline: Instant,
    /// When the whole exchange must be over.
    total: Instant,
    /// What the route changes of the request's fields.
    edits: &'x FieldEdits,
    /// The client sends when it has something to say, as slowly as it likes.
    is_stream: bool,
}

impl<'x> UploadLimits<'x> {
    pub(crate) fn new(
        conn: &Client,
        generation: &Snapshot,
        route: &Route,
        upstream: &Upstream,
        (deadline, total): (Instant, Instant),
        call: Call,
        edits: &'x FieldEdits,
    ) -> UploadLimits<'x> {
        let listener = conn.listener(generation);
        UploadLimits {
            body_bytes_max: route.body_bytes_max,
            replay_bytes_max: generation.limits.replay_bytes_max as usize,
            buffer_bytes_max: generation.limits.relay_buffer_bytes_max as usize,
            trailers_max: (listener.http.header_bytes_max, listener.http.header_fields_max),
            downstream: listener.timeouts,
            upstream_idle: call.silence(&listener.timeouts, upstream.timeouts.body_idle),
            deadline,
            total,
            edits,
            is_stream: call.is_stream(),
        }
    }

    fn pace(&self) -> Pace {
        if self.is_stream { Pace::of_stream(&self.downstream) } else { Pace::of_body(&self.downstream) }
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
    conn: &Client,
    upload: &mut Upload,
    framing: BodyLength,
    lease: &Lease,
    limits: &UploadLimits<'_>,
) -> Result<(), UploadFault> {
    let to = &lease.stream;
    if !upload.replay.payload.is_empty() || upload.done {
        let chunked = framing == BodyLength::Chunked;
        let trailing = can_trail(to, framing) && !upload.trailers.is_empty();
        let ends = upload.done && !trailing;
        match to.as_http2() {
            Some(stream) => stream.queue(&upload.replay.payload, ends),
            None => to.write(|out| append(out, &upload.replay.payload, chunked, ends)),
        }
        if trailing {
            end_with(to, &upload.trailers);
        }
        upload.queued = upload.done;
        flush_upstream(conn, lease, limits).await?;
    }
    let mut pace = limits.pace();
    let mut size = ReceiveSize::new(limits.buffer_bytes_max);
    let mut may_splice =
        matches!(framing, BodyLength::Length(_)) && conn.stream.can_splice() && to.is_plain();
    while !upload.done {
        if !upload.continued {
            upload.continued = true;
            conn.stream.inform(|out| {
                encode::status_line(out, 100, b"");
                encode::end(out);
            });
        }
        // What may have to be sent again must be seen.
        if may_splice && upload.replay.lost && piped::is_worthwhile(&upload.reader, upload.bytes) {
            match Box::pin(piped::upload(conn, upload, lease, limits, &mut pace)).await? {
                Ok(()) => return Ok(()),
                Err(Refusal::Received) => {}
                Err(refusal) => {
                    piped::count(&conn.worker.stats, refusal);
                    may_splice = false;
                }
            }
        }
        let remaining = known_rest(framing, &upload.reader);
        let receive = || conn.stream.recv_sized(&size, &conn.worker.rt, remaining);
        let mut buf = paced(conn, &mut pace, limits, receive, |buf| buf.len() as u64).await?;
        let received = buf.len();
        let part = if received == 0 {
            // In HTTP/2 the end of the stream ends the body; in HTTP/1.1 it is only the end of the client.
            upload.reader.on_eof().map_err(|_| Cause::ClientGone)?;
            BodyPart { consumed: 0, payload: 0..0, done: true }
        } else {
            size.learn(received);
            upload.reader.read(&mut buf).map_err(Cause::of_request_body)?
        };
        upload.bytes += part.payload.len() as u64;
        conn.worker.stats.copied_bytes.add(part.payload.len() as u64);
        upload.done = part.done;
        if part.done {
            upload.trailers = trailers_of(conn, upload, limits)?;
        }
        if upload.bytes > limits.body_bytes_max {
            return Err(Cause::BodyTooLarge.into());
        }
        if part.consumed < received {
            // The next request begins in this buffer; it is copied, for the body's part goes on as it is.
            conn.stream.unread(Buf::from_vec(buf[part.consumed..].to_vec()));
        }
        let mut payload = part.payload;
        if let Some(decoder) = &mut upload.text {
            let bytes = decoded(decoder, &buf[payload], part.done)?;
            (payload, buf) = (0..bytes.len(), Buf::from_vec(bytes));
        }
        upload.replay.keep(&buf[payload.clone()], limits.replay_bytes_max);
        conn.worker.overload.crowd.holds(conn.place, upload.replay.payload.capacity() as u64);
        let trailing = can_trail(to, framing) && !upload.trailers.is_empty();
        emit(to, buf, payload, framing, part.done && !trailing);
        if trailing {
            end_with(to, &upload.trailers);
        }
        upload.queued = part.done;
        flush_upstream(conn, lease, limits).await?;
    }
    Ok(())
}

/// The bytes of a body in base64; `done`: `text` is its end.
fn decoded(decoder: &mut Decoder, text: &[u8], done: bool) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    let read = decoder.read(text, &mut bytes);
    if read.is_err() || (done && !decoder.is_complete()) {
        return Err(Cause::BadBase64);
    }
    Ok(bytes)
}

/// Whether a request body that is framed so has room for trailers.
fn can_trail(to: &Channel, framing: BodyLength) -> bool {
    framing == BodyLength::Chunked || to.as_http2().is_some()
}

fn end_with(to: &Channel, trailers: &Trailers) {
    match to.as_http2() {
        Some(stream) => stream.end_with(trailers.text()),
        None => to.write(|out| trailers.write_last_chunk(out)),
    }
}

/// What follows a body that has been read to its end.
fn trailers_of(conn: &Client, upload: &mut Upload, limits: &UploadLimits<'_>) -> Result<Trailers, Cause> {
    let mut trailers = Trailers::read(upload.reader.take_trailers());
    if trailers.is_empty() {
        let (bytes_max, fields_max) = limits.trailers_max;
        trailers = conn.stream.take_trailers(bytes_max, fields_max).map_err(Cause::of_request_body)?;
    }
    Ok(trailers.edited(limits.edits))
}

/// Why nothing more comes from the client.
fn client_fault(error: &io::Error) -> Cause {
    if error.kind() == io::ErrorKind::InvalidData { Cause::Http2Stream } else { Cause::ClientGone }
}

/// What `receive` brings from the client, which must keep its pace; `len` tells how much it was.
pub(super) async fn paced<T, F: Future<Output = io::Result<T>>>(
    conn: &Client,
    pace: &mut Pace,
    limits: &UploadLimits<'_>,
    receive: impl Fn() -> F,
    len: impl Fn(&T) -> u64,
) -> Result<T, UploadFault> {
    let deadline = limits.deadline;
    let rt = &conn.worker.rt;
    let began = rt.now();
    let mut quiet = Duration::ZERO;
    loop {
        let wait = Wait::begin(rt);
        conn.timer.set((wait.began() + pace.patience()).min(deadline));
        let received = race(conn.unless_shed(receive()), &conn.timer).await;
        let now = rt.now();
        match received.transpose()? {
            Some(Err(error)) => return Err(client_fault(&error).into()),
            Some(Ok(received)) => {
                // What was there at once costs no patience, however little it was.
                if now > began {
                    pace.waited(wait.spent(rt), len(&received)).map_err(|_| Cause::BodyTimeout)?;
                }
                return Ok(received);
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
