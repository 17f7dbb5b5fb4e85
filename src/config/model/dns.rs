//! How names of endpoints are resolved.

use super::{Config, Upstream};
use crate::literal::{DurationText, duration, words};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A server to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DnsServer(pub SocketAddr);

words! {
    /// Which addresses of a host are used.
    pub enum Addresses {
        /// A records.
        Ipv4 = "ipv4",
        /// AAAA records.
        Ipv6 = "ipv6",
        /// Both.
        Any = "any",
    }
    default Any;
}

/// What is written about resolving, at the top of the file or in an upstream; what is left out there comes from further
/// out, and in the end from [`Dns::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DnsSettings {
    /// Default: those of `/etc/resolv.conf`, with its search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<DnsServer>,
    /// How long an answer counts at least, whatever it says. Default 1 s.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_duration")]
    #[schemars(with = "DurationText")]
    pub ttl_min: Option<Duration>,
    /// How long an answer counts at most. Default 5 min.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_duration")]
    #[schemars(with = "DurationText")]
    pub ttl_max: Option<Duration>,
    /// For an answer, from whatever server. Default 2 s.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_duration")]
    #[schemars(with = "DurationText")]
    pub timeout: Option<Duration>,
    /// Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
}

impl DnsSettings {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        *self == DnsSettings::default()
    }
}

/// How the names of one upstream are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dns {
    /// Empty: those of `/etc/resolv.conf`.
    pub servers: Vec<DnsServer>,
    pub ttl_min: Duration,
    pub ttl_max: Duration,
    pub timeout: Duration,
    pub addresses: Addresses,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            servers: Vec::new(),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(300),
            timeout: Duration::from_secs(2),
            addresses: Addresses::Any,
        }
    }
}

impl Config {
    /// What counts for the names of `upstream`: of each value the nearest one.
    pub fn dns_of(&self, upstream: &Upstream) -> Dns {
        self.dns_near(&upstream.dns)
    }

    /// What counts for the names of services that Ringway itself asks.
    pub fn dns_of_services(&self) -> Dns {
        self.dns_near(&DnsSettings::default())
    }

    fn dns_near(&self, near: &DnsSettings) -> Dns {
        let (far, default) = (&self.dns, Dns::default());
        let servers = if near.servers.is_empty() { &far.servers } else { &near.servers };
        Dns {
            servers: servers.clone(),
            ttl_min: near.ttl_min.or(far.ttl_min).unwrap_or(default.ttl_min),
            ttl_max: near.ttl_max.or(far.ttl_max).unwrap_or(default.ttl_max),
            timeout: near.timeout.or(far.timeout).unwrap_or(default.timeout),
            addresses: near.addresses.or(far.addresses).unwrap_or(default.addresses),
        }
    }
}

fn some_duration<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    // `None` is left out before it gets here.
    duration(&value.unwrap_or_default(), serializer)
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for DnsServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for DnsServer {
    fn schema_name() -> Cow<'static, str> {
        "DnsServer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["10.0.0.53:53"] })
    }
}
