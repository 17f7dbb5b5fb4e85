//! How hard pressed this worker is, measured at the end of turns, and what it sheds then.
//!
//! What is measured every ten milliseconds while the loop turns, and never on a timer of its own:
//!
//! - memory: the resident size of the process, read by whichever worker comes first, and what the kernel holds for sockets;
//! - descriptors: the sockets of all workers;
//! - time: how much work lies ahead of an event that is ready. A probe goes through the same queue as all events, and what
//!   the worker computes until it returns is that work. It is CPU time, not time of day: a worker whose CPU is taken by
//!   others, or that stood still, has no more to do than before, and refusing work would not bring the CPU back.
//!
//! `traffic::overload` makes levels and decisions of that. Steps that concern requests look at the cells here; steps that
//! concern connections are done by one task, which sleeps while nothing presses.

use crate::bell::Bell;
use crate::crowd::Crowd;
use crate::worker::Worker;
use base::Instant;
use runtime::ResidentMeter;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use traffic::Cause;
use traffic::overload::{Lag, Level, Permille, Shedding};

/// Between two measurements.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);
/// A turn of this length counts as busy: it is worth a probe.
const LONG_TURN: Duration = Duration::from_millis(2);
/// Between two rounds of closing connections.
const RELIEVE_EVERY: Duration = Duration::from_millis(100);
/// Between two rounds of giving memory back.
const RETURN_EVERY: Duration = Duration::from_secs(1);
/// Idle upstream connections kept per endpoint while connections are not kept.
const UPSTREAM_IDLE_MIN: usize = 2;
/// For how long an exchange must hardly have moved to be reset.
const STALLED: Duration = Duration::from_secs(2);
/// Exchanges reset in one round at most.
const STALLED_MAX: usize = 50;
/// Idle connections closed in one round at most.
const EVICTED_MAX: usize = 50;
/// A worker with no more connections than this goes on serving whatever the pressure is: when memory is short for another
/// reason than traffic, shedding all of it would only add an outage.
const ALWAYS_SERVED: u32 = 8;

/// The pressure on one worker and what follows from it.
#[derive(Default)]
pub(crate) struct Overload {
    pub(crate) crowd: Crowd,
    shedding: RefCell<Shedding>,
    lag: RefCell<Lag>,
    meter: Option<ResidentMeter>,
    sampled: Cell<Instant>,
    /// When memory was last given back.
    returned: Cell<Instant>,
    turns: Cell<u32>,
    /// CPU time at which a probe was sent that has not returned, and how many had returned before it.
    probe: Cell<Option<(Duration, u64)>>,
    refused: Cell<Permille>,
    repeats_not: Cell<bool>,
    closes: Cell<bool>,
    pauses: Cell<bool>,
    /// Rings when the level rises from calm.
    pressed: Bell,
}

impl Overload {
    /// `meter` is None where memory is not limited or cannot be read.
    pub(crate) fn new(meter: Option<ResidentMeter>) -> Overload {
        Overload { meter, ..Overload::default() }
    }

    /// Whether accepting pauses now.
    pub(crate) fn pauses_accepting(&self, connections: u32) -> bool {
        self.pauses.get() && connections >= ALWAYS_SERVED
    }

    /// Whether connections end with their response.
    pub(crate) fn closes_connections(&self) -> bool {
        self.closes.get()
    }

    /// How hard pressed the worker is.
    pub(crate) fn level(&self) -> Level {
        self.shedding.borrow().level()
    }
}

/// Whether a new request may go on to an upstream.
///
/// # Errors
/// [`Cause::Overloaded`], with which it is answered.
pub(crate) fn admit(worker: &Worker) -> Result<(), Cause> {
    let refused = worker.overload.refused.get();
    if refused == 0 || worker.connections.get() <= ALWAYS_SERVED || worker.random() % 1000 >= refused {
        return Ok(());
    }
    worker.stats.shed.refused.add(1);
    Err(Cause::Overloaded)
}

/// Whether a failed attempt may be repeated as far as pressure is concerned. `first_use` says that its connection had
/// carried no request before: repeating what a kept connection lost costs no more than the request itself.
pub(crate) fn may_repeat(worker: &Worker, first_use: bool) -> bool {
    let may = !(first_use && worker.overload.repeats_not.get());
    worker.stats.shed.not_repeated.add(u64::from(!may));
    may
}

