//! Which metrics there are. Every name begins with `ringway_`, except those of the process, which have standard names.
//!
//! Nothing is kept here: each scrape reads the shards of the workers and the cells of the endpoints as they are. The
//! number of series is bounded by the configuration and by the closed list of causes; clients cannot add any.

pub(crate) use super::exposition::Format;

use super::exposition::{Exposition, Kind};
use super::process::Process;
use crate::names::NameState;
use crate::node::Node;
use base::stat::{Counter, Histogram, Totals};
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};
use traffic::grpc::Status;
use traffic::health::Service;
use traffic::snapshot::{Endpoint, Snapshot, Upstream};
use traffic::stats::WorkerStats;
use traffic::{Cause, Phase};

/// All metrics of this moment.
pub(crate) fn collect(node: &Node, format: Format) -> String {
    let snapshot = node.snapshot();
    let mut out = Exposition::new(format);
    build(&mut out, node, &snapshot);
    generations(&mut out, node);
    requests(&mut out, &snapshot);
    calls(&mut out, &snapshot);
    durations(&mut out, &snapshot);
    causes(&mut out, node);
    workers(&mut out, node);
    super::overload::families(&mut out, node);
    upstreams(&mut out, node, &snapshot);
    endpoints(&mut out, node, &snapshot);
    super::flows::collect(&mut out, node, &snapshot);
    super::datagrams::collect(&mut out, &snapshot);
    super::balance::balance(&mut out, &snapshot);
    super::balance::access(&mut out, &snapshot);
    super::callers::collect(&mut out, node, &snapshot);
    super::limits::collect(&mut out, &snapshot, node.now());
    super::compression::collect(&mut out, node, &snapshot);
    super::caches::collect(&mut out, &snapshot);
    super::admission::collect(&mut out, &snapshot, node.now());
    idle_connections(&mut out, node, &snapshot);
    hedging(&mut out, &snapshot);
    states(&mut out, node, &snapshot);
    checks(&mut out, node);
    names(&mut out, node);
    super::tls::collect(&mut out, node);
    access_log(&mut out, node);
    process(&mut out, node);
    out.finish()
}

fn build(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    let facts = &node.facts;
    out.family("ringway_build_info", Kind::Gauge, "Version of Ringway; always 1.")
        .whole(&[("version", facts.version)], 1);
    out.family("ringway_driver_info", Kind::Gauge, "The I/O driver of the workers; always 1.")
        .whole(&[("driver", facts.driver)], 1);
    out.family("ringway_workers", Kind::Gauge, "Worker threads.").whole(&[], facts.workers as u64);
    let max = u64::from(snapshot.limits.connections_max) * facts.workers as u64;
    out.family("ringway_connections_max", Kind::Gauge, "Bound of open downstream connections.")
        .whole(&[], max);
    out.family("ringway_config_generation", Kind::Gauge, "Generation of the configuration in force.")
        .whole(&[], snapshot.generation);
    out.family("ringway_ready", Kind::Gauge, "1 while /ready says yes.")
        .whole(&[], u64::from(crate::admin::reasons(node).is_empty()));
}

fn generations(out: &mut Exposition, node: &Node) {
    let figures = &node.deployed;
    out.family("ringway_generations_alive", Kind::Gauge, "Generations in memory: in force, or still used.")
        .whole(&[], figures.alive());
    out.family("ringway_generations_deployed", Kind::Counter, "Generations put into force since the start.")
        .whole(&[], figures.deployed());
    out.family("ringway_generations_failed", Kind::Counter, "Generations that could not be made.")
        .whole(&[], figures.failed());
    let help = "From beginning to compile the last generation to its being in force.";
    out.family("ringway_generation_seconds", Kind::Gauge, help).real(&[], figures.last().as_secs_f64());
    configuration(out, node);
}

