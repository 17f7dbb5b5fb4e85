//! The task of a connection: frames in and out, new streams, and when it ends.

use super::line::{Line, Wire};
use super::stream::{self, Opened};
use crate::bell::Seat;
use crate::downstream::Client;
use base::Instant;
use base::limits::Http2Limits;
use http2::{Accepted, Ended, Options, Reason, Server};
use runtime::Buf;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use traffic::Cause;
use wire::h2::{Breach, Meter};

/// What the connection and its streams know of each other.
pub(super) struct Streams {
    /// Exchanges under way. One counts until its work is done, whatever has become of its stream (R29).
    pub(super) open: Cell<u32>,
    /// Bytes of their heads.
    pub(super) heads_bytes: Cell<usize>,
    /// Wakes the connection's task.
    pub(super) waker: RefCell<Option<Waker>>,
}

struct Connection<'a> {
    line: Rc<Line>,
    server: Server<Wire>,
    limits: &'a Http2Limits,
    streams: Rc<Streams>,
    seat: &'a mut Seat,
    /// Requests so far.
    requests: u32,
    /// When the last exchange ended or, before the first one, when the connection began.
    idle_since: Instant,
    was_idle: bool,
    /// Up to an eighth of the time that a connection may be idle.
    jitter: Duration,
    /// Since when the client owes the rest of a head.
    inside_head_since: Option<Instant>,
    /// The client has been asked to open no more streams, for this cause.
    leaving: Option<Cause>,
    /// Streams that `http2` has reset because of what the client sent, as far as they were counted.
    provoked: u64,
}

/// Serves a connection, whose `first` bytes begin with the preface, to its end and tells why it ended.
pub(crate) async fn serve(client: Client, limits: Http2Limits, first: Buf, seat: &mut Seat) -> Cause {
    let worker = Rc::clone(&client.worker);
    let now = worker.rt.now();
    let line = Rc::new(Line {
        meter: RefCell::new(Meter::new(&limits, now)),
        breach: Cell::new(None),
        paused: Cell::new(false),
        client,
    });
    let head_bytes_max = {
        let generation = worker.generation_of(line.client.listener);
        line.client.listener(&generation).http.header_bytes_max
    };
    let options = Options {
        streams_max: limits.streams_max,
        stream_window: limits.stream_window_bytes,
        connection_window: limits.connection_window_bytes,
        // The parser of heads applies the limits; this one keeps what it would refuse anyway out of memory.
        head_bytes_max: head_bytes_max.saturating_mul(2),
        send_buffer: limits.send_buffer_bytes as usize,
    };
    let streams =
        Rc::new(Streams { open: Cell::new(0), heads_bytes: Cell::new(0), waker: RefCell::new(None) });
    let timeouts = line.client.listener(&worker.generation_of(line.client.listener)).timeouts;
    let mut connection = Connection {
        server: Server::new(Wire::new(Rc::clone(&line), first), &options),
        line: Rc::clone(&line),
        limits: &limits,
        streams: Rc::clone(&streams),
        seat,
        requests: 0,
        idle_since: now,
        was_idle: true,
        jitter: timeouts.http2_idle / 8 * (worker.random() & 0xff) / 256,
        inside_head_since: None,
        leaving: None,
        provoked: 0,
    };
    let cause = poll_fn(|cx| connection.poll(cx)).await;
    connection.count_provoked();
    // Streams that are still open learn now that their client is gone.
    drop(connection);
    if !matches!(cause, Cause::ClientClosed | Cause::ClientGone | Cause::Shed) {
        line.client.linger().await;
    }
    // The connection counts until the work of its last exchange has ended (R29).
    poll_fn(|_| if streams.open.get() == 0 { Poll::Ready(()) } else { Poll::Pending }).await;
    line.client.stream.tls_failure().map_or(cause, Cause::of_client_tls)
}

