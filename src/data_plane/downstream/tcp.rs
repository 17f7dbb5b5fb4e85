//! A connection of a TCP listener: passed through to an endpoint, whatever it carries.
//!
//! ```text
//! accept ─▶ choose ─▶ connect ─▶ pump ─both ended─▶ close
//!              │         │ fails: another endpoint, while the rules allow it
//!              ▼         ▼         │ broken, idle, cut
//!            reset     reset      reset, both sides
//! ```
//!
//! Unless routes choose by it (`hello.rs`), nothing is read from the client before an endpoint has accepted: what it sends
//! waits in the kernel. Towards its
//! upstream the flow is an exchange without a request, with the same balancers, limits, health and budget; once it stands,
//! it keeps nothing of that but its place, so that no generation of the configuration has to live as long as a flow.

use super::hello::{self, Chosen};
use super::proxy_header::{Announced, Arrival};
use super::{Client, ClientStream};
use crate::crowd::Place;
use crate::exchange::Exchange;
use crate::finish;
use crate::overload;
use crate::pump::{Patience, Pump, Stopped};
use crate::upstream::admission;
use crate::upstream::lease;
use crate::upstream::link::Link;
use crate::upstream::presence::Presence;
use crate::worker::Worker;
use base::Instant;
use base::ids::{ListenerId, UpstreamId};
use runtime::Stream;
use std::rc::Rc;
use std::sync::Arc;
use traffic::flow::FlowStats;
use traffic::snapshot::{Passthrough, Upstream};
use traffic::{Cause, Phase, Phases};
use wire::client_hello::ClientHello;

/// What is known of a flow, for its end: the listener's statistics and the line of the access log.
pub(crate) struct Flow {
    pub(crate) id: (u64, u64),
    pub(crate) listener: Arc<str>,
    /// Name of the upstream; `None` until one was chosen.
    pub(crate) upstream: Option<Arc<str>>,
    /// Address of the endpoint of the last attempt; `None` when there was none.
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u8,
    pub(crate) phases: Phases,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) stats: Arc<FlowStats>,
}

/// A connection to an endpoint, and what holds while it lasts.
struct Opened {
    /// Before the place: the connection is closed when that is given away.
    link: Link,
    presence: Presence,
    patience: Patience,
}

/// Serves a connection to its end, and then says to `leave` why it ended.
///
/// No `async fn`: what such a function is given lies in its future twice, once it has been moved to where it is used.
pub(crate) fn serve(
    worker: &Rc<Worker>,
    stream: Stream,
    listener: ListenerId,
    arrival: Arrival,
    place: Place,
    leave: impl FnOnce(&Worker, Cause) + 'static,
) -> impl Future<Output = ()> + 'static {
    let conn = Client {
        worker: Rc::clone(worker),
        timer: worker.rt.timer(),
        upstream_timer: worker.rt.timer(),
        // Nobody is told about it.
        local_port: 0,
        stream: ClientStream::Http1(stream.into()),
        security: None,
        listener,
        peer: arrival.client(),
        announced: arrival.announced,
        place,
        requests: 0,
    };
    through(conn, leave)
}

async fn through(mut conn: Client, leave: impl FnOnce(&Worker, Cause)) {
    let cause = match begin(&conn) {
        Some(mut flow) => {
            // Boxed: what a connection needs on its way to an endpoint is several times what it needs from then on.
            let cause = match Box::pin(open(&mut conn, &mut flow)).await {
                Ok(opened) => pass(&conn, &mut flow, opened).await,
                Err(cause) => cause,
            };
            finish::flow(&conn, &flow, cause);
            cause
        }
        None => Cause::Internal,
    };
    let worker = Rc::clone(&conn.worker);
    if cause != Cause::FlowClosed {
        conn.stream.reset();
    } else {
        drop(conn);
    }
    leave(&worker, cause);
}

/// The flow of a connection that has just arrived; `None` when its listener is none of TCP.
fn begin(conn: &Client) -> Option<Box<Flow>> {
    let worker = &*conn.worker;
    let generation = worker.generation_of(conn.listener);
    let listener = conn.listener(&generation);
    let stats = Arc::clone(&listener.passthrough()?.stats);
    stats.shard(worker.id).opened.add(1);
    Some(Box::new(Flow {
        id: worker.next_request_id(),
        listener: Arc::clone(&listener.name),
        upstream: None,
        endpoint: None,
        attempts: 0,
        phases: Phases::new(worker.rt.now()),
        bytes_up: 0,
        bytes_down: 0,
        stats,
    }))
}

/// The upstream that takes the connection.
async fn choose_upstream(conn: &mut Client, passthrough: &Passthrough) -> Result<UpstreamId, Cause> {
    let Some(selector) = &passthrough.selector else { return passthrough.upstream.ok_or(Cause::Internal) };
    let Chosen { upstream, hello } = hello::choose(conn, selector).await?;
    if let Some(hello) = hello.filter(|_| conn.announced.is_none()) {
        conn.announced = said(conn, &hello);
    }
    Ok(upstream)
}

