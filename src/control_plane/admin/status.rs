//! `/v1/status`: what is running and how it is doing, for people and for `ringway status`.

use crate::node::Node;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use traffic::Cause;
use traffic::stats::WorkerStats;
use traffic::udp::{Lost, UdpShard};

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    pid: u32,
    /// Seconds since the Unix epoch.
    started_unix: u64,
    uptime_seconds: u64,
    ready: bool,
    reasons: Vec<String>,
    draining: bool,
    /// Left out while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Drain>,
    generation: u64,
    generations: Generations,
    config: Config,
    /// Left out where nobody speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    driver: Driver,
    listeners: Vec<Listener>,
    connections: Connections,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    udp: Vec<Udp>,
    requests: u64,
    workers: Vec<Worker>,
    overload: super::overload::Overload,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<crate::budget::Budget>,
    access_log: Option<AccessLog>,
}

/// A graceful stop.
#[derive(Serialize)]
struct Drain {
    /// `announced` or `begun`.
    state: &'static str,
    /// How long connections are still accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_left_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Generations {
    /// In memory: the one in force, and those that some exchange still uses.
    alive: u64,
    /// Put into force since the start.
    deployed: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// What is in force, and how the last change went.
#[derive(Serialize)]
struct Config {
    hash: String,
    /// The file, or who sent it.
    source: String,
    /// Seconds since the Unix epoch.
    since_unix: u64,
    reloads: BTreeMap<&'static str, u64>,
    /// When another one was asked for last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reload_unix: Option<u64>,
    /// Why that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refused: Option<String>,
    /// What counts only after a restart.
    at_restart: Vec<String>,
}

/// What is known of TLS.
#[derive(Serialize)]
struct Tls {
    certificates: Vec<Certificate>,
    /// Upstreams whose endpoints may show any certificate.
    insecure_upstreams: Vec<String>,
}

#[derive(Serialize)]
struct Certificate {
    /// Of the listener or the upstream.
    name: String,
    file: String,
    /// Seconds since the Unix epoch.
    not_after_unix: i64,
    expires_days: i64,
    /// Why what the files hold now is not in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_failed: Option<String>,
}

fn tls(node: &Node) -> Option<Tls> {
    let shown = node.secrets().map(|secrets| secrets.shown()).unwrap_or_default();
    let config = Arc::clone(&node.in_force().config);
    let insecure =
        config.upstreams.iter().filter(|upstream| upstream.tls.as_ref().is_some_and(|tls| tls.insecure));
    let tls = Tls {
        certificates: shown
            .into_iter()
            .map(|one| Certificate {
                name: format!("{} \"{}\"", one.of, one.name),
                file: one.file,
                not_after_unix: one.not_after,
                expires_days: (one.not_after - crate::certificates::now()).div_euclid(86_400),
                renewal_failed: one.trouble.map(|why| why.to_string()),
            })
            .collect(),
        insecure_upstreams: insecure.map(|upstream| upstream.name.clone()).collect(),
    };
    (!tls.certificates.is_empty() || !tls.insecure_upstreams.is_empty()).then_some(tls)
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    address: String,
    kind: &'static str,
    /// Of a TCP listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<super::flows::Flows>,
}

#[derive(Serialize)]
struct Connections {
    active: u64,
    /// Bound of `active` over all workers.
    max: u64,
    accepted: u64,
    closed: u64,
    refused: u64,
}

/// What passes through one UDP listener.
#[derive(Serialize)]
struct Udp {
    listener: String,
    flows: u64,
    /// Bound of `flows` over all workers.
    flows_max: u64,
    opened: u64,
    closed: u64,
    moved: u64,
    refused: u64,
    datagrams_in: u64,
    datagrams_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Datagrams that were not passed on, by reason.
    lost: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Worker {
    id: usize,
    generation: u64,
    connections: u64,
    requests: u64,
    retries: u64,
    /// How often it ended by itself and another one took its place.
    restarts: u64,
    pool_idle: u64,
    live_ops: u64,
    leases: u64,
    sockets: u64,
    tasks: u64,
    turns: u64,
    /// Time spent in turns, without waiting for events.
    busy_us: u64,
    turn_longest_us: u64,
    log_dropped: u64,
}

#[derive(Serialize)]
struct AccessLog {
    lines: u64,
    dropped: u64,
    failing: bool,
}

pub(super) async fn status(State(node): State<Arc<Node>>) -> Json<Status> {
    Json(collect(&node))
}

fn collect(node: &Node) -> Status {
    let (facts, snapshot) = (&node.facts, node.snapshot());
    let sum = |read: fn(&WorkerStats) -> u64| node.stats.iter().map(|worker| read(worker)).sum::<u64>();
    let reasons = super::reasons(node);
    let seconds = |time: Result<Duration, _>| time.map_or(0, |time: Duration| time.as_secs());
    Status {
        version: facts.version,
        pid: facts.pid,
        started_unix: seconds(facts.started.duration_since(UNIX_EPOCH)),
        uptime_seconds: seconds(SystemTime::now().duration_since(facts.started)),
        ready: reasons.is_empty(),
        reasons,
        draining: node.is_draining(),
        drain: drain(node),
        generation: snapshot.generation,
        generations: Generations {
            alive: node.deployed.alive(),
            deployed: node.deployed.deployed(),
            failed: node.deployed.failed(),
            last_error: node.deployed.last_error(),
        },
        config: config(node),
        tls: tls(node),
        driver: Driver { name: facts.driver, reason: facts.driver_reason.clone() },
        listeners: node
            .listening()
            .iter()
            .map(|(name, address)| listener(&snapshot, name, address.to_string()))
            .collect(),
        connections: Connections {
            active: sum(|worker| worker.connections_active.get()),
            max: u64::from(snapshot.limits.connections_max) * facts.workers as u64,
            accepted: sum(|worker| worker.connections_accepted.get()),
            closed: sum(|worker| worker.connections_closed.get()),
            refused: sum(|worker| worker.connections_refused.get()),
        },
        udp: snapshot.listeners.iter().filter_map(|listener| of_udp(listener, facts.workers)).collect(),
        requests: sum(|worker| worker.requests.get()),
        workers: node.stats.iter().enumerate().map(|(id, worker)| of_worker(id, worker)).collect(),
        overload: super::overload::collect(node),
        budget: super::overload::budget(node),
        access_log: node.access_log.as_deref().map(|log| AccessLog {
            lines: log.lines(),
            dropped: log.dropped() + sum(|worker| worker.log_dropped.get()),
            failing: log.is_in_trouble(),
        }),
    }
}

fn drain(node: &Node) -> Option<Drain> {
    let draining = node.draining();
    let pause = draining.pause_left().map(|left| left.as_secs_f64().ceil());
    Some(Drain { state: draining.name()?, pause_left_seconds: pause })
}

fn config(node: &Node) -> Config {
    let (in_force, last) = (node.in_force(), node.reloads.last());
    let unix = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Config {
        hash: in_force.hash.to_string(),
        source: in_force.source.clone(),
        since_unix: unix(in_force.since),
        reloads: node.reloads.counts().into(),
        last_reload_unix: last.as_ref().map(|last| unix(last.at)),
        last_refused: last.and_then(|last| last.refused),
        at_restart: in_force.at_restart.clone(),
    }
}

fn listener(snapshot: &traffic::Snapshot, name: &str, address: String) -> Listener {
    let compiled =
        snapshot.listeners.iter().find(|listener| !listener.is_closed() && &*listener.name == name);
    let passthrough = compiled.and_then(|listener| listener.passthrough());
    Listener {
        name: name.to_owned(),
        address,
        kind: match compiled.map(|listener| &listener.kind) {
            Some(traffic::snapshot::Kind::Tcp(_)) => "tcp",
            Some(traffic::snapshot::Kind::Udp(_)) => "udp",
            Some(traffic::snapshot::Kind::Http) | None => "http",
        },
        flows: passthrough.map(|passthrough| super::flows::collect(snapshot, passthrough)),
    }
}

fn of_udp(listener: &traffic::snapshot::Listener, workers: usize) -> Option<Udp> {
    let datagrams = listener.datagrams().filter(|_| !listener.is_closed())?;
    let stats = &datagrams.stats;
    let refused = |shard: &UdpShard| Cause::ALL.iter().map(|&cause| shard.refused(cause)).sum();
    let lost = Lost::ALL.into_iter().map(|lost| (lost.name(), stats.sum(|shard| shard.lost(lost))));
    Some(Udp {
        listener: listener.name.to_string(),
        flows: stats.open(),
        flows_max: u64::from(datagrams.flows_max) * workers as u64,
        opened: stats.sum(|shard| shard.opened.get()),
        closed: stats.sum(|shard| shard.closed.get()),
        moved: stats.sum(|shard| shard.moved.get()),
        refused: stats.sum(refused),
        datagrams_in: stats.sum(|shard| shard.datagrams_in.get()),
        datagrams_out: stats.sum(|shard| shard.datagrams_out.get()),
        bytes_in: stats.sum(|shard| shard.bytes_in.get()),
        bytes_out: stats.sum(|shard| shard.bytes_out.get()),
        lost: lost.collect(),
    })
}

fn of_worker(id: usize, worker: &WorkerStats) -> Worker {
    Worker {
        id,
        generation: worker.generation.get(),
        connections: worker.connections_active.get(),
        requests: worker.requests.get(),
        retries: worker.retries.get(),
        restarts: worker.restarts.get(),
        pool_idle: worker.pool_idle.get(),
        live_ops: worker.live_ops.get(),
        leases: worker.leases_out.get(),
        sockets: worker.sockets.get(),
        tasks: worker.tasks.get(),
        turns: worker.turns.get(),
        busy_us: worker.busy_nanos.get() / 1000,
        turn_longest_us: worker.turn_longest_nanos.get() / 1000,
        log_dropped: worker.log_dropped.get(),
    }
}