/// Heads that are read in one turn before others have theirs.
const HEADS_PER_TURN: u32 = 64;

impl Connection<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let worker = Rc::clone(&self.line.client.worker);
        if self.streams.waker.borrow().is_none() {
            *self.streams.waker.borrow_mut() = Some(cx.waker().clone());
        }
        if worker.overload.crowd.is_told(self.line.client.place, cx.waker()) {
            return Poll::Ready(Cause::Shed);
        }
        if let Poll::Ready(cause) = self.poll_frames(cx) {
            return Poll::Ready(cause);
        }
        self.count_provoked();
        if let Some(breach) = self.line.breach.get() {
            return self.end_for(breach, cx);
        }
        self.seat.take(cx.waker());
        if worker.drain.is_draining() {
            self.leave(Cause::Stopping, cx);
        } else if worker.is_ending(self.line.client.listener) {
            self.leave(Cause::ListenerClosed, cx);
        } else {
            let low = self.line.meter.borrow().low();
            if let Some(breach) = low {
                // It is asked first, and cut off only when it goes on.
                self.leave(cause_of_breach(breach), cx);
            }
        }
        self.note_idleness();
        self.poll_deadline(cx)
    }

    /// Reads and writes what there is, and opens streams.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let mut heads = 0;
        loop {
            let worker = &self.line.client.worker;
            match self.server.poll_accept(cx, || websocket_key(|| worker.random())) {
                Poll::Ready(Some(Ok(accepted))) => self.open(accepted, cx),
                Poll::Ready(Some(Err(ended))) => return Poll::Ready(self.cause_of(ended)),
                Poll::Ready(None) => {
                    return Poll::Ready(self.leaving.unwrap_or(Cause::ClientClosed));
                }
                Poll::Pending if self.line.paused.replace(false) => {
                    heads += 1;
                    if heads >= HEADS_PER_TURN {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn cause_of(&self, ended: Ended) -> Cause {
        match (self.line.breach.get(), ended) {
            (Some(breach), _) => cause_of_breach(breach),
            (None, Ended::Protocol) => Cause::Http2Protocol,
            (None, Ended::Excess) => Cause::Http2Frames,
            (None, Ended::Gone) => self.leaving.unwrap_or(if self.streams.open.get() > 0 {
                Cause::ClientGone
            } else if self.requests == 0 {
                Cause::NoRequest
            } else {
                Cause::ClientClosed
            }),
        }
    }

    /// A new stream: served, or refused when there is no room for it.
    fn open(&mut self, accepted: Accepted, cx: &mut Context<'_>) {
        let Accepted { head, mut stream } = accepted;
        let client = &self.line.client;
        let worker = &client.worker;
        self.requests += 1;
        let head_bytes = head.as_ref().map_or(0, Vec::len);
        let heads_bytes = self.streams.heads_bytes.get() + head_bytes;
        let refused = if self.streams.open.get() >= self.limits.streams_max {
            Some(Cause::Http2Streams)
        } else if heads_bytes > self.limits.heads_bytes_max as usize {
            Some(Cause::Http2Heads)
        } else {
            None
        };
        if let Some(cause) = refused {
            worker.stats.count(cause);
            stream.reset(Reason::Refused);
            return;
        }
        if self.was_idle {
            self.was_idle = false;
            worker.overload.crowd.busy(client.place, worker.rt.now());
        }
        self.streams.open.set(self.streams.open.get() + 1);
        self.streams.heads_bytes.set(heads_bytes);
        stream::spawn(
            client,
            Opened { head, stream, number: self.requests, streams: Rc::clone(&self.streams), head_bytes },
        );
        let requests_max = client.listener(&worker.generation_of(client.listener)).requests_max;
        // One connection with many streams stands for as many without.
        if self.requests >= requests_max.saturating_mul(self.limits.streams_max) {
            self.leave(Cause::RequestsMax, cx);
        } else if worker.overload.closes_connections() {
            self.leave(Cause::Shed, cx);
        }
    }

    /// Asks the client to open no more streams. The connection ends when those that there are have ended.
    fn leave(&mut self, cause: Cause, cx: &mut Context<'_>) {
        if self.leaving.is_none() {
            self.leaving = Some(cause);
            self.server.end_gracefully();
            // The frame that says so is still to be written.
            cx.waker().wake_by_ref();
        }
    }

    /// Says why, and ends when that is on its way.
    fn end_for(&mut self, breach: Breach, cx: &mut Context<'_>) -> Poll<Cause> {
        let reason = if breach == Breach::NoSettings { Reason::Protocol } else { Reason::EnhanceYourCalm };
        self.server.end_abruptly(reason);
        let worker = &self.line.client.worker;
        let _ = self.server.poll_accept(cx, || websocket_key(|| worker.random()));
        Poll::Ready(cause_of_breach(breach))
    }

    fn note_idleness(&mut self) {
        let client = &self.line.client;
        let now = client.worker.rt.now();
        if self.streams.open.get() == 0 && !self.was_idle {
            self.was_idle = true;
            self.idle_since = now;
            let patience = client.listener(&client.worker.generation_of(client.listener)).timeouts.http2_idle;
            client.worker.overload.crowd.idle(client.place, now, patience);
        }
        match (self.line.meter.borrow().is_inside_head(), self.inside_head_since) {
            (true, None) => self.inside_head_since = Some(now),
            (false, Some(_)) => self.inside_head_since = None,
            _ => {}
        }
    }

    /// Sets the timer to what comes first, and ends the connection when that has come.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let client = &self.line.client;
        let worker = &client.worker;
        let timeouts = client.listener(&worker.generation_of(client.listener)).timeouts;
        let mut until = Instant::NEVER;
        let mut why = Cause::IdleTimeout;
        let mut earlier = |at: Instant, cause: Cause| {
            if at < until {
                (until, why) = (at, cause);
            }
        };
        if let Some(since) = self.inside_head_since {
            earlier(since + timeouts.head, Cause::HeaderTimeout);
        }
        if self.streams.open.get() == 0 {
            match self.requests {
                0 => earlier(self.idle_since + timeouts.head, Cause::NoRequest),
                _ => earlier(self.idle_since + timeouts.http2_idle + self.jitter, Cause::IdleTimeout),
            }
            if let Some(at) = worker.idle_until(client.listener, self.idle_since) {
                earlier(at, Cause::Stopping);
            }
        }
        client.timer.set(until);
        if client.timer.poll_expired(cx).is_pending() {
            return Poll::Pending;
        }
        self.server.end_abruptly(Reason::NoError);
        let _ = self.server.poll_accept(cx, || websocket_key(|| worker.random()));
        Poll::Ready(self.leaving.unwrap_or(why))
    }

    /// Counts streams that ended for a mistake of the client without becoming an exchange or in the middle of one.
    fn count_provoked(&mut self) {
        let provoked = self.line.meter.borrow().counts().resets_provoked;
        for _ in self.provoked..provoked {
            self.line.client.worker.stats.count(Cause::Http2Stream);
        }
        self.provoked = provoked;
    }
}

fn cause_of_breach(breach: Breach) -> Cause {
    match breach {
        Breach::Resets => Cause::Http2Resets,
        Breach::Frames => Cause::Http2Frames,
        Breach::Head => Cause::Http2Head,
        Breach::NoSettings => Cause::Http2Protocol,
    }
}

/// Sixteen random bytes in base64, for a handshake that nobody checks.
fn websocket_key(mut random: impl FnMut() -> u32) -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = [b'='; 24];
    for digit in &mut key[..21] {
        *digit = DIGITS[random() as usize % 64];
    }
    // The last digit stands for two bits.
    key[21] = DIGITS[(random() as usize % 4) * 16];
    key
}