fn configuration(out: &mut Exposition, node: &Node) {
    let (in_force, last) = (node.in_force(), node.reloads.last());
    out.family("ringway_config_info", Kind::Gauge, "Hash of the configuration in force; always 1.")
        .whole(&[("hash", &in_force.hash)], 1);
    let since = in_force.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "When the configuration in force came into force.";
    out.family("ringway_config_since_timestamp_seconds", Kind::Gauge, help).real(&[], since.as_secs_f64());
    let help = "Times that another configuration was to be put into force, by what became of it.";
    let mut family = out.family("ringway_config_reloads", Kind::Counter, help);
    for (result, count) in node.reloads.counts() {
        family.whole(&[("result", result)], count);
    }
    let help = "1 unless the last configuration that was to be put into force was refused.";
    let good = last.is_none_or(|last| last.refused.is_none());
    out.family("ringway_config_last_reload_successful", Kind::Gauge, help).whole(&[], u64::from(good));
    let help = "Settings of the configuration in force that count only after a restart.";
    out.family("ringway_config_at_restart", Kind::Gauge, help).whole(&[], in_force.at_restart.len() as u64);
}

fn requests(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Finished exchanges by route and status class; `none` is without a response.";
    let mut family = out.family("ringway_requests", Kind::Counter, help);
    for route in &snapshot.routes {
        for (class, name) in CLASSES {
            let count: u64 = route.stats.shards().map(|shard| shard.requests(class)).sum();
            if count > 0 || name == "2xx" {
                family.whole(&[("route", &route.name), ("code", name)], count);
            }
        }
    }
    let mut family =
        out.family("ringway_received_bytes", Kind::Counter, "Payload bytes of request bodies, by route.");
    for route in &snapshot.routes {
        let bytes = route.stats.shards().map(|shard| shard.bytes_in.get()).sum();
        family.whole(&[("route", &route.name)], bytes);
    }
    let mut family =
        out.family("ringway_sent_bytes", Kind::Counter, "Payload bytes of response bodies, by route.");
    for route in &snapshot.routes {
        let bytes = route.stats.shards().map(|shard| shard.bytes_out.get()).sum();
        family.whole(&[("route", &route.name)], bytes);
    }
}

/// Calls of gRPC: their status of HTTP says nothing.
fn calls(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Calls of gRPC by route and the status that they ended with.";
    let mut family = out.family("ringway_grpc_calls", Kind::Counter, help);
    for route in &snapshot.routes {
        for status in Status::all() {
            let count: u64 = route.stats.shards().map(|shard| shard.calls(status)).sum();
            if count > 0 {
                family.whole(&[("route", &route.name), ("grpc_status", status.name())], count);
            }
        }
    }
}

/// Status classes as the shards count them.
const CLASSES: [(usize, &str); 6] = [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx"), (0, "none")];

fn durations(out: &mut Exposition, snapshot: &Snapshot) {
    let help =
        "Time of whole exchanges by route, from the first byte of the request to the last of the response.";
    let mut family = out.family("ringway_request_seconds", Kind::Histogram, help);
    for route in &snapshot.routes {
        let totals = merged(route.stats.shards().map(|shard| &shard.total));
        let (buckets, count) = buckets(&totals, 1);
        family.histogram(&[("route", &route.name)], &buckets, count, totals.sum().as_secs_f64());
    }
    let help = "Time of exchanges by route and phase; the phases of an exchange add up to its whole time.";
    let mut family = out.family("ringway_request_phase_seconds", Kind::Histogram, help);
    for route in &snapshot.routes {
        for phase in Phase::ALL {
            let totals = merged(route.stats.shards().map(|shard| shard.phase(phase)));
            let (buckets, count) = buckets(&totals, 2);
            if count > 0 {
                let labels = [("route", &*route.name), ("phase", phase.name())];
                family.histogram(&labels, &buckets, count, totals.sum().as_secs_f64());
            }
        }
    }
}

fn merged<'a>(shards: impl Iterator<Item = &'a Histogram>) -> Totals {
    let mut totals = Totals::default();
    shards.for_each(|shard| shard.merge_into(&mut totals));
    totals
}

