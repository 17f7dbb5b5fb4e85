//! What `/v1/status` says of the flows of a TCP listener.

use serde::Serialize;
use std::collections::BTreeMap;
use traffic::Cause;
use traffic::flow::Reason;
use traffic::snapshot::{Passthrough, Snapshot};

#[derive(Serialize)]
pub(super) struct Flows {
    /// Who takes the connections; with routes, those that no route takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    open: u64,
    /// Since the start.
    total: u64,
    /// Ended for another cause than that both sides had ended.
    failed: u64,
    /// How many ended, by cause.
    ended: BTreeMap<&'static str, u64>,
    received_bytes: u64,
    sent_bytes: u64,
    /// Those of both that the kernel passed on; all others were copied.
    spliced_bytes: u64,
    /// Changes of the way that bytes take, by reason.
    switches: BTreeMap<&'static str, u64>,
}

pub(super) fn collect(snapshot: &Snapshot, passthrough: &Passthrough) -> Flows {
    let stats = &passthrough.stats;
    let default = match &passthrough.selector {
        Some(selector) => selector.default,
        None => passthrough.upstream,
    };
    let count = |cause: Cause| stats.sum(|shard| shard.ended(cause));
    let all = || Cause::ALL.iter().map(|&cause| (cause, count(cause))).filter(|(_, count)| *count > 0);
    Flows {
        upstream: default.map(|id| snapshot.upstream(id).name.to_string()),
        open: stats.open(),
        total: stats.sum(|shard| shard.opened.get()),
        failed: all().filter(|(cause, _)| *cause != Cause::FlowClosed).map(|(_, count)| count).sum(),
        ended: all().map(|(cause, count)| (cause.name(), count)).collect(),
        received_bytes: stats.sum(|shard| shard.moved.up_bytes.get()),
        sent_bytes: stats.sum(|shard| shard.moved.down_bytes.get()),
        spliced_bytes: stats.sum(|shard| shard.moved.spliced_bytes.get()),
        switches: Reason::ALL
            .iter()
            .map(|&reason| (reason.name(), stats.sum(|shard| shard.moved.switches(reason))))
            .collect(),
    }
}
