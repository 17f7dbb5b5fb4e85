//! Active health checks, once per endpoint and node, whatever the number of workers; and what only shows when all
//! endpoints of an upstream are looked at together.
//!
//! ```text
//!   watch (here)   one task per endpoint: when a check is due, and what its result changes
//!   check          one check: connection, exchange, deadline        exchange, tls, grpc, datagram    the kinds
//!   budget         how many at once and per second, gaps in time    board                  what is told to people
//!   observer       ejections, panic, success rates, once a second      running    which of them there are
//! ```
//!
//! `traffic::health` decides what results mean and when the next check is due; the files here perform that and write it
//! into the endpoints' cells, where the balancers see it.

mod board;
mod budget;
mod check;
mod datagram;
mod exchange;
mod finding;
mod grpc;
mod observer;
mod running;
#[cfg(test)]
mod tests;
mod tls;
mod trial;

pub(crate) use board::{Board, Report};
pub(crate) use observer::Panics;
pub(crate) use running::{First, Running};
pub(crate) use tls::Tls;
pub use trial::{Trial, try_endpoints};

use crate::certificates::Secrets;
use crate::node::Node;
use crate::notice::notice;
use base::Instant;
use base::addr::Addr;
use base::rng::Rng;
use budget::{BEAT, Budget, Pulse};
use check::{Check, Verdict};
use config::Config;
use config::model::{ProxyChecks, ProxyVersion, TcpCheck};
use finding::Finding;
use std::sync::Arc;
use std::time::Duration;
use traffic::Snapshot;
use traffic::health::{self, CheckRules, EndpointCell, Evidence, Health};

/// The checks of one endpoint.
pub(crate) struct Probe {
    upstream: Arc<str>,
    addr: Addr,
    cell: Arc<EndpointCell>,
    check: Arc<Check>,
    /// How long the endpoint takes to its full share when it comes back.
    slow_start: Duration,
    written: config::model::Health,
    /// What the endpoint must be certified as unless the upstream says otherwise; empty in plain text.
    name: Box<str>,
    /// How it is secured.
    identity: u64,
    announces: Option<ProxyVersion>,
}

impl Probe {
    /// Whether the other one checks in the same way.
    fn is_like(&self, other: &Probe) -> bool {
        self.written == other.written
            && self.announces == other.announces
            && self.slow_start == other.slow_start
            && (&self.name, self.identity) == (&other.name, other.identity)
    }
}

/// The form of the header of the PROXY protocol with which checks begin, if they do.
fn announced(upstream: &config::model::Upstream) -> Option<ProxyVersion> {
    let send_proxy = upstream.send_proxy.filter(|sent| sent.checks == ProxyChecks::Local);
    send_proxy.map(|sent| sent.version)
}

/// What is to be checked: every endpoint of every upstream that has checks. The first endpoints of all upstreams come
/// first, so that each upstream soon has one of which something is known.
pub(crate) fn plan(config: &Config, snapshot: &Snapshot, secrets: Option<&Secrets>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for upstream in &snapshot.upstreams {
        let Some(of_upstream) = config.upstream(&upstream.name) else { continue };
        let Some(written) = &of_upstream.health else { continue };
        let announces = announced(of_upstream);
        let connector = secrets.and_then(|secrets| secrets.connector(&upstream.name));
        let check = Check::new(written, upstream.egress.as_deref(), connector.as_deref(), announces);
        let check = Arc::new(check);
        let of_endpoint = |(place, endpoint): (usize, &traffic::snapshot::Endpoint)| {
            let probe = Probe {
                upstream: upstream.name.clone(),
                addr: endpoint.addr.clone(),
                cell: Arc::clone(&endpoint.cell),
                check: Arc::clone(&check),
                slow_start: upstream.ejection.slow_start,
                written: written.clone(),
                name: endpoint.tls.as_ref().map_or_else(Box::default, |tls| tls.name.clone()),
                identity: endpoint.identity(),
                announces,
            };
            (place, probe)
        };
        probes.extend(upstream.endpoints.iter().enumerate().map(of_endpoint));
    }
    probes.sort_by_key(|(place, _)| *place);
    probes.into_iter().map(|(_, probe)| probe).collect()
}

