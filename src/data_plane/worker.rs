//! One worker: the state that its tasks share, and the loop.

use crate::accept;
use crate::bell::Bell;
use crate::channel::Sealing;
use crate::date::DateCache;
use crate::drain::{Drain, Stop};
use crate::entrance::{self, Arrivals, Entrance};
use crate::exchange::Exchange;
use crate::overload::{self, Overload};
use crate::upstream::admission;
use crate::upstream::h2::Lanes;
use crate::upstream::pool::Pool;
use crate::upstream::queue::Queues;
use base::Instant;
use base::ids::{ListenerId, SocketId, WorkerId};
use base::publish::Subscriber;
use base::rng::Rng;
use base::spsc::Producer;
use runtime::{Bound, Runtime};
use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traffic::Snapshot;
use traffic::overload::Node;
use traffic::stats::WorkerStats;

/// What a worker is started with. Everything in it was made by the thread that starts the workers.
pub struct WorkerStart {
    pub id: WorkerId,
    pub snapshot: Arc<Snapshot>,
    pub snapshots: Subscriber<Snapshot>,
    pub listening: Vec<Listening>,
    /// Sockets that are opened later.
    pub arrivals: Arrivals,
    pub stats: Arc<WorkerStats>,
    pub log: Producer,
    pub stop: Arc<Stop>,
    /// What the workers of the node share about its limits.
    pub node: Arc<Node>,
    /// Seed of random choices and request ids; the simulation repeats a run by repeating it.
    pub seed: u64,
}

/// A bound socket and the listener that it belongs to.
pub struct Listening {
    pub id: SocketId,
    pub listener: ListenerId,
    /// The first generation that has it.
    pub generation: u64,
    pub socket: Bound,
}

/// One generation of the configuration as this worker holds it.
///
/// Exchanges share it through `Rc`, so no atomic counter moves between cores. When the last of them ends, the snapshot
/// travels back to the control plane, which frees it.
pub(crate) struct Generation {
    snapshot: Option<Arc<Snapshot>>,
    home: Rc<RefCell<Subscriber<Snapshot>>>,
}

impl Deref for Generation {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        self.snapshot.as_deref().expect("only drop takes the snapshot out")
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.home.borrow_mut().retire(snapshot);
        }
    }
}

/// State that all tasks of one worker share through `Rc`.
pub(crate) struct Worker {
    pub(crate) rt: Runtime,
    pub(crate) overload: Overload,
    pub(crate) id: WorkerId,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) node: Arc<Node>,
    /// What is written on connections with TLS and not encrypted yet.
    pub(crate) sealing: Rc<Sealing>,
    pub(crate) pool: Pool,
    pub(crate) lanes: Lanes,
    /// Requests that wait for an upstream.
    pub(crate) queues: Queues,
    pub(crate) compressors: Rc<compress::Pool>,
    pub(crate) drain: Drain,
    pub(crate) entrance: Entrance,
    /// Rings when a downstream connection has ended and there is room for another.
    pub(crate) room: Bell,
    pub(crate) date: DateCache,
    pub(crate) rng: RefCell<Rng>,
    /// What is remembered of credentials.
    pub(crate) memory: RefCell<auth::Memory>,
    /// Downstream connections that are open now.
    pub(crate) connections: Cell<u32>,
    /// The same by listener.
    pub(crate) by_listener: RefCell<Vec<u32>>,
    /// Accept tasks that have not ended yet.
    pub(crate) accepting: Cell<u32>,
    pub(crate) log: RefCell<Producer>,
    /// Requests that go well until the next one is kept among the recent decisions.
    pub(crate) until_sample: Cell<u32>,
    /// The record being written; kept for its memory.
    pub(crate) log_line: RefCell<Vec<u8>>,
    /// When the worker last found that it had not run for longer than [`STALL`]. What began before that says nothing
    /// about endpoints.
    pub(crate) stalled: Cell<Instant>,
    generation: RefCell<Rc<Generation>>,
    snapshots: Rc<RefCell<Subscriber<Snapshot>>>,
    /// Exchanges that no connection uses, with their buffers. Boxed, so that handing one out moves a pointer.
    #[expect(clippy::vec_box, reason = "an exchange is close to a kilobyte, and moves twice per request")]
    spare: RefCell<Vec<Box<Exchange>>>,
    request_ids: Cell<u64>,
    request_id_prefix: u64,
}

/// A longer time between two turns is no wait for I/O.
const STALL: Duration = Duration::from_secs(2);

/// Spare exchanges kept for reuse; beyond it their memory is given back.
const SPARE_EXCHANGES_MAX: usize = 256;
/// A turn of this length is counted: while it lasts the worker serves nobody.
const LONG_TURN: Duration = Duration::from_secs(1);

impl Worker {
    /// The worker, and the parts of what it is started with that only the loop needs.
    fn new(rt: Runtime, start: WorkerStart) -> (Rc<Worker>, Vec<Listening>, Arc<Stop>) {
        let WorkerStart { id, snapshot, snapshots, listening, arrivals, stats, log, stop, node, seed } =
            start;
        let snapshots = Rc::new(RefCell::new(snapshots));
        let limits = snapshot.limits;
        stats.generation.set(snapshot.generation);
        let generation = Generation { snapshot: Some(snapshot), home: Rc::clone(&snapshots) };
        let mut rng = Rng::new(seed ^ (u64::from(id.0) << 48));
        let is_limited = node.supply.sheds && node.supply.memory != u64::MAX;
        let meter = if is_limited { rt.resident_meter() } else { None };
        let worker = Rc::new(Worker {
            overload: Overload::new(meter),
            node,
            sealing: Rc::new(Sealing::new(rt.clone())),
            pool: Pool::new(limits.idle_per_endpoint_max as usize),
            lanes: Lanes::default(),
            queues: Queues::new(id, &rt),
            compressors: Rc::default(),
            drain: Drain::default(),
            entrance: Entrance::new(arrivals),
            room: Bell::default(),
            date: DateCache::default(),
            connections: Cell::new(0),
            by_listener: RefCell::default(),
            accepting: Cell::new(0),
            log: RefCell::new(log),
            until_sample: Cell::new(0),
            log_line: RefCell::default(),
            stalled: Cell::new(Instant::ZERO),
            generation: RefCell::new(Rc::new(generation)),
            snapshots,
            spare: RefCell::default(),
            request_ids: Cell::new(0),
            request_id_prefix: rng.next_u64(),
            rng: RefCell::new(rng),
            memory: RefCell::default(),
            rt,
            id,
            stats,
        });
        (worker, listening, stop)
    }

