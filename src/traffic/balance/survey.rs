//! How healthy a tier is at one moment, as a whole and in our zone.

use super::screen::Thresholds;
use super::tier::Member;
use super::zone::Capacity;
use crate::health::{EndpointCell, Health, Service};
use base::Instant;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The health of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// All members.
    pub(super) whole: Count,
    /// Those in our zone; none where zones make no difference.
    pub(super) near: Count,
    /// Which ejections are honoured: the oldest ones, as many as the cap allows.
    pub(super) honoured: Honoured,
    /// What the two sides can take; nothing where zones make no difference.
    pub(super) near_capacity: Capacity,
    pub(super) far_capacity: Capacity,
}

/// Of some members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that are up, those whose ejection is not honoured included.
    pub(super) healthy: u64,
    /// Those of which nothing is known yet do not count; these do.
    pub(super) known: u64,
    /// Those that the operator has in service. The others do not belong to the tier as long as it lasts: to take half of
    /// it out must not make the rest look as if half of it were broken.
    pub(super) serving: u64,
}

impl Count {
    /// Share that is healthy of those of which anything is known.
    fn healthy_permille(self) -> u64 {
        self.healthy * 1000 / self.known.max(1)
    }

    fn is_enough(self, thresholds: &Thresholds) -> bool {
        self.healthy > 0 && self.healthy_permille() >= thresholds.healthy_permille_min.into()
    }
}

/// Those ejections that a survey has seen and honours. One that begins later waits for the next survey: together they
/// could exceed the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Honoured {
    /// A bit per place; for tiers of at most [`PLACES_MAX`] endpoints.
    Places(u64),
    /// Those with a smaller [`ejection_key`]. An ejection that another thread dates back by a moment may slip in, one in
    /// dozens.
    Below(u64),
}

/// Endpoints in the largest tier whose honoured ejections are known one by one.
pub(super) const PLACES_MAX: usize = u64::BITS as usize;

impl Honoured {
    pub(super) fn contains(self, at: usize, key: u64) -> bool {
        match self {
            Honoured::Places(places) => places >> at & 1 == 1,
            Honoured::Below(bound) => key < bound,
        }
    }
}

impl Survey {
    /// Of `members`, the first `near` of which stand in our zone.
    pub(super) fn of(members: &[Member], near: usize, now: Instant, thresholds: &Thresholds) -> Survey {
        let (mut serving, mut up, mut unchecked) = (0, 0, 0);
        let mut ejected = Vec::new();
        for (at, member) in members.iter().enumerate() {
            if member.cell.service() != Service::Ready {
                continue;
            }
            serving += 1;
            if member.cell.health() == Health::Up {
                up += 1;
                ejected.extend(ejection_key(&member.cell, at, now));
            }
            unchecked += u64::from(member.cell.is_unchecked());
        }
        let cap = thresholds.ejected_max(serving, up).min(ejected.len());
        if cap < ejected.len() {
            ejected.select_nth_unstable(cap);
        }
        let honoured = if members.len() <= PLACES_MAX {
            let places = ejected[..cap].iter().map(|key| 1 << place_of(*key));
            Honoured::Places(places.fold(0, |all, place: u64| all | place))
        } else {
            Honoured::Below(ejected[..cap].iter().max().map_or(0, |newest| newest + 1))
        };
        let serving = serving as u64;
        let whole = Count { healthy: (up - cap) as u64, known: serving - unchecked, serving };
        let mut survey = Survey {
            whole,
            near: Count::default(),
            honoured,
            near_capacity: Capacity::default(),
            far_capacity: Capacity::default(),
        };
        if near > 0 {
            survey.add_zones(members, near, now);
        }
        survey
    }

    fn add_zones(&mut self, members: &[Member], near: usize, now: Instant) {
        for (at, member) in members.iter().enumerate() {
            let cell = &member.cell;
            if cell.service() != Service::Ready {
                continue;
            }
            let left_out = ejection_key(cell, at, now).is_some_and(|key| self.honoured.contains(at, key));
            let healthy = cell.health() == Health::Up && !left_out;
            let known = !cell.is_unchecked();
            let capacity = if at < near { &mut self.near_capacity } else { &mut self.far_capacity };
            capacity.all += if known { 1000 } else { 0 };
            capacity.healthy += if healthy { u64::from(cell.ramp_permille(now)) } else { 0 };
            if at < near {
                self.near.serving += 1;
                self.near.known += u64::from(known);
                self.near.healthy += u64::from(healthy);
            }
        }
    }

    /// Share that is healthy: of the whole or of our zone's part, whichever is better.
    pub(super) fn healthy_permille(&self) -> u64 {
        self.whole.healthy_permille().max(self.near.healthy_permille())
    }

