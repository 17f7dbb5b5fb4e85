//! The response: endpoint → client, and what becomes of both connections after it.

use super::coded::{self, Coder};
use super::trailers::{self, Trailers};
use super::{ReceiveSize, known_rest, piped};
use crate::downstream::{Client, ClientWatch};
use crate::exchange::{Exchange, HeadBytes};
use crate::grpc;
use crate::pace::{self, Pace, SendFault};
use crate::respond::write_connection_fields;
use crate::serve::{Fault, Next};
use crate::session;
use crate::stored;
use crate::tunnel;
use crate::upstream::admission::Load;
use crate::upstream::lease::Lease;
use base::Instant;
use runtime::{Buf, IdleState, Piped, Refusal, race};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use traffic::snapshot::Upstream;
use traffic::{Cause, Phase, filter};
use wire::h1::machine::{self, Persistence, UpstreamUse};
use wire::h1::{BodyReader, encode};
use wire::http::{BodyLength, Known, Method, Response};

/// Relays the response whose head is in `x` and decides what becomes of both connections.
pub(crate) async fn response(
    conn: &Client,
    x: &mut Exchange,
    upstream: &Upstream,
    load: Load<'_>,
    lease: Lease,
) -> Result<Next, Fault> {
    let worker = &*conn.worker;
    if x.response.status == 101 {
        if !machine::upgrade_accepted(x.request(), x.response()) {
            return Err(Cause::UpstreamMalformed.into());
        }
        return Ok(Box::pin(tunnel::run(conn, x, lease)).await);
    }
    grpc::note_head(x);
    prepare_response_edits(x);
    let mut bytes = std::mem::take(&mut x.response_bytes);
    let mut coder = begin_coding(conn, x, &mut bytes);
    let framing = match x.call.dressed() {
        // Nobody knows how long it will be, nor when its trailers come.
        Some(_) if x.response.body != BodyLength::None => BodyLength::Chunked,
        _ if coder.is_some() => BodyLength::Chunked,
        _ => x.response.body,
    };
    let framing = machine::downstream_framing(framing, x.head.version);
    settle_request_body(conn, x).await;
    let keeps = keeps(conn, x, framing != BodyLength::UntilClose);

    let mut body = BodyReader::for_response(x.response.body, &upstream.http);
    // What arrived together with the head leaves together with it.
    let (head, arrived) = bytes.split_at_mut(x.response.head_bytes as usize);
    let (payload, mut complete, mut excess) = match x.response.body {
        BodyLength::None => (0..0, true, !arrived.is_empty()),
        _ if arrived.is_empty() => (0..0, false, false),
        _ => {
            let part = body.read(arrived).map_err(Cause::of_response_body)?;
            (part.payload, part.done, part.consumed < arrived.len())
        }
    };
    let payload = &arrived[payload];
    if let Some(stored) = &mut x.stored {
        stored.take(payload);
    }
    let mut coded = Vec::new();
    let payload = match &mut coder {
        None => {
            x.bytes_out = payload.len() as u64;
            payload
        }
        Some(coder) => {
            coded = coder.code(payload, complete)?;
            coded::count(conn, x, payload.len(), coded.len());
            &coded
        }
    };
    let trailers =
        if complete { trailers_for(conn, x, framing, &mut body, upstream, &lease)? } else { Trailers::NONE };
    let is_event_stream = !complete && names_event_stream(Response::new(&x.response, head));
    let (dressed, trailers) = dressed(x, payload, trailers);
    let payload = dressed.as_deref().unwrap_or(payload);
    conn.stream.start(framing, payload, complete && trailers.is_empty(), |out| {
        write_response_head(out, conn, x, Response::new(&x.response, head), framing, keeps);
    });
    if !trailers.is_empty() {
        conn.stream.end_with(&trailers);
    }
    drop((bytes, coded));
    x.status = x.response.status;
    x.response_started = true;
    let (mut tail, mut ended) = (None, false);
    if !complete {
        x.call.has_events = is_event_stream;
        let rest = match &mut coder {
            None => rest_of_response(conn, x, upstream, &lease, &mut body, framing).await?,
            Some(coder) => {
                let rest = coded::rest_of_response(conn, x, upstream, &lease, &mut body, framing, coder);
                Box::pin(rest).await?
            }
        };
        excess = rest.behind == IdleState::Disturbed;
        ended = matches!(rest.behind, IdleState::Ended { .. });
        (tail, complete) = (rest.tail, true);
    }
    drop(coder);
    if x.stored.is_some() {
        stored::complete(x);
    }
    x.phases.mark(Phase::Receive, worker.rt.now());

    let reusable = UpstreamUse {
        upstream_wants: x.response.keep_alive,
        request_sent: x.upload.queued,
        response_read: complete,
        excess_bytes: excess || ended || !lease.stream.is_quiet(),
        upgrade_asked: x.head.upgrade.is_some(),
    }
    .is_reusable();
    if excess {
        worker.stats.upstream_excess.add(1);
    }
    if reusable {
        lease.give_back(conn, upstream, x.response.idle_timeout);
    } else {
        drop(lease);
    }
    // The endpoint is done with it, however long the client takes.
    drop(load);
    if let Some(tail) = tail {
        Box::pin(piped::deliver_tail(conn, x, tail)).await?;
    }
    finish_downstream(conn, x, keeps).await
}

