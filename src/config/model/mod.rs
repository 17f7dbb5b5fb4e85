//! What operators write, typed: the model behind both encodings.
//!
//! Plain data. Every value that has a default carries it already; an `Option` means that leaving it out has a meaning
//! of its own. Nothing here has been checked against the rest of the file: `validate` does that, and only [`crate::load()`]
//! and [`crate::parse`] hand out a [`Config`], after it did. The control plane compiles it; the data plane never sees it.

mod access;
mod admin;
mod admission;
mod cache;
mod compress;
mod cors;
mod dns;
mod health;
mod hedge;
mod limit;
mod listener;
mod origin;
mod outlier;
mod overload;
mod payload;
mod proxy_protocol;
mod route;
mod site;
mod socket_file;
mod sticky;
mod tcp;
mod tls;
mod udp;
mod upstream;

pub use access::{
    AccessRule, Applies, Authenticate, Authorize, Basic, CertificateName, ClaimHeader, ClaimMatch, Consumer,
    Credential, ForwardAuth, Introspect, Jwks, JwksFetch, Jwt, JwtAlgorithm, Keys, Method, Methods, Mtls,
    SameFor, ServiceSettings, Unjudged,
};
pub use admin::{AccessLog, AccessLogFormat, AccessLogTarget, Admin, Decisions, Io, Workers};
pub use admission::{AdaptiveConcurrency, BreakerScope, CircuitBreaker, RetryBudget, UpstreamLimits};
pub use cache::Cache;
pub use compress::{Compress, CompressCoding, CompressLevel};
pub use cors::Cors;
pub use dns::{Addresses, Dns, DnsServer, DnsSettings};
pub use health::{
    CheckMethod, GrpcCheck, Health, HttpCheck, StatusRange, StatusSet, TcpCheck, TlsCheck, UdpCheck,
};
pub use hedge::{Hedge, HedgeAfter};
pub use limit::{
    Limit, LimitAbsent, LimitFields, LimitKey, LimitKeys, LimitMode, LimitRate, LimitStage, LimitUnit,
    LimitUse, LimitWindow,
};
pub use listener::{Http2, Listener, ListenerLimits, ListenerTimeouts};
pub use origin::Origin;
pub use outlier::{ErrorsInARow, Outlier, SuccessRate, Switch};
pub use overload::{Overload, PerClient};
pub use payload::Payload;
pub use proxy_protocol::{
    ProxyChecks, ProxyFacts, ProxyMode, ProxyProtocol, ProxyVersion, SendProxy, Sender, Senders,
};
pub use route::{
    Action, HeaderEdits, HeaderPair, Headers, Matcher, NameMatch, Predicates, Redirect, Respond, Retry,
    RetryOn, Rewrite, Route, RouteLimits, RouteTimeouts, Share, Split,
};
pub use site::{Site, SiteLimits, SiteName, SiteTimeouts};
pub use socket_file::{FileMode, SocketFile};
pub use sticky::{SameSite, Secret, Sticky};
pub use tcp::{Tcp, TcpLimits, TcpProtocol, TcpRetry, TcpRoute, TcpTimeouts};
pub use tls::{Certificate, ClientAuth, ClientAuthMode, ListenerTls, TlsVersion, UnknownName, UpstreamTls};
pub use udp::{Count, Udp, UdpLimits};
pub(crate) use upstream::SPILL_OVER;
pub use upstream::{Balance, Endpoint, HashKey, Protocol, Source, Tier, Upstream, UpstreamTimeouts};

use crate::literal::Bytes;
use crate::provenance::Provenance;

