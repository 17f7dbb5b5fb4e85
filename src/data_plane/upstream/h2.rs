//! HTTP/2 towards endpoints: connections that many requests share, and the streams on them.
//!
//! ```text
//!   attempt ─▶ obtain ─▶ lane with room ──────▶ stream ─▶ (as a connection of HTTP/1.1)
//!                  └───▶ none: connect, once for all who wait ─▶ task of the lane: frames in and out, pings, its end
//! ```
//!
//! A lane is one connection of one worker. It belongs to no request: its task ends it when it has been idle for as long as
//! a pooled connection may be, when the endpoint takes no more requests (GOAWAY) and the last one has ended, or when the
//! endpoint does not answer a ping. What a request sees is a [`EndpointStream`], which behaves like a connection of its
//! own: it takes the head as the text of HTTP/1.1, then payload, and returns the same.

use crate::channel::Channel;
use crate::downstream::{Client, ClientWatch};
use crate::exchange::Exchange;
use crate::upstream::lease;
use crate::upstream::link::Link;
use crate::worker::Worker;
use base::Instant;
use http2::{Failed, Options, RequestStream, Requester, Transport};
use runtime::{Buf, Timer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use traffic::Cause;
use traffic::health::EndpointCell;
use traffic::snapshot::{Endpoint, Upstream};

/// Requests on one connection at once, if the endpoint allows as many.
const STREAMS_MAX: u32 = 100;
/// Response bytes of one stream that may be on their way. A connection has room for all of its streams, so that a client
/// that reads slowly holds up nobody else's response.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// One response head, as RFC 9113 §6.5.2 counts it.
const HEAD_BYTES_MAX: u32 = 64 << 10;
/// Request bytes of one stream that are taken in before the connection has taken them.
const SEND_BUFFER: usize = 64 << 10;
/// Frames that wait for the socket; no more are made or read until it has taken some.
const OUTPUT_MAX: usize = 64 << 10;
/// Connections of one worker to one endpoint. Beyond them requests wait for a stream.
const LANES_MAX: usize = 16;
/// How often a connection is looked at. One from which nothing has come for as long is asked for a sign of life, and has
/// as long to give it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A connection that is older takes no more requests, so that a set of endpoints behind one address is used evenly.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// The connections of one worker that requests share.
#[derive(Default)]
pub(crate) struct Lanes {
    endpoints: RefCell<HashMap<Key, Rc<Ways>>>,
}

/// The endpoint's cell, which `Ways::cell` keeps from being another one's, and how connections are secured.
type Key = (usize, u64);

/// The connections to one endpoint.
struct Ways {
    cell: Arc<EndpointCell>,
    lanes: RefCell<Vec<Rc<Lane>>>,
    /// A request is connecting; the others wait for what comes of it.
    connecting: Cell<bool>,
    bell: crate::bell::Bell,
}

/// One connection.
struct Lane {
    /// `None` when it takes no more requests.
    requester: RefCell<Option<Requester>>,
    open: Cell<usize>,
    since: Instant,
    idle_since: Cell<Instant>,
}

impl Ways {
    /// The connection for the next request: of those with room the one with the fewest streams. When none has room and no
    /// other may be made, the one with the fewest of all: the request waits for its turn there.
    ///
    /// With `limits` there is one only: who needs a place for another connection would have to wait for it.
    fn choose(&self, now: Instant, limits: bool) -> Option<Rc<Lane>> {
        let mut lanes = self.lanes.borrow_mut();
        lanes.retain(|lane| lane.takes_requests(now));
        let least = lanes.iter().min_by_key(|lane| lane.open.get())?;
        let has_room = least.open.get() < least.streams_max();
        (has_room || limits || lanes.len() >= LANES_MAX).then(|| Rc::clone(least))
    }
}

impl Lane {
    fn takes_requests(&self, now: Instant) -> bool {
        now.since(self.since) < AGE_MAX && self.requester.borrow().as_ref().is_some_and(Requester::is_open)
    }

    fn streams_max(&self) -> usize {
        self.requester.borrow().as_ref().map_or(0, Requester::streams_max).min(STREAMS_MAX as usize)
    }
}

/// Takes the place of whoever connects; given up when dropped.
struct Connecting<'a>(&'a Ways);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.bell.ring();
    }
}

