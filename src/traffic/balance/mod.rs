//! Which endpoint of an upstream takes an attempt.
//!
//! Endpoints stand in *tiers*: tier 0 serves as long as at least [`Thresholds::healthy_permille_min`] of it is healthy,
//! then the next one, and so on. When no tier is that healthy, the healthiest one *fails open*: all its endpoints count,
//! because it is more likely that the checks are wrong than that everything is down, and because the few healthy endpoints
//! would break under the load of all. Whoever would rather serve nobody says so in [`Thresholds::fail_open`].
//!
//! As long as nothing at all is known, because no check has had a result, there is nothing to choose by:
//! [`NoEndpoint::Unchecked`] asks the caller to wait a moment. Endpoints that failed an attempt of the same
//! request are avoided as long as there is another.
//!
//! Endpoints that an operator took out of service count nowhere: not among the healthy, not among all, and not when a tier
//! fails open.
//!
//! An endpoint that comes back after it was down gets its share step by step: fewer turns and draws, or a smaller weight in
//! comparisons. Hashed keys come back to it at once; anything else would move them twice.
//!
//! Where this node and its endpoints have a zone, those of our zone are preferred within each tier (`zone`). A session
//! that a cookie keeps goes to its endpoint before all of this, as long as that can serve.
//!
//! Within a tier the algorithm proposes endpoints until `screen` accepts one. All algorithms are lock-free and, but for
//! least-connections and rare detours around endpoints that are down, independent of the number of endpoints.

mod bound;
mod key;
mod least_connections;
mod maglev;
mod p2c_ewma;
mod random;
mod ring_hash;
mod round_robin;
mod screen;
mod survey;
mod tier;
mod zone;

pub use key::HashKey;
pub use screen::Thresholds;

use crate::admission::Valve;
use crate::health::{Health, Service};
use crate::snapshot::{Endpoint, Upstream};
use base::Instant;
use base::ids::EndpointId;
use base::rng::Rng;
use screen::{Mode, Screen};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tier::{Found, Tier};
use wire::http::Request;

/// How endpoints are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Smooth weighted turns, exact over all workers.
    RoundRobin,
    /// Weighted chance.
    Random,
    /// Fewest attempts in flight per weight, over all workers.
    LeastConnections,
    /// The better of two random endpoints by latency average and attempts in flight.
    #[default]
    P2cEwma,
    /// Consistent hashing on a ring: a change of endpoints moves only the keys that it must.
    RingHash,
    /// Consistent hashing by table: more even than the ring, moves a few keys more.
    Maglev,
}

/// How an upstream chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub algorithm: Algorithm,
    /// What ring-hash and maglev hash; other algorithms do not use it.
    pub key: Option<HashKey>,
    /// How much more than its share of the load an endpoint may have before hashed keys go elsewhere: above 100.
    /// `None` is without bound, the default.
    pub bounded_load_percent: Option<u32>,
    /// Where this node stands; endpoints of the same zone are preferred.
    pub zone: Option<Box<str>>,
    /// Health at which our zone can just serve everything. Default 700.
    pub spill_over_permille: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            algorithm: Algorithm::default(),
            key: None,
            bounded_load_percent: None,
            zone: None,
            spill_over_permille: 700,
        }
    }
}

/// What a choice depends on.
#[derive(Debug)]
pub struct Pick<'a> {
    /// [`Upstream::hash_key`], or a random number when that is `None`.
    pub key: u64,
    pub now: Instant,
    pub random: &'a mut Rng,
    /// Endpoints that this request has tried.
    pub avoid: &'a [EndpointId],
    /// Where the client's session is kept.
    pub session: Option<EndpointId>,
}

/// What was chosen, and what happened on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub endpoint: EndpointId,
    /// Endpoints that were passed over because they had their share of the load.
    pub passed_over: u32,
    /// The endpoint is outside our zone, although its tier has endpoints in it.
    pub other_zone: bool,
}

impl Choice {
    fn plain(endpoint: EndpointId) -> Choice {
        Choice { endpoint, passed_over: 0, other_zone: false }
    }
}

/// Why nobody can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The upstream has no endpoint with a weight that is in service.
    Absent,
    /// Too few are healthy, and the upstream does not fail open.
    Unhealthy,
    /// All that could serve have as much as they may have.
    Full,
    /// No endpoint is up, and some have not been checked yet: the first result is worth waiting for.
    Unchecked,
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoEndpoint::Absent => "the upstream has no endpoint",
            NoEndpoint::Unhealthy => "too few endpoints are healthy",
            NoEndpoint::Full => "all endpoints have as much as they may have",
            NoEndpoint::Unchecked => "no endpoint has been checked yet",
        })
    }
}

impl std::error::Error for NoEndpoint {}

/// No endpoint of a tier was found.
struct Missed {
    /// One could be taken if it did not have as much as it may have.
    is_full: bool,
}

