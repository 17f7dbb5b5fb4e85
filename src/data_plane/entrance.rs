//! The sockets that a worker listens on, and the listeners that they belong to, over all generations.
//!
//! A generation says which sockets there are; what it does not name any more closes, and nothing else is touched. New
//! sockets are bound by the control plane, which leaves them here before it publishes the generation that has them.
//!
//! ```text
//!   new generation ─▶ has the socket      goes on, perhaps for another listener
//!                     does not have it    its queue is served, then it closes
//!                     has a new one       taken from the arrivals
//!                     lacks a listener    its connections finish under the last generation that had it
//! ```

use crate::accept;
use crate::worker::{Generation, Listening, Worker};
use base::Instant;
use base::ids::{ListenerId, SocketId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use traffic::Snapshot;

/// Leaves sockets for a worker that runs.
#[derive(Clone)]
pub struct Usher {
    sender: mpsc::Sender<Listening>,
    waiting: Arc<AtomicUsize>,
}

/// The worker's end.
pub struct Arrivals {
    receiver: mpsc::Receiver<Listening>,
    waiting: Arc<AtomicUsize>,
}

/// The way of later sockets to one worker.
pub fn arrivals() -> (Usher, Arrivals) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Usher { sender, waiting: Arc::clone(&waiting) }, Arrivals { receiver, waiting })
}

impl Usher {
    /// Leaves a socket. To be called before the generation that has it is published; a worker that has ended takes none.
    pub fn leave(&self, listening: Listening) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Without a worker the socket is closed here.
        let _ = self.sender.send(listening);
    }

    /// How many the worker has not taken yet. Whoever leaves sockets keeps this bounded.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Usher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usher").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").finish_non_exhaustive()
    }
}

/// A listening socket as its accept task sees it.
pub(crate) struct Door {
    id: SocketId,
    listener: Cell<ListenerId>,
    closes: Cell<bool>,
}

impl Door {
    /// The listener of connections that arrive now.
    pub(crate) fn listener(&self) -> ListenerId {
        self.listener.get()
    }

    /// Whether no generation has the socket any more.
    pub(crate) fn closes(&self) -> bool {
        self.closes.get()
    }
}

/// All of them.
pub(crate) struct Entrance {
    doors: RefCell<Vec<Rc<Door>>>,
    /// Listeners that the generation in force does not have and that still have connections or sockets here.
    closed: RefCell<Vec<Closed>>,
    arrivals: Arrivals,
    /// Arrived before their generation.
    early: RefCell<Vec<Listening>>,
}

struct Closed {
    listener: ListenerId,
    /// The last generation that had it.
    last: Rc<Generation>,
    since: Instant,
}

impl Entrance {
    pub(crate) fn new(arrivals: Arrivals) -> Entrance {
        Entrance {
            doors: RefCell::default(),
            closed: RefCell::default(),
            arrivals,
            early: RefCell::default(),
        }
    }

    /// A socket is listened on from now on.
    pub(crate) fn open(&self, id: SocketId, listener: ListenerId) -> Rc<Door> {
        let door = Rc::new(Door { id, listener: Cell::new(listener), closes: Cell::new(false) });
        self.doors.borrow_mut().push(Rc::clone(&door));
        door
    }

    /// The socket of this door has been closed.
    pub(crate) fn shut(&self, worker: &Worker, door: &Rc<Door>) {
        self.doors.borrow_mut().retain(|other| !Rc::ptr_eq(other, door));
        self.release(worker, door.listener());
    }

    /// Since when the listener is gone; `None` while the generation in force has it.
    pub(crate) fn closed_since(&self, listener: ListenerId) -> Option<Instant> {
        let closed = self.closed.borrow();
        closed.iter().find(|closed| closed.listener == listener).map(|closed| closed.since)
    }

    /// The last generation that had a listener that is gone.
    fn last_of(&self, listener: ListenerId) -> Option<Rc<Generation>> {
        let closed = self.closed.borrow();
        closed.iter().find(|closed| closed.listener == listener).map(|closed| Rc::clone(&closed.last))
    }

