//! Starts and stops the control plane: its thread, its tasks, the log writer.

use crate::admin::{self, server};
use crate::certificates::{self, Secrets};
use crate::deploy::{Bound, Deployer, Door, Entrances, Means, Replacement, Wake, Wanted};
use crate::node::{InForce, Node, NodeFacts};
use crate::notice::notice;
use crate::process::{self, Draining, ProcessOrders};
use crate::telemetry::access_log::{AccessLog, Reopener};
use crate::{names, probes};
use base::Instant;
use base::addr::Addr;
use base::publish::Publisher;
use base::spsc::Consumer;
use config::Config;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io, thread};
use tokio::sync::{Semaphore, oneshot};
use traffic::Snapshot;
use traffic::stats::WorkerStats;

/// What the control plane needs to begin.
pub struct Start {
    pub config: Config,
    /// Where `config` was read from, to be read again on request; `None` when it stands in no file.
    pub file: Option<PathBuf>,
    /// Directory in which what is in force is kept for a start with a broken file; see `last_good`.
    pub last_good: Option<PathBuf>,
    /// Why `config` is what was kept there and not what `file` says.
    pub broken: Option<String>,
    /// Read `file` again whenever it changes.
    pub watch: bool,
    /// The compiled form of `config`, which the workers start with.
    pub snapshot: Arc<Snapshot>,
    /// What `snapshot` was compiled with.
    pub secrets: Option<Arc<Secrets>>,
    /// One per worker, for later generations.
    pub publishers: Vec<Publisher<Snapshot>>,
    /// Applied to each later generation, as it was to `snapshot`.
    pub bound: Bound,
    /// Opens what later generations listen on.
    pub entrances: Box<dyn Entrances>,
    /// Called when a later generation has been published.
    pub wake: Wake,
    /// Makes the calling thread stand back behind all others, for what computes long.
    pub stand_back: fn(),
    /// Access-log rings, one per worker; empty when the log is off.
    pub logs: Vec<Consumer>,
    /// One per worker, by its id.
    pub stats: Vec<Arc<WorkerStats>>,
    /// Where the admin API listens; usually what `config` says. Port 0 lets the kernel choose.
    pub admin: Vec<Addr>,
    pub node: NodeFacts,
    /// The clock of the workers: endpoint cells hold its instants.
    pub clock: fn() -> Instant,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("node", &self.node).field("admin", &self.admin).finish_non_exhaustive()
    }
}

/// Whether the node should get traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadyState {
    Ready,
    /// With the reasons, as `/ready` gives them.
    NotReady(Vec<String>),
}

/// The running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    node: Arc<Node>,
    orders: Option<ProcessOrders>,
    door: Door,
    admin: Vec<Addr>,
    log: Option<AccessLog>,
    thread: JoinHandle<()>,
    /// Dropping it ends the thread too.
    stop: oneshot::Sender<()>,
}

/// Opens the access log and the admin listeners and starts the threads. What cannot be opened is an error now, not later.
pub fn spawn(start: Start) -> io::Result<ControlPlane> {
    let bound = start.admin.iter().map(server::Bound::bind).collect::<io::Result<Vec<_>>>()?;
    let admin = bound.iter().map(server::Bound::addr).collect::<io::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let log = AccessLog::start(&start.config.access_log, start.logs)?;
    let shared_log = log.as_ref().map(|log| Arc::clone(log.shared()));
    let config = Arc::new(start.config);
    let file = start.file.as_ref().map(|file| file.display().to_string());
    let source = match &start.broken {
        Some(_) => "the last good configuration".to_owned(),
        None => file.unwrap_or_else(|| "command line".to_owned()),
    };
    let in_force = InForce::first(Arc::clone(&config), source, start.node.started);
    let snapshot = Arc::clone(&start.snapshot);
    let (process, orders) = process::channel();
    let node = Node::new(start.node, start.stats, start.clock, shared_log, snapshot, in_force, process);
    let node = Arc::new(node);
    node.first_round.expect(probes::plan(&config, &start.snapshot, start.secrets.as_deref()).len());
    for (upstream, name, _) in names::of(&config) {
        node.names.expect(names::key(&upstream.name, name), Some(node.now()));
    }
    let watched = start.file.clone();
    let Start {
        file,
        last_good,
        broken,
        watch,
        secrets,
        publishers,
        bound: bounds,
        entrances,
        wake,
        stand_back,
        ..
    } = start;
    let means =
        Means { config, file, last_good, secrets, publishers, bound: bounds, entrances, wake, stand_back };
    let (deployer, door) = Deployer::new(Arc::clone(&node), means);

    let (stop, stopped) = oneshot::channel();
    if let Some(why) = broken {
        node.reloads.begin_refused(why);
    }
    let watched = watched.filter(|_| watch);
    let (for_thread, for_orders) = (Arc::clone(&node), door.clone());
    let thread = thread::Builder::new().name("control".into()).spawn(move || {
        runtime.block_on(run(for_thread, bound, (deployer, door), watched, stopped));
        // Lookups of names would hold a blocking thread; nothing else does, and the process must be able to end.
        runtime.shutdown_timeout(Duration::from_millis(100));
    })?;
    Ok(ControlPlane { node, orders: Some(orders), door: for_orders, admin, log, thread, stop })
}

