//! What is counted: per route, per worker, per cause.
//!
//! Every counter has one writer, its worker; the control plane reads all shards and adds them up.

use crate::grpc::Status;
use crate::hedge::LearnedDelay;
use crate::recent::Recent;
use crate::{Cause, Phase, Phases};
use base::ids::WorkerId;
use base::stat::{Counter, Histogram};
use std::sync::OnceLock;

/// Statistics of one route. They belong to the route's name and survive new generations.
#[derive(Debug)]
pub struct RouteStats {
    /// By [`WorkerId`]. A shard is made with its worker's first request: 27 KiB that most routes of a large configuration
    /// never need.
    shards: Box<[OnceLock<Box<RouteShard>>]>,
    /// For a route that hedges after a percentile.
    pub hedge_delay: LearnedDelay,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RouteShard {
    /// By status class: 1xx to 5xx, and 0 for exchanges that ended without a response.
    classes: [Counter; 6],
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub total: Histogram,
    /// By [`Phase`]; only phases that took time are recorded.
    phases: [Histogram; Phase::ALL.len()],
    /// By [`Status`].
    calls: [Counter; Status::COUNT],
}

impl RouteStats {
    /// Empty statistics for `workers` workers.
    pub fn new(workers: usize) -> Self {
        RouteStats {
            shards: (0..workers).map(|_| OnceLock::new()).collect(),
            hedge_delay: LearnedDelay::default(),
        }
    }

    /// The part that `worker` writes. Panics when there is no such worker.
    pub fn shard(&self, worker: WorkerId) -> &RouteShard {
        self.shards[worker.index()].get_or_init(Box::default)
    }

    /// The parts that have been written, for reading.
    pub fn shards(&self) -> impl Iterator<Item = &RouteShard> {
        self.shards.iter().filter_map(|shard| shard.get().map(Box::as_ref))
    }
}

impl RouteShard {
    /// Counts a finished exchange. `status` is 0 when no response was sent; bytes are those of bodies and heads as they
    /// went over the downstream connection. The owning worker only.
    pub fn record(&self, status: u16, phases: &Phases, bytes_in: u64, bytes_out: u64) {
        self.classes[class_of(status)].add(1);
        self.bytes_in.add(bytes_in);
        self.bytes_out.add(bytes_out);
        self.total.record(phases.total());
        for (histogram, spent) in self.phases.iter().zip(phases.durations()) {
            if !spent.is_zero() {
                histogram.record(spent);
            }
        }
    }

    /// Exchanges whose status begins with the digit `class`; 0: those without a response.
    pub fn requests(&self, class: usize) -> u64 {
        self.classes.get(class).map_or(0, Counter::get)
    }

    /// Counts a call of gRPC that has ended so. The owning worker only.
    pub fn count_call(&self, status: Status) {
        self.calls[usize::from(status.place())].add(1);
    }

    /// Calls of gRPC that ended with `status`.
    pub fn calls(&self, status: Status) -> u64 {
        self.calls[usize::from(status.place())].get()
    }

