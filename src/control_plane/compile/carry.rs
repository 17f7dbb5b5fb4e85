//! What survives from one generation to the next: everything that was learnt or counted at run time.
//!
//! It is found again by name, never by position: an endpoint by its upstream's name and its address, a route by its
//! name, a retry budget by its upstream's name.

use base::addr::Addr;
use std::collections::HashMap;
use std::sync::Arc;
use traffic::health::EndpointCell;
use traffic::retry::RetryBudget;
use traffic::snapshot::Snapshot;
use traffic::stats::RouteStats;

/// The run-time state of a generation by identity; empty for the first one.
#[derive(Debug, Default)]
pub(super) struct Carried<'s> {
    cells: HashMap<(&'s str, &'s Addr), &'s Arc<EndpointCell>>,
    budgets: HashMap<&'s str, &'s Arc<RetryBudget>>,
    stats: HashMap<&'s str, &'s Arc<RouteStats>>,
}

impl<'s> Carried<'s> {
    pub(super) fn from(previous: Option<&'s Snapshot>) -> Self {
        let mut carried = Carried::default();
        let Some(previous) = previous else { return carried };
        for upstream in &previous.upstreams {
            carried.budgets.insert(&upstream.name, &upstream.budget);
            for endpoint in &upstream.endpoints {
                carried.cells.insert((&upstream.name, &endpoint.addr), &endpoint.cell);
            }
        }
        carried.stats.extend(previous.routes.iter().map(|route| (&*route.name, &route.stats)));
        carried
    }

    pub(super) fn cell(&self, upstream: &str, addr: &Addr) -> Option<Arc<EndpointCell>> {
        self.cells.get(&(upstream, addr)).map(|cell| Arc::clone(cell))
    }

    /// Whether the previous generation had an upstream of that name.
    pub(super) fn has_upstream(&self, name: &str) -> bool {
        self.budgets.contains_key(name)
    }

    pub(super) fn budget(&self, upstream: &str) -> Option<Arc<RetryBudget>> {
        self.budgets.get(upstream).map(|budget| Arc::clone(budget))
    }

    pub(super) fn stats(&self, route: &str) -> Option<Arc<RouteStats>> {
        self.stats.get(route).map(|stats| Arc::clone(stats))
    }
}
