//! What the control plane knows of the running node; shared by the admin API, the probes and the metrics.

use crate::budget::Budget;
use crate::certificates::Secrets;
use crate::compile::live::Live;
use crate::deploy::{Figures, History, Reloads};
use crate::issuers::Issuers;
use crate::names::Names;
use crate::probes::{Board, Panics};
use crate::process::{Draining, Process};
use crate::telemetry::access_log;
use base::Instant;
use base::addr::Addr;
use config::Config;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use traffic::Snapshot;
use traffic::stats::WorkerStats;

/// Facts that do not change while the process runs; for `/v1/status` and the metrics.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// `io_uring`, `epoll` or `simulated`.
    pub driver: &'static str,
    /// Why it is not the driver that was preferred, in one line.
    pub driver_reason: Option<String>,
    /// Version of Ringway.
    pub version: &'static str,
    /// Process id.
    pub pid: u32,
    /// Number of worker threads.
    pub workers: usize,
    /// When the process started.
    pub started: SystemTime,
    /// Name of each listener with each address that it really listens on, at the start.
    pub listeners: Vec<(String, Addr)>,
    /// Memory on paper; `None` in tests that plan nothing.
    pub budget: Option<Budget>,
    /// What the workers share about the node's limits.
    pub shared: Arc<traffic::overload::Node>,
}

/// The running node as the control plane sees it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) facts: NodeFacts,
    /// One per worker.
    pub(crate) stats: Vec<Arc<WorkerStats>>,
    /// The clock of the workers, whose instants stand in the endpoint cells.
    pub(crate) clock: fn() -> Instant,
    /// `None` when the log is off.
    pub(crate) access_log: Option<Arc<access_log::Shared>>,
    pub(crate) first_round: FirstRound,
    pub(crate) board: Board,
    pub(crate) checks: CheckCounts,
    pub(crate) panics: Panics,
    pub(crate) deployed: Figures,
    pub(crate) names: Names,
    pub(crate) issuers: Issuers,
    /// The way to whoever started the workers.
    pub(crate) process: Process,
    draining: Mutex<Draining>,
    snapshot: Mutex<Arc<Snapshot>>,
    live: Mutex<Arc<Live>>,
    pub(crate) reloads: Reloads,
    in_force: Mutex<Arc<InForce>>,
    listening: Mutex<Vec<(String, Addr)>>,
    secrets: Mutex<Option<Arc<Secrets>>>,
    history: Mutex<History>,
}

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) config: Arc<Config>,
    /// See [`crate::deploy::hash`].
    pub(crate) hash: Arc<str>,
    /// The file, or who sent it.
    pub(crate) source: String,
    pub(crate) since: SystemTime,
    /// What in it counts only after a restart.
    pub(crate) at_restart: Vec<String>,
}

impl InForce {
    /// What the process is started with.
    pub(crate) fn first(config: Arc<Config>, source: String, since: SystemTime) -> InForce {
        InForce { hash: crate::deploy::hash(&config), config, source, since, at_restart: Vec::new() }
    }
}

impl Node {
    pub(crate) fn new(
        facts: NodeFacts,
        stats: Vec<Arc<WorkerStats>>,
        clock: fn() -> Instant,
        access_log: Option<Arc<access_log::Shared>>,
        snapshot: Arc<Snapshot>,
        in_force: InForce,
        process: Process,
    ) -> Self {
        Node {
            listening: Mutex::new(facts.listeners.clone()),
            facts,
            stats,
            clock,
            access_log,
            first_round: FirstRound::default(),
            board: Board::default(),
            checks: CheckCounts::default(),
            panics: Panics::default(),
            deployed: Figures::default(),
            names: Names::default(),
            issuers: Issuers::default(),
            process,
            draining: Mutex::default(),
            snapshot: Mutex::new(snapshot),
            live: Mutex::default(),
            reloads: Reloads::default(),
            in_force: Mutex::new(Arc::new(in_force)),
            secrets: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// The configuration in force.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The deployer has put another configuration into force.
    pub(crate) fn set_in_force(&self, in_force: InForce) {
        let mut place = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, Arc::new(in_force));
        drop(place);
        drop(old);
    }

    /// The generation in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        // The lock is held for this clone and for the exchange of the pointer only, neither of which can panic.
        Arc::clone(&self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The deployer has put another generation into force.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        let old =
            std::mem::replace(&mut *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner), snapshot);
        // Nobody waits for the lock while a large table is freed.
        drop(old);
    }

    /// Name of each listener with each address that it really listens on.
    pub(crate) fn listening(&self) -> Vec<(String, Addr)> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was in force before, and what is on trial.
    pub(crate) fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The deployer has put another configuration into force, or the one in force was confirmed.
    pub(crate) fn set_history(&self, history: History) {
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = history;
    }

    /// Another generation listens elsewhere.
    pub(crate) fn set_listening(&self, listening: Vec<(String, Addr)>) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
    }

    /// What was read from files of certificates and the like; `None` in tests that need none.
    pub(crate) fn secrets(&self) -> Option<Arc<Secrets>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The deployer has put other ones into force.
    pub(crate) fn set_secrets(&self, secrets: Arc<Secrets>) {
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Some(secrets);
    }

    /// What operators asked for at run time.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The deployer has taken another order.
    pub(crate) fn set_live(&self, live: Arc<Live>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// A graceful stop goes on; while there is one `/ready` says no.
    pub(crate) fn set_draining(&self, draining: Draining) {
        *self.draining.lock().unwrap_or_else(PoisonError::into_inner) = draining;
    }

    pub(crate) fn draining(&self) -> Draining {
        *self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining() != Draining::No
    }

    pub(crate) fn now(&self) -> Instant {
        (self.clock)()
    }
}

/// How far the first round of health checks is.
#[derive(Debug, Default)]
pub(crate) struct FirstRound {
    unfinished: AtomicUsize,
}

impl FirstRound {
    /// So many endpoints more wait for their first result.
    pub(crate) fn expect(&self, endpoints: usize) {
        self.unfinished.fetch_add(endpoints, Ordering::Relaxed);
    }

    /// One endpoint has its first result.
    pub(crate) fn finish_one(&self) {
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }
}

/// How many checks ended in which way.
#[derive(Debug, Default)]
pub(crate) struct CheckCounts {
    pub(crate) passed: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Without a result, because it was this node that lacked time or descriptors.
    pub(crate) void: AtomicU64,
}

impl CheckCounts {
    pub(crate) fn ended(&self, passed: bool) {
        if passed { &self.passed } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn voided(&self) {
        self.void.fetch_add(1, Ordering::Relaxed);
    }
}
