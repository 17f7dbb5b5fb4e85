//! One endpoint's state, shared by all workers and by every generation that has the endpoint.
//!
//! All of it is atomics on two cache lines of its own; no method blocks or loops for longer than other writers make
//! progress. What belongs together for a decision (the latency and when it was measured) is one word and so never torn.

use super::Service;
use super::ejection::{Ejection, EjectionRules, Why};
use super::idle::IdleTimeout;
use super::slow_start::SlowStart;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
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
    /// What the operator asked for.
    service: AtomicU8,
    /// 1 once no generation has the endpoint any more.
    removed: AtomicU8,
    /// 1 when a check has had a result.
    checked: AtomicU8,
    /// [`Why`] of the last ejection.
    ejected_why: AtomicU8,
    /// Failures since the last success.
    failures_in_a_row: AtomicU32,
    /// Ejections since the endpoint last proved itself; the next one is that many times doubled.
    ejections: AtomicU32,
    /// All ejections.
    ejected_ever: AtomicU32,
    /// The last [`Ejection`] as a word; 0 when the endpoint was not ejected since it last proved itself.
    ejection: AtomicU64,
    /// Milliseconds (wrapping, upper half) at which the average was taken and its microseconds (lower half).
    latency: AtomicU64,
    /// Milliseconds (wrapping) at which an attempt last succeeded; 0 when none ever has.
    answered: AtomicU32,
    /// [`SlowStart`] as a word; 0 when the endpoint has all of its share.
    slow_start: AtomicU64,
    /// Nanoseconds at which checks last changed `health`; 0 when they never did.
    changed: AtomicU64,
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
            service: AtomicU8::new(Service::Ready as u8),
            removed: AtomicU8::new(0),
            checked: AtomicU8::new(0),
            ejected_why: AtomicU8::new(0),
            failures_in_a_row: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_ever: AtomicU32::new(0),
            ejection: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            answered: AtomicU32::new(0),
            slow_start: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            idle_timeout: IdleTimeout::new(),
        }
    }

    /// A cell for an endpoint that joins others which serve already: its share grows over `slow_start` from the first
    /// request on that it could get.
    pub fn joining(initial: Health, slow_start: Duration) -> Self {
        let cell = EndpointCell::new(initial);
        cell.slow_start.store(SlowStart::pack(SlowStart::pending(slow_start)), Relaxed);
        cell
    }

    /// An attempt begins. Every `begin` is followed by exactly one [`EndpointCell::end`].
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    /// As [`EndpointCell::begin`], unless `max` attempts are in flight already.
    pub fn try_begin(&self, max: u32) -> bool {
        let one_more = |in_flight: u32| (in_flight < max).then_some(in_flight + 1);
        let begins = self.in_flight.fetch_update(AcqRel, Acquire, one_more).is_ok();
        if begins {
            self.requests.fetch_add(1, Relaxed);
        }
        begins
    }

    /// The attempt is over, whatever its outcome.
    pub fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "end without begin");
    }

    /// What the attempt showed: `latency` from its start to the first byte of the response (or to the failure). A
    /// success ends a row of failures; as many of them as `rules` say eject the endpoint.
    pub fn observe(&self, now: Instant, latency: Duration, outcome: Outcome, rules: &EjectionRules) {
        match outcome {
            Outcome::Success => {
                self.measure(now, latency);
                let stamp = stamp(now);
                if self.answered.load(Relaxed) != stamp {
                    self.answered.store(stamp, Relaxed);
                }
                if self.failures_in_a_row.load(Relaxed) != 0 {
                    self.failures_in_a_row.store(0, Relaxed);
                }
                if self.ejection.load(Relaxed) != 0 {
                    self.pardon(now);
                }
            }
            // A refused connection is quick: its latency would attract more requests.
            Outcome::GatewayError | Outcome::ConnectFailed => {
                self.failures.fetch_add(1, Relaxed);
                let row = self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
                if rules.failures_in_a_row != 0 && row >= rules.failures_in_a_row {
                    self.eject(now, Why::FailuresInARow, rules);
                }
            }
        }
    }

    /// An attempt was given up after `waited` because another endpoint had answered: this one takes at least as long.
    pub fn outpaced(&self, now: Instant, waited: Duration) {
        if waited > Duration::from_micros(self.latency_micros(now).into()) {
            self.measure(now, waited);
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

    /// Leaves the endpoint out for a while. False when it is left out already.
    pub fn eject(&self, now: Instant, why: Why, rules: &EjectionRules) -> bool {
        let word = self.ejection.load(Relaxed);
        if Ejection::unpack(word).is_some_and(|last| last.until() > now) {
            return false;
        }
        let before = self.ejections.load(Relaxed);
        let next = Ejection::new(now, rules.duration(before));
        // Of several threads that see the same failure, one ejects.
        let won = self.ejection.compare_exchange(word, next.pack(), Relaxed, Relaxed).is_ok();
        if won {
            self.ejections.store(before.saturating_add(1), Relaxed);
            self.ejected_ever.fetch_add(1, Relaxed);
            self.ejected_why.store(why as u8, Relaxed);
            self.begin_slow_start(next.until(), rules.slow_start);
        }
        won
    }

    /// Forgets ejections once the endpoint has served for as long as the last one took.
    fn pardon(&self, now: Instant) {
        let word = self.ejection.load(Relaxed);
        let proven = |last: Ejection| now.since(last.until()) > last.lasts();
        // Another worker may have ejected it again meanwhile; that ejection stands.
        if Ejection::unpack(word).is_some_and(proven)
            && self.ejection.compare_exchange(word, 0, Relaxed, Relaxed).is_ok()
        {
            self.ejections.store(0, Relaxed);
        }
    }

    /// Active checks decided. Coming up ends an ejection; an endpoint that was down then gets its share over
    /// `slow_start`.
    pub fn set_health(&self, health: Health, now: Instant, slow_start: Duration) {
        self.checked.store(1, Relaxed);
        let before = self.health.swap(health as u8, Relaxed);
        if before == health as u8 {
            return;
        }
        self.changed.store(now.as_nanos().max(1), Relaxed);
        if health == Health::Up {
            self.failures_in_a_row.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
            self.ejection.store(0, Relaxed);
            if before == Health::Down as u8 {
                self.begin_slow_start(now, slow_start);
            }
        }
    }

    fn begin_slow_start(&self, from: Instant, lasts: Duration) {
        // A swap, so that the end of an earlier one (see `climb`) comes before it or fails. A store does the same on every
        // machine, but not in the model of loom.
        self.slow_start.swap(SlowStart::pack(SlowStart::from(from, lasts)), Relaxed);
    }

    /// A check had a result, whatever it was.
    pub fn set_checked(&self) {
        self.checked.store(1, Relaxed);
    }

    /// Nobody knows anything of the endpoint yet: it has checks, and none of them has had a result.
    pub fn is_unchecked(&self) -> bool {
        self.health() == Health::Checking && self.checked.load(Relaxed) == 0
    }

    /// What active checks said last.
    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            1 => Health::Up,
            2 => Health::Down,
            _ => Health::Checking,
        }
    }

    /// Up, in service and not ejected. Whether an ejection is honoured is up to the balancer, which sees all endpoints.
    pub fn is_available(&self, now: Instant) -> bool {
        self.health.load(Relaxed) == Health::Up as u8
            && self.service.load(Relaxed) == Service::Ready as u8
            && self.running_ejection(now).is_none()
    }

    /// An operator decided what the endpoint may get from now on; returns what it was before.
    pub fn set_service(&self, service: Service) -> Service {
        service_of(self.service.swap(service as u8, Relaxed))
    }

    /// What the operator asked for last.
    pub fn service(&self) -> Service {
        service_of(self.service.load(Relaxed))
    }

    /// Only requests that are bound to the endpoint already may go there.
    pub fn is_draining(&self) -> bool {
        self.service() == Service::Drain
    }

    /// The newest generation does not have the endpoint: exchanges on it finish, and their connections are not kept.
    pub fn set_removed(&self) {
        self.removed.store(1, Relaxed);
    }

    /// Whether the endpoint is none of the configuration's any more. It never comes back: an endpoint that does has a
    /// new cell.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Relaxed) != 0
    }

    fn running_ejection(&self, now: Instant) -> Option<Ejection> {
        Ejection::unpack(self.ejection.load(Relaxed)).filter(|last| last.until() > now)
    }

    /// Since when the endpoint is ejected, if it is.
    pub fn ejected_since(&self, now: Instant) -> Option<Instant> {
        self.running_ejection(now).map(Ejection::from)
    }

    /// Ejections that ever began.
    pub fn ejected_ever(&self) -> u64 {
        self.ejected_ever.load(Relaxed).into()
    }

    /// Why the last ejection began.
    pub fn ejected_why(&self) -> Why {
        if self.ejected_why.load(Relaxed) == Why::SuccessRate as u8 {
            Why::SuccessRate
        } else {
            Why::FailuresInARow
        }
    }

    /// When the current ejection ends, if there is one.
    pub fn ejected_until(&self, now: Instant) -> Option<Instant> {
        self.running_ejection(now).map(Ejection::until)
    }

    /// Share of its weight that the endpoint should get now: 1000 is all, less during slow start. A slow start that
    /// waits for the first request begins.
    pub fn ramp_permille(&self, now: Instant) -> u32 {
        match SlowStart::unpack(self.slow_start.load(Relaxed)) {
            None => 1000,
            Some(ramp) => self.climb(ramp, now),
        }
    }

    #[cold]
    fn climb(&self, ramp: SlowStart, now: Instant) -> u32 {
        // Only what was read is replaced: another may have begun meanwhile.
        let replace = |by| {
            let _ = self.slow_start.compare_exchange(
                SlowStart::pack(Some(ramp)),
                SlowStart::pack(by),
                Relaxed,
                Relaxed,
            );
        };
        if ramp.is_pending() {
            replace(Some(ramp.begun(now)));
            return ramp.begun(now).permille(now);
        }
        if ramp.is_over(now) {
            replace(None);
        }
        ramp.permille(now)
    }

    /// Since when the endpoint is in slow start, if it is.
    pub fn slow_start_since(&self, now: Instant) -> Option<Instant> {
        SlowStart::unpack(self.slow_start.load(Relaxed))?.running_since(now)
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

    /// For status pages and metrics: `checking`, `up`, `down`, `ejected` or `slow-start`.
    pub fn state_name(&self, now: Instant) -> &'static str {
        match self.health() {
            Health::Checking => "checking",
            Health::Down => "down",
            Health::Up if self.ejected_since(now).is_some() => "ejected",
            Health::Up if self.slow_start_since(now).is_some() => "slow-start",
            Health::Up => "up",
        }
    }

    /// How long the endpoint keeps idle connections, as far as that is known.
    pub fn idle_timeout(&self) -> &IdleTimeout {
        &self.idle_timeout
    }

    /// Since when the state is what [`EndpointCell::state_name`] says; `None` when that is as old as the endpoint.
    pub fn state_since(&self, now: Instant) -> Option<Instant> {
        let changed = Some(self.changed.load(Relaxed)).filter(|nanos| *nanos != 0).map(Instant::from_nanos);
        match self.health() {
            Health::Checking | Health::Down => changed,
            Health::Up => {
                let last = Ejection::unpack(self.ejection.load(Relaxed));
                let ended = last.map(Ejection::until).max(changed);
                self.ejected_since(now).or_else(|| self.slow_start_since(now)).or(ended)
            }
        }
    }

    /// Whether the endpoint has answered an attempt after `earlier`; to the millisecond. After weeks without traffic the
    /// answer may be wrong, since the stamp wraps.
    pub fn has_answered_since(&self, earlier: Instant) -> bool {
        let answered = self.answered.load(Relaxed);
        let after = answered.wrapping_sub(stamp(earlier));
        answered != 0 && after != 0 && after < u32::MAX / 2
    }

    /// Attempts that ever began.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Attempts that have ended, whatever their outcome.
    pub fn ended(&self) -> u64 {
        // In this order: what begins meanwhile must not look as if it had ended.
        let begun = self.requests();
        begun.saturating_sub(self.in_flight().into())
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

fn service_of(word: u8) -> Service {
    match word {
        1 => Service::Drain,
        2 => Service::Down,
        _ => Service::Ready,
    }
}

/// Milliseconds, wrapping after 49 days; never 0.
#[expect(clippy::cast_possible_truncation, reason = "wraps")]
fn stamp(now: Instant) -> u32 {
    (now.as_millis() as u32).max(1)
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
