//! The arithmetic of limits: a state of 64 bits, a cost and the time give the next state, or no.
//!
//! Pure functions. State 0 is that of a key which nobody has seen. All arithmetic is exact in whole numbers: what is
//! rounded is rounded against the client, and only where a rate does not divide its unit of time.

use base::Instant;
use std::time::Duration;

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Decides for everything but calendars.
    pub now: Instant,
    /// Seconds since 1970; decides in which period of a calendar we are.
    pub unix_s: u64,
}

/// Where a key stands after a charge, or without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What is left, in units of cost.
    pub left: u64,
    /// Until all of it is there again.
    pub full_in: Duration,
}

/// There is not enough left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub level: Level,
    /// Until the same charge would be admitted, if nobody charges meanwhile; zero where nobody can say.
    pub wait: Duration,
}

/// How a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A rate with a burst.
    Bucket(Gcra),
    /// So many in any window, estimated from two.
    Sliding(Sliding),
    /// So many in each period of the clock or the calendar.
    Periods(Periods),
    /// So many at once.
    Concurrent(u32),
}

impl Measure {
    /// The most that can be consumed at once.
    pub fn quota(&self) -> u64 {
        match self {
            Measure::Bucket(gcra) => gcra.burst.into(),
            Measure::Sliding(sliding) => sliding.limit.into(),
            Measure::Periods(periods) => periods.limit.into(),
            Measure::Concurrent(most) => (*most).into(),
        }
    }

    /// The time in which all of the quota comes back; `None` where time brings nothing back.
    pub fn window(&self) -> Option<Duration> {
        match self {
            Measure::Bucket(gcra) => Some(fractions(gcra.capacity())),
            Measure::Sliding(sliding) => Some(sliding.window),
            Measure::Periods(periods) => Some(periods.typical()),
            Measure::Concurrent(_) => None,
        }
    }

    /// Takes `cost` if that much is left.
    pub fn charge(&self, state: u64, cost: u32, at: Moment) -> Result<(u64, Level), Refusal> {
        match self {
            Measure::Bucket(gcra) => gcra.charge(state, cost, at),
            Measure::Sliding(sliding) => sliding.charge(state, cost, at),
            Measure::Periods(periods) => periods.charge(state, cost, at),
            Measure::Concurrent(most) => {
                let most = u64::from(*most);
                let level = |used: u64| Level { left: most.saturating_sub(used), full_in: Duration::ZERO };
                match state.saturating_add(cost.into()) {
                    next if next <= most => Ok((next, level(next))),
                    _ => Err(Refusal { level: level(state), wait: Duration::ZERO }),
                }
            }
        }
    }

    /// Gives `cost` back: somebody else refused the same request, or it has ended.
    pub fn refund(&self, state: u64, cost: u32, at: Moment) -> u64 {
        match self {
            Measure::Bucket(gcra) => state.saturating_sub(gcra.interval.saturating_mul(cost.into())),
            Measure::Sliding(sliding) => sliding.refund(state, cost, at),
            Measure::Periods(periods) => periods.refund(state, cost, at),
            Measure::Concurrent(_) => state.saturating_sub(cost.into()),
        }
    }

    /// What both states of one key are together.
    pub(super) fn add(&self, state: u64, other: u64, at: Moment) -> u64 {
        match self {
            Measure::Bucket(_) => {
                let now = Gcra::fraction(at.now);
                state.max(now).saturating_add(other.saturating_sub(now))
            }
            Measure::Sliding(sliding) => sliding.add(state, other, at),
            Measure::Periods(periods) => periods.add(state, other, at),
            Measure::Concurrent(_) => state.saturating_add(other),
        }
    }

    /// What has been consumed of the quota and is not back yet, in some unit that only compares; 0 is a key like one that nobody
    /// has seen.
    pub(super) fn consumed(&self, state: u64, at: Moment) -> u64 {
        match self {
            Measure::Bucket(_) => state.saturating_sub(Gcra::fraction(at.now)),
            Measure::Sliding(sliding) => sliding.consumed(state, at),
            Measure::Periods(periods) => periods.consumed(state, at),
            Measure::Concurrent(_) => state,
        }
    }

    /// Whether the key may be forgotten although it has consumed something: never what is exhausted, nor what is
    /// counted at once, for its end would find nothing.
    pub(super) fn may_forget(&self, state: u64, cost: u32, at: Moment) -> bool {
        !matches!(self, Measure::Concurrent(_)) && self.charge(state, cost, at).is_ok()
    }
}

/// Parts of a nanosecond in which a bucket counts: a rate of 700,000/s is kept to within 1 in 20,000.
const FRACTIONS: u64 = 16;

