//! From a configuration to a serving process, in the order in which failing is cheapest: nothing is bound before the
//! configuration is good, no thread runs before everything is bound.
//!
//! configuration → snapshot → driver → sockets → control plane → workers → `listening on …`

use crate::capacity;
use crate::check::{self, Ready};
use crate::cpu::Cpus;
use crate::egress;
use crate::exit::{Exit, complain, say};
use crate::listen::Sockets;
use crate::memory;
use crate::passed::Passed;
use crate::shelf::Shelf;
use crate::version::VERSION;
use crate::workers::{Endings, Prepared, Remotes, Workers};
use base::addr::Addr;
use base::ids::WorkerId;
use base::publish::{Publisher, Subscriber};
use base::spsc::{Consumer, Producer};
use config::{Address, Config, model};
use control_plane::{Budget, ControlPlane, DoesNotFit, NodeFacts};
use data_plane::WorkerStart;
use runtime::{IoChoice, Selection};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use traffic::Snapshot;
use traffic::overload::{self, Supply};
use traffic::stats::WorkerStats;

/// A serving process. Its parts end in `serve`.
pub(crate) struct Node {
    pub(crate) control: ControlPlane,
    pub(crate) workers: Workers,
    pub(crate) endings: Endings,
    /// By worker.
    pub(crate) stats: Vec<Arc<WorkerStats>>,
    /// Name of each listener with each address that it really listens on.
    pub(crate) listeners: Vec<(String, Addr)>,
    pub(crate) shelf: Shelf,
    /// By worker.
    estates: Vec<Estate>,
    stop: Arc<data_plane::Stop>,
    shared: Arc<overload::Node>,
}

/// What the next worker of a place needs when one has ended by itself.
struct Estate {
    cpu: Option<usize>,
    snapshots: base::publish::Heir<Snapshot>,
    log: base::spsc::Heir,
}

impl Node {
    /// Starts another worker in place of one that has ended: with its sockets, its mailboxes and its figures, and without
    /// its connections.
    pub(crate) fn replace(&mut self, id: WorkerId) -> io::Result<()> {
        let (estate, stats) = (&self.estates[id.index()], &self.stats[id.index()]);
        let snapshot = self.control.snapshot();
        let held = || io::Error::other("its mailboxes are held by what it has left");
        let snapshots = estate.snapshots.inherit().ok_or_else(held)?;
        let log = estate.log.inherit().ok_or_else(held)?;
        data_plane::settle(id, &snapshot, stats, &self.shared);
        let (listening, arrivals) = self.shelf.again(id, &snapshot)?;
        stats.restarts.add(1);
        let start = WorkerStart {
            id,
            snapshot,
            snapshots,
            listening,
            arrivals,
            stats: Arc::clone(stats),
            log,
            stop: Arc::clone(&self.stop),
            node: Arc::clone(&self.shared),
            seed: RandomState::new().hash_one(id.0),
        };
        self.workers.replace(Prepared { start, cpu: estate.cpu })
    }
}

/// Where the configuration comes from.
#[derive(Default)]
pub(crate) struct From<'a> {
    /// `None` when it stands in no file.
    pub(crate) file: Option<&'a Path>,
    /// Read it again when it changes.
    pub(crate) watch: bool,
    /// Keep what is in force in this directory.
    pub(crate) last_good: Option<&'a Path>,
    /// Why it was taken from there.
    pub(crate) broken: Option<String>,
}

