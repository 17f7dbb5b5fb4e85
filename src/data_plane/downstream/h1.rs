//! A client's HTTP/1.1 connection: one exchange after the other until one of us ends it.
//!
//! ```text
//! accept ─▶ idle ─first byte─▶ head ─complete─▶ serve ─Keep─▶ idle …
//!             │ timeout, drain   │ refused         │ Close, Linger, Abort
//!             ▼                  ▼                 ▼
//!           close            answer+linger       close
//! ```

use super::h2::{self, Speaks};
use super::proxy_header::Arrival;
use super::{Client, ClientStream};
use crate::bell::Seat;
use crate::channel::Channel;
use crate::crowd::Place;
use crate::exchange::{Exchange, HeadBytes, Upload};
use crate::overload;
use crate::respond;
use crate::secure::Security;
use crate::serve::{self, Next};
use crate::worker::Worker;
use base::Instant;
use base::ids::ListenerId;
use base::limits::Http2Limits;
use runtime::{Buf, race};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use traffic::{Cause, Phase, Phases};
use wire::h1::{HeadError, Progress, RequestReader};

/// How long the end of a TLS connection may take to be sent.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Why no request could be read.
enum HeadFault {
    /// The head breaks a rule; the client is told.
    Refused(HeadError),
    /// The client did not complete the head in time; it is told.
    Timeout,
    /// The connection ended.
    Ended(Cause),
}

/// Serves a connection to its end and tells why it ended.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    stream: Channel,
    security: Option<Rc<Security>>,
    listener: ListenerId,
    arrival: Arrival,
    place: Place,
) -> Cause {
    let local = match &arrival.announced {
        Some(announced) => Some(announced.destination),
        None => stream.local(),
    };
    let mut conn = Client {
        worker: Rc::clone(worker),
        timer: worker.rt.timer(),
        upstream_timer: worker.rt.timer(),
        local_port: local.map_or(0, |addr| addr.port()),
        stream: ClientStream::Http1(stream),
        security,
        listener,
        peer: arrival.client(),
        announced: arrival.announced,
        place,
        requests: 0,
    };
    let mut seat = worker.drain.seat();
    loop {
        let first = match conn.first_bytes(&mut seat).await {
            Ok(buf) => buf,
            Err(cause) => {
                conn.say_goodbye().await;
                return conn.reason(cause);
            }
        };
        let first = match conn.http2_limits() {
            None => first,
            Some(limits) => match Box::pin(h2::tell(&conn, first)).await {
                Speaks::Http1(first) => first,
                Speaks::Http2(first) => return Box::pin(h2::serve(conn, limits, first, &mut seat)).await,
            },
        };
        let mut x = worker.take_exchange();
        // The state of an exchange in progress is four times that of an idle connection, and most connections are idle
        // most of the time: allocating it anew costs 10 ns a request, keeping it would cost every connection 1.2 KiB.
        let next = Box::pin(conn.exchange(&mut x, first)).await;
        worker.give_back(x);
        match next {
            Next::Keep => {}
            Next::Close(cause) => {
                conn.say_goodbye().await;
                return cause;
            }
            Next::Linger(cause) => {
                conn.linger().await;
                return cause;
            }
            Next::Abort(cause) => {
                conn.stream.reset();
                return cause;
            }
        }
    }
}

impl Client {
    /// Limits of HTTP/2, if the client may still begin to speak it.
    fn http2_limits(&self) -> Option<Http2Limits> {
        let agreed = |security: &Rc<Security>| &*security.facts.protocol == b"h2";
        // Over TLS it is agreed upon before the first byte.
        if self.requests > 0 || !self.security.as_ref().is_none_or(agreed) {
            return None;
        }
        self.listener(&self.worker.generation_of(self.listener)).http2
    }

    /// The first bytes of the next request, or why there is none.
    async fn first_bytes(&self, seat: &mut Seat) -> Result<Buf, Cause> {
        let worker = &*self.worker;
        let timeouts = self.listener(&worker.generation_of(self.listener)).timeouts;
        let now = worker.rt.now();
        let (until, on_timeout, on_end) = match self.requests {
            0 => (now + timeouts.head, Cause::NoRequest, Cause::NoRequest),
            // Up to an eighth more, so that connections opened together do not end together.
            _ => {
                let jitter = timeouts.idle / 8 * (worker.random() & 0xff) / 256;
                (now + timeouts.idle + jitter, Cause::IdleTimeout, Cause::ClientClosed)
            }
        };
        self.timer.set(until);
        worker.overload.crowd.idle(self.place, now, until.since(now));
        let arrival = poll_fn(|cx| {
            if let Poll::Ready(received) = self.stream.poll_recv(cx) {
                return Poll::Ready(received.map_err(|_| on_end));
            }
            if worker.overload.crowd.is_told(self.place, cx.waker()) {
                return Poll::Ready(Err(Cause::Shed));
            }
            seat.take(cx.waker());
            if let Some(at) = worker.idle_until(self.listener, now) {
                self.timer.set(at.min(until));
            }
            Poll::Pending
        });
        match race(arrival, &self.timer).await {
            Some(Ok(buf)) if buf.is_empty() => Err(on_end),
            Some(arrived) => arrived,
            None if worker.drain.is_draining() => Err(Cause::Stopping),
            None if worker.is_ending(self.listener) => Err(Cause::ListenerClosed),
            None => Err(on_timeout),
        }
    }

