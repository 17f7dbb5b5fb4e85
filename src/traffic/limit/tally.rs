//! What limits have charged one exchange, and what is said of it.

use super::fields;
use super::limiter::{Limiter, Outcome};
use super::meter::{Level, Moment};
use crate::Cause;
use crate::filter::{ResponseEdits, Visit};
use std::sync::Arc;
use std::time::Duration;

/// One limit that the exchange has passed.
#[derive(Debug)]
pub struct Charge {
    pub limiter: Arc<Limiter>,
    key: u64,
    pub level: Level,
}

/// A limit that had not enough left.
#[derive(Debug)]
struct Exceeded {
    limiter: Arc<Limiter>,
    level: Level,
    wait: Duration,
}

/// Everything that limits have to do with one exchange; empty, and nothing but empty, where there are none.
///
/// What is held for as long as the exchange lasts is given back when the tally is cleared or dropped, whichever way the
/// exchange ends, and only once.
#[derive(Debug, Default)]
pub struct Tally {
    charges: Vec<Charge>,
    exceeded: Vec<Exceeded>,
    looks: bool,
}

impl Tally {
    /// A tally with which limits are looked at and not charged: to explain.
    pub fn looking() -> Tally {
        let mut tally = Tally::default();
        tally.looks = true;
        tally
    }

    pub fn is_empty(&self) -> bool {
        self.charges.is_empty() && self.exceeded.is_empty()
    }

    /// The limits that were passed, and where their keys stand.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// Names of the limits that were exceeded; those that are not enforced have not stopped the request.
    pub fn exceeded(&self) -> impl Iterator<Item = &Limiter> {
        self.exceeded.iter().map(|one| &*one.limiter)
    }

    /// The limit to name where one name is wanted: one that stopped the request, else one that would have.
    pub fn names(&self) -> &str {
        let enforced = self.exceeded.iter().find(|one| one.limiter.enforces);
        enforced.or(self.exceeded.first()).map_or("", |one| &*one.limiter.name)
    }

    /// Seconds after which it makes sense to come back: until the last of the exceeded limits has enough again, rounded
    /// up, at least 1 (R3). 0 where nothing stopped the request or time alone does not help.
    pub fn retry_after_s(&self) -> u32 {
        let waits = self.exceeded.iter().filter(|one| one.limiter.enforces && !one.wait.is_zero());
        waits.map(|one| fields::seconds(one.wait)).max().unwrap_or(0)
    }

    /// Charges all of `limits`, or none of them, and with them none that was charged before (R6).
    pub(crate) fn charge(limits: &[Arc<Limiter>], visit: &mut Visit<'_, '_>) -> Result<(), Cause> {
        let at = Moment { now: visit.now, unix_s: visit.unix_s };
        let mut stopped = None;
        for limiter in limits {
            let outcome = if visit.tally.looks { limiter.look(visit, at) } else { limiter.ask(visit, at) };
            match outcome {
                Outcome::Admitted { key, level } => {
                    visit.tally.charges.push(Charge { limiter: Arc::clone(limiter), key, level });
                }
                Outcome::Free => {}
                Outcome::Refused(refusal) => {
                    let (level, wait) = (refusal.level, refusal.wait);
                    let exceeded = Exceeded { limiter: Arc::clone(limiter), level, wait };
                    visit.tally.exceeded.push(exceeded);
                    if limiter.enforces {
                        let cause =
                            if limiter.is_held() { Cause::ConcurrencyLimited } else { Cause::RateLimited };
                        stopped.get_or_insert(cause);
                    }
                }
                Outcome::KeyMissing => stopped = Some(Cause::LimitKeyMissing),
            }
        }
        match stopped {
            Some(cause) => {
                visit.tally.give_back(at);
                Err(cause)
            }
            None => Ok(()),
        }
    }

    /// Tells the client where it stands.
    pub(crate) fn write_fields(&self, response: &mut ResponseEdits) {
        let passed = self.charges.iter().map(|one| (&*one.limiter, one.level, None));
        let exceeded = self.exceeded.iter().map(|one| (&*one.limiter, one.level, Some(one.wait)));
        // Who is not enforced is not spoken of.
        fields::write(response, passed.chain(exceeded).filter(|(limiter, ..)| limiter.enforces));
    }

    /// Takes all charges back: the request is not served.
    fn give_back(&mut self, at: Moment) {
        let looks = self.looks;
        for charge in self.charges.iter().filter(|_| !looks) {
            charge.limiter.refund(charge.key, at);
            charge.limiter.stats.returned.add(1);
        }
        self.charges.clear();
    }

    /// Forgets the exchange and keeps the memory; what it held is free again.
    pub fn clear(&mut self) {
        if self.is_empty() {
            return;
        }
        if !self.looks {
            // Time does not matter for what is held.
            let at = Moment { now: base::Instant::ZERO, unix_s: 0 };
            for charge in self.charges.iter().filter(|charge| charge.limiter.is_held()) {
                charge.limiter.refund(charge.key, at);
            }
        }
        self.charges.clear();
        self.exceeded.clear();
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.clear();
    }
}
