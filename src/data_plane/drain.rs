//! Graceful stop: no new connections, every accepted request answered, then an end by the deadline at the latest.

use crate::bell::{Bell, Seat};
use crate::worker::Worker;
use base::Instant;
use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Tells the workers of a process to stop. Set by the thread that receives signals, read once per turn by each worker;
/// whoever changes it wakes the workers.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

const RUNNING: u8 = 0;
const GRACEFUL: u8 = 1;
const NOW: u8 = 2;

impl Stop {
    /// Finish what was accepted, then end.
    pub fn gracefully(&self) {
        self.0.fetch_max(GRACEFUL, Ordering::Release);
    }

    /// End at once; open exchanges are cut.
    pub fn now(&self) {
        self.0.fetch_max(NOW, Ordering::Release);
    }
}

/// How long all open exchanges together may take to finish.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// So long before the end tunnels and flows are cut.
const CUT_BEFORE: Duration = Duration::from_millis(250);

/// How long a connection that is idle when the drain begins, or that was accepted after that, may still send a
/// request. Closing it at once would cut the request that is already on its way; a client under load sends one long
/// before this has passed.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// When a connection that has been idle since `idle_since` is closed at the latest, once the node or its listener is
/// ending since `since`.
pub(crate) fn idle_until(since: Instant, idle_since: Instant) -> Instant {
    since.max(idle_since) + IDLE_GRACE
}

/// A worker's view of the stop.
#[derive(Default)]
pub(crate) struct Drain {
    /// When the drain began; `None` while running.
    since: Cell<Option<Instant>>,
    end_now: Cell<bool>,
    bell: Bell,
}

impl Drain {
    pub(crate) fn is_draining(&self) -> bool {
        self.since.get().is_some()
    }

    /// A place for a task that wants to be woken when the drain begins.
    pub(crate) fn seat(&self) -> Seat {
        self.bell.seat()
    }

    /// When the drain began; `None` while running.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    /// Wakes the tasks that have a seat although no drain begins: something else ended that they may have to follow.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// When tunnels and flows that have not ended are cut; `None` while running. Before the worker ends: the kernel would
    /// close their connections in an orderly way, as if nothing were missing.
    pub(crate) fn cut_at(&self) -> Option<Instant> {
        self.since.get().map(|since| since + (DRAIN_MAX - CUT_BEFORE))
    }

    /// When the loop must look again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.get().map(|since| since + DRAIN_MAX)
    }

    /// Takes over what the process was told since the last turn.
    pub(crate) fn observe(&self, stop: &Stop, now: Instant) {
        match stop.0.load(Ordering::Acquire) {
            RUNNING => {}
            NOW => self.end_now.set(true),
            _ if self.is_draining() => {}
            _ => {
                self.since.set(Some(now));
                self.bell.ring();
            }
        }
    }

    /// Whether the loop may end: told to at once, or draining and empty, or out of time.
    pub(crate) fn is_finished(&self, worker: &Worker) -> bool {
        if self.end_now.get() {
            return true;
        }
        let Some(since) = self.since.get() else { return false };
        let empty = worker.connections.get() == 0 && worker.accepting.get() == 0;
        empty || worker.rt.now() >= since + DRAIN_MAX
    }
}
