//! Waking tasks and workers, from the worker's own thread and from any other.
//!
//! A waker is three numbers packed into its data pointer: the runtime's slot, the task's generation and the task's
//! index. It owns nothing, so cloning copies and dropping does nothing, and it may outlive its task, its runtime and
//! its thread: numbers that match nothing any more wake nothing, or (when a generation has wrapped) a task that then
//! finds nothing to do.
//!
//! On the owner's thread a wake appends to a local queue. Elsewhere it goes through the registry to the runtime's
//! inbox, which holds at most one entry per task, and an eventfd ends the wait.

#![expect(clippy::cast_possible_truncation, reason = "packing takes 64 bits apart")]

mod inbox;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::sys;
use inbox::Inbox;

/// Wakes one worker's loop from any thread.
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

impl Remote {
    /// Ends the worker's current wait, or its next one; cheap when it was called already since the last.
    pub fn wake(&self) {
        self.0.notify();
    }
}

/// The part of a runtime that other threads reach.
pub(crate) struct Shared {
    event: OwnedFd,
    inbox: Inbox,
}

/// The part of a runtime that only its own thread reaches.
pub(crate) struct Local {
    slot: u16,
    ready: RefCell<VecDeque<u32>>,
    marks: RefCell<Vec<Mark>>,
    /// Indices in `ready`, so that the loop asks without borrowing.
    waiting: Cell<usize>,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    generation: u16,
    queued: bool,
}

/// Runtimes of this process by slot. Locked only when one starts or ends and when a foreign thread wakes a task.
static REGISTRY: Mutex<Vec<Option<Arc<Shared>>>> = Mutex::new(Vec::new());

thread_local! {
    /// The runtimes of this thread: one, except in tests.
    static LOCALS: RefCell<Vec<Rc<Local>>> = const { RefCell::new(Vec::new()) };
}

/// Makes both parts of a new runtime known.
pub(crate) fn register() -> io::Result<(Rc<Local>, Arc<Shared>)> {
    let event = sys::event_fd()?;
    let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    let free = registry.iter().position(Option::is_none).unwrap_or(registry.len());
    let slot = u16::try_from(free).map_err(|_| io::Error::other("65,536 runtimes in one process"))?;
    let shared = Arc::new(Shared { event, inbox: Inbox::new() });
    if free == registry.len() {
        registry.push(None);
    }
    registry[free] = Some(Arc::clone(&shared));
    drop(registry);
    let local =
        Rc::new(Local { slot, ready: RefCell::default(), marks: RefCell::default(), waiting: Cell::new(0) });
    LOCALS.with_borrow_mut(|locals| locals.push(Rc::clone(&local)));
    Ok((local, shared))
}

/// Forgets a runtime; wakers for it do nothing from here on.
pub(crate) fn unregister(slot: u16) {
    // While the thread ends, its locals may be gone already.
    let _ = LOCALS.try_with(|locals| locals.borrow_mut().retain(|local| local.slot != slot));
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(slot)] = None;
}

impl Shared {
    pub(crate) fn remote(self: &Arc<Self>) -> Remote {
        Remote(Arc::clone(self))
    }

    /// What drivers wait on besides sockets.
    pub(crate) fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    fn notify(&self) {
        if self.inbox.notify() {
            sys::signal(&self.event);
        }
    }

    /// An event without a message, for measuring how long events wait.
    pub(crate) fn probe(&self) {
        sys::signal(&self.event);
    }

    /// Whether somebody has woken the worker since [`Shared::take`].
    pub(crate) fn is_notified(&self) -> bool {
        self.inbox.is_notified()
    }

    fn wake_task(&self, index: u32, generation: u16) {
        if self.inbox.post(index, generation) {
            sys::signal(&self.event);
        }
    }

    /// Moves what other threads asked for into the local queue.
    pub(crate) fn take(&self, local: &Local) {
        for (index, generation) in self.inbox.take().into_iter().flatten() {
            local.wake(index, generation);
        }
    }
}

impl Local {
    pub(crate) fn slot(&self) -> u16 {
        self.slot
    }

    /// Tasks that are ready to run, stale ones included.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Queues a task once; `generation` None wakes whichever task has the index.
    fn wake(&self, index: u32, generation: Option<u16>) {
        let mut marks = self.marks.borrow_mut();
        let Some(mark) = marks.get_mut(index as usize) else { return };
        if mark.queued || generation.is_some_and(|g| g != mark.generation) {
            return;
        }
        mark.queued = true;
        self.push(index);
    }

    fn push(&self, index: u32) {
        self.ready.borrow_mut().push_back(index);
        self.waiting.set(self.waiting.get() + 1);
    }

    /// Starts a task's life in a slot: queued, with the slot's current generation.
    pub(crate) fn admit(&self, index: u32) {
        let mut marks = self.marks.borrow_mut();
        if marks.len() <= index as usize {
            marks.resize(index as usize + 1, Mark::default());
        }
        let mark = &mut marks[index as usize];
        if !mark.queued {
            mark.queued = true;
            self.push(index);
        }
    }

    /// Ends a task's life: wakers made for it no longer match.
    pub(crate) fn retire(&self, index: u32) {
        if let Some(mark) = self.marks.borrow_mut().get_mut(index as usize) {
            mark.generation = mark.generation.wrapping_add(1);
        }
    }

    /// The next ready task; it can be queued again from here on.
    pub(crate) fn pop(&self) -> Option<u32> {
        let index = self.ready.borrow_mut().pop_front()?;
        self.waiting.set(self.waiting.get() - 1);
        if let Some(mark) = self.marks.borrow_mut().get_mut(index as usize) {
            mark.queued = false;
        }
        Some(index)
    }

    /// A waker for the task that now lives at `index`.
    pub(crate) fn waker(&self, index: u32) -> Waker {
        let generation = self.marks.borrow().get(index as usize).map_or(0, |mark| mark.generation);
        let data = pack(self.slot, generation, index);
        // SAFETY: the functions of the table treat the pointer as a number and touch no memory behind it, so every
        // value is valid, on every thread, for ever; see the module doc.
        unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
    }
}

const _: () = assert!(size_of::<usize>() == 8, "a waker packs 64 bits into its data pointer");

fn pack(slot: u16, generation: u16, index: u32) -> *const () {
    let bits = u64::from(slot) << 48 | u64::from(generation) << 32 | u64::from(index);
    std::ptr::without_provenance(bits as usize)
}

fn unpack(data: *const ()) -> (u16, u16, u32) {
    let bits = data.addr() as u64;
    ((bits >> 48) as u16, (bits >> 32) as u16, bits as u32)
}

static TABLE: RawWakerVTable = RawWakerVTable::new(|data| RawWaker::new(data, &TABLE), wake, wake, |_| ());

fn wake(data: *const ()) {
    let (slot, generation, index) = unpack(data);
    let here = LOCALS.try_with(|locals| {
        let locals = locals.borrow();
        locals.iter().find(|local| local.slot == slot).map(|local| local.wake(index, Some(generation)))
    });
    if let Ok(Some(())) = here {
        return;
    }
    let registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = registry.get(usize::from(slot)).and_then(Clone::clone);
    drop(registry);
    if let Some(shared) = shared {
        shared.wake_task(index, generation);
    }
}
