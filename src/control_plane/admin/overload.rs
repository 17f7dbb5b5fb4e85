//! The part of `/v1/status` that says how hard pressed the node is, and the memory budget.

use crate::budget::Budget;
use crate::node::Node;
use crate::telemetry;
use serde::Serialize;
use std::collections::BTreeMap;
use traffic::overload::Level;
use traffic::stats::WorkerStats;

#[derive(Serialize)]
pub(super) struct Overload {
    /// False when `overload "off"` is written.
    sheds: bool,
    /// The highest of all workers.
    level: &'static str,
    workers: Vec<Worker>,
    /// Events so far, by action.
    shed: BTreeMap<&'static str, u64>,
    memory_used_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
    /// Client addresses that are counted, and their connections.
    client_addresses: u64,
    client_connections_counted: u64,
}

#[derive(Serialize)]
struct Worker {
    level: &'static str,
    /// Thousandths of what is allowed.
    space_permille: u64,
    time_permille: u64,
    lag_us: u64,
    long_turns: u64,
    gaps: u64,
}

pub(super) fn collect(node: &Node) -> Overload {
    let shared = &node.facts.shared;
    let highest = node.stats.iter().map(|worker| worker.shed.level.get()).max().unwrap_or(0);
    let (client_addresses, client_connections_counted) = shared.clients.totals();
    Overload {
        sheds: shared.supply.sheds,
        level: Level::from_number(highest).name(),
        workers: node.stats.iter().map(|worker| of_worker(worker)).collect(),
        shed: telemetry::overload::shed(node).collect(),
        memory_used_bytes: shared.memory_used(),
        memory_limit_bytes: (shared.supply.memory != u64::MAX).then_some(shared.supply.memory),
        client_addresses,
        client_connections_counted,
    }
}

/// Memory on paper.
pub(super) fn budget(node: &Node) -> Option<Budget> {
    node.facts.budget.clone()
}

fn of_worker(worker: &WorkerStats) -> Worker {
    let shed = &worker.shed;
    Worker {
        level: Level::from_number(shed.level.get()).name(),
        space_permille: shed.space.get(),
        time_permille: shed.time.get(),
        lag_us: shed.lag_nanos.get() / 1000,
        long_turns: shed.long_turns.get(),
        gaps: shed.gaps.get(),
    }
}