/// The compressor of the response, if its route has any use for one.
fn begin_coding(conn: &Client, x: &mut Exchange, bytes: &mut HeadBytes) -> Option<Box<Coder>> {
    if x.call.dressed().is_some() {
        return None;
    }
    let generation = Rc::clone(&x.generation);
    let rules = generation.route(x.route?).compression.as_deref()?;
    let (head, _) = bytes.split_at_mut(x.response.head_bytes as usize);
    coded::begin(conn, x, rules, head)
}

/// Returns the connection of a response that nobody reads, if it has no body: then it can carry another request.
pub(crate) fn give_back_unread(conn: &Client, x: &Exchange, upstream: &Upstream, lease: Lease) {
    let behind = x.response_bytes.as_slice().len() > x.response.head_bytes as usize;
    let reusable = UpstreamUse {
        upstream_wants: x.response.keep_alive,
        request_sent: x.upload.queued,
        response_read: x.response.body == BodyLength::None,
        excess_bytes: behind || !lease.stream.is_quiet(),
        upgrade_asked: x.head.upgrade.is_some(),
    }
    .is_reusable();
    if reusable {
        lease.give_back(conn, upstream, x.response.idle_timeout);
    }
}

/// What is known when the endpoint has sent the last byte of a body.
pub(super) struct Rest {
    /// What was seen behind the body.
    pub(super) behind: IdleState,
    /// The end of the body, which the client has not got yet.
    pub(super) tail: Option<Piped>,
}

/// The rest of a response body, one buffer or one filled pipe after the other.
async fn rest_of_response(
    conn: &Client,
    x: &mut Exchange,
    upstream: &Upstream,
    lease: &Lease,
    body: &mut BodyReader,
    framing: BodyLength,
) -> Result<Rest, Fault> {
    let worker = &*conn.worker;
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut pace = Pace::of_response(&timeouts);
    let mut size =
        ReceiveSize::new(conn.stream.piece_max(x.generation.limits.relay_buffer_bytes_max as usize));
    // While the client may still be sending its request body, its end shows when that is read.
    let mut watch = if x.upload.done { ClientWatch::of(x) } else { ClientWatch::NONE };
    let mut may_splice = framing == x.response.body
        && x.call.dressed().is_none()
        && conn.stream.can_splice()
        && lease.stream.is_plain();
    may_splice &= x.stored.as_ref().is_none_or(|stored| !stored.is_filling());
    loop {
        flush_downstream(conn, &mut pace, x.deadline).await?;
        if may_splice && piped::is_worthwhile(body, x.bytes_out) {
            let relay = piped::relay(conn, x, upstream, lease, body, &mut pace, &mut watch);
            match Box::pin(relay).await? {
                Ok(rest) => return Ok(rest),
                // One ordinary receive takes what is in the way.
                Err(Refusal::Received) => {}
                Err(refusal) => {
                    piped::count(&worker.stats, refusal);
                    may_splice = false;
                }
            }
        }
        let receive = size.receive(&worker.rt, &lease.stream, known_rest(x.response.body, body));
        let mut buf = in_time(conn, x, upstream, &mut watch, receive).await?;
        let received = buf.len();
        if received == 0 {
            body.on_eof().map_err(|_| Cause::UpstreamTruncated)?;
            let trailers = trailers_for(conn, x, framing, body, upstream, lease)?;
            let (dressed, trailers) = dressed(x, &[], trailers);
            let buf = dressed.map_or(buf, Buf::from_vec);
            let payload = 0..buf.len();
            conn.stream.emit(buf, payload, framing, trailers.is_empty());
            if !trailers.is_empty() {
                conn.stream.end_with(&trailers);
            }
            return Ok(Rest { behind: IdleState::Quiet, tail: None });
        }
        size.learn(received);
        let part = body.read(&mut buf).map_err(Cause::of_response_body)?;
        x.bytes_out += part.payload.len() as u64;
        worker.stats.copied_bytes.add(part.payload.len() as u64);
        if let Some(stored) = &mut x.stored {
            stored.take(&buf[part.payload.clone()]);
        }
        let excess = part.consumed < received;
        let trailers =
            if part.done { trailers_for(conn, x, framing, body, upstream, lease)? } else { Trailers::NONE };
        let (dressed, trailers) = dressed(x, &buf[part.payload.clone()], trailers);
        let (buf, payload) = match dressed {
            Some(bytes) => (Buf::from_vec(bytes), None),
            None => (buf, Some(part.payload)),
        };
        let payload = payload.unwrap_or(0..buf.len());
        conn.stream.emit(buf, payload, framing, part.done && trailers.is_empty());
        if part.done {
            if !trailers.is_empty() {
                conn.stream.end_with(&trailers);
            }
            let behind = if excess { IdleState::Disturbed } else { IdleState::Quiet };
            return Ok(Rest { behind, tail: None });
        }
    }
}

