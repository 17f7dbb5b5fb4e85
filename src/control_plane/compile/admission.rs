//! How much an upstream may be given at once: bounds of this generation over the state of all.

use super::Compiler;
use base::addr::Addr;
use config::model::{BreakerScope, CircuitBreaker, Upstream};
use std::sync::Arc;
use traffic::admission::{AdaptiveRules, Admission, BreakerRules, Gate, Valve};
use traffic::retry::{BudgetRules, RetryBudget};

impl Compiler<'_> {
    /// `None` where nothing is limited: then requests pass without being counted.
    pub(super) fn admission(&self, written: &Upstream) -> Option<Admission> {
        let limits = &written.limits;
        let limited = [
            limits.connections,
            limits.requests,
            limits.queue,
            limits.endpoint_connections,
            limits.endpoint_requests,
        ];
        let any = limited.iter().any(Option::is_some)
            || written.circuit_breaker.is_some()
            || written.adaptive_concurrency.is_some();
        let breaker =
            written.circuit_breaker.as_ref().filter(|breaker| breaker.scope == BreakerScope::Upstream);
        any.then(|| Admission {
            requests_max: limits.requests.unwrap_or(u32::MAX),
            connections_max: limits.connections.unwrap_or(u32::MAX),
            queue_max: limits.queue.unwrap_or(0),
            queue_timeout: limits.queue_timeout,
            breaker: breaker.map(breaker_rules),
            adaptive: written
                .adaptive_concurrency
                .as_ref()
                .map(|written| AdaptiveRules { min: written.min, max: written.max }),
            gate: self.carried.gate(&written.name).unwrap_or_else(|| Arc::new(Gate::new(self.workers))),
        })
    }

    /// What has been saved is kept as long as the rules are the same.
    pub(super) fn budget(&self, written: &Upstream) -> Arc<RetryBudget> {
        let (ratio, per_second) = (written.retry_budget.ratio, written.retry_budget.per_second);
        let rules = BudgetRules { permille: ratio.permille(), per_second };
        let carried = self.carried.budget(&written.name).filter(|budget| *budget.rules() == rules);
        carried.unwrap_or_else(|| Arc::new(RetryBudget::with(rules)))
    }

    /// The part of one endpoint; `None` where it has no bounds of its own.
    pub(super) fn valve(&self, written: &Upstream, addr: &Addr) -> Option<Arc<Valve>> {
        let limits = &written.limits;
        let breaker =
            written.circuit_breaker.as_ref().filter(|breaker| breaker.scope == BreakerScope::Endpoint);
        let is_limited =
            limits.endpoint_connections.is_some() || limits.endpoint_requests.is_some() || breaker.is_some();
        is_limited.then(|| {
            Arc::new(Valve {
                requests_max: limits.endpoint_requests.unwrap_or(u32::MAX),
                connections_max: limits.endpoint_connections.unwrap_or(u32::MAX),
                breaker: breaker.map(breaker_rules),
                state: self.carried.valve(&written.name, addr).unwrap_or_default(),
            })
        })
    }
}

fn breaker_rules(written: &CircuitBreaker) -> BreakerRules {
    BreakerRules {
        error_permille: written.error_rate.permille().max(1),
        requests_min: written.requests,
        window: written.window,
        open_for: written.open_for,
        probes: written.probes,
    }
}
