//! The one door through which a new generation gets into force.
//!
//! A generation follows from the configuration and from what the node learnt and was told while it runs
//! ([`Live`]). Whoever changes either sends an [`Order`] through the [`Door`]; one task, the
//! [`Deployer`], takes them all, compiles beside the generation in force and hands the result to every worker. So there
//! is never a question which of two changes came first, and none is lost.
//!
//! ```text
//!   admin ──Order──▶ Deployer ──compile (own thread)──▶ publish, wake ──▶ workers
//!                       │  ▲                                                │
//!                       │  └───────────── retired snapshots ◀───────────────┘
//!                       └──▶ health checks follow, cells of removed endpoints are marked
//! ```
//!
//! Orders that come while one generation is compiled, or sooner than [`EVERY`] after the last, go into one generation
//! together.

mod door;
mod generations;
mod history;
mod reloads;
mod replace;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use door::{Change, Changed, Door, Order, Refused};
pub(crate) use generations::Figures;
pub(crate) use history::{CONFIRM_MAX, History};
pub(crate) use reloads::Reloads;
pub(crate) use replace::{NotReplaced, Replaced, Replacement, Wanted, hash};

use crate::certificates::Secrets;
use crate::compile::live::{Live, Wish};
use crate::compile::{Compiled, Problem, compile_live};
use crate::node::Node;
use crate::notice::notice;
use crate::{issuers, names, passwords, probes, rulings};
use base::addr::Addr;
use base::publish::Publisher;
use config::Config;
use door::Waiting;
use generations::Generations;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use traffic::Snapshot;
use traffic::health::EndpointCell;

/// Brings what only the process knows into a compiled snapshot, such as how many descriptors it has; the error says why the
/// snapshot cannot come into force.
pub type Bound = Box<dyn Fn(&mut Snapshot) -> Result<(), String> + Send>;
/// Ends the current wait of every worker.
pub type Wake = Box<dyn Fn() + Send>;

/// Opens what a generation listens on. Workers stop listening by themselves when a generation lacks a socket.
pub trait Entrances: Send {
    /// Opens what `next` has and nobody listens on yet. The error says why it cannot; nothing has changed then.
    fn open(&mut self, next: &Snapshot) -> Result<(), String>;

    /// Leaves the new sockets for the workers, just before `next` is published; where the node listens from then on: name
    /// of each listener with each address.
    fn hand_over(&mut self, next: &Snapshot) -> Vec<(String, Addr)>;
}

/// From one generation to the next, at least: 20 a second.
const EVERY: Duration = Duration::from_millis(50);
/// How often the snapshots that workers handed back are looked for.
const RECLAIM_EVERY: Duration = Duration::from_millis(250);

/// What the deployer starts with.
pub(crate) struct Means {
    pub(crate) config: Arc<Config>,
    /// Where it was read from; `None` when it stands in no file.
    pub(crate) file: Option<PathBuf>,
    /// The directory in which what is in force is kept.
    pub(crate) last_good: Option<PathBuf>,
    /// What the generation in force was compiled with.
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) publishers: Vec<Publisher<Snapshot>>,
    pub(crate) bound: Bound,
    pub(crate) entrances: Box<dyn Entrances>,
    pub(crate) wake: Wake,
    /// Makes the calling thread stand back behind all others.
    pub(crate) stand_back: fn(),
}

/// Owns everything that generations are made of.
pub(crate) struct Deployer {
    node: Arc<Node>,
    config: Arc<Config>,
    /// What the process was started with: some of it holds until it ends.
    started: Arc<Config>,
    file: Option<PathBuf>,
    last_good: Option<PathBuf>,
    history: History,
    live: Arc<Live>,
    bound: Bound,
    entrances: Box<dyn Entrances>,
    generations: Generations,
    checks: probes::Running,
    resolving: names::Resolving,
    fetching: issuers::Fetching,
    passwords: passwords::Passwords,
    rulings: rulings::Asking,
    /// Names whose addresses are not in force yet.
    fresh: Vec<names::Key>,
    orders: mpsc::Receiver<Order>,
    /// Something was ordered that is not in force yet.
    due: bool,
    /// Not before then.
    earliest: Instant,
    /// Told once what they ordered is in force.
    waiting: Vec<Waiting>,
}

