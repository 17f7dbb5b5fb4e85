//! What is known of each issuer whose keys are fetched; for `/ready`, `/v1/status` and the metrics (K8).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The issuers of the configuration, by the name of their policy.
#[derive(Debug, Default)]
pub(crate) struct Issuers(Mutex<BTreeMap<String, IssuerState>>);

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct IssuerState {
    pub(crate) url: String,
    /// The node is not ready before there are keys.
    pub(crate) required: bool,
    pub(crate) keys: usize,
    /// Of the last set that was fetched.
    pub(crate) fetched: Option<SystemTime>,
    /// Attempts because time had come.
    pub(crate) refreshes: u64,
    /// Attempts that a token caused.
    pub(crate) caused: u64,
    pub(crate) failures: u64,
    /// Sets that differed from the one before.
    pub(crate) changes: u64,
    /// Why the last attempt failed, if it did.
    pub(crate) failing: Option<String>,
}

impl Issuers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, IssuerState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is one of the issuers; what is counted goes on.
    pub(super) fn expect(&self, name: &str, url: &str, required: bool) {
        let mut issuers = self.lock();
        let state = issuers.entry(name.to_owned()).or_default();
        url.clone_into(&mut state.url);
        state.required = required;
    }

    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    pub(super) fn note(&self, name: &str, note: impl FnOnce(&mut IssuerState)) {
        if let Some(state) = self.lock().get_mut(name) {
            note(state);
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<String, IssuerState> {
        self.lock().clone()
    }

    /// Names of those without whose keys the node is not ready.
    pub(crate) fn awaited(&self) -> Vec<String> {
        let issuers = self.lock();
        let awaited = issuers.iter().filter(|(_, state)| state.required && state.fetched.is_none());
        awaited.map(|(name, _)| name.clone()).collect()
    }
}
