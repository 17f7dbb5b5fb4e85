//! The endpoints of one tier and the table of its algorithm.

use super::screen::{Honoured, PLACES_MAX, Screen, Survey, Thresholds};
use super::{Algorithm, Pick};
use super::{
    least_connections, maglev::Maglev, p2c_ewma, random::Weighted, ring_hash::Ring, round_robin::RoundRobin,
};
use crate::health::EndpointCell;
use crate::snapshot::Endpoint;
use base::Instant;
use base::ids::EndpointId;
use base::rng::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One endpoint of a tier.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: EndpointId,
    /// Never 0.
    pub(super) weight: u32,
    /// The endpoint's: one step closer than through the upstream.
    pub(super) cell: Arc<EndpointCell>,
}

#[derive(Debug)]
pub(super) struct Tier {
    pub(super) members: Vec<Member>,
    pub(super) thresholds: Thresholds,
    table: Table,
    cached: CachedSurvey,
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

/// Tiers up to this size are surveyed whenever it matters; larger ones at most every [`SURVEY_EVERY`].
const SURVEYED_ALWAYS: usize = PLACES_MAX;
const SURVEY_EVERY: Duration = Duration::from_millis(20);

/// The last survey of a large tier. The words may be of different surveys for a moment, each of them recent.
#[derive(Debug)]
struct CachedSurvey {
    /// Nanoseconds; 0 before the first.
    made: AtomicU64,
    serving: AtomicU64,
    healthy: AtomicU64,
    unchecked: AtomicU64,
    honoured_below: AtomicU64,
}

impl Default for CachedSurvey {
    /// All is well: what other workers assume while one makes the first survey.
    fn default() -> Self {
        let all = || u64::MAX.into();
        let (made, unchecked) = (0.into(), 0.into());
        CachedSurvey { made, serving: all(), healthy: all(), unchecked, honoured_below: 0.into() }
    }
}

impl Tier {
    pub(super) fn build(algorithm: Algorithm, number: u8, endpoints: &[Endpoint]) -> Tier {
        let mut members = Vec::new();
        let mut texts = Vec::new();
        for (at, endpoint) in endpoints.iter().enumerate() {
            if endpoint.tier == number && endpoint.weight > 0 {
                let id = EndpointId(u32::try_from(at).unwrap_or(u32::MAX));
                members.push(Member { id, weight: endpoint.weight, cell: Arc::clone(&endpoint.cell) });
                texts.push(&*endpoint.text);
            }
        }
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let table = match algorithm {
            Algorithm::RoundRobin => Table::RoundRobin(Box::new(RoundRobin::build(&weights))),
            Algorithm::Random => Table::Random(Weighted::build(&weights)),
            Algorithm::LeastConnections => Table::LeastConnections(Weighted::build(&weights)),
            Algorithm::P2cEwma => Table::P2cEwma,
            Algorithm::RingHash => Table::Ring(Ring::build(&texts, &weights)),
            Algorithm::Maglev => Table::Maglev(Maglev::build(&texts, &weights)),
        };
        Tier { members, thresholds: Thresholds::default(), table, cached: CachedSurvey::default() }
    }

    /// An endpoint that `screen` accepts; `None` when there is none or the screen wants no more proposals.
    pub(super) fn pick(&self, screen: &mut Screen<'_>, pick: &mut Pick<'_>) -> Option<EndpointId> {
        let found = self.propose(screen, pick);
        // The screen sent endpoints in slow start away by chance; that must not leave the request without any.
        let found = found.or_else(|| if screen.end_slow_start() { self.propose(screen, pick) } else { None });
        found.filter(|_| !screen.is_stopped()).map(|at| self.members[at].id)
    }

    fn propose(&self, screen: &mut Screen<'_>, pick: &mut Pick<'_>) -> Option<usize> {
        match &self.table {
            Table::RoundRobin(table) => table.pick(screen),
            Table::Random(table) => {
                table.pick(screen, pick.random).or_else(|| self.scan(screen, pick.random))
            }
            Table::LeastConnections(draws) => {
                least_connections::pick(&self.members, draws, screen, pick.random)
            }
            Table::P2cEwma => {
                p2c_ewma::pick(&self.members, screen, pick.random).or_else(|| self.scan(screen, pick.random))
            }
            Table::Ring(table) => table.pick(pick.key, screen),
            Table::Maglev(table) => table.pick(pick.key, screen),
        }
    }

    /// A weighted random choice among all that the screen accepts, for when a few draws did not hit any.
    fn scan(&self, screen: &mut Screen<'_>, random: &mut Rng) -> Option<usize> {
        let mut chosen = None;
        let mut total = 0u64;
        for (at, member) in self.members.iter().enumerate() {
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

    /// Whether enough of the tier is healthy.
    pub(super) fn serves(&self, now: Instant) -> bool {
        self.survey(now).is_enough(&self.thresholds)
    }

    /// How healthy the tier is.
    pub(super) fn survey(&self, now: Instant) -> Survey {
        if self.members.len() <= SURVEYED_ALWAYS {
            return Survey::of(&self.members, now, &self.thresholds);
        }
        let made = self.cached.made.load(Relaxed);
        let age = now.since(Instant::from_nanos(made));
        // One worker makes the survey, the others use the last one meanwhile.
        let due = made == 0 || age >= SURVEY_EVERY;
        let stamp = now.as_nanos().max(1);
        if due && self.cached.made.compare_exchange(made, stamp, Relaxed, Relaxed).is_ok() {
            let survey = Survey::of(&self.members, now, &self.thresholds);
            self.cached.serving.store(survey.serving as u64, Relaxed);
            self.cached.healthy.store(survey.healthy as u64, Relaxed);
            self.cached.unchecked.store(survey.unchecked as u64, Relaxed);
            if let Honoured::Below(bound) = survey.honoured {
                self.cached.honoured_below.store(bound, Relaxed);
            }
            return survey;
        }
        let count = |word: &AtomicU64| usize::try_from(word.load(Relaxed)).unwrap_or(usize::MAX);
        Survey {
            serving: count(&self.cached.serving).min(self.members.len()),
            healthy: count(&self.cached.healthy).min(self.members.len()),
            unchecked: count(&self.cached.unchecked).min(self.members.len()),
            honoured: Honoured::Below(self.cached.honoured_below.load(Relaxed)),
        }
    }
}