/// Measures when it is time to; called at the end of every turn, which has taken `spent`.
pub(crate) fn end_of_turn(worker: &Worker, spent: Duration) {
    let overload = &worker.overload;
    if !worker.node.supply.sheds {
        return;
    }
    overload.turns.set(overload.turns.get().saturating_add(1));
    let now = worker.rt.now();
    if let Some((sent, before)) = overload.probe.get()
        && worker.rt.probes_returned() > before
    {
        overload.probe.set(None);
        // The rest of this turn included, as an event behind the probe would have to wait for it.
        overload.lag.borrow_mut().sample(now, worker.rt.cpu_time().saturating_sub(sent));
    }
    if now.since(overload.sampled.get()) < SAMPLE_EVERY {
        return;
    }
    overload.sampled.set(now);
    // A lone turn was made for one event, or for the sweep of an idle worker.
    let is_busy = overload.turns.take() > 1 || spent >= LONG_TURN;
    if is_busy && overload.probe.get().is_none() {
        let before = worker.rt.probes_returned();
        overload.probe.set(worker.rt.send_probe().then(|| (worker.rt.cpu_time(), before)));
    }
    sample(worker, now);
}

fn sample(worker: &Worker, now: Instant) {
    let (overload, node) = (&worker.overload, &worker.node);
    let gauges = worker.rt.gauges();
    node.set_open(worker.id, gauges.sockets, gauges.pipes_out);
    if let Some(meter) = &overload.meter
        && node.is_due(now, SAMPLE_EVERY)
        && let Some(bytes) = meter.read()
    {
        node.set_resident(bytes);
    }
    let space = node.memory().max(node.descriptors());
    let (lag, time) = {
        let mut lag = overload.lag.borrow_mut();
        (lag.standing(now), lag.pressure(now))
    };
    let (before, after) = overload.shedding.borrow_mut().observe(now, space, time);
    let shed = &worker.stats.shed;
    shed.space.set(space.into());
    shed.time.set(time.into());
    shed.lag_nanos.set(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX));
    if (before, after) == (Level::Calm, Level::Calm) {
        return;
    }
    let shedding = *overload.shedding.borrow();
    overload.refused.set(shedding.refused());
    overload.repeats_not.set(!shedding.repeats());
    overload.closes.set(shedding.closes_connections());
    shed.level.set(after as u64);
    let (paused, pauses) =
        (overload.pauses.replace(shedding.pauses_accepting()), shedding.pauses_accepting());
    if pauses && !paused {
        shed.paused_since.set(now.as_nanos().max(1));
    } else if paused && !pauses {
        shed.paused_since.set(0);
        worker.room.ring();
    }
    if before == Level::Calm {
        overload.pressed.ring();
    }
}

/// Starts the task that closes connections under pressure; it ends when the worker drains.
pub(crate) fn start(worker: &Rc<Worker>) {
    let owner = Rc::clone(worker);
    worker.rt.spawn(async move {
        let (mut pressed, mut drain) = (owner.overload.pressed.seat(), owner.drain.seat());
        let timer = owner.rt.timer();
        while !owner.drain.is_draining() {
            poll_fn(|cx| {
                pressed.take(cx.waker());
                drain.take(cx.waker());
                let wakes = owner.overload.level() > Level::Calm || owner.drain.is_draining();
                if wakes { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            while owner.overload.level() > Level::Calm && !owner.drain.is_draining() {
                relieve(&owner);
                timer.set(owner.rt.now() + RELIEVE_EVERY);
                timer.wait().await;
            }
            timer.clear();
        }
    });
}

/// One round of closing what the pressure asks for, the cheapest harm first.
fn relieve(worker: &Worker) {
    let (overload, now) = (&worker.overload, worker.rt.now());
    let shedding = *overload.shedding.borrow();
    let (crowd, shed) = (&overload.crowd, &worker.stats.shed);
    if shedding.space().level() >= Level::Shorten {
        shed.idle_closed.add(crowd.end_idle(now, |patience| shedding.idle_timeout(patience)));
        if now.since(overload.returned.get()) >= RETURN_EVERY {
            overload.returned.set(now);
            worker.trim();
            runtime::return_free_memory();
        }
    }
    if shedding.closes_connections() {
        shed.upstream_closed.add(worker.pool.shrink(UPSTREAM_IDLE_MIN));
    }
    if shedding.cuts_stalled() {
        let bounds = (shedding.stalled_bytes_min(), STALLED_MAX);
        let queued = |stream| worker.rt.queued(stream).map(|queued| (queued.held_bytes, queued.moved_bytes));
        shed.stalled_reset.add(crowd.end_stalled(now, STALLED, bounds, queued));
    }
    if shedding.evicts_idle() {
        shed.idle_evicted.add(crowd.end_oldest(EVICTED_MAX));
    }
}