/// What a browser gets instead of `payload` and `trailers`, and the trailers that are left.
fn dressed(x: &Exchange, payload: &[u8], trailers: Trailers) -> (Option<Vec<u8>>, Trailers) {
    match x.call.dressed() {
        None => (None, trailers),
        Some(encoding) => (Some(grpc::dress(encoding, payload, trailers.text())), Trailers::NONE),
    }
}

/// The trailers of a complete body, if the client gets them.
pub(super) fn trailers_for(
    conn: &Client,
    x: &mut Exchange,
    framing: BodyLength,
    body: &mut BodyReader,
    upstream: &Upstream,
    lease: &Lease,
) -> Result<Trailers, Cause> {
    let trailers = match lease.stream.as_http2() {
        None => Trailers::read(body.take_trailers()),
        Some(stream) => {
            let limits = &upstream.http;
            let text = stream.take_trailers();
            Trailers::of_stream(&text, limits.header_bytes_max, limits.header_fields_max)
                .map_err(Cause::of_response_body)?
        }
    };
    grpc::note_trailers(x, trailers.text());
    let takes = x.call.dressed().is_some() || trailers::are_taken(x, &conn.stream, framing);
    if trailers.is_empty() || !takes {
        return Ok(Trailers::NONE);
    }
    Ok(trailers.edited(&x.response_edits))
}

/// What `receive` brings from the endpoint, if it comes in time and while the client is there.
pub(super) async fn in_time<T>(
    conn: &Client,
    x: &Exchange,
    upstream: &Upstream,
    watch: &mut ClientWatch,
    receive: impl Future<Output = io::Result<T>>,
) -> Result<T, Fault> {
    let rt = &conn.worker.rt;
    let silence = x.call.silence(&conn.listener(&x.generation).timeouts, upstream.timeouts.body_idle);
    conn.upstream_timer.set((rt.now() + silence).min(x.deadline));
    let present = conn.while_present(watch, receive);
    match race(present, &conn.upstream_timer).await {
        Some(None) => Err(Cause::ClientGone.into()),
        None if rt.now() >= x.deadline => Err(Cause::TotalTimeout.into()),
        None => Err(Cause::UpstreamBodyTimeout.into()),
        Some(Some(Err(_))) => Err(Cause::UpstreamTruncated.into()),
        Some(Some(Ok(received))) => Ok(received),
    }
}

/// Waits until the client has taken everything.
pub(crate) async fn flush_downstream(conn: &Client, pace: &mut Pace, deadline: Instant) -> Result<(), Fault> {
    pace::flush(&conn.worker, (&conn.stream, conn.place), &conn.timer, pace, deadline)
        .await
        .map_err(Fault::from)
}

impl From<SendFault> for Fault {
    fn from(fault: SendFault) -> Fault {
        Fault(match fault {
            SendFault::Slow => Cause::ClientSlow,
            SendFault::Gone => Cause::ClientGone,
            SendFault::Deadline => Cause::TotalTimeout,
            SendFault::Shed => Cause::Shed,
        })
    }
}

/// Hands the end of the response to the client and settles what is left of its request.
pub(crate) async fn finish_downstream(conn: &Client, x: &mut Exchange, keeps: bool) -> Result<Next, Fault> {
    let timeouts = conn.listener(&x.generation).timeouts;
    let mut pace = Pace::of_response(&timeouts);
    flush_downstream(conn, &mut pace, x.deadline).await?;
    x.phases.mark(Phase::Deliver, conn.worker.rt.now());
    if conn.stream.is_multiplexed() {
        // What is left of the request ends with its stream, and nothing else of the connection is touched.
        return Ok(Next::Keep);
    }
    if x.upload.done {
        return Ok(if keeps {
            Next::Keep
        } else if !x.head.keep_alive && conn.stream.is_quiet() {
            Next::Close(close_cause(conn, x))
        } else {
            // There are unread bytes, or more may come from a client that does not expect the end: closing now would
            // reset the connection and destroy what the client has not read yet (RFC 9112 §9.6).
            Next::Linger(close_cause(conn, x))
        });
    }
    if keeps && Box::pin(drain_request_body(conn, x, timeouts.linger)).await {
        return Ok(Next::Keep);
    }
    Ok(Next::Linger(close_cause(conn, x)))
}

