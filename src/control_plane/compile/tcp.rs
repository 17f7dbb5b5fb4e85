//! TCP listeners: addresses, limits, timeouts, and where their connections go.

use super::listener::{address, per_client, socket_file};
use super::proxy_protocol::{receive, send};
use super::{Compiler, origin};
use base::ids::UpstreamId;
use base::limits::HttpLimits;
use config::model::{SiteName, Tcp, TcpProtocol};
use std::collections::HashMap;
use std::sync::Arc;
use traffic::flow::FlowStats;
use traffic::route::RouteTable;
use traffic::selector::{Names, Selector};
use traffic::snapshot::{DownstreamTimeouts, Kind, Listener, Passthrough, Presence};
use traffic::source::CidrSet;

impl Compiler<'_> {
    /// Appends the TCP listeners to those of HTTP.
    pub(super) fn passthrough(
        &mut self,
        upstreams: &HashMap<&str, UpstreamId>,
        listeners: &mut Vec<Listener>,
    ) {
        for written in &self.config.tcp {
            // A configuration that was loaded has the upstreams.
            let upstream = upstreams.get(written.upstream.as_str()).copied();
            let stats = self.carried.flow_stats(&written.name);
            listeners.push(Listener {
                name: written.name.as_str().into(),
                kind: Kind::Tcp(Passthrough {
                    upstream,
                    selector: selector(written, upstreams).map(Box::new),
                    send_proxy: written.send_proxy.as_ref().map(send),
                    connect: written.timeouts.connect,
                    idle: written.timeouts.idle,
                    half_closed: written.timeouts.half_closed,
                    retries: written.retry.attempts,
                    stats: stats.unwrap_or_else(|| Arc::new(FlowStats::new(self.workers))),
                }),
                origin: origin(&written.origin),
                binds: written.binds.iter().map(address).collect(),
                socket_file: written.socket_file.as_ref().map(socket_file),
                http2: None,
                http: HttpLimits::DEFAULT,
                timeouts: DownstreamTimeouts::default(),
                proxy_protocol: written.proxy_protocol.as_ref().map(|written| Box::new(receive(written))),
                trusted_proxies: CidrSet::default(),
                unsafe_underscore_fields: false,
                abort_on_close: false,
                connections_max: self.share(written.limits.connections.into()),
                connections_per_client_max: per_client(written.limits.connections_per_client),
                requests_max: u32::MAX,
                tls: None,
                table: RouteTable::default(),
                presence: Presence::default(),
            });
        }
    }
}

/// The routes of a listener; `None` when it has none, so that nobody looks at what clients say.
fn selector(written: &Tcp, upstreams: &HashMap<&str, UpstreamId>) -> Option<Selector> {
    if written.routes.is_empty() {
        return None;
    }
    let mut selector = Selector::new(written.timeouts.hello, written.timeouts.silence);
    selector.default = upstreams.get(written.upstream.as_str()).copied();
    for route in &written.routes {
        let Some(&upstream) = upstreams.get(route.upstream.as_str()) else { continue };
        let alpn = route.alpn.as_deref();
        match (&route.sni, route.protocol, alpn) {
            // What no route takes, whatever it speaks.
            (Some(SiteName::Any), None, None) => selector.default = Some(upstream),
            (None, Some(TcpProtocol::Http), _) => selector.http = Some(upstream),
            (None, Some(TcpProtocol::Tcp), _) => selector.tcp = Some(upstream),
            (None | Some(SiteName::Any), ..) => selector.add(Names::Any, alpn, upstream),
            (Some(SiteName::Exact(name)), ..) => selector.add(Names::Exact(name), alpn, upstream),
            (Some(SiteName::Wildcard(domain)), ..) => selector.add(Names::Below(domain), alpn, upstream),
        }
    }
    Some(selector)
}
