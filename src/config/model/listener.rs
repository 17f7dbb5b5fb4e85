//! Entry points: where we listen and what a client may cost there.

use super::{ListenerTls, Origin, PerClient, ProxyProtocol, SocketFile};
use crate::literal::{Address, Bound, ByteRate, Bytes, Cidr, DurationText, duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// An entry point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Listener {
    /// Unique; sites refer to it.
    pub name: String,
    /// Addresses; at least one.
    #[serde(rename = "bind")]
    pub binds: Vec<Address>,
    /// Whose its Unix sockets are, and who may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_file: Option<SocketFile>,
    /// Who announces clients by the PROXY protocol. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Peers whose `X-Forwarded-*` and `Forwarded` fields are believed. Default: nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Cidr>,
    /// Forward request fields whose names contain `_` instead of dropping them. Default: drop them.
    pub unsafe_underscore_fields: bool,
    /// A client that ends its sending side while it waits counts as gone; a route may say otherwise. Default: it is
    /// still answered.
    pub abort_on_close: bool,
    pub http2: Http2,
    /// Default: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    pub timeouts: ListenerTimeouts,
    pub limits: ListenerLimits,
    #[serde(skip)]
    pub origin: Origin,
}

/// Whether clients may speak HTTP/2. Default: no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    #[default]
    Off,
    /// Those that choose it in TLS (ALPN, RFC 9113 §3.2).
    On,
    /// Those that begin with its preface, on a connection without TLS (RFC 9113 §3.3). HTTP/1.1 is spoken beside it.
    Cleartext,
}

impl Serialize for Http2 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Http2::Off => serializer.serialize_bool(false),
            Http2::On => serializer.serialize_bool(true),
            Http2::Cleartext => serializer.serialize_str("cleartext"),
        }
    }
}

impl JsonSchema for Http2 {
    fn schema_name() -> Cow<'static, str> {
        "Http2".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "type": "boolean" }, { "const": "cleartext" }] })
    }
}

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerTimeouts {
    /// A complete TLS handshake. Default 5 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub handshake: Duration,
    /// A complete request head, from the accept or from its first byte. Default 10 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub header: Duration,
    /// Between two requests on one connection. Default 75 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub keep_alive: Duration,
    /// A connection that speaks HTTP/2 and carries no request. Default 300 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub http2_idle: Duration,
    /// Between two reads of a request body. Default 30 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub body_idle: Duration,
    /// Slowest request body, measured over 10 s. Default 1 KiB/s.
    pub body_rate: Bound<ByteRate>,
    /// Without any progress of a response that the client should read. Default 60 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub send_idle: Duration,
    /// Slowest reader of a response, measured over 30 s. Default 1 KiB/s.
    pub send_rate: Bound<ByteRate>,
    /// An upgraded connection without a byte in either direction. Default 10 min.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub tunnel_idle: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        ListenerTimeouts {
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            http2_idle: Duration::from_secs(300),
            body_idle: Duration::from_secs(30),
            body_rate: Bound::At(ByteRate(1024)),
            send_idle: Duration::from_secs(60),
            send_rate: Bound::At(ByteRate(1024)),
            tunnel_idle: Duration::from_secs(600),
        }
    }
}

/// How much a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerLimits {
    /// Open connections over all workers; accepting pauses there. Default 65,536.
    pub connections: u32,
    /// Open connections of one client address over all workers; more are closed at once. Default 256.
    pub connections_per_client: PerClient,
    /// Requests on one connection before it is closed. Default 10,000.
    pub requests_per_connection: u32,
    /// Requests that may be under way at once on one connection that speaks HTTP/2. Default 100.
    pub streams: u32,
    /// Request line and all fields together. Default 32 KiB.
    pub header: Bytes,
    /// One field line. Default 16 KiB.
    pub header_line: Bytes,
    /// Fields of one request. Default 100.
    pub header_fields: u16,
    /// Request target. Default 8 KiB.
    pub uri: Bytes,
    /// Request body; site and route may say otherwise. Default: unlimited.
    pub body: Bound<Bytes>,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        ListenerLimits {
            connections: 65_536,
            connections_per_client: PerClient::default(),
            requests_per_connection: 10_000,
            streams: 100,
            header: Bytes(32 << 10),
            header_line: Bytes(16 << 10),
            header_fields: 100,
            uri: Bytes(8 << 10),
            body: Bound::Off,
        }
    }
}
