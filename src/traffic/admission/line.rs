//! Who waits for an upstream, over all workers: how many, since when, and which worker is called next.
//!
//! The waiters themselves stand in a queue of their worker (`data_plane::upstream::queue`), which alone wakes them.
//! Shared is only a *desk* per worker: how many wait there, since when the first one does, and whether the worker has
//! been *called* to let its waiters try again. Whoever gives something back calls one desk; a waiter that was let in,
//! or leaves after it was called, calls the next one. So there is always somebody trying while there is room.
//!
//! **No call is lost.** A waiter joins and then tries, whoever gives back does so and then looks for waiters, both with a
//! fence between the two. Either the waiter finds the room, or the other one finds the waiter. A waiter that is not
//! the only one need not try: those before it call it when they leave. Modelled in `loom_tests`.
//!
//! **Fairness.** The desk whose first waiter is the oldest is called. A worker prefers its own waiters as long as they are
//! no more than [`HEAD_START`] younger, because letting them in costs no wake-up of another thread. A called worker lets
//! in as many as there is room for: while another worker is on its way to its desk, waiters here may overtake those
//! there, but only as many as places became free between two turns of that worker. Nobody is overtaken for longer.

use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, fence};
use base::Instant;
use base::ids::WorkerId;
use std::sync::{PoisonError, RwLock};
use std::task::Waker;
use std::time::Duration;

/// How much younger waiters of the calling worker may be than the oldest of all and still be called first.
pub const HEAD_START: Duration = Duration::from_millis(5);

/// The waiters of one upstream for one thing.
#[derive(Debug)]
pub struct Line {
    waiting: AtomicU32,
    /// Where the search for a desk begins when all are overdue.
    rotation: AtomicU32,
    /// By [`WorkerId`].
    desks: Box<[Desk]>,
}

/// What is known of the waiters of one worker.
#[derive(Debug)]
#[repr(align(128))]
struct Desk {
    waiting: AtomicU32,
    /// Nanoseconds since which the first one waits; meaningless while nobody does.
    oldest: AtomicU64,
    called: AtomicU8,
    /// Ends the worker's wait for events.
    bell: RwLock<Option<Waker>>,
}

/// A waiter has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is the only one, and must try once more itself: what became free before it joined called nobody.
    Alone,
    /// Others were there before, and one of them will call it.
    Behind,
}

impl Line {
    /// Nobody waits, at `workers` desks.
    pub fn new(workers: usize) -> Line {
        let desk = |_| Desk {
            waiting: AtomicU32::new(0),
            oldest: AtomicU64::new(0),
            called: AtomicU8::new(0),
            bell: RwLock::new(None),
        };
        Line {
            waiting: AtomicU32::new(0),
            rotation: AtomicU32::new(0),
            desks: (0..workers).map(desk).collect(),
        }
    }

    /// How `worker` is told that it was called. Said before its first waiter joins, and again by the one that takes the
    /// place of a worker that has ended: calls that the old one has not answered are forgotten with its waiters.
    pub fn set_bell(&self, worker: WorkerId, bell: impl FnOnce() -> Waker) {
        let desk = &self.desks[worker.index()];
        *desk.bell.write().unwrap_or_else(PoisonError::into_inner) = Some(bell());
        desk.called.store(0, Release);
    }

    /// Waiters at all desks.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Whether somebody waits, as seen by one who has just given something back.
    pub fn is_waited_for(&self) -> bool {
        fence(SeqCst);
        // Acquire: whoever is in the sum is found at its desk.
        self.waiting.load(Acquire) > 0
    }

