//! The flows of a listener: opened, given to an endpoint and to another one, ended.

use super::{Server, Service, TURN_ENDS_MAX, bounds, part};
use crate::finish;
use crate::overload;
use crate::worker::Generation;
use base::Instant;
use base::ids::{EndpointId, UpstreamId};
use runtime::{ConnectOptions, Local, UdpSocket};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use traffic::Cause;
use traffic::balance::{NoEndpoint, Pick};
use traffic::egress::From;
use traffic::health::{EndpointCell, Outcome};
use traffic::snapshot::{Endpoint, Upstream};
use traffic::udp::{Eviction, FlowId, Meter, Tuple, UdpStats};

/// One flow.
pub(crate) struct Flow {
    pub(super) socket: UdpSocket,
    pub(crate) meter: Meter,
    pub(crate) held: Held,
    pub(crate) listener: Arc<str>,
    pub(crate) upstream: Arc<str>,
    stats: Arc<UdpStats>,
    pub(crate) began: Instant,
    /// From the first datagram to the first answer.
    pub(crate) waited: Option<Duration>,
    /// Endpoints that it has had.
    pub(crate) attempts: u8,
    /// The network has told that nobody listens at the endpoint.
    pub(super) is_refused: bool,
}

/// The endpoint that a flow has: counted as one of those that it serves until this is dropped.
pub(crate) struct Held {
    pub(super) cell: Arc<EndpointCell>,
    pub(crate) text: Arc<str>,
    /// The generation that the two ids belong to.
    generation: u64,
    upstream: UpstreamId,
    endpoint: EndpointId,
}

impl Held {
    fn new(service: &Service<'_>, endpoint: &Endpoint) -> Held {
        endpoint.cell.begin();
        Held {
            cell: Arc::clone(&endpoint.cell),
            text: Arc::clone(&endpoint.text),
            generation: service.generation.generation,
            upstream: service.upstream.id,
            endpoint: endpoint.id,
        }
    }

    /// The endpoint in this generation, if it has it still and in this upstream.
    fn find(&mut self, generation: &Generation, upstream: &Upstream) -> Option<EndpointId> {
        if self.generation != generation.generation {
            let is_it = |endpoint: &&Endpoint| Arc::ptr_eq(&endpoint.cell, &self.cell);
            let endpoint = upstream.endpoints.iter().find(is_it)?.id;
            (self.generation, self.upstream, self.endpoint) = (generation.generation, upstream.id, endpoint);
        }
        (self.upstream == upstream.id).then_some(self.endpoint)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cell.end();
    }
}

impl Server {
    /// The flow of these addresses, with an endpoint that can serve; a new one if there is none.
    pub(super) fn flow(
        &mut self,
        service: &Service<'_>,
        tuple: &Tuple,
        may_open: bool,
    ) -> Result<FlowId, Cause> {
        match self.flows.find(tuple) {
            Some(id) => self.keep(service, id).map(|()| id),
            None if !may_open => Err(Cause::Stopping),
            None => self.open(service, *tuple),
        }
    }

    /// Makes sure that the flow's endpoint can serve, or gives it another.
    fn keep(&mut self, service: &Service<'_>, id: FlowId) -> Result<(), Cause> {
        let (now, upstream) = (self.worker.rt.now(), service.upstream);
        let Some(flow) = self.flows.get_mut(id) else { return Err(Cause::Internal) };
        let held = flow.held.find(service.generation, upstream);
        if held.is_some() && !flow.is_refused && flow.held.cell.is_available(now) {
            return Ok(());
        }
        let refused = held.filter(|_| flow.is_refused);
        let client = self.flows.tuple(id).ok_or(Cause::Internal)?.client;
        let found = self.choose(upstream, client, held.filter(|_| refused.is_none()), refused);
        let endpoint = match (found, held) {
            (Ok(endpoint), _) => endpoint,
            // It has its place where it is, whoever else has none.
            (Err(Cause::QueueFull), Some(held)) => held,
            (Err(cause), _) => return Err(cause),
        };
        if held == Some(endpoint) {
            if let Some(flow) = self.flows.get_mut(id) {
                flow.is_refused = false;
            }
            return Ok(());
        }
        self.move_to(service, endpoint, id)
    }

    /// Gives the flow another endpoint.
    fn move_to(&mut self, service: &Service<'_>, endpoint: EndpointId, id: FlowId) -> Result<(), Cause> {
        let endpoint = service.upstream.endpoint(endpoint);
        let client = self.flows.tuple(id).ok_or(Cause::Internal)?.client.ip();
        let socket = self.connect(service.upstream, endpoint, (client, id))?;
        let Some(flow) = self.flows.get_mut(id) else { return Err(Cause::Internal) };
        flow.socket = socket;
        flow.held = Held::new(service, endpoint);
        flow.upstream = Arc::clone(&service.upstream.name);
        flow.is_refused = false;
        flow.attempts = flow.attempts.saturating_add(1);
        service.stats.moved.add(1);
        Ok(())
    }

