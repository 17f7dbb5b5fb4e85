//! TCP listeners: addresses, limits, timeouts, and where their connections go.

use super::listener::{address, per_client};
use super::{Compiler, origin};
use base::ids::UpstreamId;
use base::limits::HttpLimits;
use std::collections::HashMap;
use std::sync::Arc;
use traffic::flow::FlowStats;
use traffic::route::RouteTable;
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
            // A configuration that was loaded has the upstream.
            let Some(&upstream) = upstreams.get(written.upstream.as_str()) else { continue };
            let stats = self.carried.flow_stats(&written.name);
            listeners.push(Listener {
                name: written.name.as_str().into(),
                kind: Kind::Tcp(Passthrough {
                    upstream,
                    connect: written.timeouts.connect,
                    idle: written.timeouts.idle,
                    half_closed: written.timeouts.half_closed,
                    retries: written.retry.attempts,
                    stats: stats.unwrap_or_else(|| Arc::new(FlowStats::new(self.workers))),
                }),
                origin: origin(&written.origin),
                binds: written.binds.iter().map(address).collect(),
                http2: None,
                http: HttpLimits::DEFAULT,
                timeouts: DownstreamTimeouts::default(),
                proxy_protocol: None,
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
