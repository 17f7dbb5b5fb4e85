//! What is counted of bytes that pass through unread: flows of TCP listeners, and tunnels.
//!
//! Every counter has one writer, its worker; the control plane reads all shards and adds them up.

use crate::Cause;
use crate::stats::Causes;
use base::ids::WorkerId;
use base::stat::Counter;
use std::sync::OnceLock;

/// Statistics of one TCP listener. They belong to its name and survive new generations.
#[derive(Debug)]
pub struct FlowStats {
    /// By [`WorkerId`]; a shard is made with its worker's first flow.
    shards: Box<[OnceLock<Box<FlowShard>>]>,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct FlowShard {
    pub opened: Counter,
    pub closed: Counter,
    pub moved: Moved,
    causes: Causes,
}

/// Bytes that were passed on, and how.
#[derive(Debug, Default)]
pub struct Moved {
    /// From clients to endpoints.
    pub up_bytes: Counter,
    /// From endpoints to clients.
    pub down_bytes: Counter,
    /// Those of both that the kernel passed on, through a pipe; all others were copied.
    pub spliced_bytes: Counter,
    /// Changes of the way that bytes take, by [`Reason`].
    switches: [Counter; Reason::ALL.len()],
}

/// Why a direction changes between copying and the kernel's pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// More arrives than one receive takes, again and again: pipes from here on.
    Bulk,
    /// Little arrives at a time: copying from here on.
    Small,
    /// No pipe was to be had.
    NoPipe,
    /// The kernel does not splice these sockets.
    Unsupported,
}

impl Reason {
    pub const ALL: [Reason; 4] = [Reason::Bulk, Reason::Small, Reason::NoPipe, Reason::Unsupported];

    /// Name in metric labels and in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Bulk => "bulk",
            Reason::Small => "small",
            Reason::NoPipe => "no_pipe",
            Reason::Unsupported => "unsupported",
        }
    }
}

impl FlowStats {
    /// Empty statistics for `workers` workers.
    pub fn new(workers: usize) -> Self {
        FlowStats { shards: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The part that `worker` writes. Panics when there is no such worker.
    pub fn shard(&self, worker: WorkerId) -> &FlowShard {
        self.shards[worker.index()].get_or_init(Box::default)
    }

    /// The sum of one figure over all workers.
    pub fn sum(&self, figure: impl Fn(&FlowShard) -> u64) -> u64 {
        self.shards.iter().filter_map(OnceLock::get).map(|shard| figure(shard)).sum()
    }

    /// Counts the flows of a worker that has ended by itself as ended for `cause`. To be called when it is gone.
    pub fn abandon(&self, worker: WorkerId, cause: Cause) {
        let Some(shard) = self.shards.get(worker.index()).and_then(OnceLock::get) else { return };
        while shard.closed.get() < shard.opened.get() {
            shard.end(cause);
        }
    }

    /// Flows that are open now.
    pub fn open(&self) -> u64 {
        // Closed first: a flow that opens and closes between the two looks must not make this negative.
        let closed = self.sum(|shard| shard.closed.get());
        self.sum(|shard| shard.opened.get()).saturating_sub(closed)
    }
}

impl FlowShard {
    /// Counts a flow that ended for `cause`. The owning worker only.
    pub fn end(&self, cause: Cause) {
        self.closed.add(1);
        self.causes.add(cause);
    }

    /// How many flows ended for `cause`.
    pub fn ended(&self, cause: Cause) -> u64 {
        self.causes.get(cause)
    }
}

impl Moved {
    /// Counts a change. The owning worker only.
    pub fn switch(&self, reason: Reason) {
        self.switches[reason as usize].add(1);
    }

    /// Changes for `reason` so far.
    pub fn switches(&self, reason: Reason) -> u64 {
        self.switches[reason as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flows_are_those_that_have_begun_and_not_ended_on_any_worker() {
        let stats = FlowStats::new(3);
        stats.shard(WorkerId(0)).opened.add(2);
        stats.shard(WorkerId(2)).opened.add(1);
        stats.shard(WorkerId(0)).end(Cause::FlowClosed);
        assert_eq!(stats.open(), 2);
        assert_eq!(stats.sum(|shard| shard.ended(Cause::FlowClosed)), 1);
        stats.abandon(WorkerId(0), Cause::Internal);
        stats.abandon(WorkerId(1), Cause::Internal);
        assert_eq!((stats.open(), stats.sum(|shard| shard.ended(Cause::Internal))), (1, 1));
    }

    #[test]
    fn reasons_have_their_places_and_names_of_their_own() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
