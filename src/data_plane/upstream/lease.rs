//! A connection to an endpoint, borrowed for one attempt.

use crate::downstream::h1::Connection;
use crate::exchange::Exchange;
use base::Instant;
use runtime::{ConnectOptions, Stream, race};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use traffic::Cause;
use traffic::health::EndpointCell;
use traffic::snapshot::{Endpoint, Upstream};

/// A connection on which no request is outstanding. Dropped, it is closed; [`Lease::give_back`] keeps it.
pub(crate) struct Lease {
    pub(crate) stream: Stream,
    cell: Arc<EndpointCell>,
    is_fresh: bool,
    sent_before: u64,
}

impl Lease {
    /// It has carried no request before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Whether the kernel has taken a byte of the current request.
    pub(crate) fn has_sent(&self) -> bool {
        self.stream.sent_bytes() > self.sent_before
    }

    /// Returns the connection to the worker's pool for other requests.
    pub(crate) fn give_back(self, conn: &Connection, upstream: &Upstream) {
        let worker = &conn.worker;
        worker.pool.put(&self.cell, self.stream, worker.rt.now(), upstream.timeouts.pool_idle);
    }
}

/// A request that must not be sent twice avoids connections that were idle for longer: the endpoint may be closing
/// them at this very moment.
const IDLE_MAX_FOR_UNSAFE: Duration = Duration::from_secs(1);

/// A pooled connection, or a new one when there is none or `fresh_only` is set.
pub(crate) async fn obtain(
    conn: &Connection,
    x: &Exchange,
    upstream: &Upstream,
    endpoint: &Endpoint,
    fresh_only: bool,
) -> Result<Lease, Cause> {
    let worker = &*conn.worker;
    let cell = Arc::clone(&endpoint.cell);
    if !fresh_only {
        let idle_max = if x.head.method.is_idempotent() { Duration::MAX } else { IDLE_MAX_FOR_UNSAFE };
        if let Some(stream) = worker.pool.take(&endpoint.cell, worker.rt.now(), idle_max) {
            worker.stats.pool_hits.add(1);
            let sent_before = stream.sent_bytes();
            return Ok(Lease { stream, cell, is_fresh: false, sent_before });
        }
    }
    worker.stats.pool_misses.add(1);
    let stream = Box::pin(connect(conn, upstream, endpoint, x.deadline)).await?;
    Ok(Lease { stream, cell, is_fresh: true, sent_before: 0 })
}

async fn connect(
    conn: &Connection,
    upstream: &Upstream,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<Stream, Cause> {
    let rt = &conn.worker.rt;
    let timer = &conn.upstream_timer;
    timer.set((rt.now() + upstream.timeouts.connect).min(deadline));
    match race(rt.connect(&endpoint.addr, ConnectOptions::default()), timer).await {
        None if rt.now() >= deadline => Err(Cause::TotalTimeout),
        None => Err(Cause::ConnectTimeout),
        Some(Ok(stream)) => Ok(stream),
        Some(Err(error)) => Err(connect_cause(&error)),
    }
}

fn connect_cause(error: &io::Error) -> Cause {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENOBUFS: i32 = 105;
    match error.kind() {
        io::ErrorKind::TimedOut => return Cause::ConnectTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            return Cause::ConnectUnreachable;
        }
        _ => {}
    }
    match error.raw_os_error() {
        Some(EADDRNOTAVAIL) => Cause::PortsExhausted,
        Some(ENFILE | EMFILE | ENOBUFS) => Cause::UpstreamResources,
        // Refused, reset during the handshake, or a Unix socket that is not there: nobody listens.
        _ => Cause::ConnectRefused,
    }
}
