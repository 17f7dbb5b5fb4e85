//! The circuit breaker: stops asking what keeps failing, and finds out with a few probes when it works again.
//!
//! ```text
//!            error rate over the window, of enough requests
//!   closed ─────────────────────────────────────────────────▶ open ◀─────────╮
//!     ▲                                                         │ open-for     │ a probe fails
//!     │                                                         ▼              │
//!     ╰───────────────── every probe succeeds ────────────── half-open ────────╯
//! ```
//!
//! The state is one word, so that of several workers one makes a transition and all see the same one. Outcomes are counted
//! in slices of the window; each slice is one word as well. A request that was let in while the breaker was closed says
//! nothing about the probes of a later time, and a probe that ends without an outcome gives its place back.

use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
use base::Instant;
use std::time::Duration;

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Share of failures that opens it.
    pub error_permille: u32,
    /// Outcomes that there must be within the window.
    pub requests_min: u32,
    /// What lies further back does not count; known to an eighth.
    pub window: Duration,
    /// How long it stays open.
    pub open_for: Duration,
    /// Requests that must succeed, one after the other or side by side, before it closes; at most [`PROBES_MAX`].
    pub probes: u16,
}

/// Bound of [`BreakerRules::probes`].
pub const PROBES_MAX: u16 = 1000;

/// A breaker; survives generations.
#[derive(Debug)]
pub struct Breaker {
    state: AtomicU64,
    slices: [AtomicU64; SLICES as usize],
    opened: AtomicU64,
}

const SLICES: u32 = 8;

/// What a request that is let in must show to [`Breaker::observe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// One of many.
    Usual,
    /// One of the few that decide; of the half-open time that began at this millisecond.
    Probe { since: u64 },
}

/// What a breaker does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// Lets nobody in until then.
    Open {
        until: Instant,
    },
    /// Lets in its probes.
    HalfOpen,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            state: AtomicU64::new(Word::Closed { since: 0 }.pack()),
            slices: std::array::from_fn(|_| AtomicU64::new(0)),
            opened: AtomicU64::new(0),
        }
    }
}

impl Breaker {
    /// Whether [`Breaker::admit`] would let a request in.
    pub fn may_admit(&self, rules: &BreakerRules, now: Instant) -> bool {
        match Word::unpack(self.state.load(Relaxed)) {
            Word::Closed { .. } => true,
            Word::Open { until } => now.as_millis() >= until,
            Word::HalfOpen { granted, .. } => granted < rules.probes,
        }
    }

    /// Lets a request in, as a probe if that is what is needed. Every pass ends in one [`Breaker::observe`].
    pub fn admit(&self, rules: &BreakerRules, now: Instant) -> Option<Pass> {
        let mut seen = self.state.load(Acquire);
        loop {
            let (next, since) = match Word::unpack(seen) {
                Word::Closed { .. } => return Some(Pass::Usual),
                Word::Open { until } if now.as_millis() < until => return None,
                Word::Open { .. } => {
                    let since = now.as_millis();
                    (Word::HalfOpen { granted: 1, succeeded: 0, since }, since)
                }
                Word::HalfOpen { granted, .. } if granted >= rules.probes => return None,
                Word::HalfOpen { granted, succeeded, since } => {
                    (Word::HalfOpen { granted: granted + 1, succeeded, since }, since)
                }
            };
            match self.state.compare_exchange_weak(seen, next.pack(), AcqRel, Acquire) {
                Ok(_) => return Some(Pass::Probe { since }),
                Err(other) => seen = other,
            }
        }
    }

    /// What came of a request that was let in: whether it failed, or `None` when it ended without saying.
    pub fn observe(&self, rules: &BreakerRules, pass: Pass, failed: Option<bool>, now: Instant) {
        match (pass, failed) {
            (Pass::Probe { since }, _) => self.observe_probe(rules, since, failed, now),
            (Pass::Usual, None) => {}
            (Pass::Usual, Some(failed)) => self.count(rules, failed, now),
        }
    }

