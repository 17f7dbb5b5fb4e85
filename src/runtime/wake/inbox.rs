//! What other threads ask a worker for: a flag that they did, and the tasks to wake, at most one entry per task.
//!
//! The rule that keeps a wake from being lost: whoever posts fills the inbox before raising the flag, and the worker
//! lowers the flag before emptying the inbox. Checked under loom, see the end of this file.

use std::collections::HashMap;

#[cfg(loom)]
use loom::sync::{Mutex, atomic::AtomicBool, atomic::Ordering};
#[cfg(not(loom))]
use std::sync::{Mutex, atomic::AtomicBool, atomic::Ordering};

/// The side of a worker that any thread may touch.
pub(crate) struct Inbox {
    /// True from the first post until the worker takes notice: one signal per wait, however many post.
    notified: AtomicBool,
    /// Tasks to wake, by index. None as the generation means "whoever is there": two different ones were asked for,
    /// and waking the wrong task is harmless while forgetting the right one is not.
    tasks: Mutex<Tasks>,
}

pub(crate) type Tasks = HashMap<u32, Option<u16>>;

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { notified: AtomicBool::new(false), tasks: Mutex::new(Tasks::new()) }
    }

    /// Raises the flag; true when the caller has to signal the worker, because nobody did since its last look.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        !self.notified.swap(true, Ordering::AcqRel)
    }

    /// Asks for a task, and raises the flag as `notify` does.
    #[must_use]
    pub(crate) fn post(&self, index: u32, generation: u16) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let entry = tasks.entry(index).or_insert(Some(generation));
        if *entry != Some(generation) {
            *entry = None;
        }
        drop(tasks);
        self.notify()
    }

    /// Whether the worker has something to take.
    pub(crate) fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire)
    }

    /// Lowers the flag and returns what was asked for; None when the flag was down.
    pub(crate) fn take(&self) -> Option<Tasks> {
        if !self.is_notified() || !self.notified.swap(false, Ordering::AcqRel) {
            return None;
        }
        Some(std::mem::take(&mut *self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_signal_is_asked_for_per_look_and_one_entry_kept_per_task() {
        let inbox = Inbox::new();
        assert!(inbox.take().is_none());
        assert!(inbox.post(1, 7) && !inbox.post(1, 7) && !inbox.post(2, 1) && !inbox.post(2, 3));
        let tasks = inbox.take().expect("notified");
        assert_eq!(tasks, Tasks::from([(1, Some(7)), (2, None)]));
        assert!(inbox.take().is_none() && inbox.notify());
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p runtime --lib wake::inbox` tries the interleavings with up to three preemptions.
#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU32;

    #[test]
    fn a_worker_that_sleeps_only_while_unsignalled_gets_every_wake() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let inbox = Arc::new(Inbox::new());
            // Stands for the event counter: the worker sleeps only while it is 0.
            let signals = Arc::new(AtomicU32::new(0));
            let threads: Vec<_> = (0..2_u16)
                .map(|n| {
                    let (inbox, signals) = (Arc::clone(&inbox), Arc::clone(&signals));
                    loom::thread::spawn(move || {
                        if inbox.post(u32::from(n), n) {
                            signals.fetch_add(1, Ordering::AcqRel);
                        }
                    })
                })
                .collect();
            let mut got = Tasks::new();
            while got.len() < 2 {
                if signals.load(Ordering::Acquire) == 0 {
                    // Asleep. Ends only when somebody signals.
                    loom::thread::yield_now();
                    continue;
                }
                signals.store(0, Ordering::Release);
                got.extend(inbox.take().into_iter().flatten());
            }
            assert_eq!(got, Tasks::from([(0, Some(0)), (1, Some(1))]));
            threads.into_iter().for_each(|thread| thread.join().expect("ended"));
        });
    }
}