fn fractions(fractions: u64) -> Duration {
    Duration::from_nanos(fractions.div_ceil(FRACTIONS))
}

/// The generic cell rate algorithm (ITU-T I.371): the state is the time at which the bucket is full again.
///
/// When the limit changes, what a key has consumed is what it was as a part of the whole, as long as burst and rate keep
/// their ratio; a key never waits longer than a full bucket of the new limit takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// Between two requests at the rate, in fractions of a nanosecond, rounded up.
    interval: u64,
    burst: u32,
}

impl Gcra {
    /// `count` per `per`, and `burst` at once. `None` if one of them is zero or the bucket takes more than a year to fill.
    pub fn new(count: u32, per: Duration, burst: u32) -> Option<Gcra> {
        if count == 0 || burst == 0 || per.is_zero() {
            return None;
        }
        let parts = per.as_nanos() * u128::from(FRACTIONS);
        let interval = u64::try_from(parts.div_ceil(u128::from(count))).ok()?;
        let longest = YEAR_NS * FRACTIONS;
        interval.checked_mul(burst.into()).filter(|capacity| *capacity <= longest)?;
        Some(Gcra { interval, burst })
    }

    fn capacity(&self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    fn fraction(now: Instant) -> u64 {
        now.as_nanos().saturating_mul(FRACTIONS)
    }

    fn charge(&self, state: u64, cost: u32, at: Moment) -> Result<(u64, Level), Refusal> {
        let (now, capacity) = (Gcra::fraction(at.now), self.capacity());
        // Not more than a full bucket: the limit may have been larger when the state was written.
        let used = state.saturating_sub(now).min(capacity);
        let level = |used: u64| Level { left: (capacity - used) / self.interval, full_in: fractions(used) };
        match used.saturating_add(self.interval.saturating_mul(cost.into())) {
            next if next <= capacity => Ok((now.saturating_add(next), level(next))),
            next => Err(Refusal { level: level(used), wait: fractions(next - capacity) }),
        }
    }
}

const YEAR_NS: u64 = 366 * 86_400 * 1_000_000_000;

/// Two windows: all of this one, and of the last one the part that a window which ends now would still cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    pub limit: u32,
    /// At most a day.
    pub window: Duration,
}

/// Number of the window (24 bits), what was consumed in the last (20), and in this one (20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Two {
    window: u64,
    last: u64,
    this: u64,
}

impl Two {
    const COUNT_BITS: u32 = 20;
    const COUNT_MASK: u64 = (1 << Two::COUNT_BITS) - 1;
    const WINDOW_MASK: u64 = (1 << 24) - 1;

    fn unpack(state: u64) -> Two {
        Two {
            window: state >> 40,
            last: state >> Two::COUNT_BITS & Two::COUNT_MASK,
            this: state & Two::COUNT_MASK,
        }
    }

    fn pack(self) -> u64 {
        let count = |count: u64| count.min(Two::COUNT_MASK);
        (self.window & Two::WINDOW_MASK) << 40 | count(self.last) << Two::COUNT_BITS | count(self.this)
    }
}

impl Sliding {
    /// The largest limit that fits into a state.
    pub const LIMIT_MAX: u32 = 1_000_000;