/// Bounds at powers of two (or at every `step`th), which the recorded histograms know exactly, and the number of all
/// values.
fn buckets(totals: &Totals, step: usize) -> (Vec<(f64, u64)>, u64) {
    let bounds = (FIRST_BOUND..=LAST_BOUND).step_by(step).map(|exponent| {
        // Durations are recorded in whole microseconds: what is below 2^n is at most 2^n - 1.
        let micros = 1u64 << exponent;
        (Duration::from_micros(micros).as_secs_f64(), totals.at_most(micros - 1))
    });
    let buckets: Vec<_> = bounds.collect();
    // Recording goes on while we read: the count must not be below the last bucket.
    let last = buckets.last().map_or(0, |(_, at_most)| *at_most);
    (buckets, totals.count().max(last))
}

/// 2^6 us = 64 us.
const FIRST_BOUND: u32 = 6;
/// 2^26 us = 67 s.
const LAST_BOUND: u32 = 26;

/// Why exchanges and connections ended: one family each, since the end of a connection often follows an exchange that
/// was counted already.
fn causes(out: &mut Exposition, node: &Node) {
    type Read = fn(&WorkerStats, Cause) -> u64;
    let families: [(&str, &str, Read); 2] = [
        (
            "ringway_causes",
            "Exchanges that Ringway answered itself or that did not complete, by cause.",
            |worker, cause| worker.cause(cause),
        ),
        ("ringway_connections_ended", "Client connections that ended, by cause.", |worker, cause| {
            worker.closes(cause)
        }),
    ];
    for (name, help, read) in families {
        let mut family = out.family(name, Kind::Counter, help);
        for &cause in Cause::ALL {
            let count = node.stats.iter().map(|worker| read(worker, cause)).sum();
            let (side, stage) = (format!("{:?}", cause.side()), format!("{:?}", cause.stage()));
            let labels = [
                ("cause", cause.name()),
                ("side", &side.to_ascii_lowercase()),
                ("stage", &stage.to_ascii_lowercase()),
            ];
            family.whole(&labels, count);
        }
    }
}

/// A number of each worker: name, what it says, and where it stands.
type OfWorker = (&'static str, &'static str, fn(&WorkerStats) -> &Counter);

const COUNTERS: &[OfWorker] = &[
    ("ringway_connections_accepted", "Downstream connections accepted.", |w| &w.connections_accepted),
    ("ringway_connections_closed", "Downstream connections closed.", |w| &w.connections_closed),
    ("ringway_listen_failures", "Listening sockets of later generations that a worker could not use.", |w| {
        &w.listen_failures
    }),
    ("ringway_connections_refused", "Connections closed at once because of a limit.", |w| {
        &w.connections_refused
    }),
    ("ringway_proxy_headers", "PROXY headers of clients that were read.", |w| &w.proxy_headers),
    ("ringway_accept_pauses", "Times that accepting paused for lack of room.", |w| &w.accept_pauses),
    ("ringway_worker_requests", "Requests by worker.", |w| &w.requests),
    ("ringway_worker_restarts", "Workers that ended by themselves and were replaced.", |w| &w.restarts),
    ("ringway_retries", "Attempts that repeated a failed one.", |w| &w.retries),
    ("ringway_balance_held", "Requests that waited for the first health check of an upstream.", |w| &w.held),
    ("ringway_hedges", "Requests sent to a second endpoint because the first one was slow.", |w| &w.hedges),
    ("ringway_hedges_won", "Such requests that the second endpoint answered first.", |w| &w.hedges_won),
    ("ringway_pool_hits", "Attempts that found an idle upstream connection.", |w| &w.pool_hits),
    ("ringway_pool_misses", "Attempts that had to connect.", |w| &w.pool_misses),
    ("ringway_pool_stale", "Idle upstream connections that turned out to be closed.", |w| &w.pool_stale),
    ("ringway_upstream_excess", "Responses that bytes followed which belong to none.", |w| {
        &w.upstream_excess
    }),
    ("ringway_spliced_bytes", "Bytes of long bodies passed on by the kernel.", |w| &w.spliced_bytes),
    ("ringway_copied_bytes", "Bytes of bodies, after what came with the head, that were copied.", |w| {
        &w.copied_bytes
    }),
    ("ringway_splice_no_pipe", "Long bodies copied because no pipe was free.", |w| &w.splice_no_pipe),
    ("ringway_splice_unsupported", "Long bodies copied because the kernel refused to splice.", |w| {
        &w.splice_unsupported
    }),
    ("ringway_fields_dropped", "Header fields not forwarded because of their names.", |w| &w.fields_dropped),
    ("ringway_forwarded_refused", "Forwarding fields of trusted proxies not believed.", |w| {
        &w.forwarded_refused
    }),
    ("ringway_decisions_kept", "Finished exchanges that were remembered for `ringway why`.", |w| {
        &w.recent.kept
    }),
    ("ringway_decisions_missed", "Those that were not, because somebody was reading.", |w| &w.recent.missed),
    ("ringway_worker_turns", "Turns of the worker's loop.", |w| &w.turns),
];

