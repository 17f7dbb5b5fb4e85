//! What only shows when all endpoints of an upstream are looked at together, once a second: whose success rate is far
//! below that of the others, whether too few are healthy, which ejections have begun or ended, and whether connections
//! lack a port or a source address of ours.
//!
//! Workers eject and fail open by themselves; lines about it are written here, because they write none.

use crate::node::Node;
use crate::notice::notice;
use base::Instant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use traffic::health::{EndpointCell, Health, Interval, Outliers, SuccessRateRules, Why, outliers};
use traffic::snapshot::{Endpoint, Upstream};

/// How often each upstream began to fail open. One entry per upstream at most.
#[derive(Debug, Default)]
pub(crate) struct Panics(Mutex<HashMap<Arc<str>, u64>>);

impl Panics {
    pub(crate) fn begun(&self, upstream: &str) -> u64 {
        self.lock().get(upstream).copied().unwrap_or_default()
    }

    fn begin(&self, upstream: &str) {
        *self.lock().entry(upstream.into()).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, u64>> {
        // Numbers are whole whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn run(node: Arc<Node>) {
    let mut observer = Observer::default();
    loop {
        tokio::time::sleep(EVERY).await;
        observer.look(&node, node.now());
    }
}

/// What was seen last time.
#[derive(Default)]
pub(super) struct Observer {
    upstreams: HashMap<Arc<str>, Seen>,
}

#[derive(Default)]
struct Seen {
    panics: bool,
    ports: Shortage,
    sources: Shortage,
    endpoints: HashMap<Arc<str>, SeenEndpoint>,
    /// When success rates were last compared; `None` before the first interval.
    compared: Option<Instant>,
}

#[derive(Default)]
struct SeenEndpoint {
    ejected: bool,
    /// Its success rate when that last was the worst, in words.
    rate: String,
    /// Attempts ended and failed up to the beginning of the interval.
    counted: Interval,
}

impl Observer {
    pub(super) fn look(&mut self, node: &Node, now: Instant) {
        let snapshot = node.snapshot();
        self.upstreams.retain(|name, _| snapshot.upstreams.iter().any(|upstream| upstream.name == *name));
        for upstream in &snapshot.upstreams {
            let seen = self.upstreams.entry(upstream.name.clone()).or_default();
            seen.endpoints.retain(|text, _| upstream.endpoints.iter().any(|endpoint| endpoint.text == *text));
            if let Some(rules) = &upstream.success_rate {
                seen.compare(upstream, rules, now);
            }
            seen.notice_ejections(upstream, now);
            seen.notice_panic(node, upstream, now);
            seen.notice_shortages(upstream, now);
        }
    }
}

impl Seen {
    /// At the end of an interval: ejects whoever fails far more often than the others.
    fn compare(&mut self, upstream: &Upstream, rules: &SuccessRateRules, now: Instant) {
        let is_due = self.compared.is_none_or(|last| now.since(last) >= rules.every);
        if !is_due {
            return;
        }
        // An interval that is much too long has a gap in it.
        let is_whole = self.compared.is_some_and(|last| now.since(last) < rules.every + 3 * EVERY);
        self.compared = Some(now);
        let mut intervals = Vec::new();
        for (place, endpoint) in upstream.endpoints.iter().enumerate() {
            let cell = &endpoint.cell;
            let total = Interval { ended: cell.ended(), failed: cell.failures() };
            let seen = self.endpoints.entry(endpoint.text.clone()).or_default();
            let interval = Interval {
                ended: total.ended.saturating_sub(seen.counted.ended),
                failed: total.failed.saturating_sub(seen.counted.failed),
            };
            seen.counted = total;
            if is_whole && takes_part(cell, now) {
                intervals.push((place, interval));
            }
        }
        if let Some(found) = outliers(rules, &intervals) {
            self.eject(upstream, &found, &intervals, now);
        }
    }

    /// As many of the outliers as may be ejected, the worst first.
    fn eject(
        &mut self,
        upstream: &Upstream,
        found: &Outliers,
        intervals: &[(usize, Interval)],
        now: Instant,
    ) {
        let endpoints = &upstream.endpoints;
        let up = endpoints.iter().filter(|endpoint| endpoint.cell.health() == Health::Up).count();
        let ejected = endpoints.iter().filter(|endpoint| endpoint.cell.ejected_since(now).is_some()).count();
        let max = upstream.balancer.thresholds().ejected_max(endpoints.len(), up);
        for place in found.places.iter().take(max.saturating_sub(ejected)) {
            let endpoint = &endpoints[*place];
            let interval = intervals.iter().find(|(at, _)| at == place).map(|(_, interval)| *interval);
            if endpoint.cell.eject(now, Why::SuccessRate, &upstream.ejection)
                && let Some(seen) = self.endpoints.get_mut(&endpoint.text)
            {
                seen.rate = format!(
                    "{:.1} % of its requests succeeded, where the mean is {:.1} %",
                    interval.unwrap_or_default().success_rate() * 100.0,
                    found.mean * 100.0
                );
            }
        }
    }

    fn notice_ejections(&mut self, upstream: &Upstream, now: Instant) {
        for endpoint in &upstream.endpoints {
            let ejected = endpoint.cell.health() == Health::Up && endpoint.cell.ejected_since(now).is_some();
            let seen = self.endpoints.entry(endpoint.text.clone()).or_default();
            if std::mem::replace(&mut seen.ejected, ejected) != ejected {
                announce(upstream, endpoint, ejected.then_some(&seen.rate), now);
            }
        }
    }

    fn notice_shortages(&mut self, upstream: &Upstream, now: Instant) {
        let name = &upstream.name;
        if self.ports.begins(upstream.stats.sum(|shard| &shard.ports_exhausted), now) {
            notice(format_args!(
                "upstream \"{name}\": no local port is free for connections; add addresses to `source`, or widen \
                 net.ipv4.ip_local_port_range"
            ));
        }
        if self.sources.begins(upstream.stats.sum(|shard| &shard.source_unavailable), now) {
            notice(format_args!(
                "upstream \"{name}\": connections cannot come from the `source` that is written: it is no address of \
                 this machine any more, the client has none of the endpoint's family, or a right is missing"
            ));
        }
    }

    fn notice_panic(&mut self, node: &Node, upstream: &Upstream, now: Instant) {
        let panics = upstream.balancer.panics(now);
        if std::mem::replace(&mut self.panics, panics) == panics {
            return;
        }
        let name = &upstream.name;
        if panics {
            node.panics.begin(name);
            let percent = upstream.balancer.thresholds().healthy_permille_min / 10;
            notice(format_args!(
                "upstream \"{name}\": less than {percent} % of its endpoints are healthy; using all of them"
            ));
        } else {
            notice(format_args!("upstream \"{name}\": enough endpoints are healthy again"));
        }
    }
}

/// Something that is told of once when it begins, and again only after it has been over for [`QUIET`].
#[derive(Default)]
struct Shortage {
    count: u64,
    last: Option<Instant>,
}

/// Less than that is a pause.
const QUIET: Duration = Duration::from_secs(60);

impl Shortage {
    /// Whether a new one begins, by a counter of everything that was short.
    fn begins(&mut self, count: u64, now: Instant) -> bool {
        if std::mem::replace(&mut self.count, count) == count {
            return false;
        }
        let last = self.last.replace(now);
        last.is_none_or(|last| now.since(last) > QUIET)
    }
}

/// Whether an endpoint's rate counts: it served for the whole interval, as far as we know.
fn takes_part(cell: &EndpointCell, now: Instant) -> bool {
    cell.is_available(now)
}

/// `rate` is there when an ejection has begun.
fn announce(upstream: &Upstream, endpoint: &Endpoint, rate: Option<&String>, now: Instant) {
    let (name, text, cell) = (&upstream.name, &endpoint.text, &endpoint.cell);
    match (cell.ejected_until(now), rate) {
        (Some(until), Some(rate)) => {
            let why = match cell.ejected_why() {
                Why::FailuresInARow => format!("{} failures in a row", cell.failures_in_a_row()),
                Why::SuccessRate => rate.clone(),
            };
            let seconds = until.since(now).as_secs_f64().round();
            notice(format_args!("upstream \"{name}\": {text} is ejected for {seconds} s: {why}"));
        }
        _ if cell.health() == Health::Up => {
            notice(format_args!("upstream \"{name}\": {text} is no longer ejected"));
        }
        // Its checks have said already that it is down.
        _ => {}
    }
}

const EVERY: Duration = Duration::from_secs(1);
