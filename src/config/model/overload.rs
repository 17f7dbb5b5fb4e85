//! What the node may use and what it does when that runs out.

use crate::literal::words;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

words! {
    /// Whether the node sheds work when memory, descriptors or time run out.
    pub enum Overload {
        /// It does, in steps.
        On = "on",
        /// It does not: for comparisons of speed on a machine of one's own.
        Off = "off",
    }
    default On;
}

/// Connections that one client address may have open on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerClient {
    /// As many as there are.
    Off,
    /// At most so many, 1 to [`PerClient::MAX`].
    At(u16),
}

impl PerClient {
    /// The counters have 15 bits.
    pub const MAX: u16 = 32_767;
}

impl Default for PerClient {
    fn default() -> Self {
        PerClient::At(256)
    }
}

impl Serialize for PerClient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PerClient::Off => serializer.serialize_str("off"),
            PerClient::At(connections) => serializer.serialize_u16(*connections),
        }
    }
}

impl JsonSchema for PerClient {
    fn schema_name() -> Cow<'static, str> {
        "PerClient".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "const": "off" }, { "type": "integer", "minimum": 1, "maximum": PerClient::MAX }] })
    }
}