fn close_cause(conn: &Client, x: &Exchange) -> Cause {
    if conn.worker.drain.is_draining() {
        Cause::Stopping
    } else if conn.worker.is_ending(conn.listener) {
        Cause::ListenerClosed
    } else if conn.worker.overload.closes_connections() {
        conn.worker.stats.shed.not_kept.add(1);
        Cause::Shed
    } else if conn.requests >= conn.listener(&x.generation).requests_max {
        Cause::RequestsMax
    } else {
        Cause::ConnectionClose
    }
}

/// Whether the client's connection is kept after this response; `delimited` says that the response tells its own end.
pub(crate) fn keeps(conn: &Client, x: &Exchange, delimited: bool) -> bool {
    Persistence {
        client_wants: x.head.keep_alive,
        body_settled: rest_of_request_body(x) != machine::RestOfBody::Close,
        response_delimited: delimited,
        draining: conn.worker.is_ending(conn.listener) || conn.worker.overload.closes_connections(),
        requests: conn.requests,
        requests_max: conn.listener(&x.generation).requests_max,
    }
    .keeps()
}

/// What to do with the part of the request body that nobody has read.
fn rest_of_request_body(x: &Exchange) -> machine::RestOfBody {
    let expectation = machine::Expectation::new(!x.upload.continued);
    let remaining = known_rest(x.head.body, &x.upload.reader);
    machine::rest_of_body(x.upload.done, remaining, expectation, x.generation.limits.drain_bytes_max)
}

/// Takes what has already arrived of a request body that is not wanted any more, before the response says whether the
/// connection is kept: a short chunked body, whose end nobody knows before it is read, shall not cost the connection.
pub(crate) async fn settle_request_body(conn: &Client, x: &mut Exchange) {
    let unread = !x.upload.done && x.upload.continued && !conn.stream.is_multiplexed();
    if unread && x.head.keep_alive && known_rest(x.head.body, &x.upload.reader).is_none() {
        Box::pin(drain_request_body(conn, x, Duration::ZERO)).await;
    }
}

/// Reads the rest of the request body and throws it away; false when that is not possible within the bounds. With a
/// `patience` of zero only what is there is taken.
async fn drain_request_body(conn: &Client, x: &mut Exchange, patience: Duration) -> bool {
    let mut left = u64::from(x.generation.limits.drain_bytes_max);
    conn.timer.set(conn.worker.rt.now() + patience);
    while !x.upload.done {
        let received = if patience.is_zero() {
            poll_fn(|cx| Poll::Ready(ready(conn.stream.poll_recv(cx)))).await
        } else {
            race(conn.stream.recv(), &conn.timer).await
        };
        let Some(Ok(mut buf)) = received else { return false };
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

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Whether the body is one of server-sent events (HTML §9.2), whose sender is silent while nothing happens.
fn names_event_stream(response: Response<'_>) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let Some(value) = response.known(Known::ContentType) else { return false };
    let end = value.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(value.len());
    value[..end].eq_ignore_ascii_case(EVENTS)
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
    conn: &Client,
    x: &Exchange,
    response: Response<'_>,
    framing: BodyLength,
    keeps: bool,
) {
    let (edits, dressed) = (&x.response_edits, x.call.dressed());
    encode::status_line(out, response.head.status, response.reason());
    let mut has_date = false;
    encode::kept_fields(out, response.bytes, &response.head.fields, |field| {
        has_date |= field.known == Known::Date;
        !(dressed.is_some() && field.known == Known::ContentType)
            && (edits.is_empty() || edits.keeps(field.name.of(response.bytes)))
    });
    if let Some(encoding) = dressed {
        grpc::write_dressed_type(out, encoding, response);
    }
    for (name, value) in edits.additions() {
        encode::field(out, name, value);
    }
    session::write_set_cookie(out, conn, x);
    if let Some(stored) = &x.stored {
        stored.write_status(out, response.head.status);
    }
    if !has_date {
        let now = conn.worker.rt.wall_nanos();
        conn.worker.date.with(now, |date| encode::field(out, b"Date", date.as_bytes()));
    }
    if trailers::are_taken(x, &conn.stream, framing) {
        trailers::announce(out, response.bytes, &response.head.fields, |name| edits.keeps(name));
    }
    let answers_head = x.head.method == Method::Head;
    encode::response_framing(out, response.head.status, answers_head, framing, response.head.content_length);
    write_connection_fields(out, x.head.version, keeps);
    encode::end(out);
}
