//! Metrics of overload: how hard pressed each worker is, and what it has shed.

use super::exposition::{Exposition, Kind};
use crate::node::Node;
use base::stat::Counter;
use std::time::Duration;
use traffic::overload::ShedStats;

type Read = fn(&ShedStats) -> &Counter;

/// What is shed, by the label `action`.
const ACTIONS: &[(&str, Read)] = &[
    ("shorten_idle", |shed| &shed.idle_closed),
    ("close_after_response", |shed| &shed.not_kept),
    ("close_upstream_idle", |shed| &shed.upstream_closed),
    ("withhold_retry", |shed| &shed.not_repeated),
    ("reset_stalled", |shed| &shed.stalled_reset),
    ("refuse_request", |shed| &shed.refused),
    ("pause_accept", |shed| &shed.accept_paused),
    ("evict_idle", |shed| &shed.idle_evicted),
];

/// Thousandths as ratios.
const PRESSURES: &[(&str, Read)] = &[("space", |shed| &shed.space), ("time", |shed| &shed.time)];

/// What has been shed, by action, over all workers.
pub(crate) fn shed(node: &Node) -> impl Iterator<Item = (&'static str, u64)> {
    ACTIONS
        .iter()
        .map(|(action, read)| (*action, node.stats.iter().map(|worker| read(&worker.shed).get()).sum()))
}

pub(super) fn families(out: &mut Exposition, node: &Node) {
    let help = "How much is shed: 0 nothing, 1 shorten, 2 save, 3 cut, 4 refuse, 5 pause, 6 evict.";
    let mut family = out.family("ringway_shed_level", Kind::Gauge, help);
    for (worker, stats) in node.stats.iter().enumerate() {
        family.whole(&[("worker", &worker.to_string())], stats.shed.level.get());
    }
    let help = "Pressure on memory and descriptors (space) and on the worker's time; 1 is the limit.";
    let mut family = out.family("ringway_pressure_ratio", Kind::Gauge, help);
    for (worker, stats) in node.stats.iter().enumerate() {
        for (kind, read) in PRESSURES {
            let permille = u32::try_from(read(&stats.shed).get()).unwrap_or(u32::MAX);
            family.real(&[("worker", &worker.to_string()), ("of", kind)], f64::from(permille) / 1000.0);
        }
    }
    let help = "How long what is ready waits for the worker at the least.";
    let mut family = out.family("ringway_worker_lag_seconds", Kind::Gauge, help);
    for (worker, stats) in node.stats.iter().enumerate() {
        let lag = Duration::from_nanos(stats.shed.lag_nanos.get());
        family.real(&[("worker", &worker.to_string())], lag.as_secs_f64());
    }
    let mut family = out.family("ringway_shed", Kind::Counter, "What was shed, by action.");
    for (action, count) in shed(node) {
        family.whole(&[("action", action)], count);
    }
    let counters: [(&str, &str, Read); 2] = [
        ("ringway_worker_long_turns", "Turns of the worker's loop that took longer than a second.", |s| {
            &s.long_turns
        }),
        ("ringway_worker_gaps", "Times that the worker stood still for two seconds or more.", |s| &s.gaps),
    ];
    for (name, help, read) in counters {
        let mut family = out.family(name, Kind::Counter, help);
        for (worker, stats) in node.stats.iter().enumerate() {
            family.whole(&[("worker", &worker.to_string())], read(&stats.shed).get());
        }
    }
    let shared = &node.facts.shared;
    let used = shared.memory_used();
    out.family(
        "ringway_memory_used_bytes",
        Kind::Gauge,
        "Resident memory and kernel memory of sockets, as last measured.",
    )
    .whole(&[], used);
    if shared.supply.memory != u64::MAX {
        out.family("ringway_memory_limit_bytes", Kind::Gauge, "Memory that the node may use.")
            .whole(&[], shared.supply.memory);
    }
}
