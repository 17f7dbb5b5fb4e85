//! Memory on paper: what the node takes at most, row by row, against what it may use.
//!
//! Computed once, before anything starts. What is taken whatever happens must fit; what traffic takes is bounded by what
//! is left. The same rows stand in `/v1/status` and in `ringway status`, and in the message when they do not fit.
//! `docs/architecture.md` explains them.

use base::limits::Limits;
use serde::Serialize;
use std::fmt;
use traffic::Snapshot;
use traffic::overload::{Clients, PIPE_BYTES, SOCKET_BYTES};
use traffic::stats::RouteShard;

/// One thing that takes memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub what: &'static str,
    pub count: u64,
    pub each_bytes: u64,
    /// Taken from the start, or once per configuration; the others grow with traffic up to here.
    pub fixed: bool,
}

impl Row {
    fn fixed(what: &'static str, count: u64, each_bytes: u64) -> Row {
        Row { what, count, each_bytes, fixed: true }
    }

    fn traffic(what: &'static str, count: u64, each_bytes: u64) -> Row {
        Row { what, count, each_bytes, fixed: false }
    }

    /// All of them together.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.each_bytes)
    }
}

/// Who says how much memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitFrom {
    Configuration,
    ControlGroup,
    Machine,
    /// Nobody; nothing is bounded by it.
    Unknown,
}

impl fmt::Display for LimitFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitFrom::Configuration => "memory in the configuration",
            LimitFrom::ControlGroup => "the control group's limit",
            LimitFrom::Machine => "the machine's memory",
            LimitFrom::Unknown => "no limit is known",
        })
    }
}

/// How much memory there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// `u64::MAX` when it is not known.
    pub bytes: u64,
    pub from: LimitFrom,
}

/// What the runtime of one worker takes whatever happens.
#[derive(Clone, Copy, Debug)]
pub struct OfWorker {
    /// All receive buffers together.
    pub receive_bytes: u64,
    /// Memory shared with the kernel.
    pub driver_bytes: u64,
}

/// The rows and what they are held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub rows: Vec<Row>,
    pub sum_bytes: u64,
    /// `None` when it is not known.
    pub limit_bytes: Option<u64>,
    pub limit_from: LimitFrom,
}

/// What is fixed does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoesNotFit(pub Budget);

/// Of 1000 bytes so many are planned with; the rest is for what nobody foresees.
const PLANNED_PERMILLE: u64 = 950;
/// Code, control plane, tables of the kernel: measured with the smallest configuration.
const PROCESS_BYTES: u64 = 14 << 20;
/// An exchange that waits to be used again, with its vectors.
const EXCHANGE_BYTES: u64 = 4 << 10;
/// Exchanges kept per worker; `data_plane::worker` has the same number.
const EXCHANGES: u64 = 256;
/// A compiled route, and a compiled endpoint with its cell; two generations at once.
const ROUTE_BYTES: u64 = 2 * (3 << 10);
const ENDPOINT_BYTES: u64 = 2 * 512;
/// An idle client connection without its kernel memory; see "Memory, on paper".
const CONNECTION_BYTES: u64 = 2 << 10;
/// An idle flow of a TCP listener, likewise.
const FLOW_BYTES: u64 = 3 << 10;
/// A flow of datagrams: its place in the table, the socket's entry, and the socket in the kernel.
const DATAGRAM_FLOW_BYTES: u64 = 768;
const DATAGRAM_FLOW_SOCKET_BYTES: u64 = 3 << 10;
/// The batch of a worker and UDP listener, as `runtime::Batch::BYTES`.
const BATCH_BYTES: u64 = 2 << 20;
/// Relay buffers of a worker are not bounded below this: a handful of large ones.
const RELAY_MIN: u64 = 1 << 20;