    /// Opens a flow, and ends the one that has to make room for it.
    fn open(&mut self, service: &Service<'_>, tuple: Tuple) -> Result<FlowId, Cause> {
        let (now, upstream) = (self.worker.rt.now(), service.upstream);
        overload::admit(&self.worker)?;
        if let Some(bounds) = bounds(service.generation, self.door.listener()) {
            self.flows.set_bounds(bounds);
        }
        let quota = quota(service, tuple.client.ip());
        let evicted = self.flows.admit(tuple.client.ip(), quota, now).map_err(|_| Cause::FlowsMax)?;
        let endpoint = upstream.endpoint(self.choose(upstream, tuple.client, None, None)?);
        if let Some((id, why)) = evicted {
            self.end(
                id,
                match why {
                    Eviction::ClientQuota => Cause::FlowQuota,
                    Eviction::TableFull => Cause::FlowsMax,
                },
            );
        }
        // Its tag is known once it has a place; until then it has that of nobody.
        let flow = Flow {
            socket: self.connect(upstream, endpoint, (tuple.client.ip(), FlowId::NOBODY))?,
            meter: Meter::default(),
            held: Held::new(service, endpoint),
            listener: Arc::clone(&service.listener.name),
            upstream: Arc::clone(&upstream.name),
            stats: Arc::clone(&service.datagrams.stats),
            began: now,
            waited: None,
            attempts: 1,
            is_refused: false,
        };
        let id = self.flows.insert(tuple, now, flow).map_err(|_| Cause::FlowsMax)?;
        if let Some(flow) = self.flows.get(id) {
            flow.socket.set_tag(id.to_u64());
        }
        service.stats.opened.add(1);
        Ok(id)
    }

    /// Chooses an endpoint: `held` if that can still serve, and not `refused` if there is another.
    fn choose(
        &self,
        upstream: &Upstream,
        client: SocketAddr,
        held: Option<EndpointId>,
        refused: Option<EndpointId>,
    ) -> Result<EndpointId, Cause> {
        let random = &mut *self.worker.rng.borrow_mut();
        let key = upstream.hash_key_of_datagrams(client).unwrap_or_else(|| random.next_u64());
        let pick = Pick { key, now: self.worker.rt.now(), random, avoid: refused.as_slice(), session: held };
        // A datagram does not wait for a first check.
        let choice = upstream.pick_unchecked(pick).map_err(|error| match error {
            NoEndpoint::Absent if upstream.unresolved => Cause::NameUnresolved,
            NoEndpoint::Absent | NoEndpoint::Unchecked => Cause::NoEndpoint,
            NoEndpoint::Unhealthy => Cause::NoHealthyEndpoint,
            NoEndpoint::Full => Cause::QueueFull,
        })?;
        let shard = upstream.stats.shard(self.worker.id);
        shard.passed_over.add(choice.passed_over.into());
        shard.other_zone.add(u64::from(choice.other_zone));
        Ok(choice.endpoint)
    }

    /// A socket that is connected to the endpoint, from one of the upstream's source addresses if it has any.
    fn connect(
        &self,
        upstream: &Upstream,
        endpoint: &Endpoint,
        (client, id): (IpAddr, FlowId),
    ) -> Result<UdpSocket, Cause> {
        let to = endpoint.addr.ip().ok_or(Cause::ConnectUnreachable)?;
        let connect = |options| self.worker.rt.connect_datagrams(to, options, &self.arrivals, id.to_u64());
        let Some(egress) = &upstream.egress else {
            return connect(ConnectOptions::default()).map_err(|error| cause_of(&error));
        };
        let random = self.worker.rng.borrow_mut().next_u64();
        let mut cause = Cause::ConnectUnreachable;
        for From { source, transparent } in egress.candidates(&endpoint.addr, client, random) {
            match connect(ConnectOptions { source: Some(source), transparent }) {
                Ok(socket) => return Ok(socket),
                Err(error) => cause = cause_of(&error),
            }
        }
        Err(cause)
    }

    /// The network has told that the flow's endpoint cannot be reached.
    pub(super) fn refuse(&mut self, service: &Service<'_>, id: FlowId) {
        let now = self.worker.rt.now();
        service.stats.unreachable.add(1);
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.is_refused = true;
        flow.held.cell.observe(now, Duration::ZERO, Outcome::ConnectFailed, &service.upstream.ejection);
    }

    /// Ends flows that were idle for too long, at most one turn's worth; whether there may be more.
    pub(super) fn end_idle(&mut self) -> bool {
        let now = self.worker.rt.now();
        for _ in 0..TURN_ENDS_MAX {
            let Some(id) = self.flows.expired(now) else { return false };
            self.end(id, Cause::FlowIdle);
        }
        true
    }

    pub(super) fn end_all(&mut self, cause: Cause) {
        while let Some(id) = self.flows.any() {
            self.end(id, cause);
        }
    }

    /// Ends a flow: its socket, its line in the log.
    pub(super) fn end(&mut self, id: FlowId, cause: Cause) {
        let Some((tuple, flow)) = self.flows.remove(id) else { return };
        flow.stats.shard(self.worker.id).end(cause);
        finish::datagrams(&self.worker, tuple.client.ip(), &flow, cause);
    }
}

/// Flows that this client may have. Programs of this machine are not counted, as for connections.
fn quota(service: &Service<'_>, client: IpAddr) -> u32 {
    let client = client.to_canonical();
    if client == Ipv4Addr::LOCALHOST || client == Ipv6Addr::LOCALHOST {
        return u32::MAX;
    }
    service.datagrams.flows_per_client_max.map_or(u32::MAX, |max| part(max, service.listener))
}

/// The address that answers of a flow leave from; `None` where the socket has only one.
pub(super) fn local_of(tuple: &Tuple) -> Option<Local> {
    let interface = match tuple.client {
        SocketAddr::V6(client) if client.ip().is_unicast_link_local() => client.scope_id(),
        _ => 0,
    };
    tuple.local.map(|ip| Local { ip, interface })
}

/// Why a flow got no socket.
fn cause_of(error: &io::Error) -> Cause {
    const EAGAIN: i32 = 11;
    const EADDRINUSE: i32 = 98;
    const EADDRNOTAVAIL: i32 = 99;
    match error.raw_os_error() {
        Some(EAGAIN | EADDRINUSE | EADDRNOTAVAIL) => Cause::PortsExhausted,
        _ if matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::InvalidInput
        ) =>
        {
            Cause::ConnectUnreachable
        }
        _ => Cause::UpstreamResources,
    }
}
