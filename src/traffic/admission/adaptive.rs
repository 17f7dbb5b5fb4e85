//! How many requests at once an upstream answers as quickly as when it has few: a limit that is found by measuring.
//!
//! Requests beyond what an upstream works on at the same time wait inside it, and its latency says so. At the end of each
//! *window* the limit is multiplied by the *gradient*, the ratio of the latency at its best to the one now, and √limit is
//! added so that it can grow: `limit ← limit · min(1, 1.25 · best / now) + √limit`. Latencies up to a quarter above the
//! best cost nothing. One window takes away a fifth at most. A limit that is not used is not raised.
//!
//! The best latency is the lowest median of a window. A minimum would never rise when the upstream really becomes slower, so
//! every [`REMEASURE_EVERY`] the limit is halved for two windows: in the first one the requests from before end, the
//! median of the second is the new best. The same is done at the start, with the lowest limit, and whenever the limit has
//! come down to the lowest: what is measured there is the best that there is.
//!
//! Workers share all of this. Samples are counted by whoever takes them; the worker that finds a window over closes it.

use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::{AtomicU32, AtomicU64};
use base::Instant;
use std::time::Duration;

/// Between which bounds the limit moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveRules {
    pub min: u32,
    pub max: u32,
}

/// The limit of one upstream; survives generations.
#[derive(Debug)]
pub struct Adaptive {
    /// 0 before the first request.
    limit: AtomicU32,
    /// Median latency at its best, in microseconds; 0 while unknown.
    best: AtomicU32,
    /// The limit to go back to after a measurement, and in the upper half the windows that it still takes; else 0.
    measuring: AtomicU64,
    /// Nanoseconds at which the next measurement is due.
    measure_at: AtomicU64,
    /// Nanoseconds at which the window ends, if there are enough samples.
    ends: AtomicU64,
    /// The most requests in flight within the window.
    peak: AtomicU32,
    count: AtomicU32,
    latencies: [AtomicU32; BUCKETS],
}

/// How often the best latency is measured anew.
pub const REMEASURE_EVERY: Duration = Duration::from_secs(30);

/// A window lasts that long, and longer if it takes that to get [`SAMPLES_MIN`] or two median latencies.
const WINDOW_MIN: Duration = Duration::from_millis(100);
const WINDOW_MAX: Duration = Duration::from_secs(5);
/// Samples of which a median is believed.
const SAMPLES_MIN: u32 = 25;
/// The first limit after the first measurement, within the bounds.
const LIMIT_FIRST: u32 = 20;
/// Latencies that much above the best are as good as the best.
const TOLERANCE: f64 = 1.25;
/// Latencies that are worse than twice the tolerated one say no more than that.
const GRADIENT_MIN: f64 = 0.5;
/// What is left of the limit at least after one window.
const KEPT_MIN: f64 = 0.8;

/// Buckets of latencies: eight per power of two, from 1 us to 67 s.
const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = 24 * SUB;