const GAUGES: &[OfWorker] = &[
    ("ringway_connections", "Open downstream connections.", |w| &w.connections_active),
    ("ringway_pool_idle", "Idle upstream connections.", |w| &w.pool_idle),
    ("ringway_worker_live_ops", "Operations that the kernel has not completed.", |w| &w.live_ops),
    ("ringway_worker_leases", "Buffers lent out.", |w| &w.leases_out),
    ("ringway_worker_sockets", "Open sockets.", |w| &w.sockets),
    ("ringway_worker_pipes", "Open pipes.", |w| &w.pipes),
    ("ringway_worker_tasks", "Tasks.", |w| &w.tasks),
    ("ringway_worker_generation", "Generation of the configuration that the worker uses.", |w| &w.generation),
];

fn workers(out: &mut Exposition, node: &Node) {
    for (kind, table) in [(Kind::Counter, COUNTERS), (Kind::Gauge, GAUGES)] {
        for (name, help, read) in table {
            let mut family = out.family(name, kind, help);
            for (worker, stats) in node.stats.iter().enumerate() {
                family.whole(&[("worker", &worker.to_string())], read(stats).get());
            }
        }
    }
    let help = "Time that the worker spent in turns of its loop; the rest it waited.";
    let mut family = out.family("ringway_worker_busy_seconds", Kind::Counter, help);
    for (worker, stats) in node.stats.iter().enumerate() {
        let busy = Duration::from_nanos(stats.busy_nanos.get());
        family.real(&[("worker", &worker.to_string())], busy.as_secs_f64());
    }
    let help = "The longest turn of the worker's loop.";
    let mut family = out.family("ringway_worker_turn_longest_seconds", Kind::Gauge, help);
    for (worker, stats) in node.stats.iter().enumerate() {
        let longest = Duration::from_nanos(stats.turn_longest_nanos.get());
        family.real(&[("worker", &worker.to_string())], longest.as_secs_f64());
    }
}

fn endpoints(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    let now = node.now();
    type Read<'r> = (&'r str, Kind, &'r str, &'r dyn Fn(&Endpoint) -> f64);
    let families: [Read<'_>; 8] = [
        (
            "ringway_endpoint_up",
            Kind::Gauge,
            "1 while the endpoint may get traffic, by checks, by ejection and by what operators ask for.",
            &|endpoint| f64::from(u8::from(endpoint.cell.is_available(now))),
        ),
        (
            "ringway_endpoint_out_of_service",
            Kind::Gauge,
            "1 while an operator drains the endpoint or has it down.",
            &|endpoint| f64::from(u8::from(endpoint.cell.service() != Service::Ready)),
        ),
        ("ringway_endpoint_weight", Kind::Gauge, "Weight in force.", &|endpoint| endpoint.weight.into()),
        ("ringway_endpoint_in_flight", Kind::Gauge, "Attempts that have not ended.", &|endpoint| {
            f64::from(endpoint.cell.in_flight())
        }),
        (
            "ringway_endpoint_latency_seconds",
            Kind::Gauge,
            "Peak-sensitive average until the first byte.",
            &|endpoint| endpoint.cell.ewma().as_secs_f64(),
        ),
        ("ringway_endpoint_requests", Kind::Counter, "Attempts begun.", &|endpoint| {
            count(endpoint.cell.requests())
        }),
        ("ringway_endpoint_failures", Kind::Counter, "Attempts without a usable response.", &|endpoint| {
            count(endpoint.cell.failures())
        }),
        (
            "ringway_endpoint_ejections",
            Kind::Counter,
            "Ejections because of what traffic showed.",
            &|endpoint| count(endpoint.cell.ejected_ever()),
        ),
    ];
    for (name, kind, help, read) in families {
        let mut family = out.family(name, kind, help);
        for (upstream, endpoint) in all_endpoints(snapshot) {
            family.real(&[("upstream", &upstream.name), ("endpoint", &endpoint.text)], read(endpoint));
        }
    }
}