    /// Lets go of a listener that is gone, once it has neither connections nor sockets here.
    pub(crate) fn release(&self, worker: &Worker, listener: ListenerId) {
        if self.closed.borrow().is_empty() || self.is_used(worker, listener) {
            return;
        }
        let mut closed = self.closed.borrow_mut();
        let at = closed.iter().position(|closed| closed.listener == listener);
        let gone = at.map(|at| closed.swap_remove(at));
        // Its generation may be the last of its kind, and retiring it borrows.
        drop(closed);
        drop(gone);
    }

    fn is_used(&self, worker: &Worker, listener: ListenerId) -> bool {
        let open = worker.by_listener.borrow().get(listener.index()).copied().unwrap_or(0);
        open > 0 || self.doors.borrow().iter().any(|door| door.listener() == listener)
    }

    /// Compares what is open with what `new` says.
    fn compare(&self, worker: &Worker, old: &Rc<Generation>, new: &Snapshot) -> bool {
        let mut anything_closed = false;
        // First: a listener whose socket belongs to another one now is used by its connections only.
        for door in self.doors.borrow().iter().filter(|door| !door.closes()) {
            match new.listener_of(door.id) {
                Some(listener) => door.listener.set(listener),
                None => {
                    door.closes.set(true);
                    anything_closed = true;
                }
            }
        }
        let is_gone = |listener: ListenerId| new.listener(listener).is_none();
        self.closed.borrow_mut().retain(|closed| is_gone(closed.listener));
        for listener in old.open_listeners() {
            if is_gone(listener) && self.is_used(worker, listener) {
                let closed = Closed { listener, last: Rc::clone(old), since: worker.rt.now() };
                self.closed.borrow_mut().push(closed);
                anything_closed = true;
            }
        }
        anything_closed
    }

    /// Sockets that `new` has and that arrived for it, or before.
    fn arrived(&self, new: &Snapshot) -> Vec<Listening> {
        let mut early = self.early.borrow_mut();
        while let Ok(listening) = self.arrivals.receiver.try_recv() {
            self.arrivals.waiting.fetch_sub(1, Ordering::Relaxed);
            early.push(listening);
        }
        let (now, later): (Vec<_>, _) =
            early.drain(..).partition(|listening| listening.generation <= new.generation);
        *early = later;
        drop(early);
        // What is left out belongs to a generation that was replaced before this worker saw it.
        now.into_iter().filter(|listening| new.listener_of(listening.id).is_some()).collect()
    }
}

/// Follows a new generation, which the worker has taken in place of `old`.
pub(crate) fn follow(worker: &Rc<Worker>, old: &Rc<Generation>) {
    let new = worker.generation();
    if worker.entrance.compare(worker, old, &new) {
        // Idle connections, and tasks that accept, find out what is gone.
        worker.drain.ring();
    }
    for listening in worker.entrance.arrived(&new) {
        // It may have got another owner since it was bound.
        let listener = new.listener_of(listening.id).unwrap_or(listening.listener);
        if accept::start(worker, Listening { listener, ..listening }).is_err() {
            worker.stats.listen_failures.add(1);
        }
    }
}

impl Worker {
    /// The generation that a new exchange of this listener uses: the one in force, or the last that had the listener.
    pub(crate) fn generation_of(&self, listener: ListenerId) -> Rc<Generation> {
        let in_force = self.generation();
        if in_force.listener(listener).is_some() {
            return in_force;
        }
        self.entrance.last_of(listener).unwrap_or(in_force)
    }

    /// Whether the connections of this listener should end with their next response.
    pub(crate) fn is_ending(&self, listener: ListenerId) -> bool {
        self.drain.is_draining() || self.entrance.closed_since(listener).is_some()
    }

    /// When a connection of the listener that has been idle since `idle_since` is closed at the latest; `None` while
    /// there is no hurry.
    pub(crate) fn idle_until(&self, listener: ListenerId, idle_since: Instant) -> Option<Instant> {
        let closed = || self.entrance.closed_since(listener);
        self.drain.since().or_else(closed).map(|since| crate::drain::idle_until(since, idle_since))
    }
}
