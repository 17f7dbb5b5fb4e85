//! How often another configuration was asked for, and how the last time went; for the metrics and the status.

use super::NotReplaced;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    applied: AtomicU64,
    /// The new configuration has errors.
    refused: AtomicU64,
    /// It is good, but could not be put into force.
    failed: AtomicU64,
    last: Mutex<Option<Last>>,
}

/// The last time.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) at: SystemTime,
    /// Why it was refused; `None` when it was not.
    pub(crate) refused: Option<String>,
}

impl Reloads {
    pub(super) fn succeed(&self) {
        self.applied.fetch_add(1, Relaxed);
        self.set_last(None);
    }

    pub(super) fn fail(&self, why: &NotReplaced) {
        let counter = if matches!(why, NotReplaced::Problems(_)) { &self.refused } else { &self.failed };
        counter.fetch_add(1, Relaxed);
        self.set_last(Some(why.to_string()));
    }

    /// What the file says at the start is broken, and something else runs.
    pub(crate) fn begin_refused(&self, why: String) {
        self.refused.fetch_add(1, Relaxed);
        self.set_last(Some(why));
    }

    fn set_last(&self, refused: Option<String>) {
        let last = Last { at: SystemTime::now(), refused };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// By result.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        [("applied", &self.applied), ("refused", &self.refused), ("failed", &self.failed)]
            .map(|(name, count)| (name, count.load(Relaxed)))
    }

    /// `None` before the first time.
    pub(crate) fn last(&self) -> Option<Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
