//! What survives from one generation to the next: everything that was learnt or counted at run time.
//!
//! It is found again by name, never by position: an endpoint by its upstream's name and its address, a route by its
//! name, what is in use and the retry budget by the upstream's name.

use auth::{BasicPolicy, CertificatePolicy, ForwardPolicy, IntrospectionPolicy, JwtPolicy, KeysPolicy};
use base::addr::Addr;
use std::collections::HashMap;
use std::sync::Arc;
use traffic::admission::{Gate, ValveState};
use traffic::ask::Desk;
use traffic::balance::Balancer;
use traffic::flow::FlowStats;
use traffic::health::EndpointCell;
use traffic::limit::Limiter;
use traffic::retry::RetryBudget;
use traffic::snapshot::{Access, Snapshot, Upstream};
use traffic::stats::RouteStats;
use traffic::sticky::Key;
use traffic::udp::UdpStats;
use traffic::upstream_stats::UpstreamStats;

/// The run-time state of a generation by identity; empty for the first one.
#[derive(Debug, Default)]
pub(super) struct Carried<'s> {
    cells: HashMap<(&'s str, &'s Addr), &'s Arc<EndpointCell>>,
    upstreams: HashMap<&'s str, &'s Upstream>,
    valves: HashMap<(&'s str, &'s Addr), &'s Arc<ValveState>>,
    stats: HashMap<&'s str, &'s Arc<RouteStats>>,
    /// Of TCP listeners.
    flows: HashMap<&'s str, &'s Arc<FlowStats>>,
    access: Option<&'s Access>,
    limiters: HashMap<&'s str, &'s Arc<Limiter>>,
    caches: HashMap<&'s str, &'s Arc<cache::Store>>,
    /// Of UDP listeners.
    datagrams: HashMap<&'s str, &'s Arc<UdpStats>>,
}

impl<'s> Carried<'s> {
    pub(super) fn from(previous: Option<&'s Snapshot>) -> Self {
        let mut carried = Carried::default();
        let Some(previous) = previous else { return carried };
        carried.access = Some(&previous.access);
        carried.limiters.extend(previous.limiters.iter().map(|limiter| (&*limiter.name, limiter)));
        carried.caches.extend(previous.caches.iter().map(|store| (&*store.name, store)));
        for upstream in &previous.upstreams {
            carried.upstreams.insert(&upstream.name, upstream);
            for endpoint in &upstream.endpoints {
                if let Some(valve) = &endpoint.valve {
                    carried.valves.insert((&upstream.name, &endpoint.addr), &valve.state);
                }
                carried.cells.insert((&upstream.name, &endpoint.addr), &endpoint.cell);
            }
        }
        let flows = previous.listeners.iter().filter_map(|l| Some((&*l.name, &l.passthrough()?.stats)));
        carried.flows.extend(flows);
        let datagrams = previous.listeners.iter().filter_map(|l| Some((&*l.name, &l.datagrams()?.stats)));
        carried.datagrams.extend(datagrams);
        carried.stats.extend(previous.routes.iter().map(|route| (&*route.name, &route.stats)));
        carried
    }

    pub(super) fn cell(&self, upstream: &str, addr: &Addr) -> Option<Arc<EndpointCell>> {
        self.cells.get(&(upstream, addr)).map(|cell| Arc::clone(cell))
    }

    /// The store of that name, with what it keeps, if its size stays.
    pub(super) fn cache(&self, name: &str, bytes_max: u64) -> Option<Arc<cache::Store>> {
        self.caches.get(name).filter(|store| store.bytes_max == bytes_max).map(|store| Arc::clone(store))
    }

    pub(super) fn jwt(&self, name: &str) -> Option<&'s Arc<JwtPolicy>> {
        self.access?.jwt.iter().find(|policy| &*policy.name == name)
    }

    pub(super) fn limiter(&self, name: &str) -> Option<&'s Arc<Limiter>> {
        self.limiters.get(name).copied()
    }

    pub(super) fn desk(&self, scheme: &str, policy: &str) -> Option<&'s Arc<Desk>> {
        self.access?.desk(scheme, policy)
    }

    pub(super) fn keys(&self, name: &str) -> Option<&'s Arc<KeysPolicy>> {
        self.access?.keys.iter().find(|policy| &*policy.name == name)
    }

    pub(super) fn basic(&self, name: &str) -> Option<&'s Arc<BasicPolicy>> {
        self.access?.basic.iter().find(|policy| &*policy.name == name)
    }

    pub(super) fn forward(&self, name: &str) -> Option<&'s Arc<ForwardPolicy>> {
        self.access?.forward.iter().find(|policy| &*policy.name == name)
    }

    pub(super) fn introspection(&self, name: &str) -> Option<&'s Arc<IntrospectionPolicy>> {
        self.access?.introspection.iter().find(|policy| &*policy.tokens.name == name)
    }

    pub(super) fn mtls(&self, name: &str) -> Option<&'s Arc<CertificatePolicy>> {
        self.access?.mtls.iter().find(|policy| &*policy.name == name)
    }

    /// Whether the previous generation had endpoints in an upstream of that name.
    pub(super) fn has_endpoints(&self, upstream: &str) -> bool {
        self.upstreams.get(upstream).is_some_and(|upstream| !upstream.endpoints.is_empty())
    }

    pub(super) fn budget(&self, upstream: &str) -> Option<Arc<RetryBudget>> {
        self.upstreams.get(upstream).map(|upstream| Arc::clone(&upstream.budget))
    }

    pub(super) fn balancer(&self, upstream: &str) -> Option<&'s Balancer> {
        self.upstreams.get(upstream).map(|upstream| &upstream.balancer)
    }

    pub(super) fn upstream_stats(&self, upstream: &str) -> Option<Arc<UpstreamStats>> {
        self.upstreams.get(upstream).map(|upstream| Arc::clone(&upstream.stats))
    }

    /// The key of an upstream's sessions that only this process knows.
    pub(super) fn key_of_process(&self, upstream: &str) -> Option<Key> {
        let key = self.upstreams.get(upstream)?.sticky.as_ref()?.key();
        key.ends_with_process().then(|| key.clone())
    }

    pub(super) fn gate(&self, upstream: &str) -> Option<Arc<Gate>> {
        let admission = self.upstreams.get(upstream)?.admission.as_ref()?;
        Some(Arc::clone(&admission.gate))
    }

    pub(super) fn valve(&self, upstream: &str, addr: &Addr) -> Option<Arc<ValveState>> {
        self.valves.get(&(upstream, addr)).map(|valve| Arc::clone(valve))
    }

    pub(super) fn flow_stats(&self, listener: &str) -> Option<Arc<FlowStats>> {
        self.flows.get(listener).map(|stats| Arc::clone(stats))
    }

    pub(super) fn udp_stats(&self, listener: &str) -> Option<Arc<UdpStats>> {
        self.datagrams.get(listener).map(|stats| Arc::clone(stats))
    }

    pub(super) fn stats(&self, route: &str) -> Option<Arc<RouteStats>> {
        self.stats.get(route).map(|stats| Arc::clone(stats))
    }
}