/// A stream to `endpoint`, on a connection that there is or on a new one, and whether it is new.
pub(crate) async fn obtain(
    conn: &Client,
    x: &Exchange,
    upstream: &Upstream,
    endpoint: &Endpoint,
    timer: &Timer,
    deadline: Instant,
) -> Result<(Link, bool), Cause> {
    let worker = &conn.worker;
    if x.head.upgrade.is_some() && conn.stream.is_multiplexed() {
        return Err(Cause::ConnectNotAllowed);
    }
    let ways = worker.lanes.of(endpoint);
    let mut seat = ways.bell.seat();
    let mut watch = ClientWatch::of(x);
    let until = (worker.rt.now() + upstream.timeouts.connect + upstream.timeouts.handshake).min(deadline);
    loop {
        if let Some(lane) = ways.choose(worker.rt.now(), upstream.admission.is_some()) {
            worker.stats.pool_hits.add(1);
            return Ok((stream(worker, endpoint, lane), false));
        }
        if !ways.connecting.get() {
            break;
        }
        timer.set(until);
        poll_fn(|cx| {
            seat.take(cx.waker());
            if !ways.connecting.get() {
                return Poll::Ready(Ok(()));
            }
            if conn.poll_gone(&mut watch, cx).is_ready() {
                return Poll::Ready(Err(Cause::ClientGone));
            }
            timer.poll_expired(cx).map(|()| {
                Err(if worker.rt.now() >= x.deadline { Cause::TotalTimeout } else { Cause::ConnectTimeout })
            })
        })
        .await?;
    }
    ways.connecting.set(true);
    let place = Connecting(&ways);
    worker.stats.pool_misses.add(1);
    let patience = upstream.timeouts.connect;
    let link = lease::connect(conn, x, upstream, endpoint, timer, patience, deadline).await?;
    let lane = open(worker, link, &ways, upstream).await?;
    drop(place);
    Ok((stream(worker, endpoint, lane), true))
}

impl Lanes {
    fn of(&self, endpoint: &Endpoint) -> Rc<Ways> {
        let mut endpoints = self.endpoints.borrow_mut();
        let key = (Arc::as_ptr(&endpoint.cell).addr(), endpoint.identity());
        let new = || {
            Rc::new(Ways {
                cell: Arc::clone(&endpoint.cell),
                lanes: RefCell::default(),
                connecting: Cell::new(false),
                bell: crate::bell::Bell::default(),
            })
        };
        Rc::clone(endpoints.entry(key).or_insert_with(new))
    }

    /// Forgets endpoints that were removed and have no connection left.
    fn forget(&self) {
        self.endpoints.borrow_mut().retain(|_, ways| {
            !ways.cell.is_removed() || !ways.lanes.borrow().is_empty() || ways.connecting.get()
        });
    }
}

fn stream(worker: &Rc<Worker>, endpoint: &Endpoint, lane: Rc<Lane>) -> Link {
    lane.open.set(lane.open.get() + 1);
    let stream = EndpointStream {
        worker: Rc::clone(worker),
        lane,
        scheme: if endpoint.tls.is_some() { "https" } else { "http" },
        stream: RefCell::new(None),
        failed: Cell::new(None),
        sent: Cell::new(0),
        unread: RefCell::new(None),
    };
    Link::new(Channel::Http2(Box::new(stream)), None, endpoint.identity())
}

