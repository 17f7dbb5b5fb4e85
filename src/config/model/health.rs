//! How the health of endpoints is known without traffic.

use super::{HeaderPair, Payload};
use crate::literal::{DurationText, duration, words};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// How endpoints are checked without traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// A request that must be answered with an expected status.
    Http(HttpCheck),
    /// A TCP connection that must be accepted.
    Tcp(TcpCheck),
    /// A TLS handshake that must be completed.
    Tls(TlsCheck),
    /// A call of `grpc.health.v1.Health/Check` that must be answered with SERVING.
    Grpc(GrpcCheck),
    /// A datagram that must be answered.
    Udp(UdpCheck),
}

/// An active check by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HttpCheck {
    /// Origin-form target, with an optional query.
    pub path: String,
    /// Default: GET.
    pub method: CheckMethod,
    /// `Host` of the check. Default: the endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Statuses that mean healthy. Default 200-399.
    pub expect: StatusSet,
    /// What the first 64 KiB of the body must contain. Default: any body will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Further fields of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderPair>,
    #[serde(flatten)]
    pub schedule: TcpCheck,
}

words! {
    /// The method of a check.
    pub enum CheckMethod {
        Get = "GET",
        Head = "HEAD",
        Options = "OPTIONS",
        /// Without a body.
        Post = "POST",
    }
    default Get;
}

/// An active check by TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TlsCheck {
    /// The name that is asked for and that the certificate must have. Default: the endpoint's IP address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// File of the authorities that are believed, in PEM. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Any certificate will do.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure: bool,
    #[serde(flatten)]
    pub schedule: TcpCheck,
}

/// An active check by gRPC, in clear text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct GrpcCheck {
    /// The service that is asked for. Default: the empty name, the server as a whole.
    pub service: String,
    /// `:authority` of the check. Default: the endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(flatten)]
    pub schedule: TcpCheck,
}

/// An active check by datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UdpCheck {
    /// What is sent.
    pub send: Payload,
    /// What the answer must contain. Default: any answer will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Payload>,
    #[serde(flatten)]
    pub schedule: TcpCheck,
}

/// When endpoints are checked and what a result means; all there is to say about a TCP check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TcpCheck {
    /// From one check to the next, plus or minus 20 %. Default 2 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub every: Duration,
    /// Connecting and the whole answer. Default 1 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// Successes in a row until a down endpoint is up. Default 2.
    pub rise: u16,
    /// Failures in a row until an up endpoint is down. Default 3.
    pub fall: u16,
}

impl Health {
    /// When and how often.
    pub fn schedule(&self) -> &TcpCheck {
        match self {
            Health::Http(check) => &check.schedule,
            Health::Tcp(schedule) => schedule,
            Health::Tls(check) => &check.schedule,
            Health::Grpc(check) => &check.schedule,
            Health::Udp(check) => &check.schedule,
        }
    }

    /// The word of the check.
    pub fn word(&self) -> &'static str {
        match self {
            Health::Http(_) => "http",
            Health::Tcp(_) => "tcp",
            Health::Tls(_) => "tls",
            Health::Grpc(_) => "grpc",
            Health::Udp(_) => "udp",
        }
    }
}

impl Default for TcpCheck {
    fn default() -> Self {
        TcpCheck { every: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 }
    }
}

/// Statuses `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

/// A set of statuses, written `200-399` or `200,204,300-308`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(pub Vec<StatusRange>);

impl StatusSet {
    /// Whether the status is one of the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| (range.first..=range.last).contains(&status))
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        StatusSet(vec![StatusRange { first: 200, last: 399 }])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", range.first)?;
            if range.last != range.first {
                write!(f, "-{}", range.last)?;
            }
        }
        Ok(())
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(flag: &bool) -> bool {
    !flag
}