    fn observe_probe(&self, rules: &BreakerRules, of: u64, failed: Option<bool>, now: Instant) {
        let mut seen = self.state.load(Acquire);
        loop {
            let next = match Word::unpack(seen) {
                Word::HalfOpen { granted, succeeded, since } if since == of => match failed {
                    Some(true) => opening(rules, now),
                    Some(false) if succeeded + 1 >= rules.probes => {
                        // What was counted led to the opening; it must not lead to the next one.
                        self.slices.iter().for_each(|slice| slice.store(0, Relaxed));
                        Word::Closed { since: now.as_millis() }
                    }
                    Some(false) => Word::HalfOpen { granted, succeeded: succeeded + 1, since },
                    None => Word::HalfOpen { granted: granted.saturating_sub(1), succeeded, since },
                },
                // Another probe has decided already.
                _ => return,
            };
            match self.state.compare_exchange_weak(seen, next.pack(), AcqRel, Acquire) {
                Ok(_) => return self.note_opening(next),
                Err(other) => seen = other,
            }
        }
    }

    /// Counts an outcome while closed, and opens if that is too much.
    fn count(&self, rules: &BreakerRules, failed: bool, now: Instant) {
        let seen = self.state.load(Acquire);
        if !matches!(Word::unpack(seen), Word::Closed { .. }) {
            return;
        }
        let number = slice_number(rules, now);
        let add = |slice: u64| Some(Slice::unpack(slice).with(number, failed).pack());
        // The closure always returns a value, so the update cannot fail.
        let _ = self.slices[(number % SLICES) as usize].fetch_update(Relaxed, Relaxed, add);
        let (total, failures) = self.sum(rules, now);
        if failed
            && total >= rules.requests_min
            && u64::from(failures) * 1000 >= u64::from(total) * u64::from(rules.error_permille)
        {
            let next = opening(rules, now);
            if self.state.compare_exchange(seen, next.pack(), AcqRel, Relaxed).is_ok() {
                self.note_opening(next);
            }
        }
    }

    fn note_opening(&self, word: Word) {
        if matches!(word, Word::Open { .. }) {
            self.opened.fetch_add(1, Relaxed);
        }
    }

    /// Outcomes and failures within the window.
    fn sum(&self, rules: &BreakerRules, now: Instant) -> (u32, u32) {
        let newest = slice_number(rules, now);
        let oldest = newest.saturating_sub(SLICES - 1);
        let slices = self.slices.iter().map(|slice| Slice::unpack(slice.load(Relaxed)));
        slices
            .filter(|slice| (oldest..=newest).contains(&slice.number))
            .fold((0, 0), |(total, failed), slice| {
                (total + u32::from(slice.total), failed + u32::from(slice.failed))
            })
    }

    /// What it does now. An open breaker whose time is over waits for the request that becomes its first probe.
    pub fn state(&self, now: Instant) -> State {
        match Word::unpack(self.state.load(Relaxed)) {
            Word::Closed { .. } => State::Closed,
            Word::Open { until } if now.as_millis() < until => {
                State::Open { until: Instant::ZERO + Duration::from_millis(until) }
            }
            Word::Open { .. } | Word::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }
}

impl State {
    /// For status pages: `closed`, `open` or `half-open`.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen => "half-open",
        }
    }
}

fn opening(rules: &BreakerRules, now: Instant) -> Word {
    // At least a millisecond, so that no two half-open times begin at the same one.
    Word::Open { until: (now + rules.open_for).as_millis().max(now.as_millis() + 1) }
}

fn slice_number(rules: &BreakerRules, now: Instant) -> u32 {
    let slice = (rules.window / SLICES).as_nanos().max(1);
    // Wraps after a year of the shortest slices; then one window is forgotten.
    u32::try_from(u128::from(now.as_nanos()) / slice % u128::from(u32::MAX)).unwrap_or(0)
}

