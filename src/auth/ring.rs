//! The keys of one issuer as workers hold them: a set that is exchanged while tokens are verified.
//!
//! Exchanged by whoever fetches keys, read by all workers. A worker reads the number for each token and takes the lock
//! for those that it has to verify, which costs a thousand times as much.

use crate::jwk::KeySet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug)]
pub struct KeyRing {
    keys: Mutex<Option<Arc<KeySet>>>,
    /// Another one for each set, so that verdicts by other keys are not found any more.
    number: AtomicU64,
    /// Seconds since 1970 from which on the keys do not count any more.
    until_s: AtomicU64,
    /// The last attempt to fetch keys has failed.
    doubtful: AtomicBool,
}

impl KeyRing {
    /// Keys that stay as they are.
    pub fn fixed(keys: KeySet) -> Arc<KeyRing> {
        let ring = KeyRing::empty();
        ring.replace(keys, u64::MAX);
        ring
    }

    /// No keys yet.
    pub fn empty() -> Arc<KeyRing> {
        Arc::new(KeyRing {
            keys: Mutex::default(),
            number: AtomicU64::new(0),
            until_s: AtomicU64::new(0),
            doubtful: AtomicBool::new(false),
        })
    }

    /// Exchanges the keys for others, which count until then.
    pub fn replace(&self, keys: KeySet, until_s: u64) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
        self.confirm(until_s);
        // After the keys: whoever sees the new number must not find the old keys, or a verdict by those would be
        // remembered under the new one.
        self.number.fetch_add(1, Ordering::Release);
    }

    /// The same keys count until then.
    pub fn confirm(&self, until_s: u64) {
        self.until_s.store(until_s, Ordering::Release);
        self.doubtful.store(false, Ordering::Release);
    }

    /// Nobody could be asked whether the keys are still good: they count for as long as was said.
    pub fn doubt(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    /// Whether there may be keys that are not known here.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    pub(crate) fn number(&self) -> u64 {
        // Read before the keys are, see `replace`.
        self.number.load(Ordering::Acquire)
    }

    /// The keys, if they count at `now_s`.
    pub fn current(&self, now_s: u64) -> Option<Arc<KeySet>> {
        if now_s >= self.until_s.load(Ordering::Acquire) {
            return None;
        }
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k5_keys_count_until_they_were_last_confirmed_for() {
        let ring = KeyRing::empty();
        assert!(ring.current(1).is_none());
        ring.replace(KeySet::default(), 100);
        assert!(ring.current(99).is_some() && ring.current(100).is_none());
        ring.doubt();
        assert!(ring.is_doubtful() && ring.current(99).is_some());
        let number = ring.number();
        ring.confirm(200);
        assert!(!ring.is_doubtful() && ring.current(199).is_some());
        assert_eq!(ring.number(), number, "the same keys: what is remembered still counts");
        ring.replace(KeySet::default(), 300);
        assert_ne!(ring.number(), number);
    }
}
