//! Whether a proposed endpoint may be taken: health, ejections within their cap, endpoints to avoid, slow start.

use super::key::mix;
use super::tier::{Member, Tier};
use crate::health::{EndpointCell, Health, Service};
use base::Instant;
use base::ids::EndpointId;

/// From when on health is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A tier serves when at least so much of it is healthy, and anything at all. Default 300.
    pub healthy_permille_min: u32,
    /// When no tier is that healthy, all endpoints of the healthiest one count. Otherwise nobody serves. Default true.
    pub fail_open: bool,
    /// Ejections are honoured for so much of a tier (at least one endpoint), but never for the last one that is up.
    /// Default 300.
    pub ejected_permille_max: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { healthy_permille_min: 300, fail_open: true, ejected_permille_max: 300 }
    }
}

impl Thresholds {
    /// How many of `members` endpoints, of which `up` are up, may be left out because traffic says so.
    pub fn ejected_max(&self, members: usize, up: usize) -> usize {
        let share = members as u64 * u64::from(self.ejected_permille_max) / 1000;
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let share = if self.ejected_permille_max == 0 { 0 } else { share.max(1) };
        share.min(up.saturating_sub(1))
    }
}

/// Which endpoints count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The healthy ones, if the tier has enough of them.
    Healthy,
    /// All that the operator has in service.
    All,
}

/// The health of a tier at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// Endpoints that the operator has in service. The others do not belong to the tier as long as it lasts: to take half
    /// of it out must not make the rest look as if half of it were broken.
    pub(super) serving: usize,
    /// Endpoints that are up, those whose ejection is not honoured included.
    pub(super) healthy: usize,
    /// Endpoints of which nothing is known yet; they count neither for nor against the tier.
    pub(super) unchecked: usize,
    /// Which ejections are honoured: the oldest ones, as many as the cap allows.
    pub(super) honoured: Honoured,
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
    fn contains(self, at: usize, key: u64) -> bool {
        match self {
            Honoured::Places(places) => places >> at & 1 == 1,
            Honoured::Below(bound) => key < bound,
        }
    }
}

impl Survey {
    pub(super) fn of(members: &[Member], now: Instant, thresholds: &Thresholds) -> Survey {
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
            unchecked += usize::from(member.cell.is_unchecked());
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
        Survey { serving, healthy: up - cap, unchecked, honoured }
    }

    /// Share that is healthy of those in service of which anything is known.
    pub(super) fn healthy_permille(&self) -> usize {
        self.healthy * 1000 / self.serving.saturating_sub(self.unchecked).max(1)
    }

    /// Whether the tier is healthy enough to serve.
    pub(super) fn is_enough(&self, thresholds: &Thresholds) -> bool {
        self.healthy > 0 && self.healthy_permille() >= thresholds.healthy_permille_min as usize
    }
}

/// Orders ejections by time, and those of the same moment by place, so that a cap cuts between any two of them.
fn ejection_key(cell: &EndpointCell, at: usize, now: Instant) -> Option<u64> {
    cell.ejected_since(now).map(|since| since.as_millis() << 16 | (at as u64 & 0xffff))
}

fn place_of(key: u64) -> u64 {
    key & 0xffff
}

/// Answers for one tier, one mode and one attempt.
pub(super) struct Screen<'a> {
    tier: &'a Tier,
    pub(super) now: Instant,
    avoid: &'a [EndpointId],
    mode: Mode,
    survey: Option<Survey>,
    /// The tier turned out not to be healthy enough.
    stopped: bool,
    /// Endpoints in slow start are sent away by chance.
    slow_start: bool,
    sent_away: bool,
    salt: u64,
}

impl<'a> Screen<'a> {
    pub(super) fn new(tier: &'a Tier, now: Instant, avoid: &'a [EndpointId], mode: Mode, salt: u64) -> Self {
        let (survey, stopped, sent_away) = (None, false, false);
        Screen { tier, now, avoid, mode, survey, stopped, slow_start: true, sent_away, salt }
    }

    /// The cell of the member at `at`.
    pub(super) fn cell(&self, at: usize) -> &'a EndpointCell {
        &self.tier.members[at].cell
    }

    /// Whether the member at `at` may be taken, including its chance in slow start.
    pub(super) fn accepts(&mut self, at: usize) -> bool {
        self.is_eligible(at) && self.passes_slow_start(at)
    }

    /// Whether the member at `at` may be taken, its full share assumed.
    pub(super) fn is_eligible(&mut self, at: usize) -> bool {
        if self.stopped || (!self.avoid.is_empty() && self.avoid.contains(&self.tier.members[at].id)) {
            return false;
        }
        let cell = self.cell(at);
        if cell.is_available(self.now) {
            return true;
        }
        match self.mode {
            Mode::All => cell.service() == Service::Ready,
            Mode::Healthy => self.is_tolerated(cell, at),
        }
    }

    /// An endpoint that is not available: stops the search when too many are like it, lets it pass when its ejection
    /// is beyond the cap.
    #[cold]
    fn is_tolerated(&mut self, cell: &EndpointCell, at: usize) -> bool {
        let survey = *self.survey.get_or_insert_with(|| self.tier.survey(self.now));
        if !survey.is_enough(&self.tier.thresholds) {
            self.stopped = true;
            return false;
        }
        cell.health() == Health::Up
            && cell.service() == Service::Ready
            && ejection_key(cell, at, self.now).is_none_or(|key| !survey.honoured.contains(at, key))
    }

    fn passes_slow_start(&mut self, at: usize) -> bool {
        let share = self.cell(at).ramp_permille(self.now);
        if share >= 1000 || !self.slow_start {
            return true;
        }
        self.salt = mix(self.salt.wrapping_add(1));
        let passes = self.salt % 1000 < u64::from(share);
        self.sent_away |= !passes;
        passes
    }

    /// From now on endpoints in slow start pass. Whether that can change anything.
    pub(super) fn end_slow_start(&mut self) -> bool {
        self.slow_start = false;
        std::mem::take(&mut self.sent_away)
    }

    /// No proposal will be accepted any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    //! Run like those of `health`.

    use super::*;
    use crate::health::{EjectionRules, Why};
    use std::sync::Arc;

    const NOW: Instant = Instant::from_nanos(5_000_000_000);

    fn member(n: u32) -> Member {
        Member { id: EndpointId(n), weight: 1, cell: Arc::new(EndpointCell::new(Health::Up)) }
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
                let survey = Survey::of(&theirs, NOW, &Thresholds::default());
                assert!(left_out(&theirs, survey) <= 1, "three endpoints, a third of them at most");
                assert!(survey.healthy >= 2);
            });
            members[2].cell.eject(NOW, Why::FailuresInARow, &EjectionRules::default());
            members[0].cell.eject(NOW, Why::SuccessRate, &EjectionRules::default());
            picking.join().unwrap();
            let survey = Survey::of(&members, NOW, &Thresholds::default());
            assert_eq!((left_out(&members, survey), survey.healthy), (1, 2));
        });
    }
}