fn names(out: &mut Exposition, node: &Node) {
    let (names, now) = (node.names.all(), node.now());
    type Read<'r> = (&'r str, Kind, &'r str, &'r dyn Fn(&NameState) -> u64);
    let families: [Read<'_>; 6] = [
        ("ringway_name_addresses", Kind::Gauge, "Addresses that the name stands for.", &|name| {
            name.addresses.len() as u64
        }),
        ("ringway_name_failing", Kind::Gauge, "1 while the name cannot be resolved.", &|name| {
            u64::from(name.failing.is_some())
        }),
        ("ringway_name_ttl_seconds", Kind::Gauge, "How long the last answer still counts.", &|name| {
            name.valid_until.map_or(0, |until| until.since(now).as_secs())
        }),
        ("ringway_name_answers", Kind::Counter, "Look-ups that were answered.", &|name| name.answers),
        ("ringway_name_failures", Kind::Counter, "Look-ups of which a part or all failed.", &|name| {
            name.failures
        }),
        ("ringway_name_changes", Kind::Counter, "Answers that changed the addresses.", &|name| name.changes),
    ];
    for (metric, kind, help, read) in families {
        let mut family = out.family(metric, kind, help);
        for ((upstream, name), state) in &names {
            family.whole(&[("upstream", upstream), ("name", name)], read(state));
        }
    }
}

/// Which of its states each endpoint is in.
fn states(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    let now = node.now();
    let mut family =
        out.family("ringway_endpoint_state", Kind::Gauge, "The state of the endpoint; always 1.");
    for (upstream, endpoint) in all_endpoints(snapshot) {
        let state = endpoint.cell.state_name(now);
        let labels = [("upstream", &*upstream.name), ("endpoint", &*endpoint.text), ("state", state)];
        family.whole(&labels, 1);
    }
}

fn checks(out: &mut Exposition, node: &Node) {
    let help = "Health checks that ended, by result; `void` are those for which this node lacked time or descriptors.";
    let mut family = out.family("ringway_health_checks", Kind::Counter, help);
    let counts = &node.checks;
    for (result, count) in [("passed", &counts.passed), ("failed", &counts.failed), ("void", &counts.void)] {
        family.whole(&[("result", result)], count.load(Ordering::Relaxed));
    }
    let help = "How long the health check that waits longest has been due.";
    out.family("ringway_health_check_lag_seconds", Kind::Gauge, help)
        .real(&[], node.board.lag(node.now()).as_secs_f64());
}

fn upstreams(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    let help = "1 while too few endpoints are healthy to be believed and all are used.";
    let mut family = out.family("ringway_panic_active", Kind::Gauge, help);
    for upstream in &snapshot.upstreams {
        let panics = upstream.balancer.panics(node.now());
        family.whole(&[("upstream", &upstream.name)], panics.into());
    }
    let mut family = out.family("ringway_panics", Kind::Counter, "Times that such a state began.");
    for upstream in &snapshot.upstreams {
        family.whole(&[("upstream", &upstream.name)], node.panics.begun(&upstream.name));
    }
    let help = "Choices made among all endpoints because too few were healthy to be believed.";
    let mut family = out.family("ringway_balance_failed_open", Kind::Counter, help);
    for upstream in &snapshot.upstreams {
        family.whole(&[("upstream", &upstream.name)], upstream.balancer.failed_open());
    }
    let help = "Retries that the budget did not allow.";
    let mut family = out.family("ringway_retries_refused", Kind::Counter, help);
    for upstream in &snapshot.upstreams {
        family.whole(&[("upstream", &upstream.name)], upstream.budget.refused());
    }
}

