//! Entry points for plain TCP: bytes are passed on as they are.

use super::{Origin, PerClient};
use crate::literal::{Address, DurationText, duration, optional_duration};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// An entry point whose connections are passed through to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Tcp {
    /// Unique among all entry points.
    pub name: String,
    /// Addresses; at least one.
    #[serde(rename = "bind")]
    pub binds: Vec<Address>,
    /// Name of the upstream that takes the connections.
    pub upstream: String,
    pub timeouts: TcpTimeouts,
    pub limits: TcpLimits,
    pub retry: TcpRetry,
    #[serde(skip)]
    pub origin: Origin,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TcpTimeouts {
    /// Until an endpoint has accepted; each attempt has so long. Default: that of the upstream.
    #[serde(serialize_with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub connect: Option<Duration>,
    /// Without a byte in either direction. Default 10 min.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub idle: Duration,
    /// Without a byte from the other side after one has ended its own. Default 5 min.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub half_closed: Duration,
}

impl Default for TcpTimeouts {
    fn default() -> Self {
        TcpTimeouts { connect: None, idle: Duration::from_secs(600), half_closed: Duration::from_secs(300) }
    }
}

/// How much clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TcpLimits {
    /// Open connections over all workers; accepting pauses there. Default 65,536.
    pub connections: u32,
    /// Open connections of one client address over all workers; more are closed at once. Default 256.
    pub connections_per_client: PerClient,
}

impl Default for TcpLimits {
    fn default() -> Self {
        TcpLimits { connections: 65_536, connections_per_client: PerClient::default() }
    }
}

/// Whether another endpoint is tried when one does not accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TcpRetry {
    /// Attempts after the first one, 0 to 2. Default 1.
    pub attempts: u8,
}

impl Default for TcpRetry {
    fn default() -> Self {
        TcpRetry { attempts: 1 }
    }
}
