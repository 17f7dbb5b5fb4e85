//! Many sockets served by one task: which of them have something to read.
//!
//! A task per flow would cost memory and a wake-up each; here the worker notes who was reported readable, and one task
//! takes them in that order. A socket stands in the queue at most once, so it is as long as there are sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::timer::remember;

/// A queue of sockets that are readable, by the tags that they were opened with. Clones are the same queue.
#[derive(Clone, Default)]
pub struct Arrivals(Rc<RefCell<Queue>>);

#[derive(Default)]
struct Queue {
    tags: VecDeque<u64>,
    waker: Option<Waker>,
}

impl Arrivals {
    pub fn new() -> Arrivals {
        Arrivals::default()
    }

    /// The next socket to look at. The task of the last call is woken when there is one. A tag may come up after its
    /// socket has been closed.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<u64> {
        let mut queue = self.0.borrow_mut();
        match queue.tags.pop_front() {
            Some(tag) => Poll::Ready(tag),
            None => {
                remember(&mut queue.waker, cx);
                Poll::Pending
            }
        }
    }

    /// As [`Arrivals::poll_next`], without waiting.
    pub fn next(&self) -> Option<u64> {
        self.0.borrow_mut().tags.pop_front()
    }

    /// Adds a socket that was found readable; returns the task to wake.
    pub(crate) fn arrived(&self, tag: u64) -> Option<Waker> {
        let mut queue = self.0.borrow_mut();
        queue.tags.push_back(tag);
        queue.waker.clone()
    }
}