/// The state, taken apart. Times are in milliseconds; 42 bits of them last for 139 years.
#[derive(Clone, Copy)]
enum Word {
    Closed { since: u64 },
    Open { until: u64 },
    HalfOpen { granted: u16, succeeded: u16, since: u64 },
}

const KIND_BITS: u32 = 2;
const COUNT_BITS: u32 = 10;
const TIME_SHIFT: u32 = KIND_BITS + 2 * COUNT_BITS;

impl Word {
    fn pack(self) -> u64 {
        match self {
            Word::Closed { since } => since << TIME_SHIFT,
            Word::Open { until } => 1 | until << TIME_SHIFT,
            Word::HalfOpen { granted, succeeded, since } => {
                let counts = u64::from(granted) | u64::from(succeeded) << COUNT_BITS;
                2 | counts << KIND_BITS | since << TIME_SHIFT
            }
        }
    }

    fn unpack(word: u64) -> Word {
        let time = word >> TIME_SHIFT;
        let count = |at: u32| (word >> (KIND_BITS + at) & ((1 << COUNT_BITS) - 1)) as u16;
        match word & ((1 << KIND_BITS) - 1) {
            0 => Word::Closed { since: time },
            1 => Word::Open { until: time },
            _ => Word::HalfOpen { granted: count(0), succeeded: count(COUNT_BITS), since: time },
        }
    }
}

/// Outcomes of an eighth of the window.
#[derive(Clone, Copy)]
struct Slice {
    number: u32,
    total: u16,
    failed: u16,
}

impl Slice {
    fn unpack(word: u64) -> Slice {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        let number = u32::from_le_bytes([e, f, g, h]);
        Slice { number, total: u16::from_le_bytes([c, d]), failed: u16::from_le_bytes([a, b]) }
    }

