//! A limit of the configuration: how it counts, whom, and what it has counted.

use super::fields::FieldSet;
use super::key::{Key, Missing};
use super::meter::{Level, Measure, Moment, Refusal};
use super::table::{Charged, Table};
use crate::filter::Visit;
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// What came of asking a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key has been charged.
    Admitted { key: u64, level: Level },
    /// There is not enough left; nothing was charged.
    Refused(Refusal),
    /// Nobody is charged: the request lacks the key, or there is no room for it.
    Free,
    /// The request lacks the key and must not.
    KeyMissing,
}

/// See the module. Made anew with every generation; table and statistics stay as long as there is a limit of this name.
#[derive(Debug)]
pub struct Limiter {
    pub name: Arc<str>,
    pub measure: Measure,
    /// What one request takes. Default 1.
    pub cost: u32,
    pub key: Key,
    /// False: it counts and logs, and refuses nobody (R12).
    pub enforces: bool,
    pub fields: FieldSet,
    /// Its part of `RateLimit-Policy`.
    pub policy: Box<str>,
    pub table: Arc<Table>,
    pub stats: Arc<LimitStats>,
}

/// A number that every worker adds to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        if n > 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often what came of it.
#[derive(Debug, Default)]
pub struct LimitStats {
    pub admitted: Count,
    /// Of these, charges that were given back because another limit refused the request.
    pub returned: Count,
    pub refused: Count,
    /// Would have been refused, if the limit were enforced.
    pub shadowed: Count,
    /// The request lacked the key.
    pub without_key: Count,
    /// There was no room for the key.
    pub uncounted: Count,
    /// Keys that had to make room before their quota was back.
    pub forgotten: Count,
}

impl Limiter {
    /// Charges whoever the request is charged to.
    pub(super) fn ask(&self, visit: &Visit<'_, '_>, at: Moment) -> Outcome {
        let key = match self.key.of(visit) {
            Ok(key) => key,
            Err(missing) => {
                self.stats.without_key.add(1);
                return match missing {
                    Missing::Skip => Outcome::Free,
                    Missing::Deny => Outcome::KeyMissing,
                };
            }
        };
        let outcome = self.table.charge(key, &self.measure, self.cost, at);
        self.stats.forgotten.add(outcome.forgot.into());
        match outcome.charged {
            Charged::Yes(level) => {
                self.stats.admitted.add(1);
                Outcome::Admitted { key, level }
            }
            Charged::No(refusal) => {
                let counter = if self.enforces { &self.stats.refused } else { &self.stats.shadowed };
                counter.add(1);
                Outcome::Refused(refusal)
            }
            Charged::Uncounted(_) => {
                self.stats.uncounted.add(1);
                Outcome::Free
            }
        }
    }

    /// What [`Limiter::ask`] would say now; charges and counts nothing.
    pub(super) fn look(&self, visit: &Visit<'_, '_>, at: Moment) -> Outcome {
        match self.key.of(visit) {
            Ok(key) => match self.table.look(key, &self.measure, self.cost, at) {
                Ok(level) => Outcome::Admitted { key, level },
                Err(refusal) => Outcome::Refused(refusal),
            },
            Err(Missing::Skip) => Outcome::Free,
            Err(Missing::Deny) => Outcome::KeyMissing,
        }
    }

    /// Gives back what `key` was charged.
    pub(super) fn refund(&self, key: u64, at: Moment) {
        self.table.refund(key, &self.measure, self.cost, at);
    }

    /// Whether what it takes comes back with the end of the request, not with time.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.measure, Measure::Concurrent(_))
    }
}
