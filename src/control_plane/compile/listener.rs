//! Listeners: addresses, limits and timeouts, and the table of the routes that each of them serves.

use super::proxy_protocol::receive;
use super::route::Place;
use super::{Compiler, origin, table};
use base::addr::Addr;
use base::limits::{Http2Limits, HttpLimits};
use config::model::{Http2, ListenerLimits, ListenerTimeouts, PerClient};
use config::{Address, Bound, Bytes};
use traffic::snapshot::{DownstreamTimeouts, Kind, Listener, Presence, Route, SocketFile};
use traffic::source::CidrSet;

impl Compiler<'_> {
    pub(super) fn listeners(&mut self, routes: &[Route], places: &[Place<'_>]) -> Vec<Listener> {
        let mut listeners = Vec::with_capacity(self.config.listeners.len());
        for written in &self.config.listeners {
            let served: Vec<_> =
                routes.iter().zip(places).filter(|(_, place)| place.site.serves(&written.name)).collect();
            // A route may allow more than its listener says; the nearest wins, so the listener must let it through.
            let body_bytes_max = served
                .iter()
                .filter_map(|(_, place)| place.route.body(place.site))
                .map(bytes_or_unlimited)
                .fold(bytes_or_unlimited(written.limits.body), u64::max);
            let Some(table) = table::build(&served, &mut self.problems) else { continue };
            listeners.push(Listener {
                name: written.name.as_str().into(),
                kind: Kind::Http,
                origin: origin(&written.origin),
                binds: written.binds.iter().map(address).collect(),
                socket_file: written.socket_file.as_ref().map(socket_file),
                http: http_limits(&written.limits, body_bytes_max),
                http2: http2(written),
                timeouts: timeouts(&written.timeouts),
                proxy_protocol: written.proxy_protocol.as_ref().map(|written| Box::new(receive(written))),
                trusted_proxies: CidrSet::from_cidrs(
                    written.trusted_proxies.iter().map(|cidr| (cidr.address, cidr.prefix)),
                ),
                unsafe_underscore_fields: written.unsafe_underscore_fields,
                abort_on_close: written.abort_on_close,
                connections_max: self.share(written.limits.connections.into()),
                connections_per_client_max: per_client(written.limits.connections_per_client),
                requests_max: written.limits.requests_per_connection,
                tls: self.secrets.acceptor(&written.name),
                table,
                presence: Presence::default(),
            });
        }
        listeners
    }
}

pub(super) fn address(written: &Address) -> Addr {
    match written {
        Address::Ip(addr) => Addr::Ip(*addr),
        Address::Unix(path) => Addr::Unix(path.clone()),
        Address::Passed(name) => Addr::Passed(name.as_str().into()),
    }
}

pub(super) fn socket_file(written: &config::model::SocketFile) -> Box<SocketFile> {
    Box::new(SocketFile {
        mode: written.mode.map(|mode| mode.0),
        owner: written.owner.clone(),
        group: written.group.clone(),
    })
}

pub(super) fn bytes_or_unlimited(bound: Bound<Bytes>) -> u64 {
    bound.at().map_or(u64::MAX, |bytes| bytes.0)
}

pub(super) fn per_client(written: PerClient) -> Option<u32> {
    match written {
        PerClient::Off => None,
        PerClient::At(connections) => Some(connections.into()),
    }
}

fn http_limits(written: &ListenerLimits, body_bytes_max: u64) -> HttpLimits {
    HttpLimits {
        header_bytes_max: saturated(written.header),
        header_line_bytes_max: saturated(written.header_line),
        header_fields_max: written.header_fields,
        uri_bytes_max: saturated(written.uri),
        body_bytes_max,
        ..HttpLimits::DEFAULT
    }
}

fn http2(written: &config::model::Listener) -> Option<Http2Limits> {
    match written.http2 {
        Http2::Off => None,
        Http2::On | Http2::Cleartext => Some(Http2Limits {
            streams_max: written.limits.streams,
            // What is a little too long is answered, what is much too long ends the connection.
            block_bytes_max: saturated(written.limits.header).saturating_mul(2),
            ..Http2Limits::DEFAULT
        }),
    }
}

fn saturated(bytes: Bytes) -> u32 {
    u32::try_from(bytes.0).unwrap_or(u32::MAX)
}

fn timeouts(written: &ListenerTimeouts) -> DownstreamTimeouts {
    let defaults = DownstreamTimeouts::default();
    DownstreamTimeouts {
        handshake: written.handshake,
        head: written.header,
        idle: written.keep_alive,
        http2_idle: written.http2_idle,
        body_idle: written.body_idle,
        body_rate_min: written.body_rate.at().map_or(0, |rate| rate.0),
        send_idle: written.send_idle,
        send_rate_min: written.send_rate.at().map_or(0, |rate| rate.0),
        tunnel_idle: written.tunnel_idle,
        ..defaults
    }
}