    fn pack(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.total) << 16 | u64::from(self.failed)
    }

    /// One more outcome in the slice of that number; what belongs to another one is forgotten.
    fn with(self, number: u32, failed: bool) -> Slice {
        let kept = if self.number == number { self } else { Slice { number, total: 0, failed: 0 } };
        // A full slice keeps its proportion.
        let kept = match kept.total {
            u16::MAX => Slice { number, total: kept.total / 2, failed: kept.failed / 2 },
            _ => kept,
        };
        Slice { number, total: kept.total + 1, failed: kept.failed + u16::from(failed) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: BreakerRules = BreakerRules {
        error_permille: 500,
        requests_min: 20,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        probes: 3,
    };

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(1_000_000 + millis)
    }

    fn request(breaker: &Breaker, failed: bool, now: Instant) -> bool {
        let Some(pass) = breaker.admit(&RULES, now) else { return false };
        breaker.observe(&RULES, pass, Some(failed), now);
        true
    }

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        (0..20).for_each(|n| assert!(request(&breaker, true, at(n))));
        assert_eq!(breaker.state(at(19)), State::Open { until: at(5019) });
        breaker
    }

    #[test]
    fn half_of_twenty_failures_open_it_and_fewer_requests_do_not() {
        let breaker = Breaker::default();
        for n in 0..19 {
            request(&breaker, n % 2 == 0, at(n));
        }
        assert_eq!(breaker.state(at(19)), State::Closed);
        request(&breaker, false, at(19));
        assert_eq!(breaker.state(at(20)), State::Closed, "a success opens nothing");
        request(&breaker, true, at(20));
        assert_eq!(breaker.state(at(21)).name(), "open");
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn failures_further_back_than_the_window_do_not_count() {
        let breaker = Breaker::default();
        (0..19).for_each(|n| assert!(request(&breaker, true, at(n))));
        request(&breaker, true, at(10_100));
        assert_eq!(breaker.state(at(10_100)), State::Closed);
    }

    #[test]
    fn an_open_breaker_lets_nobody_in_until_its_time_is_over_and_then_its_probes() {
        let breaker = opened();
        assert!(!breaker.may_admit(&RULES, at(5018)) && breaker.admit(&RULES, at(5018)).is_none());
        let probes: Vec<Pass> = (0..10).filter_map(|_| breaker.admit(&RULES, at(5019))).collect();
        assert_eq!(probes.len(), 3);
        assert!(!breaker.may_admit(&RULES, at(9999)), "they decide, however long they take");
        assert_eq!(breaker.state(at(9999)), State::HalfOpen);
        for probe in probes {
            assert_ne!(breaker.state(at(6000)), State::Closed);
            breaker.observe(&RULES, probe, Some(false), at(6000));
        }
        assert_eq!(breaker.state(at(6000)), State::Closed);
        request(&breaker, true, at(6001));
        assert_eq!(breaker.state(at(6001)), State::Closed, "what was counted before is forgotten");
    }

    #[test]
    fn one_failed_probe_opens_it_again_and_the_others_have_no_say() {
        let breaker = opened();
        let probes: Vec<Pass> = (0..3).filter_map(|_| breaker.admit(&RULES, at(6000))).collect();
        breaker.observe(&RULES, probes[0], Some(true), at(6100));
        breaker.observe(&RULES, probes[1], Some(false), at(6100));
        assert_eq!(breaker.state(at(6100)), State::Open { until: at(11_100) });
        let next = breaker.admit(&RULES, at(11_100)).expect("half-open again");
        breaker.observe(&RULES, probes[2], Some(true), at(11_101));
        assert_eq!(breaker.state(at(11_101)), State::HalfOpen, "a probe of the time before");
        assert_ne!(next, probes[2]);
        assert_eq!(breaker.opened(), 2);
    }

    #[test]
    fn a_probe_without_an_outcome_gives_its_place_to_another() {
        let breaker = opened();
        let probes: Vec<Pass> = (0..3).filter_map(|_| breaker.admit(&RULES, at(6000))).collect();
        breaker.observe(&RULES, probes[0], None, at(6000));
        assert!(breaker.may_admit(&RULES, at(6000)));
        assert!(breaker.admit(&RULES, at(6000)).is_some() && breaker.admit(&RULES, at(6000)).is_none());
    }

    proptest! {
        #![proptest_config(crate::testing::cases(300))]

        /// Against a plain model of the rules: requests come at any time, fail or not, end at once or later.
        #[test]
        fn it_never_lets_in_what_it_must_not(steps in prop::collection::vec((0..4000_u64, 0..4_u8, any::<bool>()), 1..200)) {
            let breaker = Breaker::default();
            let mut now = 0;
            let mut open_until = None;
            let mut probes: Vec<Pass> = Vec::new();
            for (pass_by, what, failed) in steps {
                now += pass_by;
                if what == 0 && !probes.is_empty() {
                    let probe = probes.remove(0);
                    breaker.observe(&RULES, probe, [None, Some(failed)][usize::from(pass_by % 3 > 0)], at(now));
                } else if let Some(pass) = breaker.admit(&RULES, at(now)) {
                    prop_assert!(open_until.is_none_or(|until| at(now) >= until), "let in while open");
                    match pass {
                        Pass::Usual => breaker.observe(&RULES, pass, Some(failed), at(now)),
                        Pass::Probe { .. } => probes.push(pass),
                    }
                }
                open_until = match breaker.state(at(now)) {
                    State::Open { until } => Some(until),
                    _ => None,
                };
                prop_assert!(open_until.is_none_or(|until| until <= at(now) + RULES.open_for));
            }
            // Whatever happened: with time and good answers it closes.
            for probe in probes {
                breaker.observe(&RULES, probe, None, at(now));
            }
            let later = at(now) + RULES.open_for;
            for _ in 0..RULES.probes {
                let pass = breaker.admit(&RULES, later);
                breaker.observe(&RULES, pass.expect("room for a probe"), Some(false), later);
            }
            prop_assert_eq!(breaker.state(later), State::Closed);
        }
    }
}