    /// Since when the longest waiter waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.desks.iter().filter_map(Desk::oldest).min()
    }

    /// One more waits at the desk of `worker`, unless `max` do already. `first` says since when, if nobody waited there.
    pub fn join(&self, worker: WorkerId, first: Option<Instant>, max: u32) -> Option<Joined> {
        let desk = &self.desks[worker.index()];
        if let Some(since) = first {
            desk.oldest.store(since.as_nanos(), Relaxed);
        }
        // The desk before the sum: who finds us in the sum finds us at the desk.
        desk.waiting.fetch_add(1, AcqRel);
        let one_more = |waiting: u32| (waiting < max).then_some(waiting + 1);
        let joined = match self.waiting.fetch_update(AcqRel, Acquire, one_more) {
            Ok(0) => Some(Joined::Alone),
            Ok(_) => Some(Joined::Behind),
            Err(_) => {
                desk.waiting.fetch_sub(1, AcqRel);
                None
            }
        };
        fence(SeqCst);
        joined
    }

    /// One waits no longer. `oldest` is since when the next one at the desk does.
    pub fn part(&self, worker: WorkerId, oldest: Option<Instant>) {
        let desk = &self.desks[worker.index()];
        if let Some(since) = oldest {
            desk.oldest.store(since.as_nanos(), Relaxed);
        }
        let before = desk.waiting.fetch_sub(1, AcqRel);
        debug_assert!(before > 0, "part without join");
        self.waiting.fetch_sub(1, AcqRel);
        fence(SeqCst);
    }

    /// The desk to call next, as seen by `worker`. When the oldest has waited longer than `patience` the desks take
    /// turns: then all of them let in their newest, and the age of the oldest says nothing.
    pub fn next(&self, worker: WorkerId, now: Instant, patience: Duration) -> Option<WorkerId> {
        let waiting = (0u16..).zip(self.desks.iter()).filter_map(|(at, desk)| Some((desk.oldest()?, at)));
        let (oldest, place) = waiting.min()?;
        if now.since(oldest) > patience {
            return self.next_in_turn();
        }
        let ours = self.desks.get(worker.index()).and_then(Desk::oldest);
        let is_near = ours.is_some_and(|ours| ours <= oldest + HEAD_START);
        Some(if is_near { worker } else { WorkerId(place) })
    }

    fn next_in_turn(&self) -> Option<WorkerId> {
        let count = self.desks.len();
        let start = self.rotation.fetch_add(1, Relaxed) as usize % count;
        let places = (start..count).chain(0..start);
        let found = places.into_iter().find(|&at| self.desks[at].oldest().is_some())?;
        u16::try_from(found).ok().map(WorkerId)
    }

    /// Calls the desk of `worker` and rings its bell.
    pub fn call(&self, worker: WorkerId) {
        let desk = &self.desks[worker.index()];
        if desk.called.swap(1, AcqRel) == 0
            && let Some(bell) = &*desk.bell.read().unwrap_or_else(PoisonError::into_inner)
        {
            bell.wake_by_ref();
        }
    }

    /// Calls every desk that has a bell.
    pub fn call_all(&self) {
        for (at, desk) in (0u16..).zip(self.desks.iter()) {
            if desk.bell.read().unwrap_or_else(PoisonError::into_inner).is_some() {
                self.call(WorkerId(at));
            }
        }
    }

    /// Whether `worker` was called since it was last asked.
    pub fn answer(&self, worker: WorkerId) -> bool {
        let called = &self.desks[worker.index()].called;
        called.load(Relaxed) != 0 && called.swap(0, AcqRel) != 0
    }
}

impl Desk {
    fn oldest(&self) -> Option<Instant> {
        (self.waiting.load(Acquire) > 0).then(|| Instant::from_nanos(self.oldest.load(Relaxed)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn line(waiters: &[(u16, u64)]) -> Line {
        let line = Line::new(3);
        for &(worker, since) in waiters {
            line.join(WorkerId(worker), Some(at(since)), 10);
        }
        line
    }

    #[test]
    fn a_full_line_takes_nobody_and_remembers_nobody() {
        let line = Line::new(2);
        assert_eq!(line.join(WorkerId(0), Some(at(1)), 2), Some(Joined::Alone));
        assert_eq!(line.join(WorkerId(1), Some(at(2)), 2), Some(Joined::Behind));
        assert_eq!(line.join(WorkerId(1), None, 2), None);
        assert_eq!((line.waiting(), line.oldest()), (2, Some(at(1))));
        line.part(WorkerId(0), None);
        line.part(WorkerId(1), None);
        assert_eq!((line.waiting(), line.oldest()), (0, None));
        assert_eq!(line.next(WorkerId(0), at(9), PATIENCE), None);
    }

    #[test]
    fn the_oldest_waiter_is_called_whoever_gives_back() {
        let line = line(&[(0, 30), (1, 10), (2, 20)]);
        assert_eq!(line.next(WorkerId(0), at(40), PATIENCE), Some(WorkerId(1)));
        line.part(WorkerId(1), None);
        assert_eq!(line.next(WorkerId(0), at(40), PATIENCE), Some(WorkerId(2)));
    }

    #[test]
    fn the_waiters_of_the_same_worker_come_first_if_they_are_hardly_younger() {
        let line = line(&[(0, 14), (1, 10)]);
        assert_eq!(line.next(WorkerId(0), at(40), PATIENCE), Some(WorkerId(0)));
        assert_eq!(line.next(WorkerId(2), at(40), PATIENCE), Some(WorkerId(1)));
    }

    #[test]
    fn overdue_desks_take_turns() {
        let line = line(&[(0, 10), (2, 20)]);
        let called: Vec<_> = (0..6).filter_map(|_| line.next(WorkerId(0), at(600), PATIENCE)).collect();
        let of = |worker| called.iter().filter(|called| **called == WorkerId(worker)).count();
        assert_eq!((of(0) + of(2), called.len()), (6, 6));
        assert!(of(0) >= 2 && of(2) >= 2, "{called:?}");
    }

    #[test]
    fn a_worker_that_takes_the_place_of_another_is_called_by_its_own_bell() {
        struct Rung(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Rung {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let line = line(&[(1, 10)]);
        let bells = [0, 0].map(|none| std::sync::Arc::new(Rung(none.into())));
        for bell in &bells {
            line.set_bell(WorkerId(1), || Waker::from(std::sync::Arc::clone(bell)));
            line.call(WorkerId(1));
        }
        assert!(
            bells.iter().all(|bell| bell.0.load(Relaxed) == 1),
            "a call that nobody answered is in nobody's way"
        );
    }

    #[test]
    fn a_call_is_answered_once() {
        let line = line(&[(1, 10)]);
        line.call(WorkerId(1));
        line.call(WorkerId(1));
        assert!(line.answer(WorkerId(1)));
        assert!(!line.answer(WorkerId(1)) && !line.answer(WorkerId(0)));
    }
}
