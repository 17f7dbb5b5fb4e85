//! Responses that are compressed on their way to the client.
//!
//! ```text
//!   endpoint ─receive, at most 32 KiB─▶ compressor ─what comes out─▶ client
//!                       │ nothing for 10 ms, or a stream of events
//!                       ▼
//!                     flush: the client can read all that has arrived
//! ```
//!
//! A compressor takes memory by the megabyte, so a worker lends only so many; without one the response goes as it is. One
//! piece is coded in one turn, however fast the endpoint is: the other connections of the worker come in between.

use super::response::{Rest, flush_downstream, in_time, trailers_for};
use super::trailers::Trailers;
use super::{ReceiveSize, known_rest};
use crate::downstream::{Client, ClientWatch};
use crate::exchange::{Coded, Exchange};
use crate::pace::Pace;
use crate::serve::Fault;
use crate::upstream::lease::Lease;
use compress::{Borrowed, Effort};
use runtime::{Buf, IdleState, race};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use traffic::Cause;
use traffic::compression::{self, Compression, Kept};
use traffic::overload::Level;
use traffic::snapshot::Upstream;
use wire::h1::BodyReader;
use wire::http::{BodyLength, Coding, Method, Response};

/// Payload that is coded in one go.
const PIECE_MAX: usize = 32 << 10;
/// For how long the endpoint must be silent before the client gets what has arrived. Flushing costs bytes: a body that
/// comes in a steady stream of packets is not cut into as many pieces.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

/// The compressor of one body.
pub(super) struct Coder {
    compressor: Borrowed,
    /// Nothing is held back: pieces are worth something when they arrive.
    is_urgent: bool,
}

/// Decides whether the response in `x` is compressed, and changes what its head will say accordingly. `head` are its bytes.
/// `None`: the body goes as it is, or there is none.
pub(super) fn begin(conn: &Client, x: &mut Exchange, rules: &Compression, head: &[u8]) -> Option<Box<Coder>> {
    let worker = &*conn.worker;
    let stats = &worker.stats.compression;
    let response = Response::new(&x.response, head);
    let request = wire::http::Request::new(&x.head, x.head_bytes.as_slice());
    let chosen = rules.choose(request, response);
    let is_urgent = compression::is_stream_of_events(response);
    let answers_head = x.head.method == Method::Head;
    let lent = match chosen {
        Ok(coding) if answers_head => Ok((coding, None)),
        Ok(coding) => borrow(conn, x, rules, coding).map(|compressor| (coding, Some(compressor))),
        Err(why) => Err(why),
    };
    let chosen = lent.as_ref().map(|(coding, _)| *coding).map_err(|why| *why);
    compression::edit(chosen, request, response, &mut x.response_edits);
    match lent {
        Err(why) => {
            stats.keep(why);
            None
        }
        // As the head of a GET, whose length nobody knows (RFC 9110 §8.6).
        Ok((_, None)) => {
            x.response.content_length = None;
            None
        }
        Ok((coding, Some(compressor))) => {
            stats.of(coding).responses.add(1);
            x.coded = Coded { coding: Some(coding), bytes: 0 };
            Some(Box::new(Coder { compressor, is_urgent }))
        }
    }
}

fn borrow(conn: &Client, x: &Exchange, rules: &Compression, coding: Coding) -> Result<Borrowed, Kept> {
    let worker = &*conn.worker;
    let effort = match (worker.overload.level(), rules.effort) {
        (Level::Calm, traffic::compression::Effort::Small) => Effort::Small,
        (Level::Calm, traffic::compression::Effort::Balanced) => Effort::Balanced,
        (Level::Calm | Level::Shorten, _) => Effort::Fast,
        _ => return Err(Kept::Pressure),
    };
    let bytes_max = usize::try_from(x.generation.limits.compression_bytes_max).unwrap_or(usize::MAX);
    worker.compressors.borrow(coding, effort, bytes_max).ok_or(Kept::Memory)
}

impl Coder {
    /// Codes `payload`; `done` says that it is the last. What comes out is to be sent at once.
    pub(super) fn code(&mut self, payload: &[u8], done: bool) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        let compressor = &mut *self.compressor;
        let coded = compressor.push(payload, &mut out).and_then(|()| match (done, self.is_urgent) {
            (true, _) => compressor.finish(&mut out),
            (false, true) if compressor.holds() => compressor.flush(&mut out),
            _ => Ok(()),
        });
        coded.map(|()| out).map_err(|_| Cause::Internal.into())
    }

    fn flush(&mut self) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        self.compressor.flush(&mut out).map(|()| out).map_err(|_| Cause::Internal.into())
    }
}

