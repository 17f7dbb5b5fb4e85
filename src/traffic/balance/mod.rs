//! Which endpoint of an upstream takes an attempt.
//!
//! Endpoints stand in *tiers*: tier 0 serves as long as at least [`HEALTHY_PERCENT_MIN`] of it is healthy, then the next
//! one, and so on. When no tier is that healthy, the healthiest one *fails open*: all its endpoints count, because it is
//! more likely that the checks are wrong than that everything is down, and because the few healthy endpoints would break
//! under the load of all. Endpoints that failed an attempt of the same request are avoided as long as there is another.
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
pub use screen::{EJECTED_PERCENT_MAX, HEALTHY_PERCENT_MIN};

use crate::snapshot::{Endpoint, Upstream};
use base::Instant;
use base::ids::EndpointId;
use base::rng::Rng;
use screen::{Mode, Screen};
use std::fmt;
use std::net::IpAddr;
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

/// The upstream has no endpoint with a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEndpoint;

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upstream has no endpoint")
    }
}

impl std::error::Error for NoEndpoint {}

/// The tables of one upstream in one generation.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    key: Option<HashKey>,
    tiers: Vec<Tier>,
    failed_open: AtomicU64,
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
        Balancer { algorithm, key, tiers, failed_open: AtomicU64::new(0) }
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Choices made among all endpoints because too few were healthy; since this generation began.
    pub fn failed_open(&self) -> u64 {
        self.failed_open.load(Relaxed)
    }

    fn pick(&self, mut pick: Pick<'_>) -> Result<EndpointId, NoEndpoint> {
        let salt = pick.random.next_u64();
        let (now, avoid) = (pick.now, pick.avoid);
        let mut run = |tier: &Tier, mode: Mode, avoid: &[EndpointId]| {
            tier.pick(&mut Screen::new(tier, now, avoid, mode, salt), &mut pick)
        };
        if let Some(found) = self.tiers.iter().find_map(|tier| run(tier, Mode::Healthy, avoid)) {
            return Ok(found);
        }
        let share = |tier: &Tier| tier.survey(now).healthy_permille(tier.members.len());
        // The first of the healthiest: `max_by_key` would return the last.
        let best = self.tiers.iter().rev().max_by_key(|tier| share(tier)).ok_or(NoEndpoint)?;
        if share(best) < HEALTHY_PERCENT_MIN * 10 {
            let found =
                run(best, Mode::All, avoid).or_else(|| run(best, Mode::All, &[])).ok_or(NoEndpoint)?;
            self.failed_open.fetch_add(1, Relaxed);
            return Ok(found);
        }
        // Only endpoints that failed this request are healthy.
        let healthy = self.tiers.iter().find_map(|tier| run(tier, Mode::Healthy, &[]));
        healthy.or_else(|| run(best, Mode::All, &[])).ok_or(NoEndpoint)
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
        self.balancer.pick(pick)
    }
}

#[cfg(test)]
mod tests;