impl fmt::Debug for Deployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployer").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Deployer {
    /// A deployer for the generation in force, and the door to it.
    pub(crate) fn new(node: Arc<Node>, means: Means) -> (Deployer, Door) {
        let (door, orders) = door::channel();
        let checks = probes::Running::new(&node);
        if let Some(secrets) = &means.secrets {
            node.set_secrets(Arc::clone(secrets));
        }
        let generations = Generations::new(means.publishers, means.wake, &node.snapshot());
        let node_workers = node.facts.workers;
        let deployer = Deployer {
            node,
            started: Arc::clone(&means.config),
            config: means.config,
            file: means.file,
            rulings: rulings::Asking::default(),
            passwords: passwords::Passwords::new(node_workers, means.stand_back),
            fetching: issuers::Fetching::new(means.last_good.clone()),
            last_good: means.last_good,
            history: History::default(),
            live: Arc::new(Live::new(means.secrets)),
            bound: means.bound,
            entrances: means.entrances,
            generations,
            checks,
            resolving: names::Resolving::default(),
            fresh: Vec::new(),
            orders,
            due: false,
            earliest: Instant::now(),
            waiting: Vec::new(),
        };
        (deployer, door)
    }

    /// Takes orders as long as the control plane runs. `door` is the way back to it for those whom it starts.
    pub(crate) async fn run(mut self, door: Door) {
        self.resolving.follow(&self.node, &self.config, &door);
        self.fetching.follow(&self.node, &self.config, &self.node.snapshot());
        self.passwords.follow(&self.node.snapshot());
        self.rulings.follow(&self.node, &self.config, &self.node.snapshot());
        self.checks.observe();
        self.checks.follow(
            probes::plan(&self.config, &self.node.snapshot(), self.live.secrets.as_deref()),
            probes::First::Counted,
        );
        let mut reclaim = tokio::time::interval(RECLAIM_EVERY);
        reclaim.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.keep_last_good().await;
        loop {
            let trial_ends = self.history.trial.as_ref().map_or(self.earliest, |trial| trial.until);
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Replace { replacement, answer }) => {
                        let outcome = self.replace(replacement).await;
                        if outcome.as_ref().is_ok_and(|replaced| !replaced.dry_run) {
                            self.resolving.follow(&self.node, &self.config, &door);
                        }
                        // Whoever asked may have gone away.
                        let _ = answer.send(outcome);
                    }
                    Some(Order::Confirm { by, answer }) => drop(answer.send(self.confirm(&by))),
                    Some(order) => self.take(order),
                    None => return,
                },
                () = sleep_until(trial_ends), if self.history.trial.is_some() => {
                    self.take_back().await;
                    self.resolving.follow(&self.node, &self.config, &door);
                }
                () = sleep_until(self.earliest), if self.due => self.deploy().await,
                _ = reclaim.tick() => self.generations.reclaim(&self.node.deployed),
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Found { upstream, name, found } => {
                self.fresh.push(names::key(&upstream, &name));
                Arc::make_mut(&mut self.live).set_found(&upstream, name, found);
                self.due = true;
            }
            Order::Secrets { instead_of, secrets } => {
                if self.live.secrets.as_ref().is_some_and(|live| Arc::ptr_eq(live, &instead_of)) {
                    Arc::make_mut(&mut self.live).secrets = Some(secrets);
                    self.due = true;
                }
            }
            // Taken by `run`, because it takes a while.
            Order::Replace { .. } | Order::Confirm { .. } => {}
            Order::Endpoint { upstream, address, change, by, answer } => {
                match self.set_endpoint(&upstream, &address, change, by) {
                    Ok((changed, true)) => {
                        self.due = true;
                        self.waiting.push(Waiting { upstream, address, changed, answer });
                    }
                    Ok((changed, false)) => drop(answer.send(Ok(changed))),
                    Err(refused) => drop(answer.send(Err(refused))),
                }
            }
        }
    }

    /// Carries out what an operator asks of an endpoint; also answers whether it takes a new generation.
    fn set_endpoint(
        &mut self,
        upstream: &str,
        address: &str,
        change: Change,
        by: String,
    ) -> Result<(Changed, bool), Refused> {
        let snapshot = self.node.snapshot();
        let found = door::find(&snapshot, upstream, address)?;
        let before = self.live.wish(upstream, &found.addr);
        if before.is_none() && self.live.wishes() >= WISHES_MAX {
            return Err(Refused::TooMany(WISHES_MAX));
        }
        let weight_before = before.and_then(|wish| wish.weight);
        let wish = Wish {
            service: change.service.unwrap_or(found.cell.service()),
            weight: change.weight.unwrap_or(weight_before),
            since: std::time::SystemTime::now(),
            by,
        };
        let service_before = found.cell.set_service(wish.service);
        let changed = Changed {
            service: wish.service,
            weight: wish.weight.map_or(found.weight, u32::from),
            overridden: wish.weight.is_some(),
            generation: snapshot.generation,
        };
        let takes_generation = wish.weight != weight_before;
        notice(format_args!(
            "upstream \"{upstream}\": {}: state {service_before} -> {}, weight {} -> {} (asked by {})",
            found.text,
            wish.service,
            door::weight_text(weight_before),
            door::weight_text(wish.weight),
            wish.by,
        ));
        Arc::make_mut(&mut self.live).set_wish(upstream, found.addr.clone(), wish);
        self.node.set_live(Arc::clone(&self.live));
        Ok((changed, takes_generation))
    }

    /// Makes a generation of what is known now and puts it into force.
    async fn deploy(&mut self) {
        self.due = false;
        let began = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        let (config, live, previous) =
            (Arc::clone(&self.config), Arc::clone(&self.live), self.node.snapshot());
        let workers = self.node.facts.workers;
        let compiling = tokio::task::spawn_blocking(move || compiled(&config, &live, workers, &previous));
        let outcome = compiling.await;
        self.earliest = began + EVERY;
        let in_force = match outcome {
            Ok(Ok(ready)) => self.put_into_force(ready, began),
            Ok(Err(problems)) => Err(shown(&problems)),
            Err(error) => Err(format!("internal error: {error}")),
        };
        match in_force {
            Ok(snapshot) => waiting.into_iter().for_each(|waiting| waiting.conclude(&snapshot)),
            Err(why) => self.fail(&why, waiting),
        }
    }

    /// Hands a generation of `self.config` to the workers; the error says why the one in force stays.
    fn put_into_force(&mut self, ready: Ready, began: Instant) -> Result<Arc<Snapshot>, String> {
        let Ready { mut snapshot, removed, secrets, .. } = ready;
        (self.bound)(&mut snapshot)?;
        self.entrances.open(&snapshot)?;
        self.node.set_listening(self.entrances.hand_over(&snapshot));
        self.node.set_secrets(Arc::clone(&secrets));
        Arc::make_mut(&mut self.live).secrets = Some(secrets);
        let snapshot = Arc::new(snapshot);
        self.generations.publish(&snapshot, &self.node.deployed);
        for cell in removed {
            cell.set_removed();
        }
        self.follow_checks(&snapshot);
        self.node.set_snapshot(Arc::clone(&snapshot));
        self.fetching.follow(&self.node, &self.config, &snapshot);
        self.passwords.follow(&snapshot);
        self.rulings.follow(&self.node, &self.config, &snapshot);
        self.node.deployed.succeed(began.elapsed());
        Ok(snapshot)
    }

    /// Endpoints of names that the node still waits for belong to the first round of checks: it is not ready before.
    fn follow_checks(&mut self, snapshot: &Snapshot) {
        let awaited = self.node.names.awaited(self.node.now());
        let is_first = self.fresh.iter().any(|key| awaited.contains(key));
        let first = if is_first { probes::First::Count } else { probes::First::Ignore };
        self.checks.follow(probes::plan(&self.config, snapshot, self.live.secrets.as_deref()), first);
        for key in self.fresh.drain(..) {
            self.node.names.settle(&key);
        }
    }

    /// The generation in force stays.
    fn fail(&mut self, why: &str, waiting: Vec<Waiting>) {
        notice(format_args!("no new generation, the one in force stays: {why}"));
        self.node.deployed.fail(why);
        for Waiting { answer, .. } in waiting {
            let _ = answer.send(Err(Refused::NotCompiled(why.to_owned())));
        }
    }
}

