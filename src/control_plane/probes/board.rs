//! What is known of the checks of each endpoint, for people: when, what was found, how often in a row.

use base::Instant;
use base::addr::Addr;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The checks of one endpoint up to now.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// When the next check should begin; `None` while one is under way.
    pub(crate) due: Option<Instant>,
    /// When the last check ended, and how long it took.
    pub(crate) last: Option<(Instant, Duration)>,
    /// What the last check found; `None` when it passed.
    pub(crate) finding: Option<String>,
    /// Equal results in a row; failures are negative.
    pub(crate) in_a_row: i32,
    /// Successes in a row that bring the endpoint up, more than configured while it flaps.
    pub(crate) rise: u32,
}

/// One report per endpoint that is checked.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<HashMap<(Box<str>, Addr), Report>>);

impl Board {
    /// The report of an endpoint.
    pub(crate) fn report(&self, upstream: &str, addr: &Addr) -> Option<Report> {
        self.lock().get(&(Box::from(upstream), addr.clone())).cloned()
    }

    /// Changes the report of an endpoint, or begins one.
    pub(crate) fn note(&self, upstream: &str, addr: &Addr, change: impl FnOnce(&mut Report)) {
        let key = (Box::from(upstream), addr.clone());
        let empty = || Report { due: None, last: None, finding: None, in_a_row: 0, rise: 0 };
        change(self.lock().entry(key).or_insert_with(empty));
    }

    /// Nobody checks this endpoint any more.
    pub(crate) fn forget(&self, upstream: &str, addr: &Addr) {
        self.lock().remove(&(Box::from(upstream), addr.clone()));
    }

    /// How late the check is that has waited longest for its turn.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        self.lock()
            .values()
            .filter_map(|report| report.due)
            .map(|due| now.since(due))
            .max()
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Box<str>, Addr), Report>> {
        // A report is whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
