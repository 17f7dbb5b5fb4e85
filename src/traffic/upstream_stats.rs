//! What is counted per upstream: how its endpoints were chosen.
//!
//! Every counter has one writer, its worker; the control plane reads all shards and adds them up.

use crate::balance::Choice;
use crate::sticky::Session;
use base::ids::WorkerId;
use base::stat::Counter;
use std::sync::OnceLock;

/// Statistics of one upstream. They belong to its name and survive new generations.
#[derive(Debug)]
pub struct UpstreamStats {
    /// By [`WorkerId`]; a shard is made with its worker's first choice.
    shards: Box<[OnceLock<Box<UpstreamShard>>]>,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamShard {
    /// Endpoints passed over because they had their share of the load.
    pub passed_over: Counter,
    /// Choices outside the zone of this node, although the tier has endpoints in it.
    pub other_zone: Counter,
    /// Connections that were not made because no local port was free.
    pub ports_exhausted: Counter,
    /// Connections that could not come from where they should.
    pub source_unavailable: Counter,
    pub sessions: SessionCounts,
}

/// Requests by what they said about their session.
#[derive(Debug, Default)]
pub struct SessionCounts {
    /// Went to the endpoint of their session.
    pub held: Counter,
    /// Named an endpoint that could not take them.
    pub moved: Counter,
    /// Came without a cookie.
    pub none: Counter,
    pub unknown: Counter,
    pub stale: Counter,
    pub forged: Counter,
}

impl UpstreamStats {
    /// Empty statistics for `workers` workers.
    pub fn new(workers: usize) -> Self {
        UpstreamStats { shards: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The part that `worker` writes. Panics when there is no such worker.
    pub fn shard(&self, worker: WorkerId) -> &UpstreamShard {
        self.shards[worker.index()].get_or_init(Box::default)
    }

    /// The sum of one counter over all workers.
    pub fn sum(&self, counter: impl Fn(&UpstreamShard) -> &Counter) -> u64 {
        self.shards.iter().filter_map(OnceLock::get).map(|shard| counter(shard).get()).sum()
    }
}

impl UpstreamShard {
    /// Counts a choice. The owning worker only.
    pub fn count_choice(&self, choice: &Choice) {
        if choice.passed_over > 0 {
            self.passed_over.add(choice.passed_over.into());
        }
        if choice.other_zone {
            self.other_zone.add(1);
        }
    }

    /// Counts what a request said about its session, once; `choice` is that of its first attempt.
    pub fn count_session(&self, session: Session, choice: &Choice) {
        let counts = &self.sessions;
        let counter = match session {
            Session::Held { endpoint, .. } if endpoint == choice.endpoint => &counts.held,
            Session::Held { .. } => &counts.moved,
            Session::None => &counts.none,
            Session::Unknown => &counts.unknown,
            Session::Stale => &counts.stale,
            Session::Forged => &counts.forged,
        };
        counter.add(1);
    }
}

/// One counter of a shard.
pub type OfShard = fn(&UpstreamShard) -> &Counter;

impl SessionCounts {
    /// Each counter with its name in metrics and status.
    pub const BY_NAME: [(&'static str, OfShard); 6] = [
        ("held", |shard| &shard.sessions.held),
        ("moved", |shard| &shard.sessions.moved),
        ("none", |shard| &shard.sessions.none),
        ("unknown", |shard| &shard.sessions.unknown),
        ("stale", |shard| &shard.sessions.stale),
        ("forged", |shard| &shard.sessions.forged),
    ];
}
