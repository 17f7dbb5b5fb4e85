//! How much of an upstream is in use, over all workers, and who waits for it. Belongs to the upstream's name and
//! survives generations; how much may be in use stands in the generation and is an argument.

use super::adaptive::Adaptive;
use super::breaker::Breaker;
use super::line::Line;
use crate::sync::AtomicU32;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
use base::Instant;
use std::time::Duration;

/// What one upstream has in use. A permit is taken by `enter` or `connect` and given back exactly once, by `leave` or
/// `disconnect`; the guards that see to that are in `data_plane::upstream::admission`.
#[derive(Debug)]
pub struct Gate {
    in_flight: AtomicU32,
    connections: AtomicU32,
    /// Average time for which a request keeps its permit, in microseconds; 0 before the first.
    service: AtomicU32,
    /// Requests that wait to be let in.
    pub line: Line,
    /// Requests that were let in and wait for one of the connections.
    pub slots: Line,
    /// Of the upstream as a whole.
    pub breaker: Breaker,
    pub adaptive: Adaptive,
}

impl Gate {
    /// Nothing is in use; `workers` workers share it.
    pub fn new(workers: usize) -> Gate {
        Gate {
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            service: AtomicU32::new(0),
            line: Line::new(workers),
            slots: Line::new(workers),
            breaker: Breaker::default(),
            adaptive: Adaptive::default(),
        }
    }

    /// Takes a permit for a request if fewer than `max` are taken.
    pub fn enter(&self, max: u32) -> bool {
        take(&self.in_flight, max)
    }

    /// Gives a permit back. The caller then calls the next of [`Gate::line`], if it [`Line::is_waited_for`].
    pub fn leave(&self) {
        give_back(&self.in_flight);
    }

    /// Takes a permit for a connection if fewer than `max` are taken.
    pub fn connect(&self, max: u32) -> bool {
        take(&self.connections, max)
    }

    /// Gives a connection's permit back, and lets all that wait for one try again.
    pub fn disconnect(&self) {
        give_back(&self.connections);
        if self.slots.is_waited_for() {
            self.slots.call_all();
        }
    }

    /// Requests that have been let in and are not over.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Open connections, idle ones included.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// A request kept its permit for `held`. Of two workers that tell at once, one may go unheard.
    pub fn served(&self, held: Duration) {
        let sample = u32::try_from(held.as_micros()).unwrap_or(u32::MAX).max(1);
        let average = match self.service.load(Relaxed) {
            0 => sample,
            known if sample >= known => known + (sample - known) / WEIGHT,
            known => known - (known - sample) / WEIGHT,
        };
        self.service.store(average.max(1), Relaxed);
    }

    /// For how long a request keeps its permit, on average; zero while unknown.
    pub fn service_time(&self) -> Duration {
        Duration::from_micros(self.service.load(Relaxed).into())
    }

    /// Whether a request that waits now could still be served before `deadline`.
    pub fn can_meet(&self, deadline: Instant, now: Instant) -> bool {
        deadline == Instant::NEVER || now + self.service_time() < deadline
    }
}

/// The newest sample counts for an eighth of the average service time.
const WEIGHT: u32 = 8;

/// One more, if there are fewer than `max`. What others did before they gave back is seen by whoever takes.
pub(super) fn take(counter: &AtomicU32, max: u32) -> bool {
    counter.fetch_update(AcqRel, Acquire, |taken| (taken < max).then_some(taken + 1)).is_ok()
}

/// One less. Whoever gives back looks for waiters afterwards, by [`Line::is_waited_for`].
pub(super) fn give_back(counter: &AtomicU32) {
    let before = counter.fetch_sub(1, AcqRel);
    debug_assert!(before > 0, "a permit is given back once");
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_let_in_than_may_be_and_the_next_one_when_one_leaves() {
        let gate = Gate::new(1);
        assert!(gate.enter(2) && gate.enter(2) && !gate.enter(2));
        assert!(gate.enter(3), "a new generation may allow more");
        gate.leave();
        assert!(!gate.enter(2), "or less");
        gate.leave();
        assert!(gate.enter(2));
        assert_eq!(gate.in_flight(), 2);
    }

    #[test]
    fn the_service_time_follows_what_is_observed() {
        let gate = Gate::new(1);
        let now = Instant::from_nanos(1_000_000_000);
        let soon = now + Duration::from_millis(50);
        assert!(gate.can_meet(soon, now), "nothing is known yet");
        for _ in 0..100 {
            gate.served(Duration::from_millis(100));
        }
        assert_eq!(gate.service_time(), Duration::from_millis(100));
        assert!(!gate.can_meet(soon, now) && gate.can_meet(Instant::NEVER, now));
        for _ in 0..100 {
            gate.served(Duration::from_millis(10));
        }
        assert!(gate.can_meet(soon, now));
        let ms = gate.service_time().as_millis();
        assert!((10..12).contains(&ms), "{ms}");
    }
}
