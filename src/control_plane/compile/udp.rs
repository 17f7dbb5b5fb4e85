//! UDP listeners: addresses, limits, rules of flows, and where their datagrams go.

use super::listener::address;
use super::{Compiler, origin};
use base::ids::UpstreamId;
use base::limits::HttpLimits;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use traffic::route::RouteTable;
use traffic::snapshot::{Datagrams, DownstreamTimeouts, Kind, Listener, Presence};
use traffic::source::CidrSet;
use traffic::udp::{FlowRules, UdpStats};

impl Compiler<'_> {
    /// Appends the UDP listeners to the others.
    pub(super) fn datagrams(&mut self, upstreams: &HashMap<&str, UpstreamId>, listeners: &mut Vec<Listener>) {
        for written in &self.config.udp {
            // A configuration that was loaded has the upstream.
            let Some(&upstream) = upstreams.get(written.upstream.as_str()) else { continue };
            let stats = self.carried.udp_stats(&written.name);
            let limits = &written.limits;
            listeners.push(Listener {
                name: written.name.as_str().into(),
                kind: Kind::Udp(Datagrams {
                    upstream,
                    rules: FlowRules {
                        responses: written.responses.at().and_then(NonZeroU32::new),
                        reply_ratio: written.reply_ratio.at().and_then(NonZeroU32::new),
                    },
                    idle: written.flow_idle,
                    flows_max: self.share(limits.flows.into()),
                    flows_per_client_max: limits.flows_per_client.at().map(|flows| self.share(flows.into())),
                    stats: stats.unwrap_or_else(|| Arc::new(UdpStats::new(self.workers))),
                }),
                origin: origin(&written.origin),
                binds: written.binds.iter().map(address).collect(),
                socket_file: None,
                http2: None,
                proxy_protocol: None,
                http: HttpLimits::DEFAULT,
                timeouts: DownstreamTimeouts::default(),
                trusted_proxies: CidrSet::default(),
                unsafe_underscore_fields: false,
                abort_on_close: false,
                connections_max: 0,
                connections_per_client_max: None,
                requests_max: u32::MAX,
                tls: None,
                table: RouteTable::default(),
                presence: Presence::default(),
            });
        }
    }
}