    /// Durations of `phase`.
    pub fn phase(&self, phase: Phase) -> &Histogram {
        &self.phases[phase as usize]
    }
}

fn class_of(status: u16) -> usize {
    match status {
        100..=599 => usize::from(status / 100),
        _ => 0,
    }
}

/// Counters and gauges of one worker, shared with the control plane.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    pub connections_accepted: Counter,
    pub connections_closed: Counter,
    /// Gauge: open downstream connections.
    pub connections_active: Counter,
    /// Accepted and closed at once because of a limit.
    pub connections_refused: Counter,
    /// Sockets that were opened while the process runs and that the driver has refused.
    pub listen_failures: Counter,
    /// PROXY headers of clients that were read.
    pub proxy_headers: Counter,
    /// Times that accepting paused because descriptors or connections ran out.
    pub accept_pauses: Counter,
    pub requests: Counter,
    pub retries: Counter,
    /// Requests that waited for the first health check of an upstream.
    pub held: Counter,
    /// Requests that were sent to a second endpoint because the first one was slow.
    pub hedges: Counter,
    /// Such requests that the second endpoint answered first.
    pub hedges_won: Counter,
    /// Attempts that found an idle upstream connection.
    pub pool_hits: Counter,
    /// Attempts that had to connect.
    pub pool_misses: Counter,
    /// Idle upstream connections that were found closed or with unexpected bytes.
    pub pool_stale: Counter,
    /// Attempts that took no idle connection because the endpoint was about to close it.
    pub races_retired: Counter,
    /// Attempts that did not take an idle connection because the kernel was asked and knew of its end.
    pub races_checked: Counter,
    /// Requests sent again only because the endpoint had closed the connection before it could see them.
    pub races_unseen: Counter,
    /// Gauge: idle upstream connections.
    pub pool_idle: Counter,
    /// Responses that bytes followed which belong to none.
    pub upstream_excess: Counter,
    /// Payload bytes of long bodies that went through a pipe, from socket to socket.
    pub spliced_bytes: Counter,
    /// Those that came after the head, were received into memory and sent from there.
    pub copied_bytes: Counter,
    /// Long bodies that were copied because no pipe was to be had.
    pub splice_no_pipe: Counter,
    /// Long bodies that were copied because the kernel refused to splice them.
    pub splice_unsupported: Counter,
    /// Header fields that were not forwarded because of their names.
    pub fields_dropped: Counter,
    /// Forwarding fields of trusted proxies that could not be believed.
    pub forwarded_refused: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    /// Access-log records that did not fit into the ring.
    pub log_dropped: Counter,
    /// Gauge: operations that the kernel has not completed.
    pub live_ops: Counter,
    /// Gauge: buffers that are lent out.
    pub leases_out: Counter,
    /// Gauge: open sockets.
    pub sockets: Counter,
    /// Gauge: open pipes.
    pub pipes: Counter,
    /// Gauge: tasks.
    pub tasks: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Nanoseconds spent in turns, without waiting for events.
    pub busy_nanos: Counter,
    /// Gauge: nanoseconds that the longest turn took.
    pub turn_longest_nanos: Counter,
    /// Gauge: generation of the snapshot in use.
    pub generation: Counter,
    /// What passes through tunnels.
    pub tunnels: crate::flow::Moved,
    /// What it sheds under pressure.
    pub shed: crate::overload::ShedStats,
    pub tls: TlsStats,
    /// What was decided lately.
    pub recent: Recent,
    /// Workers of this place that ended by themselves and were replaced. Counted while there is none.
    pub restarts: Counter,
    pub compression: crate::compression::CompressionStats,
    causes: Causes,
    closes: Causes,
    /// A test wants the worker to fail; release builds have nothing of it.
    #[cfg(debug_assertions)]
    stumbles: std::sync::atomic::AtomicBool,
}

/// Completed TLS handshakes of one worker.
#[derive(Debug, Default)]
pub struct TlsStats {
    pub downstream: Handshakes,
    pub upstream: Handshakes,
    /// Clients that offered a session which could not be resumed, and got a full handshake.
    pub resume_refused: Counter,
    /// Failed handshakes of clients; the causes are counted with the connections that ended.
    pub failed: Counter,
    /// Failed handshakes with endpoints; the causes are counted with the exchanges.
    pub upstream_failed: Counter,
}

/// Handshakes of one side.
#[derive(Debug, Default)]
pub struct Handshakes {
    pub full_12: Counter,
    pub full_13: Counter,
    pub resumed_12: Counter,
    pub resumed_13: Counter,
}

impl Handshakes {
    /// Counts one that has succeeded.
    pub fn count(&self, facts: &wire::secure::Facts) {
        let counter = match (facts.version == "TLSv1.3", facts.resumed) {
            (true, false) => &self.full_13,
            (true, true) => &self.resumed_13,
            (false, false) => &self.full_12,
            (false, true) => &self.resumed_12,
        };
        counter.add(1);
    }
}

