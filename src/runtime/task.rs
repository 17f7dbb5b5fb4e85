//! The tasks of one worker: boxed futures in slots, polled when their index is in the ready queue.
//!
//! Slot 0 belongs to the future of `Runtime::block_on`, which lives on the caller's stack.

use std::future::Future;
use std::pin::Pin;

/// A future that one worker owns and polls.
pub(crate) type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// The slot of the future that `block_on` polls itself.
pub(crate) const MAIN: u32 = 0;

pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

enum Slot {
    Free,
    Waiting(Boxed),
    /// Being polled, its future is on the stack of `run_ready`; or [`MAIN`].
    Running,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Tasks { slots: vec![Slot::Running], free: Vec::new(), live: 0 }
    }

    /// Tasks that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Returns the slot, in which the caller makes it ready.
    pub(crate) fn insert(&mut self, future: Boxed) -> u32 {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = Slot::Waiting(future);
            return index;
        }
        let index = u32::try_from(self.slots.len()).expect("tasks are bounded by connections");
        self.slots.push(Slot::Waiting(future));
        index
    }

    /// Takes the future out to be polled; None when the index is stale or its task runs already.
    pub(crate) fn take(&mut self, index: u32) -> Option<Boxed> {
        let slot = self.slots.get_mut(index as usize)?;
        match std::mem::replace(slot, Slot::Running) {
            Slot::Waiting(future) => Some(future),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Puts the future back that [`Tasks::take`] gave out.
    pub(crate) fn put(&mut self, index: u32, future: Boxed) {
        self.slots[index as usize] = Slot::Waiting(future);
    }

    /// Frees the slot of a task whose future has ended and is dropped.
    pub(crate) fn finish(&mut self, index: u32) {
        self.slots[index as usize] = Slot::Free;
        self.free.push(index);
        self.live -= 1;
    }

    /// A task that still waits, for shutting down.
    pub(crate) fn any(&self) -> Option<u32> {
        (0_u32..).zip(&self.slots).find(|(_, slot)| matches!(slot, Slot::Waiting(_))).map(|(index, _)| index)
    }
}
