//! Whether a proposed endpoint may be taken: health, ejections within their cap, endpoints to avoid, slow start, and for
//! hashed keys the bound of its load.

use super::bound::Census;
use super::key::mix;
use super::survey::{Survey, ejection_key};
use super::tier::{Group, Tier};
use crate::admission::Valve;
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

/// Full endpoints that a key passes along its own order before the rest is looked through.
const DETOURS_MAX: u32 = 32;

/// A distrusted member (see [`Screen::is_distrusted`]) is preferred to others once in so many times: often enough to serve
/// what the others cannot, seldom enough to be no trap.
pub(super) const DISTRUST: usize = 8;

/// Answers for one tier, one mode and one attempt.
pub(super) struct Screen<'a> {
    tier: &'a Tier,
    /// The members that are proposed now; places count from the first of them.
    group: Option<&'a Group>,
    start: usize,
    pub(super) now: Instant,
    avoid: &'a [EndpointId],
    mode: Mode,
    survey: Option<Survey>,
    /// The tier turned out not to be healthy enough.
    stopped: bool,
    /// Endpoints in slow start are sent away by chance.
    slow_start: bool,
    sent_away: bool,
    /// An endpoint that could be taken has as much as it may have.
    full: bool,
    salt: u64,
    bound: Bound,
}

/// How the loads of hashed keys are bounded during one choice.
#[derive(Debug)]
struct Bound {
    /// `None`: not at all.
    factor_percent: Option<u32>,
    census: Option<Census>,
    passed_over: u32,
    detours_left: u32,
}

impl<'a> Screen<'a> {
    /// Endpoints take no more hashed keys when they carry more than `factor_percent` of their share.
    #[inline]
    pub(super) fn new(
        tier: &'a Tier,
        now: Instant,
        avoid: &'a [EndpointId],
        mode: Mode,
        salt: u64,
        factor_percent: Option<u32>,
    ) -> Self {
        Screen {
            tier,
            group: None,
            start: 0,
            now,
            avoid,
            mode,
            survey: None,
            stopped: false,
            slow_start: true,
            sent_away: false,
            full: false,
            salt,
            bound: Bound { factor_percent, census: None, passed_over: 0, detours_left: DETOURS_MAX },
        }
    }

    /// From now on members of `group` are proposed.
    pub(super) fn enter(&mut self, group: &'a Group) {
        self.group = Some(group);
        self.start = group.places.start;
        self.slow_start = true;
        self.bound.census = None;
        self.bound.detours_left = DETOURS_MAX;
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// The cell of the member at `at`.
    pub(super) fn cell(&self, at: usize) -> &'a EndpointCell {
        &self.tier.members[self.start + at].cell
    }

    /// Whether the member at `at` may be taken, including its chance in slow start.
    pub(super) fn accepts(&mut self, at: usize) -> bool {
        self.is_eligible(at) && self.passes_slow_start(at)
    }

    /// Whether the member at `at` may be taken for a hashed key, including the bound of its load.
    pub(super) fn takes(&mut self, at: usize) -> bool {
        self.is_eligible(at) && self.has_room(at)
    }

    /// Whether the member at `at` may be taken, its full share assumed.
    pub(super) fn is_eligible(&mut self, at: usize) -> bool {
        let place = self.start + at;
        if self.stopped || (!self.avoid.is_empty() && self.avoid.contains(&self.tier.members[place].id)) {
            return false;
        }
        let cell = self.cell(at);
        let usable = cell.is_available(self.now)
            || match self.mode {
                Mode::All => cell.service() == Service::Ready,
                Mode::Healthy => self.is_tolerated(cell, place),
            };
        usable && self.tier.members[place].valve.as_deref().is_none_or(|valve| self.may_pass(valve, cell))
    }

    /// Whether the limits and the breaker of an endpoint allow another attempt.
    fn may_pass(&mut self, valve: &Valve, cell: &EndpointCell) -> bool {
        let is_open = valve.is_open(self.now);
        let is_full = valve.is_full(cell);
        self.full |= is_full && !is_open;
        !is_full && !is_open
    }

    /// Endpoints could be taken if they did not have as much as they may have.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// An endpoint that is not available: stops the search when too many are like it, lets it pass when its ejection
    /// is beyond the cap.
    #[cold]
    fn is_tolerated(&mut self, cell: &EndpointCell, place: usize) -> bool {
        let survey = self.survey();
        if !survey.is_enough(&self.tier.thresholds) {
            self.stopped = true;
            return false;
        }
        cell.health() == Health::Up
            && cell.service() == Service::Ready
            && ejection_key(cell, place, self.now).is_none_or(|key| !survey.honoured.contains(place, key))
    }

    /// Whether the member at `at`, which passes only because too many are ejected, failed its last attempt as well. It is
    /// idle because it fails at once, and that must not attract more. Costs nothing while the choice meets nobody ejected.
    pub(super) fn is_distrusted(&self, at: usize) -> bool {
        self.survey.is_some() && self.is_failing(self.cell(at))
    }

    #[cold]
    fn is_failing(&self, cell: &EndpointCell) -> bool {
        cell.failures_in_a_row() > 0 && cell.ejected_since(self.now).is_some()
    }

    /// The health of the tier, the same during the whole choice.
    pub(super) fn survey(&mut self) -> Survey {
        *self.survey.get_or_insert_with(|| self.tier.survey(self.now))
    }

    fn has_room(&mut self, at: usize) -> bool {
        let Some(factor) = self.bound.factor_percent else { return true };
        let in_flight = self.cell(at).in_flight();
        let Some(group) = self.group.filter(|_| in_flight > 0) else { return true };
        let (tier, now, mode) = (self.tier, self.now, self.mode);
        let census = *self.bound.census.get_or_insert_with(|| tier.census(group, now, mode));
        let full = census.is_full(in_flight, tier.members[self.start + at].weight, factor);
        if full {
            self.bound.passed_over += 1;
            self.bound.detours_left = self.bound.detours_left.saturating_sub(1);
        }
        !full
    }

    /// Whether the search along a key's own order should end: it has met too many full members.
    pub(super) fn is_detoured(&self) -> bool {
        self.bound.detours_left == 0
    }

    /// Goes on after too many detours, if that is why the search ended.
    pub(super) fn resume_after_detours(&mut self) -> bool {
        let detoured = self.is_detoured() && !self.stopped;
        self.bound.detours_left = u32::MAX;
        detoured
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

    /// From now on endpoints in slow start pass, and those that are full. Whether that can change anything.
    pub(super) fn relax(&mut self) -> bool {
        self.slow_start = false;
        let was_full = self.bound.passed_over > 0;
        self.bound.factor_percent = self.bound.factor_percent.filter(|_| !was_full);
        std::mem::take(&mut self.sent_away) || was_full
    }

    /// No proposal will be accepted any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Members passed over because they were full.
    pub(super) fn passed_over(&self) -> u32 {
        self.bound.passed_over
    }
}