async fn heartbeat(node: Arc<Node>, pulse: Arc<Pulse>) {
    loop {
        pulse.beat(node.now());
        tokio::time::sleep(BEAT).await;
    }
}

/// The task of one endpoint.
struct Watch {
    node: Arc<Node>,
    budget: Arc<Budget>,
    pulse: Arc<Pulse>,
    probe: Arc<Probe>,
    state: health::Check,
    /// Failures of live traffic up to the last check.
    failures: u64,
    rng: Rng,
    is_first: bool,
}

impl Watch {
    async fn run(mut self) {
        loop {
            self.until_due().await;
            let turn = self.budget.turn(|| self.node.now()).await;
            self.note(|report| report.due = None);
            let began = self.node.now();
            let gaps = self.pulse.beat(began);
            let verdict = self.probe.check.perform(&self.probe.addr, &self.probe.name).await;
            drop(turn);
            let now = self.node.now();
            if self.pulse.beat(now) != gaps {
                // Once more, and at once: we stood still meanwhile.
                self.node.checks.voided();
                continue;
            }
            self.conclude(verdict, now, now.since(began));
        }
    }

    async fn until_due(&self) {
        loop {
            let now = self.node.now();
            let due = self.state.next_due(now, self.evidence());
            self.note(|report| report.due = Some(due));
            if due <= now {
                return;
            }
            tokio::time::sleep(due.since(now)).await;
        }
    }

    /// What live traffic has shown since the last check.
    fn evidence(&self) -> Evidence {
        let cell = &self.probe.cell;
        let answered = self.state.last().is_some_and(|last| cell.has_answered_since(last));
        Evidence { answered, failed: cell.failures() != self.failures }
    }

    /// Notes what a check ended with, and the change of health that it may bring.
    fn conclude(&mut self, verdict: Verdict, now: Instant, took: Duration) {
        self.failures = self.probe.cell.failures();
        let jitter = self.rng.next_u64();
        let finding = match verdict {
            Verdict::Passed => None,
            Verdict::Failed(finding) => Some(finding),
            Verdict::Void(finding) => {
                self.state.put_off(now, jitter);
                self.node.checks.voided();
                self.note(|report| report.finding = Some(format!("could not be checked: {finding}")));
                return;
            }
        };
        self.node.checks.ended(finding.is_none());
        let changed = self.state.on_result(finding.is_none(), now, jitter);
        self.probe.cell.set_checked();
        if let Some(health) = changed {
            self.probe.cell.set_health(health, now, self.probe.slow_start);
            self.announce(health, finding.as_ref());
        }
        self.note(|report| {
            report.last = Some((now, took));
            report.finding = finding.map(|finding| finding.to_string());
            (report.in_a_row, report.rise) = (self.state.in_a_row(), self.state.rise());
        });
        self.finish_first();
    }

    fn note(&self, change: impl FnOnce(&mut board::Report)) {
        self.node.board.note(&self.probe.upstream, &self.probe.addr, change);
    }

    fn finish_first(&mut self) {
        if std::mem::take(&mut self.is_first) {
            self.node.first_round.finish_one();
        }
    }

    /// One line per change; rise, fall and the growth of rise bound how often that is.
    fn announce(&self, health: Health, finding: Option<&Finding>) {
        let (upstream, addr) = (&self.probe.upstream, &self.probe.addr);
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

/// Checks that end before their first result are waited for no longer.
impl Drop for Watch {
    fn drop(&mut self) {
        self.finish_first();
        self.node.board.forget(&self.probe.upstream, &self.probe.addr);
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
/// Checks that begin in a second: a quarter of one CPU at most.
const PER_SECOND_MAX: u32 = 1000;
/// Whatever is configured, an endpoint is not checked more often than that.
const EVERY_MIN: Duration = Duration::from_millis(10);
