//! Everything a worker needs to know of one generation of the configuration.
//!
//! Compiled by the control plane, read by every worker, never changed. What changes at run time (health, in-flight
//! counts, statistics) hangs on it in shared cells whose identity survives a new generation.

use crate::admission::{Admission, Valve};
use crate::ask::Desk;
use crate::balance::Balancer;
use crate::compression::Compression;
use crate::egress::Egress;
use crate::filter::Chain;
use crate::flow::FlowStats;
use crate::health::{EjectionRules, EndpointCell, SuccessRateRules};
use crate::hedge::HedgeRules;
use crate::limit::Limiter;
use crate::origin::Origin;
use crate::proxy_protocol::{ReceiveRules, SendRules};
use crate::recent::RecentRules;
use crate::retry::{RetryBudget, RetryRules};
use crate::route::RouteTable;
use crate::selector::Selector;
use crate::source::CidrSet;
use crate::stats::RouteStats;
use crate::sticky::Sticky;
use crate::udp::{FlowRules, UdpStats};
use crate::upstream_stats::UpstreamStats;
use base::addr::Addr;
use base::ids::{EndpointId, ListenerId, RouteId, SocketId, UpstreamId};
use base::limits::{Http2Limits, HttpLimits, Limits};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wire::secure;

/// One generation.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts from 1; grows with every configuration that is put into force.
    pub generation: u64,
    pub limits: Limits,
    /// By [`ListenerId`]. Places of listeners that are gone are empty ([`Presence::Closed`]).
    pub listeners: Vec<Listener>,
    /// No [`SocketId`] is as large as this.
    pub next_socket: u32,
    /// By [`RouteId`].
    pub routes: Vec<Route>,
    /// By [`UpstreamId`].
    pub upstreams: Vec<Upstream>,
    /// Stores of responses; those whose name and size stay are carried from generation to generation.
    pub caches: Vec<Arc<cache::Store>>,
    /// The policies that filters of the routes ask.
    pub access: Access,
    /// The limits that filters of the routes ask.
    pub limiters: Vec<Arc<Limiter>>,
    /// Whether finished exchanges are handed to the access-log writer.
    pub access_log: bool,
    /// What is kept in memory of finished exchanges.
    pub recent: RecentRules,
}

impl Snapshot {
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }

    pub fn upstream(&self, id: UpstreamId) -> &Upstream {
        &self.upstreams[id.index()]
    }

    /// The listener, if this generation has it.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(id.index()).filter(|listener| !listener.is_closed())
    }

    /// The listeners that this generation has.
    pub fn open_listeners(&self) -> impl Iterator<Item = ListenerId> {
        let open = self.listeners.iter().enumerate().filter(|(_, listener)| !listener.is_closed());
        open.map(|(at, _)| ListenerId(u16::try_from(at).unwrap_or(u16::MAX)))
    }

    /// Whose socket it is, if this generation has it.
    pub fn listener_of(&self, socket: SocketId) -> Option<ListenerId> {
        self.open_listeners().find(|id| self.listeners[id.index()].sockets().contains(&socket))
    }
}

/// Policies that check credentials.
#[derive(Debug, Default)]
pub struct Access {
    pub jwt: Vec<Arc<auth::JwtPolicy>>,
    pub keys: Vec<Arc<auth::KeysPolicy>>,
    pub basic: Vec<Arc<auth::BasicPolicy>>,
    pub forward: Vec<Arc<auth::ForwardPolicy>>,
    pub introspection: Vec<Arc<auth::IntrospectionPolicy>>,
    pub mtls: Vec<Arc<auth::CertificatePolicy>>,
    /// Where policies ask, as `SCHEME:POLICY`.
    pub desks: Vec<Arc<Desk>>,
}

impl Access {
    /// Where the policy of that scheme and name asks, if it does.
    pub fn desk(&self, scheme: &str, policy: &str) -> Option<&Arc<Desk>> {
        let own = |desk: &&Arc<Desk>| desk.name.split_once(':') == Some((scheme, policy));
        self.desks.iter().find(own)
    }
}

/// What becomes of the file of a Unix socket; what is left out stays as the process makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFile {
    pub mode: Option<u16>,
    /// Name or number.
    pub owner: Option<String>,
    /// Name or number.
    pub group: Option<String>,
}

