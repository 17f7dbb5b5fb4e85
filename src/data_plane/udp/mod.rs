//! UDP listeners: datagrams of clients go to an endpoint, and its answers back, by flows.
//!
//! ```text
//! client ─▶ listening socket ─▶ flow: known, or opened ─▶ the flow's own socket ─▶ endpoint
//!                                       │ no room, no endpoint
//!                                       ▼ dropped and counted
//! client ◀─ listening socket ◀─ flow ◀─ the flow's own socket ◀─ endpoint
//! ```
//!
//! Each flow has a socket of its own, connected to its endpoint: only so is an answer known to be this flow's, and does
//! the kernel tell that nobody listens. One task per listening socket serves all of them, in the order in which something
//! arrives, and at most [`TURN_DATAGRAMS_MAX`] datagrams before others have their turn. The kernel gives all datagrams of
//! one client address and port to the same worker (SO_REUSEPORT), so that workers share nothing.
//!
//! Nothing waits: what cannot be sent now is dropped and counted, as the network would do.
//!
//! A flow stays with its endpoint as long as that can serve, over all generations. It keeps none of them alive: it knows
//! its endpoint by the cell, and finds it again in the newest one (R161).

mod flows;
mod relay;

pub(crate) use flows::Flow;

use crate::bell::Seat;
use crate::entrance::Door;
use crate::worker::{Generation, Worker};
use base::Instant;
use base::ids::{ListenerId, SocketId};
use runtime::{Arrivals, Batch, Bound, Timer, UdpSocket};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use traffic::Cause;
use traffic::snapshot::{Datagrams, Snapshot, Upstream};
use traffic::udp::{Bounds, FlowId, FlowTable, UdpShard};

/// Datagrams that a listener passes on before other tasks have their turn.
const TURN_DATAGRAMS_MAX: u32 = 256;
/// Flows that end for being idle before other tasks have their turn.
const TURN_ENDS_MAX: u32 = 256;
/// Answers taken from one flow before the next one.
const ANSWERS_AT_ONCE: usize = 8;
/// A draining listener ends when nothing has been passed on for so long, and at the latest after [`DRAIN_MAX`].
const DRAIN_QUIET: Duration = Duration::from_millis(500);
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Tag of the listening socket; those of flows are far below.
const LISTENING: u64 = u64::MAX;

/// One socket of a UDP listener on one worker.
struct Server {
    worker: Rc<Worker>,
    door: Rc<Door>,
    socket: UdpSocket,
    arrivals: Arrivals,
    flows: FlowTable<Flow>,
    /// When the next flow has been idle for too long, or the drain has been quiet for long enough.
    timer: Timer,
    batch: Batch,
    /// By slot of `batch`: whether it leaves. Only filled by answers.
    outgoing: Vec<bool>,
    /// When a datagram was last passed on.
    moved_at: Instant,
}

/// Starts to serve a socket of a UDP listener.
///
/// # Errors
/// When the driver refuses it.
pub(crate) fn start(
    worker: &Rc<Worker>,
    id: SocketId,
    listener: ListenerId,
    socket: Bound,
) -> io::Result<()> {
    let arrivals = Arrivals::new();
    let socket = worker.rt.datagrams(socket, &arrivals, LISTENING)?;
    let secret = worker.rng.borrow_mut().next_u64();
    let bounds = bounds(&worker.generation_of(listener), listener).unwrap_or(NONE);
    let mut server = Server {
        door: worker.entrance.open(id, listener),
        socket,
        arrivals,
        flows: FlowTable::new(bounds, secret),
        timer: worker.rt.timer(),
        batch: Batch::new(worker.rt.datagram_offload()),
        outgoing: Vec::with_capacity(Batch::SLOTS),
        moved_at: worker.rt.now(),
        worker: Rc::clone(worker),
    };
    worker.accepting.set(worker.accepting.get() + 1);
    worker.rt.spawn(async move {
        server.serve().await;
        server.end_all(Cause::Stopping);
        let (worker, door) = (Rc::clone(&server.worker), Rc::clone(&server.door));
        drop(server);
        worker.entrance.shut(&worker, &door);
        worker.accepting.set(worker.accepting.get() - 1);
    });
    Ok(())
}

/// Bounds of the flows at one socket: its share of what the listener may have, and of what the worker can have. `None`
/// when the listener is none of UDP.
fn bounds(generation: &Snapshot, listener: ListenerId) -> Option<Bounds> {
    let all = generation.open_listeners().filter_map(|id| generation.listeners[id.index()].datagrams());
    let all: u64 = all.map(|datagrams| u64::from(datagrams.flows_max)).sum();
    let listener = generation.listeners.get(listener.index())?;
    let own = listener.datagrams()?;
    let share = u64::from(generation.limits.flows_max) * u64::from(own.flows_max) / all.max(1);
    let of_listener = own.flows_max.min(u32::try_from(share).unwrap_or(u32::MAX));
    Some(Bounds { flows: part(of_listener, listener), idle: own.idle })
}

