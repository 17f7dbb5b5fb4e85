//! What is counted of the datagrams of a UDP listener.
//!
//! Every counter has one writer, its worker; the control plane reads all shards and adds them up.

use crate::Cause;
use crate::stats::Causes;
use base::ids::WorkerId;
use base::stat::Counter;
use std::sync::OnceLock;

/// Statistics of one UDP listener. They belong to its name and survive new generations.
#[derive(Debug)]
pub struct UdpStats {
    /// By [`WorkerId`]; a shard is made with its worker's first datagram.
    shards: Box<[OnceLock<Box<UdpShard>>]>,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UdpShard {
    pub opened: Counter,
    pub closed: Counter,
    /// Flows that were given another endpoint.
    pub moved: Counter,
    /// Datagrams of clients that were passed on, and their bytes.
    pub datagrams_in: Counter,
    pub bytes_in: Counter,
    /// Datagrams to clients, and their bytes.
    pub datagrams_out: Counter,
    pub bytes_out: Counter,
    /// Times that an endpoint's network told that it cannot be reached.
    pub unreachable: Counter,
    ends: Causes,
    refusals: Causes,
    lost: [Counter; Lost::ALL.len()],
}

/// Why a datagram was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lost {
    /// Its flow was refused; the refusals say why.
    NoFlow,
    /// No endpoint can take it.
    NoEndpoint,
    /// The kernel had no room to send it.
    NoRoom,
    /// The answer is larger than what its client may get.
    ReplyRatio,
    /// The kernel did not send it.
    SendFailed,
}

impl Lost {
    pub const ALL: [Lost; 5] =
        [Lost::NoFlow, Lost::NoEndpoint, Lost::NoRoom, Lost::ReplyRatio, Lost::SendFailed];

    /// Name in metric labels and in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Lost::NoFlow => "no_flow",
            Lost::NoEndpoint => "no_endpoint",
            Lost::NoRoom => "no_room",
            Lost::ReplyRatio => "reply_ratio",
            Lost::SendFailed => "send_failed",
        }
    }
}

impl UdpStats {
    /// Empty statistics for `workers` workers.
    pub fn new(workers: usize) -> Self {
        UdpStats { shards: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The part that `worker` writes. Panics when there is no such worker.
    pub fn shard(&self, worker: WorkerId) -> &UdpShard {
        self.shards[worker.index()].get_or_init(Box::default)
    }

    /// The sum of one figure over all workers.
    pub fn sum(&self, figure: impl Fn(&UdpShard) -> u64) -> u64 {
        self.shards.iter().filter_map(OnceLock::get).map(|shard| figure(shard)).sum()
    }

    /// Counts the flows of a worker that has ended by itself as ended for `cause`. To be called when it is gone.
    pub fn abandon(&self, worker: WorkerId, cause: Cause) {
        let Some(shard) = self.shards.get(worker.index()).and_then(OnceLock::get) else { return };
        while shard.closed.get() < shard.opened.get() {
            shard.end(cause);
        }
    }

    /// Flows that there are now.
    pub fn open(&self) -> u64 {
        // Closed first: a flow that begins and ends between the two looks must not make this negative.
        let closed = self.sum(|shard| shard.closed.get());
        self.sum(|shard| shard.opened.get()).saturating_sub(closed)
    }
}

/// Of the owning worker only: what is written.
impl UdpShard {
    /// Counts a flow that ended for `cause`.
    pub fn end(&self, cause: Cause) {
        self.closed.add(1);
        self.ends.add(cause);
    }

    /// How many flows ended for `cause`.
    pub fn ended(&self, cause: Cause) -> u64 {
        self.ends.get(cause)
    }

    /// Counts a flow that was refused for `cause`.
    pub fn refuse(&self, cause: Cause) {
        self.refusals.add(cause);
    }

    /// How many flows were refused for `cause`.
    pub fn refused(&self, cause: Cause) -> u64 {
        self.refusals.get(cause)
    }

    /// Counts datagrams that were not passed on.
    pub fn lose(&self, why: Lost, datagrams: u32) {
        self.lost[why as usize].add(datagrams.into());
    }

    /// How many datagrams were not passed on for `why`.
    pub fn lost(&self, why: Lost) -> u64 {
        self.lost[why as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_all_workers_are_added_up_by_reason() {
        let stats = UdpStats::new(3);
        stats.shard(WorkerId(0)).opened.add(2);
        stats.shard(WorkerId(2)).opened.add(1);
        stats.shard(WorkerId(0)).end(Cause::FlowIdle);
        for (place, lost) in Lost::ALL.into_iter().enumerate() {
            assert_eq!(lost as usize, place);
            stats.shard(WorkerId(1)).lose(lost, 1 + lost as u32);
        }
        stats.shard(WorkerId(1)).refuse(Cause::FlowsMax);
        assert_eq!(stats.open(), 2);
        assert_eq!(stats.sum(|shard| shard.ended(Cause::FlowIdle)), 1);
        stats.abandon(WorkerId(2), Cause::Internal);
        assert_eq!((stats.open(), stats.sum(|shard| shard.ended(Cause::Internal))), (1, 1));
        stats.shard(WorkerId(2)).opened.add(1);
        assert_eq!(stats.sum(|shard| shard.refused(Cause::FlowsMax)), 1);
        assert_eq!(stats.sum(|shard| shard.lost(Lost::ReplyRatio)), 4);
    }
}