/// An entry point: where it listens and what it serves there.
///
/// What only HTTP has is at its default where [`Listener::kind`] is another one.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Unique among entry points of all kinds. Shared, because a flow may outlive the generation that it began in.
    pub name: Arc<str>,
    pub kind: Kind,
    pub origin: Origin,
    pub binds: Vec<Addr>,
    /// Whose its Unix sockets are; looked at when they are bound.
    pub socket_file: Option<Box<SocketFile>>,
    pub http: HttpLimits,
    /// HTTP/2 for clients that begin with its preface; `None`: they are refused.
    pub http2: Option<Http2Limits>,
    pub timeouts: DownstreamTimeouts,
    /// Peers that announce clients; `None`: nobody does. Boxed, because most listeners have none.
    pub proxy_protocol: Option<Box<ReceiveRules>>,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: CidrSet,
    /// Forward field names that contain `_` instead of dropping them.
    pub unsafe_underscore_fields: bool,
    /// A client that ends its sending side while it waits counts as gone. Default false.
    pub abort_on_close: bool,
    /// Downstream connections of one worker.
    pub connections_max: u32,
    /// Connections of one client address over all workers; `None` is unlimited. Default 256.
    pub connections_per_client_max: Option<u32>,
    /// Requests on one connection before it is closed. Default 10,000.
    pub requests_max: u32,
    /// `None`: plain text.
    pub tls: Option<Arc<dyn secure::Accept>>,
    pub table: RouteTable,
    pub presence: Presence,
}

impl Listener {
    /// Whether only its place is left.
    pub fn is_closed(&self) -> bool {
        matches!(self.presence, Presence::Closed(_))
    }

    /// One for each of `binds`.
    pub fn sockets(&self) -> &[SocketId] {
        match &self.presence {
            Presence::Open { sockets, .. } => sockets,
            Presence::Closed(_) => &[],
        }
    }
}

/// Whether a generation has a listener, or only the place of one that earlier generations had.
///
/// The token is shared by all generations that have the listener: as long as one of them is used, some connection may
/// still mean the listener by its place.
#[derive(Clone, Debug)]
pub enum Presence {
    Open { sockets: Vec<SocketId>, token: Arc<Tenure> },
    Closed(Weak<Tenure>),
}

/// See [`Presence`].
#[derive(Debug, Default)]
pub struct Tenure;

impl Default for Presence {
    fn default() -> Self {
        Presence::Open { sockets: Vec::new(), token: Arc::default() }
    }
}

impl Presence {
    /// The token, while any generation with the listener is used.
    pub fn token(&self) -> Option<Arc<Tenure>> {
        match self {
            Presence::Open { token, .. } => Some(Arc::clone(token)),
            Presence::Closed(token) => token.upgrade(),
        }
    }

    /// Whether the place may be given to another listener.
    pub fn is_vacant(&self) -> bool {
        matches!(self, Presence::Closed(token) if token.strong_count() == 0)
    }
}

impl Listener {
    /// What becomes of connections whose bytes are passed on as they are; `None` for other kinds.
    pub fn passthrough(&self) -> Option<&Passthrough> {
        match &self.kind {
            Kind::Http | Kind::Udp(_) => None,
            Kind::Tcp(passthrough) => Some(passthrough),
        }
    }

    /// What becomes of datagrams; `None` for other kinds.
    pub fn datagrams(&self) -> Option<&Datagrams> {
        match &self.kind {
            Kind::Http | Kind::Tcp(_) => None,
            Kind::Udp(datagrams) => Some(datagrams),
        }
    }
}

/// What arrives at an entry point.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Requests.
    Http,
    /// Bytes of which we know nothing.
    Tcp(Passthrough),
    /// Datagrams of which we know nothing.
    Udp(Datagrams),
}

/// What becomes of the datagrams of a UDP listener.
#[derive(Clone, Debug)]
pub struct Datagrams {
    pub upstream: UpstreamId,
    pub rules: FlowRules,
    /// Without a datagram in either direction. Default 30 s.
    pub idle: Duration,
    /// Flows of one worker.
    pub flows_max: u32,
    /// Of one client address, on one worker; `None` is unlimited.
    pub flows_per_client_max: Option<u32>,
    /// Shared by all generations that have a listener of this name.
    pub stats: Arc<UdpStats>,
}

