//! Hedging: a request that its endpoint has not answered after a while is sent to a second one as well, and the first
//! complete response head wins.
//!
//! It shortens the slowest responses at the price of more requests, so it is off unless a route asks for it, it is done
//! for requests only that may be sent twice, and each second request is taken from the upstream's retry budget.

use crate::sync::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use wire::http::{BodyLength, Method, RequestHead};

/// What a route says about hedging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeRules {
    /// How long the first endpoint may take for its response head before the second one is asked.
    pub after: HedgeAfter,
}

/// How long the first endpoint may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    Time(Duration),
    /// The time within which so many of 100 requests are answered.
    Percentile(u8),
}

impl HedgeRules {
    /// How long the first endpoint may take now; `None` while nothing has been learned.
    pub fn delay(&self, learned: &LearnedDelay) -> Option<Duration> {
        match self.after {
            HedgeAfter::Time(time) => Some(time),
            HedgeAfter::Percentile(_) => learned.get(),
        }
    }

    /// The first endpoint of a request took so long, or at least so long if it was overtaken.
    pub fn learn(&self, learned: &LearnedDelay, took: Duration) {
        if let HedgeAfter::Percentile(percent) = self.after {
            learned.observe(took, percent);
        }
    }

    /// Whether the request may be with two endpoints at once: idempotent, without a body that would have to be sent
    /// twice, and no upgrade, of which only one can have the connection afterwards.
    pub fn apply_to(&self, head: &RequestHead) -> bool {
        matches!(head.method, Method::Get | Method::Head | Method::Options)
            && head.body == BodyLength::None
            && head.upgrade.is_none()
    }
}

/// The time within which a share of the first endpoints answers, over all workers.
///
/// A controller rather than a statistic: each slower answer moves it up and each quicker one down, in the proportion in
/// which they are to occur. It settles where they do, follows what changes within a few hundred requests, and of an
/// answer that nobody waited for it needs to know only that it was slower. Workers may overwrite each other's steps.
#[derive(Debug)]
pub struct LearnedDelay {
    /// Microseconds; 0 before the first answer.
    micros: AtomicU32,
}

impl Default for LearnedDelay {
    fn default() -> Self {
        LearnedDelay { micros: AtomicU32::new(0) }
    }
}

impl LearnedDelay {
    /// The delay; `None` before the first answer.
    pub fn get(&self) -> Option<Duration> {
        Some(self.micros.load(Relaxed))
            .filter(|&micros| micros > 0)
            .map(|micros| Duration::from_micros(micros.into()))
    }

    fn observe(&self, took: Duration, percent: u8) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let percent = u32::from(percent.min(99));
        let next = match self.micros.load(Relaxed) {
            // High, so that the first requests are not all sent twice.
            0 => took.saturating_mul(2),
            // Steps of a tenth, shared out: 9.5 % up and 0.5 % down for the 95th percentile.
            known if took > known => known + known / 1000 * percent,
            known => known - known / 1000 * (100 - percent),
        };
        self.micros.store(next.clamp(DELAY_MIN_MICROS, DELAY_MAX_MICROS), Relaxed);
    }
}

/// Timers are no finer.
const DELAY_MIN_MICROS: u32 = 1_000;
const DELAY_MAX_MICROS: u32 = 60_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::http::Span;

    #[test]
    fn only_what_is_harmless_to_send_twice_is_hedged() {
        let rules = HedgeRules { after: HedgeAfter::Time(Duration::from_millis(50)) };
        let of = |method| RequestHead { method, ..RequestHead::default() };
        for method in [Method::Get, Method::Head, Method::Options] {
            assert!(rules.apply_to(&of(method)), "{method:?}");
            let body = RequestHead { body: BodyLength::Length(1), ..of(method) };
            let chunked = RequestHead { body: BodyLength::Chunked, ..of(method) };
            let upgrade = RequestHead { upgrade: Some(Span::EMPTY), ..of(method) };
            assert!([body, chunked, upgrade].iter().all(|head| !rules.apply_to(head)), "{method:?}");
        }
        for method in
            [Method::Post, Method::Put, Method::Delete, Method::Patch, Method::Connect, Method::Trace]
        {
            assert!(!rules.apply_to(&of(method)), "{method:?}");
        }
        assert!(!rules.apply_to(&of(Method::Other(Span::EMPTY))));
    }

    #[test]
    fn the_learned_delay_settles_where_the_share_of_slower_answers_is_the_asked_one() {
        for (percent, expected) in [(95, 95.0), (50, 50.0), (99, 99.0)] {
            let rules = HedgeRules { after: HedgeAfter::Percentile(percent) };
            let (learned, mut rng) = (LearnedDelay::default(), base::Rng::new(7));
            assert_eq!(rules.delay(&learned), None);
            // Evenly spread from 0 to 100 ms.
            let (mut sum, mut count) = (0.0, 0.0);
            for n in 0..20_000 {
                rules.learn(&learned, Duration::from_micros(rng.below(100_000)));
                if n > 2_000 {
                    sum += rules.delay(&learned).expect("learned").as_secs_f64() * 1000.0;
                    count += 1.0;
                }
            }
            let mean: f64 = sum / count;
            assert!((mean - expected).abs() < 4.0, "p{percent} is {mean} ms");
            // Ten times slower: found again within some hundred requests.
            for _ in 0..1_000 {
                rules.learn(&learned, Duration::from_micros(rng.below(1_000_000)));
            }
            let delay = rules.delay(&learned).expect("learned");
            assert!(delay > Duration::from_millis(400), "p{percent} is {delay:?} after the change");
        }
    }

    #[test]
    fn the_learned_delay_has_bounds() {
        let (rules, learned) = (HedgeRules { after: HedgeAfter::Percentile(95) }, LearnedDelay::default());
        (0..10_000).for_each(|_| rules.learn(&learned, Duration::ZERO));
        assert_eq!(rules.delay(&learned), Some(Duration::from_millis(1)));
        (0..10_000).for_each(|_| rules.learn(&learned, Duration::MAX));
        assert_eq!(rules.delay(&learned), Some(Duration::from_secs(60)));
        let fixed = HedgeRules { after: HedgeAfter::Time(Duration::from_millis(5)) };
        fixed.learn(&learned, Duration::ZERO);
        assert_eq!(fixed.delay(&learned), Some(Duration::from_millis(5)));
    }
}