/// Begins HTTP/2 on a new connection and starts its task.
async fn open(
    worker: &Rc<Worker>,
    link: Link,
    ways: &Rc<Ways>,
    upstream: &Upstream,
) -> Result<Rc<Lane>, Cause> {
    let heard = Rc::new(Cell::new(false));
    let options = Options {
        streams_max: STREAMS_MAX,
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        head_bytes_max: HEAD_BYTES_MAX,
        send_buffer: SEND_BUFFER,
    };
    if let Channel::Secured(secured) = &*link
        && *secured.facts().protocol != *b"h2"
    {
        // The certificate is right, and yet it is not what the configuration says.
        return Err(Cause::UpstreamMalformed);
    }
    let wire = Wire { link, received: None, heard: Rc::clone(&heard) };
    let (mut connection, requester) =
        http2::connect(wire, &options).await.map_err(|_| Cause::UpstreamReset)?;
    let now = worker.rt.now();
    let lane = Rc::new(Lane {
        requester: RefCell::new(Some(requester)),
        open: Cell::new(0),
        since: now,
        idle_since: Cell::new(now),
    });
    ways.lanes.borrow_mut().push(Rc::clone(&lane));
    let (owner, ways, kept) = (Rc::clone(worker), Rc::clone(ways), Rc::clone(&lane));
    let idle_max = upstream.timeouts.pool_idle;
    worker.rt.spawn(async move {
        let timer = owner.rt.timer();
        timer.set(owner.rt.now() + LOOK_EVERY);
        let mut asked = false;
        poll_fn(|cx| {
            let _ = connection.poll_pong(cx);
            if connection.poll_end(cx).is_ready() {
                return Poll::Ready(());
            }
            if timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
            let now = owner.rt.now();
            let was_heard = heard.replace(false);
            if asked && !was_heard {
                return Poll::Ready(());
            }
            asked = !was_heard;
            if asked {
                connection.ping();
            }
            let is_idle = kept.open.get() == 0 && now.since(kept.idle_since.get()) >= idle_max;
            if is_idle || ways.cell.is_removed() || !kept.takes_requests(now) {
                // Without a requester it says goodbye, and ends when its last stream has.
                *kept.requester.borrow_mut() = None;
            }
            timer.set(now + LOOK_EVERY);
            // The timer has to be asked again, and a ping to be written.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        drop(connection);
        *kept.requester.borrow_mut() = None;
        ways.lanes.borrow_mut().retain(|lane| !Rc::ptr_eq(lane, &kept));
        owner.lanes.forget();
    });
    Ok(lane)
}

/// The bytes of one connection.
struct Wire {
    link: Link,
    received: Option<Buf>,
    /// Something has come since the task looked.
    heard: Rc<Cell<bool>>,
}

impl Transport for Wire {
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.received.is_none() {
            let buf = ready!(self.link.poll_recv(cx))?;
            self.heard.set(true);
            if buf.is_empty() {
                return Poll::Ready(Ok(&[]));
            }
            self.received = Some(buf);
        }
        Poll::Ready(Ok(self.received.as_deref().unwrap_or_default()))
    }

    fn consume(&mut self, bytes: usize) {
        if let Some(buf) = &mut self.received {
            buf.consume(bytes);
            if buf.is_empty() {
                // An idle connection holds no buffer.
                self.received = None;
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.poll_flushed(cx, OUTPUT_MAX)
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) {
        self.link.write(|out| parts.iter().for_each(|part| out.extend_from_slice(part)));
    }
}

/// One request to an endpoint and its response. Dropped before both have ended, it is reset.
pub(crate) struct EndpointStream {
    worker: Rc<Worker>,
    lane: Rc<Lane>,
    scheme: &'static str,
    /// `None` until the head has been sent.
    stream: RefCell<Option<RequestStream>>,
    failed: Cell<Option<Failed>>,
    sent: Cell<u64>,
    /// Bytes that were put back.
    unread: RefCell<Option<Buf>>,
}

impl EndpointStream {
    /// Sends the head; `ends` says that there is no body.
    pub(crate) fn start(&self, head: &[u8], ends: bool) {
        let requester = self.lane.requester.borrow();
        let started = match &*requester {
            Some(requester) => requester.start(head, self.scheme, ends),
            None => Err(Failed::Refused),
        };
        match started {
            Ok(stream) => {
                self.sent.set(head.len() as u64);
                *self.stream.borrow_mut() = Some(stream);
            }
            Err(failed) => self.failed.set(Some(failed)),
        }
    }

    /// Queues `payload` of the body; `ends` says that nothing follows.
    pub(crate) fn queue(&self, payload: &[u8], ends: bool) {
        if let Some(stream) = &mut *self.stream.borrow_mut() {
            stream.queue(payload, ends);
            self.sent.set(self.sent.get() + payload.len() as u64);
        }
    }

    /// Ends the body with trailers.
    pub(crate) fn end_with(&self, trailers: &[u8]) {
        if let Some(stream) = &mut *self.stream.borrow_mut() {
            stream.end_with(trailers);
        }
    }

    /// The trailers of a response whose end has been received.
    pub(crate) fn take_trailers(&self) -> Vec<u8> {
        self.stream.borrow_mut().as_mut().map(RequestStream::take_trailers).unwrap_or_default()
    }

    pub(crate) fn pending(&self) -> usize {
        self.stream.borrow().as_ref().map_or(0, RequestStream::pending)
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent.get()
    }

    /// The endpoint has certainly not processed the request.
    pub(crate) fn was_refused(&self) -> bool {
        self.failed.get() == Some(Failed::Refused)
    }

    pub(crate) fn poll_flushed(&self, cx: &mut Context<'_>, max_pending: usize) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = &mut *stream else { return Poll::Ready(self.broken()) };
        match stream.poll_taken(cx) {
            Poll::Pending if stream.pending() <= max_pending && max_pending > 0 => Poll::Ready(Ok(())),
            taken => taken.map_err(|failed| self.fail(failed)),
        }
    }

    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        if let Some(buf) = self.unread.borrow_mut().take() {
            return Poll::Ready(Ok(buf));
        }
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = &mut *stream else {
            return Poll::Ready(self.broken().map(|()| Buf::from_vec(Vec::new())));
        };
        let received = ready!(stream.poll_next(cx)).map_err(|failed| self.fail(failed))?;
        Poll::Ready(Ok(Buf::from_vec(received.into())))
    }

    pub(crate) fn unread(&self, buf: Buf) {
        *self.unread.borrow_mut() = Some(buf);
    }

    /// What was the matter when nothing could be sent.
    fn broken(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(failed) => Err(self.fail(failed)),
        }
    }

    fn fail(&self, failed: Failed) -> io::Error {
        // What the endpoint has refused stays refused, whatever comes of the connection.
        if !self.was_refused() {
            self.failed.set(Some(failed));
        }
        match failed {
            Failed::Refused | Failed::Gone => io::ErrorKind::ConnectionReset.into(),
            Failed::Protocol | Failed::Head => io::ErrorKind::InvalidData.into(),
        }
    }
}

impl Drop for EndpointStream {
    fn drop(&mut self) {
        let open = self.lane.open.get() - 1;
        self.lane.open.set(open);
        if open == 0 {
            self.lane.idle_since.set(self.worker.rt.now());
        }
    }
}
