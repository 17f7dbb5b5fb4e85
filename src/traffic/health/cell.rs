//! One endpoint's state, shared by all workers and by every generation that has the endpoint.
//!
//! All of it is atomics on two cache lines of its own; no method blocks or loops for longer than other writers make
//! progress. What belongs together for a decision (the latency and when it was measured) is one word and so never torn.

use super::ejection;
use super::idle::IdleTimeout;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64};
use base::Instant;
use std::time::Duration;

/// What active checks say. An upstream without them is always `Up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not decided yet.
    Checking = 0,
    Up = 1,
    Down = 2,
}

/// How an attempt ended, as far as the endpoint is to praise or blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, whatever it said; client errors and the client's disappearance count as success too.
    Success,
    /// 502, 503, 504, a reset, a malformed response or none in time.
    GatewayError,
    /// No connection could be made.
    ConnectFailed,
}

/// Time constant of the latency average: what was measured so long ago weighs 1/e.
const DECAY: Duration = Duration::from_secs(10);

/// The cell of one endpoint.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointCell {
    in_flight: AtomicU32,
    health: AtomicU8,
    /// Failures since the last success.
    failures_in_a_row: AtomicU32,
    /// Ejections since the endpoint last proved itself; the next one is that many times doubled.
    ejections: AtomicU32,
    /// Nanoseconds; 0 when the endpoint was not ejected since it last proved itself.
    ejected_since: AtomicU64,
    ejected_until: AtomicU64,
    /// Milliseconds (wrapping, upper half) at which the average was taken and its microseconds (lower half).
    latency: AtomicU64,
    /// Nanoseconds at which it came back and began to get its full share step by step; 0 when it has all of it.
    slow_start: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    idle_timeout: IdleTimeout,
}

impl EndpointCell {
    /// A cell without history. `initial` is `Up` for upstreams without active checks, `Checking` for others.
    pub fn new(initial: Health) -> Self {
        EndpointCell {
            in_flight: AtomicU32::new(0),
            health: AtomicU8::new(initial as u8),
            failures_in_a_row: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_since: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            slow_start: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            idle_timeout: IdleTimeout::new(),
        }
    }

