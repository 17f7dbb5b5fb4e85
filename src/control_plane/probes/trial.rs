//! Each endpoint tried once, now, for `ringway doctor`: by the check of its upstream, or by connecting (with TLS where the
//! upstream speaks it).

use super::check::{Check, Verdict};
use super::{Tls, announced};
use crate::certificates::Secrets;
use base::addr::Addr;
use config::Config;
use config::model::{Health, TcpCheck, Upstream};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use traffic::Snapshot;

/// How the trial of one endpoint ended.
#[derive(Clone, Debug)]
pub struct Trial {
    pub upstream: String,
    /// Its address, or the name that could not be resolved.
    pub endpoint: String,
    /// What was done, in a word or two.
    pub how: &'static str,
    pub outcome: Result<(), String>,
    pub took: Duration,
}

/// At once; the others wait.
const TRIALS_AT_ONCE: usize = 32;
/// Connecting and, without a check, whatever TLS needs.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Tries all endpoints of all upstreams; names are resolved as the system does it.
pub fn try_endpoints(config: &Config, snapshot: &Snapshot, secrets: &Secrets) -> io::Result<Vec<Trial>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trials = runtime.block_on(all(config, snapshot, secrets));
    // A look-up of a name may hold a thread for longer than anybody wants to wait.
    runtime.shutdown_background();
    Ok(trials)
}

async fn all(config: &Config, snapshot: &Snapshot, secrets: &Secrets) -> Vec<Trial> {
    let (slots, mut running) = (Arc::new(Semaphore::new(TRIALS_AT_ONCE)), JoinSet::new());
    let mut done: Vec<(usize, Vec<Trial>)> = Vec::new();
    let mut place = 0;
    for upstream in &config.upstreams {
        let plan = Arc::new(Plan::new(upstream, snapshot, secrets));
        for endpoint in &upstream.endpoints {
            let (plan, slots, target) = (Arc::clone(&plan), Arc::clone(&slots), endpoint.address.clone());
            running.spawn(async move {
                // Nobody closes the semaphore.
                let _slot = slots.acquire().await;
                (place, plan.perform(&target).await)
            });
            place += 1;
        }
    }
    while let Some(ended) = running.join_next().await {
        // A panic has been printed; the others count.
        done.extend(ended);
    }
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().flat_map(|(_, trials)| trials).collect()
}

/// What is done with each endpoint of one upstream.
struct Plan {
    upstream: String,
    how: &'static str,
    check: Check,
}

impl Plan {
    fn new(written: &Upstream, snapshot: &Snapshot, secrets: &Secrets) -> Plan {
        let compiled = snapshot.upstreams.iter().find(|upstream| *upstream.name == *written.name);
        let egress = compiled.and_then(|upstream| upstream.egress.as_deref());
        let connector = secrets.connector(&written.name);
        let tcp = Health::Tcp(TcpCheck { timeout: TIMEOUT, ..TcpCheck::default() });
        let check = |health: &Health| Check::new(health, egress, connector.as_deref(), announced(written));
        let (how, check) = match (&written.health, &connector) {
            (Some(health), _) => (kind(health), check(health)),
            (None, Some(connector)) => {
                ("TLS handshake", check(&tcp).by_handshake(Tls::of_upstream(connector)))
            }
            (None, None) => ("TCP connection", check(&tcp)),
        };
        Plan { upstream: written.name.clone(), how, check }
    }

    async fn perform(&self, target: &config::Target) -> Vec<Trial> {
        let failed = |endpoint: String, why: String| Trial {
            upstream: self.upstream.clone(),
            endpoint,
            how: "look-up",
            outcome: Err(why),
            took: Duration::ZERO,
        };
        let (addrs, name) = match target {
            config::Target::Address(config::Address::Ip(addr)) => {
                (vec![Addr::Ip(*addr)], addr.ip().to_string())
            }
            config::Target::Address(config::Address::Unix(path)) => {
                (vec![Addr::Unix(path.clone())], "localhost".to_owned())
            }
            config::Target::Address(config::Address::Passed(_)) => return Vec::new(),
            config::Target::Host { name, port } => {
                match tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name.as_str(), *port))).await {
                    Ok(Ok(addrs)) => (addrs.map(Addr::Ip).collect(), name.clone()),
                    Ok(Err(error)) => return vec![failed(name.clone(), format!("cannot resolve: {error}"))],
                    Err(_) => {
                        return vec![failed(name.clone(), "cannot resolve: no answer in time".to_owned())];
                    }
                }
            }
            // What a service's records say, only a running Ringway asks for.
            config::Target::Service { .. } => return Vec::new(),
        };
        let mut trials = Vec::with_capacity(addrs.len());
        for addr in addrs {
            let began = Instant::now();
            let outcome = match self.check.perform(&addr, &name).await {
                Verdict::Passed => Ok(()),
                Verdict::Failed(finding) | Verdict::Void(finding) => Err(finding.to_string()),
            };
            let (upstream, endpoint) = (self.upstream.clone(), addr.to_string());
            trials.push(Trial { upstream, endpoint, how: self.how, outcome, took: began.elapsed() });
        }
        trials
    }
}

fn kind(health: &Health) -> &'static str {
    match health {
        Health::Http(_) => "http check",
        Health::Tcp(_) => "tcp check",
        Health::Tls(_) => "TLS check",
        Health::Grpc(_) => "gRPC check",
        Health::Udp(_) => "udp check",
    }
}