/// What becomes of the connections of a TCP listener.
#[derive(Clone, Debug)]
pub struct Passthrough {
    /// Who takes the connections, unless [`Passthrough::selector`] chooses.
    pub upstream: Option<UpstreamId>,
    /// Chooses by what clients say first; `None`: nobody looks.
    pub selector: Option<Box<Selector>>,
    /// As [`Upstream::send_proxy`], which counts when this is `None`.
    pub send_proxy: Option<SendRules>,
    /// As [`UpstreamTimeouts::connect`], which counts when this is `None`.
    pub connect: Option<Duration>,
    /// Without a byte in either direction. Default 10 min.
    pub idle: Duration,
    /// Without a byte of the other side after one has ended its own. Default 5 min.
    pub half_closed: Duration,
    /// Attempts after the first one, as long as no connection came about. Default 1.
    pub retries: u8,
    /// Shared by all generations that have a listener of this name.
    pub stats: Arc<FlowStats>,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownstreamTimeouts {
    /// The whole TLS handshake. Default 5 s.
    pub handshake: Duration,
    /// Whole head, from its first byte (or from the accept, for the first one). Default 10 s.
    pub head: Duration,
    /// Between two requests. Default 75 s.
    pub idle: Duration,
    /// Without a request on a connection that speaks HTTP/2. Default 300 s.
    pub http2_idle: Duration,
    /// Between two reads of a request body. Default 30 s.
    pub body_idle: Duration,
    /// Bytes per second that a request body must reach over [`Self::body_rate_window`]. Default 1 KiB/s; 0 is off.
    pub body_rate_min: u64,
    /// Default 10 s.
    pub body_rate_window: Duration,
    /// Without any progress of a response that the client should read. Default 60 s.
    pub send_idle: Duration,
    /// Bytes per second that the client must take over [`Self::send_rate_window`]. Default 1 KiB/s; 0 is off.
    pub send_rate_min: u64,
    /// Default 30 s.
    pub send_rate_window: Duration,
    /// Upgraded connections without a byte in either direction. Default 10 min.
    pub tunnel_idle: Duration,
    /// Reading and throwing away what the client still sends when we close. Default 1 s.
    pub linger: Duration,
}

impl Default for DownstreamTimeouts {
    fn default() -> Self {
        DownstreamTimeouts {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            http2_idle: Duration::from_secs(300),
            body_idle: Duration::from_secs(30),
            body_rate_min: 1024,
            body_rate_window: Duration::from_secs(10),
            send_idle: Duration::from_secs(60),
            send_rate_min: 1024,
            send_rate_window: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(600),
            linger: Duration::from_secs(1),
        }
    }
}

/// A rule: what is done with the requests that its predicates select.
#[derive(Debug)]
pub struct Route {
    pub id: RouteId,
    /// Site and path pattern, unique in the snapshot: the identity of its statistics.
    pub name: Box<str>,
    pub origin: Origin,
    pub action: Action,
    /// Filters around the action, compiled in the order in which they run.
    pub chain: Chain,
    pub timeouts: RouteTimeouts,
    pub retry: RetryRules,
    /// `None`: no second request before the first one has failed.
    pub hedge: Option<HedgeRules>,
    /// `None`: responses are not compressed.
    pub compression: Option<Box<Compression>>,
    /// As [`Listener::abort_on_close`], which counts when this is `None`.
    pub abort_on_close: Option<bool>,
    /// Calls of browsers are made calls of gRPC, and their answers made what browsers read.
    pub grpc_web: bool,
    /// Keeps responses for other requests; `None`: nothing is looked up and nothing is kept.
    pub cache: Option<Arc<cache::Store>>,
    /// Request body in bytes; `u64::MAX` is unlimited.
    pub body_bytes_max: u64,
    pub stats: Arc<RouteStats>,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Forwards to one of the upstreams, chosen by weight.
    Forward(Split),
    /// Answers by itself.
    Respond(FixedResponse),
    /// Sends the client elsewhere.
    Redirect(Redirect),
}

/// Upstreams and their shares. Most routes have one.
#[derive(Debug)]
pub struct Split {
    pub targets: Vec<(UpstreamId, u32)>,
    /// Sum of the weights; never zero.
    pub total: u32,
}

impl Split {
    /// The upstream for a uniformly random number.
    pub fn pick(&self, random: u32) -> UpstreamId {
        let mut rest = random % self.total.max(1);
        for &(upstream, weight) in &self.targets {
            if rest < weight {
                return upstream;
            }
            rest -= weight;
        }
        self.targets.last().map_or(UpstreamId(0), |&(upstream, _)| upstream)
    }
}

/// A response that stands in the configuration.
#[derive(Debug)]
pub struct FixedResponse {
    pub status: u16,
    /// Header fields, validated when they were loaded; no framing fields.
    pub fields: Vec<FieldLine>,
    pub body: Box<[u8]>,
}

/// Name and value of a configured header field.
pub type FieldLine = (Box<[u8]>, Box<[u8]>);

/// A redirect; `to` is filled from the request.
#[derive(Debug)]
pub struct Redirect {
    pub status: u16,
    pub to: crate::filter::Template,
}

/// How long an exchange on this route may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the complete request head to the end of the response; `None` is unlimited, the default.
    pub total: Option<Duration>,
    /// One attempt up to the response head; `None`: only the upstream's own timeouts count.
    pub per_try: Option<Duration>,
    /// As [`UpstreamTimeouts::response_head`], which counts when this is `None`.
    pub response_head: Option<Duration>,
}

