//! What a load balancer in front says about a connection before its first byte: the PROXY protocol, received.
//!
//! Only for peers that the listener lists (`traffic::proxy_protocol`); nobody else's bytes are looked at. What follows the
//! header stays with the stream, exactly.

use crate::crowd::Place;
use crate::worker::Worker;
use base::Instant;
use base::ids::ListenerId;
use runtime::{Buf, Stream, Timer, race};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use traffic::Cause;
use traffic::proxy_protocol::Expected;
use wire::proxy_protocol::{Header, HeaderError, Progress, read};

/// The client of a connection, as somebody who is believed announced it.
pub(crate) struct Announced {
    pub(crate) source: SocketAddr,
    /// The address that the client connected to.
    pub(crate) destination: SocketAddr,
    /// The host name that it asked for, the protocol that it agreed on, and the name of its connection, where the
    /// announcement says so.
    pub(crate) authority: Option<Box<[u8]>>,
    pub(crate) alpn: Option<Box<[u8]>>,
    pub(crate) unique_id: Option<Box<[u8]>>,
}

impl Announced {
    /// `None` when the header names no client on IP: then the real ends of the connection count.
    fn of(header: &Header<'_>) -> Option<Rc<Announced>> {
        let (source, destination) = header.ends()?;
        let own = |value: Option<&[u8]>| value.map(Box::from);
        Some(Rc::new(Announced {
            source: SocketAddr::new(source.ip().to_canonical(), source.port()),
            destination: SocketAddr::new(destination.ip().to_canonical(), destination.port()),
            authority: own(header.tlvs.authority()),
            alpn: own(header.tlvs.alpn()),
            unique_id: own(header.tlvs.unique_id()),
        }))
    }
}

/// Where a connection comes from.
pub(crate) struct Arrival {
    /// The other end of it; None on a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Who the other end says that it is for.
    pub(crate) announced: Option<Rc<Announced>>,
}

impl Arrival {
    /// The client; unspecified on a Unix socket.
    pub(crate) fn client(&self) -> SocketAddr {
        let client = self.announced.as_ref().map(|announced| announced.source).or(self.peer);
        client.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }
}

/// What the listener expects of a connection from `peer`; `None` is a Unix socket.
pub(crate) fn expected(worker: &Worker, listener: ListenerId, peer: Option<IpAddr>) -> Expected {
    let generation = worker.generation_of(listener);
    match &generation.listeners[listener.index()].proxy_protocol {
        None => Expected::Payload,
        Some(rules) => rules.expected(peer),
    }
}

/// Reads the header of a connection that has just been accepted.
///
/// # Errors
/// Why the connection has to be closed.
pub(crate) async fn receive(
    worker: &Rc<Worker>,
    stream: &Stream,
    listener: ListenerId,
    place: Place,
    expected: Expected,
) -> Result<Option<Rc<Announced>>, Cause> {
    let (timeout, limit) = {
        let generation = worker.generation_of(listener);
        let rules = generation.listeners[listener.index()].proxy_protocol.as_deref();
        // A generation that was put into force just now may expect no header any more.
        let Some(rules) = rules else { return Ok(None) };
        (rules.timeout, generation.limits.proxy_header_bytes_max as usize)
    };
    let now = worker.rt.now();
    let arrivals = Arrivals {
        worker,
        stream,
        listener,
        place,
        timer: worker.rt.timer(),
        since: now,
        until: now + timeout,
    };
    worker.overload.crowd.idle(place, now, timeout);
    let may_be_missing = expected == Expected::Either;
    let mut collected = Vec::new();
    loop {
        let received = match arrivals.next().await {
            Some(Ok(buf)) if !buf.is_empty() => buf,
            // A client of a protocol in which the server speaks first stays silent.
            Some(Err(Cause::ProxyHeaderTimeout)) if may_be_missing && collected.is_empty() => {
                return Ok(None);
            }
            Some(Err(cause)) => return Err(cause),
            // An end before the first byte is somebody who looks whether we are there.
            Some(Ok(_)) | None if collected.is_empty() => return Err(Cause::NoRequest),
            Some(Ok(_)) | None => return Err(Cause::ProxyHeaderInvalid),
        };
        // Nearly every header arrives whole, and is read where it was received.
        let is_first = collected.is_empty();
        if !is_first {
            collected.extend_from_slice(&received);
        }
        let bytes: &[u8] = if is_first { &received } else { &collected };
        let (announced, used) = match read(bytes, limit) {
            Ok(Progress::Complete { header, used }) => {
                worker.stats.proxy_headers.add(1);
                (Announced::of(&header), used)
            }
            Ok(Progress::Partial) => {
                if is_first {
                    collected.extend_from_slice(&received);
                }
                continue;
            }
            Err(error) if error.is_missing() && may_be_missing => (None, 0),
            Err(error) => return Err(cause_of(error)),
        };
        give_back(stream, received, collected, used);
        return Ok(announced);
    }
}

/// Leaves what follows the header to whoever reads the stream next.
fn give_back(stream: &Stream, mut received: Buf, mut collected: Vec<u8>, used: usize) {
    if collected.is_empty() {
        received.consume(used);
    } else {
        received = Buf::from_vec(collected.split_off(used));
    }
    if !received.is_empty() {
        stream.unread(received);
    }
}

fn cause_of(error: HeaderError) -> Cause {
    if error.is_missing() { Cause::ProxyHeaderMissing } else { Cause::ProxyHeaderInvalid }
}

/// What arrives before the deadline.
struct Arrivals<'a> {
    worker: &'a Worker,
    stream: &'a Stream,
    listener: ListenerId,
    place: Place,
    timer: Timer,
    since: Instant,
    until: Instant,
}

impl Arrivals<'_> {
    /// The next bytes, empty at the end; `None` when the connection broke, or why nothing more is waited for.
    async fn next(&self) -> Option<Result<Buf, Cause>> {
        let Arrivals { worker, stream, .. } = self;
        self.timer.set(self.until);
        let mut seat = worker.drain.seat();
        let arrival = poll_fn(|cx| {
            if let Poll::Ready(received) = stream.poll_recv(cx) {
                return Poll::Ready(Ok(received));
            }
            if worker.overload.crowd.is_told(self.place, cx.waker()) {
                return Poll::Ready(Err(Cause::Shed));
            }
            seat.take(cx.waker());
            if let Some(at) = worker.idle_until(self.listener, self.since) {
                self.timer.set(at.min(self.until));
            }
            Poll::Pending
        });
        let arrived: Result<io::Result<Buf>, Cause> = match race(arrival, &self.timer).await {
            Some(arrived) => arrived,
            None if worker.drain.is_draining() => Err(Cause::Stopping),
            None if worker.is_ending(self.listener) => Err(Cause::ListenerClosed),
            None => Err(Cause::ProxyHeaderTimeout),
        };
        match arrived {
            Ok(received) => received.ok().map(Ok),
            Err(cause) => Some(Err(cause)),
        }
    }
}
