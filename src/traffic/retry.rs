//! Whether a failed attempt may be repeated: the safe-retry rules as one pure function, and the budget that keeps
//! retries from multiplying an overload.
//!
//! 1. Never after a response byte went to the client.
//! 2. When no connection came about, or no byte of the request was accepted by the kernel: any method.
//! 3. (HTTP/2 and HTTP/3 refusals; they come with those protocols.)
//! 4. When a *reused* connection ended before any response byte: idempotent methods, once. An endpoint may close an idle
//!    connection at any time, so this needs no opt-in.
//!    Any method, once, when TCP proves that the endpoint had ended its side before any byte of the request reached it.
//! 5. Otherwise a method that is not idempotent is never repeated, unless the request carries `Idempotency-Key` and the
//!    route opts in.
//! 6. Resets on fresh connections, timeouts and response statuses: as the route says, idempotent only.
//! 7. Within the number of attempts, the time left and the budget. The caller chooses another endpoint if there is one
//!    (`Pick::avoid`) and always uses a fresh connection.
//! 8. (Which connection a POST gets is the pool's rule.)

use crate::Cause;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use base::Instant;
use std::time::Duration;
use wire::http::Method;

/// Extra attempts that no configuration can exceed.
pub const RETRIES_MAX: u8 = 2;

/// What a route says about retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRules {
    /// Attempts after the first one. Default 1, never above [`RETRIES_MAX`].
    pub attempts: u8,
    pub on: RetryOn,
    /// A request with `Idempotency-Key` counts as idempotent whatever its method. Default no.
    pub idempotency_key: bool,
}

/// On which failures a route retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection, or nothing sent on it. Default yes.
    pub connect: bool,
    /// The connection ended before a response byte. Default yes.
    pub reset: bool,
    /// No response head in time. Default no.
    pub timeout: bool,
    /// Response statuses. Default none.
    pub statuses: Vec<u16>,
}

impl Default for RetryRules {
    fn default() -> Self {
        RetryRules { attempts: 1, on: RetryOn::default(), idempotency_key: false }
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        RetryOn { connect: true, reset: true, timeout: false, statuses: Vec::new() }
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no response.
    Cause(Cause),
    /// There is one, with this status; none of it has gone to the client.
    Status(u16),
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Failure::Cause(cause)
    }
}

/// A failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub method: Method,
    /// The request carries `Idempotency-Key`.
    pub idempotency_key: bool,
    /// The attempt opened its connection; otherwise it took a pooled one.
    pub fresh_connection: bool,
    /// The kernel accepted at least one byte of the request.
    pub request_bytes_sent: bool,
    /// At least one byte of the response went to the client.
    pub response_started_downstream: bool,
    /// At least one byte of a response came from the endpoint.
    pub response_bytes_received: bool,
    /// The endpoint ended the connection in an orderly way, and by that end had acknowledged no byte of the request: it
    /// was over before the request came.
    pub request_unseen: bool,
    /// Everything of the request body that was taken from the client is still there to be sent again.
    pub body_replayable: bool,
    /// Attempts so far, the failed one included: 1 after the first.
    pub attempts_made: u8,
    pub failure: Failure,
    /// Time until the exchange must be over; `None` is unlimited.
    pub deadline_left: Option<Duration>,
    /// Any random number; spreads the pauses.
    pub random: u32,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again after `pause`, on a fresh connection and with another endpoint if there is one.
    Retry { pause: Duration },
    /// The failure goes to the client.
    GiveUp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Reset,
    Timeout,
    Status(u16),
    Final,
}

impl Kind {
    fn of(failure: Failure) -> Kind {
        match failure {
            Failure::Status(status) => Kind::Status(status),
            Failure::Cause(
                Cause::ConnectRefused
                | Cause::ConnectUnreachable
                | Cause::ConnectTimeout
                | Cause::UpstreamTlsTimeout
                | Cause::UpstreamTlsClosed
                | Cause::PortsExhausted
                | Cause::SourceUnavailable
                | Cause::UpstreamResources,
            ) => Kind::Connect,
            Failure::Cause(Cause::UpstreamReset) => Kind::Reset,
            Failure::Cause(Cause::UpstreamTimeout) => Kind::Timeout,
            Failure::Cause(_) => Kind::Final,
        }
    }
}

/// Decides about `attempt` by the rules above. Takes from `budget` only if everything else allows the retry.
pub fn decide(rules: &RetryRules, attempt: &Attempt, budget: &RetryBudget, now: Instant) -> Decision {
    let Some(pause) = allowed(rules, attempt) else { return Decision::GiveUp };
    if attempt.deadline_left.is_some_and(|left| left <= pause) || !budget.try_withdraw(now) {
        return Decision::GiveUp;
    }
    Decision::Retry { pause }
}

/// Whether a request may be sent again after an endpoint may have read it.
pub fn is_repeatable(rules: &RetryRules, method: Method, has_idempotency_key: bool) -> bool {
    method.is_idempotent() || (has_idempotency_key && rules.idempotency_key)
}

