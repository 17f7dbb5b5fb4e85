//! Wakes every task that waits for one event of the worker: the beginning of a drain, or room for a connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

/// The list of tasks to wake.
#[derive(Clone, Default)]
pub(crate) struct Bell(Rc<RefCell<Seats>>);

#[derive(Default)]
struct Seats {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// One task's place in the list; given up when dropped.
pub(crate) struct Seat {
    bell: Bell,
    place: Option<usize>,
}

impl Bell {
    /// Wakes every seated task.
    pub(crate) fn ring(&self) {
        for waker in self.0.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn seat(&self) -> Seat {
        Seat { bell: self.clone(), place: None }
    }
}

impl Seat {
    /// The current task is woken by every ring from now on. A task keeps its waker for life, so only the first call
    /// stores it.
    pub(crate) fn take(&mut self, waker: &Waker) {
        if self.place.is_some() {
            return;
        }
        let mut seats = self.bell.0.borrow_mut();
        let place = seats.free.pop().unwrap_or(seats.wakers.len());
        if place == seats.wakers.len() {
            seats.wakers.push(None);
        }
        seats.wakers[place] = Some(waker.clone());
        self.place = Some(place);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut seats = self.bell.0.borrow_mut();
            seats.wakers[place] = None;
            seats.free.push(place);
        }
    }
}
