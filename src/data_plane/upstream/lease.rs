//! A connection to an endpoint, borrowed for one attempt.

use crate::crowd::Place;
use crate::downstream::{Client, ClientWatch};
use crate::exchange::Exchange;
use crate::secure;
use crate::upstream::admission;
use crate::upstream::announce;
use crate::upstream::dial::dial;
use crate::upstream::h2::{self, EndpointStream};
use crate::upstream::link::Link;
use base::Instant;
use runtime::{Timer, race};
use std::sync::Arc;
use std::time::Duration;
use traffic::Cause;
use traffic::health::EndpointCell;
use traffic::snapshot::{Endpoint, Upstream};

/// A connection on which no request is outstanding. Dropped, it is closed; [`Lease::give_back`] keeps it.
pub(crate) struct Lease {
    pub(crate) stream: Link,
    cell: Arc<EndpointCell>,
    /// How long it was idle in the pool; `None` when it is new.
    idle_for: Option<Duration>,
    sent_before: u64,
}

impl Lease {
    /// It has carried no request before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.idle_for.is_none()
    }

    /// Whether the kernel has, or may have, taken a byte of the current request.
    pub(crate) fn has_sent(&self) -> bool {
        !self.was_refused() && (self.stream.is_sending() || self.stream.sent_bytes() > self.sent_before)
    }

    /// It is one of several on a connection.
    pub(crate) fn is_shared(&self) -> bool {
        self.stream.as_http2().is_some()
    }

    /// The endpoint has said that it has not processed the request (RFC 9113 §8.7): any request may be sent again.
    pub(crate) fn was_refused(&self) -> bool {
        self.stream.as_http2().is_some_and(EndpointStream::was_refused)
    }

    /// After a clean end: whether the endpoint had ended its side before any byte of the current request reached it.
    ///
    /// The end that it sent acknowledges what its kernel had by then. If that is nothing of this request, the bytes came
    /// to a connection that was closed already. A reset is no such proof: it acknowledges nothing, even if the request
    /// was read. After a failed send nobody can say which of the two it was: io_uring keeps an error to itself that comes
    /// when a part was taken.
    pub(crate) fn ended_before_request(&self) -> bool {
        let sent = self.stream.sent_bytes() - self.sent_before;
        !self.is_fresh()
            && !self.stream.is_sending()
            && !self.stream.send_failed()
            && self.stream.unacked_bytes().is_some_and(|unacked| unacked >= sent)
    }

    /// Closes a connection of which [`Lease::ended_before_request`] is true. Nothing more is sent on it, so that what
    /// was not taken is never taken; and its end tells about the endpoint's timeout.
    pub(crate) fn abandon(self, conn: &Client) {
        if let Some(idle_for) = self.idle_for {
            self.cell.idle_timeout().closed(idle_for, conn.worker.rt.now());
        }
        self.stream.reset();
    }

    /// Returns the connection to the worker's pool for other requests, unless one waits for its place. `announced`: for how
    /// many seconds the endpoint says that it keeps it.
    pub(crate) fn give_back(self, conn: &Client, upstream: &Upstream, announced: Option<u32>) {
        if self.is_shared() || self.stream.is_wanted() || is_private(upstream) {
            return;
        }
        let worker = &conn.worker;
        self.cell.idle_timeout().announce(announced);
        let owner = owner(conn, upstream);
        worker.pool.put(&self.cell, owner, self.stream, worker.rt.now(), upstream.timeouts.pool_idle);
    }
}

/// Whether connections come from the address of the client that they are made for, so that no other may use them.
fn is_private(upstream: &Upstream) -> bool {
    upstream.egress.as_ref().is_some_and(|egress| egress.is_private())
}

/// Whose requests alone a connection may carry: an endpoint that was told about the client takes it at its word.
fn owner(conn: &Client, upstream: &Upstream) -> Option<Place> {
    upstream.send_proxy.map(|_| conn.place)
}

/// A pooled connection, or a new one when there is none or `fresh_only` is set.
pub(crate) async fn obtain(
    conn: &Client,
    x: &Exchange,
    upstream: &Upstream,
    endpoint: &Endpoint,
    timer: &Timer,
    deadline: Instant,
    fresh_only: bool,
) -> Result<Lease, Cause> {
    let worker = &*conn.worker;
    let cell = Arc::clone(&endpoint.cell);
    if upstream.http2 {
        let obtained = h2::obtain(conn, x, upstream, endpoint, timer, deadline);
        let (stream, is_new) = Box::pin(obtained).await?;
        let idle_for = (!is_new).then_some(Duration::ZERO);
        return Ok(Lease { stream, cell, idle_for, sent_before: 0 });
    }
    if !fresh_only && !is_private(upstream) {
        let once_only = !x.head.method.is_idempotent();
        if let Some((stream, idle_for)) =
            worker.pool.take(endpoint, owner(conn, upstream), worker.rt.now(), once_only)
        {
            worker.stats.pool_hits.add(1);
            let sent_before = stream.sent_bytes();
            return Ok(Lease { stream, cell, idle_for: Some(idle_for), sent_before });
        }
    }
    worker.stats.pool_misses.add(1);
    let patience = upstream.timeouts.connect;
    let stream = Box::pin(connect(conn, x, upstream, endpoint, timer, patience, deadline)).await?;
    // With TLS the handshake has been sent, and nothing of the request.
    let sent_before = stream.sent_bytes();
    Ok(Lease { stream, cell, idle_for: None, sent_before })
}

/// A new connection, which the endpoint must accept within `patience`.
pub(crate) async fn connect(
    conn: &Client,
    x: &Exchange,
    upstream: &Upstream,
    endpoint: &Endpoint,
    timer: &Timer,
    patience: Duration,
    deadline: Instant,
) -> Result<Link, Cause> {
    let rt = &conn.worker.rt;
    let slot = admission::slot(conn, x, upstream, endpoint, timer).await?;
    timer.set((rt.now() + patience).min(deadline));
    let connecting = dial(&conn.worker, upstream, endpoint, x.facts.client);
    let mut watch = ClientWatch::of(x);
    let stream = match race(conn.while_present(&mut watch, connecting), timer).await {
        None if rt.now() >= x.deadline => return Err(Cause::TotalTimeout),
        None => return Err(Cause::ConnectTimeout),
        Some(None) => return Err(Cause::ClientGone),
        Some(Some(Ok(stream))) => stream,
        Some(Some(Err(cause))) => return Err(cause),
    };
    let of_listener = conn.listener(&x.generation).passthrough().and_then(|flow| flow.send_proxy.as_ref());
    if let Some(rules) = of_listener.or(upstream.send_proxy.as_ref()) {
        announce::write(conn, x, rules, &stream)?;
    }
    let Some(tls) = &endpoint.tls else { return Ok(Link::new(stream.into(), slot, 0)) };
    timer.set((rt.now() + upstream.timeouts.handshake).min(deadline));
    let handshake = secure::connect(&conn.worker, stream, endpoint, tls);
    match race(conn.while_present(&mut watch, handshake), timer).await {
        None if rt.now() >= x.deadline => Err(Cause::TotalTimeout),
        None => {
            conn.worker.stats.tls.upstream_failed.add(1);
            Err(Cause::UpstreamTlsTimeout)
        }
        Some(None) => Err(Cause::ClientGone),
        Some(Some(Ok(channel))) => Ok(Link::new(channel, slot, tls.identity)),
        Some(Some(Err(cause))) => Err(cause),
    }
}
