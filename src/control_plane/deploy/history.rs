//! Configurations that were in force before, and the change that waits to be confirmed.
//!
//! ```text
//!   in force ──applied with `confirm`──▶ on trial ──confirmed, or replaced by another one──▶ in force
//!                                           └── time over ──▶ the one before is put into force again
//! ```

use crate::node::InForce;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Kept of what was in force before.
pub(super) const EARLIER_MAX: usize = 10;
/// Longest time for a confirmation.
pub(crate) const CONFIRM_MAX: Duration = Duration::from_secs(3600);

/// A change that is taken back unless somebody confirms it.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// Of the configuration on trial.
    pub(crate) hash: Arc<str>,
    /// When it is taken back.
    pub(crate) ends: SystemTime,
    pub(super) until: Instant,
    pub(super) back_to: Arc<InForce>,
}

/// What was in force before, the last one first.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    earlier: VecDeque<Arc<InForce>>,
    pub(crate) trial: Option<Trial>,
}

impl History {
    /// `old` has been replaced by the one of `hash`, which is on trial for so long.
    pub(super) fn replaced(&mut self, old: Arc<InForce>, hash: &Arc<str>, confirm: Option<Duration>) {
        // The same one again is no other configuration.
        let is_other = old.hash != *hash;
        self.trial = confirm.filter(|_| is_other).map(|time| Trial {
            hash: Arc::clone(hash),
            ends: SystemTime::now() + time,
            until: Instant::now() + time,
            back_to: Arc::clone(&old),
        });
        if is_other {
            self.earlier.retain(|earlier| earlier.hash != old.hash && earlier.hash != *hash);
            self.earlier.push_front(old);
            self.earlier.truncate(EARLIER_MAX);
        }
    }

    pub(crate) fn earlier(&self) -> impl Iterator<Item = &Arc<InForce>> {
        self.earlier.iter()
    }

    /// The last one before, or the one whose hash begins in this way.
    pub(super) fn find(&self, hash: Option<&str>) -> Option<&Arc<InForce>> {
        match hash {
            None => self.earlier.front(),
            Some(hash) => {
                self.earlier.iter().find(|earlier| !hash.is_empty() && earlier.hash.starts_with(hash))
            }
        }
    }
}
