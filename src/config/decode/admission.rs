//! How much an upstream is given at once.

use super::{Decoder, Scope};
use crate::literal::Percent;
use crate::model::{AdaptiveConcurrency, CircuitBreaker, RetryBudget, UpstreamLimits};

impl Decoder<'_> {
    pub(super) fn upstream_limits(&mut self, scope: &Scope<'_>) -> UpstreamLimits {
        let default = UpstreamLimits::default();
        let mut limit = |key| scope.scalar(key).and_then(|scalar| self.as_number(key, scalar, 1..=u32::MAX));
        UpstreamLimits {
            connections: limit("connections"),
            requests: limit("requests"),
            endpoint_connections: limit("endpoint-connections"),
            endpoint_requests: limit("endpoint-requests"),
            queue: limit("queue"),
            queue_timeout: self.positive(scope, "queue-timeout", default.queue_timeout),
        }
    }

    pub(super) fn circuit_breaker(&mut self, scope: &Scope<'_>) -> CircuitBreaker {
        let default = CircuitBreaker::default();
        let error_rate = match self.literal::<Percent>(scope, "error-rate") {
            Some(rate) if rate == Percent::whole(0) => {
                if let Some(scalar) = scope.scalar("error-rate") {
                    self.wrong("error-rate", scalar, "a percentage above 0%");
                }
                default.error_rate
            }
            written => written.unwrap_or(default.error_rate),
        };
        CircuitBreaker {
            scope: self.literal_or(scope, "scope", default.scope),
            error_rate,
            requests: self.number(scope, "requests", 1..=10_000, default.requests),
            window: self.positive(scope, "window", default.window),
            open_for: self.positive(scope, "open-for", default.open_for),
            probes: self.number(scope, "probes", 1..=1000, default.probes),
        }
    }

    pub(super) fn adaptive_concurrency(&mut self, scope: &Scope<'_>) -> AdaptiveConcurrency {
        let default = AdaptiveConcurrency::default();
        AdaptiveConcurrency {
            min: self.number(scope, "min", 1..=1_000_000, default.min),
            max: self.number(scope, "max", 1..=1_000_000, default.max),
        }
    }

    pub(super) fn retry_budget(&mut self, scope: &Scope<'_>) -> RetryBudget {
        let default = RetryBudget::default();
        RetryBudget {
            ratio: self.literal_or(scope, "ratio", default.ratio),
            per_second: self.number(scope, "per-second", 0..=100_000, default.per_second),
        }
    }
}
