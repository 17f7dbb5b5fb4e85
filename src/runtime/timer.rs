//! Deadlines of tasks: one slot per `Timer`, one wheel per worker, moved lazily.
//!
//! A connection restarts its idle deadline with every request. Setting a timer to a later time therefore only stores
//! the time; when the wheel brings the old one up, the entry is put back at the new time.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base::time::Instant;
use base::{Key, Slab, Wheel, wheel};

use crate::core::Core;

/// A deadline that can be moved; one slot of the worker's wheel. Starts cleared.
pub struct Timer {
    core: Rc<Core>,
    slot: Key<Slot>,
}

impl Timer {
    pub(crate) fn new(core: Rc<Core>) -> Timer {
        let slot = core.timers.borrow_mut().slots.insert(Slot { deadline: None, armed: None, waker: None });
        Timer { core, slot }
    }

    /// Moves the deadline; it fires at the first millisecond that is not before `at`.
    pub fn set(&self, at: Instant) {
        self.core.timers.borrow_mut().set(self.slot, at);
    }

    /// Takes the deadline away: the timer does not expire until it is set again.
    pub fn clear(&self) {
        if let Some(slot) = self.core.timers.borrow_mut().slots.get_mut(self.slot) {
            slot.deadline = None;
        }
    }

    /// Whether a deadline is set and was reached when the worker last read the clock.
    pub fn expired(&self) -> bool {
        self.deadline().is_some_and(|at| at <= self.core.now())
    }

    /// The deadline, if one is set; it stays set after it was reached.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.timers.borrow().slots.get(self.slot).and_then(|slot| slot.deadline)
    }

    /// Ends when the deadline is reached; pending while the timer is cleared.
    pub fn wait(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.poll_expired(cx))
    }

    /// As [`Timer::wait`]; the task of the last call is woken.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.expired() {
            return Poll::Ready(());
        }
        if let Some(slot) = self.core.timers.borrow_mut().slots.get_mut(self.slot) {
            remember(&mut slot.waker, cx);
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.core.timers.borrow_mut().remove(self.slot);
    }
}

/// Stores the task to wake, without touching it when it is the same as before.
pub(crate) fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(known) if known.will_wake(cx.waker()) => {}
        other => *other = Some(cx.waker().clone()),
    }
}

/// All timers of one worker.
pub(crate) struct Timers {
    wheel: Wheel<Key<Slot>>,
    slots: Slab<Slot>,
}

pub(crate) struct Slot {
    deadline: Option<Instant>,
    /// Where the slot waits in the wheel, and until when: never after `deadline`.
    armed: Option<(wheel::Entry<Key<Slot>>, Instant)>,
    waker: Option<Waker>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        Timers { wheel: Wheel::new(now), slots: Slab::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// When the loop has to look at the wheel again.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.wheel.next()
    }

    fn set(&mut self, key: Key<Slot>, at: Instant) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.deadline = Some(at);
        match slot.armed {
            Some((_, armed_at)) if armed_at <= at => return,
            Some((entry, _)) => drop(self.wheel.cancel(entry)),
            None => {}
        }
        slot.armed = Some((self.wheel.insert(at, key), at));
    }

    /// Moves every deadline by `gap`, during which nobody could act. Those that lie in the wheel already are put back
    /// when their old time comes up.
    pub(crate) fn shift(&mut self, gap: Duration) {
        for slot in self.slots.values_mut() {
            slot.deadline = slot.deadline.map(|at| at + gap);
        }
    }

    fn remove(&mut self, key: Key<Slot>) {
        if let Some((entry, _)) = self.slots.remove(key).and_then(|slot| slot.armed) {
            self.wheel.cancel(entry);
        }
    }

    /// The task of the next timer that has expired; call until None.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Waker> {
        while let Some(key) = self.wheel.expire(now) {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            slot.armed = None;
            match slot.deadline {
                Some(at) if at > now => slot.armed = Some((self.wheel.insert(at, key), at)),
                Some(_) if slot.waker.is_some() => return slot.waker.take(),
                Some(_) | None => {}
            }
        }
        None
    }
}