/// Starts everything; what keeps it from starting has been printed.
pub(crate) fn start(loaded: config::Loaded, from: From<'_>) -> Result<Node, Exit> {
    let started = SystemTime::now();
    let cpus = Cpus::detect();
    let workers = match loaded.config.workers {
        model::Workers::Auto => cpus.workers(),
        model::Workers::Count(count) => usize::from(count.get()),
    };
    let Ready { config, snapshot, secrets, .. } = ready(loaded, workers)?;
    if secrets.holds_keys() {
        // Whoever gets a core of this process gets the keys. There is nothing to be done about a kernel that refuses.
        let _ = runtime::host::forbid_dumps();
    }
    let (snapshot, budget, supply) = bounded(snapshot, workers, &config)?;
    let snapshot = Arc::new(snapshot);
    let shared = Arc::new(overload::Node::new(supply, workers));
    let selection = probe(&config)?;
    sources(&snapshot)?;
    let (ushers, arrivals): (Vec<_>, Vec<_>) = (0..workers).map(|_| data_plane::arrivals()).unzip();
    let passed = Passed::take().map_err(|error| complain(Exit::Failed, error, Some(PASSED_RIGHT)))?;
    let shelf = Shelf::new(ushers);
    let mut sockets = Sockets::bind(&snapshot, shelf.clone(), passed)
        .map_err(|error| complain(Exit::Failed, &error, error.next_step()))?;
    let first = sockets.first(snapshot.generation);

    let listeners = sockets.addrs();
    let mail = Mail::new(workers, &snapshot);
    let estates = mail.worker_ends.iter().enumerate().map(|(index, (snapshots, log))| Estate {
        cpu: cpus.place(index, workers),
        snapshots: snapshots.heir(),
        log: log.heir(),
    });
    let estates = estates.collect();
    let stats: Vec<Arc<WorkerStats>> = (0..workers).map(|_| Arc::default()).collect();
    let node = NodeFacts {
        driver: selection.kind.as_str(),
        driver_reason: selection.reason.clone(),
        version: VERSION,
        pid: std::process::id(),
        workers,
        started,
        listeners: listeners.clone(),
        budget: Some(budget),
        shared: Arc::clone(&shared),
    };
    let stop = Arc::new(data_plane::Stop::default());
    let ends = mail.worker_ends.into_iter().zip(arrivals).zip(first).enumerate();
    let prepared = ends.map(|(index, (((snapshots, log), arrivals), listening))| {
        let start = WorkerStart {
            id: WorkerId(u16::try_from(index).unwrap_or(u16::MAX)),
            snapshot: Arc::clone(&snapshot),
            snapshots,
            listening,
            arrivals,
            stats: Arc::clone(&stats[index]),
            log,
            stop: Arc::clone(&stop),
            node: Arc::clone(&shared),
            seed: RandomState::new().hash_one(index),
        };
        Prepared { start, cpu: cpus.place(index, workers) }
    });
    let prepared = prepared.collect();
    let remotes = Remotes::default();
    let bound = bound_of_later(workers, &config);
    let control = control_plane::spawn(control_plane::Start {
        admin: config.admin.binds.iter().map(addr).collect(),
        config,
        file: from.file.map(Path::to_owned),
        last_good: from.last_good.map(Path::to_owned),
        broken: from.broken,
        watch: from.watch,
        snapshot: Arc::clone(&snapshot),
        secrets: Some(secrets),
        publishers: mail.publishers,
        bound,
        entrances: Box::new(sockets),
        wake: {
            let remotes = remotes.clone();
            Box::new(move || remotes.wake())
        },
        stand_back: runtime::host::stand_back,
        logs: mail.logs,
        stats: stats.clone(),
        node,
        clock: runtime::clock,
    })
    .map_err(|error| complain(Exit::Failed, error, None))?;
    let (workers, endings) = match Workers::start(prepared, &selection, Arc::clone(&stop), remotes.clone()) {
        Ok(started) => started,
        Err(error) => {
            control.stop();
            return Err(complain(
                Exit::Failed,
                error,
                Some("see `ulimit -n` and `ulimit -l`, or set `io \"epoll\"`"),
            ));
        }
    };
    // What was published before is found in the mailboxes by the first turn, or by the one that this begins.
    remotes.wake();
    let node = Node { control, workers, endings, stats, listeners, shelf, estates, stop, shared };
    announce(&node);
    Ok(node)
}

/// What a service manager has to do.
const PASSED_RIGHT: &str = "sockets are passed as sd_listen_fds(3) describes it";

/// Lowers the limits of later generations as those of the first one were, and tries sources that are new.
fn bound_of_later(workers: usize, config: &Config) -> control_plane::Bound {
    let descriptors = runtime::host::descriptors_max().unwrap_or(u64::MAX);
    let memory = memory::limit(config.memory.map(|bytes| bytes.0));
    let of_worker = crate::workers::memory_of_one();
    let sources = egress::Known::default();
    Box::new(move |snapshot| {
        sources.check(snapshot)?;
        let mut limits = snapshot.limits;
        capacity::apply(&mut limits, workers, descriptors);
        let planned = Budget::plan(snapshot, &mut limits, (workers, of_worker), memory);
        snapshot.limits = limits;
        let too_large =
            |_| format!("it does not fit into 95 % of {} MiB, {}", memory.bytes >> 20, memory.from);
        planned.map(drop).map_err(too_large)
    })
}

/// Compiles; prints the warnings, or all problems.
fn ready(loaded: config::Loaded, workers: usize) -> Result<Ready, Exit> {
    match check::compile(loaded, workers) {
        Ok(ready) => {
            check::report(&ready.warnings);
            Ok(ready)
        }
        Err(problems) => {
            check::report(&problems.0);
            Err(complain(Exit::Refused, "the configuration does not load", None))
        }
    }
}