/// What the client says of itself, for endpoints that are told about it. Nothing on a Unix socket.
fn said(conn: &Client, hello: &ClientHello) -> Option<Rc<Announced>> {
    let stream = conn.worker.overload.crowd.stream(conn.place)?;
    let destination = conn.worker.rt.local_of(stream)?;
    // What will be agreed on is known only where there is no choice.
    let mut protocols = hello.protocols.iter();
    let alpn = protocols.next().filter(|_| protocols.next().is_none()).map(Box::from);
    let authority = hello.server_name.name().map(|name| name.as_bytes().into());
    Some(Rc::new(Announced { source: conn.peer, destination, authority, alpn, unique_id: None }))
}

/// Finds an endpoint and connects to it.
async fn open(conn: &mut Client, flow: &mut Flow) -> Result<Box<Opened>, Cause> {
    let worker = Rc::clone(&conn.worker);
    overload::admit(&worker)?;
    let generation = worker.generation_of(conn.listener);
    let passthrough = conn.listener(&generation).passthrough().ok_or(Cause::Internal)?;
    let upstream = generation.upstream(choose_upstream(conn, passthrough).await?);
    flow.upstream = Some(Arc::clone(&upstream.name));
    let mut x = worker.take_exchange();
    x.begin_flow(Rc::clone(&generation), flow.id, conn.peer_ip(), flow.phases.start());
    x.upstream = Some(upstream.id);
    upstream.budget.deposit();
    let opened = connect(conn, &mut x, upstream, passthrough).await;
    flow.attempts = x.attempts;
    flow.phases = x.phases;
    flow.endpoint = x.endpoint.map(|id| Arc::clone(&upstream.endpoint(id).text));
    worker.give_back(x);
    let (link, presence) = opened?;
    let patience = Patience { idle: passthrough.idle, half_closed: passthrough.half_closed };
    Ok(Box::new(Opened { link, presence, patience }))
}

/// Tries endpoints until one accepts or the rules say that no other may be tried.
async fn connect(
    conn: &Client,
    x: &mut Exchange,
    upstream: &Upstream,
    passthrough: &Passthrough,
) -> Result<(Link, Presence), Cause> {
    let worker = &*conn.worker;
    let patience = passthrough.connect.unwrap_or(upstream.timeouts.connect);
    loop {
        let mut load = match admission::at_once(conn, x, upstream) {
            Some(load) => load.map_err(|fault| fault.0)?,
            None => admission::wait(conn, x, upstream).await.map_err(|fault| fault.0)?,
        };
        x.endpoint = Some(load.endpoint.id);
        x.attempts += 1;
        let timer = &conn.upstream_timer;
        let connected =
            lease::connect(conn, x, upstream, load.endpoint, timer, patience, Instant::NEVER).await;
        x.phases.mark(Phase::Connect, worker.rt.now());
        let cause = match connected {
            Ok(link) => return Ok((link, load.keep())),
            Err(cause) => cause,
        };
        load.blame(cause);
        drop(load);
        let is_over = x.attempts > passthrough.retries
            || cause.stage() != traffic::cause::Stage::Lease
            || !overload::may_repeat(worker, true)
            || !upstream.budget.try_withdraw(worker.rt.now());
        if is_over {
            return Err(cause);
        }
        worker.stats.retries.add(1);
        x.phases.retry(worker.rt.now());
        x.failed.extend(x.endpoint);
    }
}

/// Passes bytes on until the flow ends.
async fn pass(conn: &Client, flow: &mut Flow, mut opened: Box<Opened>) -> Cause {
    let Opened { link, presence, patience } = &mut *opened;
    let worker = &*conn.worker;
    let stats = Arc::clone(&flow.stats);
    let moved = &stats.shard(worker.id).moved;
    let mut pump = Pump::new(worker, (&conn.stream, conn.place), link, &conn.timer, *patience, moved);
    let stopped = pump.run(|| presence.praise()).await;
    (flow.bytes_up, flow.bytes_down) = (pump.up.bytes, pump.down.bytes);
    let now = worker.rt.now();
    flow.phases.mark(Phase::Wait, pump.answered.unwrap_or(now));
    if pump.answered.is_some() {
        flow.phases.mark(Phase::Receive, now);
    }
    if stopped == Stopped::Ended {
        presence.praise();
    } else {
        opened.link.reset();
    }
    match stopped {
        Stopped::Ended => Cause::FlowClosed,
        Stopped::ClientBroke => Cause::ClientGone,
        Stopped::UpstreamBroke => Cause::UpstreamGone,
        Stopped::Idle => Cause::FlowIdle,
        Stopped::HalfClosed => Cause::HalfClosed,
        Stopped::Shed => Cause::Shed,
        Stopped::Stopping => Cause::Stopping,
    }
}
