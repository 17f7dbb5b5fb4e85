//! The endpoints of one tier and the tables of its algorithm: one for the zone of this node and one for the others, or
//! one for all where zones make no difference.

use super::bound::{CachedCensus, Census};
use super::screen::{Mode, Screen, Thresholds};
use super::survey::{CachedSurvey, PLACES_MAX, Survey};
use super::zone::{self, Capacity};
use super::{Algorithm, Pick, Rules};
use super::{
    least_connections, maglev::Maglev, p2c_ewma, random::Weighted, ring_hash::Ring, round_robin::RoundRobin,
};
use crate::admission::Valve;
use crate::health::EndpointCell;
use crate::snapshot::Endpoint;
use base::Instant;
use base::ids::EndpointId;
use base::rng::Rng;
use std::ops::Range;
use std::sync::Arc;

/// One endpoint of a tier.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: EndpointId,
    /// Never 0.
    pub(super) weight: u32,
    /// The endpoint's: one step closer than through the upstream.
    pub(super) cell: Arc<EndpointCell>,
    pub(super) valve: Option<Arc<Valve>>,
}

#[derive(Debug)]
pub(super) struct Tier {
    /// Those of our zone first.
    pub(super) members: Vec<Member>,
    /// One for all members; or one for our zone and one for the others.
    groups: Vec<Group>,
    pub(super) thresholds: Thresholds,
    /// Health at which a zone can just serve all of the traffic.
    spill_over_permille: u64,
    cached: CachedSurvey,
}

/// Members among which the algorithm chooses.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) places: Range<usize>,
    table: Table,
    census: CachedCensus,
}

#[derive(Debug)]
enum Table {
    RoundRobin(Box<RoundRobin>),
    Random(Weighted),
    LeastConnections(Weighted),
    P2cEwma,
    Ring(Ring),
    Maglev(Maglev),
}

/// A member that was found, and whether it stands outside our zone although the tier has members in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: EndpointId,
    pub(super) other_zone: bool,
}

/// Tiers up to this size are looked through whenever it matters; larger ones now and then.
const LOOKED_THROUGH: usize = PLACES_MAX;

impl Tier {
    pub(super) fn build(rules: &Rules, number: u8, endpoints: &[Endpoint]) -> Tier {
        let in_tier = || (0u32..).zip(endpoints).filter(|(_, e)| e.tier == number && e.weight > 0);
        let is_near = |endpoint: &Endpoint| rules.zone.is_some() && endpoint.zone == rules.zone;
        let near = in_tier().filter(|(_, endpoint)| is_near(endpoint));
        let far = in_tier().filter(|(_, endpoint)| !is_near(endpoint));
        let (mut members, mut texts) = (Vec::new(), Vec::new());
        for (at, endpoint) in near.clone().chain(far) {
            let (cell, valve) = (Arc::clone(&endpoint.cell), endpoint.valve.clone());
            members.push(Member { id: EndpointId(at), weight: endpoint.weight, cell, valve });
            texts.push(&*endpoint.text);
        }
        let border = near.count();
        let borders = [0, border, members.len()];
        let parts = borders.windows(2).map(|ends| ends[0]..ends[1]).filter(|places| !places.is_empty());
        let group = |places: Range<usize>| {
            let weights: Vec<u32> = members[places.clone()].iter().map(|member| member.weight).collect();
            let table = Table::build(rules.algorithm, &texts[places.clone()], &weights);
            Group { places, table, census: CachedCensus::default() }
        };
        Tier {
            groups: parts.map(group).collect(),
            thresholds: Thresholds::default(),
            spill_over_permille: rules.spill_over_permille.into(),
            cached: CachedSurvey::default(),
            members,
        }
    }

