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
//! Within a tier the algorithm proposes endpoints until `screen` accepts one. All algorithms are lock-free and, but for
//! least-connections and rare detours around endpoints that are down, independent of the number of endpoints.

mod key;
mod least_connections;
mod maglev;
mod p2c_ewma;
mod random;
mod ring_hash;
mod round_robin;
mod screen;
mod tier;

pub use key::HashKey;
pub use screen::Thresholds;

use crate::snapshot::{Endpoint, Upstream};
use base::Instant;
use base::ids::EndpointId;
use base::rng::Rng;
use screen::{Mode, Screen};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tier::Tier;
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

/// What a choice depends on.
#[derive(Debug)]
pub struct Pick<'a> {
    /// [`Upstream::hash_key`], or a random number when that is `None`.
    pub key: u64,
    pub now: Instant,
    pub random: &'a mut Rng,
    /// Endpoints that this request has tried.
    pub avoid: &'a [EndpointId],
}

/// Why nobody can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The upstream has no endpoint with a weight that is in service.
    Absent,
    /// Too few are healthy, and the upstream does not fail open.
    Unhealthy,
    /// No endpoint is up, and some have not been checked yet: the first result is worth waiting for.
    Unchecked,
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoEndpoint::Absent => "the upstream has no endpoint",
            NoEndpoint::Unhealthy => "too few endpoints are healthy",
            NoEndpoint::Unchecked => "no endpoint has been checked yet",
        })
    }
}

impl std::error::Error for NoEndpoint {}

/// The tables of one upstream in one generation.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    key: Option<HashKey>,
    tiers: Vec<Tier>,
    thresholds: Thresholds,
    /// Shared with the generations before.
    failed_open: Arc<AtomicU64>,
}

impl Balancer {
    /// Tables for `endpoints`, which must be those of the upstream, in the same order. Endpoints of weight 0 take no
    /// attempts. `key` is what ring-hash and maglev hash; other algorithms do not use it.
    pub fn build(algorithm: Algorithm, key: Option<HashKey>, endpoints: &[Endpoint]) -> Balancer {
        let mut numbers: Vec<u8> = endpoints.iter().filter(|e| e.weight > 0).map(|e| e.tier).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let tiers = numbers.into_iter().map(|number| Tier::build(algorithm, number, endpoints)).collect();
        let key = key.filter(|_| matches!(algorithm, Algorithm::RingHash | Algorithm::Maglev));
        Balancer { algorithm, key, tiers, thresholds: Thresholds::default(), failed_open: Arc::default() }
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
        let is_open = self.thresholds.fail_open && self.tiers.iter().any(|tier| tier.survey(now).serving > 0);
        is_open && !self.tiers.iter().any(|tier| tier.serves(now)) && !self.is_unchecked(now)
    }

    /// Whether no endpoint is healthy, but some may turn out to be with their first check.
    #[cold]
    fn is_unchecked(&self, now: Instant) -> bool {
        let mut surveys = self.tiers.iter().map(|tier| tier.survey(now));
        let none = surveys.clone().all(|survey| survey.healthy == 0);
        none && surveys.any(|survey| survey.unchecked > 0)
    }

    /// Choices made among all endpoints because too few were healthy, in this generation and those that it succeeds.
    pub fn failed_open(&self) -> u64 {
        self.failed_open.load(Relaxed)
    }

    fn pick(&self, mut pick: Pick<'_>, may_wait: bool) -> Result<EndpointId, NoEndpoint> {
        let salt = pick.random.next_u64();
        let (now, avoid) = (pick.now, pick.avoid);
        let mut run = |tier: &Tier, mode: Mode, avoid: &[EndpointId]| {
            tier.pick(&mut Screen::new(tier, now, avoid, mode, salt), &mut pick)
        };
        if let Some(found) = self.tiers.iter().find_map(|tier| run(tier, Mode::Healthy, avoid)) {
            return Ok(found);
        }
        let surveyed = self.tiers.iter().map(|tier| (tier, tier.survey(now)));
        let serving = surveyed.filter(|(_, survey)| survey.serving > 0);
        // The first of the healthiest: `max_by_key` would return the last.
        let best = serving.rev().max_by_key(|(_, survey)| survey.healthy_permille());
        let (best, survey) = best.ok_or(NoEndpoint::Absent)?;
        if !survey.is_enough(&self.thresholds) {
            if may_wait && self.is_unchecked(now) {
                return Err(NoEndpoint::Unchecked);
            }
            if !self.thresholds.fail_open {
                return Err(NoEndpoint::Unhealthy);
            }
            let found = run(best, Mode::All, avoid).or_else(|| run(best, Mode::All, &[]));
            self.failed_open.fetch_add(1, Relaxed);
            return found.ok_or(NoEndpoint::Absent);
        }
        // Only endpoints that failed this request are healthy.
        let healthy = self.tiers.iter().find_map(|tier| run(tier, Mode::Healthy, &[]));
        healthy.or_else(|| run(best, Mode::All, &[])).ok_or(NoEndpoint::Absent)
    }
}

impl Upstream {
    /// The key by which consistent hashing keeps requests together; `None` when the algorithm needs none or the request
    /// does not have it, and then any number will do.
    pub fn hash_key(&self, request: Request<'_>, client: IpAddr) -> Option<u64> {
        self.balancer.key.as_ref()?.hash(request, client)
    }

    /// Chooses the endpoint for one attempt.
    pub fn pick(&self, pick: Pick<'_>) -> Result<EndpointId, NoEndpoint> {
        self.balancer.pick(pick, true)
    }

    /// As [`Upstream::pick`], for a caller that has waited long enough: never [`NoEndpoint::Unchecked`].
    pub fn pick_unchecked(&self, pick: Pick<'_>) -> Result<EndpointId, NoEndpoint> {
        self.balancer.pick(pick, false)
    }
}

#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod tests;
