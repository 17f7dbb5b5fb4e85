//! What is known of each name; for `/ready`, `/v1/upstreams` and the metrics.

use crate::compile::live::Found;
use base::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How long the node is not ready because of a name that has no answer yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// The names of all upstreams; as many as the configuration has.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<BTreeMap<Key, NameState>>);

/// Upstream and name as it is written.
pub(crate) type Key = (Box<str>, Box<str>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct NameState {
    /// In use; empty while it was never resolved.
    pub(crate) addresses: Vec<SocketAddr>,
    /// When the last answer ends to count, by the workers' clock.
    pub(crate) valid_until: Option<Instant>,
    /// When the addresses changed last.
    pub(crate) changed: Option<SystemTime>,
    /// The last failure, if nothing has succeeded since, and when the row of failures began.
    pub(crate) failing: Option<(String, SystemTime)>,
    pub(crate) answers: u64,
    pub(crate) failures: u64,
    pub(crate) changes: u64,
    /// No result is in force yet, and that since.
    awaited_since: Option<Instant>,
}

impl Names {
    /// From now on this name is one of the configuration's. `since`: the node is not ready before it has a result.
    pub(crate) fn expect(&self, key: Key, since: Option<Instant>) {
        self.lock().entry(key).or_insert_with(|| NameState {
            addresses: Vec::new(),
            valid_until: None,
            changed: None,
            failing: None,
            answers: 0,
            failures: 0,
            changes: 0,
            awaited_since: since,
        });
    }

    /// Nobody wants to know any more.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// An answer, and whether it says something else than the last one.
    pub(super) fn note_answer(&self, key: &Key, found: &[Found], changed: bool, valid_until: Instant) {
        if let Some(state) = self.lock().get_mut(key) {
            state.answers += 1;
            state.valid_until = Some(valid_until);
            if changed {
                state.changes += 1;
                state.changed = Some(SystemTime::now());
                state.addresses = found.iter().map(|found| found.addr).collect();
            }
        }
    }

    /// Part or all of a name could not be resolved. Whether that is news.
    pub(super) fn note_failure(&self, key: &Key, why: &str) -> bool {
        let mut names = self.lock();
        let Some(state) = names.get_mut(key) else { return false };
        state.failures += 1;
        let since = state.failing.take().map(|(_, since)| since);
        state.failing = Some((why.to_owned(), since.unwrap_or_else(SystemTime::now)));
        since.is_none()
    }

    /// All of it could be resolved. Whether that is news.
    pub(super) fn note_success(&self, key: &Key) -> bool {
        self.lock().get_mut(key).is_some_and(|state| state.failing.take().is_some())
    }

    /// The first result is in force, or there is none to wait for. Whether it was waited for.
    pub(crate) fn settle(&self, key: &Key) -> bool {
        self.lock().get_mut(key).is_some_and(|state| state.awaited_since.take().is_some())
    }

    /// Names without a first result that the node waits for at `now`.
    pub(crate) fn awaited(&self, now: Instant) -> Vec<Key> {
        let names = self.lock();
        let is_awaited =
            |state: &NameState| state.awaited_since.is_some_and(|since| now.since(since) < PATIENCE);
        names.iter().filter(|(_, state)| is_awaited(state)).map(|(key, _)| key.clone()).collect()
    }

    /// All names in order.
    pub(crate) fn all(&self) -> Vec<(Key, NameState)> {
        self.lock().iter().map(|(key, state)| (key.clone(), state.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, NameState>> {
        // Each change of an entry is complete before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_name_is_waited_for_until_its_first_result_but_not_for_longer_than_a_second() {
        let names = Names::default();
        let [slow, quick]: [Key; 2] = ["slow:80", "quick:80"].map(|name| ("api".into(), name.into()));
        names.expect(slow.clone(), Some(at(0)));
        names.expect(quick.clone(), Some(at(0)));
        assert_eq!(names.awaited(at(10)).len(), 2);
        assert!(names.settle(&quick) && !names.settle(&quick), "only once");
        assert_eq!(names.awaited(at(999)), [slow]);
        assert!(names.awaited(at(1000)).is_empty());
        names.forget(&quick);
        assert_eq!(names.all().len(), 1);
    }

    #[test]
    fn a_row_of_failures_has_a_beginning_and_an_end() {
        let names = Names::default();
        let key: Key = ("api".into(), "api.internal:80".into());
        assert!(!names.note_failure(&key, "x"), "a name that nobody expects is none");
        names.expect(key.clone(), None);
        assert!(names.awaited(at(0)).is_empty());
        assert!(names.note_failure(&key, "no answer"));
        assert!(!names.note_failure(&key, "no such name"));
        let state = names.all().remove(0).1;
        assert_eq!((state.failures, state.failing.map(|(why, _)| why)), (2, Some("no such name".to_owned())));
        assert!(names.note_success(&key) && !names.note_success(&key));
    }
}
