//! How much an upstream is given at once.

use crate::literal::{DurationText, Percent, duration, words};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// How much may be asked of an upstream at once, over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamLimits {
    /// Open connections to all its endpoints, idle ones included. Default: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Requests in flight. Default: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Open connections to each of its endpoints. Default: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_connections: Option<u32>,
    /// Requests in flight at each of its endpoints. Default: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_requests: Option<u32>,
    /// Requests that wait for one of the above. Default: none wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long one may wait. Default 1 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub queue_timeout: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        UpstreamLimits {
            connections: None,
            requests: None,
            endpoint_connections: None,
            endpoint_requests: None,
            queue: None,
            queue_timeout: Duration::from_secs(1),
        }
    }
}

/// Stops asking what keeps failing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CircuitBreaker {
    /// Whose failures count together. Default: each endpoint's.
    pub scope: BreakerScope,
    /// Share of failures that opens it. Default 50 %.
    pub error_rate: Percent,
    /// Requests that there must be within the window. Default 20.
    pub requests: u32,
    /// Default 10 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub window: Duration,
    /// How long nothing is asked. Default 5 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub open_for: Duration,
    /// Requests that must succeed before it closes. Default 3.
    pub probes: u16,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        CircuitBreaker {
            scope: BreakerScope::Endpoint,
            error_rate: Percent::whole(50),
            requests: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            probes: 3,
        }
    }
}

words! {
    /// Whose failures a circuit breaker counts together.
    pub enum BreakerScope {
        /// Each endpoint has a breaker; the balancer passes over those that are open.
        Endpoint = "endpoint",
        /// One breaker for all endpoints, for what fails behind them.
        Upstream = "upstream",
    }
    default Endpoint;
}

/// Finds out how many requests at once the upstream answers as quickly as when it has few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AdaptiveConcurrency {
    /// Lowest limit, and the one at which latency is measured first. Default 4.
    pub min: u32,
    /// Highest limit. Default 1000.
    pub max: u32,
}

impl Default for AdaptiveConcurrency {
    fn default() -> Self {
        AdaptiveConcurrency { min: 4, max: 1000 }
    }
}

/// How many attempts of an upstream may be repetitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RetryBudget {
    /// Share of its requests. Default 20 %.
    pub ratio: Percent,
    /// And so many per second however few requests there are. Default 3.
    pub per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget { ratio: Percent::whole(20), per_second: 3 }
    }
}