impl Default for Adaptive {
    fn default() -> Self {
        Adaptive {
            limit: AtomicU32::new(0),
            best: AtomicU32::new(0),
            measuring: AtomicU64::new(0),
            measure_at: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            peak: AtomicU32::new(0),
            count: AtomicU32::new(0),
            latencies: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Adaptive {
    /// Requests that may be in flight now.
    pub fn limit(&self, rules: &AdaptiveRules) -> u32 {
        self.limit.load(Relaxed).clamp(rules.min, rules.max)
    }

    /// The best median latency; zero while unknown.
    pub fn best(&self) -> Duration {
        Duration::from_micros(self.best.load(Relaxed).into())
    }

    /// A request was answered after `latency`, while `in_flight` were. True when the limit has risen by this, so that
    /// requests that wait can be let in.
    pub fn observe(&self, rules: &AdaptiveRules, latency: Duration, in_flight: u32, now: Instant) -> bool {
        self.latencies[bucket_of(latency)].fetch_add(1, Relaxed);
        self.peak.fetch_max(in_flight, Relaxed);
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let ends = self.ends.load(Acquire);
        if count < SAMPLES_MIN || now.as_nanos() < ends {
            return false;
        }
        // Of several workers that find the window over, one closes it.
        let provisional = (now + WINDOW_MAX).as_nanos();
        if self.ends.compare_exchange(ends, provisional, AcqRel, Relaxed).is_err() {
            return false;
        }
        let rose = self.close_window(rules, now);
        let median = Duration::from_micros(u64::from(rose.median));
        let length = (median * 2).clamp(WINDOW_MIN, WINDOW_MAX);
        self.ends.store((now + length).as_nanos(), Relaxed);
        rose.after > rose.before
    }

    fn close_window(&self, rules: &AdaptiveRules, now: Instant) -> Step {
        self.count.store(0, Relaxed);
        let window = Window { median: self.take_median(), peak: self.peak.swap(0, Relaxed) };
        let measuring = self.measuring.load(Relaxed);
        let is_new = self.limit.load(Relaxed) == 0;
        let before = Limits {
            limit: self.limit(rules),
            best: self.best.load(Relaxed),
            #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
            measuring: (measuring > 0).then_some((measuring as u32, (measuring >> 32) as u32)),
            is_due: now.as_nanos() >= self.measure_at.load(Relaxed),
            is_new,
        };
        let after = before.after(rules, window);
        self.limit.store(after.limit, Relaxed);
        self.best.store(after.best, Relaxed);
        let word =
            after.measuring.map_or(0, |(back_to, windows)| u64::from(windows) << 32 | u64::from(back_to));
        self.measuring.store(word, Relaxed);
        if before.measuring.is_some() && after.measuring.is_none() {
            self.measure_at.store((now + REMEASURE_EVERY).as_nanos(), Relaxed);
        }
        Step { before: before.limit, after: after.limit, median: window.median }
    }

    /// The median of the window in microseconds; what is counted meanwhile belongs to the next one.
    fn take_median(&self) -> u32 {
        let counts: [u32; BUCKETS] = std::array::from_fn(|bucket| self.latencies[bucket].swap(0, Relaxed));
        let total: u32 = counts.iter().sum();
        let half = (total / 2).max(1);
        let mut below = 0;
        for (bucket, &count) in counts.iter().enumerate() {
            if below + count >= half {
                // Evenly spread within the bucket, as far as anybody knows.
                let (from, to) = (lower_bound(bucket), lower_bound(bucket + 1));
                let part = u64::from(half - below) * (to - from) / u64::from(count);
                return u32::try_from(from + part).unwrap_or(u32::MAX).max(1);
            }
            below += count;
        }
        1
    }
}

struct Step {
    before: u32,
    after: u32,
    median: u32,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Microseconds.
    median: u32,
    peak: u32,
}

/// The limit and what it follows from.
#[derive(Clone, Copy, Debug)]
struct Limits {
    limit: u32,
    best: u32,
    /// The limit to go back to, and how many windows the measurement still takes.
    measuring: Option<(u32, u32)>,
    /// A measurement is due.
    is_due: bool,
    /// No window has been closed yet.
    is_new: bool,
}

impl Limits {
    /// One window later.
    fn after(self, rules: &AdaptiveRules, window: Window) -> Limits {
        let bounded = |limit: u32| limit.clamp(rules.min, rules.max);
        if self.is_new {
            return Limits { limit: rules.min, measuring: Some((bounded(LIMIT_FIRST), 1)), ..self };
        }
        match self.measuring {
            Some((back_to, windows)) if windows > 1 => {
                return Limits { measuring: Some((back_to, windows - 1)), ..self };
            }
            Some((back_to, _)) => {
                return Limits { limit: bounded(back_to), best: window.median, measuring: None, ..self };
            }
            None => {}
        }
        if self.is_due {
            return Limits { limit: bounded(self.limit / 2), measuring: Some((self.limit, 2)), ..self };
        }
        let at_bottom = self.limit == rules.min && window.peak >= self.limit;
        let best = if at_bottom { window.median } else { self.best.min(window.median) };
        if u64::from(window.peak) * 2 < u64::from(self.limit) {
            return Limits { best, ..self };
        }
        let gradient = (TOLERANCE * f64::from(best) / f64::from(window.median)).clamp(GRADIENT_MIN, 1.0);
        let limit = f64::from(self.limit);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between the bounds")]
        let next = (limit * gradient + limit.sqrt()).max(limit * KEPT_MIN).min(f64::from(rules.max)) as u32;
        Limits { limit: bounded(next), best, ..self }
    }
}

fn bucket_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < SUB as u64 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let exponent = 63 - micros.leading_zeros();
    let sub = usize::try_from((micros >> (exponent - SUB_BITS)) & (SUB as u64 - 1)).unwrap_or(0);
    ((exponent - SUB_BITS + 1) as usize * SUB + sub).min(BUCKETS - 1)
}

/// The smallest number of microseconds that falls into `bucket`.
fn lower_bound(bucket: usize) -> u64 {
    let (octave, sub) = (bucket / SUB, (bucket % SUB) as u64);
    if octave == 0 { sub } else { (SUB as u64 + sub) << (octave - 1) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use base::Rng;
    use proptest::prelude::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    const RULES: AdaptiveRules = AdaptiveRules { min: 4, max: 1000 };

    #[test]
    fn buckets_border_on_each_other() {
        for bucket in 0..BUCKETS - 1 {
            let first = Duration::from_micros(lower_bound(bucket));
            let next = Duration::from_micros(lower_bound(bucket + 1));
            assert_eq!((bucket_of(first), bucket_of(next)), (bucket, bucket + 1));
        }
    }

    /// A server that works on `capacity` requests at once, each for `service`, and lets the others wait, in virtual time.
    struct Server {
        adaptive: Adaptive,
        now: u64,
        capacity: usize,
        service: u64,
        /// By how much a service time may differ, in percent.
        noise: u64,
        /// One in so many requests takes twenty times as long; 0 is never.
        outliers: u64,
        /// When each of the places of the server is free.
        places: BinaryHeap<Reverse<u64>>,
        /// Ends and starts of what is in flight.
        flying: BinaryHeap<Reverse<(u64, u64)>>,
        rng: Rng,
        seen: Vec<u32>,
    }

    impl Server {
        fn new(capacity: usize, service_micros: u64) -> Server {
            Server {
                adaptive: Adaptive::default(),
                now: 1_000_000,
                capacity,
                service: service_micros,
                noise: 0,
                outliers: 0,
                places: (0..capacity).map(|_| Reverse(0)).collect(),
                flying: BinaryHeap::new(),
                rng: Rng::new(7),
                seen: Vec::new(),
            }
        }

        fn set_capacity(&mut self, capacity: usize) {
            self.capacity = capacity;
            while self.places.len() < capacity {
                self.places.push(Reverse(self.now));
            }
        }

        /// Always as many requests in flight as the limit allows, at most `demand`, for so many seconds.
        fn run(&mut self, demand: usize, seconds: u64) -> &mut Self {
            let end = self.now + seconds * 1_000_000;
            self.seen.clear();
            while self.now < end {
                let limit = self.adaptive.limit(&RULES) as usize;
                while self.flying.len() < limit.min(demand) {
                    let mut work = self.service * (100 + self.rng.below(self.noise + 1)) / 100;
                    if self.outliers > 0 && self.rng.below(self.outliers) == 0 {
                        work *= 20;
                    }
                    // Places that were taken away end with what they work on.
                    while self.places.len() > self.capacity {
                        self.places.pop();
                    }
                    let Reverse(free) = self.places.pop().expect("capacity is not 0");
                    let done = free.max(self.now) + work;
                    self.places.push(Reverse(done));
                    self.flying.push(Reverse((done, self.now)));
                }
                let Reverse((done, began)) = self.flying.pop().expect("the limit is not 0");
                self.now = self.now.max(done);
                let in_flight = u32::try_from(self.flying.len() + 1).expect("few");
                let now = Instant::ZERO + Duration::from_micros(self.now);
                self.adaptive.observe(&RULES, Duration::from_micros(done - began), in_flight, now);
                self.seen.push(self.adaptive.limit(&RULES));
            }
            self
        }

        /// The limit in the middle of what was seen, so that measurements do not count.
        fn usual_limit(&self) -> u32 {
            let mut seen = self.seen.clone();
            seen.sort_unstable();
            seen[seen.len() / 2]
        }
    }

    #[test]
    fn it_finds_the_capacity_of_a_server_whether_it_is_small_or_large() {
        for (capacity, service) in [(8, 5_000), (20, 10_000), (100, 20_000), (300, 3_000)] {
            let mut server = Server::new(capacity, service);
            let limit = server.run(5000, 60).run(5000, 20).usual_limit() as usize;
            assert!((capacity..=capacity * 2).contains(&limit), "{limit} for a capacity of {capacity}");
            let best = server.adaptive.best().as_micros();
            let service = u128::from(service);
            assert!((service * 9 / 10..service * 14 / 10).contains(&best), "{best} us for {service} us");
        }
    }

    #[test]
    fn it_follows_when_the_server_loses_three_quarters_of_its_capacity_and_gets_them_back() {
        let mut server = Server::new(80, 10_000);
        let before = server.run(5000, 40).usual_limit();
        server.set_capacity(20);
        let less = server.run(5000, 40).run(5000, 20).usual_limit();
        server.set_capacity(80);
        let again = server.run(5000, 40).run(5000, 20).usual_limit();
        assert!(
            (80..=160).contains(&before) && (20..=40).contains(&less) && (80..=160).contains(&again),
            "{before}, {less}, {again}"
        );
    }

    #[test]
    fn it_follows_when_every_request_takes_four_times_as_long() {
        let mut server = Server::new(40, 5_000);
        server.run(5000, 20);
        server.service = 20_000;
        // The best latency is measured anew within half a minute.
        let limit = server.run(5000, 70).run(5000, 20).usual_limit();
        assert!((40..=80).contains(&limit), "{limit}");
    }

    #[test]
    fn noise_and_outliers_do_not_make_it_collapse() {
        let mut server = Server::new(50, 10_000);
        (server.noise, server.outliers) = (60, 50);
        let limit = server.run(5000, 60).run(5000, 60).usual_limit();
        assert!((40..=150).contains(&limit), "{limit}");
        let lowest = server.seen.iter().min().copied().unwrap_or(0);
        assert!(lowest >= 15, "{lowest}, measurements included");
    }

    #[test]
    fn a_limit_that_nobody_needs_does_not_grow() {
        let mut server = Server::new(500, 10_000);
        let limit = server.run(10, 120).usual_limit();
        assert!(limit <= 40, "{limit}");
    }

    proptest! {
        #![proptest_config(crate::testing::cases(200))]

        #[test]
        fn whatever_is_observed_the_limit_stays_within_its_bounds(
            samples in prop::collection::vec((0..10_000_000_u64, 0..5000_u32, 0..50_u64), 1..2000),
            min in 1..50_u32,
            more in 0..500_u32,
        ) {
            let rules = AdaptiveRules { min, max: min + more };
            let adaptive = Adaptive::default();
            let mut now = Instant::ZERO;
            for (micros, in_flight, millis) in samples {
                now = now + Duration::from_millis(millis);
                let before = adaptive.limit(&rules);
                let rose = adaptive.observe(&rules, Duration::from_micros(micros), in_flight, now);
                let after = adaptive.limit(&rules);
                prop_assert!((min..=min + more).contains(&after));
                prop_assert_eq!(rose, after > before);
                let least = (f64::from(before) * 0.5 - 1.0).max(0.0);
                prop_assert!(f64::from(after) >= least || after == min, "{} after {}", after, before);
            }
        }
    }
}
