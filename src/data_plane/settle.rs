//! What a worker leaves behind that ended by itself, so that those who share it with the others find it as it is.
//!
//! Most of it is given back by dropping its tasks, as when a connection ends: permits, places, in-flight counts, leases.
//! This is the rest.

use base::ids::WorkerId;
use traffic::overload::Node;
use traffic::stats::WorkerStats;
use traffic::{Cause, Snapshot};

/// Settles what the worker has left. To be called when its thread has ended, and before another takes its place.
pub fn settle(worker: WorkerId, snapshot: &Snapshot, stats: &WorkerStats, node: &Node) {
    stats.abandon(Cause::Internal);
    node.set_open(worker, 0, 0);
    for listener in &snapshot.listeners {
        if let Some(passthrough) = listener.passthrough() {
            passthrough.stats.abandon(worker, Cause::Internal);
        }
        if let Some(datagrams) = listener.datagrams() {
            datagrams.stats.abandon(worker, Cause::Internal);
        }
    }
    // It may have been called and have had no time to follow: whoever waits elsewhere finds out what is free.
    for admission in snapshot.upstreams.iter().filter_map(|upstream| upstream.admission.as_ref()) {
        admission.gate.line.call_all();
        admission.gate.slots.call_all();
    }
}