/// After how long routes with a hedge ask a second endpoint.
fn hedging(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Time after which a second endpoint is asked, fixed or learned, by route.";
    let mut family = out.family("ringway_hedge_delay_seconds", Kind::Gauge, help);
    for route in &snapshot.routes {
        let delay = route.hedge.and_then(|hedge| hedge.delay(&route.stats.hedge_delay));
        if let Some(delay) = delay {
            family.real(&[("route", &route.name)], delay.as_secs_f64());
        }
    }
}

/// What keeps requests off connections that endpoints close for idleness.
fn idle_connections(out: &mut Exposition, node: &Node, snapshot: &Snapshot) {
    let help = "How long the endpoint keeps an idle connection, once that was learned.";
    let mut family = out.family("ringway_endpoint_idle_timeout_seconds", Kind::Gauge, help);
    for (upstream, endpoint) in all_endpoints(snapshot) {
        if let Some(known) = endpoint.cell.idle_timeout().known() {
            let labels = [("upstream", &*upstream.name), ("endpoint", &*endpoint.text)];
            family.real(&labels, known.as_secs_f64());
        }
    }
    type Read = fn(&WorkerStats) -> &Counter;
    let ways: [(&str, Read); 3] = [
        ("retired", |worker| &worker.races_retired),
        ("checked", |worker| &worker.races_checked),
        ("unacked", |worker| &worker.races_unseen),
    ];
    let help = "Attempts kept off connections that the endpoint was closing, or repeated because it had closed them \
                before the request came.";
    let mut family = out.family("ringway_upstream_races_avoided", Kind::Counter, help);
    for (how, read) in ways {
        family.whole(&[("how", how)], node.stats.iter().map(|worker| read(worker).get()).sum());
    }
}

fn all_endpoints(snapshot: &Snapshot) -> impl Iterator<Item = (&Upstream, &Endpoint)> {
    snapshot
        .upstreams
        .iter()
        .flat_map(|upstream| upstream.endpoints.iter().map(move |endpoint| (upstream, endpoint)))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, as in Prometheus itself")]
fn count(events: u64) -> f64 {
    events as f64
}

fn access_log(out: &mut Exposition, node: &Node) {
    let full: u64 = node.stats.iter().map(|worker| worker.log_dropped.get()).sum();
    let log = node.access_log.as_deref();
    let mut family =
        out.family("ringway_log_dropped", Kind::Counter, "Access-log records dropped, by reason.");
    family.whole(&[("reason", "ring_full")], full);
    family.whole(&[("reason", "write_failed")], log.map_or(0, |log| log.dropped()));
    out.family("ringway_log_lines", Kind::Counter, "Access-log lines made.")
        .whole(&[], log.map_or(0, |log| log.lines()));
    out.family("ringway_log_failing", Kind::Gauge, "1 while the access log cannot be written.")
        .whole(&[], log.map_or(0, |log| u64::from(log.is_in_trouble())));
}

fn process(out: &mut Exposition, node: &Node) {
    let process = Process::read();
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        ("process_open_fds", "Open descriptors.", process.open_fds),
        ("process_max_fds", "Limit of open descriptors.", process.max_fds),
        ("process_threads", "Threads.", process.threads),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            out.family(name, Kind::Gauge, help).whole(&[], value);
        }
    }
    let started = node.facts.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.family("process_start_time_seconds", Kind::Gauge, "Start of the process since the Unix epoch.")
        .real(&[], started.as_secs_f64());
}
