//! The waiters of one worker: requests that their upstreams have no room for.
//!
//! One [`Queue`] per upstream, touched by this worker alone. What other workers must know of it stands at the worker's
//! desk in `traffic::admission::Line`. They never wake a task here: they call the desk and ring the worker's bell, and
//! [`Queues::answer`], once per turn, lets whoever is next try.

use base::Instant;
use base::ids::WorkerId;
use runtime::{Remote, Runtime};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use traffic::admission::{Gate, Joined, Line};

/// All queues of one worker.
pub(crate) struct Queues {
    worker: WorkerId,
    rt: Runtime,
    bell: Arc<Bell>,
    known: RefCell<Known>,
}

/// Walked in the order of first use, never in that of the map, so that a simulated run repeats exactly.
#[derive(Default)]
struct Known {
    queues: Vec<Rc<Queue>>,
    /// Places in `queues` by the address of the gate, which the queue keeps from being used again.
    places: HashMap<usize, usize>,
}

/// What other workers ring: a flag for the loop to look at, and the end of its wait.
struct Bell {
    remote: Remote,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.remote.wake();
    }
}

impl Queues {
    pub(crate) fn new(worker: WorkerId, rt: &Runtime) -> Queues {
        let bell = Arc::new(Bell { remote: rt.remote(), rung: AtomicBool::new(false) });
        Queues { worker, rt: rt.clone(), bell, known: RefCell::default() }
    }

    /// The queue for `gate`, whose bell rings here from now on.
    pub(crate) fn of(&self, gate: &Arc<Gate>) -> Rc<Queue> {
        let known = &mut *self.known.borrow_mut();
        let place = *known.places.entry(key(gate)).or_insert_with(|| {
            for line in [&gate.line, &gate.slots] {
                line.set_bell(self.worker, || Waker::from(Arc::clone(&self.bell)));
            }
            known.queues.push(Rc::new(Queue {
                worker: self.worker,
                rt: self.rt.clone(),
                gate: Arc::clone(gate),
                patience: Cell::new(Duration::MAX),
                line: Waiters::default(),
                slots: Waiters::default(),
            }));
            known.queues.len() - 1
        });
        Rc::clone(&known.queues[place])
    }

    /// Lets those try for whom other workers have called since the last turn. `evict` closes up to so many idle
    /// connections that count against the gate.
    pub(crate) fn answer(&self, evict: impl Fn(&Arc<Gate>, u32)) {
        if !self.bell.rung.load(Ordering::Relaxed) || !self.bell.rung.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut known = self.known.borrow_mut();
        for queue in &known.queues {
            if queue.gate.line.answer(self.worker) {
                queue.let_next_try();
            }
            if queue.gate.slots.answer(self.worker) {
                queue.let_all_connect();
                let elsewhere = queue.gate.slots.waiting().saturating_sub(queue.slots.len());
                if elsewhere > 0 {
                    evict(&queue.gate, elsewhere);
                }
            }
        }
        // Gates that no generation and no connection has any more.
        if known.queues.iter().any(|queue| Arc::strong_count(&queue.gate) == 1) {
            let Known { queues, places } = &mut *known;
            queues.retain(|queue| Arc::strong_count(&queue.gate) > 1);
            places.clear();
            places.extend(queues.iter().zip(0..).map(|(queue, place)| (key(&queue.gate), place)));
        }
    }
}

fn key(gate: &Arc<Gate>) -> usize {
    Arc::as_ptr(gate).addr()
}

/// The requests of this worker that wait for one upstream.
pub(crate) struct Queue {
    worker: WorkerId,
    rt: Runtime,
    gate: Arc<Gate>,
    /// As the generation of the latest waiter says.
    patience: Cell<Duration>,
    /// Wait to be let in: one after the other tries.
    line: Waiters,
    /// Were let in and wait for a connection: all try, because each may need one to another endpoint.
    slots: Waiters,
}

#[derive(Default)]
struct Waiters {
    /// In the order of arrival, so by ticket and by time.
    queue: RefCell<VecDeque<Waiter>>,
    tickets: Cell<u64>,
}