/// The pause before the retry; `None` when there must not be one.
fn allowed(rules: &RetryRules, attempt: &Attempt) -> Option<Duration> {
    let kind = Kind::of(attempt.failure);
    if attempt.response_started_downstream || !attempt.body_replayable || kind == Kind::Final {
        return None;
    }
    let within = attempt.attempts_made <= rules.attempts.min(RETRIES_MAX);
    let unsent = kind == Kind::Connect || (kind == Kind::Reset && !attempt.request_bytes_sent);
    if unsent && !attempt.response_bytes_received {
        return (within && rules.on.connect).then_some(Duration::ZERO);
    }
    let repeatable = is_repeatable(rules, attempt.method, attempt.idempotency_key);
    match kind {
        Kind::Reset if attempt.response_bytes_received => None,
        Kind::Reset if !attempt.fresh_connection && attempt.attempts_made == 1 => {
            (repeatable || attempt.request_unseen).then_some(Duration::ZERO)
        }
        _ if !repeatable => None,
        Kind::Reset => (within && rules.on.reset).then(|| pause(attempt)),
        Kind::Timeout => (within && rules.on.timeout).then(|| pause(attempt)),
        Kind::Status(status) => (within && rules.on.statuses.contains(&status)).then(|| pause(attempt)),
        Kind::Connect | Kind::Final => None,
    }
}

/// 25 to 50 ms before the second attempt, twice that before the third, and so on up to 250 ms.
fn pause(attempt: &Attempt) -> Duration {
    let base = 25u64 << attempt.attempts_made.saturating_sub(1).min(4);
    let spread = (u64::from(attempt.random) * base) >> 32;
    Duration::from_millis((base + spread).min(250))
}

/// What retries may cost, relative to requests and to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRules {
    /// What one request adds, in thousandths of a retry. Default 200: a fifth.
    pub permille: u32,
    /// Retries per second that are allowed however few requests there are. Default 3.
    pub per_second: u32,
}

impl Default for BudgetRules {
    fn default() -> Self {
        BudgetRules { permille: 200, per_second: 3 }
    }
}

/// What one retry takes, in the unit of [`BudgetRules::permille`].
const RETRY: u64 = 1000;
/// Retries that can be saved up from [`BudgetRules::per_second`]: so many seconds' worth, there from the start.
const RESERVE_SECONDS: u64 = 10;
/// Retries that can be saved up from requests: enough for every connection of a large endpoint to fail at once.
const SAVED_MAX: u64 = 10_000 * RETRY;

/// Retries of one upstream, over all workers and routes: at most a share of its requests and some per second.
#[derive(Debug)]
pub struct RetryBudget {
    rules: BudgetRules,
    /// Thousandths of a retry.
    saved: AtomicU64,
    /// Thousandths of a retry that may be taken however few requests there are.
    reserve: AtomicU64,
    /// Nanoseconds up to which the reserve has been refilled.
    refilled: AtomicU64,
    refused: AtomicU64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget::with(BudgetRules::default())
    }
}

impl BudgetRules {
    fn reserve(&self) -> u64 {
        RESERVE_SECONDS * u64::from(self.per_second) * RETRY
    }
}

impl RetryBudget {
    /// A budget with a full reserve and nothing saved.
    pub fn with(rules: BudgetRules) -> Self {
        RetryBudget {
            rules,
            saved: AtomicU64::new(0),
            reserve: AtomicU64::new(rules.reserve()),
            refilled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// As [`RetryBudget::with`] the default rules.
    pub fn new() -> Self {
        RetryBudget::default()
    }

    pub fn rules(&self) -> &BudgetRules {
        &self.rules
    }

    /// A request (not a retry) is made. Writes nothing while the budget is full, so that workers do not fight over it.
    pub fn deposit(&self) {
        if self.saved.load(Relaxed) < SAVED_MAX {
            self.saved.fetch_add(self.rules.permille.into(), Relaxed);
        }
    }

    /// Takes one retry; false when there is none left, which is counted.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        let taken = take(&self.saved) || {
            self.refill(now);
            take(&self.reserve)
        };
        if !taken {
            self.refused.fetch_add(1, Relaxed);
        }
        taken
    }

    /// Retries that were not made because the budget was empty.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn refill(&self, now: Instant) {
        let from = self.refilled.load(Relaxed);
        let passed = now.as_nanos().saturating_sub(from);
        let gained = passed.min(60_000_000_000) * (u64::from(self.rules.per_second) * RETRY) / 1_000_000_000;
        // Of several workers one gets to add what the time since the last refill is worth.
        if gained > 0 && self.refilled.compare_exchange(from, now.as_nanos(), Relaxed, Relaxed).is_ok() {
            let add = |held: u64| Some(held.saturating_add(gained).min(self.rules.reserve()));
            // The closure always returns a value, so the update cannot fail.
            let _ = self.reserve.fetch_update(Relaxed, Relaxed, add);
        }
    }
}

fn take(held: &AtomicU64) -> bool {
    held.fetch_update(Relaxed, Relaxed, |held| held.checked_sub(RETRY)).is_ok()
}

#[cfg(test)]
mod tests;