/// One complete configuration. Two are equal when they say the same at the same places.
///
/// Serialising it gives the JSON encoding. Strings that came from `(env)` or `(file)` are written as the reference that
/// they came from, never as their value.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Worker threads. Default: one per usable CPU.
    pub workers: Workers,
    /// Which driver the workers use. Default: io_uring where the kernel allows it, else epoll.
    pub io: Io,
    /// Memory that the node may use. Default: what the control group or the machine has.
    pub memory: Option<Bytes>,
    /// Whether work is shed under pressure. Default: on.
    pub overload: Overload,
    /// Where this node stands; endpoints of the same zone are preferred. Default: nowhere in particular.
    pub zone: Option<String>,
    /// Where the admin API listens. Default: nowhere.
    pub admin: Admin,
    /// Where finished exchanges are written. Default: off.
    pub access_log: AccessLog,
    /// What is kept of finished exchanges in memory.
    pub decisions: Decisions,
    /// How names of endpoints are resolved, as far as the upstream does not say.
    pub dns: DnsSettings,
    /// Entry points for HTTP.
    pub listeners: Vec<Listener>,
    /// Entry points for plain TCP. There is at least one entry point of any kind.
    pub tcp: Vec<Tcp>,
    /// Entry points for UDP.
    pub udp: Vec<Udp>,
    /// Balanced groups of endpoints.
    pub upstreams: Vec<Upstream>,
    /// Issuers of tokens.
    pub jwt: Vec<Jwt>,
    /// Files of API keys.
    pub keys: Vec<Keys>,
    /// Files of users with passwords.
    pub basic: Vec<Basic>,
    /// Services that decide about requests.
    pub forward_auth: Vec<ForwardAuth>,
    /// Services that know tokens.
    pub introspect: Vec<Introspect>,
    /// Certificates of clients as credentials.
    pub mtls: Vec<Mtls>,
    /// Callers by name.
    pub consumers: Vec<Consumer>,
    /// Stores of responses.
    pub caches: Vec<Cache>,
    /// Limits by name.
    pub limit: Vec<Limit>,
    /// Virtual hosts; at least one where there is an entry point for HTTP.
    pub sites: Vec<Site>,
    /// Where each value stands in the text, and which strings are references.
    pub(crate) provenance: Provenance,
}

impl Config {
    /// The upstream of that name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// The listener of that name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// The same configuration, as if it stood in no text: to compare two that were written differently.
    #[must_use]
    pub fn without_origins(&self) -> Config {
        let mut config = self.clone();
        config.provenance = Provenance::default();
        let mut origins = vec![&mut config.admin.origin, &mut config.access_log.origin];
        for listener in &mut config.listeners {
            origins.push(&mut listener.origin);
            origins.extend(listener.tls.iter_mut().flat_map(ListenerTls::origins));
        }
        for tcp in &mut config.tcp {
            origins.push(&mut tcp.origin);
            origins.extend(tcp.routes.iter_mut().map(|route| &mut route.origin));
        }
        origins.extend(config.udp.iter_mut().map(|udp| &mut udp.origin));
        for upstream in &mut config.upstreams {
            origins.push(&mut upstream.origin);
            origins.extend(upstream.tls.iter_mut().flat_map(UpstreamTls::origins));
            origins.extend(upstream.endpoints.iter_mut().map(|endpoint| &mut endpoint.origin));
        }
        origins.extend(config.jwt.iter_mut().map(|jwt| &mut jwt.origin));
        origins.extend(config.keys.iter_mut().map(|keys| &mut keys.origin));
        origins.extend(config.basic.iter_mut().map(|basic| &mut basic.origin));
        origins.extend(config.forward_auth.iter_mut().map(|forward| &mut forward.origin));
        origins.extend(config.mtls.iter_mut().map(|mtls| &mut mtls.origin));
        origins.extend(config.introspect.iter_mut().map(|introspect| &mut introspect.origin));
        for consumer in &mut config.consumers {
            origins.push(&mut consumer.origin);
            origins.extend(consumer.credentials.iter_mut().map(|credential| &mut credential.origin));
        }
        origins.extend(config.caches.iter_mut().map(|cache| &mut cache.origin));
        origins.extend(config.limit.iter_mut().map(|limit| &mut limit.origin));
        for site in &mut config.sites {
            origins.push(&mut site.origin);
            origins.extend(site.authenticate.iter_mut().flat_map(Authenticate::origins));
            origins.extend(site.cors.iter_mut().map(|cors| &mut cors.origin));
            origins.extend(site.compress.iter_mut().map(|compress| &mut compress.origin));
            origins.extend(site.authorize.iter_mut().map(|rules| &mut rules.origin));
            origins.extend(site.limit.iter_mut().map(LimitUse::origin_mut));
            for route in &mut site.routes {
                origins.push(&mut route.origin);
                origins.extend(route.authenticate.iter_mut().flat_map(Authenticate::origins));
                origins.extend(route.cors.iter_mut().map(|cors| &mut cors.origin));
                origins.extend(route.compress.iter_mut().map(|compress| &mut compress.origin));
                origins.extend(route.authorize.iter_mut().map(|rules| &mut rules.origin));
                origins.extend(route.limit.iter_mut().map(LimitUse::origin_mut));
                if let Action::Split(split) = &mut route.action {
                    origins.extend(split.shares.iter_mut().map(|share| &mut share.origin));
                }
            }
        }
        origins.into_iter().for_each(|origin| *origin = Origin::command_line());
        config
    }

    /// The sites that a listener serves, in the order of the text.
    pub fn sites_of<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = &'a Site> {
        self.sites.iter().filter(|site| site.serves(&listener.name))
    }
}