    /// One request and its response.
    async fn exchange(&mut self, x: &mut Exchange, first: Buf) -> Next {
        self.requests += 1;
        let worker = &self.worker;
        let now = worker.rt.now();
        worker.overload.crowd.busy(self.place, now);
        x.begin(worker.generation_of(self.listener), worker.next_request_id(), self.peer_ip(), now);
        if let (1, Some(security)) = (self.requests, &self.security) {
            // The handshake belongs to the first request; whatever the client waited after it does not.
            x.phases = Phases::new(now - security.took);
            x.phases.mark(Phase::Tls, now);
        }
        match self.read_head(x, first, now).await {
            Ok(()) => serve::serve(self, x).await,
            Err(HeadFault::Refused(error)) => self.refuse(x, Cause::of_head(error)).await,
            Err(HeadFault::Timeout) => self.refuse(x, Cause::HeaderTimeout).await,
            Err(HeadFault::Ended(cause)) => Next::Close(cause),
        }
    }

    /// Reads and parses one head. What follows it stays with the stream.
    async fn read_head(&self, x: &mut Exchange, first: Buf, began: Instant) -> Result<(), HeadFault> {
        let generation = Rc::clone(&x.generation);
        let listener = self.listener(&generation);
        let mut reader =
            RequestReader::new(&listener.http).with_underscores(listener.unsafe_underscore_fields);
        match reader.read(&first, &mut x.head).map_err(HeadFault::Refused)? {
            Progress::Complete(length) => self.keep_head(x, first, length),
            Progress::Partial => {
                // Collecting it takes memory. The rest of it may be on its way, so there is nothing to answer.
                overload::admit(&self.worker).map_err(|_| HeadFault::Ended(Cause::Shed))?;
                let deadline = began + listener.timeouts.head;
                // Heads almost always arrive whole; the other case must not make every connection's future larger.
                Box::pin(self.read_rest_of_head(x, reader, first, deadline)).await?;
            }
        }
        let spare = std::mem::take(&mut x.upload.replay.payload);
        x.upload = Upload::new(&x.head, &listener.http, spare);
        x.phases.mark(Phase::Head, self.worker.rt.now());
        Ok(())
    }

    fn keep_head(&self, x: &mut Exchange, mut received: Buf, length: usize) {
        if received.len() == length {
            x.head_bytes = HeadBytes::Received(received);
        } else {
            x.head_bytes = HeadBytes::Copied(received[..length].to_vec());
            received.consume(length);
            self.stream.unread(received);
        }
    }

    async fn read_rest_of_head(
        &self,
        x: &mut Exchange,
        mut reader: RequestReader,
        first: Buf,
        deadline: Instant,
    ) -> Result<(), HeadFault> {
        let mut bytes = Vec::with_capacity((first.len() * 2).max(1024));
        bytes.extend_from_slice(&first);
        drop(first);
        self.timer.set(deadline);
        loop {
            self.worker.overload.crowd.holds(self.place, bytes.capacity() as u64);
            let received = match race(self.unless_shed(self.stream.recv()), &self.timer).await {
                None => return Err(HeadFault::Timeout),
                Some(Err(cause)) => return Err(HeadFault::Ended(cause)),
                Some(Ok(Err(_))) => return Err(HeadFault::Ended(Cause::HeadTruncated)),
                Some(Ok(Ok(buf))) if buf.is_empty() => return Err(HeadFault::Ended(Cause::HeadTruncated)),
                Some(Ok(Ok(buf))) => buf,
            };
            // The reader refuses a head above its limit, so `bytes` stays below that limit plus one receive.
            bytes.extend_from_slice(&received);
            drop(received);
            if let Progress::Complete(length) =
                reader.read(&bytes, &mut x.head).map_err(HeadFault::Refused)?
            {
                if bytes.len() > length {
                    self.stream.unread(Buf::from_vec(bytes.split_off(length)));
                }
                x.head_bytes = HeadBytes::Copied(bytes);
                return Ok(());
            }
        }
    }

    /// Answers a request that could not be read. Where the next one would begin is unknown, so the connection ends.
    async fn refuse(&self, x: &mut Exchange, cause: Cause) -> Next {
        x.head.clear();
        x.head_bytes = HeadBytes::None;
        x.upload.done = false;
        let next = Box::pin(respond::refuse(self, x, cause)).await;
        crate::finish::exchange(self, x);
        next
    }

    /// With TLS the client is told that nothing was cut off (RFC 8446 §6.1): dropping the connection says nothing.
    async fn say_goodbye(&self) {
        if !self.stream.say_goodbye() {
            return;
        }
        self.timer.set(self.worker.rt.now() + GOODBYE_MAX);
        let _ = race(self.stream.flushed(0), &self.timer).await;
    }

    /// Why the connection ends, where TLS knows it better.
    fn reason(&self, cause: Cause) -> Cause {
        self.stream.tls_failure().map_or(cause, Cause::of_client_tls)
    }
}