/// The tables of one upstream in one generation.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    key: Option<HashKey>,
    bounded_load_percent: Option<u32>,
    tiers: Vec<Tier>,
    thresholds: Thresholds,
    /// Tier and place in it by [`EndpointId`]; `None` for weight 0.
    seats: Vec<Option<(usize, usize)>>,
    /// Shared with the generations before.
    failed_open: Arc<AtomicU64>,
}

impl Balancer {
    /// Tables for `endpoints`, which must be those of the upstream, in the same order. Endpoints of weight 0 take no
    /// attempts but those of their sessions.
    pub fn build(rules: &Rules, endpoints: &[Endpoint]) -> Balancer {
        let mut numbers: Vec<u8> = endpoints.iter().filter(|e| e.weight > 0).map(|e| e.tier).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let tiers: Vec<Tier> =
            numbers.into_iter().map(|number| Tier::build(rules, number, endpoints)).collect();
        let mut seats = vec![None; endpoints.len()];
        for (number, tier) in tiers.iter().enumerate() {
            tier.members
                .iter()
                .enumerate()
                .for_each(|(at, member)| seats[member.id.index()] = Some((number, at)));
        }
        let hashes = matches!(rules.algorithm, Algorithm::RingHash | Algorithm::Maglev);
        Balancer {
            algorithm: rules.algorithm,
            key: rules.key.clone().filter(|_| hashes),
            bounded_load_percent: rules.bounded_load_percent.filter(|_| hashes),
            tiers,
            thresholds: Thresholds::default(),
            seats,
            failed_open: Arc::default(),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The same tables, counting on where `previous` is: a counter that began anew with each generation would look as if
    /// the process had.
    #[must_use]
    pub fn succeeding(mut self, previous: &Balancer) -> Balancer {
        self.failed_open = Arc::clone(&previous.failed_open);
        self
    }

    /// Whether endpoints are passed over because of their load.
    pub fn is_bounded(&self) -> bool {
        self.bounded_load_percent.is_some()
    }

    /// Whether there are endpoints in our zone and, in the same tier, others.
    pub fn has_zones(&self) -> bool {
        self.tiers.iter().any(Tier::has_zones)
    }

    /// The same tables, with other thresholds than the default ones.
    pub fn with_thresholds(mut self, thresholds: Thresholds) -> Balancer {
        self.tiers.iter_mut().for_each(|tier| tier.thresholds = thresholds);
        self.thresholds = thresholds;
        self
    }

    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Whether no tier has enough healthy endpoints, so that all of one count. Never true while nothing is known.
    pub fn panics(&self, now: Instant) -> bool {
        let is_open =
            self.thresholds.fail_open && self.tiers.iter().any(|tier| tier.survey(now).whole.serving > 0);
        is_open && !self.tiers.iter().any(|tier| tier.serves(now)) && !self.is_unchecked(now)
    }

    /// Whether no endpoint is healthy, but some may turn out to be with their first check.
    #[cold]
    fn is_unchecked(&self, now: Instant) -> bool {
        let mut surveys = self.tiers.iter().map(|tier| tier.survey(now));
        let none = surveys.clone().all(|survey| survey.whole.healthy == 0);
        none && surveys.any(|survey| survey.whole.known < survey.whole.serving)
    }

    /// Choices made among all endpoints because too few were healthy, in this generation and those that it succeeds.
    pub fn failed_open(&self) -> u64 {
        self.failed_open.load(Relaxed)
    }

    fn pick(&self, mut pick: Pick<'_>, may_wait: bool) -> Result<Choice, NoEndpoint> {
        let salt = pick.random.next_u64();
        for tier in &self.tiers {
            match self.pick_from(tier, Mode::Healthy, pick.avoid, salt, &mut pick) {
                Ok(found) => return Ok(found),
                // The tier serves. Others are no way around its limits, but an endpoint that failed is better than none.
                Err(Missed { is_full: true }) => {
                    let found = self.pick_from(tier, Mode::Healthy, &[], salt, &mut pick);
                    return found.map_err(|_| NoEndpoint::Full);
                }
                Err(Missed { is_full: false }) => {}
            }
        }
        self.pick_anyway(pick, salt, may_wait)
    }

    /// The choice when no tier has an endpoint that is healthy and not to be avoided.
    #[cold]
    fn pick_anyway(&self, mut pick: Pick<'_>, salt: u64, may_wait: bool) -> Result<Choice, NoEndpoint> {
        let (now, avoid, session) = (pick.now, pick.avoid, pick.session);
        let surveyed = self.tiers.iter().map(|tier| (tier, tier.survey(now)));
        let serving = surveyed.filter(|(_, survey)| survey.whole.serving > 0);
        // The first of the healthiest: `max_by_key` would return the last.
        let best = serving.rev().max_by_key(|(_, survey)| survey.healthy_permille());
        let (best, survey) = best.ok_or(NoEndpoint::Absent)?;
        let serves = survey.is_enough(&self.thresholds);
        if !serves {
            if may_wait && self.is_unchecked(now) {
                return Err(NoEndpoint::Unchecked);
            }
            if !self.thresholds.fail_open {
                return Err(NoEndpoint::Unhealthy);
            }
        }
        let mut is_full = false;
        let mut run = |tier: &Tier, mode: Mode, avoid: &[EndpointId]| {
            self.pick_from(tier, mode, avoid, salt, &mut pick)
                .inspect_err(|missed| is_full = missed.is_full)
                .ok()
        };
        if !serves {
            // All endpoints count: that of the session as much as any other.
            let kept = session.filter(|held| !avoid.contains(held)).map(Choice::plain);
            let found = kept.or_else(|| run(best, Mode::All, avoid)).or_else(|| run(best, Mode::All, &[]));
            self.failed_open.fetch_add(1, Relaxed);
            return found.ok_or(if is_full { NoEndpoint::Full } else { NoEndpoint::Absent });
        }
        // Only endpoints that failed this request are healthy.
        let healthy = self.tiers.iter().find_map(|tier| run(tier, Mode::Healthy, &[]));
        healthy.or_else(|| run(best, Mode::All, &[])).ok_or(NoEndpoint::Absent)
    }

    #[inline]
    fn pick_from(
        &self,
        tier: &Tier,
        mode: Mode,
        avoid: &[EndpointId],
        salt: u64,
        pick: &mut Pick<'_>,
    ) -> Result<Choice, Missed> {
        let mut screen = Screen::new(tier, pick.now, avoid, mode, salt, self.bounded_load_percent);
        match tier.pick(&mut screen, pick) {
            Some(Found { id, other_zone }) => {
                Ok(Choice { endpoint: id, passed_over: screen.passed_over(), other_zone })
            }
            None => Err(Missed { is_full: screen.is_full() && !screen.is_stopped() }),
        }
    }

    /// Whether an ejection of the endpoint is beyond what its tier honours.
    fn is_tolerated(&self, endpoint: EndpointId, now: Instant) -> bool {
        let Some((tier, at)) = self.seats.get(endpoint.index()).copied().flatten() else { return false };
        Screen::new(&self.tiers[tier], now, &[], Mode::Healthy, 0, None).is_eligible(at)
    }
}

impl Upstream {
    /// The key by which consistent hashing keeps requests together; `None` when the algorithm needs none or the request
    /// does not have it, and then any number will do.
    pub fn hash_key(&self, request: Request<'_>, client: IpAddr) -> Option<u64> {
        self.balancer.key.as_ref()?.hash(request, client)
    }

    /// As [`Upstream::hash_key`], for datagrams.
    pub fn hash_key_of_datagrams(&self, client: SocketAddr) -> Option<u64> {
        self.balancer.key.as_ref()?.hash_datagram(client)
    }

    /// Chooses the endpoint for one attempt.
    pub fn pick(&self, pick: Pick<'_>) -> Result<Choice, NoEndpoint> {
        self.pick_or_wait(pick, true)
    }

    /// As [`Upstream::pick`], for a caller that has waited long enough: never [`NoEndpoint::Unchecked`].
    pub fn pick_unchecked(&self, pick: Pick<'_>) -> Result<Choice, NoEndpoint> {
        self.pick_or_wait(pick, false)
    }

    fn pick_or_wait(&self, pick: Pick<'_>, may_wait: bool) -> Result<Choice, NoEndpoint> {
        let now = pick.now;
        // A session does not wait for its endpoint where others could serve: neither for an operator, nor for a place, nor
        // for a breaker.
        let may_serve = |held: &EndpointId| {
            let Endpoint { cell, valve, .. } = self.endpoint(*held);
            let has_room = |valve: &Arc<Valve>| !valve.is_full(cell) && !valve.is_open(now);
            cell.service() != Service::Down && valve.as_ref().is_none_or(has_room)
        };
        let pick = Pick { session: pick.session.filter(may_serve), ..pick };
        match pick.session {
            Some(held) if !pick.avoid.contains(&held) && self.holds(held, pick.now) => {
                Ok(Choice::plain(held))
            }
            _ => self.balancer.pick(pick, may_wait),
        }
    }

    /// Whether sessions may stay at the endpoint: it can serve, though new clients may not get it (draining, weight 0, a
    /// backup, another zone, its share of the load used up).
    fn holds(&self, endpoint: EndpointId, now: Instant) -> bool {
        let cell = &self.endpoint(endpoint).cell;
        let is_healthy = cell.health() == Health::Up && cell.ejected_since(now).is_none();
        is_healthy || self.balancer.is_tolerated(endpoint, now)
    }
}

#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod tests;