/// One counter per cause.
#[derive(Debug)]
pub(crate) struct Causes([Counter; Cause::ALL.len()]);

impl Default for Causes {
    fn default() -> Self {
        Causes(std::array::from_fn(|_| Counter::default()))
    }
}

impl Causes {
    pub(crate) fn add(&self, cause: Cause) {
        self.0[cause as usize].add(1);
    }

    pub(crate) fn get(&self, cause: Cause) -> u64 {
        self.0[cause as usize].get()
    }
}

impl WorkerStats {
    /// A worker has ended by itself, and none has taken its place yet: what it had open is counted as closed, and held
    /// by nobody.
    pub fn abandon(&self, cause: Cause) {
        while self.connections_closed.get() < self.connections_accepted.get() {
            self.connections_closed.add(1);
            self.count_close(cause);
        }
        let gauges = [
            &self.connections_active,
            &self.pool_idle,
            &self.live_ops,
            &self.leases_out,
            &self.sockets,
            &self.pipes,
            &self.tasks,
        ];
        gauges.into_iter().for_each(|gauge| gauge.set(0));
        self.shed.turn_began.set(0);
    }

    /// The next attempt of the worker panics: how tests find out what becomes of its work.
    #[cfg(debug_assertions)]
    pub fn trip(&self) {
        self.stumbles.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Panics if a test has asked for it.
    #[cfg(debug_assertions)]
    pub fn stumble(&self) {
        let stumbles = self.stumbles.swap(false, std::sync::atomic::Ordering::Relaxed);
        assert!(!stumbles, "a panic that a test asked for");
    }

    /// Counts an exchange that we answered or ended for `cause`.
    pub fn count(&self, cause: Cause) {
        self.causes.add(cause);
    }

    /// How many exchanges `cause` was counted for.
    pub fn cause(&self, cause: Cause) -> u64 {
        self.causes.get(cause)
    }

    /// Counts a downstream connection that ended for `cause`.
    pub fn count_close(&self, cause: Cause) {
        self.closes.add(cause);
    }

    /// How many downstream connections ended for `cause`.
    pub fn closes(&self, cause: Cause) -> u64 {
        self.closes.get(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Instant;
    use base::stat::Totals;
    use std::time::Duration;

    #[test]
    fn shards_exist_only_for_workers_that_served() {
        let stats = RouteStats::new(4);
        let mut phases = Phases::new(Instant::ZERO);
        phases.mark(Phase::Wait, Instant::ZERO + Duration::from_millis(3));
        stats.shard(WorkerId(2)).record(200, &phases, 10, 20);
        stats.shard(WorkerId(2)).record(0, &phases, 1, 0);
        assert_eq!(stats.shards().count(), 1);
        let shard = stats.shard(WorkerId(2));
        assert_eq!((shard.requests(2), shard.requests(0), shard.requests(5)), (1, 1, 0));
        assert_eq!((shard.bytes_in.get(), shard.bytes_out.get()), (11, 20));
        let mut waits = Totals::default();
        shard.phase(Phase::Wait).merge_into(&mut waits);
        assert_eq!((waits.count(), waits.sum()), (2, Duration::from_millis(6)));
        let mut heads = Totals::default();
        shard.phase(Phase::Head).merge_into(&mut heads);
        assert_eq!(heads.count(), 0, "a phase that took no time did not happen");
    }

    #[test]
    fn what_a_worker_had_open_is_closed_when_it_is_gone() {
        let stats = WorkerStats::default();
        stats.connections_accepted.add(5);
        stats.connections_closed.add(2);
        stats.connections_active.set(3);
        stats.abandon(Cause::Internal);
        assert_eq!((stats.connections_closed.get(), stats.closes(Cause::Internal)), (5, 3));
        assert_eq!(stats.connections_active.get(), 0);
    }

    #[test]
    fn every_cause_has_a_counter() {
        let stats = WorkerStats::default();
        Cause::ALL.iter().for_each(|&cause| stats.count(cause));
        assert!(Cause::ALL.iter().all(|&cause| stats.cause(cause) == 1));
    }
}