/// Counts what `payload` bytes have become.
pub(super) fn count(conn: &Client, x: &mut Exchange, payload: usize, coded: usize) {
    let (payload, coded) = (payload as u64, coded as u64);
    x.coded.bytes += payload;
    x.bytes_out += coded;
    if let Some(coding) = x.coded.coding {
        let stats = conn.worker.stats.compression.of(coding);
        stats.bytes_in.add(payload);
        stats.bytes_out.add(coded);
    }
}

/// The rest of the body, piece by piece.
pub(super) async fn rest_of_response(
    conn: &Client,
    x: &mut Exchange,
    upstream: &Upstream,
    lease: &Lease,
    body: &mut BodyReader,
    framing: BodyLength,
    coder: &mut Coder,
) -> Result<Rest, Fault> {
    let worker = &*conn.worker;
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut pace = Pace::of_response(&timeouts);
    let mut size = ReceiveSize::new(conn.stream.piece_max(PIECE_MAX));
    let mut watch = if x.upload.done { ClientWatch::of(x) } else { ClientWatch::NONE };
    loop {
        flush_downstream(conn, &mut pace, x.deadline).await?;
        next_turn().await;
        let receive = || size.receive(&worker.rt, &lease.stream, known_rest(x.response.body, body));
        let received = if coder.compressor.holds() {
            shortly(conn, x, &mut watch, receive()).await?
        } else {
            Some(in_time(conn, x, upstream, &mut watch, receive()).await?)
        };
        let Some(mut buf) = received else {
            let out = coder.flush()?;
            count(conn, x, 0, out.len());
            emit(conn, out, framing, false);
            continue;
        };
        let received = buf.len();
        if received == 0 {
            body.on_eof().map_err(|_| Cause::UpstreamTruncated)?;
            let out = coder.code(&[], true)?;
            count(conn, x, 0, out.len());
            let trailers = trailers_for(conn, x, framing, body, upstream, lease)?;
            emit(conn, out, framing, trailers.is_empty());
            if !trailers.is_empty() {
                conn.stream.end_with(&trailers);
            }
            return Ok(Rest { behind: IdleState::Quiet, tail: None });
        }
        size.learn(received);
        let part = body.read(&mut buf).map_err(Cause::of_response_body)?;
        worker.stats.copied_bytes.add(part.payload.len() as u64);
        let payload = &buf[part.payload];
        // What is kept is what the endpoint sent; each client's copy is coded on its way.
        if let Some(stored) = &mut x.stored {
            stored.take(payload);
        }
        let out = coder.code(payload, part.done)?;
        count(conn, x, payload.len(), out.len());
        let trailers =
            if part.done { trailers_for(conn, x, framing, body, upstream, lease)? } else { Trailers::NONE };
        emit(conn, out, framing, part.done && trailers.is_empty());
        if part.done {
            if !trailers.is_empty() {
                conn.stream.end_with(&trailers);
            }
            let excess = part.consumed < received;
            let behind = if excess { IdleState::Disturbed } else { IdleState::Quiet };
            return Ok(Rest { behind, tail: None });
        }
    }
}

fn emit(conn: &Client, out: Vec<u8>, framing: BodyLength, done: bool) {
    let payload = 0..out.len();
    if done || !payload.is_empty() {
        conn.stream.emit(Buf::from_vec(out), payload, framing, done);
    }
}

/// What `receive` brings, if it comes before the client should have what there is; `None`: it does not.
async fn shortly(
    conn: &Client,
    x: &Exchange,
    watch: &mut ClientWatch,
    receive: impl Future<Output = io::Result<Buf>>,
) -> Result<Option<Buf>, Fault> {
    conn.upstream_timer.set((conn.worker.rt.now() + FLUSH_AFTER).min(x.deadline));
    let present = conn.while_present(watch, receive);
    match race(present, &conn.upstream_timer).await {
        Some(None) => Err(Cause::ClientGone.into()),
        Some(Some(Err(_))) => Err(Cause::UpstreamTruncated.into()),
        Some(Some(Ok(received))) => Ok(Some(received)),
        None => Ok(None),
    }
}

/// Lets the other tasks of the worker have their turn.
async fn next_turn() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