    /// The generation that new exchanges use.
    pub(crate) fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.generation.borrow())
    }

    fn take_newest_generation(self: &Rc<Self>) {
        let newest = self.snapshots.borrow_mut().take();
        if let Some(snapshot) = newest {
            self.stats.generation.set(snapshot.generation);
            let generation = Generation { snapshot: Some(snapshot), home: Rc::clone(&self.snapshots) };
            // The old one is dropped after the borrow has ended: its drop borrows `snapshots`.
            let old = self.generation.replace(Rc::new(generation));
            entrance::follow(self, &old);
            drop(old);
            // Spare exchanges must not keep it either, or it would live until the last of them is used again.
            self.spare.borrow_mut().iter_mut().for_each(|spare| spare.generation = self.generation());
        }
    }

    /// An id that no other request carries: random per start and worker, then counted per request.
    pub(crate) fn next_request_id(&self) -> (u64, u64) {
        let count = self.request_ids.get().wrapping_add(1);
        self.request_ids.set(count);
        // Multiplying by an odd constant keeps the numbers distinct and makes neighbours look unlike each other.
        (self.request_id_prefix, count.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn random(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "any 32 of the bits are as random as the others")]
        let random = self.rng.borrow_mut().next_u64() as u32;
        random
    }

    /// An exchange to fill; give it back with [`Worker::give_back`].
    pub(crate) fn take_exchange(&self) -> Box<Exchange> {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Box::new(Exchange::new(self.generation(), self.rt.now())))
    }

    pub(crate) fn give_back(&self, mut exchange: Box<Exchange>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_EXCHANGES_MAX {
            exchange.release(self.generation());
            spare.push(exchange);
        }
    }

    /// Notices that the thread, the process or the machine stood still, in a wait or within a turn. The sweeper of the
    /// pool ends every wait within a second. The runtime moves deadlines for what it sees of that (`Runtime::gaps`); here
    /// the question is whom to blame, and the shorter measure is the fairer one.
    fn notice_stall(&self, before: Instant) {
        if self.rt.now().since(before) > STALL {
            self.stalled.set(self.rt.now());
        }
    }

    /// Gives memory back that is kept for reuse.
    pub(crate) fn trim(&self) {
        self.rt.trim();
        self.sealing.trim();
        self.compressors.trim();
        self.spare.borrow_mut().clear();
    }

    /// Tells the control plane how the worker is, at the end of a turn that has taken `spent`.
    fn publish_gauges(&self, spent: Duration) {
        let gauges = self.rt.gauges();
        let stats = &self.stats;
        stats.turns.add(1);
        let nanos = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        stats.busy_nanos.add(nanos);
        stats.turn_longest_nanos.set(nanos.max(stats.turn_longest_nanos.get()));
        if spent >= LONG_TURN {
            stats.shed.long_turn_nanos.set(nanos);
            stats.shed.long_turns.add(1);
        }
        stats.shed.turn_began.set(0);
        stats.shed.gaps.set(self.rt.gaps().count);
        stats.pool_stale.set(self.pool.stale());
        stats.races_retired.set(self.pool.retired());
        stats.races_checked.set(self.pool.checked());
        stats.live_ops.set(gauges.live_ops);
        stats.leases_out.set(gauges.leases_out);
        stats.sockets.set(gauges.sockets);
        stats.tasks.set(gauges.tasks);
        stats.pipes.set(gauges.pipes);
        stats.connections_active.set(u64::from(self.connections.get()));
        stats.compression.lent_bytes.set(self.compressors.lent_bytes() as u64);
        stats.pool_idle.set(self.pool.idle() as u64);
    }
}

/// Runs a worker on this thread until it is told to stop. `rt` must have been created on this thread.
///
/// # Errors
/// When a listening socket cannot be registered or waiting for I/O fails for good; the worker cannot go on then.
pub fn run(rt: &Runtime, start: WorkerStart) -> io::Result<()> {
    let (worker, listening, stop) = Worker::new(rt.clone(), start);
    listening.into_iter().try_for_each(|listening| accept::start(&worker, listening))?;
    crate::upstream::pool::start_sweeper(&worker);
    overload::start(&worker);

    // One turn. Everything that happens in it happens at one moment: `now` is read once, after the wait.
    while !worker.drain.is_finished(&worker) {
        let before = rt.now();
        rt.submit_and_wait(worker.drain.deadline())?;
        worker.notice_stall(before);
        worker.stats.shed.turn_began.set(rt.now().as_nanos().max(1));
        worker.take_newest_generation();
        worker.drain.observe(&stop, rt.now());
        rt.reap();
        rt.expire_timers();
        worker.queues.answer(|gate, count| admission::make_room(&worker.pool, gate, count));
        rt.run_ready();
        worker.sealing.seal_all();
        let spent = rt.time_in_turn();
        worker.publish_gauges(spent);
        overload::end_of_turn(&worker, spent);
    }
    Ok(())
}