    /// Whether the tier is healthy enough to serve: as a whole, or our zone's part of it. A zone that is cut off from
    /// the others can serve by itself.
    pub(super) fn is_enough(&self, thresholds: &Thresholds) -> bool {
        self.whole.is_enough(thresholds) || self.near.is_enough(thresholds)
    }

    /// Of a tier that is too large for places.
    fn words(&self) -> [u64; WORDS] {
        let Survey { whole, near, honoured, near_capacity, far_capacity } = *self;
        let (Honoured::Places(honoured) | Honoured::Below(honoured)) = honoured;
        [
            whole.healthy,
            whole.known,
            whole.serving,
            near.healthy,
            near.known,
            near.serving,
            honoured,
            near_capacity.healthy,
            near_capacity.all,
            far_capacity.healthy,
            far_capacity.all,
        ]
    }

    fn from_words(words: [u64; WORDS]) -> Survey {
        let count = |at: usize| Count { healthy: words[at], known: words[at + 1], serving: words[at + 2] };
        let capacity = |at: usize| Capacity { healthy: words[at], all: words[at + 1] };
        Survey {
            whole: count(0),
            near: count(3),
            honoured: Honoured::Below(words[6]),
            near_capacity: capacity(7),
            far_capacity: capacity(9),
        }
    }
}

/// Orders ejections by time, and those of the same moment by place, so that a cap cuts between any two of them.
pub(super) fn ejection_key(cell: &EndpointCell, at: usize, now: Instant) -> Option<u64> {
    cell.ejected_since(now).map(|since| since.as_millis() << 16 | (at as u64 & 0xffff))
}

fn place_of(key: u64) -> u64 {
    key & 0xffff
}

/// Large tiers are surveyed at most that often.
const SURVEY_EVERY: Duration = Duration::from_millis(20);
const WORDS: usize = 11;

/// The last survey of a large tier. The words may be of different surveys for a moment, each of them recent.
#[derive(Debug, Default)]
pub(super) struct CachedSurvey {
    /// Nanoseconds; 0 before the first.
    made: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl CachedSurvey {
    pub(super) fn get(&self, now: Instant, make: impl FnOnce() -> Survey) -> Survey {
        let made = self.made.load(Relaxed);
        let due = made == 0 || now.since(Instant::from_nanos(made)) >= SURVEY_EVERY;
        let stamp = now.as_nanos().max(1);
        // One worker makes the survey, the others use the last one meanwhile; before the first one there is none.
        if due && (made == 0 || self.made.compare_exchange(made, stamp, Relaxed, Relaxed).is_ok()) {
            let survey = make();
            self.words.iter().zip(survey.words()).for_each(|(word, value)| word.store(value, Relaxed));
            self.made.store(stamp, Relaxed);
            return survey;
        }
        Survey::from_words(std::array::from_fn(|at| self.words[at].load(Relaxed)))
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    //! Run like those of `health`.

    use super::*;
    use crate::health::{EjectionRules, Why};
    use base::ids::EndpointId;
    use std::sync::Arc;

    const NOW: Instant = Instant::from_nanos(5_000_000_000);

    fn member(n: u32) -> Member {
        Member { id: EndpointId(n), weight: 1, cell: Arc::new(EndpointCell::new(Health::Up)), valve: None }
    }

    /// How many of `members` a pick would leave out by this survey, looking at each of them once.
    fn left_out(members: &[Member], survey: Survey) -> usize {
        let is_left_out = |(at, member): &(usize, &Member)| {
            ejection_key(&member.cell, *at, NOW).is_some_and(|key| survey.honoured.contains(*at, key))
        };
        members.iter().enumerate().filter(is_left_out).count()
    }

    /// The reader is the thread that is spawned: loom does not see that a load may come before a load and an exchange
    /// of another thread, if that thread would come last anyway.
    #[test]
    fn never_more_endpoints_are_left_out_than_allowed_whoever_ejects_meanwhile() {
        loom::model(|| {
            let members: Arc<[Member]> = (0..3).map(member).collect();
            let theirs = Arc::clone(&members);
            let picking = loom::thread::spawn(move || {
                let survey = Survey::of(&theirs, 0, NOW, &Thresholds::default());
                assert!(left_out(&theirs, survey) <= 1, "three endpoints, a third of them at most");
                assert!(survey.whole.healthy >= 2);
            });
            members[2].cell.eject(NOW, Why::FailuresInARow, &EjectionRules::default());
            members[0].cell.eject(NOW, Why::SuccessRate, &EjectionRules::default());
            picking.join().unwrap();
            let survey = Survey::of(&members, 0, NOW, &Thresholds::default());
            assert_eq!((left_out(&members, survey), survey.whole.healthy), (1, 2));
        });
    }
}