/// The snapshot with as many connections as there are descriptors and memory for, or the reason why not even one fits.
fn bounded(
    mut snapshot: Snapshot,
    workers: usize,
    config: &Config,
) -> Result<(Snapshot, Budget, Supply), Exit> {
    // A limit that cannot be read is no limit that we could keep.
    let descriptors = runtime::host::descriptors_max().unwrap_or(u64::MAX);
    let capacity = capacity::apply(&mut snapshot.limits, workers, descriptors);
    if let Some(descriptors) = capacity.descriptors {
        say(format_args!(
            "at most {} client connections: 45 % of {descriptors} descriptors; raise `ulimit -n` for more",
            capacity.connections_max
        ));
    }
    let memory = memory::limit(config.memory.map(|bytes| bytes.0));
    let mut limits = snapshot.limits;
    let of_worker = crate::workers::memory_of_one();
    let budget = Budget::plan(&snapshot, &mut limits, (workers, of_worker), memory).map_err(refuse)?;
    if limits != snapshot.limits {
        say(format_args!(
            "at most {} client connections and {} MiB of relay buffers: that is what fits into {} MiB, {}; see `ringway status`",
            u64::from(limits.connections_max) * workers as u64,
            (limits.relay_buffers_bytes_max * workers as u64) >> 20,
            memory.bytes >> 20,
            memory.from,
        ));
    }
    snapshot.limits = limits;
    let sheds = config.overload == model::Overload::On;
    Ok((snapshot, budget, Supply { memory: memory.bytes, descriptors, sheds }))
}

/// Nothing has been started yet; the table says what is too much.
fn refuse(DoesNotFit(budget): DoesNotFit) -> Exit {
    let table = serde_json::to_value(&budget).map(|budget| crate::budget::for_people(&budget));
    say(table.unwrap_or_default().trim_end());
    complain(
        Exit::Failed,
        format_args!(
            "what is taken in any case does not fit into 95 % of {} MiB, {}",
            budget.limit_bytes.unwrap_or(u64::MAX) >> 20,
            budget.limit_from
        ),
        Some(
            "grant more memory, or write fewer `workers`; `access-log \"off\"` saves 4 MiB for each of them",
        ),
    )
}

fn probe(config: &Config) -> Result<Selection, Exit> {
    let choice = match config.io {
        model::Io::Auto => IoChoice::Auto,
        model::Io::IoUring => IoChoice::IoUring,
        model::Io::Epoll => IoChoice::Epoll,
    };
    let selection = runtime::probe(choice)
        .map_err(|error| complain(Exit::Failed, error, Some("set `io \"auto\"` to fall back to epoll")))?;
    if let Some(reason) = &selection.reason {
        say(format_args!("driver {}: {reason}", selection.kind));
    }
    Ok(selection)
}

/// Whether connections can come from where each upstream says: better to know before the first request than after it.
fn sources(snapshot: &Snapshot) -> Result<(), Exit> {
    for upstream in &snapshot.upstreams {
        egress::check(upstream).map_err(|error| complain(Exit::Failed, &error, Some(error.next_step())))?;
    }
    Ok(())
}

/// One way in each direction for every worker.
struct Mail {
    publishers: Vec<Publisher<Snapshot>>,
    logs: Vec<Consumer>,
    worker_ends: Vec<(Subscriber<Snapshot>, Producer)>,
}

impl Mail {
    fn new(workers: usize, snapshot: &Snapshot) -> Mail {
        let mut mail = Mail { publishers: Vec::new(), logs: Vec::new(), worker_ends: Vec::new() };
        for _ in 0..workers {
            let (publisher, subscriber) = base::publish::channel();
            // Without a log nobody writes into the ring.
            let bytes = if snapshot.access_log { snapshot.limits.log_ring_bytes as usize } else { 0 };
            let (producer, consumer) = base::spsc::channel(bytes);
            mail.publishers.push(publisher);
            mail.worker_ends.push((subscriber, producer));
            if snapshot.access_log {
                mail.logs.push(consumer);
            }
        }
        mail
    }
}

/// The lines that scripts wait for.
fn announce(node: &Node) {
    for (name, addr) in &node.listeners {
        say(format_args!("listening on {addr} (listener \"{name}\")"));
    }
    for addr in node.control.admin_addrs() {
        say(format_args!("admin on {addr}"));
    }
}

fn addr(address: &Address) -> Addr {
    match address {
        Address::Ip(addr) => Addr::Ip(*addr),
        Address::Unix(path) => Addr::Unix(path.clone()),
        Address::Passed(name) => Addr::Passed(name.as_str().into()),
    }
}
