//! Entry points for plain TCP: bytes are passed on as they are.

use super::{Origin, PerClient, ProxyProtocol, SendProxy, SiteName, SocketFile};
use crate::literal::{Address, DurationText, duration, optional_duration, words};
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
    /// Name of the upstream that takes the connections, or those that no route takes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upstream: String,
    /// Choose the upstream by what clients say first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<TcpRoute>,
    /// Whose its Unix sockets are, and who may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_file: Option<SocketFile>,
    /// Who announces clients by the PROXY protocol. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Tells endpoints who the client of each connection is. Default: what the upstream says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_proxy: Option<SendProxy>,
    pub timeouts: TcpTimeouts,
    pub limits: TcpLimits,
    pub retry: TcpRetry,
    #[serde(skip)]
    pub origin: Origin,
}

impl Tcp {
    /// Names of all upstreams that connections may go to, with the member that names them.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, &Origin, &'static str)> {
        let own =
            Some((self.upstream.as_str(), &self.origin, "/upstream")).filter(|(name, ..)| !name.is_empty());
        own.into_iter()
            .chain(self.routes.iter().map(|route| (route.upstream.as_str(), &route.origin, "/upstream")))
    }
}

/// Which connections go where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TcpRoute {
    /// The server name in a client's TLS hello: a name, `*.` and a domain, or `*` for whatever no other route takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<SiteName>,
    /// A protocol that the client offers by ALPN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// What the client speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TcpProtocol>,
    /// Name of the upstream that takes them.
    pub upstream: String,
    #[serde(skip)]
    pub origin: Origin,
}

words! {
    /// What a client speaks, as far as its first bytes tell.
    pub enum TcpProtocol {
        Tls = "tls",
        Http = "http",
        /// Neither, or nothing: the server speaks first.
        Tcp = "tcp",
    }
    default Tcp;
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
    /// With routes: until a client has said where it wants to go. Default 5 s.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub hello: Duration,
    /// With a route for plain TCP: how long a client says nothing before it counts as one that waits for the server.
    /// Default 500 ms.
    #[serde(serialize_with = "duration")]
    #[schemars(with = "DurationText")]
    pub silence: Duration,
}

impl Default for TcpTimeouts {
    fn default() -> Self {
        TcpTimeouts {
            connect: None,
            idle: Duration::from_secs(600),
            half_closed: Duration::from_secs(300),
            hello: Duration::from_secs(5),
            silence: Duration::from_millis(500),
        }
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
