//! Idle connections to endpoints, kept for the next request. One pool per worker; nothing is shared.
//!
//! Each idle connection has a receive armed. Whatever arrives on one (bytes, an end, an error) makes it unusable: no
//! request is outstanding, so it can only be the endpoint closing it or a response that nobody asked for.

use crate::worker::Worker;
use base::Instant;
use runtime::Stream;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traffic::health::EndpointCell;

/// Connections that no request uses.
pub(crate) struct Pool {
    /// By the address of the endpoint's cell, which identifies the endpoint over all generations; `Idle::cell` keeps
    /// that address from being used again.
    endpoints: RefCell<HashMap<usize, Idle>>,
    per_endpoint_max: usize,
    count: Cell<usize>,
    stale: Cell<u64>,
}

struct Idle {
    #[expect(dead_code, reason = "held, never read: it keeps the key from being given to another endpoint")]
    cell: Arc<EndpointCell>,
    /// The most recently used at the back.
    connections: VecDeque<IdleConnection>,
}

struct IdleConnection {
    stream: Stream,
    since: Instant,
    until: Instant,
}

impl Pool {
    pub(crate) fn new(per_endpoint_max: usize) -> Pool {
        Pool { endpoints: RefCell::default(), per_endpoint_max, count: Cell::new(0), stale: Cell::new(0) }
    }

    /// Idle connections to all endpoints.
    pub(crate) fn idle(&self) -> usize {
        self.count.get()
    }

    /// Connections that were found closed, or with bytes that nobody asked for, since the worker started.
    pub(crate) fn stale(&self) -> u64 {
        self.stale.get()
    }

    /// The most recently used connection to the endpoint that is still good and was idle for less than `idle_max`.
    pub(crate) fn take(&self, cell: &Arc<EndpointCell>, now: Instant, idle_max: Duration) -> Option<Stream> {
        let mut endpoints = self.endpoints.borrow_mut();
        let idle = endpoints.get_mut(&key(cell))?;
        while let Some(last) = idle.connections.back() {
            if now.since(last.since) >= idle_max {
                return None;
            }
            let last = idle.connections.pop_back()?;
            self.count.set(self.count.get() - 1);
            if !last.stream.is_quiet() {
                self.stale.set(self.stale.get() + 1);
            } else if last.until > now {
                return Some(last.stream);
            }
        }
        None
    }

    /// Keeps a connection whose last response was complete.
    ///
    /// More than the bound may gather for a moment: with as many requests in flight as there are clients, closing what
    /// is idle between two of them only to connect again doubles the cost of a request (measured with 512 clients).
    /// The sweep closes what is too many and stays idle. Every idle connection has served a client of this worker, so
    /// there are never more of them than clients were open at once.
    pub(crate) fn put(&self, cell: &Arc<EndpointCell>, stream: Stream, now: Instant, idle_for: Duration) {
        stream.watch();
        let mut endpoints = self.endpoints.borrow_mut();
        let idle = endpoints
            .entry(key(cell))
            .or_insert_with(|| Idle { cell: Arc::clone(cell), connections: VecDeque::new() });
        idle.connections.push_back(IdleConnection { stream, since: now, until: now + idle_for });
        self.count.set(self.count.get() + 1);
    }

    /// Closes what was idle for too long, is too many or has become unusable, and forgets endpoints without connections.
    fn sweep(&self, now: Instant) {
        let mut count = 0;
        self.endpoints.borrow_mut().retain(|_, idle| {
            idle.connections.retain(|connection| {
                let is_quiet = connection.stream.is_quiet();
                self.stale.set(self.stale.get() + u64::from(!is_quiet));
                is_quiet && connection.until > now
            });
            while idle.connections.len() > self.per_endpoint_max
                && idle.connections.front().is_some_and(|longest| now.since(longest.since) >= SURPLUS_IDLE)
            {
                idle.connections.pop_front();
            }
            count += idle.connections.len();
            !idle.connections.is_empty()
        });
        self.count.set(count);
    }
}

fn key(cell: &Arc<EndpointCell>) -> usize {
    Arc::as_ptr(cell).addr()
}

/// How long connections above the bound stay idle before they are closed.
const SURPLUS_IDLE: Duration = Duration::from_secs(2);

/// How often idle connections are looked through; a dead one is refused by [`Pool::take`] at any time.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Starts the task that closes idle connections in time; it ends when the worker drains.
pub(crate) fn start_sweeper(worker: &Rc<Worker>) {
    let owner = Rc::clone(worker);
    worker.rt.spawn(async move {
        let timer = owner.rt.timer();
        while !owner.drain.is_draining() {
            timer.set(owner.rt.now() + SWEEP_EVERY);
            timer.wait().await;
            owner.pool.sweep(owner.rt.now());
        }
    });
}