/// A generation that could be put into force.
struct Ready {
    snapshot: Snapshot,
    /// What it does not have any more.
    removed: Vec<Arc<EndpointCell>>,
    warnings: Vec<Problem>,
    secrets: Arc<Secrets>,
}

/// Compiles the generation after `previous`; on a thread that may take its time.
fn compiled(
    config: &Config,
    live: &Live,
    workers: usize,
    previous: &Snapshot,
) -> Result<Ready, Vec<Problem>> {
    let Compiled { snapshot, warnings, secrets } = compile_live(config, live, workers, Some(previous))?;
    let removed = removed(previous, &snapshot);
    Ok(Ready { snapshot, removed, warnings, secrets })
}

/// Cells that the next generation does not have any more.
fn removed(before: &Snapshot, after: &Snapshot) -> Vec<Arc<EndpointCell>> {
    let cells = |snapshot: &'_ Snapshot| {
        let endpoints = snapshot.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        endpoints.map(|endpoint| Arc::clone(&endpoint.cell)).collect::<Vec<_>>()
    };
    let kept: HashSet<_> = cells(after).iter().map(Arc::as_ptr).collect();
    cells(before).into_iter().filter(|cell| !kept.contains(&Arc::as_ptr(cell))).collect()
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// Endpoints of which something may be asked at the same time; beyond any real number of them.
const WISHES_MAX: usize = 100_000;