    /// An attempt begins. Every `begin` is followed by exactly one [`EndpointCell::end`].
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    /// The attempt is over, whatever its outcome.
    pub fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "end without begin");
    }

    /// What the attempt showed: `latency` from its start to the first byte of the response (or to the failure). A
    /// success ends a row of failures; [`FAILURES_IN_A_ROW`](super::FAILURES_IN_A_ROW) of them eject the endpoint.
    pub fn observe(&self, now: Instant, latency: Duration, outcome: Outcome) {
        match outcome {
            Outcome::Success => {
                self.measure(now, latency);
                if self.failures_in_a_row.load(Relaxed) != 0 {
                    self.failures_in_a_row.store(0, Relaxed);
                }
                if self.ejected_since.load(Relaxed) != 0 {
                    self.pardon(now);
                }
            }
            // A refused connection is quick: its latency would attract more requests.
            Outcome::GatewayError | Outcome::ConnectFailed => {
                self.failures.fetch_add(1, Relaxed);
                let row = self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
                if row >= ejection::FAILURES_IN_A_ROW {
                    self.eject(now);
                }
            }
        }
    }

    /// Peak-sensitive exponential average: a slower answer counts at once, faster ones step by step.
    fn measure(&self, now: Instant, latency: Duration) {
        let sample = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX).max(1);
        let mut seen = self.latency.load(Relaxed);
        loop {
            let (stamp, average) = unpack(seen);
            let next = if sample >= average {
                sample
            } else {
                let kept = decay(now, stamp);
                blend(average, sample, kept)
            };
            match self.latency.compare_exchange_weak(seen, pack(now, next), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    fn eject(&self, now: Instant) {
        let until = self.ejected_until.load(Relaxed);
        if until > now.as_nanos() {
            return;
        }
        let before = self.ejections.load(Relaxed);
        let next = (now + ejection::duration(before)).as_nanos();
        // Of several workers that see the same failure, one ejects.
        if self.ejected_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
            self.ejections.store(before.saturating_add(1), Relaxed);
            self.ejected_since.store(now.as_nanos().max(1), Relaxed);
        }
    }

    /// Forgets ejections once the endpoint has served for as long as the last one took.
    fn pardon(&self, now: Instant) {
        let (since, until) = (self.ejected_since.load(Relaxed), self.ejected_until.load(Relaxed));
        let proven = now.as_nanos().saturating_sub(until) > until.saturating_sub(since);
        // Another worker may have ejected it again meanwhile; that ejection stands.
        if proven && self.ejected_since.compare_exchange(since, 0, Relaxed, Relaxed).is_ok() {
            self.ejections.store(0, Relaxed);
        }
    }

    /// Active checks decided. Coming up ends an ejection and begins slow start, except when the endpoint was never
    /// down.
    pub fn set_health(&self, health: Health, now: Instant) {
        let before = self.health.swap(health as u8, Relaxed);
        if health == Health::Up && before != Health::Up as u8 {
            self.failures_in_a_row.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
            self.ejected_since.store(0, Relaxed);
            self.ejected_until.store(0, Relaxed);
            if before == Health::Down as u8 {
                self.slow_start.store(now.as_nanos().max(1), Relaxed);
            }
        }
    }

    /// What active checks said last.
    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            1 => Health::Up,
            2 => Health::Down,
            _ => Health::Checking,
        }
    }

    /// Up and not ejected. Whether an ejection is honoured is up to the balancer, which sees all endpoints.
    pub fn is_available(&self, now: Instant) -> bool {
        self.health.load(Relaxed) == Health::Up as u8 && self.ejected_until.load(Relaxed) <= now.as_nanos()
    }

    /// Since when the endpoint is ejected, if it is.
    pub fn ejected_since(&self, now: Instant) -> Option<Instant> {
        (self.ejected_until.load(Relaxed) > now.as_nanos())
            .then(|| Instant::from_nanos(self.ejected_since.load(Relaxed)))
    }

    /// Share of its weight that the endpoint should get now: 1000 is all, less during slow start.
    pub fn ramp_permille(&self, now: Instant) -> u32 {
        let start = self.slow_start.load(Relaxed);
        if start == 0 {
            return 1000;
        }
        let share = ejection::ramp_permille(now.since(Instant::from_nanos(start)));
        if share >= 1000 {
            // Only this one: another may have begun meanwhile.
            let _ = self.slow_start.compare_exchange(start, 0, Relaxed, Relaxed);
        }
        share
    }

    /// Attempts that have begun and not ended, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// The latency average as of the last success; zero before the first one.
    pub fn ewma(&self) -> Duration {
        Duration::from_micros(unpack(self.latency.load(Relaxed)).1.into())
    }

    /// The latency average decayed to `now`, in microseconds: an endpoint that was slow once is tried again in time.
    pub fn latency_micros(&self, now: Instant) -> u32 {
        let (stamp, average) = unpack(self.latency.load(Relaxed));
        if average == 0 { 0 } else { blend(average, 1, decay(now, stamp)) }
    }

    /// For status pages and metrics: `checking`, `up`, `down` or `ejected`.
    pub fn state_name(&self, now: Instant) -> &'static str {
        match self.health() {
            Health::Checking => "checking",
            Health::Down => "down",
            Health::Up if self.ejected_since(now).is_some() => "ejected",
            Health::Up => "up",
        }
    }

    /// How long the endpoint keeps idle connections, as far as that is known.
    pub fn idle_timeout(&self) -> &IdleTimeout {
        &self.idle_timeout
    }

    /// Attempts that ever began.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Attempts that ended in a gateway error or without a connection.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Failures since the last success.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }
}

fn pack(now: Instant, micros: u32) -> u64 {
    (now.as_millis() & 0xffff_ffff) << 32 | u64::from(micros)
}

#[expect(clippy::cast_possible_truncation, reason = "takes the two halves apart")]
fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Weight that an average taken at `stamp` still has. The stamp wraps after 49 days, by when nothing is left anyway.
#[expect(clippy::cast_possible_truncation, reason = "wraps like the stamp")]
fn decay(now: Instant, stamp: u32) -> f32 {
    let passed = (now.as_millis() as u32).wrapping_sub(stamp);
    // Workers read their clocks at slightly different times: a stamp from the future is one of now.
    if passed > u32::MAX / 2 {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "an approximation")]
    let exponent = -(passed as f32) / DECAY.as_millis() as f32;
    exponent.exp()
}

/// `old` and `new` in the proportion `kept`; never 0, which means unknown. At least one of the two changes it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn blend(old: u32, new: u32, kept: f32) -> u32 {
    ((old as f32 * kept + new as f32 * (1.0 - kept)) as u32).max(1)
}
