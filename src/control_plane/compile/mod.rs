//! From what operators wrote to what workers read: [`config::Config`] → [`traffic::Snapshot`].
//!
//! Either a complete snapshot comes out or the problems do; nothing is half applied, and compiling has no side effect on
//! the generation in force. Most problems are found earlier, by `config`; those found here need the compiled form
//! (a regular expression that is too large, a template).
//!
//! ```text
//!   listener.rs  Listener, DownstreamTimeouts, HttpLimits      upstream.rs  Upstream, Endpoint, Balancer
//!   route.rs     Route, Action, Chain, RetryRules              table.rs     RouteTable of each listener
//!   health.rs    what an upstream says about health
//!   sticky.rs    Sticky
//!   tcp.rs       Listener and Passthrough of tcp listeners  udp.rs   Listener and Datagrams of udp listeners
//!   limit.rs     limits of callers, and the filters that ask them
//!   cors.rs      pages of other origins       compress.rs  which responses are compressed
//!   access.rs    policies for callers, and the filters that ask them
//!   admission.rs Admission, Valve, RetryBudget
//!   presence.rs  places of listeners, ids of sockets
//!   carry.rs     cells, budgets and statistics of the previous generation
//!   live.rs      what is known and asked for beside the configuration
//! ```

mod access;
mod admission;
mod carry;
mod compress;
mod cors;
mod health;
mod limit;
mod listener;
pub(crate) mod live;
mod presence;
mod problem;
mod proxy_protocol;
mod route;
mod services;
mod sticky;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod upstream;

pub(crate) use access::beside;
pub use problem::Problem;

use crate::certificates::{Fault, Otherwise, Secrets};
use base::ids::UpstreamId;
use base::limits::Limits;
use carry::Carried;
use config::Config;
use config::model::AccessLogTarget;
use live::Live;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use traffic::recent::RecentRules;
use traffic::snapshot::Snapshot;

/// A compiled configuration and what the operator should know about it.
#[derive(Debug)]
pub struct Compiled {
    pub snapshot: Snapshot,
    /// What the configuration asks for and this version does not do.
    pub warnings: Vec<Problem>,
    /// What was read from other files.
    pub secrets: Arc<Secrets>,
}

/// Compiles `config` for `workers` workers. Health, statistics and budgets of `previous` carry over by identity; the
/// first generation has none and is number 1.
///
/// Fails with every problem that was found, in the order of the text.
pub fn compile(
    config: &Config,
    workers: usize,
    previous: Option<&Snapshot>,
) -> Result<Compiled, Vec<Problem>> {
    compile_live(config, &Live::default(), workers, previous)
}

/// The same for a running node.
pub(crate) fn compile_live(
    config: &Config,
    live: &Live,
    workers: usize,
    previous: Option<&Snapshot>,
) -> Result<Compiled, Vec<Problem>> {
    let before = live.secrets.as_ref();
    let secrets = match before.filter(|secrets| secrets.are_of(config)) {
        Some(secrets) => Arc::clone(secrets),
        None => match Secrets::load(config, before.map(Arc::as_ref), Otherwise::Refuse) {
            Ok(secrets) => Arc::new(secrets),
            Err(faults) => {
                let problem = |fault: Fault| Problem::new(&fault.origin, fault.what).hint(fault.hint);
                return Err(faults.into_iter().map(problem).collect());
            }
        },
    };
    let mut compiler = Compiler {
        config,
        secrets: Arc::clone(&secrets),
        live,
        workers: workers.max(1),
        carried: Carried::from(previous),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let upstreams = compiler.upstreams();
    let by_name: HashMap<&str, UpstreamId> = config
        .upstreams
        .iter()
        .zip(&upstreams)
        .map(|(written, compiled)| (&*written.name, compiled.id))
        .collect();
    let access = compiler.access();
    let mut limiters = limit::Limiters::default();
    let caches = compiler.caches();
    let (routes, places) = compiler.routes(&by_name, &access, &mut limiters, &caches);
    let mut listeners = compiler.listeners(&routes, &places);
    compiler.passthrough(&by_name, &mut listeners);
    compiler.datagrams(&by_name, &mut listeners);
    let (listeners, next_socket) = presence::settle(listeners, previous);
    let limits = compiler.limits();
    let Compiler { mut problems, warnings, .. } = compiler;
    if !problems.is_empty() {
        problems.sort_by_key(|problem| {
            (Arc::clone(&problem.origin.file), problem.origin.line, problem.origin.column)
        });
        return Err(problems);
    }
    let snapshot = Snapshot {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        limits,
        listeners,
        next_socket,
        routes,
        upstreams,
        caches,
        access,
        limiters: limiters.into_all(),
        // Whoever writes the log is started with the process.
        access_log: previous
            .map_or(config.access_log.target != AccessLogTarget::Off, |previous| previous.access_log),
        recent: recent(&config.decisions),
    };
    Ok(Compiled { snapshot, warnings, secrets })
}

/// One run of [`compile`]; its parts are in the files of this folder.
struct Compiler<'c> {
    config: &'c Config,
    secrets: Arc<Secrets>,
    live: &'c Live,
    workers: usize,
    carried: Carried<'c>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Compiler<'_> {
    /// Bounds of one worker. What is written for the node is shared out over the workers, rounded up.
    fn limits(&mut self) -> Limits {
        let listeners = &self.config.listeners;
        let connections = listeners.iter().map(|listener| listener.limits.connections);
        let of_tcp = self.config.tcp.iter().map(|tcp| tcp.limits.connections);
        let connections: u64 = connections.chain(of_tcp).map(u64::from).sum();
        let flows = self.config.udp.iter().map(|udp| u64::from(udp.limits.flows)).sum();
        let defaults = Limits::DEFAULT;
        Limits {
            connections_max: self.share(connections),
            flows_max: self.share(flows),
            idle_per_endpoint_max: self.share(defaults.idle_per_endpoint_max.into()),
            ..defaults
        }
    }

    /// The stores of responses; those of the previous generation where name and size are the same.
    fn caches(&self) -> Vec<Arc<cache::Store>> {
        let store = |written: &config::model::Cache| {
            let (name, bytes) = (&*written.name, written.memory.0);
            self.carried.cache(name, bytes).unwrap_or_else(|| Arc::new(cache::Store::new(name, bytes)))
        };
        self.config.caches.iter().map(store).collect()
    }

    /// One worker's part of `total`, rounded up.
    pub(super) fn share(&self, total: u64) -> u32 {
        u32::try_from(total.div_ceil(self.workers as u64)).unwrap_or(u32::MAX)
    }
}

/// What is remembered of finished exchanges.
fn recent(written: &config::model::Decisions) -> RecentRules {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1, at most 10,000")]
    let sample_every = match written.sample.ratio() {
        ratio if ratio > 0.0 => (1.0 / ratio).round() as u32,
        _ => 0,
    };
    RecentRules { bytes_max: u32::try_from(written.memory.0).unwrap_or(u32::MAX), sample_every }
}

/// The place of an object as the snapshot keeps it.
fn origin(written: &config::model::Origin) -> traffic::Origin {
    traffic::Origin { file: Arc::clone(&written.file), line: written.line, column: written.column }
}

/// What "off" means for a time limit that is always armed: a year, far below where sums overflow.
pub(super) const FOREVER: Duration = Duration::from_secs(366 * 86_400);
