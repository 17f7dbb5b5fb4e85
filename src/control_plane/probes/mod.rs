//! Active health checks: once per endpoint and node, whatever the number of workers.
//!
//! `traffic::health::Check` decides what results mean and when the next check is due; this file performs them and writes
//! what was decided into the endpoints' cells, where the balancers see it. Every endpoint has a task of its own, and only
//! so many of them are in a check at once.

mod exchange;
#[cfg(test)]
mod tests;

use crate::node::Node;
use crate::notice::notice;
use base::Instant;
use base::addr::Addr;
use base::rng::Rng;
use config::Config;
use config::model::{Health as Written, TcpCheck};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use traffic::Snapshot;
use traffic::health::{Check, CheckRules, EjectionRules, EndpointCell, Evidence, Health};

/// The checks of one endpoint.
#[derive(Debug)]
pub(crate) struct Probe {
    upstream: Box<str>,
    addr: Addr,
    cell: Arc<EndpointCell>,
    written: Written,
}

/// What is to be checked: every endpoint of every upstream that has checks.
pub(crate) fn plan(config: &Config, snapshot: &Snapshot) -> Vec<Probe> {
    let mut probes = Vec::new();
    for upstream in &snapshot.upstreams {
        let written = config.upstream(&upstream.name).and_then(|written| written.health.as_ref());
        let Some(written) = written else { continue };
        probes.extend(upstream.endpoints.iter().map(|endpoint| Probe {
            upstream: upstream.name.clone(),
            addr: endpoint.addr.clone(),
            cell: Arc::clone(&endpoint.cell),
            written: written.clone(),
        }));
    }
    probes
}

/// Starts a task for each; they end with the runtime.
pub(crate) fn start(node: &Arc<Node>, probes: Vec<Probe>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE_MAX));
    // Nodes that start together must not check together: the clock and the process id differ between them.
    let mut seeds = Rng::new(node.now().as_nanos() ^ u64::from(node.facts.pid) << 32);
    for probe in probes {
        tokio::spawn(watch(Arc::clone(node), probe, Rng::new(seeds.next_u64()), Arc::clone(&slots)));
    }
}

async fn watch(node: Arc<Node>, probe: Probe, mut rng: Rng, slots: Arc<Semaphore>) {
    let mut check = Check::new(rules(probe.schedule()), probe.cell.health());
    let mut first = true;
    loop {
        let now = node.now();
        tokio::time::sleep(check.next_due(now, Evidence::default()).since(now)).await;
        let result = {
            // An error only if the semaphore were closed, which nobody does; then there is no bound to keep.
            let _slot = slots.acquire().await;
            probe.perform().await
        };
        probe.conclude(&node, &mut check, result, node.now(), rng.next_u64());
        if first {
            first = false;
            node.first_round.finish_one();
        }
    }
}

impl Probe {
    fn schedule(&self) -> &TcpCheck {
        match &self.written {
            Written::Http(http) => &http.schedule,
            Written::Tcp(schedule) => schedule,
        }
    }

    /// One check; the error is what an operator reads.
    async fn perform(&self) -> Result<(), String> {
        let timeout = self.schedule().timeout;
        let check = async {
            match &self.written {
                Written::Http(http) => exchange::http(&self.addr, http).await,
                Written::Tcp(_) => exchange::tcp(&self.addr).await,
            }
        };
        match tokio::time::timeout(timeout, check).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no complete answer within {} ms", timeout.as_millis())),
        }
    }

    /// Notes a result, and the change of health that it may bring.
    fn conclude(
        &self,
        node: &Node,
        check: &mut Check,
        result: Result<(), String>,
        now: Instant,
        jitter: u64,
    ) {
        let changed = check.on_result(result.is_ok(), now, jitter);
        self.cell.set_checked();
        if let Some(health) = changed {
            self.cell.set_health(health, now, EjectionRules::default().slow_start);
            self.announce(health, result.as_ref().err());
        }
        match result {
            Ok(()) => node.findings.clear(&self.upstream, &self.addr),
            Err(finding) => node.findings.note(&self.upstream, &self.addr, finding),
        }
    }

    /// One line per change; rise and fall bound how often that is.
    fn announce(&self, health: Health, finding: Option<&String>) {
        let (upstream, addr) = (&self.upstream, &self.addr);
        match (health, finding) {
            (Health::Down, Some(finding)) => {
                notice(format_args!("upstream \"{upstream}\": {addr} is down: {finding}"))
            }
            (Health::Down, None) => notice(format_args!("upstream \"{upstream}\": {addr} is down")),
            (Health::Up, _) => notice(format_args!("upstream \"{upstream}\": {addr} is up")),
            (Health::Checking, _) => {}
        }
    }
}

fn rules(schedule: &TcpCheck) -> CheckRules {
    CheckRules {
        every: schedule.every.max(EVERY_MIN),
        rise: u32::from(schedule.rise).max(1),
        fall: u32::from(schedule.fall).max(1),
    }
}

/// Checks that are performed at the same time; each holds one descriptor.
const AT_ONCE_MAX: usize = 256;
/// Whatever is configured, an endpoint is not checked more often than that.
const EVERY_MIN: Duration = Duration::from_millis(10);