    /// An endpoint that `screen` accepts; `None` when there is none or the screen wants no more proposals.
    #[inline]
    pub(super) fn pick<'a>(&'a self, screen: &mut Screen<'a>, pick: &mut Pick<'_>) -> Option<Found> {
        if let [group] = &self.groups[..] {
            let id = self.pick_from(group, screen, pick)?;
            return Some(Found { id, other_zone: false });
        }
        self.pick_by_zone(screen, pick)
    }

    #[inline(never)]
    fn pick_by_zone<'a>(&'a self, screen: &mut Screen<'a>, pick: &mut Pick<'_>) -> Option<Found> {
        let [near, far] = &self.groups[..] else { return None };
        let number = if self.hashes() { pick.key } else { pick.random.next_u64() };
        let stays = zone::stays(number, self.kept_permille(screen));
        let order = if stays { [near, far] } else { [far, near] };
        for group in order {
            if let Some(id) = self.pick_from(group, screen, pick) {
                return Some(Found { id, other_zone: std::ptr::eq(group, far) });
            }
        }
        None
    }

    /// Share of the traffic that stays in our zone.
    fn kept_permille(&self, screen: &mut Screen<'_>) -> u64 {
        let (near, far) = match screen.mode() {
            Mode::Healthy => {
                let survey = screen.survey();
                (survey.near_capacity, survey.far_capacity)
            }
            // Everybody counts alike.
            Mode::All => {
                let capacity = |members: usize| Capacity { healthy: 0, all: members as u64 };
                (capacity(self.near()), capacity(self.members.len() - self.near()))
            }
        };
        zone::kept_permille(near, far, self.spill_over_permille)
    }

    #[inline]
    fn pick_from<'a>(
        &self,
        group: &'a Group,
        screen: &mut Screen<'a>,
        pick: &mut Pick<'_>,
    ) -> Option<EndpointId> {
        screen.enter(group);
        let found = self.propose(group, screen, pick);
        // The screen sent endpoints in slow start away by chance, or those that are full; that must not leave the
        // request without any.
        let found = found.or_else(|| if screen.relax() { self.propose(group, screen, pick) } else { None });
        found.filter(|_| !screen.is_stopped()).map(|at| self.members[group.places.start + at].id)
    }

    fn propose(&self, group: &Group, screen: &mut Screen<'_>, pick: &mut Pick<'_>) -> Option<usize> {
        let members = &self.members[group.places.clone()];
        match &group.table {
            Table::RoundRobin(table) => table.pick(screen),
            Table::Random(table) => {
                table.pick(screen, pick.random).or_else(|| scan(members, screen, pick.random))
            }
            Table::LeastConnections(draws) => least_connections::pick(members, draws, screen, pick.random),
            Table::P2cEwma => {
                p2c_ewma::pick(members, screen, pick.random).or_else(|| scan(members, screen, pick.random))
            }
            Table::Ring(table) => {
                table.pick(pick.key, screen).or_else(|| first_with_room(members, screen, pick.key))
            }
            Table::Maglev(table) => {
                table.pick(pick.key, screen).or_else(|| first_with_room(members, screen, pick.key))
            }
        }
    }

    fn hashes(&self) -> bool {
        self.groups.iter().any(|group| matches!(group.table, Table::Ring(_) | Table::Maglev(_)))
    }

    pub(super) fn has_zones(&self) -> bool {
        self.groups.len() > 1
    }

    /// Members of our zone, if there are others too.
    fn near(&self) -> usize {
        if let [near, _] = &self.groups[..] { near.places.len() } else { 0 }
    }

    /// What the members of `group` carry.
    pub(super) fn census(&self, group: &Group, now: Instant, mode: Mode) -> Census {
        let count = || Census::of(&self.members[group.places.clone()], now, mode == Mode::All);
        if group.places.len() <= LOOKED_THROUGH || mode == Mode::All {
            count()
        } else {
            group.census.get(now, count)
        }
    }

    /// Whether enough of the tier is healthy.
    pub(super) fn serves(&self, now: Instant) -> bool {
        self.survey(now).is_enough(&self.thresholds)
    }

    /// How healthy the tier is.
    pub(super) fn survey(&self, now: Instant) -> Survey {
        let make = || Survey::of(&self.members, self.near(), now, &self.thresholds);
        if self.members.len() <= LOOKED_THROUGH { make() } else { self.cached.get(now, make) }
    }
}

impl Table {
    fn build(algorithm: Algorithm, texts: &[&str], weights: &[u32]) -> Table {
        match algorithm {
            Algorithm::RoundRobin => Table::RoundRobin(Box::new(RoundRobin::build(weights))),
            Algorithm::Random => Table::Random(Weighted::build(weights)),
            Algorithm::LeastConnections => Table::LeastConnections(Weighted::build(weights)),
            Algorithm::P2cEwma => Table::P2cEwma,
            Algorithm::RingHash => Table::Ring(Ring::build(texts, weights)),
            Algorithm::Maglev => Table::Maglev(Maglev::build(texts, weights)),
        }
    }
}

/// A weighted random choice among all that the screen accepts, for when a few draws did not hit any.
fn scan(members: &[Member], screen: &mut Screen<'_>, random: &mut Rng) -> Option<usize> {
    let mut chosen = None;
    let mut total = 0u64;
    for (at, member) in members.iter().enumerate() {
        if screen.is_stopped() {
            return None;
        }
        if screen.accepts(at) {
            total += u64::from(member.weight);
            if random.below(total) < u64::from(member.weight) {
                chosen = Some(at);
            }
        }
    }
    chosen
}

/// For a key whose order met only full members for too long: the first one with room, beginning at one that the key
/// chooses.
fn first_with_room(members: &[Member], screen: &mut Screen<'_>, key: u64) -> Option<usize> {
    if !screen.resume_after_detours() {
        return None;
    }
    let start = usize::try_from(super::key::mix(key) % members.len().max(1) as u64).unwrap_or(0);
    (start..members.len()).chain(0..start).find(|&at| screen.takes(at))
}