/// A balanced group of endpoints.
#[derive(Debug)]
pub struct Upstream {
    pub id: UpstreamId,
    pub name: Arc<str>,
    pub origin: Origin,
    /// By [`EndpointId`].
    pub endpoints: Vec<Endpoint>,
    /// There are no endpoints because none of the upstream's names has been resolved yet.
    pub unresolved: bool,
    pub balancer: Balancer,
    /// Keeps clients at their endpoints; `None`: every request is a new choice.
    pub sticky: Option<Sticky>,
    /// Shared by all generations that have an upstream of this name.
    pub stats: Arc<UpstreamStats>,
    /// What endpoints are told about the client of each connection; `None` is nothing.
    pub send_proxy: Option<SendRules>,
    pub timeouts: UpstreamTimeouts,
    /// Where connections come from; `None`: the kernel chooses.
    pub egress: Option<Box<Egress>>,
    /// When traffic alone takes an endpoint out, and how one comes back.
    pub ejection: EjectionRules,
    /// How outliers are found; `None` is not at all. Evaluated by the control plane.
    pub success_rate: Option<SuccessRateRules>,
    /// Shared by all workers and routes that use the upstream.
    pub budget: Arc<RetryBudget>,
    /// `None` when nothing is limited.
    pub admission: Option<Admission>,
    pub http: HttpLimits,
    /// The endpoints speak HTTP/2, and requests share connections.
    pub http2: bool,
}

impl Upstream {
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.endpoints[id.index()]
    }
}

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    pub addr: Addr,
    /// `addr` as text, for logs and metrics.
    pub text: Arc<str>,
    /// 0: only sessions that it holds already.
    pub weight: u32,
    /// 0 is preferred; higher tiers serve when the lower ones cannot.
    pub tier: u8,
    /// Where it stands, if the configuration says so.
    pub zone: Option<Box<str>>,
    /// State shared by all workers, and by all generations that have this endpoint.
    pub cell: Arc<EndpointCell>,
    /// `None` when the endpoint has no bounds of its own.
    pub valve: Option<Arc<Valve>>,
    /// `None`: plain text.
    pub tls: Option<EndpointTls>,
}

/// How TLS is spoken with an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    pub connect: Arc<dyn secure::Connect>,
    /// What the endpoint must be certified as unless the upstream says otherwise: its name or its address.
    pub name: Box<str>,
    /// Connections with another one are not used; never 0, which stands for plain text.
    pub identity: u64,
}

impl Endpoint {
    /// What distinguishes connections to it that must not be mixed up; 0 for plain text.
    pub fn identity(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.identity)
    }
}

/// How long an endpoint may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// Default 1 s.
    pub connect: Duration,
    /// The whole TLS handshake. Default 3 s.
    pub handshake: Duration,
    /// From the end of the request (or of what was sent of it) to the response head. Default 30 s.
    pub response_head: Duration,
    /// Between two reads of a response body. Default 60 s.
    pub body_idle: Duration,
    /// How long an unused connection is kept. Default 55 s.
    pub pool_idle: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts {
            connect: Duration::from_secs(1),
            handshake: Duration::from_secs(3),
            response_head: Duration::from_secs(30),
            body_idle: Duration::from_secs(60),
            pool_idle: Duration::from_secs(55),
        }
    }
}

/// Workers on several threads read one snapshot.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Snapshot>();
};