impl Budget {
    /// Plans for `workers` workers. Lowers `limits` (of one worker) until everything fits.
    ///
    /// # Errors
    /// When what is fixed takes more than 95 % already.
    pub fn plan(
        snapshot: &Snapshot,
        limits: &mut Limits,
        (workers, of_worker): (usize, OfWorker),
        limit: MemoryLimit,
    ) -> Result<Budget, DoesNotFit> {
        let workers = (workers as u64).max(1);
        let fixed = fixed_rows(snapshot, limits, (workers, of_worker));
        let taken: u64 = fixed.iter().map(Row::bytes).sum();
        let planned = if limit.bytes == u64::MAX { u64::MAX } else { limit.bytes / 1000 * PLANNED_PERMILLE };
        if taken > planned {
            return Err(DoesNotFit(Budget::of(fixed, limit)));
        }
        let left = planned - taken;
        // Half of what there is at most: flows need a descriptor and a socket, connections much more.
        let for_flows = left / 2 / (DATAGRAM_FLOW_BYTES + DATAGRAM_FLOW_SOCKET_BYTES) / workers;
        limits.flows_max = limits.flows_max.min(u32::try_from(for_flows).unwrap_or(u32::MAX));
        let flows = u64::from(limits.flows_max) * workers;
        let left = left - flows * (DATAGRAM_FLOW_BYTES + DATAGRAM_FLOW_SOCKET_BYTES);
        let pipes = (left / 10 / workers / PIPE_BYTES).min(limits.pipes_max.into());
        limits.pipes_max = u32::try_from(pipes).unwrap_or(u32::MAX);
        let left = left - pipes * workers * PIPE_BYTES;
        let relay = (left / 3 / workers).max(RELAY_MIN).min(limits.relay_buffers_bytes_max);
        limits.relay_buffers_bytes_max = relay;
        // Reckoned only where somebody compresses, bounded always: another configuration may.
        limits.compression_bytes_max = limits.compression_bytes_max.min(left / 8 / workers);
        let compresses = snapshot.routes.iter().any(|route| route.compression.is_some());
        let compression = if compresses { limits.compression_bytes_max } else { 0 };
        let left = left - compression * workers;
        // One bound holds for connections of all kinds, so the dearer kind counts: a flow always has two sockets.
        let has_flows = snapshot.listeners.iter().any(|listener| listener.passthrough().is_some());
        let (connection, sockets) = if has_flows { (FLOW_BYTES, 2) } else { (CONNECTION_BYTES, 1) };
        let for_connections = left.saturating_sub(relay * workers) / (connection + sockets * SOCKET_BYTES);
        let each = u32::try_from(for_connections / workers).unwrap_or(u32::MAX).max(1);
        limits.connections_max = limits.connections_max.min(each);
        let connections = u64::from(limits.connections_max) * workers;
        let mut rows = fixed;
        rows.extend([
            Row::traffic("relay buffers of a worker", workers, relay),
            Row::traffic("pipes of a worker", pipes * workers, PIPE_BYTES),
            Row::traffic("client connections, idle", connections, connection),
            Row::traffic("their sockets in the kernel", connections * sockets, SOCKET_BYTES),
        ]);
        if compresses {
            rows.push(Row::traffic("compressors of a worker", workers, compression));
        }
        if flows > 0 {
            rows.push(Row::traffic("flows of datagrams", flows, DATAGRAM_FLOW_BYTES));
            rows.push(Row::traffic("their sockets in the kernel", flows, DATAGRAM_FLOW_SOCKET_BYTES));
        }
        Ok(Budget::of(rows, limit))
    }

    fn of(rows: Vec<Row>, limit: MemoryLimit) -> Budget {
        let sum_bytes = rows.iter().map(Row::bytes).fold(0, u64::saturating_add);
        let limit_bytes = (limit.bytes != u64::MAX).then_some(limit.bytes);
        Budget { rows, sum_bytes, limit_bytes, limit_from: limit.from }
    }
}

