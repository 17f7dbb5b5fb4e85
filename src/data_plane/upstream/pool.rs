//! Idle connections to endpoints, kept for the next request. One pool per worker; nothing is shared.
//!
//! Each idle connection has a receive armed. Whatever arrives on one (bytes, an end, an error) makes it unusable: no
//! request is outstanding, so it can only be the endpoint closing it or a response that nobody asked for.
//!
//! An endpoint that closes a connection while a request is on its way to it has thrown the request away. So what is
//! known of the endpoint's own timeout (`traffic::health::IdleTimeout`) ends the use of a connection in time. One that
//! has passed it is left to the endpoint as a witness: its end, or its survival, is what the timeout is learned from.
//!
//! A connection whose endpoint was told about a client (PROXY protocol) has that client's connection for its owner. Only
//! requests of the owner get it, and it is closed by the next sweep after the owner has gone.

use crate::crowd::Place;
use crate::upstream::link::Link;
use crate::worker::Worker;
use base::Instant;
use runtime::IdleState;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traffic::admission::Gate;
use traffic::health::EndpointCell;
use traffic::snapshot::Endpoint;

/// Connections that no request uses.
pub(crate) struct Pool {
    endpoints: RefCell<Endpoints>,
    per_endpoint_max: usize,
    count: Cell<usize>,
    stale: Cell<u64>,
    /// Attempts that went without a connection because the endpoint was about to close it.
    retired: Cell<u64>,
    /// Attempts that did not use a connection whose end only the kernel knew.
    checked: Cell<u64>,
}

/// Walked in the order of first use, never in that of the map: the same seed must close connections in the same order.
#[derive(Default)]
struct Endpoints {
    idle: Vec<Idle>,
    /// Places in `idle` by the address of the endpoint's cell, which identifies the endpoint over all generations;
    /// `Idle::cell` keeps that address from being used again.
    places: HashMap<usize, usize>,
    /// The same for connections with an owner.
    owned: HashMap<(usize, Place), usize>,
}

impl Endpoints {
    fn place(&self, cell: usize, owner: Option<Place>) -> Option<usize> {
        match owner {
            None => self.places.get(&cell).copied(),
            Some(owner) => self.owned.get(&(cell, owner)).copied(),
        }
    }
}

struct Idle {
    cell: Arc<EndpointCell>,
    owner: Option<Place>,
    /// The most recently used at the back.
    connections: VecDeque<IdleConnection>,
}

struct IdleConnection {
    stream: Link,
    since: Instant,
    until: Instant,
}

impl Pool {
    pub(crate) fn new(per_endpoint_max: usize) -> Pool {
        Pool {
            endpoints: RefCell::default(),
            per_endpoint_max,
            count: Cell::new(0),
            stale: Cell::new(0),
            retired: Cell::new(0),
            checked: Cell::new(0),
        }
    }

    /// Idle connections to all endpoints.
    pub(crate) fn idle(&self) -> usize {
        self.count.get()
    }

    /// Connections that were found closed, or with bytes that nobody asked for, since the worker started.
    pub(crate) fn stale(&self) -> u64 {
        self.stale.get()
    }

    /// Attempts that went without a connection because the endpoint was about to close it, since the worker started.
    pub(crate) fn retired(&self) -> u64 {
        self.retired.get()
    }

    /// Attempts that did not use a connection because the kernel was asked and knew better, since the worker started.
    pub(crate) fn checked(&self) -> u64 {
        self.checked.get()
    }

    /// The most recently used connection to the endpoint that is still good, and for how long it was idle.
    ///
    /// `once_only` is for a request that must not be sent twice: it avoids connections that were idle for long, and the
    /// kernel is asked about the others. For the rest the kernel is asked after [`CHECK_AFTER`]: a busy connection that
    /// is closed costs them a retry, and is rarer than one in a million.
    pub(crate) fn take(
        &self,
        endpoint: &Endpoint,
        owner: Option<Place>,
        now: Instant,
        once_only: bool,
    ) -> Option<(Link, Duration)> {
        let cell = &endpoint.cell;
        let mut endpoints = self.endpoints.borrow_mut();
        let place = endpoints.place(key(cell), owner)?;
        let idle = &mut endpoints.idle[place];
        let keep_for = cell.idle_timeout().keep_for();
        let idle_max = if once_only { cell.idle_timeout().keep_for_unsafe() } else { keep_for };
        while let Some(last) = idle.connections.back() {
            let age = now.since(last.since);
            if age >= idle_max {
                self.retired.set(self.retired.get() + u64::from(age >= keep_for && last.until > now));
                return None;
            }
            let last = idle.connections.pop_back()?;
            self.count.set(self.count.get() - 1);
            // One that was opened when the endpoint was secured otherwise is closed.
            if last.stream.is_secured_as(endpoint.identity())
                && self.is_good(cell, &last, once_only || age >= CHECK_AFTER)
                && last.until > now
            {
                return Some((last.stream, age));
            }
        }
        None
    }

    /// Whether nothing has arrived on an idle connection. A clean end tells about the endpoint's timeout.
    fn is_good(&self, cell: &EndpointCell, connection: &IdleConnection, ask_the_kernel: bool) -> bool {
        let mut state = connection.stream.idle_state();
        if ask_the_kernel && state == IdleState::Quiet {
            state = connection.stream.idle_state_now();
            self.checked.set(self.checked.get() + u64::from(state != IdleState::Quiet));
        }
        match state {
            IdleState::Quiet => return true,
            IdleState::Ended { at } => cell.idle_timeout().closed(at.since(connection.since), at),
            IdleState::Disturbed => {}
        }
        self.stale.set(self.stale.get() + 1);
        false
    }

