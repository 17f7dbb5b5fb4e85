//! Balanced groups of endpoints, how they are chosen and how their health is known.

use super::{
    AdaptiveConcurrency, CircuitBreaker, DnsSettings, Health, Origin, Outlier, RetryBudget, SendProxy,
    Sticky, UpstreamLimits, UpstreamTls,
};
use crate::literal::{Bound, DurationText, LoadFactor, Percent, Target, duration, words};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A balanced group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Upstream {
    /// Unique; routes refer to it.
    pub name: String,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// Default: [`Balance::P2cEwma`].
    pub balance: Balance,
    /// What ring-hash and maglev hash. Default: the client's address.
    pub hash_key: HashKey,
    /// How much more than its share an endpoint may carry before hashed requests go elsewhere. Default: any amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<LoadFactor>,
    /// Health of our zone below which traffic goes to others in proportion. Default 70 %.
    pub spill_over: Percent,
    /// Keeps clients at their endpoints by a cookie. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Active checks; `None` leaves health to what traffic shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When traffic alone takes an endpoint out.
    pub outlier: Outlier,
    /// Below that healthy share all endpoints count. Default 30%; off: then nobody serves.
    pub panic: Bound<Percent>,
    /// Time in which an endpoint that is new or comes back gets its full share. Default 10 s.
    pub slow_start: Bound<Duration>,
    /// What the endpoints speak. Default: HTTP/1.1.
    pub protocol: Protocol,
    /// Default: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Where connections come from. Empty: the kernel chooses, the default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<Source>,
    /// Tells endpoints who the client of each connection is. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy: Option<SendProxy>,
    pub timeouts: UpstreamTimeouts,
    pub limits: UpstreamLimits,
    #[serde(skip_serializing_if = "DnsSettings::is_empty")]
    pub dns: DnsSettings,
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Default: no limit of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    pub retry_budget: RetryBudget,
    #[serde(skip)]
    pub origin: Origin,
}

impl Upstream {
    /// Default of [`Upstream::panic`].
    pub const PANIC: Bound<Percent> = Bound::At(Percent::whole(30));
    /// Default of [`Upstream::slow_start`].
    pub const SLOW_START: Bound<Duration> = Bound::At(Duration::from_secs(10));
}

/// One address of an upstream, or a name that stands for some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    pub address: Target,
    /// Share of the traffic relative to the others, 0 to 1000; with 0 only sessions stay. Default 1. Each address of a
    /// name has it; the weights of a service's records are multiplied by it.
    pub weight: u16,
    /// Default: primary.
    pub tier: Tier,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    #[serde(skip)]
    pub origin: Origin,
}

words! {
    /// When an endpoint is used.
    pub enum Tier {
        /// Always.
        Primary = "primary",
        /// Only while no primary endpoint can serve.
        Backup = "backup",
    }
    default Primary;
}

words! {
    /// How an endpoint is chosen.
    pub enum Balance {
        /// In turn, by weight, interleaved evenly.
        RoundRobin = "round-robin",
        /// At random, by weight.
        Random = "random",
        /// The one with the fewest exchanges in flight for its weight.
        LeastConnections = "least-connections",
        /// The better of two random ones, by peak latency average times exchanges in flight.
        P2cEwma = "p2c-ewma",
        /// By hash on a ring: a change of the endpoints moves few keys.
        RingHash = "ring-hash",
        /// By hash in a Maglev table: most even, moves slightly more keys than the ring.
        Maglev = "maglev",
    }
    default P2cEwma;
}

/// Default of `spill-over`.
pub(crate) const SPILL_OVER: Percent = Percent::whole(70);

impl Balance {
    /// Whether the choice depends on [`HashKey`].
    pub fn hashes(self) -> bool {
        matches!(self, Balance::RingHash | Balance::Maglev)
    }
}

/// What a hashing balancer hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, after trusted proxies.
    #[default]
    ClientIp,
    /// The client's address and port, which is to say each flow; for datagrams only.
    ClientIpPort,
    /// A request field; requests without it are spread at random.
    Header(String),
    /// A cookie; requests without it are spread at random.
    Cookie(String),
    /// A query parameter; requests without it are spread at random.
    Query(String),
    /// The path without the query.
    Path,
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashKey::ClientIp => f.write_str("client.ip"),
            HashKey::ClientIpPort => f.write_str("client.ip-port"),
            HashKey::Header(name) => write!(f, "header:{name}"),
            HashKey::Cookie(name) => write!(f, "cookie:{name}"),
            HashKey::Query(name) => write!(f, "query:{name}"),
            HashKey::Path => f.write_str("path"),
        }
    }
}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where connections to endpoints come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This address of the machine.
    Address(IpAddr),
    /// The address of the client that the connection is made for.
    Client,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Address(ip) => ip.fmt(f),
            Source::Client => f.write_str("client"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["10.0.0.5", "client"] })
    }
}

words! {
    /// What the endpoints of an upstream speak.
    pub enum Protocol {
        /// HTTP/1.1, in clear text or over TLS.
        Http1 = "http1",
        /// HTTP/2 in clear text, with prior knowledge.
        H2c = "h2c",
        /// HTTP/2 over TLS.
        H2 = "h2",
    }
    default Http1;
    later "auto";
}

impl Protocol {
    /// Whether requests share connections.
    pub fn is_http2(self) -> bool {
        self != Protocol::Http1
    }
}

/// How long an endpoint may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamTimeouts {
    /// Until a connection stands. Default 1 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub connect: Duration,
    /// A complete TLS handshake. Default 3 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub handshake: Duration,
    /// From the sent request to the response head; a route may say otherwise. Default 30 s.
    pub response_header: Bound<Duration>,
    /// Between two reads of a response body. Default 60 s.
    pub idle: Bound<Duration>,
    /// How long an unused connection is kept. Default 55 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub keep_alive: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts {
            connect: Duration::from_secs(1),
            handshake: Duration::from_secs(3),
            response_header: Bound::At(Duration::from_secs(30)),
            idle: Bound::At(Duration::from_secs(60)),
            keep_alive: Duration::from_secs(55),
        }
    }
}