async fn run(
    node: Arc<Node>,
    bound: Vec<server::Bound>,
    (deployer, door): (Deployer, Door),
    watched: Option<PathBuf>,
    stopped: oneshot::Receiver<()>,
) {
    tokio::spawn(deployer.run(door.clone()));
    let slots = Arc::new(Semaphore::new(server::CONNECTIONS_MAX));
    for listener in bound {
        let (node, door, slots) = (Arc::clone(&node), door.clone(), Arc::clone(&slots));
        tokio::spawn(async move {
            if let Err(error) = server::serve(listener, admin::Asked { node, door }, slots).await {
                notice(format_args!("admin API: {error}"));
            }
        });
    }
    crate::overload::watch(&node);
    if let Some(file) = watched {
        tokio::spawn(crate::watch::run(file, Arc::clone(&node), door.clone()));
    }
    tokio::spawn(certificates::watch(Arc::clone(&node), door));
    // An error means that the handle was dropped without a word: the same to us.
    let _ = stopped.await;
}

impl ControlPlane {
    /// What `/ready` would say.
    pub fn ready_state(&self) -> ReadyState {
        let reasons = admin::reasons(&self.node);
        if reasons.is_empty() { ReadyState::Ready } else { ReadyState::NotReady(reasons) }
    }

    /// The generation in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.node.snapshot()
    }

    /// How far a graceful stop is: `/ready` says 503 while there is one. Nothing else changes.
    pub fn set_draining(&self, draining: Draining) {
        self.node.set_draining(draining);
    }

    /// What the admin API asks of the process; `None` the second time.
    pub fn take_orders(&mut self) -> Option<ProcessOrders> {
        self.orders.take()
    }

    /// Reads the configuration file again and puts it into force; what becomes of it is logged. False when too much
    /// waits already.
    pub fn reload(&self, by: &str) -> bool {
        self.door.replace_later(Replacement::now(Wanted::File, by))
    }

    /// Opens the access-log file anew, as after a rotation; lines logged before go to the old file.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.log {
            log.reopener().reopen();
        }
    }

    /// Does what [`ControlPlane::reopen_logs`] does from another thread; `None` when there is no log.
    pub fn log_reopener(&self) -> Option<LogReopener> {
        self.log.as_ref().map(|log| LogReopener(log.reopener()))
    }

    /// Where the admin API really listens.
    pub fn admin_addrs(&self) -> &[Addr] {
        &self.admin
    }

    /// The first of [`ControlPlane::admin_addrs`].
    pub fn admin_addr(&self) -> Option<&Addr> {
        self.admin.first()
    }

    /// Ends the admin API and the checks, then writes the last lines of the access log. To be called when the workers
    /// are gone, so that nothing is logged after the last line.
    pub fn stop(self) {
        // The thread may have ended already; then nobody needs to be told.
        let _ = self.stop.send(());
        // A panic there has been printed; the log is flushed all the same.
        let _ = self.thread.join();
        if let Some(log) = self.log {
            log.stop();
        }
    }
}

/// Opens the access log anew on request; may be kept by whoever handles signals.
#[derive(Clone, Debug)]
pub struct LogReopener(Reopener);

impl LogReopener {
    /// See [`ControlPlane::reopen_logs`].
    pub fn reopen(&self) {
        self.0.reopen();
    }
}