/// One socket's part of what a listener may have.
fn part(of_listener: u32, listener: &traffic::snapshot::Listener) -> u32 {
    let sockets = u32::try_from(listener.binds.len()).unwrap_or(u32::MAX).max(1);
    of_listener.div_ceil(sockets).max(1)
}

const NONE: Bounds = Bounds { flows: 1, idle: Duration::from_secs(1) };

/// What a turn works with: the listener as it is now.
struct Service<'g> {
    generation: &'g Generation,
    listener: &'g traffic::snapshot::Listener,
    datagrams: &'g Datagrams,
    upstream: &'g Upstream,
    stats: &'g UdpShard,
}

impl<'g> Service<'g> {
    /// `None` when the listener is none of UDP.
    fn of(worker: &Worker, generation: &'g Generation, listener: ListenerId) -> Option<Service<'g>> {
        let listener = generation.listeners.get(listener.index())?;
        let datagrams = listener.datagrams()?;
        let upstream = generation.upstream(datagrams.upstream);
        Some(Service { generation, listener, datagrams, upstream, stats: datagrams.stats.shard(worker.id) })
    }
}

/// Why a listener's task was woken.
enum Event {
    /// Something has arrived.
    Arrived(u64),
    /// The timer has expired.
    Time,
    /// The worker drains, or no generation has the socket any more.
    End,
}

impl Server {
    /// Passes datagrams on until the worker has drained, or the socket is to close.
    async fn serve(&mut self) {
        let mut drain_seat = self.worker.drain.seat();
        let mut stops_at = None;
        loop {
            self.set_timer(stops_at);
            let has_more = match self.next(&mut drain_seat, stops_at.is_some()).await {
                Event::Arrived(tag) => self.pass_on(tag, stops_at.is_none()),
                Event::Time => self.end_idle(),
                Event::End => {
                    self.moved_at = self.worker.rt.now();
                    stops_at = Some(self.moved_at + DRAIN_MAX);
                    false
                }
            };
            if stops_at.is_some_and(|at| self.has_drained(at)) {
                return;
            }
            if has_more {
                self.worker.rt.yield_now().await;
            }
        }
    }

    async fn next(&self, drain_seat: &mut Seat, is_draining: bool) -> Event {
        poll_fn(|cx| {
            drain_seat.take(cx.waker());
            if !is_draining && (self.worker.drain.is_draining() || self.door.closes()) {
                return Poll::Ready(Event::End);
            }
            if self.timer.poll_expired(cx).is_ready() {
                return Poll::Ready(Event::Time);
            }
            self.arrivals.poll_next(cx).map(Event::Arrived)
        })
        .await
    }

    /// Passes on what has arrived at the socket of `tag` and at those behind it, as much as one turn allows; whether there
    /// may be more.
    fn pass_on(&mut self, tag: u64, may_open: bool) -> bool {
        let worker = Rc::clone(&self.worker);
        let generation = worker.generation_of(self.door.listener());
        let Some(service) = Service::of(&worker, &generation, self.door.listener()) else { return false };
        let mut passed = 0;
        let mut next = Some(tag);
        while let Some(tag) = next {
            passed += if tag == LISTENING {
                self.send_answers(&service);
                self.take_requests(&service, may_open)
            } else {
                self.take_answers(&service, FlowId::from_u64(tag))
            };
            next = if passed < TURN_DATAGRAMS_MAX { self.arrivals.next() } else { None };
        }
        self.send_answers(&service);
        if passed > 0 {
            self.moved_at = worker.rt.now();
        }
        passed >= TURN_DATAGRAMS_MAX
    }

    fn set_timer(&self, stops_at: Option<Instant>) {
        let quiet = stops_at.map(|at| at.min(self.moved_at + DRAIN_QUIET));
        let next = self.flows.next_expiry();
        match (quiet, next) {
            (None, None) => self.timer.clear(),
            (Some(at), None) | (None, Some(at)) => self.timer.set(at),
            (Some(quiet), Some(next)) => self.timer.set(quiet.min(next)),
        }
    }

    fn has_drained(&self, stops_at: Instant) -> bool {
        let now = self.worker.rt.now();
        self.flows.is_empty() || now >= stops_at || now >= self.moved_at + DRAIN_QUIET
    }
}