    /// Keeps a connection whose last response was complete, unless its endpoint has been removed meanwhile.
    ///
    /// More than the bound may gather for a moment: with as many requests in flight as there are clients, closing what
    /// is idle between two of them only to connect again doubles the cost of a request (measured with 512 clients).
    /// The sweep closes what is too many and stays idle. Every idle connection has served a client of this worker, so
    /// there are never more of them than clients were open at once.
    pub(crate) fn put(
        &self,
        cell: &Arc<EndpointCell>,
        owner: Option<Place>,
        stream: Link,
        now: Instant,
        idle_for: Duration,
    ) {
        if cell.is_removed() {
            return;
        }
        stream.watch();
        let endpoints = &mut *self.endpoints.borrow_mut();
        let Endpoints { idle, places, owned } = endpoints;
        let new = || {
            idle.push(Idle { cell: Arc::clone(cell), owner, connections: VecDeque::new() });
            idle.len() - 1
        };
        let place = match owner {
            None => *places.entry(key(cell)).or_insert_with(new),
            Some(owner) => *owned.entry((key(cell), owner)).or_insert_with(new),
        };
        idle[place].connections.push_back(IdleConnection { stream, since: now, until: now + idle_for });
        self.count.set(self.count.get() + 1);
    }

    /// Closes the connection that has been idle for longest among those that count against `gate`, of one endpoint or of
    /// all. False when there is none.
    pub(crate) fn evict(&self, gate: &Arc<Gate>, of: Option<&Arc<EndpointCell>>) -> bool {
        let mut endpoints = self.endpoints.borrow_mut();
        let ours =
            endpoints.idle.iter_mut().filter(|idle| of.is_none_or(|cell| Arc::ptr_eq(cell, &idle.cell)));
        let longest = ours
            .filter(|idle| idle.connections.front().is_some_and(|connection| connection.stream.is_of(gate)))
            .min_by_key(|idle| idle.connections.front().map(|connection| connection.since));
        let evicted = longest.and_then(|idle| idle.connections.pop_front());
        self.count.set(self.count.get() - usize::from(evicted.is_some()));
        evicted.is_some()
    }

    /// Closes one connection of each endpoint that has as many as it may have, among those that count against `gate`.
    pub(crate) fn evict_of_full_endpoints(&self, gate: &Arc<Gate>) {
        for idle in &mut self.endpoints.borrow_mut().idle {
            let first = idle.connections.front().map(|connection| &connection.stream);
            if first.is_some_and(|link| link.is_of(gate) && link.is_of_full_endpoint()) {
                idle.connections.pop_front();
                self.count.set(self.count.get() - 1);
            }
        }
    }

    /// Closes all but the `keep` most recently used connections of each endpoint; how many.
    pub(crate) fn shrink(&self, keep: usize) -> u64 {
        let mut closed = 0;
        for idle in &mut self.endpoints.borrow_mut().idle {
            let surplus = idle.connections.len().saturating_sub(keep);
            closed += idle.connections.drain(..surplus).len();
        }
        self.count.set(self.count.get() - closed);
        closed as u64
    }

    /// Closes what was idle for too long, is too many, has become unusable or leads to an endpoint that was removed, and
    /// forgets endpoints without connections.
    ///
    /// Of the connections that the endpoint may close at any moment, the oldest stays as a witness.
    fn sweep(&self, now: Instant, is_open: impl Fn(Place) -> bool) {
        let mut count = 0;
        let Endpoints { idle, places, owned } = &mut *self.endpoints.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|idle| {
            let (cell, connections) = (&idle.cell, &mut idle.connections);
            if cell.is_removed() || idle.owner.is_some_and(|owner| !is_open(owner)) {
                return false;
            }
            let keep_for = cell.idle_timeout().keep_for();
            let mut has_witness = false;
            connections.retain(|connection| {
                if !self.is_good(cell, connection, false) || connection.until <= now {
                    return false;
                }
                let age = now.since(connection.since);
                if age < keep_for {
                    return true;
                }
                cell.idle_timeout().survived(age);
                !std::mem::replace(&mut has_witness, true)
            });
            while idle.connections.len() > self.per_endpoint_max
                && idle.connections.front().is_some_and(|longest| now.since(longest.since) >= SURPLUS_IDLE)
            {
                idle.connections.pop_front();
            }
            count += idle.connections.len();
            !idle.connections.is_empty()
        });
        if idle.len() < before {
            places.clear();
            owned.clear();
            for (place, idle) in idle.iter().enumerate() {
                match idle.owner {
                    None => places.insert(key(&idle.cell), place),
                    Some(owner) => owned.insert((key(&idle.cell), owner), place),
                };
            }
        }
        self.count.set(count);
    }
}

fn key(cell: &Arc<EndpointCell>) -> usize {
    Arc::as_ptr(cell).addr()
}

/// How long connections above the bound stay idle before they are closed.
const SURPLUS_IDLE: Duration = Duration::from_secs(2);

/// How long a connection is idle before the kernel is asked about it, for requests that could be repeated. Under load
/// connections wait for less, and the question costs 0.35 us of some 10 that a request takes.
const CHECK_AFTER: Duration = Duration::from_millis(10);

/// How often idle connections are looked through; a dead one is refused by [`Pool::take`] at any time.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Starts the task that closes idle connections in time, and pipes that nobody needs; it ends when the worker drains.
pub(crate) fn start_sweeper(worker: &Rc<Worker>) {
    let owner = Rc::clone(worker);
    worker.rt.spawn(async move {
        let timer = owner.rt.timer();
        while !owner.drain.is_draining() {
            timer.set(owner.rt.now() + SWEEP_EVERY);
            timer.wait().await;
            owner.pool.sweep(owner.rt.now(), |place| owner.overload.crowd.has(place));
            owner.rt.trim_pipes();
        }
    });
}