fn fixed_rows(snapshot: &Snapshot, limits: &Limits, (workers, of_worker): (u64, OfWorker)) -> Vec<Row> {
    let endpoints: usize = snapshot.upstreams.iter().map(|upstream| upstream.endpoints.len()).sum();
    let routes = snapshot.routes.len() as u64;
    let udp = snapshot.listeners.iter().filter(|listener| listener.datagrams().is_some()).count() as u64;
    let log = if snapshot.access_log { workers } else { 0 };
    let kept = snapshot.caches.iter().map(|store| store.bytes_max).sum();
    let rows = [
        Row::fixed("the process itself", 1, PROCESS_BYTES),
        Row::fixed("receive buffers of a worker", workers, of_worker.receive_bytes),
        Row::fixed("driver of a worker", workers, of_worker.driver_bytes),
        Row::fixed("spare exchanges of a worker", workers, EXCHANGES * EXCHANGE_BYTES),
        Row::fixed("log ring of a worker", log, limits.log_ring_bytes.into()),
        Row::fixed("recent decisions of a worker", workers, snapshot.recent.bytes_max.into()),
        Row::fixed("counts per client address", 1, Clients::BYTES),
        Row::fixed("responses that caches keep", 1, kept),
        Row::fixed("routes", routes, ROUTE_BYTES),
        Row::fixed("histograms of a route and worker", routes * workers, size_of::<RouteShard>() as u64),
        Row::fixed("endpoints", endpoints as u64, ENDPOINT_BYTES),
        Row::fixed("datagrams of a worker and udp listener", udp * workers, BATCH_BYTES),
    ];
    rows.into_iter().filter(|row| row.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_WORKER: OfWorker = OfWorker { receive_bytes: 10 << 20, driver_bytes: 256 << 10 };

    fn plan(bytes: u64, limits: &mut Limits) -> Result<Budget, DoesNotFit> {
        let address = |text: &str| config::Address::Ip(text.parse().expect("an address"));
        let config = config::from_args(&[address("127.0.0.1:0")], &[address("127.0.0.1:9001")]);
        plan_of(&config, bytes, limits)
    }

    fn plan_of(config: &config::Config, bytes: u64, limits: &mut Limits) -> Result<Budget, DoesNotFit> {
        let snapshot = crate::compile(config, 2, None).expect("it is complete").snapshot;
        let limit = MemoryLimit { bytes, from: LimitFrom::ControlGroup };
        Budget::plan(&snapshot, limits, (2, OF_WORKER), limit)
    }

    #[test]
    fn r141_connections_that_are_passed_through_count_with_both_of_their_sockets() {
        let address = |text: &str| config::Address::Ip(text.parse().expect("an address"));
        let (front, back) = (address("127.0.0.1:0"), address("127.0.0.1:9001"));
        let with_tcp =
            config::from_args_with_tcp(std::slice::from_ref(&front), std::slice::from_ref(&front), &[back]);
        let (mut http, mut both) = (Limits::DEFAULT, Limits::DEFAULT);
        plan(128 << 20, &mut http).expect("it fits");
        let budget = plan_of(&with_tcp, 128 << 20, &mut both).expect("it fits");
        assert!(both.connections_max * 3 < http.connections_max * 2, "{both:?} {http:?}");
        assert!(budget.sum_bytes <= 128 << 20, "{budget:?}");
    }

    #[test]
    fn r141_with_enough_memory_no_bound_is_lowered() {
        let mut limits = Limits { connections_max: 5_000, ..Limits::DEFAULT };
        let budget = plan(4 << 30, &mut limits).expect("it fits");
        assert_eq!(limits, Limits { connections_max: 5_000, ..Limits::DEFAULT });
        assert!(budget.sum_bytes < 1 << 30 && budget.limit_bytes == Some(4 << 30), "{budget:?}");
        plan(u64::MAX, &mut limits).expect("no limit, no bound");
        assert_eq!(limits, Limits { connections_max: 5_000, ..Limits::DEFAULT });
    }

    #[test]
    fn r141_bounds_are_lowered_until_everything_fits() {
        for mib in [48, 64, 100, 128, 256, 300, 512] {
            let mut limits = Limits::DEFAULT;
            let budget = plan(mib << 20, &mut limits).expect("it fits");
            assert!(budget.sum_bytes <= (mib << 20) / 1000 * 951, "{mib}: {budget:?}");
            assert!(limits.connections_max > 100, "{mib} MiB: {limits:?}");
        }
    }

    #[test]
    fn r141_what_is_fixed_must_fit() {
        let DoesNotFit(budget) = plan(32 << 20, &mut Limits::DEFAULT.clone()).expect_err("too little");
        assert!(budget.sum_bytes > 32 << 20 && budget.rows.iter().all(|row| row.fixed), "{budget:?}");
    }
}
