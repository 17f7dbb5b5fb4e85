//! The generations that exist: the one in force, and older ones that some exchange still uses.

use super::Wake;
use base::publish::Publisher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use traffic::Snapshot;

/// The way to the workers and back.
pub(super) struct Generations {
    /// One per worker.
    publishers: Vec<Publisher<Snapshot>>,
    wake: Wake,
    /// As many as exchanges of different generations are under way; usually one.
    alive: Vec<Weak<Snapshot>>,
}

impl Generations {
    pub(super) fn new(publishers: Vec<Publisher<Snapshot>>, wake: Wake, first: &Arc<Snapshot>) -> Self {
        Generations { publishers, wake, alive: vec![Arc::downgrade(first)] }
    }

    /// Hands `snapshot` to every worker.
    pub(super) fn publish(&mut self, snapshot: &Arc<Snapshot>, figures: &Figures) {
        self.alive.push(Arc::downgrade(snapshot));
        for publisher in &mut self.publishers {
            publisher.publish(Arc::clone(snapshot));
        }
        (self.wake)();
        self.count(figures);
    }

    /// Frees what workers have handed back.
    pub(super) fn reclaim(&mut self, figures: &Figures) {
        for publisher in &mut self.publishers {
            publisher.reclaim();
        }
        self.count(figures);
    }

    fn count(&mut self, figures: &Figures) {
        self.alive.retain(|snapshot| snapshot.strong_count() > 0);
        figures.alive.store(self.alive.len(), Relaxed);
    }
}

/// How deploying goes, for the metrics and the status.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    alive: AtomicUsize,
    deployed: AtomicU64,
    failed: AtomicU64,
    last_nanos: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Figures {
    /// A generation has come into force, so long after it was begun.
    pub(super) fn succeed(&self, took: Duration) {
        self.deployed.fetch_add(1, Relaxed);
        self.last_nanos.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn fail(&self, why: &str) {
        self.failed.fetch_add(1, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Generations in memory, the one in force included.
    pub(crate) fn alive(&self) -> u64 {
        self.alive.load(Relaxed).max(1) as u64
    }

    /// Generations that came into force since the start; the first one does not count.
    pub(crate) fn deployed(&self) -> u64 {
        self.deployed.load(Relaxed)
    }

    /// Generations that could not be made.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// From beginning to compile the last generation to its being in force.
    pub(crate) fn last(&self) -> Duration {
        Duration::from_nanos(self.last_nanos.load(Relaxed))
    }

    /// Why the last generation could not be made; `None` when it could.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
