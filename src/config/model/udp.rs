//! Entry points for UDP: datagrams are passed on as they are, and answers come back to whom they are for.

use super::Origin;
use crate::literal::{Address, DurationText, duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// An entry point whose datagrams are passed through to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Udp {
    /// Unique among all entry points.
    pub name: String,
    /// IP addresses; at least one.
    #[serde(rename = "bind")]
    pub binds: Vec<Address>,
    /// Name of the upstream that takes the datagrams.
    pub upstream: String,
    /// A flow ends when no datagram has come for so long, in either direction. Default 30 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub flow_idle: Duration,
    /// A flow ends once each of the client's datagrams has been answered by so many. Default: off.
    pub responses: Count,
    /// Bytes of answers for each byte of a client that has sent nothing since the first answer. Default: off.
    pub reply_ratio: Count,
    pub limits: UdpLimits,
    #[serde(skip)]
    pub origin: Origin,
}

/// How many flows there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UdpLimits {
    /// Flows over all workers. Default 16,384.
    pub flows: u32,
    /// Flows of one client address over all workers; the least recently used one makes room. Default 1024.
    pub flows_per_client: Count,
}

impl Default for UdpLimits {
    fn default() -> Self {
        UdpLimits { flows: 16_384, flows_per_client: Count::At(1024) }
    }
}

/// A number from 1 to [`Count::MAX`], or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    #[default]
    Off,
    At(u32),
}

impl Count {
    pub const MAX: u32 = 1_000_000;

    /// The number, if there is one.
    pub fn at(self) -> Option<u32> {
        match self {
            Count::Off => None,
            Count::At(count) => Some(count),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Count::Off => serializer.serialize_str("off"),
            Count::At(count) => serializer.serialize_u32(*count),
        }
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "const": "off" }, { "type": "integer", "minimum": 1, "maximum": Count::MAX }] })
    }
}