struct Waiter {
    ticket: u64,
    since: Instant,
    /// Its turn has come, and it has not tried yet.
    called: bool,
    /// `None` until it was polled for the first time.
    waker: Option<Waker>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Permit,
    Connection,
}

impl Queue {
    fn parts(&self, what: What) -> (&Waiters, &Line) {
        match what {
            What::Permit => (&self.line, &self.gate.line),
            What::Connection => (&self.slots, &self.gate.slots),
        }
    }

    /// One more waits, unless `max` do already on all workers.
    pub(crate) fn join(self: &Rc<Self>, what: What, max: u32, patience: Duration) -> Option<(Seat, Joined)> {
        let now = self.rt.now();
        self.patience.set(patience);
        let (waiters, line) = self.parts(what);
        let first = waiters.queue.borrow().is_empty().then_some(now);
        let joined = line.join(self.worker, first, max)?;
        let ticket = waiters.tickets.get();
        waiters.tickets.set(ticket + 1);
        waiters.queue.borrow_mut().push_back(Waiter { ticket, since: now, called: false, waker: None });
        Some((Seat { queue: Rc::clone(self), what, ticket, was_let_in: Cell::new(false) }, joined))
    }

    /// A place at the upstream may be free: calls whoever is next, on whichever worker.
    pub(crate) fn pass_on(&self) {
        if !self.gate.line.is_waited_for() {
            return;
        }
        match self.gate.line.next(self.worker, self.rt.now(), self.patience.get()) {
            Some(next) if next == self.worker => self.let_next_try(),
            Some(next) => self.gate.line.call(next),
            None => {}
        }
    }

    /// Calls the oldest waiter here, or the newest when the oldest has waited too long. Nobody is left: somebody else.
    fn let_next_try(&self) {
        let mut waiters = self.line.queue.borrow_mut();
        let Some(oldest) = waiters.front() else {
            let next = self.gate.line.next(self.worker, self.rt.now(), self.patience.get());
            return next.into_iter().for_each(|next| self.gate.line.call(next));
        };
        let is_overdue = self.rt.now().since(oldest.since) > self.patience.get();
        let next = match is_overdue {
            true => waiters.iter_mut().rev().find(|waiter| !waiter.called),
            false => waiters.iter_mut().find(|waiter| !waiter.called),
        };
        next.into_iter().for_each(Waiter::call);
    }

    fn let_all_connect(&self) {
        self.slots.queue.borrow_mut().iter_mut().for_each(Waiter::call);
    }
}

impl Waiters {
    fn len(&self) -> u32 {
        u32::try_from(self.queue.borrow().len()).unwrap_or(u32::MAX)
    }
}

impl Waiter {
    fn call(&mut self) {
        self.called = true;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// A place in a queue, given up when dropped.
pub(crate) struct Seat {
    queue: Rc<Queue>,
    what: What,
    ticket: u64,
    was_let_in: Cell<bool>,
}

impl Seat {
    /// Whether the waiter's turn has come; then it must try now. The current task is woken when it comes.
    pub(crate) fn is_called(&self, cx: &Context<'_>) -> bool {
        let mut waiters = self.queue.parts(self.what).0.queue.borrow_mut();
        let Ok(place) = waiters.binary_search_by_key(&self.ticket, |waiter| waiter.ticket) else {
            return false;
        };
        let waiter = &mut waiters[place];
        if waiter.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            waiter.waker = Some(cx.waker().clone());
        }
        std::mem::take(&mut waiter.called)
    }

    /// The waiter got what it waited for.
    pub(crate) fn let_in(self) {
        self.was_let_in.set(true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (waiters, line) = self.queue.parts(self.what);
        let mut queue = waiters.queue.borrow_mut();
        let place = queue.binary_search_by_key(&self.ticket, |waiter| waiter.ticket);
        let was_called = place.ok().and_then(|place| queue.remove(place)).is_some_and(|waiter| waiter.called);
        line.part(self.queue.worker, queue.front().map(|waiter| waiter.since));
        drop(queue);
        // There may be more room than for one; and a call that nobody has followed must not be lost.
        if self.what == What::Permit && (was_called || self.was_let_in.get()) {
            self.queue.pass_on();
        }
    }
}