    /// The state as of now, and how much of the window has passed, in nanoseconds.
    fn turn(&self, state: u64, at: Moment) -> (Two, u64) {
        let window = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX).max(1);
        let (number, passed) = (at.now.as_nanos() / window, at.now.as_nanos() % window);
        let number = number & Two::WINDOW_MASK;
        let two = Two::unpack(state);
        match number.wrapping_sub(two.window) & Two::WINDOW_MASK {
            0 => (two, passed),
            // Another worker's clock is ahead of ours.
            Two::WINDOW_MASK if state != 0 => (two, 0),
            1 if state != 0 => (Two { window: number, last: two.this, this: 0 }, passed),
            _ => (Two { window: number, last: 0, this: 0 }, passed),
        }
    }

    fn nanos(&self) -> u128 {
        self.window.as_nanos().max(1)
    }

    /// What counts of the last window, times the nanoseconds of a window.
    fn weight(&self, two: Two, passed: u64) -> u128 {
        u128::from(two.last) * (self.nanos() - u128::from(passed))
    }

    fn charge(&self, state: u64, cost: u32, at: Moment) -> Result<(u64, Level), Refusal> {
        let (two, passed) = self.turn(state, at);
        let (window, limit) = (self.nanos(), u128::from(self.limit));
        let level = |two: Two| {
            let used = self.weight(two, passed).div_ceil(window) + u128::from(two.this);
            let left = u64::try_from(limit.saturating_sub(used)).unwrap_or(0);
            let windows = if two.this > 0 { 2 } else { u128::from(two.last > 0) };
            Level { left, full_in: nanos((windows * window).saturating_sub(u128::from(passed))) }
        };
        let next = Two { this: two.this + u64::from(cost), ..two };
        if self.weight(two, passed) + u128::from(next.this) * window <= limit * window {
            return Ok((next.pack(), level(next)));
        }
        // When as much of the earlier window has gone as is needed: in this one, or else in the next.
        let until = |earlier: u64, rest: u128| match earlier {
            0 => 0,
            _ => window.saturating_sub(rest * window / u128::from(earlier)),
        };
        let wait = match limit.checked_sub(u128::from(next.this)) {
            Some(rest) => until(two.last, rest).saturating_sub(u128::from(passed)),
            None => {
                let rest = limit.saturating_sub(cost.into());
                window - u128::from(passed) + until(two.this, rest)
            }
        };
        Err(Refusal { level: level(two), wait: nanos(wait.max(1)) })
    }

    fn refund(&self, state: u64, cost: u32, at: Moment) -> u64 {
        let (two, _) = self.turn(state, at);
        let this = two.this.saturating_sub(cost.into());
        let rest = u64::from(cost) - (two.this - this);
        Two { this, last: two.last.saturating_sub(rest), ..two }.pack()
    }

    fn add(&self, state: u64, other: u64, at: Moment) -> u64 {
        let ((a, _), (b, _)) = (self.turn(state, at), self.turn(other, at));
        Two { last: a.last + b.last, this: a.this + b.this, ..a }.pack()
    }

    fn consumed(&self, state: u64, at: Moment) -> u64 {
        let (two, _) = self.turn(state, at);
        two.last + two.this
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Periods that begin at fixed moments: the quota is whole again with each.
///
/// When the limit changes, what was consumed in this period stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Periods {
    pub limit: u32,
    /// Where periods begin, in seconds since 1970, in rising order; behind the last one they go on with `every_s`.
    pub starts: Box<[u32]>,
    /// Length of a period where `starts` does not say.
    pub every_s: u32,
}

impl Periods {
    /// When the period of `unix_s` began and when it ends.
    pub fn around(&self, unix_s: u64) -> (u32, u64) {
        let now = u32::try_from(unix_s).unwrap_or(u32::MAX);
        let behind = self.starts.partition_point(|start| *start <= now);
        let every = self.every_s.max(1);
        match (behind.checked_sub(1).and_then(|at| self.starts.get(at)), self.starts.get(behind)) {
            (Some(start), Some(end)) => (*start, u64::from(*end)),
            // Beyond what the calendar says, or where there is none.
            (origin, _) => {
                let origin = origin.copied().unwrap_or(0);
                let start = origin + (now - origin) / every * every;
                (start, u64::from(start) + u64::from(every))
            }
        }
    }

    /// Length of one of the periods.
    fn typical(&self) -> Duration {
        Duration::from_secs(self.every_s.into())
    }

    /// When the period began, when it ends and what was consumed in it.
    fn turn(&self, state: u64, at: Moment) -> (u32, u64, u64) {
        let (start, end) = self.around(at.unix_s);
        let (of, used) = ((state >> 32) as u32, state & 0xffff_ffff);
        // The wall clock may be set back, and workers read it at different times: a later period goes on.
        if of >= start { (of, end.max(u64::from(of)), used) } else { (start, end, 0) }
    }

    fn pack(start: u32, used: u64) -> u64 {
        u64::from(start) << 32 | used.min(u32::MAX.into())
    }

    fn charge(&self, state: u64, cost: u32, at: Moment) -> Result<(u64, Level), Refusal> {
        let (start, end, used) = self.turn(state, at);
        let rest = Duration::from_secs(end.saturating_sub(at.unix_s));
        let level = |used: u64| Level { left: u64::from(self.limit).saturating_sub(used), full_in: rest };
        match used + u64::from(cost) {
            next if next <= self.limit.into() => Ok((Periods::pack(start, next), level(next))),
            _ => Err(Refusal { level: level(used), wait: rest }),
        }
    }

    fn refund(&self, state: u64, cost: u32, at: Moment) -> u64 {
        let (start, _, used) = self.turn(state, at);
        Periods::pack(start, used.saturating_sub(cost.into()))
    }

    fn add(&self, state: u64, other: u64, at: Moment) -> u64 {
        let ((start, _, a), (_, _, b)) = (self.turn(state, at), self.turn(other, at));
        Periods::pack(start, a + b)
    }

    fn consumed(&self, state: u64, at: Moment) -> u64 {
        self.turn(state, at).2
    }
}
